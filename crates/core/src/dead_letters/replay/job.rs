//! A replay of many letters, as a row that outlives the object that works on it.
//!
//! Promises: only letters that died before the job began are meant, oldest first, each judged once; progress is a position in
//! that order and counts, stored together after every letter, so that a job goes on where it was. Out of scope: storing.

use super::{Fate, ReplayVerdict};
use crate::dead_letters::LetterFilter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Letters a second where the caller does not say: a destination that has just come back should not meet its backlog at once.
pub const DEFAULT_RATE_PER_S: u32 = 50;

/// The most letters a second: a step works ten at a time on one object, which also has to store what dies meanwhile.
pub const MAX_RATE_PER_S: u32 = 200;

/// The most letters that one dry run judges: it answers within one request, reading every body.
pub const MAX_DRY_RUN: u32 = 200;

/// Times that a job waits for what may pass (a queue or a bucket that fails) before it skips the letter in its way.
pub const MAX_STALLS: u32 = 10;

/// Bytes of letters that a step replays side by side: the object shares its isolate's 128 MB with what else lives there, and a
/// body that is judged is there twice.
const MAX_BYTES_AT_ONCE: u64 = 8_000_000;

/// Time of death and identifier of a letter, by which letters are ordered.
pub type LetterPosition = (u64, String);

/// What an operator wants replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOrder {
    /// Identifier that the job gets.
    pub id: String,
    /// Who wants it.
    pub actor: String,
    /// Which letters.
    pub filter: LetterFilter,
    /// Judge only, send nothing, and leave no job behind.
    pub dry_run: bool,
    /// Letters a second, from 1 to [`MAX_RATE_PER_S`].
    pub rate_per_s: u32,
}

/// How far a job got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Steps are to follow.
    #[default]
    Running,
    /// Every letter was judged.
    Done,
    /// An operator stopped it; it can go on.
    Cancelled,
}

/// What can be done with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobAction {
    /// Only tell how far it got.
    Show,
    /// Stop it before its next letters.
    Cancel,
    /// Go on where it stopped.
    Resume,
}

/// What a job does with the next letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStep {
    /// There are none: the job is done.
    Finish,
    /// Goes past the first, because no step with it has ended.
    Skip,
    /// Replays so many of them side by side. `waits`: whether a letter is put back that could not be replayed for a reason that
    /// may pass.
    Replay {
        /// How many, at least one.
        letters: usize,
        /// Whether the job waits for what may pass.
        waits: bool,
    },
}

/// A job and its progress, stored and shown in this form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its identifier.
    pub id: String,
    /// How far it got.
    pub state: JobState,
    /// Whether it only judged.
    pub dry_run: bool,
    /// Whether there were more letters than a dry run judges.
    pub cut: bool,
    /// Who wants it.
    pub actor: String,
    /// Which letters.
    pub filter: LetterFilter,
    /// Letters a second.
    pub rate_per_s: u32,
    /// When it began: letters that died later are not meant.
    pub started_at_ms: u64,
    /// When it last changed.
    pub updated_at_ms: u64,
    /// The last letter that it is through with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<LetterPosition>,
    /// Letters that it came to.
    pub matched: u64,
    /// Of them, on their way again.
    pub replayed: u64,
    /// Of them, refused again.
    pub still_refused: u64,
    /// Of them, skipped.
    pub skipped: u64,
    /// Steps in a row that failed for a reason that may pass, or never ended: each counts as such while it runs. After
    /// [`MAX_STALLS`] the letter in the way is judged as it comes, and skipped where that step does not end either.
    pub stalls: u32,
    /// Those that are not on their way, by code.
    pub by_code: BTreeMap<String, u64>,
}

impl Job {
    /// A job that has not begun.
    pub fn new(order: JobOrder, now_ms: u64) -> Self {
        Self {
            id: order.id,
            dry_run: order.dry_run,
            actor: order.actor,
            filter: order.filter,
            rate_per_s: order.rate_per_s.clamp(1, MAX_RATE_PER_S),
            started_at_ms: now_ms,
            updated_at_ms: now_ms,
            ..Self::default()
        }
    }

    /// What the job does with the next letters, whose bodies have `sizes`. After a step that did not end well it takes only one
    /// letter: where that takes the object down, it is known which letter it was.
    pub fn next_step(&self, sizes: impl Iterator<Item = u64>) -> JobStep {
        let mut sizes = sizes.peekable();
        if sizes.peek().is_none() {
            return JobStep::Finish;
        }
        if self.stalls > MAX_STALLS {
            return JobStep::Skip;
        }
        let mut sum = 0u64;
        let fitting = sizes.take_while(|size| {
            sum = sum.saturating_add(*size);
            sum <= MAX_BYTES_AT_ONCE
        });
        let most = if self.stalls > 0 { 1 } else { usize::MAX };
        JobStep::Replay { letters: fitting.take(most).count().max(1), waits: self.stalls < MAX_STALLS }
    }

