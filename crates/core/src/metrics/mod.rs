//! `GET /metrics`: the JSON of DESIGN §5 and OpenMetrics text.
//!
//! Promises: both are made from the same accounts; the text comes from the encoder of the Prometheus project's own Rust
//! client. Label values are bounded: names of configured sources, codes of closed lists, labels of secrets. The text leaves
//! out a family to which an object that did not answer would have added: a gap is passed over by whoever reads counters,
//! one that falls and rises again was reset for him. The JSON says what is there and what is missing.
//! Out of scope: collecting. A new family goes where its figures come from: `sources` or `overall`.

pub mod accounting;
pub mod counters;
mod family;
mod health;
mod overall;
mod reconcile;
mod sources;
#[cfg(test)]
mod tests;

pub use health::HealthJson;
pub use reconcile::{ErrorFigures, ItemFigures, ItemState, ReconcileFigures, Reconciled, RefusedRuns};

use crate::config::Problem;
use crate::dead_letters::LetterTotals;
use crate::deliver::dispatcher::status::{CircuitRow, CircuitState};
use crate::metrics::accounting::{Latency, OwnAccount, SourceAccount, overall};
use crate::monitor::calls::Health;
use family::{Family, Scrape};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the name of every family begins with, before an underscore.
const PREFIX: &str = "genesys_gateway";

/// What `/metrics` is made from.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Version of the gateway.
    pub version: &'static str,
    /// When it was collected.
    pub taken_at_ms: u64,
    /// By source.
    pub sources: BTreeMap<String, SourceAccount>,
    /// What belongs to no source.
    pub own: OwnAccount,
    /// By queue; one of which the platform tells nothing is not there.
    pub queues: BTreeMap<String, Backlog>,
    /// The dead-letter store; `None` where it did not answer.
    pub letters: Option<LetterTotals>,
    /// What is known of reconciliations; `None` where their object did not answer.
    pub reconcile: Option<Reconciled>,
    /// Sources that declare a subscription; `None` where no configuration can be read.
    pub declared: Option<Vec<String>>,
    /// What the watch says; `None` where it did not answer.
    pub health: Option<Health>,
    /// Destinations of the configured sources; `None` where no configuration can be read.
    pub circuits: Option<Vec<CircuitRow>>,
    /// Objects that did not answer: the figures are too low by what they hold.
    pub missing: Vec<String>,
    /// What is wrong with configuration and secrets.
    pub configuration: Vec<Problem>,
}

/// What a queue holds, as the platform tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backlog {
    /// Messages.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
    /// When the oldest was sent; `None` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at_ms: Option<u64>,
}

/// The JSON form.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsJson<'a> {
    version: &'static str,
    total_requests: u64,
    successful_deliveries: u64,
    failed_deliveries: u64,
    average_latency_ms: f64,
    total_latency_ms: u64,
    accounting: AccountingJson,
    refused_by_reason: BTreeMap<String, u64>,
    unavailable_by_cause: BTreeMap<String, u64>,
    latency_ms: Latency,
    dead_letters: Option<&'a LetterTotals>,
    queues: &'a BTreeMap<String, Backlog>,
    reconcile: Option<&'a ReconcileFigures>,
    reconcile_refused: Option<&'a RefusedRuns>,
    health: Option<&'a Health>,
    /// Those that are not closed.
    circuits: Vec<&'a CircuitRow>,
    #[serde(flatten)]
    own: &'a OwnAccount,
    sources: &'a BTreeMap<String, SourceAccount>,
    missing: &'a [String],
    configuration_valid: bool,
    configuration_problems: &'a [Problem],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountingJson {
    received: u64,
    accepted: u64,
    refused: u64,
    unavailable: u64,
    delivered: u64,
    duplicate: u64,
    readmitted: u64,
    revived: u64,
    pending: i64,
    queued: i64,
    dead: u64,
}

impl Snapshot {
    /// The JSON form.
    pub fn json(&self) -> MetricsJson<'_> {
        let all = overall(&self.sources);
        let (refused, unavailable) = (all.refused_total(), all.unavailable_total());
        MetricsJson {
            version: self.version,
            total_requests: all.received,
            successful_deliveries: all.accepted,
            failed_deliveries: refused.saturating_add(unavailable),
            average_latency_ms: if all.received == 0 { 0.0 } else { all.latency_ms.total as f64 / all.received as f64 },
            total_latency_ms: all.latency_ms.total,
            accounting: AccountingJson {
                received: all.received,
                accepted: all.accepted,
                refused,
                unavailable,
                delivered: all.delivered,
                duplicate: all.duplicate,
                readmitted: all.readmitted,
                revived: all.revived,
                pending: all.pending,
                queued: all.queued,
                dead: all.dead,
            },
            refused_by_reason: all.refused,
            unavailable_by_cause: all.unavailable,
            latency_ms: all.latency_ms,
            dead_letters: self.letters.as_ref(),
            queues: &self.queues,
            reconcile: self.reconcile.as_ref().and_then(|known| known.last.as_ref()),
            reconcile_refused: self.reconcile.as_ref().and_then(|known| known.refused.as_ref()),
            health: self.health.as_ref(),
            circuits: self.not_closed().collect(),
            own: &self.own,
            sources: &self.sources,
            missing: &self.missing,
            configuration_valid: self.configuration_valid(),
            configuration_problems: &self.configuration,
        }
    }

    /// OpenMetrics text.
    pub fn open_metrics(&self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Scrape { families: self.families() }));
        let mut out = String::new();
        // Writing into a string fails only where a value's own formatting does, and these are numbers and texts.
        let _ = text::encode(&mut out, &registry);
        out
    }

    /// The text format of Prometheus, version 0.0.4, for readers that know nothing newer: there a family is called as its
    /// samples are, and information is a gauge.
    pub fn prometheus_text(&self) -> String {
        let families = self.families();
        let suffix = |name: &str| {
            let name = name.strip_prefix(PREFIX).and_then(|name| name.strip_prefix('_'));
            families.iter().find(|family| Some(family.name) == name).map_or("", Family::suffix)
        };
        let mut out = String::new();
        for line in self.open_metrics().lines().filter(|line| *line != "# EOF") {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some(what), Some(name), Some(rest)) => {
                    let rest = if (what, rest) == ("TYPE", "info") { "gauge" } else { rest };
                    out.extend(["# ", what, " ", name, suffix(name), " ", rest, "\n"]);
                }
                _ => out.extend([line, "\n"]),
            }
        }
        out
    }

    fn configuration_valid(&self) -> bool {
        self.declared.is_some()
    }

    /// Whether all objects answered whose names begin so.
    fn complete(&self, prefix: &str) -> bool {
        !self.missing.iter().any(|name| name.starts_with(prefix))
    }

    fn counters_complete(&self) -> bool {
        self.complete("counters-")
    }

    fn destinations_complete(&self) -> bool {
        self.complete("destination ")
    }

    fn subscriptions(&self) -> BTreeMap<&str, reconcile::Subscription<'_>> {
        let known = self.reconcile.as_ref();
        known.map(|known| known.subscriptions(self.declared.as_deref(), self.taken_at_ms)).unwrap_or_default()
    }

    fn not_closed(&self) -> impl Iterator<Item = &CircuitRow> {
        self.circuits.iter().flatten().filter(|row| row.state != CircuitState::Closed)
    }

    fn families(&self) -> Vec<Family> {
        let mut families = self.families_by_source();
        families.extend(self.families_overall());
        families
    }
}
