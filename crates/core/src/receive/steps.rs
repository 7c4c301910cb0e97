//! What the receiver tells its driver: the next step of a request, and what is counted of it.
//!
//! Promise: a step has everything that the driver needs for it. Out of scope: deciding (`super::Receiver`).

use super::answer::ReceiveAnswer;
use genesys_webhook::encoding::Tag;

/// What the driver does next. `id`: the request's number in further calls.
/// - `Answer`: answers; `settled` where the request is counted;
/// - `Read`: reads the body, then calls `arrived` (or `overflowed`, or `failed`);
/// - `AskRateLimit`: asks the limiter of that binding for the key (source and address), then calls `rate_limited`;
/// - `Send`: stores the body where it is to be stored, sends the message, then calls `sent` (or `failed`).
#[derive(Debug, PartialEq, Eq)]
pub enum NextStep {
    Answer { answer: ReceiveAnswer, settled: Option<SettledRequest> },
    Read { id: u32, limit_bytes: u64 },
    AskRateLimit { id: u32, binding: String, key: String },
    Send(OutgoingMessage),
}

#[derive(Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    pub id: u32,
    pub queue: Queue,
    pub header: String,
    pub body: BodyPlace,
    /// What is answered once the message was sent.
    pub answer: ReceiveAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    Deliveries,
    DeadLetters,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPlace {
    /// Behind the header, in the message.
    Message,
    Bucket(String),
    /// Nowhere: it was not read.
    Nowhere,
}

/// What a request came to. `is_over_budget`: it would have been kept, had the quarantine had the budget; `code` and `cause`:
/// stable names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveOutcome {
    Accepted { event_count: u64, secret_label: String },
    Refused { code: &'static str, is_over_budget: bool },
    Unavailable { cause: &'static str },
}

#[derive(Debug, PartialEq, Eq)]
pub struct SettledRequest {
    /// Place of its source in the configuration; `None` where it named none.
    pub source: Option<usize>,
    pub outcome: ReceiveOutcome,
    /// Size of its body; 0 where it was not read to its end.
    pub size_bytes: u64,
    /// From its arrival to its end, in milliseconds.
    pub latency_ms: u64,
    /// Where it named no source and is to be logged.
    pub unknown: Option<UnknownRequest>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct UnknownRequest {
    pub path: String,
    pub address: String,
}

/// A body that was read, with what was computed of it outside of this crate.
#[derive(Clone, Copy, Debug)]
pub struct ReadBody<'b> {
    pub bytes: &'b [u8],
    /// One tag for each secret of `hash_plan`, in its order; none where they are to be computed here.
    pub tags: &'b [Tag],
    /// SHA-256 of the body; computed here where it is missing and needed.
    pub sha256: Option<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    Fits,
    /// It passed the source's limit.
    TooLarge,
    /// The isolate holds as much as it may.
    NoRoom,
}
