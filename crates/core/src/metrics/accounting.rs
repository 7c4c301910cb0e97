//! What came in against what became of it.
//!
//! Promises: the figures come from three places that count on their own (the receiver's counters, the destinations' objects, the
//! dead-letter store), and the identities of DESIGN §3 are computed, not assumed: `received = accepted + refused +
//! unavailable` and `accepted + readmitted = delivered + duplicate + pending + dead`, where `readmitted` are refused
//! deliveries that a replay let in after all, and `pending` is what waits at its destination plus what
//! that has not seen the end of yet (`queued`). A `queued` below zero means that something was counted that was never accepted.
//! Out of scope: collecting.

use crate::deliver::dispatcher::calls::DestinationStatus;
use crate::lifecycle::TOKEN_API;
use crate::metrics::counters::{LATENCY_BUCKETS_MS, Metric, Series, Totals};
use serde::Serialize;
use std::collections::BTreeMap;

/// What happened to the deliveries of one source, or of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceAccount {
    /// Requests.
    pub received: u64,
    /// Answered 200.
    pub accepted: u64,
    /// Refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Answered 503, by cause.
    pub unavailable: BTreeMap<String, u64>,
    /// Taken by the destination.
    pub delivered: u64,
    /// Had been there before.
    pub duplicate: u64,
    /// Refused on arrival, and let in by a replay.
    pub readmitted: u64,
    /// Given up, and then replayed or delivered after all.
    pub revived: u64,
    /// Not settled yet: `queued` and what waits at its destination.
    pub pending: i64,
    /// The part of `pending` that waits for a consumer, or that one has in hand.
    pub queued: i64,
    /// Given up, and not revived.
    pub dead: u64,
    /// Attempts that were put off.
    pub retries: u64,
    /// When the oldest delivery that waits at its destination was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending_ms: Option<u64>,
    /// Events accepted.
    pub events: u64,
    /// Body bytes received.
    pub bytes: u64,
    /// Refused, and not kept for want of quarantine budget.
    pub not_quarantined: u64,
    /// Accepted, by the label of the secret that verified.
    pub secrets: BTreeMap<String, u64>,
    /// What reconciliations did to its subscription: number by action and outcome, as `update:applied`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subscription_changes: BTreeMap<String, u64>,
    /// When the last request came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_request_at_ms: Option<u64>,
    /// When the last delivery was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivery_at_ms: Option<u64>,
    /// Time until the answer.
    pub latency_ms: Latency,
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
    /// Flushes of counters that failed; each was repeated.
    pub flush_failures: u64,
    /// Audit entries that were lost.
    pub audit_lost: u64,
}

/// Adds up what belongs to no source.
pub fn own(counters: &[Totals]) -> OwnAccount {
    let mut own = OwnAccount::default();
    for (Series(metric, _, label), n) in counters.iter().flat_map(|totals| &totals.series) {
        let slot = match metric {
            Metric::VendorRequest => {
                let (api, status) = label.split_once(':').unwrap_or((label, "unknown"));
                if api == TOKEN_API {
                    let outcome = if status == "2xx" { "ok" } else { "failed" };
                    let slot = own.token_refreshes.entry(outcome).or_default();
                    *slot = slot.saturating_add(*n);
                }
                own.vendor_requests.entry(api.to_owned()).or_default().entry(status.to_owned()).or_default()
            }
            Metric::AlertSent => own.alerts_sent.entry(label.to_owned()).or_default(),
            Metric::FlushFailed => &mut own.flush_failures,
            Metric::AuditLost => &mut own.audit_lost,
            _ => continue,
        };
        *slot = slot.saturating_add(*n);
    }
    own
}

impl SourceAccount {
    /// All refusals.
    pub fn refused_total(&self) -> u64 {
        sum(&self.refused)
    }

    /// All answers 503.
    pub fn unavailable_total(&self) -> u64 {
        sum(&self.unavailable)
    }
}

fn sum(by_label: &BTreeMap<String, u64>) -> u64 {
    by_label.values().fold(0, |sum, n| sum.saturating_add(*n))
}

