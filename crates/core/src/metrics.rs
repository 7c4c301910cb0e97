//! `GET /metrics`: the JSON of DESIGN §5 and OpenMetrics text.
//!
//! Promises: both are made from the same accounts; the text comes from the encoder of the Prometheus project's own Rust
//! client. Label values are bounded: names of configured sources, codes of closed lists, labels of secrets.
//! Out of scope: collecting.

use crate::accounting::{Latency, SourceAccount, overall};
use crate::config::Problem;
use crate::letters::LetterTotals;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `/metrics` is made from.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Version of the gateway.
    pub version: &'static str,
    /// By source.
    pub sources: BTreeMap<String, SourceAccount>,
    /// The dead-letter store; `None` where it did not answer.
    pub letters: Option<LetterTotals>,
    /// The last reconciliation.
    pub reconcile: Option<ReconcileFigures>,
    /// Objects that did not answer: the figures are too low by what they hold.
    pub missing: Vec<String>,
    /// What is wrong with configuration and secrets.
    pub configuration: Vec<Problem>,
}

/// The last reconciliation in figures.
///
/// Reads itself from the run's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct ReconcileFigures {
    /// When it began.
    pub started_at_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Actions planned.
    pub planned: u64,
    /// Actions carried out.
    pub applied: u64,
    /// Actions that failed.
    pub failed: u64,
    /// Subscriptions that were as declared.
    pub unchanged: u64,
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
    reconcile: Option<&'a ReconcileFigures>,
    sources: &'a BTreeMap<String, SourceAccount>,
    missing: &'a [String],
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
                pending: all.pending,
                queued: all.queued,
                dead: all.dead,
            },
            refused_by_reason: all.refused,
            unavailable_by_cause: all.unavailable,
            latency_ms: all.latency_ms,
            dead_letters: self.letters.as_ref(),
            reconcile: self.reconcile.as_ref(),
            sources: &self.sources,
            missing: &self.missing,
            configuration_problems: &self.configuration,
        }
    }

    /// OpenMetrics text; a Prometheus server reads it under either content type.
    pub fn open_metrics(&self) -> String {
        let mut registry = Registry::with_prefix("genesys_gateway");
        registry.register_collector(Box::new(Scrape { families: self.families() }));
        let mut out = String::new();
        // Writing into a string fails only where a value's own formatting does, and these are numbers and texts.
        let _ = text::encode(&mut out, &registry);
        out
    }

    fn families(&self) -> Vec<Family> {
        let mut families = self.families_by_source();
        families.extend(self.families_overall());
        families
    }

    fn families_by_source(&self) -> Vec<Family> {
        let mut requests = Family::counter("requests", "Delivery requests by outcome.");
        let mut refused = Family::counter("refused", "Refused deliveries by reason.");
        let mut unavailable = Family::counter("unavailable", "Deliveries answered 503, by cause.");
        let mut settled = Family::counter("deliveries", "Accepted deliveries by what became of them.");
        let mut retries = Family::counter("delivery_retries", "Attempts to hand a delivery on that were put off.");
        let mut pending = Family::gauge("pending", "Accepted deliveries that are not settled, by where they are.");
        let mut oldest = Family::gauge(
            "oldest_pending_received_timestamp_seconds",
            "When the oldest unsettled delivery was received.",
        );
        let mut events = Family::counter("events", "Events in accepted deliveries.");
        let mut bytes = Family::counter("received_bytes", "Body bytes of delivery requests.");
        let mut not_kept =
            Family::counter("not_quarantined", "Refused deliveries that were not kept for want of budget.");
        let mut secrets = Family::counter("secret_used", "Accepted deliveries by the secret that verified them.");
        let mut latency =
            Family::new(MetricType::Histogram, "answer_latency_seconds", "Time until a delivery request was answered.");
        for (source, account) in &self.sources {
            for (outcome, n) in [
                ("accepted", account.accepted),
                ("refused", account.refused_total()),
                ("unavailable", account.unavailable_total()),
            ] {
                requests.add(&[("source", source), ("outcome", outcome)], n);
            }
            for (family, label, by_label) in [
                (&mut refused, "reason", &account.refused),
                (&mut unavailable, "cause", &account.unavailable),
                (&mut secrets, "secret", &account.secrets),
            ] {
                for (value, n) in by_label {
                    family.add(&[("source", source), (label, value)], *n);
                }
            }
            for (outcome, n) in
                [("delivered", account.delivered), ("duplicate", account.duplicate), ("dead", account.dead)]
            {
                settled.add(&[("source", source), ("outcome", outcome)], n);
            }
            let own = [("source", source.as_str())];
            retries.add(&own, account.retries);
            let held = account.pending.saturating_sub(account.queued);
            for (place, n) in [("queue", account.queued), ("ledger", held)] {
                pending.samples.push(Sample::gauge(&[("source", source), ("place", place)], n as f64));
            }
            if let Some(ms) = account.oldest_pending_ms {
                oldest.samples.push(Sample::gauge(&own, ms as f64 / 1000.0));
            }
            events.add(&own, account.events);
            bytes.add(&own, account.bytes);
            not_kept.add(&own, account.not_quarantined);
            latency.samples.push(Sample { labels: labels(&own), value: histogram(&account.latency_ms) });
        }
        vec![
            requests,
            refused,
            unavailable,
            settled,
            retries,
            pending,
            oldest,
            events,
            bytes,
            not_kept,
            secrets,
            latency,
        ]
    }

    fn families_overall(&self) -> Vec<Family> {
        let mut families = vec![];
        if let Some(totals) = &self.letters {
            let mut stored = Family::gauge("dead_letters", "Dead letters in the store, by reason.");
            for (reason, n) in &totals.by_reason {
                stored.samples.push(Sample::gauge(&[("reason", reason)], *n as f64));
            }
            families.push(stored);
        }
        if let Some(run) = &self.reconcile {
            let mut started =
                Family::gauge("reconcile_started_timestamp_seconds", "When the last reconciliation began.");
            started.samples.push(Sample::gauge(&[], run.started_at_ms as f64 / 1000.0));
            let mut duration = Family::gauge("reconcile_duration_seconds", "How long the last reconciliation took.");
            duration.samples.push(Sample::gauge(&[], run.duration_ms as f64 / 1000.0));
            let mut actions = Family::gauge("reconcile_actions", "Actions of the last reconciliation by outcome.");
            for (outcome, n) in [
                ("planned", run.planned),
                ("applied", run.applied),
                ("failed", run.failed),
                ("unchanged", run.unchanged),
            ] {
                actions.samples.push(Sample::gauge(&[("outcome", outcome)], n as f64));
            }
            families.extend([started, duration, actions]);
        }
        let mut missing = Family::gauge(
            "objects_missing",
            "Objects that did not answer this scrape: the figures lack what they hold.",
        );
        missing.samples.push(Sample::gauge(&[], self.missing.len() as f64));
        let mut build = Family::new(MetricType::Info, "build", "The running version.");
        build.samples.push(Sample { labels: labels(&[("version", self.version)]), value: Value::Info });
        let mut configuration =
            Family::gauge("configuration_problems", "Mistakes in the configuration and its secrets.");
        configuration.samples.push(Sample::gauge(&[], self.configuration.len() as f64));
        families.extend([missing, configuration, build]);
        families
    }
}

