//! Appends to the audit trail.
//!
//! Promises: an append that fails is repeated a few times under the same batch name, which the log takes once; what is lost
//! even so is an error in the log and counted (`auditLost`); a failure never stops what is recorded, because a dead letter that is
//! stored must be acknowledged.

use crate::objects::clients::AuditLogClient;
use crate::platform::{clock, log};
use crate::receive::counting;
use gateway_core::audit::{Action, Draft};
use gateway_core::metrics::counters::Metric;
use genesys_webhook::encoding::hex;
use worker::Env;

/// Waits between attempts, in milliseconds: an object that moves or restarts is back within a second.
const WAITS_MS: [u64; 3] = [100, 500, 2_000];

/// A call that changed something at the vendor, or should have, is an event of the log too, with the identifier under which
/// the vendor finds it.
fn tell(draft: &Draft) {
    let is_change = matches!(draft.action, Action::Create | Action::Update | Action::Delete);
    if !is_change && (draft.action != Action::Validate || draft.error.is_none()) {
        return;
    }
    let fields = [
        ("action", draft.action.as_str()),
        ("actor", &draft.actor),
        ("source", draft.source.as_deref().unwrap_or_default()),
        ("webhook", draft.webhook_id.as_deref().unwrap_or_default()),
        ("error", draft.error.as_deref().unwrap_or_default()),
        ("correlation", draft.correlation_id.as_deref().unwrap_or_default()),
    ];
    if draft.error.is_none() { log::info("vendor_changed", &fields) } else { log::error("vendor_refused", &fields) }
}

/// Appends `drafts` in order.
pub(crate) async fn append(env: &Env, drafts: Vec<Draft>) {
    if drafts.is_empty() {
        return;
    }
    drafts.iter().for_each(tell);
    let batch = clock::random::<16>().ok().map(|bytes| hex(&bytes));
    let mut waits = WAITS_MS.into_iter();
    loop {
        let Err(error) = AuditLogClient::new(env).append(&drafts, batch.as_deref()).await else { return };
        let Some(wait_ms) = waits.next().filter(|_| error.is_transient()) else {
            let fields = [("entries", &*drafts.len().to_string()), ("error", &error.to_string())];
            log::error("audit_not_appended", &fields);
            counting::add(Metric::AuditLost, "", "", drafts.len() as u64);
            counting::flush(env).await;
            return;
        };
        log::warn("audit_repeated", &[("error", &error.to_string())]);
        clock::sleep_ms(wait_ms).await;
    }
}
