//! Desired against actual: what there is to do. Pure.

use super::Options;
use super::memory::Memory;
use super::report::{Item, ItemError, Outcome};
use crate::address;
use crate::error::{Error, Fault};
use crate::event_types::Catalogue;
use crate::near;
use crate::subscription::{ApiKind, Desired, FieldChange, Provisioning, Subscription};
use serde::{Deserialize, Serialize};

/// What is to be done with one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Make it.
    Create,
    /// Change what differs.
    Update,
    /// Take it over from whoever made it, and change what differs.
    Adopt,
    /// Remove it.
    Delete,
    /// Nothing.
    Unchanged,
    /// Nothing: owned, not declared, and `prune` is off.
    Orphan,
    /// Nothing: it is not clear which subscription is meant, or it is somebody else's.
    Conflict,
    /// Nothing: what there is could not be read.
    Undecided,
}

impl Action {
    /// Whether it changes anything at the vendor.
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Adopt | Self::Delete)
    }
}

/// Whether an item is to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out.
    Go,
    /// There is nothing to do.
    Settled(Outcome),
    /// It must not be carried out.
    Fail(ItemError, Option<String>),
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
    pub action: Action,
    /// The id of the subscription that there is. For a create: one of ours that the vendor failed to complete, to be
    /// deleted first.
    pub id: Option<String>,
    /// What differs.
    pub diff: Vec<FieldChange>,
    /// Whether it is to be carried out.
    pub verdict: Verdict,
    /// Its place in the declared subscriptions.
    pub(crate) declared: Option<usize>,
}

/// What there is to do, in the order of the declaration; then what nothing declares, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The items.
    pub items: Vec<PlanItem>,
}

/// What there is of one API, or why it could not be read.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The API.
    pub api: ApiKind,
    /// Its subscriptions, all of them.
    pub result: Result<Vec<Subscription>, Error>,
}

/// Compares what is declared with what there is. `memory` must be up to date (see [`Memory::forget`]).
pub fn plan(desired: &[Desired], listings: &[Listing], options: &Options, memory: &Memory) -> Plan {
    let mut items: Vec<PlanItem> = desired
        .iter()
        .enumerate()
        .map(|(index, wanted)| {
            let twice = desired.iter().filter(|other| other.api == wanted.api && other.name == wanted.name).count() > 1;
            let mut item = declared(wanted, listings, options, memory);
            item.declared = Some(index);
            if twice {
                item.action = Action::Conflict;
                item.fail(
                    "declared_twice",
                    Fault::Configuration,
                    format!("{:?} is declared more than once", wanted.name),
                );
            }
            item
        })
        .collect();
    for listing in listings {
        let Ok(actual) = &listing.result else { continue };
        let mut orphans: Vec<&Subscription> = Vec::new();
        for found in actual.iter().filter(|found| found.is_owned_by(&options.marks)) {
            let declared = desired.iter().any(|wanted| wanted.api == listing.api && wanted.name == found.name);
            if !declared && let Err(place) = orphans.binary_search_by(|other| other.id.cmp(&found.id)) {
                orphans.insert(place, found);
            }
        }
        items.extend(orphans.into_iter().map(|found| orphan(found, listing.api, desired, options)));
    }
    Plan { items }
}

fn declared(wanted: &Desired, listings: &[Listing], options: &Options, memory: &Memory) -> PlanItem {
    let api = wanted.api.api();
    let mut item = PlanItem {
        source: Some(wanted.source.clone()),
        api: wanted.api,
        name: wanted.name.clone(),
        address: wanted.address.clone(),
        action: Action::Undecided,
        id: None,
        diff: Vec::new(),
        verdict: Verdict::Go,
        declared: None,
    };
    match listings.iter().find(|listing| listing.api == wanted.api).map(|listing| &listing.result) {
        Some(Ok(actual)) => decide(&mut item, wanted, actual, options, memory),
        Some(Err(error)) => item.fail_with(error),
        None => item.fail("not_listed", Fault::Ours, "the API was not looked at".to_owned()),
    }
    // A declaration that cannot be right is an error even where nothing is to be done: the next change would stop
    // there.
    if matches!(item.verdict, Verdict::Go | Verdict::Settled(_)) {
        if let Err(refusal) = address::check(&wanted.address, options.allow_private) {
            item.fail_with(&Error::Address(refusal));
        } else if let Some(what) = api.cannot(wanted) {
            item.fail_with(&Error::Invalid { what });
        }
    }
    item
}

