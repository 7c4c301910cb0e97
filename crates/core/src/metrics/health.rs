//! What `GET /api/health` shows, and what the monitor is told, from one snapshot.
//!
//! Promise: what could not be read is unknown, never fine. Out of scope: collecting, judging.

use super::{ItemState, MetricsSnapshot};
use crate::config::GatewayConfig;
use crate::deliver::circuit_breaker::{CircuitRow, CircuitState};
use crate::monitor::alerts::{Conditions, OpenAlert, STORAGE_ALERT_PERCENT};
use crate::monitor::calls::Observation;
use crate::monitor::silence::SilenceVerdict;
use crate::schema::STORAGE_LIMIT_BYTES;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthJson<'a> {
    evaluated_at_ms: Option<u64>,
    sources: BTreeMap<&'a str, SourceJson<'a>>,
    alerts: &'a [OpenAlert],
    notices_waiting: Option<u64>,
    missing: &'a [String],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SourceJson<'a> {
    last_request_at_ms: Option<u64>,
    last_delivery_at_ms: Option<u64>,
    activity: SilenceVerdict,
    expected: bool,
    /// `null` where the source declares none, and before the first reconciliation.
    subscription: Option<SubscriptionJson<'a>>,
    alerts: Vec<&'a OpenAlert>,
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
    pub fn new(snapshot: &'a MetricsSnapshot, config: &'a GatewayConfig) -> Self {
        let health = snapshot.health.as_ref();
        let alerts: &[OpenAlert] = health.map_or(&[], |health| &health.alerts);
        let subscriptions = snapshot.subscriptions();
        let sources = config.sources.iter().map(|source| {
            let name = source.name.as_str();
            let account = snapshot.accounts.sources.get(name);
            let said = health.and_then(|health| health.sources.get(name));
            let subscription =
                subscriptions.get(name).map(|(state, error)| SubscriptionJson { state: *state, error: *error });
            let json = SourceJson {
                last_request_at_ms: account.and_then(|account| account.last_request_at_ms),
                last_delivery_at_ms: account.and_then(|account| account.last_delivery_at_ms),
                activity: said.map_or(SilenceVerdict::Unknown, |said| said.activity),
                expected: said.is_some_and(|said| said.expected),
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

impl MetricsSnapshot {
    /// The sources whose destination fails; one that is paused or asked to be left alone does not. `None` where one of the circuits is not known, or not even asked because no ledger
    /// told that it has failed attempts.
    fn open_circuits(&self) -> Option<Vec<String>> {
        let rows = self.circuits.as_ref().filter(|_| self.ledgers_complete())?;
        let known = rows.iter().all(|row| row.state != CircuitState::Unknown);
        let is_open = |row: &&CircuitRow| matches!(row.state, CircuitState::Open | CircuitState::Probing);
        known.then(|| rows.iter().filter(is_open).map(|row| row.source.clone()).collect())
    }

    /// Sources whose subscription is not as declared, or whose state is unknown; `None` where nothing is known of any.
    fn unrepaired(&self) -> Option<Vec<String>> {
        let known = self.reconcile.as_ref()?;
        let unrepaired = self.subscriptions().into_iter().filter(|(_, (state, _))| *state == ItemState::Unrepaired);
        (known.last.is_some() || known.refused.is_some()).then(|| unrepaired.map(|(source, _)| source.into()).collect())
    }

    /// How full the fullest object is; `None` where one that did not answer may be the fullest.
    fn storage_percent(&self) -> Option<u64> {
        let fullest = self.storage.values().max()?.saturating_mul(100).div_euclid(STORAGE_LIMIT_BYTES);
        (self.missing.is_empty() || fullest >= STORAGE_ALERT_PERCENT).then_some(fullest)
    }

    /// What the monitor is told. Sums that lack a counter object's part are too low, and would seem to have grown when it is
    /// back: they are left out. So is silence: what is missing may be the last delivery.
    pub fn observation(&self) -> Observation {
        let complete = self.counters_complete();
        let lost =
            self.accounts.sources.values().fold(0u64, |sum, account| sum.saturating_add(account.not_quarantined));
        let deliveries =
            self.accounts.sources.iter().filter_map(|(name, own)| Some((name.clone(), own.last_delivery_at_ms?)));
        Observation {
            deliveries: deliveries.collect(),
            conditions: Conditions {
                dead_letters: self.letters.as_ref().map(|letters| letters.stored),
                not_quarantined: complete.then_some(lost),
                open_circuits: self.open_circuits(),
                silent: None,
                unrepaired: self.unrepaired(),
                storage_percent: self.storage_percent(),
            },
            incomplete: !complete,
        }
    }
}
