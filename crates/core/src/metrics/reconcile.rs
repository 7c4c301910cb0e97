//! The last reconciliation as metrics and health show it.
//!
//! Promise: where runs are refused or do not happen, no subscription passes for what it was then. Out of scope: the run.

use crate::lifecycle::STALE_MS;
use genesys_client::reconcile::ItemOutcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The last reconciliation in figures.
///
/// Reads itself from the run's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub struct ReconcileFigures {
    pub started_at_ms: u64,
    pub duration_ms: u64,
    pub planned: u64,
    pub applied: u64,
    pub failed: u64,
    pub unchanged: u64,
    /// When the last run began in which nothing failed; not part of the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at_ms: Option<u64>,
    #[serde(default)]
    pub items: Vec<ItemFigures>,
}

/// One subscription in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFigures {
    /// The configured source; none for a subscription that nothing declares.
    #[serde(default)]
    pub source: Option<String>,
    pub outcome: ItemOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorFigures>,
}

/// Why an item did not end well, as far as metrics and health say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorFigures {
    pub code: String,
}

/// Runs are refused before they begin, as without a secret of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedRuns {
    /// Since when for this reason.
    pub since_ms: u64,
    pub code: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    pub last: Option<ReconcileFigures>,
    /// Why there has been no other since, where that is so.
    pub refused: Option<RefusedRuns>,
}

/// What is wrong where a report is too old to say anything.
pub(super) const STALE: &str = "reconcile_stale";

/// A source's subscription: its state, and what is wrong with it.
pub(super) type SubscriptionHealth<'a> = (ItemState, Option<&'a str>);

/// The state of a source's subscription after the last reconciliation, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::IntoStaticStr, strum::VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ItemState {
    AsDeclared,
    /// It was not as declared (new, drifted, disabled, gone), and was made so.
    Repaired,
    /// The run did not get to it, or its creation is not complete yet.
    Pending,
    /// It is not as declared and could not be repaired, or its state has been unknown for a while.
    Unrepaired,
}

impl ItemState {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    const fn of(outcome: ItemOutcome) -> Self {
        match outcome {
            ItemOutcome::Applied => Self::Repaired,
            ItemOutcome::Unchanged | ItemOutcome::Kept => Self::AsDeclared,
            ItemOutcome::Failed => Self::Unrepaired,
            ItemOutcome::Pending | ItemOutcome::Skipped | ItemOutcome::Planned => Self::Pending,
        }
    }
}

impl ReconcileFigures {
    /// The subscription of every source; of several the worst.
    fn subscriptions(&self) -> BTreeMap<&str, SubscriptionHealth<'_>> {
        let mut all: BTreeMap<&str, SubscriptionHealth<'_>> = BTreeMap::new();
        for item in &self.items {
            let Some(source) = item.source.as_deref() else { continue };
            let own = all.entry(source).or_insert_with(|| (ItemState::AsDeclared, None));
            own.0 = own.0.max(ItemState::of(item.outcome));
            own.1 = own.1.or(item.error.as_ref().map(|error| error.code.as_str()));
        }
        all
    }
}

impl Reconciled {
    /// The subscription of every source that declares one, as far as it is known. `declared`: `None` where no configuration
    /// can be read.
    pub(super) fn subscriptions<'a>(
        &'a self,
        declared: Option<&'a [String]>,
        now_ms: u64,
    ) -> BTreeMap<&'a str, SubscriptionHealth<'a>> {
        let known = self.last.as_ref().map(ReconcileFigures::subscriptions).unwrap_or_default();
        let old = |run: &ReconcileFigures| now_ms.saturating_sub(run.started_at_ms) > STALE_MS;
        let blind = match &self.refused {
            Some(refused) => Some(refused.code.as_str()),
            None => self.last.as_ref().is_some_and(old).then_some(STALE),
        };
        let Some(code) = blind else { return known };
        let sources: Vec<&str> = match declared {
            Some(declared) => declared.iter().map(String::as_str).collect(),
            None => known.keys().copied().collect(),
        };
        sources.into_iter().map(|source| (source, (ItemState::Unrepaired, Some(code)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray as _;

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
        let known = [("a", (ItemState::Repaired, None)), ("b", (ItemState::Unrepaired, Some("forbidden")))].into();
        assert_eq!(figures.subscriptions(), known);
        let declared = ["b".to_owned(), "c".to_owned()];
        let mut reconciled = Reconciled { last: Some(figures), refused: None };
        assert_eq!(reconciled.subscriptions(Some(&declared), 1 + STALE_MS), known);
        // Too old: whatever it said, and of whatever is declared by now.
        let blind = |code| ["b", "c"].map(|source| (source, (ItemState::Unrepaired, Some(code)))).into();
        assert_eq!(reconciled.subscriptions(Some(&declared), 2 + STALE_MS), blind(STALE));
        reconciled.refused = Some(RefusedRuns { since_ms: 5, code: "missing_secret".into() });
        assert_eq!(reconciled.subscriptions(Some(&declared), 6), blind("missing_secret"));
        reconciled.last = None;
        assert_eq!(reconciled.subscriptions(Some(&declared), 6), blind("missing_secret"));
        assert_eq!(reconciled.subscriptions(None, 6), BTreeMap::new());
        assert_eq!(Reconciled::default().subscriptions(Some(&declared), u64::MAX), BTreeMap::new());
        for state in ItemState::VARIANTS {
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{}\"", state.as_str()));
        }
    }
}
