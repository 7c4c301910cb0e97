//! `GET /api/audit`, `GET /api/audit/verify`, `GET /api/audit/export`.

use super::{ApiCall, Handled, bad_cursor, bad_parameter, limit, not_found, number, one_of, time};
use crate::jobs::audit_export::{Unverified, read};
use crate::objects::clients::AuditLogClient;
use crate::platform::http::{ApiProblem, json, json_text, text};
use gateway_core::audit::{Action, Anchor, EntryFilter, Lines, SegmentBroken};
use gateway_core::time::rfc3339;
use serde::Serialize;

/// Entries that one call of `verify` walks, or of `export` gives, unless it says otherwise.
const VERIFY_STEP: u32 = 1_000;

/// The most entries of one such call.
const MAX_VERIFY_STEP: u64 = 10_000;

/// Entries, newest first.
pub(super) async fn list(call: &ApiCall<'_>) -> Handled {
    let query = &call.query;
    let filter = EntryFilter {
        action: one_of("action", query.get("action"), &Action::ALL, Action::as_str)?,
        source: query.text("source"),
        since: time("since", query.get("since"))?.map(rfc3339),
        until: time("until", query.get("until"))?.map(rfc3339),
    };
    let before_seq = query.get("cursor").map(|text| text.parse().map_err(|_| bad_cursor())).transpose()?;
    let limit = limit(call)?;
    Ok(json_text(200, &AuditLogClient::new(call.env).list_json(filter, before_seq, limit).await?, &[]))
}

/// A number from 1 on; entries are counted for as long as the gateway lives.
fn seq(call: &ApiCall<'_>, name: &str) -> Result<u64, ApiProblem> {
    number(call, name, 1, u64::MAX)
}

fn steps(call: &ApiCall<'_>) -> Result<u32, ApiProblem> {
    number(call, "limit", VERIFY_STEP, MAX_VERIFY_STEP)
}

/// Entries as JSON lines, from `?from=` on, at most `?limit=`; those that are only in a file any more come from it, to its
/// end. `X-Next-From` says where the next call goes on; without it, this was the end.
pub(super) async fn export(call: &ApiCall<'_>) -> Handled {
    let (from_seq, limit) = (seq(call, "from")?, steps(call)?);
    let Lines { mut lines, next_seq, anchor } = AuditLogClient::new(call.env).lines(from_seq, limit).await?;
    if let Some(anchor) = anchor {
        let text = read(call.env, &anchor, None).await.map_err(|error| unverified(&error))?;
        let skipped = usize::try_from(from_seq.saturating_sub(anchor.from)).unwrap_or(usize::MAX);
        lines = text.split_inclusive('\n').skip(skipped).collect();
    }
    let next = next_seq.map(|seq| seq.to_string());
    let next = next.as_deref().map(|next| ("x-next-from", next));
    Ok(text(200, "application/x-ndjson", &lines, next.as_slice()))
}

fn unverified(error: &Unverified) -> ApiProblem {
    match error {
        Unverified::Broken(broken) => ApiProblem::new(409, "The segment is not what was written", "segment_broken")
            .detail(serde_json::to_value(broken).unwrap_or_default()),
        Unverified::Failed(error) => {
            ApiProblem::new(503, "Storage is not available", "storage_unavailable").detail(error.clone())
        }
    }
}

/// `?segment=`: a file of the trail against its anchor.
async fn verify_segment(call: &ApiCall<'_>) -> Handled {
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
        Err(error) => return Err(unverified(&error)),
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

/// Whether the chain holds, from `?from=` on, at most `?limit=` entries; or whether the file `?segment=` does.
pub(super) async fn verify(call: &ApiCall<'_>) -> Handled {
    match call.query.get("segment") {
        None => {
            let (from_seq, limit) = (seq(call, "from")?, steps(call)?);
            Ok(json_text(200, &AuditLogClient::new(call.env).verify_json(from_seq, limit).await?, &[]))
        }
        Some(_) if call.query.get("from").or(call.query.get("limit")).is_some() => {
            Err(bad_parameter("segment", "to stand alone: a segment is verified as a whole"))
        }
        Some(_) => verify_segment(call).await,
    }
}
