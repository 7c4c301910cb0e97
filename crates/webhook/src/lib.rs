//! Receiving webhooks, pure: from headers and raw bytes to "accepted" or to a named refusal.
//!
//! Promises: nothing here reads a clock, a socket or randomness (the time is passed in as milliseconds since the
//! epoch), nothing panics on any input, and no secret reaches an error, a log line or a serialized form.
//!
//! The way of a delivery (DESIGN §3): [`signature::Verifier::verify`] over the raw bytes, then
//! [`scheme::Scheme::inspect`] for the envelope, then [`scheme::Scheme::idempotency_key`]; what is refused on the way
//! is a [`refusal::Refusal`], and [`doctor::explain`] says why.
//!
//! Out of scope: where bodies come from and go to, queues, answers over HTTP, configuration files.
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

extern crate alloc;

pub mod custom;
pub mod dedupe;
pub mod doctor;
pub mod encoding;
pub mod envelope;
pub mod headers;
pub mod pointer;
pub mod profile;
pub mod refusal;
pub mod scheme;
pub mod secret;
pub mod sign;
pub mod signature;

mod mac;
