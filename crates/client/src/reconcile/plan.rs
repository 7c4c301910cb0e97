//! Desired against actual: what there is to do.
//!
//! Promise: pure, and every item has a reason that is shown. Out of scope: reading lists before, writing after.

use super::options::Options;
use super::report::{Item, ItemError, ItemOutcome, PlanAction};
use super::state::ReconcileState;
use crate::address;
use crate::error::{Error, ErrorFault};
use crate::event_types::Catalogue;
use crate::near;
use crate::subscription::{ApiKind, Desired, FieldChange, Provisioning, Subscription};

/// Whether an item can be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// There is nothing to apply.
    Settled(ItemOutcome),
    /// It must not be applied, for this reason and with this correlation id.
    Blocked(ItemError, Option<String>),
}

/// One subscription of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanItem {
    /// The configured source, where there is one.
    pub source: Option<String>,
    /// The API.
    pub api: ApiKind,
    /// The subscription's name.
    pub name: String,
    /// Where it points to, or will.
    pub address: String,
    /// What is to be done.
    pub action: PlanAction,
    /// The id of the actual subscription. For a create, one of ours that the vendor failed to complete, which is deleted
    /// first.
    pub id: Option<String>,
    /// What differs.
    pub diff: Vec<FieldChange>,
    /// Whether it can be applied.
    pub readiness: Readiness,
    /// Its place in the declared subscriptions.
    pub(crate) declared: Option<usize>,
}

/// What there is to do, in the order of the declaration, then for what nothing declares, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The items.
    pub items: Vec<PlanItem>,
}

/// The subscriptions of one API, or why they could not be read.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The API.
    pub api: ApiKind,
    /// Its subscriptions, all of them.
    pub result: Result<Vec<Subscription>, Error>,
}

/// Compares declared with actual subscriptions. `state` must be up to date (see [`ReconcileState::forget`]).
pub fn plan(desired: &[Desired], listings: &[Listing], options: &Options, state: &ReconcileState) -> Plan {
    let mut items: Vec<PlanItem> = desired
        .iter()
        .enumerate()
        .map(|(index, wanted)| {
            let twice = desired.iter().filter(|other| other.api == wanted.api && other.name == wanted.name).count() > 1;
            let mut item = declared(wanted, listings, options, state);
            item.declared = Some(index);
            if twice {
                item.action = PlanAction::Conflict;
                item.fail(
                    "declared_twice",
                    ErrorFault::Configuration,
                    format!("{:?} is declared more than once", wanted.name),
                );
            }
            item
        })
        .collect();
    for listing in listings {
        let Ok(actual) = &listing.result else { continue };
        let declares = |name: &str| desired.iter().any(|wanted| wanted.api == listing.api && wanted.name == name);
        let owned = actual.iter().filter(|found| found.is_owned_by(&options.marks));
        let mut orphans: Vec<_> = owned.filter(|found| !declares(&found.name)).collect();
        orphans.sort_by(|one, other| one.id.cmp(&other.id));
        items.extend(orphans.into_iter().map(|found| orphan(found, listing.api, desired, options)));
    }
    Plan { items }
}

fn declared(wanted: &Desired, listings: &[Listing], options: &Options, state: &ReconcileState) -> PlanItem {
    let api = wanted.api.api();
    let mut item = PlanItem {
        source: Some(wanted.source.clone()),
        api: wanted.api,
        name: wanted.name.clone(),
        address: wanted.address.clone(),
        action: PlanAction::Undecided,
        id: None,
        diff: Vec::new(),
        readiness: Readiness::Ready,
        declared: None,
    };
    match listings.iter().find(|listing| listing.api == wanted.api).map(|listing| &listing.result) {
        Some(Ok(actual)) => decide(&mut item, wanted, actual, options, state),
        Some(Err(error)) => item.fail_with(error),
        None => item.fail("not_listed", ErrorFault::Ours, "the API was not looked at".to_owned()),
    }
    // A declaration that cannot be right is an error even without a change, because the next change would stop there.
    if matches!(item.readiness, Readiness::Ready | Readiness::Settled(_)) {
        if let Err(refusal) = address::check(&wanted.address, options.allow_private) {
            item.fail_with(&Error::Address(refusal));
        } else if let Some(what) = api.cannot(wanted) {
            item.fail_with(&Error::Invalid { what });
        }
    }
    item
}

