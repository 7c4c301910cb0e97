//! A client of the Genesys Cloud API, and a reconciler that keeps subscriptions as declared.
//!
//! The client fetches tokens, keeps to the vendor's rate limit, and repeats calls where that is safe. It runs natively, in
//! Workers and in browsers, over a [`transport::Transport`] that the caller brings. [`reconcile`] compares declared with
//! actual subscriptions of two APIs, applies the difference within a budget, and reports it item by item.
//!
//! ```
//! use genesys_client::{Client, Error, OAuthTokens, Runtime, Secret, Transport, region::Endpoints};
//!
//! async fn print_event_types(transport: impl Transport + Clone, runtime: impl Runtime + Clone) -> Result<(), Error> {
//!     let endpoints = Endpoints::for_region("mypurecloud.ie").expect("a region of the table");
//!     let secret = Secret::new("client-secret");
//!     let tokens = OAuthTokens::new(transport.clone(), runtime.clone(), &endpoints.login_url, "client-id", secret);
//!     let client = Client::new(transport, runtime, tokens, &endpoints.api_url);
//!     for event_type in client.event_types().await? {
//!         println!("{}", event_type.name);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Promises:
//! - Time, pauses and randomness are passed in ([`transport::Runtime`]), and all else is a function of them.
//! - No input makes it panic.
//! - Errors, reports, `Debug` and JSON show no secret.
//!
//! Layers, from the ground up: [`transport`] → [`auth`] → [`client`] → [`pagination`], [`subscription`],
//! [`event_types`], [`probe`] → [`reconcile`].
//!
//! Out of scope: receiving webhooks (that is `genesys-webhook`), and where reports, tokens and audit events are stored.

#![forbid(unsafe_code)]
// A name that says everything needs no sentence.
#![allow(missing_docs)]
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
pub use client::{Client, RunBudget};
pub use error::{Error, ErrorFault};
pub use secret::Secret;
pub use transport::{HttpRequest, HttpResponse, Runtime, Transport, TransportError};
