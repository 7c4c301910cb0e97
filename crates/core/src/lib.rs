//! What the gateway decides between receiving a request and the platform's calls.
//!
//! Promises: everything here is a function of its arguments (time in milliseconds since the epoch and randomness are
//! passed in), so whole histories are tested natively; nothing here can panic, because a panic in the Worker takes
//! every request of its isolate with it. Out of scope: sockets, storage and queues (the Worker's `platform`), signatures
//! and envelopes (`genesys-webhook`), the vendor's API (`genesys-client`).
#![forbid(unsafe_code)]
// A name that says everything needs no sentence.
#![allow(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects
    )
)]

pub mod audit;
pub mod auth;
pub mod config;
pub mod dead_letters;
pub mod deliver;
pub mod lifecycle;
pub mod messages;
pub mod metrics;
pub mod monitor;
pub mod object_refusal;
pub mod query;
pub mod receive;
pub mod routes;
pub mod schema;
pub mod time;
