//! Appends to the audit trail.
//!
//! Promise: a trail that cannot be reached is an error in the log, with the number of entries lost to it; it does not stop
//! what it records.

use crate::objects::AUDIT_OBJECT;
use crate::platform::{log, objects};
use gateway_core::audit::{AuditCall, Draft};
use worker::Env;

/// Appends `drafts` in order.
pub(crate) async fn append(env: &Env, drafts: Vec<Draft>) {
    if drafts.is_empty() {
        return;
    }
    let entries = drafts.len().to_string();
    if let Err(error) = objects::call::<u64>(env, objects::AUDIT_LOG, AUDIT_OBJECT, &AuditCall::Append { drafts }).await
    {
        log::error("audit_not_appended", &[("entries", &entries), ("error", &error.to_string())]);
    }
}
