//! `GET /api/dead-letters`, `GET DELETE /api/dead-letters/{id}`.

use super::{Call, Handled, bad_parameter, cursor, limit, not_found};
use crate::objects::clients::DeadLetterClient;
use crate::platform::http::{Problem, empty, json};
use crate::platform::{log, r2};
use gateway_core::dead_letters::{BodyText, LetterFilter, LetterStatus, StoredDeadLetter, Summary};
use gateway_core::messages::id::is_delivery_id;
use gateway_core::messages::{BodyRef, DeadLetter};
use gateway_core::time::parse_rfc3339;
use serde::Serialize;

/// A letter with its body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
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
struct Page {
    dead_letters: Vec<Summary>,
    next_cursor: Option<String>,
}

/// A time as people and programs write it, in milliseconds since the epoch; `name` is the parameter's, for the error.
pub(super) fn time(name: &str, value: Option<String>) -> Result<Option<u64>, Box<Problem>> {
    let Some(text) = value else { return Ok(None) };
    let time = text.parse().ok().or_else(|| parse_rfc3339(&text));
    Ok(Some(time.ok_or_else(|| bad_parameter(name, "a time as 2026-12-01T00:00:00Z, or milliseconds since 1970"))?))
}

/// Letters, newest first.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    let query = &call.query;
    let status = query
        .get("status")
        .map(|name| {
            LetterStatus::from_name(&name).ok_or_else(|| bad_parameter("status", "stored, replaying or replayed"))
        })
        .transpose()?;
    let (limit, before) = (limit(call)?, cursor(call)?);
    let filter = LetterFilter {
        source: query.get("source"),
        reason: query.get("reason"),
        since_ms: time("since", query.get("since"))?,
        until_ms: time("until", query.get("until"))?,
        status,
        ids: vec![],
    };
    let letters = DeadLetterClient::new(call.env).list(filter, before, limit).await?;
    let full = letters.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next_cursor = letters.last().filter(|_| full).map(|letter| format!("{}-{}", letter.dead_at_ms, letter.id));
    Ok(json(200, &Page { dead_letters: letters, next_cursor }))
}

/// One letter with its body.
pub(super) async fn read(call: &Call<'_>, id: &str) -> Handled {
    if !is_delivery_id(id) {
        return Err(not_found("No such dead letter").into());
    }
    let found = DeadLetterClient::new(call.env).get(id).await?;
    let StoredDeadLetter { letter, inline, status, last_replay } =
        found.ok_or_else(|| not_found("No such dead letter"))?;
    let mut lost = None;
    let body = match &letter.body {
        BodyRef::Stored { key, sha256, .. } => match r2::get(call.env, key, sha256).await {
            Ok(bytes) => Some(BodyText::from_bytes(&bytes)),
            Err(r2::ReadError::Gone(error)) => {
                lost = Some(error);
                None
            }
            Err(r2::ReadError::Failed(error)) => {
                return Err(Box::new(Problem::new(503, "The body cannot be read", "body_unavailable").detail(error)));
            }
        },
        BodyRef::Inline { .. } | BodyRef::Omitted { .. } => inline,
    };
    let summary = Summary::new(&letter, status, last_replay);
    let DeadLetter { event_count, secret_label, headers, .. } = letter;
    Ok(json(200, &Whole { summary, event_count, secret_label, headers, body_lost: lost, body }))
}

/// Deletes one letter and its body.
pub(super) async fn delete(call: &Call<'_>, id: &str) -> Handled {
    if !is_delivery_id(id) {
        return Err(not_found("No such dead letter").into());
    }
    let (_, key) = DeadLetterClient::new(call.env).delete(id).await?.ok_or_else(|| not_found("No such dead letter"))?;
    if let Some(key) = key
        && let Err(error) = r2::delete(call.env, vec![key]).await
    {
        // Retention finds bodies that no letter names.
        log::warn("payload_delete_failed", &[("delivery", id), ("error", &error)]);
    }
    Ok(empty(204, &[]))
}
