//! Has complete segments of the audit trail written to files and old entries removed that are in one; reads the files.
//!
//! Promises: bounded steps; a file is read only against its anchor. Out of scope: what a segment and its anchor are
//! (`gateway_core::audit`), writing (the `AUDIT_LOG` object).

use crate::objects::AUDIT_OBJECT;
use crate::platform::objects::{self, CallError};
use crate::platform::{log, r2};
use gateway_core::audit::{Anchor, AuditCall, SegmentBroken, check_segment, segment_key};
use gateway_core::retention::Removed;
use serde::de::DeserializeOwned;
use worker::Env;

/// Segments that one run writes: a day's hundred thousand entries, each of them hashed within one event of the object.
const MAX_SEGMENTS: u32 = 100;

/// Calls the log.
pub(crate) async fn ask<T: DeserializeOwned>(env: &Env, call: &AuditCall) -> Result<T, CallError> {
    objects::call(env, objects::AUDIT_LOG, AUDIT_OBJECT, call).await
}

/// The part of retention that is the audit trail's.
pub(crate) async fn run(env: &Env, before_ms: u64, removed: &mut Removed) {
    if let Err(error) = write_and_remove(env, before_ms, removed).await {
        log::error("audit_export_failed", &[("error", &error.to_string())]);
        removed.failures = removed.failures.saturating_add(1);
        removed.unfinished = true;
    }
}

async fn write_and_remove(env: &Env, before_ms: u64, removed: &mut Removed) -> Result<(), CallError> {
    removed.audit_exported = ask(env, &AuditCall::Export { limit: MAX_SEGMENTS }).await?;
    for _ in 0..MAX_SEGMENTS {
        let gone: u64 = ask(env, &AuditCall::Expire { before_ms }).await?;
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
