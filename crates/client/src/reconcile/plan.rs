//! Desired against actual: what there is to do.
//!
//! Promise: pure, and every item has a reason that is shown. Out of scope: reading lists before, writing after.

use super::report::{ItemError, ItemOutcome, PlanAction, ReportItem};
use super::state::ReconcileState;
use crate::address;
use crate::error::{Error, ErrorFault};
use crate::event_types::Catalogue;
use crate::near;
use crate::subscription::{ApiKind, Desired, Marks, Provisioning, Subscription};

#[derive(Clone)]
pub struct ReconcileOptions {
    pub marks: Marks,
    /// APIs whose owned subscriptions are deleted when nothing declares them, at any address. Such an API is listed even
    /// when nothing is declared for it. See also [`crate::subscription::Desired::prune`].
    pub prune: Vec<ApiKind>,
    /// Permit `http` and private addresses, for local development.
    pub allow_private: bool,
    /// Ask an address whether it answers before a subscription is pointed to it.
    pub probe: bool,
    pub dry_run: bool,
}

/// One subscription of a plan. Its outcome is `planned` where there is something to apply.
#[derive(Clone, Debug)]
pub(super) struct PlanItem {
    /// What the report says of it. For a create, the id is that of one of ours that the vendor failed to complete, which is
    /// deleted first.
    pub(super) item: ReportItem,
    pub(super) address: String,
    pub(super) declared: Option<usize>,
}

/// The subscriptions of one API, all of them, or why they could not be read.
pub(super) struct Listing {
    pub(super) api: ApiKind,
    pub(super) result: Result<Vec<Subscription>, Error>,
}

/// Compares declared with actual subscriptions. `state` must be up to date (see [`ReconcileState::forget`]). The items are in
/// the order of the declaration, then come those that nothing declares, by id.
pub(super) fn plan(
    desired: &[Desired],
    listings: &[Listing],
    options: &ReconcileOptions,
    state: &ReconcileState,
) -> Vec<PlanItem> {
    let mut items: Vec<PlanItem> = Vec::new();
    for (index, wanted) in desired.iter().enumerate() {
        let mut item = declared(wanted, listings, options, state);
        if desired.iter().filter(|other| other.api == wanted.api && other.name == wanted.name).count() > 1 {
            item.action = PlanAction::Conflict;
            let message = format!("{:?} is declared more than once", wanted.name);
            item.fail(ItemError::new("declared_twice", ErrorFault::Configuration, message));
        }
        items.push(PlanItem { item, address: wanted.address.clone(), declared: Some(index) });
    }
    for listing in listings {
        let Ok(actual) = &listing.result else { continue };
        let declares = |name: &str| desired.iter().any(|wanted| wanted.api == listing.api && wanted.name == name);
        let owned = actual.iter().filter(|found| found.is_owned_by(&options.marks));
        let mut orphans: Vec<_> = owned.filter(|found| !declares(&found.name)).collect();
        orphans.sort_by(|one, other| one.id.cmp(&other.id));
        items.extend(orphans.into_iter().map(|found| PlanItem {
            item: orphan(found, listing.api, desired, options),
            address: found.address.clone(),
            declared: None,
        }));
    }
    items
}

fn new_item(source: Option<String>, api: ApiKind, name: &str, action: PlanAction) -> ReportItem {
    ReportItem {
        source,
        api,
        name: name.to_owned(),
        action,
        webhook_id: None,
        diff: Vec::new(),
        outcome: ItemOutcome::Planned,
        error: None,
        correlation_id: None,
        attempts: 0,
    }
}

fn declared(wanted: &Desired, listings: &[Listing], options: &ReconcileOptions, state: &ReconcileState) -> ReportItem {
    let mut item = new_item(Some(wanted.source.clone()), wanted.api, &wanted.name, PlanAction::Undecided);
    match listings.iter().find(|listing| listing.api == wanted.api).map(|listing| &listing.result) {
        Some(Ok(actual)) => decide(&mut item, wanted, actual, options, state),
        Some(Err(error)) => item.fail_with(error),
        None => item.fail(ItemError::new("not_listed", ErrorFault::Ours, "the API was not looked at".to_owned())),
    }
    // A declaration that cannot be right is an error even without a change, because the next change would stop there.
    if item.error.is_none() {
        if let Err(refusal) = address::check(&wanted.address, options.allow_private) {
            item.fail_with(&Error::Address(refusal));
        } else if let Some(what) = wanted.api.api().cannot(wanted) {
            item.fail_with(&Error::Invalid(what));
        }
    }
    item
}

