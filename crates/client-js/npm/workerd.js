/** The package in Workers: importing a `.wasm` file gives a compiled module. */

import { initSync } from "./genesys_client.js";
import module from "./genesys_client_bg.wasm";

initSync({ module });

export { GenesysClient, GenesysError, Subscriptions, explain, inspect, sign, verify } from "./genesys_client.js";
