//! Writes complete segments of the audit trail to files, and removes old entries that are in one.
//!
//! Promises: bounded steps, until nothing is left to do; a segment that does not hold is named by every run, and those before it
//! are removed all the same. Out of scope: writing and removing (the `AUDIT_LOG` object).

use crate::objects::clients::AuditLogClient;
use crate::platform::log;
use crate::platform::objects::CallError;
use gateway_core::audit::Head;
use gateway_core::dead_letters::retention::Removed;
use worker::Env;

/// Steps of one kind in one run: two million entries written, as many removed; the next run goes on.
const MAX_STEPS: u32 = 100;

/// The part of retention that is the audit trail's.
pub(crate) async fn run(env: &Env, before_ms: u64, removed: &mut Removed) {
    let log = AuditLogClient::new(env);
    let exported = repeat(async || log.export().await, &mut removed.audit_exported).await;
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

/// Number and hash of the last entry for the log, from which they leave the gateway; empty where the object does not answer.
pub(crate) async fn head(env: &Env) -> String {
    let marks = AuditLogClient::new(env).marks().await;
    marks.map(|marks| marks.head).map(|Head { seq, hash }| format!("{seq} {hash}")).unwrap_or_default()
}
