//! The audit trail: append-only, chained by hashes.
//!
//! Promises: entries as in DESIGN §6; each hash covers the previous one and the canonical entry, so that a changed,
//! removed or swapped entry shows at the first entry after it. The canonical form is the JSON of an entry without its two
//! hashes, fields in the order of the declaration, absent ones left out. Entries are built from named fields that hold no
//! secret. Out of scope: storing (the `AUDIT_LOG` object).

mod calls;
mod letters;
mod segments;

pub use calls::{AuditCall, Lines, Verification};
pub use letters::letter_drafts;
pub use segments::{Anchor, SEGMENT_ENTRIES, Segment, SegmentBroken, check_segment, segment_bounds, segment_key};

use genesys_webhook::encoding::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The `previousHash` of the first entry.
pub const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
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
    /// What was kept was removed: by retention, or because a source had too much.
    Purge,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Validate,
        Self::DlqRoute,
        Self::Replay,
        Self::Reconcile,
        Self::Probe,
        Self::Rotate,
        Self::Alert,
        Self::CircuitOpen,
        Self::CircuitClose,
        Self::Purge,
    ];

    /// The name that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Validate => "VALIDATE",
            Self::DlqRoute => "DLQ_ROUTE",
            Self::Replay => "REPLAY",
            Self::Reconcile => "RECONCILE",
            Self::Probe => "PROBE",
            Self::Rotate => "ROTATE",
            Self::Alert => "ALERT",
            Self::CircuitOpen => "CIRCUIT_OPEN",
            Self::CircuitClose => "CIRCUIT_CLOSE",
            Self::Purge => "PURGE",
        }
    }

    /// The action of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The vendor's identifier of the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    /// The address that the subscription delivers to, or that was probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
    /// HTTP status of the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// What went wrong: a stable code where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The vendor's correlation id, or the identifier of the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// How many, where one entry stands for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// A recorded entry. Written flat (DESIGN §6) and read by hand, because serde's own flattening buffers what it reads in a
/// tree and doubles the code that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chained {
    seq: u64,
    timestamp: String,
    previous_hash: String,
    hash: String,
}

impl Entry {
    /// Reads an entry as it was written.
    ///
    /// # Errors
    /// The text is not the JSON of an entry.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let draft: Draft = serde_json::from_str(text)?;
        let Chained { seq, timestamp, previous_hash, hash } = serde_json::from_str(text)?;
        Ok(Self { seq, timestamp, draft, previous_hash, hash })
    }
}

#[derive(Serialize)]
struct Canonical<'a> {
    seq: u64,
    timestamp: &'a str,
    #[serde(flatten)]
    draft: &'a Draft,
}

fn chain_hash(previous_hash: &str, seq: u64, timestamp: &str, draft: &Draft) -> String {
    // Strings and numbers only: serializing them cannot fail.
    let canonical = serde_json::to_string(&Canonical { seq, timestamp, draft }).unwrap_or_default();
    hex(&Sha256::new().chain_update(previous_hash).chain_update("\n").chain_update(canonical).finalize())
}

/// The entry that follows `previous` (`None`: the first).
pub fn chain(previous: Option<(u64, &str)>, draft: Draft, now_ms: u64) -> Entry {
    let (last_seq, previous_hash) = previous.unwrap_or((0, GENESIS_HASH));
    let seq = last_seq.saturating_add(1);
    let timestamp = crate::time::rfc3339(now_ms);
    let hash = chain_hash(previous_hash, seq, &timestamp, &draft);
    Entry { seq, timestamp, draft, previous_hash: previous_hash.into(), hash }
}

/// Why a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// A number is missing or out of order.
    #[error("entry {expected} is missing")]
    Gap {
        /// The number that should have come.
        expected: u64,
    },
    /// The entry does not follow the one before it.
    #[error("entry {seq} does not follow the entry before it")]
    Unlinked {
        /// Its number.
        seq: u64,
    },
    /// The entry is not what was hashed.
    #[error("entry {seq} was changed")]
    Changed {
        /// Its number.
        seq: u64,
    },
}

/// Walks `entries`, which follow `previous`, and names the first that breaks the chain.
pub fn verify<'a>(previous: Option<(u64, &str)>, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), Broken> {
    let (mut last_seq, previous_hash) = previous.unwrap_or((0, GENESIS_HASH));
    let mut last_hash = previous_hash.to_owned();
    for entry in entries {
        let expected = last_seq.saturating_add(1);
        if entry.seq != expected {
            return Err(Broken::Gap { expected });
        }
        if entry.previous_hash != last_hash {
            return Err(Broken::Unlinked { seq: entry.seq });
        }
        if chain_hash(&last_hash, entry.seq, &entry.timestamp, &entry.draft) != entry.hash {
            return Err(Broken::Changed { seq: entry.seq });
        }
        last_seq = entry.seq;
        last_hash.clone_from(&entry.hash);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
