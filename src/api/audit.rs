//! `GET /api/audit`, `GET /api/audit/verify`, `GET /api/audit/export`.

use super::{Handled, ManagementCall, bad_cursor, bad_parameter, limit, not_found, number, one_of, time};
use crate::objects::clients::AuditLogClient;
use crate::platform::http::{ApiProblem, json, json_text, text};
use crate::platform::r2;
use gateway_core::audit::{
    Action, Broken, EntryFilter, Lines, SEGMENT_ENTRIES, Verification, check_segment, segment_bounds, segment_of,
};
use gateway_core::messages::keys::audit_segment_prefix;
use gateway_core::time::rfc3339;
use worker::Env;

/// Entries that one call of `verify` walks, or of `export` gives, unless it says otherwise.
const VERIFY_STEP: u32 = 1_000;

/// The most entries of one such call.
const MAX_VERIFY_STEP: u64 = 10_000;

/// Entries, newest first.
pub(super) async fn list(call: &ManagementCall<'_>) -> Handled {
    let query = &call.query;
    let filter = EntryFilter {
        action: one_of("action", query.get("action"), Action::ALL, Action::as_str)?,
        source: query.text("source"),
        since: time("since", query.get("since"))?.map(rfc3339),
        until: time("until", query.get("until"))?.map(rfc3339),
    };
    let before_seq = query.get("cursor").map(|text| text.parse().map_err(|_| bad_cursor())).transpose()?;
    let limit = limit(call)?;
    Ok(json_text(200, &AuditLogClient::new(call.env).list_json(filter, before_seq, limit).await?, &[]))
}

/// A number from 1 on; entries are counted for as long as the gateway lives.
fn seq(call: &ManagementCall<'_>, name: &str) -> Result<u64, ApiProblem> {
    number(call, name, 1, u64::MAX)
}

fn steps(call: &ManagementCall<'_>) -> Result<u32, ApiProblem> {
    number(call, "limit", VERIFY_STEP, MAX_VERIFY_STEP)
}

/// Entries as JSON lines, from `?from=` on, at most `?limit=`; those that are only in a file come from it, to its
/// end. `X-Next-From` says where the next call goes on; without it, this was the end.
pub(super) async fn export(call: &ManagementCall<'_>) -> Handled {
    let (from_seq, limit) = (seq(call, "from")?, steps(call)?);
    let Lines { lines, next_seq } = match AuditLogClient::new(call.env).lines(from_seq, limit).await? {
        Some(lines) => lines,
        None => lines_of_file(call.env, from_seq).await?,
    };
    let next = next_seq.map(|seq| seq.to_string());
    let next = next.as_deref().map(|next| ("x-next-from", next));
    Ok(text(200, "application/x-ndjson", &lines, next.as_slice()))
}

async fn lines_of_file(env: &Env, from_seq: u64) -> Result<Lines, ApiProblem> {
    let segment = segment_of(from_seq);
    let (text, checked) = read(env, segment).await?;
    checked.map_err(|broken| {
        ApiProblem::new(409, "The segment is not what was written", "segment_broken")
            .detail(serde_json::to_value(broken).unwrap_or_default())
    })?;
    let (first, last) = segment_bounds(segment);
    let skipped = usize::try_from(from_seq.saturating_sub(first)).unwrap_or(usize::MAX);
    Ok(Lines { lines: text.split_inclusive('\n').skip(skipped).collect(), next_seq: Some(last.saturating_add(1)) })
}

/// The file of a segment, and what breaks first in it.
async fn read(env: &Env, segment: u64) -> Result<(String, Result<(), Broken>), ApiProblem> {
    let marks = AuditLogClient::new(env).marks().await?;
    if segment_bounds(segment).1 > marks.exported.seq {
        return Err(not_found("No such segment"));
    }
    let failed = |error: String| ApiProblem::new(503, "Storage is not available", "storage_unavailable").detail(error);
    // A second key is one too many.
    let keys = async |segment| r2::list(env, &audit_segment_prefix(segment_bounds(segment).0), 2).await.map_err(failed);
    let (keys_before, keys) = (keys(segment.saturating_sub(1)).await?, keys(segment).await?);
    let bytes = match keys.first() {
        Some(key) => r2::get_any(env, key).await.map_err(failed)?.unwrap_or_default(),
        None => vec![],
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let checked = check_segment(segment, &keys_before, &keys, &text, &marks);
    Ok((text, checked))
}

/// Whether the chain holds, from `?from=` on, at most `?limit=` entries; or whether the file `?segment=` does.
pub(super) async fn verify(call: &ManagementCall<'_>) -> Handled {
    match call.query.get("segment") {
        None => {
            let (from_seq, limit) = (seq(call, "from")?, steps(call)?);
            Ok(json_text(200, &AuditLogClient::new(call.env).verify_json(from_seq, limit).await?, &[]))
        }
        Some(_) if call.query.get("from").or(call.query.get("limit")).is_some() => {
            Err(bad_parameter("segment", "to stand alone: a segment is verified as a whole"))
        }
        Some(_) => {
            let broken = read(call.env, seq(call, "segment")?).await?.1.err();
            let (intact, checked) = if broken.is_none() { (true, SEGMENT_ENTRIES) } else { (false, 0) };
            Ok(json(200, &Verification { intact, checked, broken, ..Verification::default() }))
        }
    }
}
