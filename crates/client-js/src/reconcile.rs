//! `plan` and `reconcile`: declarations in, a report out.

use crate::args::{Options, api_kind, elements, expected};
use crate::client::Shared;
use crate::error::Failure;
use crate::json;
use genesys_client::reconcile::{AuditEvent, Report, reconcile};
use genesys_client::secret::Secret;
use genesys_client::subscription::{ApiKind, Desired, EventFilter};
use serde::Serialize;
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// Ends a run however it ends.
struct Running(Rc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.reconciling.set(false);
    }
}

#[derive(Serialize)]
struct ReportWithAudit {
    #[serde(flatten)]
    report: Report,
    audit: Vec<AuditEvent>,
}

/// One run.
pub(crate) async fn run(
    shared: Rc<Shared>,
    desired: JsValue,
    options: JsValue,
    dry_run: bool,
) -> Result<JsValue, Failure> {
    let desired = elements(&desired, "desired")?
        .iter()
        .enumerate()
        .map(|(index, declared)| declared_subscription(declared, &format!("desired[{index}]"), None))
        .collect::<Result<Vec<_>, _>>()?;
    let mut options = Options::optional(options, "options")?;
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
        return Err(Failure::conflict("already_running", "this client is in the middle of a reconciliation"));
    } else {
        Some(Running(shared.clone()))
    };
    let options = genesys_client::reconcile::Options {
        marks: shared.marks.clone(),
        prune,
        allow_private: shared.allow_private,
        probe,
        dry_run,
    };
    let vendor = shared.vendor_within(timeout_ms, max_requests);
    let mut memory = shared.memory.borrow().clone();
    let mut audit: Vec<AuditEvent> = vec![];
    let report = reconcile(&vendor, &desired, &options, &mut memory, &mut audit).await;
    if !dry_run {
        shared.memory.replace(memory);
    }
    drop(running);
    json::to_js(&ReportWithAudit { report, audit })
}

/// Reads a declaration. `api`: the API it is for, where it does not have to say so.
pub(crate) fn declared_subscription(value: JsValue, what: &str, api: Option<ApiKind>) -> Result<Desired, Failure> {
    let mut options = Options::new(value, what)?;
    let api = match (api, options.value("api")?) {
        (Some(api), None) => api,
        (wanted, Some(named)) => {
            let named = api_kind(&named, &format!("{what}.api"))?;
            if wanted.is_some_and(|wanted| wanted != named) {
                return Err(Failure::argument(format!("{what}.api: is not the API of these subscriptions")));
            }
            named
        }
        (None, None) => return Err(Failure::argument(format!("{what}.api: is required"))),
    };
    let name = options.required_text("name")?;
    let desired = Desired {
        source: options.text("source")?.unwrap_or_else(|| name.clone()),
        api,
        address: options.required_text("address")?,
        enabled: options.flag("enabled")?.unwrap_or(true),
        event_filters: match options.value("eventFilters")? {
            None => vec![],
            Some(filters) => event_filters(&filters, &format!("{what}.eventFilters"))?,
        },
        secret: Secret::new(options.required_text("secret")?),
        adopt: options.flag("adopt")?.unwrap_or(false),
        prune: options.flag("prune")?.unwrap_or(false),
        name,
    };
    options.finish()?;
    Ok(desired)
}

fn event_filters(value: &JsValue, what: &str) -> Result<Vec<EventFilter>, Failure> {
    elements(value, what)?
        .iter()
        .map(|filter| {
            if let Some(event_type) = filter.as_string() {
                return Ok(EventFilter { event_type, filter: "true".to_owned() });
            }
            if !filter.is_object() {
                return Err(expected(what, "names of event types, or objects with eventType and filter", &filter));
            }
            let mut options = Options::new(filter, what)?;
            let event_type = options.required_text("eventType")?;
            let filter = options.text("filter")?.unwrap_or_else(|| "true".to_owned());
            options.finish()?;
            Ok(EventFilter { event_type, filter })
        })
        .collect()
}
