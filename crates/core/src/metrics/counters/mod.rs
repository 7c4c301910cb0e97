//! Counting without slowing anything down: series, the buffer of an isolate, and the messages to the counter objects.
//!
//! Promises: adding is in memory; a flush carries everything added since the last one under a number of its own, so that
//! repeating it counts once; one flush is under way at a time, and one whose answer never came (the request that drove it
//! was dropped) is sent again as it was. What an isolate had not flushed when it ended is lost: at most what was added
//! since its last flush. Out of scope: sending (the Worker), storing (the `COUNTERS` objects).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many counter objects share the load. A Durable Object answers about 1,000 requests a second; an isolate flushes
/// at most some 20 times a second, so eight serve several hundred busy isolates. Changing it strands no count: reads ask
/// every shard that this number names, so it may grow and must not shrink.
pub const COUNTER_SHARDS: u32 = 8;

/// After this long without an answer a flush counts as lost and is repeated: `waitUntil` ends 30 s after the response.
pub const FLUSH_LEASE_MS: u64 = 35_000;

/// What is counted. The names are stored: they may be added to, not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Delivery requests to a configured source.
    Received,
    /// Answered 200: durable.
    Accepted,
    /// Refused; label: the code.
    Refused,
    /// Answered 503; label: the cause.
    Unavailable,
    /// Events in accepted deliveries.
    Events,
    /// Body bytes of received requests.
    Bytes,
    /// Sum of the time until the answer, in milliseconds.
    LatencyMs,
    /// Requests by time until the answer; label: the bucket's upper bound ([`LATENCY_BUCKETS_MS`]) or `inf`.
    LatencyBucket,
    /// Accepted deliveries by the secret that verified them; label: the secret's label.
    SecretUsed,
    /// Refused and, for want of budget, not kept.
    NotQuarantined,
    /// Requests to the vendor's API, of no source; label: [`labels`] of the API and the status class.
    VendorRequest,
    /// What a reconciliation did to a source's subscription; label: [`labels`] of the action and its outcome.
    ReconcileItem,
    /// Flushes to a counter object that failed, of no source.
    FlushFailed,
    /// Audit entries that could not be appended, of no source.
    AuditLost,
    /// Attempts to send an alert, of no source; label: `delivered` or `failed`.
    AlertSent,
}

/// Two label values in one: a series has one label. Neither may contain a colon.
pub fn labels(first: &str, second: &str) -> String {
    format!("{first}:{second}")
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 15] = [
        Self::Received,
        Self::Accepted,
        Self::Refused,
        Self::Unavailable,
        Self::Events,
        Self::Bytes,
        Self::LatencyMs,
        Self::LatencyBucket,
        Self::SecretUsed,
        Self::NotQuarantined,
        Self::VendorRequest,
        Self::ReconcileItem,
        Self::FlushFailed,
        Self::AuditLost,
        Self::AlertSent,
    ];

    /// The stored name, the one that serde writes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Events => "events",
            Self::Bytes => "bytes",
            Self::LatencyMs => "latency_ms",
            Self::LatencyBucket => "latency_bucket",
            Self::SecretUsed => "secret_used",
            Self::NotQuarantined => "not_quarantined",
            Self::VendorRequest => "vendor_request",
            Self::ReconcileItem => "reconcile_item",
            Self::FlushFailed => "flush_failed",
            Self::AuditLost => "audit_lost",
            Self::AlertSent => "alert_sent",
        }
    }

    /// The metric of a stored name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }
}

/// Upper bounds of the latency histogram, in milliseconds. Genesys gives up after 10 s.
pub const LATENCY_BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];

/// The labels of the buckets, for each of [`LATENCY_BUCKETS_MS`].
const LATENCY_LABELS: [&str; 12] = ["1", "2", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "10000"];

/// The label of the bucket that `latency_ms` falls into.
pub fn latency_bucket(latency_ms: u64) -> &'static str {
    let mut buckets = LATENCY_BUCKETS_MS.iter().zip(LATENCY_LABELS);
    buckets.find(|(bound, _)| latency_ms <= **bound).map_or("inf", |(_, label)| label)
}

/// One thing counted: metric, source, label (empty where the metric has none).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Series(pub Metric, pub String, pub String);

/// What an isolate sends to its counter object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flush {
    /// Version of this form.
    pub v: u32,
    /// Random name of the isolate.
    pub isolate: String,
    /// Number of the flush within the isolate, from 1: the object takes a number once.
    pub seq: u64,
    /// What was added since the last one.
    pub deltas: Vec<(Series, u64)>,
    /// When it was made, in milliseconds since the epoch: what it adds happened shortly before. 0 in flushes of versions
    /// that did not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at_ms: u64,
}

