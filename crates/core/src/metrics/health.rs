//! What `GET /api/health` shows, and what the watch is told, from one snapshot.
//!
//! Promise: what could not be read is unknown, never fine. Out of scope: collecting, judging.

use super::{ItemState, Snapshot};
use crate::config::Config;
use crate::deliver::dispatcher::status::{CircuitRow, CircuitState};
use crate::monitor::alerts::{Conditions, Open};
use crate::monitor::calls::Observation;
use crate::monitor::silence::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthJson<'a> {
    evaluated_at_ms: Option<u64>,
    sources: BTreeMap<&'a str, SourceJson<'a>>,
    alerts: &'a [Open],
    notices_waiting: Option<u64>,
    missing: &'a [String],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceJson<'a> {
    last_request_at_ms: Option<u64>,
    last_delivery_at_ms: Option<u64>,
    activity: Verdict,
    expected: bool,
    /// `null` where the source declares none, and before the first reconciliation.
    subscription: Option<SubscriptionJson<'a>>,
    alerts: Vec<&'a Open>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionJson<'a> {
    state: ItemState,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> HealthJson<'a> {
    /// Every configured source, whatever is known of it.
    pub fn new(snapshot: &'a Snapshot, config: &'a Config) -> Self {
        let health = snapshot.health.as_ref();
        let alerts: &[Open] = health.map_or(&[], |health| &health.alerts);
        let subscriptions = snapshot.subscriptions();
        let sources = config.sources.iter().map(|source| {
            let name = source.name.as_str();
            let account = snapshot.sources.get(name);
            let watched = health.and_then(|health| health.sources.get(name));
            let subscription =
                subscriptions.get(name).map(|(state, error)| SubscriptionJson { state: *state, error: *error });
            let json = SourceJson {
                last_request_at_ms: account.and_then(|account| account.last_request_at_ms),
                last_delivery_at_ms: account.and_then(|account| account.last_delivery_at_ms),
                activity: watched.map_or(Verdict::Unknown, |watched| watched.activity),
                expected: watched.is_some_and(|watched| watched.expected),
                subscription,
                alerts: alerts.iter().filter(|alert| alert.source.as_deref() == Some(name)).collect(),
            };
            (name, json)
        });
        Self {
            evaluated_at_ms: health.and_then(|health| health.evaluated_at_ms),
            sources: sources.collect(),
            alerts,
            notices_waiting: health.map(|health| health.notices_waiting),
            missing: &snapshot.missing,
        }
    }
}

impl Snapshot {
    /// The sources whose deliveries wait; `None` where one of them is not known, because its object did not answer.
    fn open_circuits(&self) -> Option<Vec<String>> {
        let rows = self.circuits.as_ref().filter(|_| self.destinations_complete())?;
        let known = rows.iter().all(|row| row.state != CircuitState::Unknown);
        // A pause is somebody's wish.
        let waits = |row: &&CircuitRow| row.state != CircuitState::Paused;
        known.then(|| self.not_closed().filter(waits).map(|row| row.source.clone()).collect())
    }

    /// Sources whose subscription is not as declared, or whose state nobody can tell; `None` where nothing is known of them.
    fn unrepaired(&self) -> Option<Vec<String>> {
        let known = self.reconcile.as_ref()?;
        let unrepaired = self.subscriptions().into_iter().filter(|(_, (state, _))| *state == ItemState::Unrepaired);
        (known.last.is_some() || known.refused.is_some()).then(|| unrepaired.map(|(source, _)| source.into()).collect())
    }

    /// What the watch is told. Sums that lack a counter object's part are too low, and would seem to have grown when it is
    /// back: they are left out. So is silence: what is missing may be the last delivery.
    pub fn observation(&self) -> Observation {
        let complete = self.counters_complete();
        let lost = self.sources.values().fold(0u64, |sum, account| sum.saturating_add(account.not_quarantined));
        let deliveries = self.sources.iter().filter_map(|(name, own)| Some((name.clone(), own.last_delivery_at_ms?)));
        Observation {
            deliveries: deliveries.collect(),
            conditions: Conditions {
                dead_letters: self.letters.as_ref().map(|letters| letters.stored),
                not_quarantined: complete.then_some(lost),
                open_circuits: self.open_circuits(),
                silent: None,
                unrepaired: self.unrepaired(),
            },
            incomplete: !complete,
        }
    }
}
