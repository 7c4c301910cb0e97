//! `plan` and `reconcile`, from declarations to a report.
//!
//! Promise: one reconciliation at a time for each client. Out of scope: storing the state between clients.

use crate::args::{NamedArgs, api_kind, elements};
use crate::declaration::declared_subscription;
use crate::error::JsFailure;
use crate::host::now_ms;
use crate::json;
use crate::shared::ClientState;
use genesys_client::client::{Client, RunBudget};
use genesys_client::reconcile::{AuditEvent, ReconcileOptions, ReconcileReport, reconcile};
use serde::Serialize;
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// Marks the end of a run, also of one that was dropped.
struct ReconcilingMark(Rc<ClientState>);

impl Drop for ReconcilingMark {
    fn drop(&mut self) {
        self.0.reconciling.set(false);
    }
}

#[derive(Serialize)]
struct ReportWithAudit {
    #[serde(flatten)]
    report: ReconcileReport,
    audit: Vec<AuditEvent>,
}

pub(crate) async fn run(
    shared: Rc<ClientState>,
    desired: JsValue,
    options: JsValue,
    dry_run: bool,
) -> Result<JsValue, JsFailure> {
    let desired = elements(&desired, "desired")?
        .iter()
        .enumerate()
        .map(|(index, declared)| declared_subscription(declared, &format!("desired[{index}]"), None))
        .collect::<Result<Vec<_>, _>>()?;
    let mut options = NamedArgs::optional(options, "options")?;
    let prune = match options.value("prune")? {
        None => vec![],
        Some(apis) => elements(&apis, "options.prune")?
            .iter()
            .map(|api| api_kind(&api, "options.prune"))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let probe = options.flag("probe")?.unwrap_or(true);
    let (timeout_ms, max_requests) = (options.whole("timeoutMs")?, options.whole("maxRequests")?);
    options.finish()?;

    // Two runs at once would both find the same subscription missing.
    let running = if dry_run {
        None
    } else if shared.reconciling.replace(true) {
        return Err(JsFailure::conflict("already_running", "this client is in the middle of a reconciliation"));
    } else {
        Some(ReconcilingMark(shared.clone()))
    };
    let options =
        ReconcileOptions { marks: shared.marks.clone(), prune, allow_private: shared.allow_private, probe, dry_run };
    let budget = RunBudget {
        deadline_ms: timeout_ms.map_or(u64::MAX, |timeout_ms| now_ms().saturating_add(timeout_ms)),
        max_requests: max_requests.map_or(u32::MAX, |requests| u32::try_from(requests).unwrap_or(u32::MAX)),
    };
    let (host, tokens) = (shared.host.clone(), shared.tokens.clone());
    let vendor = Client::new(host.clone(), host, tokens, shared.vendor.api_url()).with_budget(budget);
    let mut state = shared.state.borrow().clone();
    let mut audit: Vec<AuditEvent> = vec![];
    let report = reconcile(&vendor, &desired, &options, &mut state, &mut audit).await;
    if !dry_run {
        shared.state.replace(state);
    }
    drop(running);
    json::to_js(&ReportWithAudit { report, audit })
}
