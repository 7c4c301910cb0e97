//! A replay of many letters, as a row that outlives whoever works on it.
//!
//! Promises: only letters that died before the job began are meant, oldest first, each judged once; progress is a place in
//! that order and counts, stored together after every letter, so that whoever goes on knows where. Out of scope: storing.

use super::{Fate, Verdict};
use crate::dead_letters::Filter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Letters a second where the caller does not say: a destination that has just come back should not meet its backlog at once.
pub const DEFAULT_RATE_PER_S: u32 = 50;

/// The most letters a second: a step works ten at a time on one object, which also has to store what dies meanwhile.
pub const MAX_RATE_PER_S: u32 = 200;

/// The most letters that one dry run judges: it answers within one request, reading every body.
pub const MAX_DRY_RUN: u32 = 200;

/// How often a job waits for what is ours to repair (a queue or a bucket that fails) before it skips the letter in its way.
pub const MAX_STALLS: u32 = 10;

/// Bytes of letters that a step replays side by side: the object shares its isolate's 128 MB with what else lives there, and a
/// body that is judged is there twice.
const MAX_BYTES_AT_ONCE: u64 = 8_000_000;

/// How many of the next letters, by the sizes of their bodies, a step replays side by side; one always. After a step that did not
/// end well only one: if it takes the object down, it is known which letter it was.
pub fn at_once(sizes: impl Iterator<Item = u64>, stalls: u32) -> usize {
    let mut sum = 0u64;
    let fitting = sizes.take_while(|size| {
        sum = sum.saturating_add(*size);
        sum <= MAX_BYTES_AT_ONCE
    });
    let most = if stalls > 0 { 1 } else { usize::MAX };
    fitting.take(most).count().max(1)
}

/// What somebody wants replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOrder {
    /// Identifier that the job gets.
    pub id: String,
    /// Who wants it.
    pub actor: String,
    /// Which letters.
    pub filter: Filter,
    /// Judge only, send nothing, and leave no job behind.
    #[serde(default)]
    pub dry_run: bool,
    /// Letters a second, from 1 to [`MAX_RATE_PER_S`].
    pub rate_per_s: u32,
}

/// How far a job got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Steps are to follow.
    Running,
    /// Every letter was judged.
    Done,
    /// Somebody stopped it; it can go on.
    Cancelled,
}

/// A job and its progress. Stored and shown in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its identifier.
    pub id: String,
    /// How far it got.
    pub state: JobState,
    /// Whether it only judged.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether there were more letters than a dry run judges.
    #[serde(default)]
    pub cut: bool,
    /// Who wants it.
    pub actor: String,
    /// Which letters.
    pub filter: Filter,
    /// Letters a second.
    pub rate_per_s: u32,
    /// When it began: letters that died later are not meant.
    pub started_at_ms: u64,
    /// When it last changed.
    pub updated_at_ms: u64,
    /// Time of death and identifier of the last letter that it is through with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<(u64, String)>,
    /// Letters that it came to.
    #[serde(default)]
    pub matched: u64,
    /// Of them, on their way again.
    #[serde(default)]
    pub replayed: u64,
    /// Of them, refused again.
    #[serde(default)]
    pub still_refused: u64,
    /// Of them, skipped.
    #[serde(default)]
    pub skipped: u64,
    /// Steps in a row that failed for a reason of ours, or never ended: each counts as such while it runs. After [`MAX_STALLS`]
    /// the letter in the way is judged as it comes, and skipped where that step does not end either.
    #[serde(default)]
    pub stalls: u32,
    /// Those that are not on their way, by code.
    #[serde(default)]
    pub by_code: BTreeMap<String, u64>,
}

impl Job {
    /// A job that has not begun.
    pub fn new(order: JobOrder, now_ms: u64) -> Self {
        Self {
            id: order.id,
            state: JobState::Running,
            dry_run: order.dry_run,
            cut: false,
            actor: order.actor,
            filter: order.filter,
            rate_per_s: order.rate_per_s.clamp(1, MAX_RATE_PER_S),
            started_at_ms: now_ms,
            updated_at_ms: now_ms,
            after: None,
            matched: 0,
            replayed: 0,
            still_refused: 0,
            skipped: 0,
            stalls: 0,
            by_code: BTreeMap::new(),
        }
    }

    /// Counts what became of one letter.
    pub fn count(&mut self, verdict: &Verdict) {
        self.matched = self.matched.saturating_add(1);
        let slot = match verdict.outcome {
            Fate::Replayed => &mut self.replayed,
            Fate::StillRefused => &mut self.still_refused,
            Fate::Skipped => &mut self.skipped,
        };
        *slot = slot.saturating_add(1);
        if let Some(code) = &verdict.code {
            let slot = self.by_code.entry(code.to_owned()).or_default();
            *slot = slot.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replayed_side_by_side_fits_into_memory_and_one_always_goes() {
        for (sizes, stalls, expected) in [
            (vec![], 0, 1),
            (vec![25_000_000, 1], 0, 1),
            (vec![5_000_000, 3_000_000, 1], 0, 2),
            (vec![0; 10], 0, 10),
            (vec![0; 10], 1, 1),
        ] {
            assert_eq!(at_once(sizes.iter().copied(), stalls), expected, "{sizes:?} {stalls}");
        }
    }
}
