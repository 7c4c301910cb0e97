//! `GET /api/audit`, `GET /api/audit/verify`, `GET /api/audit/export`.

use super::{ApiCall, Handled, bad_cursor, bad_parameter, limit, not_found, number, object_failed, one_of, time};
use crate::jobs::audit_export::{Unverified, ask, read};
use crate::objects::AUDIT_OBJECT;
use crate::platform::http::{ApiProblem, json, json_text, text};
use crate::platform::objects;
use gateway_core::audit::{Action, Anchor, AuditCall, Lines, SegmentBroken};
use gateway_core::time::rfc3339;
use serde::Serialize;

/// Entries that one call of `verify` walks, or of `export` gives, unless it says otherwise.
const VERIFY_STEP: u32 = 1_000;

/// The most entries of one such call.
const MAX_VERIFY_STEP: u64 = 10_000;

/// Entries, newest first.
pub(super) async fn list(call: &ApiCall<'_>) -> Handled {
    let query = &call.query;
    let request = AuditCall::List {
        action: one_of("action", query.get("action"), &Action::ALL, Action::as_str)?,
        source: query.text("source"),
        since: time("since", query.get("since"))?.map(rfc3339),
        until: time("until", query.get("until"))?.map(rfc3339),
        before_seq: query.get("cursor").map(|text| text.parse().map_err(|_| bad_cursor())).transpose()?,
        limit: limit(call)?,
    };
    log(call, &request).await
}

/// What the log answers, as it is.
async fn log(call: &ApiCall<'_>, request: &AuditCall) -> Handled {
    let answer = objects::call_for_text(call.env, objects::AUDIT_LOG, AUDIT_OBJECT, request).await;
    Ok(json_text(200, &answer.map_err(|error| object_failed(&error))?, &[]))
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
    let Lines { mut lines, next_seq, anchor } =
        ask(call.env, &AuditCall::Lines { from_seq, limit }).await.map_err(|error| object_failed(&error))?;
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
    let anchor = async |segment| {
        let request = AuditCall::Anchored { segment };
        ask::<Option<Anchor>>(call.env, &request).await.map_err(|error| object_failed(&error))
    };
    let found = anchor(segment).await?.ok_or_else(|| not_found("No such segment"))?;
    let before = if segment > 1 { anchor(segment.saturating_sub(1)).await? } else { None };
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
        None => log(call, &AuditCall::Verify { from_seq: seq(call, "from")?, limit: steps(call)? }).await,
        Some(_) if call.query.get("from").or(call.query.get("limit")).is_some() => {
            Err(bad_parameter("segment", "to stand alone: a segment is verified as a whole"))
        }
        Some(_) => verify_segment(call).await,
    }
}
