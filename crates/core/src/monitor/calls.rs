//! The calls to the monitor's object, and what it answers.
//!
//! Promise: one object, so that one outage is judged once; an observation may lack what could not be read. Out of scope: the
//! judgement (`evaluation`).

use crate::dead_letters::retention::LastRetention;
use crate::monitor::alerts::{Conditions, OpenAlert};
use crate::monitor::silence::SilenceVerdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const MONITOR_OBJECT: &str = "monitor";

/// A call to the monitor; each answers a [`Health`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorCall {
    /// Judges what holds now and sends the notices that follow from it.
    Evaluate(Observation),
    Read,
    /// Keeps what is remembered of a run of retention.
    Retained(LastRetention),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When each source delivered last; only sources that ever did.
    pub deliveries: BTreeMap<String, u64>,
    /// What may raise an alert; the monitor adds `silent`.
    pub conditions: Conditions,
    /// Whether `deliveries` may lack some, because not every counter object answered: then they say nothing of silence.
    pub incomplete: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// When it last evaluated; `None` before the first time.
    pub evaluated_at_ms: Option<u64>,
    pub sources: BTreeMap<String, SourceHealth>,
    pub alerts: Vec<OpenAlert>,
    pub notices_waiting: u64,
    /// The last run of retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<LastRetention>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceHealth {
    /// Whether deliveries are missing.
    pub activity: SilenceVerdict,
    /// Whether, going by its history, it should be delivering about now.
    pub expected: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_pinned() {
        let call =
            MonitorCall::Evaluate(Observation { deliveries: [("a".into(), 5)].into(), ..Observation::default() });
        let json = r#"{"evaluate":{"deliveries":{"a":5},"conditions":{"dead_letters":null,"not_quarantined":null,"open_circuits":null,"silent":null,"unrepaired":null,"storage_percent":null},"incomplete":false}}"#;
        assert_eq!(serde_json::to_string(&call).unwrap(), json);
        assert_eq!(serde_json::from_str::<MonitorCall>(json).unwrap(), call);
        let health = Health {
            sources: [("a".into(), SourceHealth { activity: SilenceVerdict::Silent, expected: true })].into(),
            ..Health::default()
        };
        let json = r#"{"evaluatedAtMs":null,"sources":{"a":{"activity":"silent","expected":true}},"alerts":[],"noticesWaiting":0}"#;
        assert_eq!(serde_json::to_string(&health).unwrap(), json);
        assert_eq!(serde_json::from_str::<Health>(json).unwrap(), health);
    }
}
