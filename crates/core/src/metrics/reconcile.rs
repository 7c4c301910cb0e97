//! The last reconciliation as metrics and health show it.
//!
//! Promise: read from the run's report, so that a report of an earlier version is read too. Out of scope: the run.

use genesys_client::reconcile::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The last reconciliation in figures.
///
/// Reads itself from the run's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct ReconcileFigures {
    /// When it began.
    pub started_at_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Actions planned.
    pub planned: u64,
    /// Actions carried out.
    pub applied: u64,
    /// Actions that failed.
    pub failed: u64,
    /// Subscriptions that were as declared.
    pub unchanged: u64,
    /// When the last run began in which nothing failed; not part of the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at_ms: Option<u64>,
    /// Its items.
    #[serde(default)]
    pub items: Vec<ItemFigures>,
}

/// One subscription in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFigures {
    /// The configured source; none for a subscription that nothing declares.
    #[serde(default)]
    pub source: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorFigures>,
}

/// Why an item did not end well, as far as metrics and health say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorFigures {
    /// A stable name.
    pub code: String,
}

/// The state of a source's subscription after the last reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// It is as declared.
    AsDeclared,
    /// It was not as declared (new, drifted, disabled, gone), and was made so.
    Repaired,
    /// The run did not get to it, or its creation is not complete yet.
    Pending,
    /// It is not as declared, and could not be repaired.
    Unrepaired,
}

impl ItemState {
    /// All states, the worst last.
    pub const ALL: [Self; 4] = [Self::AsDeclared, Self::Repaired, Self::Pending, Self::Unrepaired];

    /// The name that is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AsDeclared => "as_declared",
            Self::Repaired => "repaired",
            Self::Pending => "pending",
            Self::Unrepaired => "unrepaired",
        }
    }

    const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied => Self::Repaired,
            Outcome::Unchanged | Outcome::Kept => Self::AsDeclared,
            Outcome::Failed => Self::Unrepaired,
            Outcome::Pending | Outcome::Skipped | Outcome::Planned => Self::Pending,
        }
    }
}

impl ReconcileFigures {
    /// The state of every source's subscription; of several the worst.
    pub fn states(&self) -> BTreeMap<&str, ItemState> {
        let mut states = BTreeMap::new();
        for item in &self.items {
            let Some(source) = item.source.as_deref() else { continue };
            let state = ItemState::of(item.outcome);
            states.entry(source).and_modify(|worst: &mut ItemState| *worst = state.max(*worst)).or_insert(state);
        }
        states
    }

    /// Sources whose subscription could not be repaired.
    pub fn unrepaired(&self) -> Vec<String> {
        let states = self.states();
        states
            .iter()
            .filter(|(_, state)| **state == ItemState::Unrepaired)
            .map(|(source, _)| (*source).into())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_source_is_its_worst_item() {
        let report = r#"{"version":1,"started_at_ms":1,"duration_ms":2,"dry_run":false,"planned":3,"applied":1,"failed":1,
            "unchanged":1,"pending":0,"skipped":0,"kept":1,"requests":9,"items":[
            {"source":"a","api":"webhooks","name":"n","action":"unchanged","diff":[],"outcome":"unchanged","attempts":0},
            {"source":"a","api":"webhooks","name":"old","action":"delete","diff":[],"outcome":"applied","attempts":0},
            {"source":"b","api":"webhooks","name":"m","action":"update","diff":[],"outcome":"failed","attempts":1,
             "error":{"code":"forbidden","message":"no","fault":"configuration"}},
            {"api":"webhooks","name":"x","action":"orphan","diff":[],"outcome":"kept","attempts":0}]}"#;
        let figures: ReconcileFigures = serde_json::from_str(report).unwrap();
        assert_eq!(figures.states(), [("a", ItemState::Repaired), ("b", ItemState::Unrepaired)].into());
        assert_eq!(figures.unrepaired(), ["b"]);
        assert_eq!(figures.items[2].error.as_ref().unwrap().code, "forbidden");
        for state in ItemState::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.as_str()));
        }
    }
}
