//! Starts reconciliations and reads what the last one did.
//!
//! Promise: the cron and `POST /api/reconcile` do the same. Out of scope: doing it (the `LIFECYCLE` object).

use crate::platform::log;
use crate::platform::objects::{self, CallError};
use gateway_core::lifecycle::{Answered, LIFECYCLE_OBJECT, LifecycleCall};
use gateway_core::metrics::{ReconcileFigures, Reconciled, RefusedRuns};
use serde::Deserialize;
use worker::Env;

/// The cron of `wrangler.toml` that reconciles.
pub(crate) const CRON: &str = "*/5 * * * *";

/// Calls the lifecycle object.
pub(crate) async fn lifecycle(env: &Env, call: &LifecycleCall) -> Result<Answered, CallError> {
    objects::call(env, objects::LIFECYCLE, LIFECYCLE_OBJECT, call).await
}

/// What the cron does.
pub(crate) async fn run_by_cron(env: &Env) {
    match lifecycle(env, &LifecycleCall::Reconcile { dry_run: false, actor: "cron".into() }).await {
        // A gateway without subscriptions has nothing to reconcile.
        Ok(answered) if answered.code.as_deref() == Some("no_region") => {}
        // Another run is at it, and does the same.
        Ok(answered) if answered.code.as_deref() == Some("already_running") => {}
        Ok(answered) if answered.code.is_some() => log::error("reconcile_refused", &[("answer", &answered.body)]),
        Ok(answered) => match serde_json::from_str::<ReconcileFigures>(&answered.body) {
            Ok(run) if run.failed == 0 && run.applied == 0 => {}
            Ok(run) => {
                let (applied, failed) = (run.applied.to_string(), run.failed.to_string());
                let fields = [("applied", applied.as_str()), ("failed", failed.as_str())];
                if run.failed == 0 { log::info("reconciled", &fields) } else { log::error("reconcile_failed", &fields) }
            }
            Err(error) => log::error("reconcile_unreadable", &[("error", &error.to_string())]),
        },
        Err(error) => log::error("reconcile_failed", &[("error", &error.to_string())]),
    }
}

/// The last run in figures, and why there has been no other.
pub(crate) async fn reconciled(env: &Env) -> Result<Reconciled, CallError> {
    let answered = lifecycle(env, &LifecycleCall::Last).await?;
    let Ok(Kept { report, last_success_at_ms, refused }) = serde_json::from_str(&answered.body) else {
        return Ok(Reconciled::default());
    };
    let last = report.map(|report| ReconcileFigures { last_success_at_ms, ..report });
    Ok(Reconciled { last, refused })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    report: Option<ReconcileFigures>,
    #[serde(default)]
    last_success_at_ms: Option<u64>,
    #[serde(default)]
    refused: Option<RefusedRuns>,
}
