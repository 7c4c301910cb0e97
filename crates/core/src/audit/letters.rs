//! What the trail says of dead letters: that they were stored, replayed and removed.
//!
//! Promise: a letter of a sender who proved who he is has an entry of its own; of the others a batch has one entry a source and
//! reason. Anybody can send requests, and nothing removes an entry for a year.

use super::{Action, Draft};
use crate::dead_letters::replay::{Fate, Job, JobState, Replayed};
use crate::dead_letters::retention::Removed;
use crate::messages::DeadLetter;
use std::collections::BTreeMap;

fn named(source: &str) -> Option<String> {
    Some(source.to_owned()).filter(|source| !source.is_empty())
}

/// The entries of the letters of one batch, in their order. An entry that stands for several counts them and names the first.
pub fn letter_drafts<'a>(letters: impl IntoIterator<Item = &'a DeadLetter>) -> Vec<Draft> {
    // A batch has some fifty letters of a handful of reasons: looking through them is cheaper than any index.
    let mut drafts: Vec<(bool, Draft)> = vec![];
    for letter in letters {
        let draft = Draft {
            source: named(&letter.source),
            status_code: letter.last_status,
            error: Some(letter.reason.clone()),
            correlation_id: Some(letter.id.clone()),
            ..Draft::new(Action::DlqRoute, "consumer")
        };
        let same = |(verified, known): &&mut (bool, Draft)| {
            !*verified && !letter.verified && known.source == draft.source && known.error == draft.error
        };
        match drafts.iter_mut().find(same) {
            Some((_, known)) => known.count = Some(known.count.unwrap_or(1).saturating_add(1)),
            None => drafts.push((letter.verified, draft)),
        }
    }
    drafts.into_iter().map(|(_, draft)| draft).collect()
}

/// The entries of letters that had to go because their source had too many.
pub fn purge_drafts(purged: &BTreeMap<String, u64>) -> impl Iterator<Item = Draft> {
    purged.iter().map(|(source, removed)| Draft {
        source: named(source),
        error: Some("over the cap".into()),
        count: Some(*removed),
        ..Draft::new(Action::Purge, "consumer")
    })
}

/// The entry of a letter that an operator deleted.
pub fn delete_draft(letter: &DeadLetter, actor: &str) -> Draft {
    Draft {
        source: named(&letter.source),
        correlation_id: Some(letter.id.clone()),
        ..Draft::new(Action::DlqDelete, actor)
    }
}

/// The entry of a run of retention; `None` where it removed nothing and nothing failed.
pub fn retention_draft(removed: &Removed, actor: &str) -> Option<Draft> {
    let total = [removed.dead_letters, removed.deliveries, removed.bodies].into_iter().fold(0, u64::saturating_add);
    let error = (removed.failures > 0).then(|| format!("{} steps failed", removed.failures));
    let is_news = total > 0 || error.is_some();
    is_news.then(|| Draft { error, count: Some(total), ..Draft::new(Action::Purge, actor) })
}

/// The entry of a letter's replay.
pub fn replay_draft(Replayed { id, source, verdict }: &Replayed, actor: &str) -> Draft {
    Draft {
        source: named(source),
        error: verdict.code.clone().filter(|_| verdict.outcome != Fate::Replayed),
        correlation_id: Some(id.clone()),
        ..Draft::new(Action::Replay, actor)
    }
}

/// The entry of a job that ended: how many letters it replayed, and whether that was all.
pub fn job_draft(job: &Job) -> Draft {
    let left = job.matched.saturating_sub(job.replayed);
    let error = match job.state {
        JobState::Cancelled => Some("cancelled".into()),
        _ if left > 0 => Some(format!("{left} of {} not replayed", job.matched)),
        _ => None,
    };
    Draft {
        source: job.filter.source.clone(),
        error,
        correlation_id: Some(job.id.clone()),
        count: Some(job.replayed),
        ..Draft::new(Action::Replay, &job.actor)
    }
}
