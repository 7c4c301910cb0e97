//! Writes complete segments of the audit trail to files, removes old entries that are in one, and reads the files.
//!
//! Promises: bounded steps, until nothing is left to do; a segment that does not hold is named by every run, and those before it
//! are removed all the same; a file is read only against its anchor. Out of scope: what a segment and its anchor are
//! (`gateway_core::audit`), writing (the `AUDIT_LOG` object).

use crate::objects::clients::AuditLogClient;
use crate::platform::objects::CallError;
use crate::platform::{log, r2};
use gateway_core::audit::{Anchor, SegmentBroken, check_segment};
use gateway_core::dead_letters::retention::Removed;
use gateway_core::messages::keys::audit_segment_key;
use worker::Env;

/// Segments that one step writes: twenty thousand entries, each of them hashed within one event of the object.
const STEP_SEGMENTS: u32 = 20;

/// Steps of one kind in one run: two million entries written, as many removed; the next run goes on.
const MAX_STEPS: u32 = 100;

/// The part of retention that is the audit trail's.
pub(crate) async fn run(env: &Env, before_ms: u64, removed: &mut Removed) {
    let log = AuditLogClient::new(env);
    let exported = repeat(async || log.export(STEP_SEGMENTS).await, &mut removed.audit_exported).await;
    let expired = repeat(async || log.expire(before_ms).await, &mut removed.audit_entries).await;
    for ended in [exported, expired] {
        match ended {
            Ok(is_done) => removed.unfinished |= !is_done,
            Err(error) => {
                log::error("audit_export_failed", &[("error", &error.to_string())]);
                removed.failures = removed.failures.saturating_add(1);
                removed.unfinished = true;
            }
        }
    }
}

/// Repeats a step until there is nothing left to do; answers whether that was reached.
async fn repeat(step: impl AsyncFn() -> Result<u64, CallError>, done: &mut u64) -> Result<bool, CallError> {
    for _ in 0..MAX_STEPS {
        let entries = step().await?;
        if entries == 0 {
            return Ok(true);
        }
        *done = done.saturating_add(entries);
    }
    Ok(false)
}

/// Why a segment could not be read, or is not what was written.
pub(crate) enum Unverified {
    Broken(SegmentBroken),
    Failed(String),
}

/// The file of an anchored segment, verified.
pub(crate) async fn read(env: &Env, anchor: &Anchor, before: Option<&Anchor>) -> Result<String, Unverified> {
    let bytes = r2::get_any(env, &audit_segment_key(anchor.from, anchor.to)).await.map_err(Unverified::Failed)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Unverified::Broken(SegmentBroken::File))?;
    check_segment(&text, anchor, before).map_err(Unverified::Broken)?;
    Ok(text)
}
