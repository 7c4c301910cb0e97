//! Families of metrics with one series a source.

use super::Snapshot;
use super::family::{Family, Sample, histogram, labels};
use prometheus_client::metrics::MetricType;

impl Snapshot {
    pub(super) fn families_by_source(&self) -> Vec<Family> {
        let mut requests = Family::counter("requests", "Delivery requests by outcome.");
        let mut refused = Family::counter("refused", "Refused deliveries by reason.");
        let mut unavailable = Family::counter("unavailable", "Deliveries answered 503, by cause.");
        let mut settled = Family::counter("deliveries", "Deliveries by what became of them.");
        let mut readmitted = Family::counter("readmitted", "Refused deliveries that a replay let in after all.");
        let mut revived = Family::counter("revived", "Dead deliveries that were replayed, or delivered after all.");
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
        let mut last_request = Family::gauge(
            "last_request_timestamp_seconds",
            "When a source last sent a request, refused ones included.",
        );
        let mut last_delivery =
            Family::gauge("last_delivery_timestamp_seconds", "When a delivery of a source was last accepted.");
        let mut changes = Family::counter(
            "subscription_changes",
            "Differences that reconciliations found at the vendor, by what was to be done and how it ended.",
        );
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
            // What has died so far: a replay takes a death back, and a counter never falls.
            let died = account.dead.saturating_add(account.revived);
            for (outcome, n) in [("delivered", account.delivered), ("duplicate", account.duplicate), ("dead", died)] {
                settled.add(&[("source", source), ("outcome", outcome)], n);
            }
            let own = [("source", source.as_str())];
            readmitted.add(&own, account.readmitted);
            revived.add(&own, account.revived);
            retries.add(&own, account.retries);
            let held = account.pending.saturating_sub(account.queued);
            for (place, n) in [("queue", account.queued), ("destination", held)] {
                pending.set(&[("source", source), ("place", place)], n as f64);
            }
            oldest.set_time(&own, account.oldest_pending_ms);
            last_request.set_time(&own, account.last_request_at_ms);
            last_delivery.set_time(&own, account.last_delivery_at_ms);
            for (change, n) in &account.subscription_changes {
                let (action, outcome) = change.split_once(':').unwrap_or((change, ""));
                changes.add(&[("source", source), ("action", action), ("outcome", outcome)], *n);
            }
            events.add(&own, account.events);
            bytes.add(&own, account.bytes);
            not_kept.add(&own, account.not_quarantined);
            latency.samples.push(Sample { labels: labels(&own), value: histogram(&account.latency_ms) });
        }
        let mut families = vec![];
        if self.counters_complete() {
            families.extend([requests, refused, unavailable, events, bytes, not_kept, secrets]);
            families.extend([last_request, last_delivery, changes, latency]);
        }
        if self.destinations_complete() {
            families.extend([settled, readmitted, revived, retries, oldest]);
        }
        if self.counters_complete() && self.destinations_complete() {
            families.push(pending);
        }
        families
    }
}
