//! `POST /api/reconcile?dryRun=`, `GET /api/reconcile`.

use super::{Handled, ManagementCall, bad_parameter, vendor};
use gateway_core::lifecycle::LifecycleCall;

pub(super) async fn last(call: &ManagementCall<'_>) -> Handled {
    vendor(call, LifecycleCall::Last).await
}

/// Plans, and applies unless `dryRun=true`.
pub(super) async fn run(call: &ManagementCall<'_>) -> Handled {
    let dry_run = match call.query.get("dryRun") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(bad_parameter("dryRun", "true or false")),
    };
    vendor(call, LifecycleCall::Reconcile { dry_run, actor: "admin".into() }).await
}
