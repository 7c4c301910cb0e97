//! With any declaration, any actual state and any faults in between, runs converge, touch only what is owned, and create
//! nothing twice.

use crate::calls::client;
use crate::clock::block_on;
use crate::reconcile::{OWNER, integration, options, webhook};
use crate::vendor::{FakeVendor, INTEGRATIONS, InjectedFault, WEBHOOKS};
use genesys_client::reconcile::{
    ItemOutcome, PlanAction, ReconcileOptions, ReconcileReport, ReconcileState, reconcile,
};
use genesys_client::subscription::{ApiKind, Desired, EventFilter};
use genesys_client::{RunBudget, Secret};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Time between two runs, as of the cron.
const PERIOD_MS: u64 = 300_000;

/// A declared subscription in small numbers.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that is varied")]
#[derive(Clone, Debug)]
struct Wanted {
    name: u8,
    open_messaging: bool,
    address: u8,
    enabled: bool,
    events: u8,
    secret: u8,
    adopt: bool,
    prune: bool,
}

/// Something that is there before the first run.
#[derive(Clone, Debug)]
struct Found {
    name: u8,
    open_messaging: bool,
    address: u8,
    owner: u8,
    secret: u8,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    (0_u8..6, any::<bool>(), 0_u8..4, any::<bool>(), 1_u8..8, 0_u8..3, any::<bool>(), any::<bool>()).prop_map(
        |(name, open_messaging, address, enabled, events, secret, adopt, prune)| Wanted {
            name,
            open_messaging,
            address,
            enabled,
            events,
            secret,
            adopt,
            prune,
        },
    )
}

fn found() -> impl Strategy<Value = Found> {
    (0_u8..8, any::<bool>(), 0_u8..4, 0_u8..3, 0_u8..3).prop_map(|(name, open_messaging, address, owner, secret)| {
        Found { name, open_messaging, address, owner, secret }
    })
}

fn fault() -> impl Strategy<Value = InjectedFault> {
    prop_oneof![
        4 => Just(InjectedFault::None),
        1 => Just(InjectedFault::ConnectionRefused),
        1 => Just(InjectedFault::LostBefore),
        2 => Just(InjectedFault::LostAfter),
        1 => prop_oneof![Just(500), Just(503), Just(400), Just(403), Just(404), Just(409), Just(412)].prop_map(InjectedFault::ErrorBefore),
        1 => prop_oneof![Just(500), Just(503)].prop_map(InjectedFault::ErrorAfter),
        1 => (0_u64..200).prop_map(InjectedFault::LimitedBefore),
        2 => (0_u64..200).prop_map(InjectedFault::LimitedAfter),
        1 => Just(InjectedFault::TokenRevoked),
        2 => Just(InjectedFault::OtherWriter),
        1 => Just(InjectedFault::NotJson),
    ]
}

fn desired(wanted: &Wanted) -> Desired {
    let name = format!("name-{}", wanted.name);
    let base = if wanted.open_messaging { integration(&name) } else { webhook(&name) };
    let events = ["call:created", "call:answered", "chat:created"];
    Desired {
        address: address(wanted.address),
        enabled: wanted.open_messaging || wanted.enabled,
        event_filters: if wanted.open_messaging {
            Vec::new()
        } else {
            events
                .iter()
                .enumerate()
                .filter(|(bit, _)| wanted.events >> bit & 1 == 1)
                .map(|(_, name)| EventFilter { event_type: (*name).to_owned(), filter: "true".into() })
                .collect()
        },
        secret: secret(wanted.secret),
        adopt: wanted.adopt,
        prune: wanted.prune,
        ..base
    }
}

fn address(number: u8) -> String {
    format!("https://hooks.example.com/webhook/{number}")
}

fn secret(number: u8) -> Secret {
    Secret::new(format!("secret-number-{number}-0123456789"))
}

fn path(open_messaging: bool) -> &'static str {
    if open_messaging { INTEGRATIONS } else { WEBHOOKS }
}

