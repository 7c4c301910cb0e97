//! The calls to the ledger's objects, and what they answer.
//!
//! Promise: one set of types for both sides of a call, whose forms the tests pin. Out of scope: what is decided ([`super`]).

use super::{Outcome, State};
use crate::messages::{DeadLetter, Delivery, Origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One delivery that a consumer wants to hand on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimItem {
    /// Identifier of the delivery.
    pub id: String,
    /// [`super::ledger_key`].
    pub key: String,
    /// Name of the source.
    pub source: String,
    /// When it was received.
    pub received_at_ms: u64,
    /// Events in it.
    pub event_count: u64,
    /// Size of its body.
    pub size_bytes: u64,
    /// Number of the replay.
    #[serde(default)]
    pub replay: u32,
    /// What it was before it was replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// As [`Delivery::duplicate_window_s`]; for ever where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_window_s: Option<u32>,
}

impl ClaimItem {
    /// The claim of a delivery under its key ([`delivery_key`](super::delivery_key)).
    pub fn of_delivery(key: String, delivery: &Delivery) -> Self {
        Self {
            id: delivery.id.clone(),
            key,
            source: delivery.source.clone(),
            received_at_ms: delivery.received_at_ms,
            event_count: delivery.event_count,
            size_bytes: delivery.body.size_bytes(),
            replay: delivery.replay,
            origin: delivery.origin,
            duplicate_window_s: delivery.duplicate_window_s,
        }
    }

    /// The claim of the delivery that a letter is of. `inline`: its body, where the message has it.
    pub fn of_letter(letter: &DeadLetter, inline: &[u8]) -> Self {
        Self {
            id: letter.id.clone(),
            key: super::key_under(&letter.source, letter.dedupe_key.as_deref(), &letter.body, inline),
            source: letter.source.clone(),
            received_at_ms: letter.received_at_ms,
            event_count: letter.event_count.unwrap_or(0),
            size_bytes: letter.body.size_bytes(),
            replay: letter.replay,
            origin: None,
            duplicate_window_s: letter.duplicate_window_s,
        }
    }

    /// The earliest receipt of a delivery with the same key that this one is a duplicate of; `None` where there is none.
    pub fn duplicates_from_ms(&self) -> Option<u64> {
        match self.duplicate_window_s {
            None => Some(0),
            Some(0) => None,
            Some(window_s) => Some(self.received_at_ms.saturating_sub(u64::from(window_s).saturating_mul(1_000))),
        }
    }
}

/// What became of one delivery's attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleItem {
    /// Identifier of the delivery.
    pub id: String,
    /// The attempt that [`super::Claimed::Proceed`] gave.
    pub attempt: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// HTTP status of the destination, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A call to a ledger object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerCall {
    /// Claims deliveries; answers a [`super::Claimed`] for each, in order.
    Claim {
        /// At most a batch.
        items: Vec<ClaimItem>,
    },
    /// Settles attempts; answers [`Settled`].
    Settle {
        /// At most a batch.
        items: Vec<SettleItem>,
    },
    /// Settles deliveries that have letters as dead; answers the [`State`] in which each of them [stands](super::stands).
    GiveUp {
        /// At most a batch.
        items: Vec<ClaimItem>,
        /// Only where there is a row: a death that a consumer reported may have been counted and forgotten since.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        known: bool,
    },
    /// Answers [`LostRow`]s: pending, unchanged since `before_ms`, and found so by an earlier call before
    /// `suspected_before_ms`; suspects those that are found for the first time.
    Lost {
        /// Rows that changed last before this time.
        before_ms: u64,
        /// Rows that were suspected before this time, and have not changed since.
        suspected_before_ms: u64,
        /// At most so many.
        limit: u32,
    },
    /// Answers the newest [`DeliveryRow`]s before the cursor.
    List {
        /// Only this source.
        source: Option<String>,
        /// Only this state.
        state: Option<State>,
        /// Only what sorts before this receipt time and identifier.
        before: Option<(u64, String)>,
        /// At most so many.
        limit: u32,
    },
    /// Answers `Option<DeliveryRow>`.
    Get {
        /// Identifier of the delivery.
        id: String,
    },
    /// Removes settled rows that changed last before a time; answers how many.
    Expire {
        /// Rows that changed last before this time.
        before_ms: u64,
        /// At most so many.
        limit: u32,
    },
    /// Answers [`LedgerTotals`].
    Totals,
}

/// The answer to [`LedgerCall::Settle`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// How many of them counted.
    pub counted: u64,
    /// Of them, those that were dead and are delivered after all: their letters have to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revived: Vec<String>,
}

/// A row whose message does not exist any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRow {
    /// What the ledger tells of it.
    pub row: DeliveryRow,
    /// [`super::ledger_key`].
    pub key: String,
}

/// What the ledger tells of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRow {
    /// Identifier of the delivery.
    pub id: String,
    /// Name of the source.
    pub source: String,
    /// How far it got.
    pub status: State,
    /// Attempts made.
    pub attempts: u32,
    /// When it was received.
    pub received_at_ms: u64,
    /// When its state last changed.
    pub updated_at_ms: u64,
    /// Events in it.
    pub event_count: u64,
    /// Size of its body.
    pub size_bytes: u64,
    /// Replays so far.
    pub replay: u32,
    /// When the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_ms: Option<u64>,
    /// HTTP status of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// What went wrong at the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The delivery that came first, where this one is its duplicate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
}

/// What a ledger object knows of a source, counted in the same transaction as the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTotals {
    /// Deliveries that the destination took.
    pub delivered: u64,
    /// Duplicates.
    pub duplicate: u64,
    /// Deliveries that were given up, and still are.
    pub dead: u64,
    /// Attempts that failed and were put off.
    pub retries: u64,
    /// Deliveries that were refused on arrival and let in by a replay: nobody counted them as accepted.
    #[serde(default)]
    pub readmitted: u64,
    /// Deliveries that had been given up and are no longer: replayed, or delivered after all.
    #[serde(default)]
    pub revived: u64,
    /// Rows claimed or waiting now.
    pub pending: u64,
    /// When the oldest of them was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending_ms: Option<u64>,
}

/// What a ledger object knows, by source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerTotals {
    /// By name of the source.
    pub sources: BTreeMap<String, SourceTotals>,
    /// Size of the object.
    #[serde(default)]
    pub storage_bytes: u64,
}
