//! The messages that cross the queues.
//!
//! Promises: one framing for both queues, `header JSON` + `\n` + `body bytes`, so that a body travels exactly as it
//! arrived (no base64, no escaping, any bytes) and the size of a message is known before it is sent. Headers are
//! versioned; a form that has landed is read forever; what cannot be read comes back as a named error together with
//! nothing lost, because the caller still holds the raw bytes. The tests at the end pin each form.
//! Out of scope: sending, and where a body that does not fit is kept.

pub mod id;
pub mod keys;

use serde::{Deserialize, Serialize};

/// The most that a message may have, framing included: Queues take 128 KB (1 KB = 1,000 bytes) of which up to about
/// 100 bytes are the platform's own metadata (Cloudflare Queues, limits).
pub const MAX_MESSAGE_BYTES: usize = 127_800;

pub use genesys_webhook::headers::HeaderPair;

/// Where the body of a message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyRef {
    /// Behind the header, in the message itself.
    Inline {
        /// Bytes that follow the header's newline; a message that has another number is truncated.
        size_bytes: u64,
    },
    /// In R2 (the claim check).
    Stored {
        /// Key of the object.
        key: String,
        /// Size of the object.
        size_bytes: u64,
        /// SHA-256 of the object, 64 lower-case hexadecimal digits.
        sha256: String,
    },
    /// Not kept: over the source's limit, so that it was never read to its end.
    Omitted {
        /// What `Content-Length` said, or the bytes read until the limit was passed.
        size_bytes: u64,
    },
}

impl BodyRef {
    /// Size of the body in bytes, wherever it is.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Inline { size_bytes } | Self::Stored { size_bytes, .. } | Self::Omitted { size_bytes } => *size_bytes,
        }
    }
}

/// A verified and validated delivery on its way to its destination. `H`: a header, borrowed where the request is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery<H = HeaderPair> {
    /// Identifier given at receipt ([`id`]).
    pub id: String,
    /// Name of the source.
    pub source: String,
    /// When the request arrived, milliseconds since the epoch.
    pub received_at_ms: u64,
    /// How many events the envelope holds.
    pub event_count: u64,
    /// Label of the secret that verified it.
    pub secret_label: String,
    /// Idempotency key where headers or envelope give one; otherwise the consumer takes the body's SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// Where it has no other key than its body: for how long an equal body is the same delivery, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_window_s: Option<u32>,
    /// Headers of the request that are handed on.
    pub headers: Vec<H>,
    /// How often this delivery was replayed; a higher number may pass a ledger row that is already settled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replay: u32,
    /// What the letter was that this is a replay of; nothing where it came from the receiver, or where the ledger never
    /// knew of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Where the body is.
    pub body: BodyRef,
}

/// What a replayed delivery was before, for the accounts: whoever counts has to know whether it was counted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Refused on arrival: it was never accepted.
    Refused,
    /// Accepted and given up: the ledger has counted it as dead.
    Dead,
}

/// Where in its way a delivery died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Refused on arrival.
    Receive,
    /// Accepted, and not taken by its destination.
    Deliver,
    /// A message that no consumer could read.
    Queue,
}

impl Stage {
    /// The name that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Deliver => "deliver",
            Self::Queue => "queue",
        }
    }
}

/// A delivery that was refused or could not be handed on, kept whole with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Identifier of the delivery; of the letter too.
    pub id: String,
    /// Name of the source.
    pub source: String,
    /// Where it died.
    pub stage: Stage,
    /// Stable code: a refusal's, or one of [`reason`].
    pub reason: String,
    /// What and where, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// One line of the signature doctor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
    /// Whether its signature had been verified: what was not counts against the source's quarantine.
    pub verified: bool,
    /// When the request arrived, milliseconds since the epoch.
    pub received_at_ms: u64,
    /// When it was given up, milliseconds since the epoch.
    pub dead_at_ms: u64,
    /// Attempts to hand it on.
    pub attempts: u32,
    /// HTTP status of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// Events in the envelope, where it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_count: Option<u64>,
    /// Label of the secret that verified it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_label: Option<String>,
    /// Idempotency key, as in [`Delivery::dedupe_key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// As [`Delivery::duplicate_window_s`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_window_s: Option<u32>,
    /// Headers of the request, secrets removed.
    pub headers: Vec<HeaderPair>,
    /// How often it was replayed before it died.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replay: u32,
    /// Where the body is.
    pub body: BodyRef,
}