fn put(vendor: &FakeVendor, found: &Found) -> String {
    let owner = [Some(OWNER), Some("another owner"), None][usize::from(found.owner)];
    let name = format!("name-{}", found.name);
    let thing = if found.open_messaging {
        json!({"name": name, "outboundNotificationWebhookUrl": address(found.address), "supportedContent": {"id": "kept"},
            "webhookHeaders": owner.map(|owner| json!({"X-Gateway-Owner": owner, "X-Other": "kept"})).unwrap_or(json!({"X-Other": "kept"}))})
    } else {
        json!({"name": name, "address": address(found.address), "enabled": true, "description": "kept", "eventFilters": [{"eventType": "call:ended", "filter": "true"}],
            "customProperties": {"webhook.created.by": owner, "webhook.signature.secret": secret(found.secret).expose(), "other": "kept"}})
    };
    vendor.put(path(found.open_messaging), thing)
}

fn run(
    vendor: &FakeVendor,
    desired: &[Desired],
    options: &ReconcileOptions,
    state: &mut ReconcileState,
    max_requests: u32,
) -> ReconcileReport {
    // The state crosses the boundary between runs as JSON, as it does in the Worker.
    let json = serde_json::to_string(state).unwrap();
    *state = serde_json::from_str(&json).unwrap();
    let budget = RunBudget { max_requests, ..RunBudget::UNLIMITED };
    block_on(reconcile(&client(vendor).with_budget(budget), desired, options, state, &mut Vec::new()))
}

