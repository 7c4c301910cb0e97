//! Calls to the object that watches over the gateway: what it is told every few minutes, and what it knows.
//!
//! Promise: one object, so that one outage is judged once; everything that it is told may lack what could not be read.
//! Out of scope: the judgements (`silence`, `alerts`).

use crate::monitor::alerts::{Conditions, OpenAlert};
use crate::monitor::silence::SilenceVerdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the object.
pub const WATCH_OBJECT: &str = "watch";

/// A call to the watch; each answers a [`Health`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchCall {
    /// Takes in what holds now, judges it and sends what there is to tell.
    Evaluate(Observation),
    /// What the last evaluation said.
    Read,
}

/// What was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When each source delivered last; only sources that ever did.
    pub deliveries: BTreeMap<String, u64>,
    /// What may raise an alert; `silent` is for the watch to say.
    pub conditions: Conditions,
    /// Whether `deliveries` may lack some, because not every counter object answered: then they say nothing of silence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// What the watch says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// When it was last told anything; `None` before.
    pub evaluated_at_ms: Option<u64>,
    /// By source.
    pub sources: BTreeMap<String, SourceHealth>,
    /// Alerts that are raised.
    pub alerts: Vec<OpenAlert>,
    /// Notices that wait for the alert destination.
    pub notices_waiting: u64,
}

/// What the watch says of a source.
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
        let call = WatchCall::Evaluate(Observation { deliveries: [("a".into(), 5)].into(), ..Observation::default() });
        let json = r#"{"evaluate":{"deliveries":{"a":5},"conditions":{"dead_letters":null,"not_quarantined":null,"open_circuits":null,"silent":null,"unrepaired":null}}}"#;
        assert_eq!(serde_json::to_string(&call).unwrap(), json);
        let short = r#"{"evaluate":{"deliveries":{"a":5},"conditions":{}}}"#;
        assert_eq!(serde_json::from_str::<WatchCall>(short).unwrap(), call);
        let blind = WatchCall::Evaluate(Observation { incomplete: true, ..Observation::default() });
        let json = serde_json::to_string(&blind).unwrap();
        assert!(json.ends_with(r#""unrepaired":null},"incomplete":true}}"#), "{json}");
        assert_eq!(serde_json::from_str::<WatchCall>(&json).unwrap(), blind);
        let health = Health {
            sources: [("a".into(), SourceHealth { activity: SilenceVerdict::Silent, expected: true })].into(),
            ..Health::default()
        };
        let json = r#"{"evaluatedAtMs":null,"sources":{"a":{"activity":"silent","expected":true}},"alerts":[],"noticesWaiting":0}"#;
        assert_eq!(serde_json::to_string(&health).unwrap(), json);
        assert_eq!(serde_json::from_str::<Health>(json).unwrap(), health);
    }
}
