//! Starts reconciliations and reads what the last one did.
//!
//! Promise: the cron and `POST /api/reconcile` do the same. Out of scope: doing it (the `LIFECYCLE` object).

use crate::objects::clients::LifecycleClient;
use crate::platform::log;
use crate::platform::objects::CallError;
use gateway_core::lifecycle::{LifecycleCall, LifecycleRefusal, read_last_runs};
use gateway_core::metrics::{ReconcileFigures, Reconciled};
use worker::Env;

/// The cron of `wrangler.toml` that reconciles.
pub(crate) const CRON: &str = "*/5 * * * *";

/// What the cron does.
pub(crate) async fn run_by_cron(env: &Env) {
    let call = LifecycleCall::Reconcile { dry_run: false, actor: "cron".into() };
    match LifecycleClient::new(env).call(&call).await {
        Ok(answered) => match answered.refusal {
            // Nothing is to be reconciled, or another run is at work and does the same.
            Some(LifecycleRefusal::NoRegion | LifecycleRefusal::AlreadyRunning) => {}
            Some(_) => log::error("reconcile_refused", &[("answer", &answered.body)]),
            None => log_run(&answered.body),
        },
        Err(error) => log::error("reconcile_failed", &[("error", &error.to_string())]),
    }
}

fn log_run(report: &str) {
    match serde_json::from_str::<ReconcileFigures>(report) {
        Ok(run) if run.failed == 0 && run.applied == 0 => {}
        Ok(run) => {
            let (applied, failed) = (run.applied.to_string(), run.failed.to_string());
            let fields = [("applied", applied.as_str()), ("failed", failed.as_str())];
            if run.failed == 0 { log::info("reconciled", &fields) } else { log::error("reconcile_failed", &fields) }
        }
        Err(error) => log::error("reconcile_unreadable", &[("error", &error.to_string())]),
    }
}

/// The last run in figures, and why there has been no other.
pub(crate) async fn reconciled(env: &Env) -> Result<Reconciled, CallError> {
    Ok(read_last_runs(&LifecycleClient::new(env).call(&LifecycleCall::Last).await?.body))
}