fn decide(item: &mut PlanItem, wanted: &Desired, actual: &[Subscription], options: &Options, state: &ReconcileState) {
    let api = wanted.api.api();
    let named: Vec<_> = actual.iter().filter(|found| found.name == wanted.name).collect();
    let Some(found) = named.first() else {
        item.action = PlanAction::Create;
        item.diff = api.diff(wanted, None, &options.marks);
        if let Some(recent) = state.creating(wanted.api, &wanted.name) {
            // Just created, or perhaps created. The list does not show it yet.
            item.id.clone_from(&recent.id);
            item.readiness = Readiness::Settled(ItemOutcome::Pending);
        }
        return;
    };
    if named.len() > 1 {
        item.action = PlanAction::Conflict;
        let owner = |found: &Subscription| if found.is_owned_by(&options.marks) { " (ours)" } else { "" };
        let ids: Vec<_> = named.iter().map(|found| format!("{}{}", found.id, owner(found))).collect();
        let (count, name, ids) = (named.len(), &wanted.name, ids.join(", "));
        let message = format!("{count} subscriptions are named {name:?}: {ids}; delete or rename all but one");
        item.fail("duplicate_name", ErrorFault::Configuration, message);
        return;
    }
    item.id = Some(found.id.clone());
    item.diff = api.diff(wanted, Some(found), &options.marks);
    let owned = found.is_owned_by(&options.marks);
    match &found.provisioning {
        _ if !owned && !wanted.adopt => {
            item.action = PlanAction::Conflict;
            item.fail_with(&Error::NotOurs { what: found.not_ours() });
        }
        _ if !owned => item.action = PlanAction::Adopt,
        // Ours, and it will never work, so it is created anew.
        Provisioning::Failed(_) => {
            item.action = PlanAction::Create;
            item.diff = api.diff(wanted, None, &options.marks);
        }
        Provisioning::Pending => {
            item.action = PlanAction::Unchanged;
            item.readiness = Readiness::Settled(ItemOutcome::Pending);
        }
        Provisioning::Ready if item.diff.is_empty() => {
            item.action = PlanAction::Unchanged;
            item.readiness = Readiness::Settled(ItemOutcome::Unchanged);
        }
        Provisioning::Ready => item.action = PlanAction::Update,
    }
}

fn orphan(found: &Subscription, api: ApiKind, desired: &[Desired], options: &Options) -> PlanItem {
    let at_address = desired.iter().find(|wanted| wanted.api == api && wanted.address == found.address);
    let prune = options.prune.contains(&api) || at_address.is_some_and(|wanted| wanted.prune);
    PlanItem {
        source: at_address.map(|wanted| wanted.source.clone()),
        api,
        name: found.name.clone(),
        address: found.address.clone(),
        action: if prune { PlanAction::Delete } else { PlanAction::Orphan },
        id: Some(found.id.clone()),
        diff: Vec::new(),
        readiness: if prune { Readiness::Ready } else { Readiness::Settled(ItemOutcome::Kept) },
        declared: None,
    }
}

impl Plan {
    /// Whether event types have to be looked up before the plan can be applied.
    pub fn needs_catalogue(&self) -> bool {
        self.items.iter().any(PlanItem::writes_event_types)
    }

    /// Blocks the items whose event types do not exist, naming near matches. When the catalogue could not be read, all
    /// that depend on it are blocked.
    pub fn check_event_types(&mut self, desired: &[Desired], catalogue: Result<&Catalogue, &Error>) {
        for item in self.items.iter_mut().filter(|item| item.writes_event_types()) {
            let Some(wanted) = item.declared.and_then(|index| desired.get(index)) else { continue };
            match catalogue {
                Err(error) => item.fail_with(error),
                Ok(catalogue) => {
                    let unknown: Vec<String> = wanted
                        .event_filters
                        .iter()
                        .map(|filter| filter.event_type.as_str())
                        .filter(|name| !catalogue.contains(name))
                        .map(|name| format!("{name:?}{}", near::hint(&catalogue.near(name))))
                        .collect();
                    if !unknown.is_empty() {
                        let message = format!("unknown event type {}", unknown.join(", "));
                        item.fail("unknown_event_type", ErrorFault::Configuration, message);
                    }
                }
            }
        }
    }
}

impl PlanItem {
    fn writes_event_types(&self) -> bool {
        self.readiness == Readiness::Ready
            && self.action.is_change()
            && self.diff.iter().any(|change| change.field == "event_filters")
    }

    fn fail(&mut self, code: &str, fault: ErrorFault, message: String) {
        self.readiness = Readiness::Blocked(ItemError::new(code, fault, message), None);
    }

    fn fail_with(&mut self, error: &Error) {
        self.readiness = Readiness::Blocked(error.into(), error.correlation_id().map(str::to_owned));
    }

    /// The item of a report in which nothing was carried out.
    pub fn unapplied(&self) -> Item {
        let (outcome, error, correlation_id) = match &self.readiness {
            Readiness::Ready => (ItemOutcome::Planned, None, None),
            Readiness::Settled(outcome) => (*outcome, None, None),
            // The run had no time or requests left to look at it.
            Readiness::Blocked(error, _) if matches!(error.code.as_str(), "out_of_time" | "out_of_requests") => {
                (ItemOutcome::Skipped, Some(error.clone()), None)
            }
            Readiness::Blocked(error, correlation_id) => {
                (ItemOutcome::Failed, Some(error.clone()), correlation_id.clone())
            }
        };
        Item {
            source: self.source.clone(),
            api: self.api,
            name: self.name.clone(),
            action: self.action,
            webhook_id: self.id.clone(),
            diff: self.diff.clone(),
            outcome,
            error,
            correlation_id,
            attempts: 0,
        }
    }
}
