//! What came in against what became of it.
//!
//! Promises:
//! - the receiver's counters, the ledger's rows and the dead-letter store count on their own;
//! - `received = accepted + refused + unavailable`;
//! - `accepted + readmitted = delivered + duplicate + pending + dead`. `readmitted` are refused deliveries that a replay let
//!   in; `pending` is what the ledger holds and what it has not seen yet (`queued`);
//! - these are computed, not assumed: a `queued` below zero means that something was counted that was never accepted.
//!
//! Out of scope: collecting.

use crate::deliver::ledger::{LedgerTotals, SourceTotals};
use crate::lifecycle::TOKEN_API;
use crate::metrics::counters::{LATENCY_BUCKETS, Metric, Series, Totals};
use serde::Serialize;
use std::collections::BTreeMap;

/// What happened to the deliveries of one source, or of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceAccount {
    pub received: u64,
    /// Answered 200.
    pub accepted: u64,
    /// Refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Answered 503, by cause.
    pub unavailable: BTreeMap<String, u64>,
    pub delivered: u64,
    pub duplicate: u64,
    /// Refused on arrival, and let in by a replay.
    pub readmitted: u64,
    /// Given up, and then replayed or delivered after all.
    pub revived: u64,
    /// Not settled yet: `queued` and what the ledger holds.
    pub pending: i64,
    /// The part of `pending` that the ledger has not seen yet.
    pub queued: i64,
    /// Given up, and not revived.
    pub dead: u64,
    /// Attempts that were put off.
    pub retries: u64,
    /// When the oldest row that the ledger holds was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending_ms: Option<u64>,
    pub events: u64,
    pub bytes: u64,
    pub not_quarantined: u64,
    /// Accepted, by the label of the secret that verified.
    pub secrets: BTreeMap<String, u64>,
    /// What reconciliations did to its subscription: number by action and outcome, as `update:applied`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subscription_changes: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_request_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivery_at_ms: Option<u64>,
    pub latency_ms: LatencyFigures,
}

/// What the gateway did that belongs to no source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnAccount {
    /// Requests to the vendor's API: number by API and status class, as `webhooks` → `2xx`.
    pub vendor_requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests for an access token, by outcome: `ok` or `failed`.
    pub token_refreshes: BTreeMap<&'static str, u64>,
    /// Attempts to send an alert, by outcome: `delivered` or `failed`.
    pub alerts_sent: BTreeMap<String, u64>,
    pub flush_failures: u64,
    pub audit_lost: u64,
}

/// Time until the answer, from a histogram: quantiles are the upper bounds of the buckets that hold them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyFigures {
    /// Sum over all requests, in milliseconds.
    pub total: u64,
    /// Upper bound of the bucket of the median; absent where nothing was counted or it lies above the last bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<u64>,
    /// Requests by upper bound, `inf` last; not cumulative.
    pub buckets: Vec<(&'static str, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    pub sources: BTreeMap<String, SourceAccount>,
    pub all: SourceAccount,
    pub own: OwnAccount,
}

impl Default for LatencyFigures {
    fn default() -> Self {
        let buckets = LATENCY_BUCKETS.map(|(_, label)| (label, 0)).to_vec();
        Self { total: 0, p50: None, p90: None, p99: None, buckets }
    }
}

impl LatencyFigures {
    pub fn count(&self) -> u64 {
        sum(self.buckets.iter().map(|(_, n)| n))
    }

    fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = self.count().saturating_mul(percent).div_ceil(100).max(1);
        let mut below = 0u64;
        let bucket = self.buckets.iter().find(|(_, n)| {
            below = below.saturating_add(*n);
            below >= rank
        })?;
        bucket.0.parse().ok()
    }
}

