//! `GET /api/audit`, `GET /api/audit/verify`, `GET /api/audit/export`.

use super::{Call, Handled, bad_parameter, limit, not_found};
use crate::jobs::audit_export::{Unverified, read};
use crate::objects::clients::AuditLogClient;
use crate::platform::http::{Problem, json, json_text, text_with};
use gateway_core::audit::{Action, Anchor, EntryFilter, Lines, SegmentBroken};
use gateway_core::time::{parse_rfc3339, rfc3339};
use serde::Serialize;

/// Entries that one call of `verify` walks, or of `export` gives, unless it says otherwise.
const VERIFY_STEP: u32 = 1_000;

/// The most entries of one such call.
const MAX_VERIFY_STEP: u32 = 10_000;

/// Entries, newest first.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    let action = match call.query.get("action") {
        None => None,
        Some(name) => Some(Action::from_name(&name).ok_or_else(|| {
            let names: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
            bad_parameter("action", &format!("one of {}", names.join(", ")))
        })?),
    };
    let before_seq = match call.query.get("cursor") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| bad_parameter("cursor", "the nextCursor of an earlier answer"))?),
    };
    let limit = limit(call)?;
    let (since, until) = (time(call, "since")?, time(call, "until")?);
    let filter = EntryFilter { action, source: call.query.get("source"), since, until };
    Ok(json_text(200, &AuditLogClient::new(call.env).list_json(filter, before_seq, limit).await?, &[]))
}

/// A time as entries have it.
fn time(call: &Call<'_>, name: &str) -> Result<Option<String>, Box<Problem>> {
    let Some(text) = call.query.get(name) else { return Ok(None) };
    let time_ms = parse_rfc3339(&text).ok_or_else(|| bad_parameter(name, "a time as 2026-12-01T00:00:00Z"))?;
    Ok(Some(rfc3339(time_ms)))
}

/// A number from 1 on; entries are counted for as long as the gateway lives.
fn seq(call: &Call<'_>, name: &str) -> Result<u64, Box<Problem>> {
    let Some(text) = call.query.get(name) else { return Ok(1) };
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| bad_parameter(name, "a number from 1 on").into())
}

/// Entries as JSON lines, from `?from=` on, at most `?limit=`; those that are only in a file any more come from it, to its
/// end. `X-Next-From` says where the next call goes on; without it, this was the end.
pub(super) async fn export(call: &Call<'_>) -> Handled {
    let (from_seq, limit) = (seq(call, "from")?, steps(call)?);
    let Lines { mut lines, next_seq, anchor } = AuditLogClient::new(call.env).lines(from_seq, limit).await?;
    if let Some(anchor) = anchor {
        let text = read(call.env, &anchor, None).await.map_err(|error| unverified(&error))?;
        let skipped = usize::try_from(from_seq.saturating_sub(anchor.from)).unwrap_or(usize::MAX);
        lines = text.split_inclusive('\n').skip(skipped).collect();
    }
    let next = next_seq.map(|seq| seq.to_string());
    let mut headers = vec![("content-type", "application/x-ndjson"), ("cache-control", "no-store")];
    headers.extend(next.as_deref().map(|next| ("x-next-from", next)));
    Ok(text_with(200, &lines, &headers))
}

fn unverified(error: &Unverified) -> Problem {
    match error {
        Unverified::Broken(broken) => Problem::new(409, "The segment is not what was written", "segment_broken")
            .detail(serde_json::to_value(broken).unwrap_or_default()),
        Unverified::Failed(error) => {
            Problem::new(503, "Storage is not available", "storage_unavailable").detail(error.clone())
        }
    }
}

/// `?segment=`: a file of the trail against its anchor.
async fn verify_segment(call: &Call<'_>) -> Handled {
    let segment = seq(call, "segment")?;
    let log = AuditLogClient::new(call.env);
    let found = log.anchored(segment).await?.ok_or_else(|| not_found("No such segment"))?;
    let before = if segment > 1 { log.anchored(segment.saturating_sub(1)).await? } else { None };
    let checked = found.to.saturating_sub(found.from).saturating_add(1);
    let answer = match read(call.env, &found, before.as_ref()).await {
        Ok(_) => SegmentJson { intact: true, checked, anchor: found, broken: None },
        Err(Unverified::Broken(broken)) => {
            SegmentJson { intact: false, checked: 0, anchor: found, broken: Some(broken) }
        }
        Err(error) => return Err(unverified(&error).into()),
    };
    Ok(json(200, &answer))
}

#[derive(Serialize)]
struct SegmentJson {
    intact: bool,
    checked: u64,
    anchor: Anchor,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<SegmentBroken>,
}

fn steps(call: &Call<'_>) -> Result<u32, Box<Problem>> {
    call.query
        .count("limit", VERIFY_STEP, MAX_VERIFY_STEP)
        .map_err(|_| bad_parameter("limit", &format!("a number from 1 to {MAX_VERIFY_STEP}")).into())
}

/// Whether the chain holds, from `?from=` on, at most `?limit=` entries.
pub(super) async fn verify(call: &Call<'_>) -> Handled {
    if call.query.get("segment").is_some() {
        return verify_segment(call).await;
    }
    let (from_seq, limit) = (seq(call, "from")?, steps(call)?);
    Ok(json_text(200, &AuditLogClient::new(call.env).verify_json(from_seq, limit).await?, &[]))
}
