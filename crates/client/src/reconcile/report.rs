//! What a run did and what it could not do.
//!
//! Promises:
//! - Every declared subscription, and every owned one that nothing declares, is one item with one outcome.
//! - The figures count the items.
//! - The JSON is versioned and pinned, because it is stored and shown.
//!
//! Out of scope: what was done in which order, see [`super::audit`].

use crate::error::{Error, ErrorFault};
use crate::subscription::{ApiKind, FieldChange};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanAction {
    Create,
    Update,
    /// Take it over from another owner, and change what differs.
    Adopt,
    Delete,
    Unchanged,
    /// Nothing. It is owned, not declared, and `prune` is off.
    Orphan,
    /// Nothing. It is not clear which subscription is meant, or it has another owner.
    Conflict,
    /// Nothing. The list could not be read.
    Undecided,
}

impl PlanAction {
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Adopt | Self::Delete)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemOutcome {
    Applied,
    Unchanged,
    /// Not carried out, or not completely. `error` says why.
    Failed,
    /// Created, and not complete or not visible yet.
    Pending,
    /// Not reached within the run's time and requests.
    Skipped,
    /// Owned, no longer declared, and kept because `prune` is off.
    Kept,
    Planned,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemError {
    /// A stable name: that of [`Error::code`], or one of `unknown_event_type`, `duplicate_name`, `not_owned`,
    /// `declared_twice`, `not_listed`, `unreachable_address` and `create_failed`.
    pub code: String,
    pub message: String,
    pub fault: ErrorFault,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl ItemError {
    pub(crate) fn new(code: &str, fault: ErrorFault, message: String) -> Self {
        Self { code: code.to_owned(), message, fault, status: None }
    }
}

impl From<&Error> for ItemError {
    fn from(error: &Error) -> Self {
        Self { code: error.code().to_owned(), message: error.to_string(), fault: error.fault(), status: error.status() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportItem {
    /// The configured source. `None` for an owned subscription that points to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub api: ApiKind,
    pub name: String,
    pub action: PlanAction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    pub diff: Vec<FieldChange>,
    pub outcome: ItemOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
    /// The vendor's correlation id of the deciding answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Requests that were sent for it, retries and probes included.
    pub attempts: u32,
}

impl ReportItem {
    /// Ends it with an error. An item for which the run had no time or requests left is skipped, not failed.
    pub(super) fn fail(&mut self, error: ItemError) {
        let is_skipped = matches!(error.code.as_str(), "out_of_time" | "out_of_requests");
        self.outcome = if is_skipped { ItemOutcome::Skipped } else { ItemOutcome::Failed };
        self.error = Some(error);
    }

    pub(super) fn fail_with(&mut self, error: &Error) {
        self.fail(error.into());
        self.correlation_id = error.correlation_id().map(str::to_owned);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileReport {
    pub version: u32,
    /// When the run began, in milliseconds since the epoch.
    pub started_at_ms: u64,
    pub duration_ms: u64,
    pub dry_run: bool,
    /// Items that were to be created, updated, adopted or deleted.
    pub planned: u32,
    pub applied: u32,
    pub failed: u32,
    pub unchanged: u32,
    pub pending: u32,
    pub skipped: u32,
    pub kept: u32,
    /// Requests that were sent in the run, without those for tokens.
    pub requests: u32,
    /// The items in the order of the declaration, then those that nothing declares.
    pub items: Vec<ReportItem>,
}

impl ReconcileReport {
    pub(crate) fn new(
        started_at_ms: u64,
        duration_ms: u64,
        dry_run: bool,
        requests: u32,
        items: Vec<ReportItem>,
    ) -> Self {
        let ended = |outcome| count(items.iter().filter(|item| item.outcome == outcome).count());
        Self {
            version: 1,
            started_at_ms,
            duration_ms,
            dry_run,
            planned: count(items.iter().filter(|item| item.action.is_change()).count()),
            applied: ended(ItemOutcome::Applied),
            failed: ended(ItemOutcome::Failed),
            unchanged: ended(ItemOutcome::Unchanged),
            pending: ended(ItemOutcome::Pending),
            skipped: ended(ItemOutcome::Skipped),
            kept: ended(ItemOutcome::Kept),
            requests,
            items,
        }
    }
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
