/** The package in Node: the module is read from disk while this file is loaded. */

import { readFileSync } from "node:fs";

import { initSync } from "./genesys_client.js";

initSync({ module: readFileSync(new URL("./genesys_client_bg.wasm", import.meta.url)) });

export { GenesysClient, GenesysError, Subscriptions, explain, inspect, sign, verify } from "./genesys_client.js";
