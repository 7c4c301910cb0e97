//! Receiving a request to `/webhook/{source}`: what is done next, until it is answered.
//!
//! The driver (`src/receive/driver.js`) does the input and output, [`Receiver`] decides, synchronously. A request is opened; it
//! is answered at once, or its body is read; it is judged; then it is answered, or the rate limiter is asked, or a message is
//! sent (and its body stored before); then it is settled. Accepted, refused and refused at the door are the same steps.
//!
//! Promises:
//! - The signature is verified over the raw bytes before anything is parsed.
//! - A delivery is answered 200 only after its message was sent.
//! - A request that is genuine is kept whatever policy says of its address.
//! - Every POST is accounted, with labels of which there are few.
//!
//! Out of scope: what a valid signature and envelope are (`genesys_webhook`).

pub mod answer;
pub mod body_budget;
pub mod delivery;
mod judgement;
pub mod networks;
pub mod quarantine;
mod receiver;
mod receptions;
pub mod rejection;
pub mod route;
mod steps;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use receiver::Receiver;
pub use steps::{
    BodyPlace, Growth, NextStep, OutgoingMessage, Queue, ReadBody, ReceiveOutcome, SettledRequest, UnknownRequest,
};

/// The name under which requests are counted that name no source of the configuration. No source can have it.
pub const UNKNOWN_SOURCE: &str = "(unknown)";

/// From this size on a body is stored in the bucket, in bytes. A message holds 127,800 and the kept headers need room.
pub const STORED_FROM_BYTES: usize = 100_000;

/// After this time a request that was not settled counts as vanished, in milliseconds. Reading ends after
/// [`READ_DEADLINE_MS`]; storing and sending take seconds.
pub const LEASE_MS: u64 = 60_000;

/// How long a sender may take for its body, in milliseconds. Genesys gives a delivery up after 10 s.
pub const READ_DEADLINE_MS: u64 = 10_000;

/// How many requests to unknown sources are logged, per minute and isolate.
const UNKNOWN_LOGGED_PER_MINUTE: u32 = 10;