fn decide(item: &mut PlanItem, wanted: &Desired, actual: &[Subscription], options: &Options, memory: &Memory) {
    let api = wanted.api.api();
    let mut named = actual.iter().filter(|found| found.name == wanted.name);
    let (first, second) = (named.next(), named.next());
    let Some(found) = first else {
        item.action = Action::Create;
        item.diff = api.diff(wanted, None, &options.marks);
        if let Some(recent) = memory.creating(wanted.api, &wanted.name) {
            // Made a moment ago, or perhaps made: the list does not show it yet.
            item.id.clone_from(&recent.id);
            item.verdict = Verdict::Settled(Outcome::Pending);
        }
        return;
    };
    if second.is_some() {
        item.action = Action::Conflict;
        let owned = |found: &&Subscription| found.is_owned_by(&options.marks);
        let ids: Vec<String> = actual
            .iter()
            .filter(|found| found.name == wanted.name)
            .map(|found| if owned(&found) { format!("{} (ours)", found.id) } else { found.id.clone() })
            .collect();
        let message = format!(
            "{} subscriptions are named {:?}: {}; delete or rename all but one",
            ids.len(),
            wanted.name,
            ids.join(", ")
        );
        item.fail("duplicate_name", Fault::Configuration, message);
        return;
    }
    item.id = Some(found.id.clone());
    item.diff = api.diff(wanted, Some(found), &options.marks);
    let owned = found.is_owned_by(&options.marks);
    match &found.provisioning {
        _ if !owned && !wanted.adopt => {
            item.action = Action::Conflict;
            let maker = found.owner.as_deref().unwrap_or("somebody else");
            let message = format!(
                "{:?} ({}) was made by {maker}, not by this gateway; set adopt = true to take it over, or choose another name",
                found.name, found.id
            );
            item.fail("not_owned", Fault::Configuration, message);
        }
        _ if !owned => item.action = Action::Adopt,
        // Ours, and never going to work: made anew.
        Provisioning::Failed(_) => {
            item.action = Action::Create;
            item.diff = api.diff(wanted, None, &options.marks);
        }
        Provisioning::Pending => {
            item.action = Action::Unchanged;
            item.verdict = Verdict::Settled(Outcome::Pending);
        }
        Provisioning::Ready if item.diff.is_empty() => {
            item.action = Action::Unchanged;
            item.verdict = Verdict::Settled(Outcome::Unchanged);
        }
        Provisioning::Ready => item.action = Action::Update,
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
        action: if prune { Action::Delete } else { Action::Orphan },
        id: Some(found.id.clone()),
        diff: Vec::new(),
        verdict: if prune { Verdict::Go } else { Verdict::Settled(Outcome::Kept) },
        declared: None,
    }
}

impl Plan {
    /// Whether event types have to be looked up before the plan can be applied.
    pub fn needs_catalogue(&self) -> bool {
        self.items.iter().any(PlanItem::writes_event_types)
    }

    /// Fails the items whose event types do not exist, naming what looks like them; or, when the catalogue could not
    /// be read, all that depend on it.
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
                        item.fail("unknown_event_type", Fault::Configuration, message);
                    }
                }
            }
        }
    }
}

impl PlanItem {
    fn writes_event_types(&self) -> bool {
        self.verdict == Verdict::Go
            && self.action.is_change()
            && self.diff.iter().any(|change| change.field == "event_filters")
    }

    fn fail(&mut self, code: &str, fault: Fault, message: String) {
        self.verdict = Verdict::Fail(ItemError::new(code, fault, message), None);
    }

    fn fail_with(&mut self, error: &Error) {
        self.verdict = Verdict::Fail(error.into(), error.correlation_id().map(str::to_owned));
    }

    /// The item of a report in which nothing was carried out.
    pub fn unapplied(&self) -> Item {
        let (outcome, error, correlation_id) = match &self.verdict {
            Verdict::Go => (Outcome::Planned, None, None),
            Verdict::Settled(outcome) => (*outcome, None, None),
            // What the run had no time or requests to look at was not reached.
            Verdict::Fail(error, _) if matches!(error.code.as_str(), "out_of_time" | "out_of_requests") => {
                (Outcome::Skipped, Some(error.clone()), None)
            }
            Verdict::Fail(error, correlation_id) => (Outcome::Failed, Some(error.clone()), correlation_id.clone()),
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
