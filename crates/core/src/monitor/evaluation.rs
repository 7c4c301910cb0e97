//! One evaluation: what is observed against what was said before.
//!
//! Promises: an observation that may lack deliveries says nothing of silence, so what was said of a source stands; a source that
//! is not configured any more is forgotten, and one of the same name later is another. Out of scope: storing, sending.

use super::alerts::{Alerts, Conditions, Notice};
use super::calls::{Health, Observation, SourceHealth};
use super::silence::{History, SilenceVerdict};
use crate::config::{AlertDestination, GatewayConfig};
use crate::dead_letters::retention::LastRetention;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorState {
    pub histories: BTreeMap<String, History>,
    pub alerts: Alerts,
    /// What the last evaluation said.
    pub said: Health,
}

impl MonitorState {
    /// Judges what holds at `now_ms`; answers the notices that arose.
    pub fn evaluate(&mut self, config: &GatewayConfig, observation: Observation, now_ms: u64) -> Vec<Notice> {
        let mut before = std::mem::take(&mut self.said.sources);
        self.said.evaluated_at_ms = Some(now_ms);
        for source in &config.sources {
            let name = source.name.clone();
            let known = before.remove(&name);
            if observation.incomplete {
                self.said.sources.extend(known.map(|own| (name, own)));
                continue;
            }
            let limit_ms = source.silence_after_s.map(|s| s.saturating_mul(1000));
            let history = self.histories.entry(name.clone()).or_default();
            let activity = history.evaluate(now_ms, observation.deliveries.get(&name).copied(), limit_ms);
            self.said.sources.insert(name, SourceHealth { activity, expected: history.expected(now_ms) });
        }
        let mut conditions = Conditions { silent: None, ..observation.conditions };
        if !observation.incomplete {
            self.histories.retain(|name, _| self.said.sources.contains_key(name));
            let silent = self.said.sources.iter().filter(|(_, own)| own.activity == SilenceVerdict::Silent);
            conditions.silent = Some(silent.map(|(name, _)| name.clone()).collect());
        }
        self.alerts.evaluate(now_ms, &conditions, AlertDestination::rules(config.alerts.as_ref()))
    }
}

/// What is shown: what was said last, with the alerts as they are now and the last run of retention.
pub fn health(said: Health, alerts: &Alerts, retention: Option<LastRetention>) -> Health {
    Health { alerts: alerts.open(), notices_waiting: alerts.waiting() as u64, retention, ..said }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alerts::{AlertEvent, AlertKind};
    use crate::time::HOUR_MS;

    fn config(names: &[&str]) -> GatewayConfig {
        let source = |name: &&str| serde_json::json!({"name": name, "profile": "webhooks", "secrets": ["S"], "silence_after_s": 3600});
        let sources: Vec<_> = names.iter().map(source).collect();
        GatewayConfig::parse(&serde_json::json!({ "sources": sources }).to_string()).unwrap()
    }

    fn seen(deliveries: &[(&str, u64)], incomplete: bool) -> Observation {
        let deliveries = deliveries.iter().map(|(name, at_ms)| ((*name).to_owned(), *at_ms)).collect();
        Observation { deliveries, incomplete, ..Observation::default() }
    }

    #[test]
    fn an_incomplete_observation_changes_nothing_that_was_said_of_silence() {
        let (config, mut monitor) = (config(&["a", "b"]), MonitorState::default());
        assert_eq!(monitor.evaluate(&config, seen(&[], true), 0), []);
        assert_eq!(monitor.said.sources, BTreeMap::new());
        let now_ms = 10 * HOUR_MS;
        let notices = monitor.evaluate(&config, seen(&[("a", now_ms), ("b", HOUR_MS)], false), now_ms);
        let told: Vec<_> =
            notices.iter().map(|notice| (notice.kind, notice.event, notice.subject.as_deref())).collect();
        assert_eq!(told, [(AlertKind::Silence, AlertEvent::Raised, Some("b"))]);
        let before = monitor.clone();
        assert_eq!(monitor.evaluate(&config, seen(&[("a", now_ms)], true), now_ms + 5 * HOUR_MS), []);
        assert_eq!((&monitor.said.sources, &monitor.histories), (&before.said.sources, &before.histories));
        assert_eq!(health(monitor.said, &monitor.alerts, None).alerts.len(), 1);
    }

    #[test]
    fn a_source_that_is_not_configured_any_more_is_forgotten() {
        let mut monitor = MonitorState::default();
        monitor.evaluate(&config(&["a", "b"]), seen(&[("a", 1), ("b", 1)], false), HOUR_MS);
        monitor.evaluate(&config(&["a"]), seen(&[("b", 1)], true), HOUR_MS);
        assert!(monitor.histories.contains_key("b"), "nothing is forgotten for an incomplete observation");
        monitor.evaluate(&config(&["a"]), seen(&[("b", 1)], false), HOUR_MS);
        assert_eq!(monitor.histories.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(monitor.said.sources.keys().collect::<Vec<_>>(), ["a"]);
    }
}
