//! Has complete segments of the audit trail written to files and old entries removed that are in one; reads the files.
//!
//! Promises: bounded steps, until nothing is left to do; a segment that does not hold is named by every run, and does not keep
//! those before it from going; a file is read only against its anchor. Out of scope: what a segment and its anchor are
//! (`gateway_core::audit`), writing (the `AUDIT_LOG` object).

use crate::objects::AUDIT_OBJECT;
use crate::platform::objects::{self, CallError};
use crate::platform::{log, r2};
use gateway_core::audit::{Anchor, AuditCall, SegmentBroken, check_segment, segment_key};
use gateway_core::dead_letters::retention::Removed;
use serde::de::DeserializeOwned;
use worker::Env;

/// Segments that one step writes: twenty thousand entries, each of them hashed within one event of the object.
const STEP_SEGMENTS: u32 = 20;

/// Steps of one kind in one run: two million entries written, as many removed; the next run goes on.
const MAX_STEPS: u32 = 100;

/// Calls the log.
pub(crate) async fn ask<T: DeserializeOwned>(env: &Env, call: &AuditCall) -> Result<T, CallError> {
    objects::call(env, objects::AUDIT_LOG, AUDIT_OBJECT, call).await
}

/// The part of retention that is the audit trail's.
pub(crate) async fn run(env: &Env, before_ms: u64, removed: &mut Removed) {
    let steps = [AuditCall::Export { limit: STEP_SEGMENTS }, AuditCall::Expire { before_ms }];
    for (call, done) in steps.iter().zip([&mut removed.audit_exported, &mut removed.audit_entries]) {
        match repeat(env, call, done).await {
            Ok(is_done) => removed.unfinished |= !is_done,
            Err(error) => {
                log::error("audit_export_failed", &[("error", &error.to_string())]);
                removed.failures = removed.failures.saturating_add(1);
                removed.unfinished = true;
            }
        }
    }
}

/// Calls until there is nothing left to do; whether that was reached.
async fn repeat(env: &Env, call: &AuditCall, done: &mut u64) -> Result<bool, CallError> {
    for _ in 0..MAX_STEPS {
        let entries: u64 = ask(env, call).await?;
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
    let bytes = r2::get_any(env, &segment_key(anchor.from, anchor.to)).await.map_err(Unverified::Failed)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Unverified::Broken(SegmentBroken::File))?;
    check_segment(&text, anchor, before).map_err(Unverified::Broken)?;
    Ok(text)
}
