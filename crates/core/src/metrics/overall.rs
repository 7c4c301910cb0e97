//! Families of metrics of the gateway as a whole: what it keeps, what it asked the vendor, how it is doing.

use super::family::{Family, Sample, Value, labels};
use super::{ItemState, Snapshot};
use crate::deliver::dispatcher::status::CircuitState;
use crate::monitor::alerts::Kind;
use crate::monitor::silence::Verdict;
use prometheus_client::metrics::MetricType;

impl Snapshot {
    pub(super) fn families_overall(&self) -> Vec<Family> {
        let mut families = self.families_of_letters();
        families.extend(self.families_of_queues());
        families.push(self.circuit_states());
        families.extend(self.families_of_reconcile());
        families.extend(self.families_of_vendor());
        families.extend(self.families_of_health());
        families.extend(self.families_of_self());
        families
    }

    fn families_of_letters(&self) -> Vec<Family> {
        let mut stored = Family::gauge("dead_letters", "Dead letters in the store, by reason.");
        let mut oldest =
            Family::gauge("oldest_dead_letter_timestamp_seconds", "When the oldest dead letter in the store died.");
        if let Some(totals) = &self.letters {
            for (reason, n) in &totals.by_reason {
                stored.set(&[("reason", reason)], *n as f64);
            }
            oldest.set_time(&[], totals.oldest_dead_at_ms);
        }
        vec![stored, oldest]
    }

    fn families_of_queues(&self) -> Vec<Family> {
        let mut messages = Family::gauge("queue_backlog_messages", "Messages in a queue, as the platform tells it.");
        let mut bytes = Family::gauge("queue_backlog_bytes", "Bytes in a queue, as the platform tells it.");
        let mut oldest =
            Family::gauge("queue_oldest_message_timestamp_seconds", "When the oldest message of a queue was sent.");
        for (queue, backlog) in &self.queues {
            let own = [("queue", queue.as_str())];
            messages.set(&own, backlog.messages as f64);
            bytes.set(&own, backlog.bytes as f64);
            oldest.set_time(&own, backlog.oldest_at_ms);
        }
        vec![messages, bytes, oldest]
    }

    fn circuit_states(&self) -> Family {
        let help = "1 for the state of a destination's circuit breaker.";
        let mut state = Family::gauge("circuit_state", help);
        for row in self.circuits.iter().flatten() {
            for named in CircuitState::ALL {
                let value = if row.state == named { 1.0 } else { 0.0 };
                state.set(&[("source", &row.source), ("state", named.as_str())], value);
            }
        }
        state
    }

    fn families_of_reconcile(&self) -> Vec<Family> {
        let mut started = Family::gauge("reconcile_started_timestamp_seconds", "When the last reconciliation began.");
        let mut succeeded = Family::gauge(
            "reconcile_last_success_timestamp_seconds",
            "When the last reconciliation ended in which nothing failed.",
        );
        let mut duration = Family::gauge("reconcile_duration_seconds", "How long the last reconciliation took.");
        let mut actions = Family::gauge("reconcile_actions", "Actions of the last reconciliation by outcome.");
        let mut state = Family::gauge(
            "subscription_state",
            "1 for the state that the last reconciliation found or left a source's subscription in; unrepaired while nobody can tell.",
        );
        if let Some(run) = self.reconcile.as_ref().and_then(|known| known.last.as_ref()) {
            started.set_time(&[], Some(run.started_at_ms));
            succeeded.set_time(&[], run.last_success_at_ms);
            duration.set(&[], run.duration_ms as f64 / 1000.0);
            for (outcome, n) in [
                ("planned", run.planned),
                ("applied", run.applied),
                ("failed", run.failed),
                ("unchanged", run.unchanged),
            ] {
                actions.set(&[("outcome", outcome)], n as f64);
            }
        }
        for (source, (own, _)) in self.subscriptions() {
            for named in ItemState::ALL {
                let value = if own == named { 1.0 } else { 0.0 };
                state.set(&[("source", source), ("state", named.as_str())], value);
            }
        }
        vec![started, succeeded, duration, actions, state]
    }

    fn families_of_vendor(&self) -> Vec<Family> {
        let mut requests = Family::counter("vendor_requests", "Requests to the vendor's API by API and status class.");
        for (api, by_status) in &self.own.vendor_requests {
            for (status, n) in by_status {
                requests.add(&[("api", api), ("status", status)], *n);
            }
        }
        let mut tokens = Family::counter("token_refreshes", "Requests for an access token by outcome.");
        for outcome in ["ok", "failed"] {
            tokens.add(&[("outcome", outcome)], self.own.token_refreshes.get(outcome).copied().unwrap_or(0));
        }
        self.counters_complete().then_some([requests, tokens]).into_iter().flatten().collect()
    }

    fn families_of_health(&self) -> Vec<Family> {
        let mut silent =
            Family::gauge("source_silent", "1 while a source that used to deliver has gone quiet; none while unknown.");
        let mut raised = Family::gauge("alerts_raised", "Alerts that are raised now, by kind.");
        let mut waiting = Family::gauge("alert_notices_waiting", "Notices that wait for the alert destination.");
        let mut evaluated =
            Family::gauge("watch_evaluated_timestamp_seconds", "When silence and alerts were last judged.");
        if let Some(health) = &self.health {
            for (source, own) in &health.sources {
                if own.activity != Verdict::Unknown {
                    silent.set(&[("source", source)], if own.activity == Verdict::Silent { 1.0 } else { 0.0 });
                }
            }
            for kind in Kind::ALL {
                let n = health.alerts.iter().filter(|alert| alert.kind == kind).count();
                raised.set(&[("kind", kind.as_str())], n as f64);
            }
            waiting.set(&[], health.notices_waiting as f64);
            evaluated.set_time(&[], health.evaluated_at_ms);
        }
        let mut sent = Family::counter("alert_notices_sent", "Attempts to send an alert by outcome.");
        for outcome in ["delivered", "failed"] {
            sent.add(&[("outcome", outcome)], self.own.alerts_sent.get(outcome).copied().unwrap_or(0));
        }
        let sent = self.counters_complete().then_some(sent);
        [silent, raised, waiting, evaluated].into_iter().chain(sent).collect()
    }

    fn families_of_self(&self) -> Vec<Family> {
        let mut flushes =
            Family::counter("counter_flush_failures", "Flushes of counters that failed; each was repeated.");
        flushes.add(&[], self.own.flush_failures);
        let mut lost = Family::counter("audit_entries_lost", "Audit entries that could not be appended.");
        lost.add(&[], self.own.audit_lost);
        let mut missing = Family::gauge(
            "objects_missing",
            "Objects that did not answer this scrape: what they would have added to is left out.",
        );
        missing.set(&[], self.missing.len() as f64);
        let mut build = Family::new(MetricType::Info, "build", "The running version.");
        build.samples.push(Sample { labels: labels(&[("version", self.version)]), value: Value::Info });
        let mut configuration =
            Family::gauge("configuration_problems", "Mistakes in the configuration and its secrets.");
        configuration.set(&[], self.configuration.len() as f64);
        let mut valid = Family::gauge(
            "configuration_valid",
            "0 while the configuration cannot be used: every delivery is answered 503, and none of them is counted.",
        );
        valid.set(&[], if self.configuration_valid() { 1.0 } else { 0.0 });
        let counted = self.counters_complete().then_some([flushes, lost]).into_iter().flatten();
        counted.chain([missing, configuration, valid, build]).collect()
    }
}
