//! What the receiver tells its driver: the next step of a request, and what is counted of it.
//!
//! Promise: a step has everything that the driver needs for it. Out of scope: deciding (`super::Receiver`).

use super::answer::ReceiveAnswer;
use genesys_webhook::encoding::Tag;

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Answers; `settled` where the request is counted.
    Answer {
        /// What is answered.
        answer: ReceiveAnswer,
        /// What is counted.
        settled: Option<SettledRequest>,
    },
    /// Reads the body, then calls `arrived` (or `overflowed`, or `failed`).
    Read {
        /// The request's number in further calls.
        id: u32,
        /// The most bytes that are read.
        limit_bytes: u64,
    },
    /// Asks the rate limiter, then calls `rate_limited`.
    AskRateLimit {
        /// The request's number in further calls.
        id: u32,
        /// Name of the limiter's binding.
        binding: String,
        /// Whose requests are counted: source and address.
        key: String,
    },
    /// Stores the body where it is to be stored, sends the message, then calls `sent` (or `failed`).
    Send(OutgoingMessage),
}

/// A message to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The request's number in further calls.
    pub id: u32,
    /// Where it is sent.
    pub queue: Queue,
    /// Header line of the message.
    pub header: String,
    /// What becomes of the body.
    pub body: BodyPlace,
    /// What is answered once the message was sent.
    pub answer: ReceiveAnswer,
}

/// A queue of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Accepted deliveries.
    Deliveries,
    /// Dead letters.
    DeadLetters,
}

/// Where a body goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPlace {
    /// Behind the header, in the message.
    Message,
    /// Into the bucket, under this key.
    Bucket(String),
    /// Nowhere: it was not read.
    Nowhere,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveOutcome {
    /// Durable.
    Accepted {
        /// Events of its envelope.
        event_count: u64,
        /// Label of the secret that verified it.
        secret_label: String,
    },
    /// Not accepted.
    Refused {
        /// Stable name of the reason.
        code: &'static str,
        /// Whether it would have been kept, had the quarantine had the budget.
        is_over_budget: bool,
    },
    /// Ours to repair.
    Unavailable {
        /// Stable name of the cause.
        cause: &'static str,
    },
}

/// What is counted of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct SettledRequest {
    /// Place of its source in the configuration; `None` where it named none.
    pub source: Option<usize>,
    /// What it came to.
    pub outcome: ReceiveOutcome,
    /// Size of its body; 0 where it was not read to its end.
    pub size_bytes: u64,
    /// From its arrival to its end, in milliseconds.
    pub latency_ms: u64,
    /// Where it named no source and is to be logged.
    pub unknown: Option<UnknownRequest>,
}

/// A request that named no source.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownRequest {
    /// The path of its URL, as it came.
    pub path: String,
    /// The address that it came from.
    pub address: String,
}

/// A body that was read, with what was computed of it outside of this crate.
#[derive(Clone, Copy, Debug)]
pub struct ReadBody<'b> {
    /// The body.
    pub bytes: &'b [u8],
    /// One tag for each secret of `hash_plan`, in its order; none where they are to be computed here.
    pub tags: &'b [Tag],
    /// SHA-256 of the body; computed here where it is missing and needed.
    pub sha256: Option<[u8; 32]>,
}

/// Whether a body grew within what there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Read on.
    Fits,
    /// It passed the source's limit.
    TooLarge,
    /// The isolate holds as much as it may.
    NoRoom,
}
