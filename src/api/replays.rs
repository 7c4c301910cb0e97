//! `POST /api/dead-letters/{id}/replay`, `POST /api/dead-letters/replay`, and the jobs of the latter under
//! `/api/dead-letters/replays`.

use super::dead_letters::time;
use super::{Call, Handled, bad_parameter, json_body, not_found};
use crate::objects::clients::DeadLetterClient;
use crate::platform::clock;
use crate::platform::http::{Problem, json};
use gateway_core::dead_letters::replay::{
    DEFAULT_RATE_PER_S, Job, JobAction, JobOrder, JobState, MAX_RATE_PER_S, ReplayVerdict, skipped,
};
use gateway_core::dead_letters::{LetterFilter, LetterStatus};
use gateway_core::messages::id::{delivery_id, is_delivery_id};
use serde::{Deserialize, Serialize};

/// Who replays by the API: whoever has the operator's token.
const ACTOR: &str = "admin";

/// The most letters that a filter names one by one.
const MAX_IDS: usize = 1_000;

/// What somebody wants replayed. A key that is misspelt must not mean "all letters".
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    filter: OrderFilter,
    #[serde(default)]
    dry_run: bool,
    rate_per_s: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OrderFilter {
    source: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    until: Option<String>,
    status: Option<String>,
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Serialize)]
struct One<'a> {
    id: &'a str,
    #[serde(flatten)]
    verdict: ReplayVerdict,
}

#[derive(Serialize)]
struct Jobs {
    replays: Vec<Job>,
}

/// Replays one letter, now.
pub(super) async fn one(call: &Call<'_>, id: &str) -> Handled {
    if !is_delivery_id(id) {
        return Err(not_found("No such dead letter").into());
    }
    let replayed = DeadLetterClient::new(call.env).replay(id, ACTOR).await?;
    let verdict = replayed.ok_or_else(|| not_found("No such dead letter"))?.verdict;
    if verdict.code.as_deref() == Some(skipped::BEING_REPLAYED) {
        return Err(Box::new(Problem::new(409, "Somebody else is replaying it", skipped::BEING_REPLAYED)));
    }
    Ok(json(200, &One { id, verdict }))
}

/// Replays many, or judges what that would come to.
pub(super) async fn many(call: &Call<'_>) -> Handled {
    let Order { filter, dry_run, rate_per_s } = json_body(call).await?;
    let status = filter
        .status
        .map(|name| {
            LetterStatus::from_name(&name)
                .ok_or_else(|| bad_parameter("filter.status", "stored, replaying or replayed"))
        })
        .transpose()?;
    if filter.ids.len() > MAX_IDS || !filter.ids.iter().all(|id| is_delivery_id(id)) {
        return Err(bad_parameter("filter.ids", &format!("at most {MAX_IDS} identifiers of letters")).into());
    }
    let rate_per_s = rate_per_s.unwrap_or(DEFAULT_RATE_PER_S);
    if !(1..=MAX_RATE_PER_S).contains(&rate_per_s) {
        return Err(bad_parameter("ratePerS", &format!("a number from 1 to {MAX_RATE_PER_S}")).into());
    }
    let filter = LetterFilter {
        source: filter.source,
        reason: filter.reason,
        since_ms: time("filter.since", filter.since)?,
        until_ms: time("filter.until", filter.until)?,
        status,
        ids: filter.ids,
    };
    let random = clock::random().map_err(|_| Problem::new(503, "No randomness", "no_randomness"))?;
    let id = delivery_id(clock::now_ms(), random);
    let order = JobOrder { id, actor: ACTOR.into(), filter, dry_run, rate_per_s };
    let job = DeadLetterClient::new(call.env).replay_many(order).await?;
    Ok(json(if job.state == JobState::Running { 202 } else { 200 }, &job))
}

/// The latest jobs, newest first.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    Ok(json(200, &Jobs { replays: DeadLetterClient::new(call.env).jobs().await? }))
}

/// One job: shown, cancelled or resumed.
pub(super) async fn job(call: &Call<'_>, id: &str, action: JobAction) -> Handled {
    let job = DeadLetterClient::new(call.env).job(id, action).await?.ok_or_else(|| not_found("No such replay"))?;
    if action == JobAction::Resume && job.state == JobState::Done {
        return Err(Box::new(Problem::new(409, "It is done", "already_done")));
    }
    Ok(json(200, &job))
}