/// Time until the answer, from a histogram: quantiles are the upper bounds of the buckets that hold them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Sum over all requests, in milliseconds.
    pub total: u64,
    /// Upper bound of the bucket of the median; absent where nothing was counted or it lies above the last bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<u64>,
    /// The same for nine in ten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90: Option<u64>,
    /// The same for 99 in a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<u64>,
    /// Requests by upper bound, `inf` last; not cumulative.
    pub buckets: Vec<(String, u64)>,
}

/// What was collected to account for.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// From each counter object that answered.
    pub counters: Vec<Totals>,
    /// Of each destination whose object answered: its source, and where it stands.
    pub destinations: Vec<(String, DestinationStatus)>,
}

/// What is counted for no source.
const OWN: [Metric; 4] = [Metric::VendorRequest, Metric::AlertSent, Metric::FlushFailed, Metric::AuditLost];

/// Accounts for every source that anything was counted for.
pub fn by_source(collected: &Collected) -> BTreeMap<String, SourceAccount> {
    let mut accounts: BTreeMap<String, SourceAccount> = BTreeMap::new();
    let mut buckets: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (Series(metric, source, label), n) in collected.counters.iter().flat_map(|totals| &totals.series) {
        if OWN.contains(metric) {
            continue;
        }
        let account = accounts.entry(source.to_owned()).or_default();
        let slot = match metric {
            Metric::Received => &mut account.received,
            Metric::Accepted => &mut account.accepted,
            Metric::Events => &mut account.events,
            Metric::Bytes => &mut account.bytes,
            Metric::LatencyMs => &mut account.latency_ms.total,
            Metric::NotQuarantined => &mut account.not_quarantined,
            Metric::Refused => account.refused.entry(label.to_owned()).or_default(),
            Metric::Unavailable => account.unavailable.entry(label.to_owned()).or_default(),
            Metric::SecretUsed => account.secrets.entry(label.to_owned()).or_default(),
            Metric::LatencyBucket => buckets.entry(source.to_owned()).or_default().entry(label.to_owned()).or_default(),
            Metric::ReconcileItem => account.subscription_changes.entry(label.to_owned()).or_default(),
            Metric::VendorRequest | Metric::AlertSent | Metric::FlushFailed | Metric::AuditLost => continue,
        };
        *slot = slot.saturating_add(*n);
    }
    for seen in collected.counters.iter().flat_map(|totals| &totals.seen) {
        let account = accounts.entry(seen.source.clone()).or_default();
        account.last_request_at_ms = account.last_request_at_ms.max(seen.request_ms);
        account.last_delivery_at_ms = account.last_delivery_at_ms.max(seen.delivery_ms);
    }
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    for (source, DestinationStatus { totals, oldest_waiting_ms, .. }) in &collected.destinations {
        let account = accounts.entry(source.to_owned()).or_default();
        for (slot, n) in [
            (&mut account.delivered, totals.delivered),
            (&mut account.duplicate, totals.duplicate),
            (&mut account.dead, totals.dead()),
            (&mut account.retries, totals.retries),
            (&mut account.readmitted, totals.readmitted),
            (&mut account.revived, totals.revived),
            (held.entry(source.to_owned()).or_default(), totals.waiting),
        ] {
            *slot = slot.saturating_add(n);
        }
        account.oldest_pending_ms = [account.oldest_pending_ms, *oldest_waiting_ms].into_iter().flatten().min();
    }
    for (source, account) in &mut accounts {
        let held = signed(held.get(source).copied().unwrap_or(0));
        let known = [account.delivered, account.duplicate, account.dead].map(signed);
        let known = known.into_iter().fold(held, i64::saturating_add);
        account.queued = signed(account.accepted.saturating_add(account.readmitted)).saturating_sub(known);
        account.pending = account.queued.saturating_add(held);
        account.latency_ms = latency(account.latency_ms.total, &buckets.remove(source).unwrap_or_default());
    }
    accounts
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn latency(total: u64, counted: &BTreeMap<String, u64>) -> Latency {
    let bounds = LATENCY_BUCKETS_MS.iter().map(ToString::to_string).chain(["inf".to_owned()]);
    let buckets: Vec<(String, u64)> =
        bounds.map(|bound| (counted.get(&bound).copied().unwrap_or(0), bound)).map(|(n, bound)| (bound, n)).collect();
    let count = buckets.iter().fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
    let quantile = |percent: u64| {
        let rank = count.saturating_mul(percent).div_ceil(100).max(1);
        let mut below = 0u64;
        let bucket = buckets.iter().find(|(_, n)| {
            below = below.saturating_add(*n);
            below >= rank
        })?;
        bucket.0.parse().ok()
    };
    Latency { total, p50: quantile(50), p90: quantile(90), p99: quantile(99), buckets }
}

/// Adds the sources of `names` that nothing was counted for: a counter that begins at zero shows its first increase.
pub fn include<'a>(accounts: &mut BTreeMap<String, SourceAccount>, names: impl Iterator<Item = &'a str>) {
    for name in names {
        accounts
            .entry(name.into())
            .or_insert_with(|| SourceAccount { latency_ms: latency(0, &BTreeMap::new()), ..SourceAccount::default() });
    }
}

