//! Families of metrics and how they are written as OpenMetrics text.
//!
//! Promise: the text comes from the encoder of the Prometheus project's own Rust client. Out of scope: what there is to say.

use super::accounting::LatencyFigures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

enum SampleValue {
    Counter(u64),
    Gauge(f64),
    Histogram { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
    Info,
}

/// One line, or the lines of one histogram.
pub(super) struct Sample {
    labels: Vec<(&'static str, String)>,
    value: SampleValue,
}

/// A metric family: name (without the gateway's prefix), help, type and samples. One without samples is not printed.
pub(super) struct Family {
    pub(super) name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<Sample>,
}

impl Family {
    fn new(kind: MetricType, name: &'static str, help: &'static str) -> Self {
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

    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    fn push(&mut self, pairs: &[(&'static str, &str)], value: SampleValue) {
        let labels = pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value });
    }

    pub(super) fn add(&mut self, pairs: &[(&'static str, &str)], n: u64) {
        self.push(pairs, SampleValue::Counter(n));
    }

    pub(super) fn set(&mut self, pairs: &[(&'static str, &str)], value: f64) {
        self.push(pairs, SampleValue::Gauge(value));
    }

    /// Adds a gauge's sample of a time that is told in milliseconds and printed in seconds, as times are in Prometheus;
    /// none where there is no time.
    pub(super) fn set_time(&mut self, pairs: &[(&'static str, &str)], time_ms: Option<u64>) {
        if let Some(ms) = time_ms {
            self.set(pairs, ms as f64 / 1000.0);
        }
    }

    /// Adds a sample for each state that a source can be in, 1 for the one that it is in.
    pub(super) fn set_state<'s>(&mut self, source: &str, state: &str, all: impl Iterator<Item = &'s str>) {
        for named in all {
            self.set(&[("source", source), ("state", named)], if named == state { 1.0 } else { 0.0 });
        }
    }

    /// A family of information, which has one sample.
    pub(super) fn info(name: &'static str, help: &'static str, pairs: &[(&'static str, &str)]) -> Self {
        let mut family = Self::new(MetricType::Info, name, help);
        family.push(pairs, SampleValue::Info);
        family
    }

    pub(super) fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(MetricType::Histogram, name, help)
    }

    /// Adds a histogram's samples, in seconds.
    pub(super) fn measure(&mut self, pairs: &[(&'static str, &str)], latency: &LatencyFigures) {
        // `inf` is no number of milliseconds; the encoder writes infinity as `+Inf`.
        let seconds = |bound: &str| bound.parse::<u64>().map_or(f64::INFINITY, |ms| ms as f64 / 1000.0);
        let buckets = latency.buckets.iter().map(|(bound, n)| (seconds(bound), *n)).collect();
        let sum = latency.total as f64 / 1000.0;
        self.push(pairs, SampleValue::Histogram { sum, count: latency.count(), buckets });
    }
}

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
        for family in self.families.iter().filter(|family| !family.is_empty()) {
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for sample in &family.samples {
                match &sample.value {
                    SampleValue::Info => metric.encode_info(&sample.labels)?,
                    value if sample.labels.is_empty() => encode(&mut metric, value)?,
                    value => encode(&mut metric.encode_family(&sample.labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn encode(
    metric: &mut prometheus_client::encoding::MetricEncoder<'_>,
    value: &SampleValue,
) -> Result<(), std::fmt::Error> {
    match value {
        SampleValue::Counter(n) => metric.encode_counter::<NoLabelSet, _, u64>(n, None),
        SampleValue::Gauge(value) => metric.encode_gauge(value),
        SampleValue::Histogram { sum, count, buckets } => {
            metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
        SampleValue::Info => Ok(()),
    }
}
