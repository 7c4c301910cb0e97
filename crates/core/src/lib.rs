//! What the gateway decides between receiving a request and the platform's calls.
//!
//! Promises: everything here is a function of its arguments (time in milliseconds since the epoch and randomness are
//! passed in), so whole histories are tested natively; nothing here can panic, because a panic in the Worker takes
//! every request of its isolate with it. Out of scope: sockets, storage and queues (the Worker's `platform`), signatures
//! and envelopes (`genesys-webhook`), the vendor's API (`genesys-client`).
#![forbid(unsafe_code)]
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

pub use genesys_webhook::json;

pub mod accounting;
pub mod alerts;
pub mod audit;
pub mod auth;
pub mod by_name;
pub mod cidr;
pub mod circuit;
pub mod config;
pub mod counters;
pub mod handover;
pub mod in_flight;
pub mod ledger;
pub mod letters;
pub mod lifecycle;
pub mod metrics;
pub mod quarantine;
pub mod query;
pub mod replay;
pub mod retention;
pub mod silence;
pub mod time;
pub mod turns;
pub mod watch;