fn sum<'a>(counts: impl Iterator<Item = &'a u64>) -> u64 {
    counts.fold(0, |sum, n| sum.saturating_add(*n))
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn increase(slot: &mut u64, n: u64) {
    *slot = slot.saturating_add(n);
}

impl OwnAccount {
    /// Whether the metric is one of these; then it is added.
    fn add(&mut self, metric: Metric, label: &str, n: u64) -> bool {
        let slot = match metric {
            Metric::VendorRequest => {
                let (api, status) = label.split_once(':').unwrap_or((label, "unknown"));
                if api == TOKEN_API {
                    let outcome = if status == "2xx" { "ok" } else { "failed" };
                    increase(self.token_refreshes.entry(outcome).or_default(), n);
                }
                self.vendor_requests.entry(api.to_owned()).or_default().entry(status.to_owned()).or_default()
            }
            Metric::AlertSent => self.alerts_sent.entry(label.to_owned()).or_default(),
            Metric::FlushFailed => &mut self.flush_failures,
            Metric::AuditLost => &mut self.audit_lost,
            _ => return false,
        };
        increase(slot, n);
        true
    }
}

impl SourceAccount {
    pub fn refused_total(&self) -> u64 {
        sum(self.refused.values())
    }

    pub fn unavailable_total(&self) -> u64 {
        sum(self.unavailable.values())
    }

    fn add(&mut self, metric: Metric, label: &str, n: u64) {
        let slot = match metric {
            Metric::Received => &mut self.received,
            Metric::Accepted => &mut self.accepted,
            Metric::Events => &mut self.events,
            Metric::Bytes => &mut self.bytes,
            Metric::LatencyMs => &mut self.latency_ms.total,
            Metric::NotQuarantined => &mut self.not_quarantined,
            Metric::Refused => self.refused.entry(label.to_owned()).or_default(),
            Metric::Unavailable => self.unavailable.entry(label.to_owned()).or_default(),
            Metric::SecretUsed => self.secrets.entry(label.to_owned()).or_default(),
            Metric::ReconcileItem => self.subscription_changes.entry(label.to_owned()).or_default(),
            Metric::LatencyBucket => match self.latency_ms.buckets.iter_mut().find(|(bound, _)| *bound == label) {
                Some((_, count)) => count,
                None => return,
            },
            Metric::VendorRequest | Metric::AlertSent | Metric::FlushFailed | Metric::AuditLost => return,
        };
        increase(slot, n);
    }

    /// Adds what a ledger has settled and holds; `pending` is what the ledgers hold until [`Self::balance`].
    fn settle(&mut self, totals: &SourceTotals) {
        let SourceTotals { delivered, duplicate, dead, retries, readmitted, revived, pending, oldest_pending_ms } =
            totals;
        increase(&mut self.delivered, *delivered);
        increase(&mut self.duplicate, *duplicate);
        increase(&mut self.dead, *dead);
        increase(&mut self.retries, *retries);
        increase(&mut self.readmitted, *readmitted);
        increase(&mut self.revived, *revived);
        self.pending = self.pending.saturating_add(signed(*pending));
        self.oldest_pending_ms = [self.oldest_pending_ms, *oldest_pending_ms].into_iter().flatten().min();
    }

    /// What was accepted and is not known to the ledgers is queued.
    fn balance(&mut self) {
        let known = [self.delivered, self.duplicate, self.dead].map(signed);
        let known = known.into_iter().fold(self.pending, i64::saturating_add);
        self.queued = signed(self.accepted.saturating_add(self.readmitted)).saturating_sub(known);
        self.pending = self.pending.saturating_add(self.queued);
        let latency = &mut self.latency_ms;
        (latency.p50, latency.p90, latency.p99) = (latency.quantile(50), latency.quantile(90), latency.quantile(99));
    }
}

impl Accounts {
    /// Adds up what each counter object and each ledger object answered.
    pub fn new(counters: &[Totals], ledgers: &[LedgerTotals]) -> Self {
        let mut accounts = Self::default();
        for (Series(metric, source, label), n) in counters.iter().flat_map(|totals| &totals.series) {
            if !accounts.own.add(*metric, label, *n) {
                accounts.both(source, |account| account.add(*metric, label, *n));
            }
        }
        for seen in counters.iter().flat_map(|totals| &totals.seen) {
            accounts.both(&seen.source, |account| {
                account.last_request_at_ms = account.last_request_at_ms.max(seen.request_ms);
                account.last_delivery_at_ms = account.last_delivery_at_ms.max(seen.delivery_ms);
            });
        }
        for (source, totals) in ledgers.iter().flat_map(|ledger| &ledger.sources) {
            accounts.both(source, |account| account.settle(totals));
        }
        accounts.sources.values_mut().chain([&mut accounts.all]).for_each(SourceAccount::balance);
        accounts
    }

    /// The account of a source and that of all sources.
    fn both(&mut self, source: &str, change: impl Fn(&mut SourceAccount)) {
        change(self.sources.entry(source.to_owned()).or_default());
        change(&mut self.all);
    }

    /// Adds sources for which nothing was counted: a counter that begins at zero shows its first increase.
    pub fn include<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            self.sources.entry(name.to_owned()).or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::counters::LastSeen;

    fn series(metric: Metric, source: &str, label: &str, n: u64) -> (Series, u64) {
        (Series(metric, source.into(), label.into()), n)
    }

    fn counted(series: Vec<(Series, u64)>, request_ms: u64, delivery_ms: u64) -> Totals {
        let (request_ms, delivery_ms) = (Some(request_ms), Some(delivery_ms));
        Totals { series, seen: vec![LastSeen { source: "a".into(), request_ms, delivery_ms }] }
    }

    fn counters() -> [Totals; 2] {
        let first = vec![
            series(Metric::Received, "a", "", 10),
            series(Metric::Accepted, "a", "", 6),
            series(Metric::Refused, "a", "invalid_json", 1),
            series(Metric::LatencyBucket, "a", "5", 9),
            series(Metric::LatencyBucket, "a", "inf", 1),
            series(Metric::VendorRequest, "", "oauth:2xx", 3),
            series(Metric::VendorRequest, "", "oauth:4xx", 1),
            series(Metric::FlushFailed, "", "", 2),
        ];
        let second = vec![
            series(Metric::Received, "a", "", 1),
            series(Metric::Refused, "a", "invalid_json", 2),
            series(Metric::VendorRequest, "", "oauth:2xx", 1),
            series(Metric::Received, "b", "", 5),
            series(Metric::LatencyBucket, "b", "inf", 20),
        ];
        [counted(first, 70, 50), counted(second, 60, 60)]
    }

    /// The accounts with two ledgers, the other of which says `other` of the source.
    fn accounts(other: SourceTotals) -> Accounts {
        let one = SourceTotals {
            delivered: 2,
            duplicate: 1,
            dead: 1,
            retries: 4,
            pending: 1,
            oldest_pending_ms: Some(7),
            ..SourceTotals::default()
        };
        let ledgers =
            [one, other].map(|totals| LedgerTotals { sources: [("a".into(), totals)].into(), storage_bytes: 0 });
        Accounts::new(&counters(), &ledgers)
    }

    #[test]
    fn shards_are_added_up_and_what_no_ledger_has_seen_is_queued() {
        let Accounts { sources, all, own } = accounts(SourceTotals::default());
        let a = &sources["a"];
        assert_eq!((a.received, a.accepted, a.refused_total()), (11, 6, 3));
        assert_eq!((a.queued, a.pending, a.oldest_pending_ms), (1, 2, Some(7)));
        assert_eq!(i64::try_from(a.delivered + a.duplicate + a.dead).unwrap() + a.pending, 6);
        assert_eq!((a.latency_ms.p50, a.latency_ms.p90, a.latency_ms.p99), (Some(5), Some(5), None));
        assert_eq!((a.last_request_at_ms, a.last_delivery_at_ms), (Some(70), Some(60)));
        assert_eq!((all.received, all.accepted, all.delivered, all.queued), (16, 6, 2, 1));
        assert_eq!((all.latency_ms.p50, all.last_delivery_at_ms), (None, Some(60)));
        assert_eq!(all.latency_ms.buckets.last(), Some(&("inf", 21)));
        // What belongs to no source makes no source.
        assert_eq!(sources.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(own.vendor_requests["oauth"], [("2xx".into(), 4), ("4xx".into(), 1)].into());
        assert_eq!(own.token_refreshes, [("ok", 4), ("failed", 1)].into());
        assert_eq!((own.flush_failures, own.audit_lost), (2, 0));
    }

    #[test]
    fn what_was_never_accepted_shows_below_zero_unless_a_replay_let_it_in() {
        let found = |readmitted| {
            let other = SourceTotals { delivered: 3, readmitted, ..SourceTotals::default() };
            let a = &accounts(other).sources["a"];
            (a.delivered, a.readmitted, a.queued)
        };
        assert_eq!((found(0), found(3)), ((5, 0, -2), (5, 3, 1)));
    }

    #[test]
    fn a_source_of_which_nothing_was_heard_begins_at_zero() {
        let mut accounts = accounts(SourceTotals::default());
        let before = accounts.sources["a"].clone();
        accounts.include(["a", "c"].into_iter());
        assert_eq!(accounts.sources["a"], before);
        let c = &accounts.sources["c"];
        assert_eq!((c.received, c.latency_ms.buckets.len()), (0, LATENCY_BUCKETS.len()));
    }
}