/// Adds up all sources.
pub fn overall(accounts: &BTreeMap<String, SourceAccount>) -> SourceAccount {
    let mut all = SourceAccount::default();
    let mut buckets: BTreeMap<String, u64> = BTreeMap::new();
    for account in accounts.values() {
        for (slot, n) in [
            (&mut all.received, account.received),
            (&mut all.accepted, account.accepted),
            (&mut all.delivered, account.delivered),
            (&mut all.duplicate, account.duplicate),
            (&mut all.dead, account.dead),
            (&mut all.retries, account.retries),
            (&mut all.readmitted, account.readmitted),
            (&mut all.revived, account.revived),
            (&mut all.events, account.events),
            (&mut all.bytes, account.bytes),
            (&mut all.not_quarantined, account.not_quarantined),
            (&mut all.latency_ms.total, account.latency_ms.total),
        ] {
            *slot = slot.saturating_add(n);
        }
        all.pending = all.pending.saturating_add(account.pending);
        all.queued = all.queued.saturating_add(account.queued);
        all.oldest_pending_ms = [all.oldest_pending_ms, account.oldest_pending_ms].into_iter().flatten().min();
        all.last_request_at_ms = all.last_request_at_ms.max(account.last_request_at_ms);
        all.last_delivery_at_ms = all.last_delivery_at_ms.max(account.last_delivery_at_ms);
        for (sums, parts) in [
            (&mut all.refused, &account.refused),
            (&mut all.unavailable, &account.unavailable),
            (&mut all.secrets, &account.secrets),
            (&mut all.subscription_changes, &account.subscription_changes),
        ] {
            for (label, n) in parts {
                let slot = sums.entry(label.to_owned()).or_default();
                *slot = slot.saturating_add(*n);
            }
        }
        for (bound, n) in &account.latency_ms.buckets {
            let slot = buckets.entry(bound.to_owned()).or_default();
            *slot = slot.saturating_add(*n);
        }
    }
    all.latency_ms = latency(all.latency_ms.total, &buckets);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::dispatcher::gate::GateRow;
    use crate::deliver::dispatcher::rows::DispatchTotals as RowTotals;
    use crate::metrics::counters::Seen;

    fn series(metric: Metric, source: &str, label: &str, n: u64) -> (Series, u64) {
        (Series(metric, source.into(), label.into()), n)
    }

    fn seen(source: &str, request_ms: Option<u64>, delivery_ms: Option<u64>) -> Seen {
        Seen { source: source.into(), request_ms, delivery_ms }
    }

    fn at_destination(totals: RowTotals) -> (String, DestinationStatus) {
        let gate = GateRow::default();
        ("a".into(), DestinationStatus { gate, totals, in_flight: 0, oldest_waiting_ms: Some(7) })
    }

    fn collected() -> Collected {
        let counters = vec![
            Totals {
                series: vec![
                    series(Metric::Received, "a", "", 10),
                    series(Metric::Accepted, "a", "", 6),
                    series(Metric::Refused, "a", "invalid_json", 1),
                    series(Metric::LatencyBucket, "a", "5", 9),
                    series(Metric::LatencyBucket, "a", "inf", 1),
                    series(Metric::VendorRequest, "", "oauth:2xx", 3),
                    series(Metric::VendorRequest, "", "oauth:4xx", 1),
                    series(Metric::FlushFailed, "", "", 2),
                ],
                seen: vec![seen("a", Some(70), Some(50))],
            },
            Totals {
                series: vec![
                    series(Metric::Received, "a", "", 1),
                    series(Metric::Refused, "a", "invalid_json", 2),
                    series(Metric::VendorRequest, "", "oauth:2xx", 1),
                ],
                seen: vec![seen("a", Some(60), Some(60))],
            },
        ];
        let totals = RowTotals {
            routed: 5,
            delivered: 2,
            duplicate: 1,
            died: 1,
            waiting: 1,
            retries: 4,
            ..RowTotals::default()
        };
        let destinations = vec![at_destination(totals)];
        Collected { counters, destinations }
    }

    #[test]
    fn shards_are_added_up_and_what_nobody_has_seen_is_queued() {
        let accounts = by_source(&collected());
        let a = &accounts["a"];
        assert_eq!((a.received, a.accepted, a.refused_total()), (11, 6, 3));
        assert_eq!((a.queued, a.pending), (1, 2));
        assert_eq!(i64::try_from(a.delivered + a.duplicate + a.dead).unwrap() + a.pending, 6);
        assert_eq!((a.latency_ms.p50, a.latency_ms.p90, a.latency_ms.p99), (Some(5), Some(5), None));
    }

    #[test]
    fn what_belongs_to_no_source_makes_no_source() {
        let collected = collected();
        assert_eq!(by_source(&collected).keys().collect::<Vec<_>>(), ["a"]);
        let own = own(&collected.counters);
        assert_eq!(own.vendor_requests["oauth"], [("2xx".into(), 4), ("4xx".into(), 1)].into());
        assert_eq!(own.token_refreshes, [("ok", 4), ("failed", 1)].into());
        assert_eq!((own.flush_failures, own.audit_lost), (2, 0));
    }

    #[test]
    fn the_last_time_is_the_latest_that_any_shard_knows() {
        let accounts = by_source(&collected());
        assert_eq!((accounts["a"].last_request_at_ms, accounts["a"].last_delivery_at_ms), (Some(70), Some(60)));
        assert_eq!(overall(&accounts).last_delivery_at_ms, Some(60));
    }

    #[test]
    fn a_delivery_that_was_never_accepted_shows_below_zero() {
        let mut collected = collected();
        collected.destinations.push(at_destination(RowTotals { delivered: 3, ..RowTotals::default() }));
        assert_eq!(by_source(&collected)["a"].queued, -2);
    }

    #[test]
    fn what_a_replay_let_in_was_not_accepted_and_is_accounted_for() {
        let mut collected = collected();
        collected.destinations.push(at_destination(RowTotals { delivered: 3, readmitted: 3, ..RowTotals::default() }));
        let a = &by_source(&collected)["a"];
        assert_eq!((a.delivered, a.readmitted, a.queued), (5, 3, 1));
    }

    #[test]
    fn a_source_of_which_nothing_was_heard_begins_at_zero() {
        let mut accounts = by_source(&collected());
        let before = accounts["a"].clone();
        include(&mut accounts, ["a", "b"].into_iter());
        assert_eq!(accounts["a"], before);
        assert_eq!((accounts["b"].received, accounts["b"].latency_ms.buckets.len()), (0, LATENCY_BUCKETS_MS.len() + 1));
    }

    #[test]
    fn all_sources_together_are_their_sum() {
        let mut collected = collected();
        collected.counters.push(Totals {
            series: vec![series(Metric::Received, "b", "", 5), series(Metric::LatencyBucket, "b", "inf", 20)],
            seen: vec![],
        });
        let all = overall(&by_source(&collected));
        assert_eq!((all.received, all.accepted, all.delivered), (16, 6, 2));
        assert_eq!(all.latency_ms.p50, None);
        assert_eq!(all.latency_ms.buckets.last(), Some(&("inf".into(), 21)));
    }
}
