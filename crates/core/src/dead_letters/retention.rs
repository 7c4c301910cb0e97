//! What is old enough to be removed.
//!
//! Promises: a stored body outlives everything that may refer to it, because its cutoff lies a day behind the longest of the
//! others; so does a segment, which is younger than every death in it. Out of scope: removing.

use crate::messages::keys::bodies_before_key;
use crate::time::DAY_MS;
use serde::{Deserialize, Serialize};

/// Days that a dead letter is kept where the configuration says nothing.
pub const DEFAULT_LETTER_DAYS: u64 = 30;

/// Days that a delivery's idempotency key is remembered where the configuration says nothing.
pub const DEFAULT_DEDUPE_DAYS: u64 = 7;

/// Days that an exported audit entry stays in the log's object where the configuration says nothing.
pub const DEFAULT_AUDIT_DAYS: u64 = 365;

/// Rows or objects that one step removes: a list of R2 has at most 1,000, and a step of an object stays far below its CPU limit.
pub const STEP: u32 = 500;

/// Steps of one kind in one run: half a million letters, ledger rows of a shard, or bodies.
pub const MAX_STEPS: u32 = 1_000;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days that a dead letter is kept.
    pub letter_days: u64,
    /// Days that a settled delivery is kept in the ledger.
    pub dedupe_days: u64,
    /// Days that an exported audit entry stays in the log's object; its file is kept for good.
    pub audit_days: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { letter_days: DEFAULT_LETTER_DAYS, dedupe_days: DEFAULT_DEDUPE_DAYS, audit_days: DEFAULT_AUDIT_DAYS }
    }
}

impl Retention {
    /// Replayed letters whose request arrived before this time are removed, whenever they died last. A letter that dies
    /// again begins another retention each time, its body does not: the longest life is that of a letter which died at the
    /// end of the longest way (`longest_ms`: [`crate::deliver::retry_policy::longest_ms`] of the sources).
    pub fn received_before_ms(&self, longest_ms: u64, now_ms: u64) -> u64 {
        before_ms(self.letter_days.max(self.dedupe_days), now_ms).saturating_sub(longest_ms)
    }

    /// The key below which stored bodies under `prefix` are removed: those of requests that arrived a whole way and a
    /// day of grace before the last letter that may name them went ([`Self::received_before_ms`]), because a replay may
    /// begin at the very end of a letter's life, and its last attempt has to find the body.
    pub fn bodies_before_key(&self, prefix: &str, longest_ms: u64, now_ms: u64) -> String {
        let letters_ms = self.received_before_ms(longest_ms, now_ms);
        let before_ms = letters_ms.saturating_sub(longest_ms).saturating_sub(DAY_MS);
        bodies_before_key(prefix, before_ms)
    }
}

/// What is older than `days` is from before this time.
pub const fn before_ms(days: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(days.saturating_mul(DAY_MS))
}

/// What is remembered of the last run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRetention {
    /// When it ended.
    pub ended_at_ms: u64,
    /// Steps that failed.
    pub failures: u64,
    /// Whether something was left for the next run.
    pub unfinished: bool,
}

/// What one run removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Dead letters.
    pub dead_letters: u64,
    /// Rows of the ledger.
    pub deliveries: u64,
    /// Stored bodies that nothing refers to any more.
    pub bodies: u64,
    /// Not removed: deliveries whose message the queue does not hold any more, and that are dead letters now.
    pub lost: u64,
    /// Audit entries written to files.
    pub audit_exported: u64,
    /// Audit entries removed from the log's object, all of them in files.
    pub audit_entries: u64,
    /// Steps that failed; the next run goes on.
    pub failures: u64,
    /// Whether something was left for the next run.
    pub unfinished: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_outlives_what_may_refer_to_it() {
        let retention = Retention::default();
        let now_ms = 1_795_465_244_000; // 2026-11-23
        assert_eq!(retention.bodies_before_key("payloads/", 0, now_ms), "payloads/2026/10/23");
        let body_goes = retention.bodies_before_key("payloads/", 120_000_000, now_ms);
        assert_eq!(body_goes, "payloads/2026/10/21");
        // The last replay of a letter begins before its row goes, and its schedule ends before its body goes.
        let row_goes_ms = retention.received_before_ms(120_000_000, now_ms);
        assert_eq!(row_goes_ms, now_ms - 30 * DAY_MS - 120_000_000);
        assert!(bodies_before_key("payloads/", row_goes_ms - 120_000_000) > body_goes);
    }
}