    /// A step begins. Stored before anything leaves the object: a step that takes it down has to be known as one that did.
    pub fn step_begins(&mut self) {
        self.stalls = self.stalls.saturating_add(1);
    }

    /// A step ended. `letters`: its letters in order, each with whether the job is through with it.
    pub fn step_ends(&mut self, letters: impl IntoIterator<Item = (LetterPosition, bool)>) {
        for (position, is_through) in letters {
            if !is_through {
                return;
            }
            self.after = Some(position);
        }
        self.stalls = 0;
    }

    /// Goes past a letter with which no step has ended.
    pub fn skip(&mut self, position: LetterPosition, verdict: &ReplayVerdict) {
        self.count(verdict);
        (self.after, self.stalls) = (Some(position), 0);
    }

    /// Does what an operator wants done; a job that is done stays done.
    pub fn act(&mut self, action: JobAction) {
        match (action, self.state) {
            (JobAction::Cancel, JobState::Running) => self.state = JobState::Cancelled,
            (JobAction::Resume, JobState::Cancelled) => (self.state, self.stalls) = (JobState::Running, 0),
            _ => {}
        }
    }

    /// Counts what became of one letter.
    pub fn count(&mut self, verdict: &ReplayVerdict) {
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

    fn job(stalls: u32) -> Job {
        let (filter, actor) = (LetterFilter::default(), "admin".to_owned());
        Job { stalls, ..Job::new(JobOrder { id: "1".into(), actor, filter, dry_run: false, rate_per_s: 50 }, 0) }
    }

    #[test]
    fn what_is_replayed_side_by_side_fits_into_memory_and_one_always_goes() {
        let replay = |letters, waits| JobStep::Replay { letters, waits };
        for (sizes, stalls, expected) in [
            (vec![], 0, JobStep::Finish),
            (vec![], MAX_STALLS + 1, JobStep::Finish),
            (vec![25_000_000, 1], 0, replay(1, true)),
            (vec![5_000_000, 3_000_000, 1], 0, replay(2, true)),
            (vec![0; 10], 0, replay(10, true)),
            (vec![0; 10], 1, replay(1, true)),
            (vec![0; 10], MAX_STALLS, replay(1, false)),
            (vec![0; 10], MAX_STALLS + 1, JobStep::Skip),
        ] {
            assert_eq!(job(stalls).next_step(sizes.iter().copied()), expected, "{sizes:?} {stalls}");
        }
    }

    #[test]
    fn a_job_goes_on_behind_the_last_letter_before_the_first_in_its_way() {
        let position = |n: u64| (n, n.to_string());
        let mut job = job(0);
        job.step_begins();
        assert_eq!((job.stalls, &job.after), (1, &None));
        job.step_ends([(position(1), true), (position(2), true), (position(3), false), (position(4), true)]);
        assert_eq!((job.stalls, job.after.clone()), (1, Some(position(2))));
        job.step_begins();
        job.step_ends([(position(3), false)]);
        assert_eq!((job.stalls, job.after.clone()), (2, Some(position(2))));
        job.skip(position(3), &ReplayVerdict::skipped("crashed", None));
        assert_eq!((job.stalls, job.skipped, job.after.clone()), (0, 1, Some(position(3))));
        job.step_begins();
        job.step_ends([(position(4), true)]);
        assert_eq!((job.stalls, job.after.clone()), (0, Some(position(4))));
    }

    #[test]
    fn a_job_is_cancelled_and_resumed_and_stays_done() {
        let mut job = job(3);
        for (action, state, stalls) in [
            (JobAction::Show, JobState::Running, 3),
            (JobAction::Resume, JobState::Running, 3),
            (JobAction::Cancel, JobState::Cancelled, 3),
            (JobAction::Cancel, JobState::Cancelled, 3),
            (JobAction::Resume, JobState::Running, 0),
        ] {
            job.act(action);
            assert_eq!((job.state, job.stalls), (state, stalls), "{action:?}");
        }
        job.state = JobState::Done;
        for action in [JobAction::Cancel, JobAction::Resume] {
            job.act(action);
            assert_eq!(job.state, JobState::Done);
        }
    }
}
