//! The Genesys Cloud client and the webhook verifier for JavaScript, through wasm-bindgen.
//!
//! Promises: the same decisions as in the Worker, because it is the same code ([`genesys_client`],
//! [`genesys_webhook`]); everything that goes wrong is thrown, or rejected with, as a `GenesysError` that says whose
//! fault it is; a forged delivery is a result, not an error; no secret is in an error. Names are JavaScript's
//! (camelCase), times are milliseconds unless a name says otherwise.
//!
//! Layers: `host` (what the surroundings give: `fetch`, clock, pauses, randomness) and `guard` (no trap leaves the
//! module) below, `args` and `json` at the border, [`client`], [`subscriptions`] and [`webhook`] as the API.
//! `types.d.ts` holds the declarations that wasm-bindgen cannot derive.
//!
//! Out of scope: how the module is loaded (`npm/`), HTTP servers, keeping state.

mod args;
pub mod client;
mod error;
mod guard;
mod host;
mod json;
mod reconcile;
pub mod subscriptions;
pub mod webhook;

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("types.d.ts");

/// Runs once, when the module is loaded.
#[wasm_bindgen(start)]
fn start() {
    guard::remember_panics();
}