// The form of the argument is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Flush {
    /// The sources of which this flush has something to tell, and when that was.
    pub fn seen(&self) -> Vec<Seen> {
        let at_ms = Some(self.at_ms).filter(|at_ms| *at_ms > 0);
        let mut seen: BTreeMap<&str, (Option<u64>, Option<u64>)> = BTreeMap::new();
        for (Series(metric, source, _), _) in &self.deltas {
            match metric {
                Metric::Received => seen.entry(source).or_default().0 = at_ms,
                Metric::Accepted => seen.entry(source).or_default().1 = at_ms,
                _ => {}
            }
        }
        let seen =
            seen.into_iter().filter(|(_, (request_ms, delivery_ms))| request_ms.is_some() || delivery_ms.is_some());
        seen.map(|(source, (request_ms, delivery_ms))| Seen { source: source.into(), request_ms, delivery_ms })
            .collect()
    }
}

/// When a source was last heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its name.
    pub source: String,
    /// Its last request, whatever became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_ms: Option<u64>,
    /// Its last accepted delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_ms: Option<u64>,
}

/// A call to a counter object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountersCall {
    /// Adds a flush; repeating it changes nothing.
    Add(Flush),
    /// Answers [`Totals`].
    Read,
}

/// What a counter object has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Every series and its value.
    pub series: Vec<(Series, u64)>,
    /// When each source was last heard of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Seen>,
}

/// The shard of an isolate: a stable hash, so that its flushes meet the object that knows their numbers.
pub fn counter_shard(isolate: &str) -> String {
    format!("counters-{}", fnv1a(isolate.as_bytes()).checked_rem(u64::from(COUNTER_SHARDS)).unwrap_or(0))
}

/// Names of all shards.
pub fn counter_shards() -> impl Iterator<Item = String> {
    (0..COUNTER_SHARDS).map(|shard| format!("counters-{shard}"))
}

/// The counts of an isolate that have not reached their object.
#[derive(Debug)]
pub struct CounterBuffer {
    isolate: String,
    last_seq: u64,
    /// Metric, label and value by source: a handful each, so that looking through them costs less than making a key.
    pending: BTreeMap<String, Vec<(Metric, String, u64)>>,
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    flush: Flush,
    /// When it was last sent; `None` after a failure, so that it may be sent again at once.
    sent_ms: Option<u64>,
}

impl CounterBuffer {
    /// `isolate`: a random name, because the numbers of flushes start again with each isolate.
    pub fn new(isolate: String) -> Self {
        Self { isolate, last_seq: 0, pending: BTreeMap::new(), under_way: None }
    }

    /// How many requests wait for the next flush.
    pub fn pending_requests(&self) -> u64 {
        let received = self.pending.values().flatten().filter(|(metric, ..)| *metric == Metric::Received);
        received.fold(0, |sum, (.., n)| sum.saturating_add(*n))
    }

    /// Adds `n` to a series; adding nothing makes no series.
    pub fn add(&mut self, metric: Metric, source: &str, label: &str, n: u64) {
        if n == 0 {
            return;
        }
        if !self.pending.contains_key(source) {
            self.pending.insert(source.to_owned(), vec![]);
        }
        let Some(series) = self.pending.get_mut(source) else { return };
        match series.iter_mut().find(|(of, under, _)| *of == metric && under == label) {
            Some((.., value)) => *value = value.saturating_add(n),
            None => series.push((metric, label.into(), n)),
        }
    }

    /// What to send now: the flush that failed or got lost, else everything pending; `None` while one is under way or
    /// nothing is pending.
    pub fn begin_flush(&mut self, now_ms: u64) -> Option<Flush> {
        if let Some(under_way) = &mut self.under_way {
            if under_way.sent_ms.is_some_and(|sent| now_ms.saturating_sub(sent) < FLUSH_LEASE_MS) {
                return None;
            }
            under_way.sent_ms = Some(now_ms);
            return Some(under_way.flush.clone());
        }
        if self.pending.is_empty() {
            return None;
        }
        self.last_seq = self.last_seq.saturating_add(1);
        let pending = std::mem::take(&mut self.pending).into_iter();
        let deltas = pending.flat_map(|(source, series)| {
            series.into_iter().map(move |(metric, label, n)| (Series(metric, source.clone(), label), n))
        });
        let deltas = deltas.collect();
        let flush = Flush { v: 1, isolate: self.isolate.clone(), seq: self.last_seq, deltas, at_ms: now_ms };
        self.under_way = Some(UnderWay { flush: flush.clone(), sent_ms: Some(now_ms) });
        Some(flush)
    }

    /// The object has taken flush `seq`.
    pub fn flushed(&mut self, seq: u64) {
        if self.under_way.as_ref().is_some_and(|u| u.flush.seq == seq) {
            self.under_way = None;
        }
    }

    /// Flush `seq` failed, or nobody knows whether it arrived: the next one repeats it.
    pub fn failed(&mut self, seq: u64) {
        if let Some(under_way) = self.under_way.as_mut().filter(|u| u.flush.seq == seq) {
            under_way.sent_ms = None;
        }
    }
}

/// FNV-1a, 64 bits: spreads isolates over shards. Out of scope: whoever chooses collisions.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests;
