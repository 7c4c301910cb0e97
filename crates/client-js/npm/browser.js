/**
 * The package in browsers, as it is or through a bundler that knows `new URL("…", import.meta.url)` as an asset (as
 * Vite does): the module is fetched and compiled before the import is complete.
 */

import init from "./genesys_client.js";

await init({ module_or_path: new URL("./genesys_client_bg.wasm", import.meta.url) });

export { GenesysClient, GenesysError, Subscriptions, explain, inspect, sign, verify } from "./genesys_client.js";
