//! `POST /api/reconcile?dryRun=`, `GET /api/reconcile`.

use super::{Call, Handled, bad_parameter, vendor};
use gateway_core::lifecycle::LifecycleCall;

/// The last report.
pub(super) async fn last(call: &Call<'_>) -> Handled {
    vendor(call, LifecycleCall::Last).await
}

/// Plans, and applies unless `dryRun=true`.
pub(super) async fn run(call: &Call<'_>) -> Handled {
    let dry_run = match call.query.get("dryRun").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(bad_parameter("dryRun", "true or false").into()),
    };
    vendor(call, LifecycleCall::Reconcile { dry_run, actor: "admin".into() }).await
}
