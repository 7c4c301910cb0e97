//! What a run did and what it could not do.
//!
//! Promise: every declared subscription, and every owned one that nothing declares, is one item with one outcome, and
//! the figures count the items. The JSON is versioned and pinned: it is stored and shown.

use super::plan::Action;
use crate::error::{Error, Fault};
use crate::subscription::{ApiKind, FieldChange};
use serde::{Deserialize, Serialize};

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Carried out.
    Applied,
    /// Was as declared.
    Unchanged,
    /// Not carried out, or not completely; `error` says why.
    Failed,
    /// Created, and not complete or not visible yet.
    Pending,
    /// Not reached within the run's time and requests.
    Skipped,
    /// Owned, no longer declared, and kept because `prune` is off.
    Kept,
    /// Would be carried out (dry run).
    Planned,
}

/// Why an item failed or was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemError {
    /// A stable name, see [`Error::code`]; also `unknown_event_type`, `duplicate_name`, `not_owned`,
    /// `declared_twice`, `unreachable_address`,
    /// `create_failed`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Who has to do something.
    pub fault: Fault,
    /// The status that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl ItemError {
    pub(crate) fn new(code: &str, fault: Fault, message: String) -> Self {
        Self { code: code.to_owned(), message, fault, status: None }
    }
}

impl From<&Error> for ItemError {
    fn from(error: &Error) -> Self {
        Self { code: error.code().to_owned(), message: error.to_string(), fault: error.fault(), status: error.status() }
    }
}

/// One subscription in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The configured source; none for an owned subscription that points to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its API.
    pub api: ApiKind,
    /// Its name.
    pub name: String,
    /// What was to be done.
    pub action: Action,
    /// Its id, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    /// What differed.
    pub diff: Vec<FieldChange>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
    /// The vendor's correlation id of the deciding answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Requests that were sent for it, retries and probes included.
    pub attempts: u32,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// When the run began, in milliseconds since the epoch.
    pub started_at_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether it only planned.
    pub dry_run: bool,
    /// Items that were to be created, updated, adopted or deleted.
    pub planned: u32,
    /// Items that ended `applied`.
    pub applied: u32,
    /// Items that ended `failed`.
    pub failed: u32,
    /// Items that ended `unchanged`.
    pub unchanged: u32,
    /// Items that ended `pending`.
    pub pending: u32,
    /// Items that ended `skipped`.
    pub skipped: u32,
    /// Items that ended `kept`.
    pub kept: u32,
    /// Requests that were sent in the run, without those for tokens.
    pub requests: u32,
    /// The items: as declared, then those that nothing declares.
    pub items: Vec<Item>,
}

impl Report {
    pub(crate) fn new(started_at_ms: u64, duration_ms: u64, dry_run: bool, requests: u32, items: Vec<Item>) -> Self {
        let ended = |outcome| count(items.iter().filter(|item| item.outcome == outcome).count());
        Self {
            version: 1,
            started_at_ms,
            duration_ms,
            dry_run,
            planned: count(items.iter().filter(|item| item.action.is_change()).count()),
            applied: ended(Outcome::Applied),
            failed: ended(Outcome::Failed),
            unchanged: ended(Outcome::Unchanged),
            pending: ended(Outcome::Pending),
            skipped: ended(Outcome::Skipped),
            kept: ended(Outcome::Kept),
            requests,
            items,
        }
    }
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
