//! Desired state against actual state: plan, apply, report.
//!
//! Promise: level-triggered and idempotent. A run may start at any time and stop at any point; the next one finishes.
//! Nothing without our mark is touched unless `adopt` says so, nothing is deleted unless `prune` says so, nothing is
//! created twice. [`plan::plan`] is pure; [`apply::apply`] carries out what it is given; [`reconcile`] is both, with
//! the reading before.
//!
//! Out of scope: that only one run happens at a time (the caller holds a lease), and keeping report and memory.

pub mod apply;
pub mod audit;
pub mod memory;
pub mod plan;
pub mod report;

pub use audit::{AuditAction, AuditEvent, Auditor};
pub use memory::Memory;
pub use plan::{Action, Listing, Plan, PlanItem, Verdict, plan};
pub use report::{Item, ItemError, Outcome, Report};

use crate::auth::TokenSource;
use crate::client::Client;
use crate::error::Error;
use crate::event_types::Catalogue;
use crate::subscription::{ApiKind, Desired, Marks, Subscriptions};
use crate::transport::{Runtime, Transport};

/// What a run may do.
#[derive(Clone)]
pub struct Options {
    /// How own subscriptions are marked and known.
    pub marks: Marks,
    /// APIs whose owned subscriptions are deleted when nothing declares them, whatever they point to. Such an API is
    /// looked at even when nothing is declared for it. See also [`Desired::prune`].
    pub prune: Vec<ApiKind>,
    /// Permit `http` and private addresses (local development).
    pub allow_private: bool,
    /// Ask an address whether it answers before a subscription is pointed to it.
    pub probe: bool,
    /// Plan and check only.
    pub dry_run: bool,
}

/// One run: lists what there is, plans, checks event types, applies (unless it is a dry run) and reports. It never
/// fails as a whole: what went wrong is in the report, item by item.
///
/// `client` bounds the run by its budget. `memory` carries what the last runs did and lists may not show yet; keep it
/// with the report.
pub async fn reconcile<T: Transport, R: Runtime, A: TokenSource>(
    client: &Client<T, R, A>,
    desired: &[Desired],
    options: &Options,
    memory: &mut Memory,
    auditor: &mut impl Auditor,
) -> Report {
    let started_at_ms = client.runtime.now_ms();
    memory.forget(started_at_ms);
    let mut listings = Vec::new();
    for kind in ApiKind::ALL {
        if options.prune.contains(&kind) || desired.iter().any(|wanted| wanted.api == kind) {
            listings.push(listing(client, kind, options, memory).await);
        }
    }
    let mut plan = plan(desired, &listings, options, memory);
    if plan.needs_catalogue() {
        let catalogue = client.event_types().await.map(|event_types| Catalogue::new(&event_types));
        plan.check_event_types(desired, catalogue.as_ref());
    }
    let items = if options.dry_run {
        plan.items.iter().map(PlanItem::unapplied).collect()
    } else {
        apply::apply(client, &plan, desired, options, memory, auditor).await
    };
    let duration_ms = client.runtime.now_ms().saturating_sub(started_at_ms);
    Report::new(started_at_ms, duration_ms, options.dry_run, client.requests_sent(), items)
}

/// What there is of one API, corrected by what is remembered: what was just created and is not listed yet is read by
/// its id, what was just deleted and is still listed is left out.
async fn listing<T: Transport, R: Runtime, A: TokenSource>(
    client: &Client<T, R, A>,
    kind: ApiKind,
    options: &Options,
    memory: &Memory,
) -> Listing {
    let subscriptions = Subscriptions::new(client, kind.api(), &options.marks);
    let mut found = match subscriptions.list().await {
        Ok(found) => found,
        Err(error) => return Listing { api: kind, result: Err(error) },
    };
    found.retain(|subscription| !memory.was_deleted(kind, &subscription.id));
    for id in memory.created_ids(kind) {
        if found.iter().any(|subscription| subscription.id == id) {
            continue;
        }
        match subscriptions.get(&id).await {
            Ok(subscription) => found.push(subscription),
            Err(error @ (Error::Token(_) | Error::Exhausted(_))) => {
                return Listing { api: kind, result: Err(error) };
            }
            // Not there yet either: the memory itself keeps it from being created again.
            Err(_) => {}
        }
    }
    Listing { api: kind, result: Ok(found) }
}
