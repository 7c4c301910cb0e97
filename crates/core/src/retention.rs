//! What is old enough to be removed.
//!
//! Promises: a stored body outlives everything that may refer to it, because its cutoff lies a day behind the longest of the
//! others; whoever removes works in bounded steps and says what it removed. Out of scope: removing.

use crate::time::{DAY_MS, date_path};
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

/// Prefixes of stored bodies, each followed by the date of receipt.
pub const BODY_PREFIXES: [&str; 2] = ["dead-letters/", "payloads/"];

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
    /// Letters that died before this time are removed.
    pub fn letters_before_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.letter_days.saturating_mul(DAY_MS))
    }

    /// Settled deliveries that changed last before this time are removed.
    pub fn ledger_before_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.dedupe_days.saturating_mul(DAY_MS))
    }

    /// Exported audit entries that were recorded before this time are removed.
    pub fn audit_before_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.audit_days.saturating_mul(DAY_MS))
    }

    /// The key below which stored bodies under `prefix` are removed: those of deliveries that were received before the
    /// longest schedule, the longest retention and a day of grace. A letter may die long after its receipt, so that its
    /// own retention begins late: a schedule ends within 90 days of waits of at most a day each.
    pub fn bodies_before_key(&self, prefix: &str, longest_schedule_s: u64, now_ms: u64) -> String {
        let kept_days = self.letter_days.max(self.dedupe_days).saturating_add(1);
        let kept_ms = kept_days.saturating_mul(DAY_MS).saturating_add(longest_schedule_s.saturating_mul(1_200));
        format!("{prefix}{}", date_path(now_ms.saturating_sub(kept_ms)))
    }
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
    /// Audit entries written to files.
    #[serde(default)]
    pub audit_exported: u64,
    /// Audit entries removed from the log's object, all of them in files.
    #[serde(default)]
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
        assert_eq!(retention.bodies_before_key("payloads/", 100_000, now_ms), "payloads/2026/10/22");
        assert_eq!(retention.letters_before_ms(now_ms), now_ms - 30 * DAY_MS);
        // What is received on the day of the cutoff sorts behind it and stays.
        assert!("payloads/2026/10/23/s/01" > retention.bodies_before_key("payloads/", 0, now_ms).as_str());
    }
}