/// An object without what another writer, or the vendor, put into it.
fn essence(fields: &serde_json::Map<String, Value>) -> Value {
    let mut fields = fields.clone();
    fields.remove("touchedBy");
    Value::Object(fields)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn runs_converge_touch_only_what_is_owned_and_create_nothing_twice(
        wanted in vec(wanted(), 0..6),
        found in vec(found(), 0..6),
        faults in vec(fault(), 0..40),
        budgets in vec(3_u32..40, 0..4),
        prune_all in any::<bool>(),
        lag_ms in prop_oneof![Just(0_u64), 1_000_u64..250_000],
        failing_creates in 0_u32..2,
    ) {
        let vendor = FakeVendor::new();
        let desired: Vec<Desired> = wanted.iter().map(desired).collect();
        let ids: Vec<(String, Found)> = found.iter().map(|found| (put(&vendor, found), found.clone())).collect();
        let before: BTreeMap<String, Value> = {
            let state = vendor.state();
            state.webhooks.iter().chain(&state.integrations).map(|(id, thing)| (id.clone(), essence(&thing.fields))).collect()
        };
        {
            let mut state = vendor.state();
            state.faults.extend(faults);
            state.lag_ms = lag_ms;
            state.delete_lag_ms = lag_ms.min(170_000);
            state.failing_creates = failing_creates;
        }
        let options = ReconcileOptions { prune: if prune_all { ApiKind::ALL.to_vec() } else { Vec::new() }, ..options() };
        let mut state = ReconcileState::default();

        // Runs of any length, one after the other, while requests fail.
        for max_requests in budgets.iter().copied().chain(std::iter::repeat_n(u32::MAX, 12)) {
            let report = run(&vendor, &desired, &options, &mut state, max_requests);
            prop_assert!(report.requests <= max_requests);
            vendor.clock.advance(PERIOD_MS);
        }
        vendor.state().faults.clear();
        for _ in 0..4 {
            run(&vendor, &desired, &options, &mut state, u32::MAX);
            vendor.clock.advance(PERIOD_MS);
        }

        // Now it is stable. Nothing is planned or written any more, and what fails is a conflict.
        let writes = vendor.writes();
        let last = run(&vendor, &desired, &options, &mut state, u32::MAX);
        prop_assert_eq!(last.planned, 0, "{:?}", last);
        prop_assert_eq!(vendor.writes(), writes);
        prop_assert!(last.items.iter().all(|item| (item.outcome == ItemOutcome::Failed) == (item.action == PlanAction::Conflict)), "{:?}", last);

        // Every declared subscription that is no conflict is there once, as declared.
        for (item, declared) in last.items.iter().zip(&desired) {
            if item.outcome != ItemOutcome::Unchanged {
                continue;
            }
            let named = vendor.named(path(declared.api == ApiKind::OpenMessaging), &declared.name);
            prop_assert_eq!(named.len(), 1);
            let fields = &named[0].fields;
            if declared.api == ApiKind::OpenMessaging {
                prop_assert_eq!(&fields["outboundNotificationWebhookUrl"], &declared.address);
                prop_assert_eq!(&fields["outboundNotificationWebhookSignatureSecretToken"], declared.secret.expose());
                prop_assert_eq!(&fields["webhookHeaders"]["X-Gateway-Owner"], OWNER);
            } else {
                prop_assert_eq!(&fields["address"], &declared.address);
                prop_assert_eq!(&fields["enabled"], declared.enabled);
                prop_assert_eq!(&fields["customProperties"]["webhook.signature.secret"], declared.secret.expose());
                prop_assert_eq!(&fields["customProperties"]["webhook.created.by"], OWNER);
                prop_assert_eq!(fields["eventFilters"].as_array().unwrap().len(), declared.sorted_filters().len());
            }
        }

        // What is not owned is as it was, unless a declaration adopts it. Then all its other fields are kept.
        let state = vendor.state();
        for (id, found) in ids.iter().filter(|(_, found)| found.owner != 0) {
            let thing = if found.open_messaging { &state.integrations[id] } else { &state.webhooks[id] };
            prop_assert!(thing.deleted_at_ms.is_none(), "deleted what it does not own");
            let adopts = wanted.iter().any(|wanted| wanted.adopt && wanted.name == found.name && wanted.open_messaging == found.open_messaging);
            if adopts {
                let others = if found.open_messaging { &thing.fields["webhookHeaders"]["X-Other"] } else { &thing.fields["customProperties"]["other"] };
                prop_assert_eq!(others, "kept");
            } else {
                prop_assert_eq!(&essence(&thing.fields), &before[id]);
            }
        }
        // Only what is owned is deleted, and without prune only what the vendor failed to complete.
        let failed: usize = state.integrations.values().filter(|thing| thing.create_fails && thing.deleted_at_ms.is_some()).count();
        if !prune_all && wanted.iter().all(|wanted| !wanted.prune) {
            prop_assert_eq!(state.deletes.len(), failed);
        }
        // Of what was created under a name, all but one were failed creates that were replaced.
        let mut created: BTreeMap<(bool, &str), i64> = BTreeMap::new();
        for (open_messaging, things) in [(false, &state.webhooks), (true, &state.integrations)] {
            for (id, thing) in things {
                if !ids.iter().any(|(known, _)| known == id) && !thing.create_fails {
                    *created.entry((open_messaging, thing.fields["name"].as_str().unwrap())).or_default() += 1;
                }
            }
        }
        prop_assert!(created.values().all(|count| *count <= 1), "created twice: {:?}", created);
    }

    #[test]
    fn a_run_that_is_cut_off_anywhere_leaves_nothing_that_the_next_cannot_finish(
        names in vec(0_u8..6, 1..5),
        cut_after in 0_u32..30,
    ) {
        // A run that ends in mid-air loses its state, and its requests stop.
        let vendor = FakeVendor::new();
        let mut names = names;
        names.sort_unstable();
        names.dedup();
        let desired: Vec<Desired> = names.iter().map(|name| webhook(&format!("name-{name}"))).collect();
        run(&vendor, &desired, &options(), &mut ReconcileState::default(), cut_after);
        let report = run(&vendor, &desired, &options(), &mut ReconcileState::default(), u32::MAX);
        prop_assert_eq!(report.failed + report.skipped, 0);
        prop_assert_eq!(vendor.state().creates.len(), desired.len());
    }
}
