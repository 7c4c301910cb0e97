//! Desired state against actual state: plan, apply, report.
//!
//! Promises:
//! - Level-triggered and idempotent. A run may start at any time and stop at any point, and the next one finishes.
//! - Nothing without our mark is touched unless `adopt` says so, and nothing is deleted unless `prune` says so.
//! - Nothing is created twice.
//!
//! A run reads the lists, makes a plan (`plan`, which is pure) and carries it out (`apply`).
//!
//! Out of scope: that only one run happens at a time (the caller holds a lease), and storing report and state.

mod apply;
mod audit;
mod plan;
mod report;
mod state;

pub use audit::{AuditAction, AuditEvent};
pub use plan::ReconcileOptions;
pub use report::{ItemError, ItemOutcome, PlanAction, ReconcileReport, ReportItem};
pub use state::{ChangeKind, RecentChange, ReconcileState};

use crate::auth::TokenSource;
use crate::client::Client;
use crate::error::Error;
use crate::event_types::Catalogue;
use crate::subscription::{ApiKind, Desired, Subscriptions};
use crate::transport::{Runtime, Transport};
use plan::{Listing, PlanItem, check_event_types, plan};

/// One run. Lists, plans, checks event types, applies (unless it is a dry run) and reports. It never fails as a whole,
/// because the report says item by item what went wrong.
///
/// `client` bounds the run by its budget, `audit` gets what was done. `state` carries what the last runs did and lists may not show yet. Store it
/// with the report.
pub async fn reconcile<T: Transport, R: Runtime, A: TokenSource>(
    client: &Client<T, R, A>,
    desired: &[Desired],
    options: &ReconcileOptions,
    state: &mut ReconcileState,
    audit: &mut Vec<AuditEvent>,
) -> ReconcileReport {
    let started_at_ms = client.runtime.now_ms();
    state.forget(started_at_ms);
    let mut listings = Vec::new();
    for kind in ApiKind::ALL {
        if options.prune.contains(&kind) || desired.iter().any(|wanted| wanted.api == kind) {
            listings.push(listing(client, kind, options, state).await);
        }
    }
    let mut plan = plan(desired, &listings, options, state);
    if plan.iter().any(PlanItem::writes_event_types) {
        let catalogue = client.event_types().await.map(|event_types| Catalogue::new(&event_types));
        check_event_types(&mut plan, desired, catalogue.as_ref());
    }
    let items = if options.dry_run {
        plan.into_iter().map(|planned| planned.item).collect()
    } else {
        apply::apply(client, plan, desired, options, state, audit).await
    };
    let duration_ms = client.runtime.now_ms().saturating_sub(started_at_ms);
    ReconcileReport::new(started_at_ms, duration_ms, options.dry_run, client.requests_sent(), items)
}

/// The subscriptions of one API, corrected by the state. A created subscription that is not listed yet is read by its id,
/// and a deleted one that is still listed is left out.
async fn listing<T: Transport, R: Runtime, A: TokenSource>(
    client: &Client<T, R, A>,
    kind: ApiKind,
    options: &ReconcileOptions,
    state: &ReconcileState,
) -> Listing {
    let subscriptions = Subscriptions::new(client, kind.api(), &options.marks);
    let mut found = match subscriptions.list().await {
        Ok(found) => found,
        Err(error) => return Listing { api: kind, result: Err(error) },
    };
    found.retain(|subscription| !state.was_deleted(kind, &subscription.id));
    for id in state.ids(ChangeKind::Created, kind) {
        if found.iter().any(|subscription| subscription.id == id) {
            continue;
        }
        match subscriptions.get(&id).await {
            Ok(subscription) => found.push(subscription),
            Err(error @ (Error::Token(_) | Error::Exhausted(_))) => {
                return Listing { api: kind, result: Err(error) };
            }
            // Not there yet either. The state keeps it from being created again.
            Err(_) => {}
        }
    }
    Listing { api: kind, result: Ok(found) }
}
