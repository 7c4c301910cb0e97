//! Deliveries whose message is gone: the queue's retention has ended, or somebody purged or deleted the queue.
//!
//! Promises: nothing is taken for lost that may still come: its row has not changed for longer than any queue keeps a message,
//! and a day after it was first suspected it still has not (the queue may have been held up, by a broken configuration for
//! example, and be about to go on). What is lost becomes a letter, so that somebody learns of it and the row does not
//! stay pending for ever; where the body is in the bucket, the letter can be replayed. Out of scope: looking for the body.

use super::LostRow;
use crate::messages::{BodyRef, DeadLetter, Stage, reason};
use crate::time::DAY_MS;

/// Rows of one object that one run turns into letters: each may read a body and sends a message, and an invocation makes at
/// most 10,000 calls.
pub const LOST_LIMIT: u32 = 150;

/// Queues keep a message for at most 14 days.
const LONGEST_RETENTION_DAYS: u64 = 14;

/// How long a suspicion has to stand, in milliseconds: retention runs once a day, not to the second.
const SUSPICION_MS: u64 = 72_000_000;

/// Pending rows that changed last before this time are suspected.
pub fn lost_before_ms(now_ms: u64) -> u64 {
    now_ms.saturating_sub(LONGEST_RETENTION_DAYS.saturating_add(1).saturating_mul(DAY_MS))
}

/// Rows that were suspected before this time, and have not changed since, are lost.
pub fn suspected_before_ms(now_ms: u64) -> u64 {
    now_ms.saturating_sub(SUSPICION_MS)
}

/// The letter of a lost delivery. `body`: what was found of it in the bucket, where the key may say that there was one.
pub fn lost_letter(LostRow { row, key }: &LostRow, body: Option<BodyRef>, now_ms: u64) -> DeadLetter {
    let dedupe_key = key.split_once('\u{1f}').map(|(_, key)| key.to_owned());
    let found = if body.is_some() { "its body was found in the bucket" } else { "its body was in the message" };
    let body = body.unwrap_or(BodyRef::Omitted { size_bytes: row.size_bytes });
    DeadLetter {
        source: row.source.clone(),
        detail: Some(format!("its message has not come since {}; {found}", crate::time::rfc3339(row.updated_at_ms))),
        verified: true,
        received_at_ms: row.received_at_ms,
        attempts: row.attempts,
        last_status: row.last_status,
        event_count: Some(row.event_count),
        dedupe_key,
        replay: row.replay,
        ..DeadLetter::of(row.id.clone(), Stage::Deliver, reason::MESSAGE_LOST, body, now_ms)
    }
}