impl DeadLetter {
    /// The letter of a delivery that was accepted and given up.
    pub fn undeliverable(
        delivery: &Delivery,
        reason: &str,
        attempts: u32,
        last_status: Option<u16>,
        detail: Option<String>,
        now_ms: u64,
    ) -> Self {
        Self {
            id: delivery.id.clone(),
            source: delivery.source.clone(),
            stage: Stage::Deliver,
            reason: reason.into(),
            detail,
            diagnosis: None,
            verified: true,
            received_at_ms: delivery.received_at_ms,
            dead_at_ms: now_ms,
            attempts,
            last_status,
            event_count: Some(delivery.event_count),
            secret_label: Some(delivery.secret_label.clone()),
            dedupe_key: delivery.dedupe_key.clone(),
            duplicate_window_s: delivery.duplicate_window_s,
            headers: delivery.headers.clone(),
            replay: delivery.replay,
            body: delivery.body.clone(),
        }
    }

    /// The letter of a request or message of which nothing else is known; what is known is added to it.
    pub fn of(id: String, stage: Stage, reason: &str, body: BodyRef, now_ms: u64) -> Self {
        Self {
            id,
            source: String::new(),
            stage,
            reason: reason.into(),
            detail: None,
            diagnosis: None,
            verified: false,
            received_at_ms: now_ms,
            dead_at_ms: now_ms,
            attempts: 0,
            last_status: None,
            event_count: None,
            secret_label: None,
            dedupe_key: None,
            duplicate_window_s: None,
            headers: vec![],
            replay: 0,
            body,
        }
    }
}

/// Has a consumer come to a destination's object for dispatches that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Name of the source.
    pub source: String,
    /// Name of the destination.
    pub destination: String,
    /// For how many.
    pub count: u32,
}

/// Reasons of dead letters that are not refusals.
pub mod reason {
    /// The destination answered 410: it does not want this any more.
    pub const DESTINATION_GONE: &str = "destination_gone";
    /// Every attempt of the schedule failed.
    pub const RETRIES_EXHAUSTED: &str = "retries_exhausted";
    /// The destination failed for so long that the delivery waited a day longer than its schedule without being tried.
    pub const DESTINATION_UNAVAILABLE: &str = "destination_unavailable";
    /// Its consumers crashed whenever they had it in hand.
    pub const CRASHED: &str = "crashed";
    /// A message that no consumer could read.
    pub const UNDECODABLE_MESSAGE: &str = "undecodable_message";
    /// The queue does not hold it any more, and nobody has said what became of it.
    pub const MESSAGE_LOST: &str = "message_lost";
    /// The stored body is missing or is not what was stored.
    pub const BODY_UNAVAILABLE: &str = "body_unavailable";
}

#[derive(Deserialize)]
struct Kind<'a> {
    kind: &'a str,
    v: u32,
}

/// A decoded message and its inline body (empty where the body is elsewhere).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A delivery.
    Delivery(Delivery, &'a [u8]),
    /// A dead letter.
    DeadLetter(DeadLetter, &'a [u8]),
    /// Dispatches that may be taken.
    Release(Release),
}

/// Why a message could not be read. All of them are the sender's or the version's fault, none can be repaired by
/// trying again: the raw bytes belong into a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No newline ends a header.
    #[error("no header line")]
    NoHeader,
    /// The header is not JSON of a known form.
    #[error("header is not readable: {0}")]
    Header(String),
    /// A kind that this version does not know.
    #[error("unknown kind {0:?}")]
    UnknownKind(String),
    /// A version that this version does not know.
    #[error("unknown version {v} of {kind}")]
    UnknownVersion {
        /// Kind of the message.
        kind: String,
        /// Version that it says it has.
        v: u32,
    },
    /// Header and body disagree on the size.
    #[error("body has {actual_bytes} bytes, its header says {expected_bytes}")]
    Truncated {
        /// What the header says.
        expected_bytes: u64,
        /// What is there.
        actual_bytes: u64,
    },
}

