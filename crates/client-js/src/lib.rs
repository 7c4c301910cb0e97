//! The Genesys Cloud client and the webhook verifier for JavaScript, through wasm-bindgen.
//!
//! Verifies the webhooks that Genesys Cloud sends, creates the subscriptions that produce them, and keeps those as
//! declared. It runs in Node, browsers, bundlers and Workers. The code is that of the gateway ([`genesys_client`],
//! [`genesys_webhook`]), so it decides the same way.
//!
//! ```js
//! import { verify } from "genesys-client";
//!
//! const result = verify(request.headers, body, process.env.WEBHOOK_SECRET, "webhooks");
//! if (!result.ok) return new Response(result.detail, { status: result.status });
//! ```
//!
//! Promises:
//! - Every failure is thrown, or rejected with, as a `GenesysError` that says whose fault it is.
//! - A forged delivery is a result, not an error.
//! - No error holds a secret.
//! - Names are in camelCase, and times are milliseconds unless a name says otherwise.
//!
//! Layers: `host` (`fetch`, clock, pauses, randomness) and `guard` (no trap leaves the module) are below, `args` and
//! `json` at the border, [`client`], [`subscriptions`] and [`webhook`] are the API. `types.d.ts` holds the declarations
//! that wasm-bindgen cannot derive.
//!
//! Out of scope: how the module is loaded (`npm/`), HTTP servers, storing state.

mod args;
pub mod client;
mod declaration;
mod error;
mod guard;
mod host;
mod json;
mod number;
mod reconcile;
mod shared;
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
