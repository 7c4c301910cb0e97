//! Receiving webhooks, pure: from headers and raw bytes to "accepted" or to a named refusal.
//!
//! A delivery is verified over its raw bytes ([`signature`]), then its envelope is read ([`envelope`]), then its idempotency
//! key is found ([`dedupe`]). What is refused on the way is a [`refusal::Refusal`], and [`doctor::explain`] says why.
//!
//! ```
//! use genesys_webhook::{scheme::Scheme, secret::SigningSecret, sign::sign, signature::Verifier};
//!
//! let scheme = Scheme::webhooks();
//! let secret = SigningSecret::new(&scheme, "current", "0123456789abcdef", None)?;
//! let body = br#"{"events":[{"id":"a"}]}"#;
//! let headers = sign(&scheme, &secret, "", 0, body);
//!
//! let verifier = Verifier::new(scheme, vec![secret]);
//! let verified = verifier.verify(headers.as_slice(), body, 1_700_000_000_000)?;
//! let envelope = verifier.scheme().inspect(body)?;
//! assert_eq!((verified.label, envelope.event_count), ("current", 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Promises:
//! - Nothing here reads a clock, a socket or randomness. Times are passed in, as milliseconds since the epoch.
//! - No input makes it panic.
//! - No secret reaches an error, a log line or a serialized form.
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
