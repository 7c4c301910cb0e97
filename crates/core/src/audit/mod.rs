//! The audit trail: append-only, chained by hashes.
//!
//! Promise: entries are built from named fields that hold no secret. Out of scope: storing (the `AUDIT_LOG` object).

mod calls;
mod chain;
mod letters;
mod segments;

pub use calls::{AUDIT_OBJECT, AuditCall, EntryFilter, Lines, LogTotals, Marks, Verification};
pub use chain::{Broken, GENESIS_HASH, Head};
pub use letters::{delete_draft, job_draft, letter_drafts, purge_drafts, replay_draft, retention_draft};
pub use segments::{MAX_ENTRIES, SEGMENT_ENTRIES, check_segment, may_leave, segment_bounds, segment_of};

use serde::{Deserialize, Serialize};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::VariantArray)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// A subscription was created.
    Create,
    /// A subscription was changed.
    Update,
    /// A subscription was deleted.
    Delete,
    /// Event types were looked up.
    Validate,
    /// A delivery went to the dead letters.
    DlqRoute,
    /// An operator deleted a dead letter.
    DlqDelete,
    /// A dead letter was replayed.
    Replay,
    /// A reconciliation ended.
    Reconcile,
    /// An address was probed.
    Probe,
    /// A secret was rotated.
    Rotate,
    /// An alert was raised, repeated or is over, or was sent.
    Alert,
    /// The circuit of a destination opened: its deliveries wait.
    CircuitOpen,
    /// It closed, by itself or by hand.
    CircuitClose,
    /// A person paused the deliveries to a destination.
    CircuitPause,
    /// A person resumed them.
    CircuitResume,
    /// A person had a destination tried before its wait was over.
    CircuitProbe,
    /// What was kept was removed: by retention, or because a source had too much.
    Purge,
}

impl Action {
    /// All actions.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name that is stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What is to be recorded; the log adds number, time and hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// What was done.
    pub action: Action,
    /// Who did it: `cron`, `admin`, `consumer`.
    pub actor: String,
    /// Name of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The vendor's identifier of the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    /// The address that the subscription delivers to, or that was probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
    /// HTTP status of the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// What went wrong: a stable code where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The vendor's correlation id, or the identifier of the delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// How many, where one entry stands for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What software did it.
    pub user_agent: String,
}

impl Draft {
    /// A draft with nothing optional in it.
    pub fn new(action: Action, actor: &str) -> Self {
        Self {
            action,
            actor: actor.into(),
            source: None,
            webhook_id: None,
            target_url: None,
            status_code: None,
            error: None,
            correlation_id: None,
            count: None,
            user_agent: USER_AGENT.into(),
        }
    }
}

/// The user agent of every request and audit entry of the gateway.
pub const USER_AGENT: &str = concat!("genesys-webhook-gateway/", env!("CARGO_PKG_VERSION"));

/// A recorded entry, written flat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Number in the chain, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded, RFC 3339.
    pub timestamp: String,
    /// What was recorded.
    #[serde(flatten)]
    pub draft: Draft,
    /// Hash of the entry before.
    pub previous_hash: String,
    /// Hash of this entry.
    pub hash: String,
}

#[cfg(test)]
mod tests;
