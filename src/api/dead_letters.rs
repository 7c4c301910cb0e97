//! `GET /api/dead-letters`, `GET DELETE /api/dead-letters/{id}`.

use super::{Handled, ManagementCall, cursor, limit, next_cursor, not_found, one_of, time};
use crate::deliver::replay::read_body;
use crate::objects::clients::DeadLetterClient;
use crate::platform::http::{ApiProblem, empty, json};
use crate::platform::{log, r2};
use gateway_core::audit::delete_draft;
use gateway_core::dead_letters::{BodyText, LetterFilter, LetterStatus, StoredDeadLetter, Summary};
use gateway_core::messages::DeadLetter;
use gateway_core::messages::id::is_delivery_id;
use serde::Serialize;

/// Who replays and deletes by the API: the operator.
pub(super) const ACTOR: &str = "admin";

/// A letter with its body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WholeLetter {
    #[serde(flatten)]
    summary: Summary,
    event_count: Option<u64>,
    secret_label: Option<String>,
    headers: Vec<(String, String)>,
    /// Why there is no body although it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_lost: Option<String>,
    /// `body` or `bodyBase64`; neither where it was not kept.
    #[serde(flatten)]
    body: Option<BodyText>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetterPage {
    dead_letters: Vec<Summary>,
    next_cursor: Option<String>,
}

/// Letters, newest first.
pub(super) async fn list(call: &ManagementCall<'_>) -> Handled {
    let query = &call.query;
    let (limit, before) = (limit(call)?, cursor(call)?);
    let filter = LetterFilter {
        source: query.text("source"),
        reason: query.text("reason"),
        since_ms: time("since", query.get("since"))?,
        until_ms: time("until", query.get("until"))?,
        status: one_of("status", query.get("status"), &LetterStatus::ALL, LetterStatus::as_str)?,
        ids: vec![],
    };
    let dead_letters = DeadLetterClient::new(call.env).list(filter, before, limit).await?;
    let next_cursor = next_cursor(&dead_letters, limit, |letter| (letter.dead_at_ms, &letter.id));
    Ok(json(200, &DeadLetterPage { dead_letters, next_cursor }))
}

/// The identifier of a letter, checked before it is looked up.
pub(super) fn letter_id(id: &str) -> Result<&str, ApiProblem> {
    is_delivery_id(id).then_some(id).ok_or_else(unknown_letter)
}

pub(super) fn unknown_letter() -> ApiProblem {
    not_found("No such dead letter")
}

/// One letter with its body.
pub(super) async fn read(call: &ManagementCall<'_>, id: &str) -> Handled {
    let found = DeadLetterClient::new(call.env).get(letter_id(id)?).await?.ok_or_else(unknown_letter)?;
    let (body, lost) = match read_body(call.env, &found).await {
        Ok(bytes) => (bytes.as_deref().map(BodyText::from_bytes), None),
        Err(r2::ReadError::Gone(error)) => (None, Some(error)),
        Err(r2::ReadError::Failed(error)) => {
            return Err(ApiProblem::new(503, "The body cannot be read", "body_unavailable").detail(error));
        }
    };
    let StoredDeadLetter { letter, status, last_replay, .. } = found;
    let summary = Summary::new(&letter, status, last_replay);
    let DeadLetter { event_count, secret_label, headers, .. } = letter;
    Ok(json(200, &WholeLetter { summary, event_count, secret_label, headers, body_lost: lost, body }))
}

/// Deletes one letter and its body.
pub(super) async fn delete(call: &ManagementCall<'_>, id: &str) -> Handled {
    let deleted = DeadLetterClient::new(call.env).delete(letter_id(id)?).await?;
    let (letter, key) = deleted.ok_or_else(unknown_letter)?;
    if let Err(error) = r2::delete(call.env, key.into_iter().collect()).await {
        // Retention finds bodies that no letter names.
        log::warn("payload_delete_failed", &[("delivery", id), ("error", &error)]);
    }
    crate::audit::append(call.env, vec![delete_draft(&letter, ACTOR)]).await;
    Ok(empty(204))
}
