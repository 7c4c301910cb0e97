//! Keys of objects in the bucket.
//!
//! Promises: a key says what, when and whose; a repeated try has the same key; keys of bodies sort by their date of receipt.
//! Out of scope: how long objects are kept (`crate::dead_letters::retention`).

use crate::time::date_path;

/// What the keys of stored bodies begin with, each followed by the date of receipt.
pub const BODY_PREFIXES: [&str; 2] = ["dead-letters/", "payloads/"];

/// Where a body is kept that fits into no message.
pub fn payload_key(source: &str, delivery_id: &str, received_at_ms: u64) -> String {
    format!("payloads/{}/{source}/{delivery_id}", date_path(received_at_ms))
}

/// Where the body of a dead letter is kept that came with its message and fits into no row.
pub fn letter_body_key(letter_id: &str, received_at_ms: u64) -> String {
    format!("dead-letters/{}/{letter_id}", date_path(received_at_ms))
}

/// Where a segment of bodies of dead letters is kept, under the day on which it was made.
pub fn body_segment_key(segment_id: &str, made_at_ms: u64) -> String {
    format!("dead-letters/{}/segment-{segment_id}", date_path(made_at_ms))
}

/// The key below which stored bodies under `prefix` are those of requests that arrived before the day of `before_ms`.
pub fn bodies_before_key(prefix: &str, before_ms: u64) -> String {
    format!("{prefix}{}", date_path(before_ms))
}

pub fn archive_key(source: &str, delivery_id: &str, received_at_ms: u64) -> String {
    format!("deliveries/{source}/{}/{delivery_id}.json", date_path(received_at_ms))
}

/// What the key of the segment begins with whose first entry has number `first`; keys sort as the numbers do.
pub fn audit_segment_prefix(first: u64) -> String {
    format!("audit/{first:012}-")
}

/// Where a segment of the audit trail is kept, named by its first number and the hash of its last entry.
pub fn audit_segment_key(first: u64, last_hash: &str) -> String {
    format!("{}{last_hash}.jsonl", audit_segment_prefix(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pinned_and_bodies_are_under_the_prefixes() {
        let day_ms = 1_795_465_244_000; // 2026-11-23
        let bodies = [letter_body_key("1", day_ms), payload_key("s", "1", day_ms), body_segment_key("1", day_ms)];
        assert_eq!(
            bodies,
            ["dead-letters/2026/11/23/1", "payloads/2026/11/23/s/1", "dead-letters/2026/11/23/segment-1"]
        );
        for (key, prefix) in bodies.iter().zip(BODY_PREFIXES.into_iter().cycle()) {
            assert!(
                key.starts_with(prefix) && *key > bodies_before_key(prefix, day_ms),
                "the day itself is kept: {key}"
            );
            assert!(*key < bodies_before_key(prefix, day_ms + crate::time::DAY_MS), "the next day is not: {key}");
        }
        assert_eq!(archive_key("s", "1", day_ms), "deliveries/s/2026/11/23/1.json");
        assert_eq!(audit_segment_key(1_001, "ab"), "audit/000000001001-ab.jsonl");
    }
}
