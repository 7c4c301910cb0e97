//! `POST /api/dead-letters/{id}/replay`, `POST /api/dead-letters/replay`, and the jobs of the latter under
//! `/api/dead-letters/replays`.

use super::dead_letters::{ACTOR, letter_id, unknown_letter};
use super::{Handled, ManagementCall, bad_parameter, not_found, one_of, time};
use crate::objects::clients::DeadLetterClient;
use crate::platform::clock;
use crate::platform::http::{ApiProblem, json};
use gateway_core::dead_letters::replay::{
    DEFAULT_RATE_PER_S, Job, JobAction, JobOrder, JobState, MAX_RATE_PER_S, ReplayVerdict, skipped,
};
use gateway_core::dead_letters::{LetterFilter, LetterStatus};
use gateway_core::messages::id::{delivery_id, is_delivery_id};
use serde::{Deserialize, Serialize};

/// The most letters that a filter names one by one.
const MAX_IDS: usize = 1_000;

/// What is to be replayed. A key that is misspelt must not mean "all letters".
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReplayOrder {
    filter: ReplayFilter,
    #[serde(default)]
    dry_run: bool,
    rate_per_s: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplayFilter {
    source: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    until: Option<String>,
    status: Option<String>,
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Serialize)]
struct ReplayedLetter<'a> {
    id: &'a str,
    #[serde(flatten)]
    verdict: ReplayVerdict,
}

#[derive(Serialize)]
struct ReplayList {
    replays: Vec<Job>,
}

/// Replays one letter, now.
pub(super) async fn one(call: &ManagementCall<'_>, id: &str) -> Handled {
    let replayed = DeadLetterClient::new(call.env).replay(letter_id(id)?, ACTOR).await?;
    let verdict = replayed.ok_or_else(unknown_letter)?.verdict;
    if verdict.code.as_deref() == Some(skipped::BEING_REPLAYED) {
        return Err(ApiProblem::new(409, "Another caller is replaying it", skipped::BEING_REPLAYED));
    }
    Ok(json(200, &ReplayedLetter { id, verdict }))
}

/// Replays many, or judges what that would come to.
pub(super) async fn many(call: &ManagementCall<'_>, order: ReplayOrder) -> Handled {
    let ReplayOrder { filter, dry_run, rate_per_s } = order;
    if filter.ids.len() > MAX_IDS || !filter.ids.iter().all(|id| is_delivery_id(id)) {
        return Err(bad_parameter("filter.ids", &format!("at most {MAX_IDS} identifiers of letters")));
    }
    let rate_per_s = rate_per_s.unwrap_or(DEFAULT_RATE_PER_S);
    if !(1..=MAX_RATE_PER_S).contains(&rate_per_s) {
        return Err(bad_parameter("ratePerS", &format!("a number from 1 to {MAX_RATE_PER_S}")));
    }
    let filter = LetterFilter {
        source: filter.source,
        reason: filter.reason,
        since_ms: time("filter.since", filter.since.as_deref())?,
        until_ms: time("filter.until", filter.until.as_deref())?,
        status: one_of("filter.status", filter.status.as_deref(), &LetterStatus::ALL, LetterStatus::as_str)?,
        ids: filter.ids,
    };
    let random = clock::random().map_err(|_| ApiProblem::new(503, "No randomness", "no_randomness"))?;
    let id = delivery_id(clock::now_ms(), random);
    let order = JobOrder { id, actor: ACTOR.into(), filter, dry_run, rate_per_s };
    let job = DeadLetterClient::new(call.env).replay_many(order).await?;
    Ok(json(if job.state == JobState::Running { 202 } else { 200 }, &job))
}

/// The latest jobs, newest first.
pub(super) async fn list(call: &ManagementCall<'_>) -> Handled {
    Ok(json(200, &ReplayList { replays: DeadLetterClient::new(call.env).jobs().await? }))
}

/// How far a job got.
pub(super) async fn show(call: &ManagementCall<'_>, id: &str) -> Handled {
    Ok(json(200, &job(call, id, JobAction::Show).await?))
}

/// Stops a job before its next letters.
pub(super) async fn cancel(call: &ManagementCall<'_>, id: &str) -> Handled {
    Ok(json(200, &job(call, id, JobAction::Cancel).await?))
}

/// Goes on with a job where it stopped.
pub(super) async fn resume(call: &ManagementCall<'_>, id: &str) -> Handled {
    match job(call, id, JobAction::Resume).await? {
        job if job.state == JobState::Done => Err(ApiProblem::new(409, "It is done", "already_done")),
        job => Ok(json(200, &job)),
    }
}

async fn job(call: &ManagementCall<'_>, id: &str, action: JobAction) -> Result<Job, ApiProblem> {
    let job = DeadLetterClient::new(call.env).job(id, action).await?;
    job.ok_or_else(|| not_found("No such replay"))
}