type Labels = Vec<(&'static str, String)>;

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[derive(Debug)]
enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
    Info,
}

#[derive(Debug)]
struct Sample {
    labels: Labels,
    value: Value,
}

impl Sample {
    fn gauge(pairs: &[(&'static str, &str)], value: f64) -> Self {
        Self { labels: labels(pairs), value: Value::Gauge(value) }
    }
}

fn histogram(latency: &Latency) -> Value {
    let buckets: Vec<(f64, u64)> = latency
        .buckets
        .iter()
        // `inf` reads as infinity, which the encoder writes as `+Inf`.
        .map(|(bound, n)| (bound.parse::<f64>().map_or(f64::INFINITY, |ms| ms / 1000.0), *n))
        .collect();
    let count = buckets.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
    Value::Histogram { sum: latency.total as f64 / 1000.0, count, buckets }
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<Sample>,
}

impl Family {
    fn new(kind: MetricType, name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind, samples: vec![] }
    }

    fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(MetricType::Counter, name, help)
    }

    fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(MetricType::Gauge, name, help)
    }

    fn add(&mut self, pairs: &[(&'static str, &str)], n: u64) {
        self.samples.push(Sample { labels: labels(pairs), value: Value::Counter(n) });
    }
}

#[derive(Debug)]
struct Scrape {
    families: Vec<Family>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in self.families.iter().filter(|family| !family.samples.is_empty()) {
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for sample in &family.samples {
                match &sample.value {
                    Value::Info => metric.encode_info(&sample.labels)?,
                    value if sample.labels.is_empty() => encode(&mut metric, value)?,
                    value => encode(&mut metric.encode_family(&sample.labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn encode(metric: &mut prometheus_client::encoding::MetricEncoder<'_>, value: &Value) -> Result<(), std::fmt::Error> {
    match value {
        Value::Counter(n) => metric.encode_counter::<NoLabelSet, _, u64>(n, None),
        Value::Gauge(value) => metric.encode_gauge(value),
        Value::Histogram { sum, count, buckets } => metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None),
        Value::Info => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::{Collected, by_source};
    use crate::counters::{Metric, Series, Totals};
    use crate::ledger::{LedgerTotals, SourceTotals};

    fn snapshot() -> Snapshot {
        let series = |metric, label: &str, n| (Series(metric, "a\"b".into(), label.into()), n);
        let counters = vec![Totals {
            series: vec![
                series(Metric::Received, "", 3),
                series(Metric::Accepted, "", 2),
                series(Metric::Refused, "invalid_json", 1),
                series(Metric::LatencyMs, "", 12),
                series(Metric::LatencyBucket, "5", 2),
                series(Metric::LatencyBucket, "inf", 1),
            ],
        }];
        let ledger =
            SourceTotals { delivered: 1, pending: 1, oldest_pending_ms: Some(1_500), ..SourceTotals::default() };
        let ledgers = vec![LedgerTotals { sources: [("a\"b".into(), ledger)].into() }];
        Snapshot {
            version: "1.2.3",
            sources: by_source(&Collected { counters, ledgers }),
            letters: Some(LetterTotals {
                stored: 1,
                by_reason: [("invalid_json".into(), 1)].into(),
                oldest_dead_at_ms: None,
                ..LetterTotals::default()
            }),
            reconcile: None,
            missing: vec![],
            configuration: vec![],
        }
    }

    #[test]
    fn the_five_fields_and_the_accounts_are_in_the_json() {
        let json = serde_json::to_value(snapshot().json()).unwrap();
        assert_eq!(json["totalRequests"], 3);
        assert_eq!(json["successfulDeliveries"], 2);
        assert_eq!(json["failedDeliveries"], 1);
        assert_eq!(json["averageLatencyMs"], 4.0);
        assert_eq!(json["totalLatencyMs"], 12);
        assert_eq!(json["accounting"]["pending"], 1);
        assert_eq!(json["accounting"]["queued"], 0);
        assert_eq!(json["refusedByReason"]["invalid_json"], 1);
        assert_eq!(json["sources"]["a\"b"]["delivered"], 1);
    }

    #[test]
    fn the_text_has_every_family_with_escaped_labels() {
        let text = snapshot().open_metrics();
        for line in [
            "# TYPE genesys_gateway_requests counter",
            r#"genesys_gateway_requests_total{source="a\"b",outcome="accepted"} 2"#,
            r#"genesys_gateway_refused_total{source="a\"b",reason="invalid_json"} 1"#,
            r#"genesys_gateway_pending{source="a\"b",place="ledger"} 1.0"#,
            r#"genesys_gateway_oldest_pending_received_timestamp_seconds{source="a\"b"} 1.5"#,
            r#"genesys_gateway_answer_latency_seconds_bucket{le="0.005",source="a\"b"} 2"#,
            r#"genesys_gateway_answer_latency_seconds_bucket{le="+Inf",source="a\"b"} 3"#,
            r#"genesys_gateway_answer_latency_seconds_count{source="a\"b"} 3"#,
            r#"genesys_gateway_dead_letters{reason="invalid_json"} 1.0"#,
            r#"genesys_gateway_build_info{version="1.2.3"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
