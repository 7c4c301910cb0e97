//! Genesys Cloud from the outside: a client of its API, and a reconciler that keeps subscriptions as they were
//! declared.
//!
//! Promise: pure over a small async [`transport::Transport`]; time, pauses and randomness are passed in
//! ([`transport::Runtime`]). It compiles natively and for wasm32, does not panic on any input, and shows no secret in
//! errors, reports, `Debug` or JSON.
//!
//! Layers, from the ground up: [`transport`] → [`auth`] → [`client`] (one call: token, pace, retries, budget) →
//! [`pagination`], [`subscription`] (two APIs behind one trait), [`event_types`], [`probe`] → [`reconcile`].
//!
//! Out of scope: receiving webhooks (that is `genesys-webhook`), and where reports, tokens and audit entries are kept.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects
    )
)]

pub mod address;
pub mod auth;
pub mod call;
pub mod client;
pub mod error;
pub mod event_types;
pub mod ip_ranges;
mod json;
#[cfg(feature = "reqwest")]
pub mod native;
mod near;
pub mod pace;
pub mod pagination;
pub mod probe;
pub mod reconcile;
pub mod region;
pub mod retry;
pub mod secret;
pub mod subscription;
pub mod transport;

pub use auth::{CachedToken, OAuthTokens, TokenSource};
pub use client::{Budget, Client};
pub use error::{Error, ErrorFault};
pub use secret::Secret;
pub use transport::{HttpRequest, HttpResponse, Runtime, Transport, TransportError};