fn decide(
    item: &mut ReportItem,
    wanted: &Desired,
    actual: &[Subscription],
    options: &ReconcileOptions,
    state: &ReconcileState,
) {
    let api = wanted.api.api();
    let named: Vec<_> = actual.iter().filter(|found| found.name == wanted.name).collect();
    let Some(found) = named.first() else {
        item.action = PlanAction::Create;
        item.diff = api.diff(wanted, None, &options.marks);
        if let Some(recent) = state.creating(wanted.api, &wanted.name) {
            // Just created, or perhaps created. The list does not show it yet.
            item.webhook_id.clone_from(&recent.id);
            item.outcome = ItemOutcome::Pending;
        }
        return;
    };
    if named.len() > 1 {
        item.action = PlanAction::Conflict;
        let owner = |found: &Subscription| if found.is_owned_by(&options.marks) { " (ours)" } else { "" };
        let ids: Vec<_> = named.iter().map(|found| format!("{}{}", found.id, owner(found))).collect();
        let (count, name, ids) = (named.len(), &wanted.name, ids.join(", "));
        let message = format!("{count} subscriptions are named {name:?}: {ids}; delete or rename all but one");
        item.fail(ItemError::new("duplicate_name", ErrorFault::Configuration, message));
        return;
    }
    item.webhook_id = Some(found.id.clone());
    item.diff = api.diff(wanted, Some(found), &options.marks);
    let owned = found.is_owned_by(&options.marks);
    match &found.provisioning {
        _ if !owned && !wanted.adopt => {
            item.action = PlanAction::Conflict;
            item.fail_with(&Error::NotOurs(found.not_ours()));
        }
        _ if !owned => item.action = PlanAction::Adopt,
        // Ours, and it will never work, so it is created anew.
        Provisioning::Failed(_) => {
            item.action = PlanAction::Create;
            item.diff = api.diff(wanted, None, &options.marks);
        }
        Provisioning::Pending => {
            item.action = PlanAction::Unchanged;
            item.outcome = ItemOutcome::Pending;
        }
        Provisioning::Ready if item.diff.is_empty() => {
            item.action = PlanAction::Unchanged;
            item.outcome = ItemOutcome::Unchanged;
        }
        Provisioning::Ready => item.action = PlanAction::Update,
    }
}

fn orphan(found: &Subscription, api: ApiKind, desired: &[Desired], options: &ReconcileOptions) -> ReportItem {
    let at_address = desired.iter().find(|wanted| wanted.api == api && wanted.address == found.address);
    let prune = options.prune.contains(&api) || at_address.is_some_and(|wanted| wanted.prune);
    let action = if prune { PlanAction::Delete } else { PlanAction::Orphan };
    let mut item = new_item(at_address.map(|wanted| wanted.source.clone()), api, &found.name, action);
    item.webhook_id = Some(found.id.clone());
    if !prune {
        item.outcome = ItemOutcome::Kept;
    }
    item
}

/// Fails the items whose event types do not exist, naming near matches. When the catalogue could not be read, all that
/// depend on it fail.
pub(super) fn check_event_types(plan: &mut [PlanItem], desired: &[Desired], catalogue: Result<&Catalogue, &Error>) {
    for planned in plan.iter_mut().filter(|planned| planned.writes_event_types()) {
        let Some(wanted) = planned.declared.and_then(|index| desired.get(index)) else { continue };
        match catalogue {
            Err(error) => planned.item.fail_with(error),
            Ok(catalogue) => {
                let names = wanted.event_filters.iter().map(|filter| filter.event_type.as_str());
                let unknown: Vec<String> = names
                    .filter(|name| !catalogue.contains(name))
                    .map(|name| format!("{name:?}{}", near::hint(&catalogue.near(name))))
                    .collect();
                if !unknown.is_empty() {
                    let message = format!("unknown event type {}", unknown.join(", "));
                    planned.item.fail(ItemError::new("unknown_event_type", ErrorFault::Configuration, message));
                }
            }
        }
    }
}

impl PlanItem {
    /// Whether event types have to be looked up before it can be applied.
    pub(super) fn writes_event_types(&self) -> bool {
        self.item.outcome == ItemOutcome::Planned
            && self.item.action.is_change()
            && self.item.diff.iter().any(|change| change.field == "event_filters")
    }
}
