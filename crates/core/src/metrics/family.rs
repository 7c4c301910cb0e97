//! Families of metrics and how they are written as OpenMetrics text.
//!
//! Promise: the text comes from the encoder of the Prometheus project's own Rust client. Out of scope: what there is to say.

use crate::metrics::accounting::Latency;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

pub(super) type Labels = Vec<(&'static str, String)>;

pub(super) fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// What a sample says.
pub(super) enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
    Info,
}

/// One line, or the lines of one histogram.
pub(super) struct Sample {
    pub(super) labels: Labels,
    pub(super) value: Value,
}

/// A histogram in seconds.
pub(super) fn histogram(latency: &Latency) -> Value {
    let buckets: Vec<(f64, u64)> = latency
        .buckets
        .iter()
        // `inf` is no number of milliseconds; the encoder writes infinity as `+Inf`.
        .map(|(bound, n)| (bound.parse::<u64>().map_or(f64::INFINITY, |ms| ms as f64 / 1000.0), *n))
        .collect();
    let count = buckets.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
    Value::Histogram { sum: latency.total as f64 / 1000.0, count, buckets }
}

/// A metric family: name (without the gateway's prefix), help, type and samples. One without samples is not printed.
pub(super) struct Family {
    pub(super) name: &'static str,
    help: &'static str,
    kind: MetricType,
    pub(super) samples: Vec<Sample>,
}

impl Family {
    pub(super) fn new(kind: MetricType, name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind, samples: vec![] }
    }

    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(MetricType::Counter, name, help)
    }

    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(MetricType::Gauge, name, help)
    }

    /// What the name of a sample has beyond that of its family.
    pub(super) fn suffix(&self) -> &'static str {
        match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        }
    }

    /// Adds a counter's sample.
    pub(super) fn add(&mut self, pairs: &[(&'static str, &str)], n: u64) {
        self.samples.push(Sample { labels: labels(pairs), value: Value::Counter(n) });
    }

    /// Adds a gauge's sample.
    pub(super) fn set(&mut self, pairs: &[(&'static str, &str)], value: f64) {
        self.samples.push(Sample { labels: labels(pairs), value: Value::Gauge(value) });
    }

    /// Adds a gauge's sample of a time that is told in milliseconds and printed in seconds, as times are in Prometheus;
    /// none where there is no time.
    pub(super) fn set_time(&mut self, pairs: &[(&'static str, &str)], time_ms: Option<u64>) {
        if let Some(ms) = time_ms {
            self.set(pairs, ms as f64 / 1000.0);
        }
    }
}

/// The families of one scrape.
pub(super) struct Scrape {
    pub(super) families: Vec<Family>,
}

/// A collector has to have one. Not derived: printing floating-point numbers takes 5 KB of code.
impl std::fmt::Debug for Scrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
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