/// The header line of a delivery, newline included; the inline body follows it.
pub fn delivery_header<H: Serialize>(message: &Delivery<H>) -> String {
    header_line(r#"{"kind":"delivery","v":1"#, message)
}

/// The header line of a dead letter, newline included; the inline body follows it.
pub fn dead_letter_header(message: &DeadLetter) -> String {
    header_line(r#"{"kind":"dead_letter","v":1"#, message)
}

/// A whole release: its header line, which nothing follows.
pub fn release_header(message: &Release) -> String {
    header_line(r#"{"kind":"release","v":1"#, message)
}

/// `start`, then the members of `message`: what `serde(flatten)` would write, which costs a quarter of the time more.
fn header_line(start: &str, message: &impl Serialize) -> String {
    // A delivery's usual headers: growing step by step would copy them several times.
    let mut line = Vec::with_capacity(1_500);
    line.extend_from_slice(start.as_bytes());
    // Strings, numbers and lists: none of them can fail to serialize. Half a header would be refused by `decode`.
    let _ = serde_json::to_writer(&mut line, message);
    if let Some(bracket) = line.get_mut(start.len()) {
        *bracket = b',';
    }
    line.push(b'\n');
    String::from_utf8(line).unwrap_or_default()
}

/// A whole message: header line and inline body.
pub fn frame(header: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(header.len().saturating_add(body.len()));
    message.extend_from_slice(header.as_bytes());
    message.extend_from_slice(body);
    message
}

/// Whether a header line and a body of `body_bytes` fit into one message.
pub fn fits(header: &str, body_bytes: usize) -> bool {
    header.len().saturating_add(body_bytes) <= MAX_MESSAGE_BYTES
}

/// Reads a message of any version that ever landed.
///
/// Inline, so that it is compiled in the Worker for size: this crate is compiled for speed, and no delivery waits for this.
#[inline]
pub fn decode(message: &[u8]) -> Result<Message<'_>, DecodeError> {
    let end = message.iter().position(|byte| *byte == b'\n').ok_or(DecodeError::NoHeader)?;
    let (header, rest) = message.split_at_checked(end).ok_or(DecodeError::NoHeader)?;
    let body = rest.get(1..).unwrap_or_default();
    let header = core::str::from_utf8(header).map_err(|_| DecodeError::Header("not UTF-8".into()))?;
    let Kind { kind, v } = serde_json::from_str(header).map_err(|error| header_error(&error))?;
    match (kind, v) {
        ("delivery", 1) => {
            let delivery: Delivery = serde_json::from_str(header).map_err(|error| header_error(&error))?;
            check_size(&delivery.body, body)?;
            Ok(Message::Delivery(delivery, body))
        }
        ("dead_letter", 1) => {
            let letter: DeadLetter = serde_json::from_str(header).map_err(|error| header_error(&error))?;
            check_size(&letter.body, body)?;
            Ok(Message::DeadLetter(letter, body))
        }
        ("release", 1) => {
            let release = serde_json::from_str(header).map_err(|error| header_error(&error))?;
            check_size(&BodyRef::Omitted { size_bytes: 0 }, body)?;
            Ok(Message::Release(release))
        }
        ("delivery" | "dead_letter" | "release", v) => Err(DecodeError::UnknownVersion { kind: kind.into(), v }),
        (kind, _) => Err(DecodeError::UnknownKind(kind.chars().take(40).collect())),
    }
}

fn header_error(error: &serde_json::Error) -> DecodeError {
    DecodeError::Header(format!("{error}"))
}

fn check_size(reference: &BodyRef, body: &[u8]) -> Result<(), DecodeError> {
    let expected_bytes = match reference {
        BodyRef::Inline { size_bytes } => *size_bytes,
        BodyRef::Stored { .. } | BodyRef::Omitted { .. } => 0,
    };
    let actual_bytes = body.len() as u64;
    if expected_bytes == actual_bytes { Ok(()) } else { Err(DecodeError::Truncated { expected_bytes, actual_bytes }) }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's `skip_serializing_if` passes a reference
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
