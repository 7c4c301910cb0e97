//! Writes complete segments of the audit trail to files, and has old entries removed that are in one.
//!
//! Promises: file first, then anchor, then removal, so that whatever is cut off is repeated and nothing is lost; bounded
//! steps. Out of scope: what a segment and its anchor are (`gateway_core::audit`).

use crate::objects::AUDIT_OBJECT;
use crate::platform::body::Body;
use crate::platform::objects::{self, CallError};
use crate::platform::{log, r2};
use gateway_core::audit::{Anchor, AuditCall, SEGMENT_ENTRIES, Segment, SegmentBroken, check_segment, segment_key};
use gateway_core::retention::Removed;
use serde::de::DeserializeOwned;
use worker::Env;

/// Segments that one run writes or removes: a hundred thousand entries.
const MAX_SEGMENTS: u32 = 100;

pub(crate) async fn ask<T: DeserializeOwned>(env: &Env, call: &AuditCall) -> Result<T, CallError> {
    objects::call(env, objects::AUDIT_LOG, AUDIT_OBJECT, call).await
}

/// The part of retention that is the audit trail's.
pub(crate) async fn run(env: &Env, before_ms: u64, removed: &mut Removed) {
    if let Err(error) = write_and_remove(env, before_ms, removed).await {
        log::error("audit_export_failed", &[("error", &error)]);
        removed.failures = removed.failures.saturating_add(1);
        removed.unfinished = true;
    }
}

async fn write_and_remove(env: &Env, before_ms: u64, removed: &mut Removed) -> Result<(), String> {
    let failed = |error: CallError| error.to_string();
    for _ in 0..MAX_SEGMENTS {
        let Some(segment) = ask::<Option<Segment>>(env, &AuditCall::NextSegment).await.map_err(failed)? else { break };
        let anchor = segment.anchor();
        // A segment that does not hold is not made good by an anchor: it stays, and `verify` names what is wrong with it.
        check_segment(&segment.lines, &anchor, None).map_err(|broken| broken.to_string())?;
        let key = segment_key(segment.from, segment.to);
        r2::put(env, &key, &Body::Small(segment.lines.into_bytes())).await?;
        if !ask::<bool>(env, &AuditCall::Anchor(anchor)).await.map_err(failed)? {
            return Err(format!("{key} is not the segment that the log has"));
        }
        removed.audit_exported = removed.audit_exported.saturating_add(SEGMENT_ENTRIES);
    }
    for _ in 0..MAX_SEGMENTS {
        let gone: u64 = ask(env, &AuditCall::Expire { before_ms }).await.map_err(failed)?;
        removed.audit_entries = removed.audit_entries.saturating_add(gone);
        if gone == 0 {
            break;
        }
    }
    Ok(())
}

/// Why a segment could not be read, or is not what was written.
pub(crate) enum Unverified {
    Broken(SegmentBroken),
    Failed(String),
}

/// The file of an anchored segment, verified.
pub(crate) async fn read(env: &Env, anchor: &Anchor, before: Option<&Anchor>) -> Result<String, Unverified> {
    let bytes = r2::get_any(env, &segment_key(anchor.from, anchor.to)).await.map_err(Unverified::Failed)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Unverified::Broken(SegmentBroken::File))?;
    check_segment(&text, anchor, before).map_err(Unverified::Broken)?;
    Ok(text)
}
