//! What a destination's object stores: settled dispatches, waiting dispatches, and how many there are of each.
//!
//! Promises: every way of a dispatch from one state to another is counted in one place ([`DispatchTotals::count`]), so that
//! `routed = delivered + duplicate + filtered + dead + waiting` holds after every step. Out of scope: SQL (`src/objects`), dispatches
//! in flight, which are in memory only.

use crate::dead_letters::BodyText;
use crate::messages::{BodyRef, DeadLetter, Delivery, Origin};
use genesys_webhook::dedupe::body_key;
use genesys_webhook::encoding::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many attempts of a dispatch are remembered.
pub const HISTORY_LENGTH: usize = 10;

/// Name of the object of a source's destination.
pub fn object_name(source: &str) -> String {
    format!("{source}/main")
}

/// How far a dispatch got. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DispatchState {
    /// Its next attempt is due at a time, or when its destination has room.
    Waiting = 0,
    /// The destination took it.
    Delivered = 1,
    /// Another delivery with its key came first.
    Duplicate = 2,
    /// The destination's filter does not want it.
    Filtered = 3,
    /// Given up; it is a dead letter.
    Dead = 4,
}

impl DispatchState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Delivered, Self::Duplicate, Self::Filtered, Self::Dead];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Duplicate => "duplicate",
            Self::Filtered => "filtered",
            Self::Dead => "dead",
        }
    }

    /// The state of an API name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The state of a stored number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u64 == number)
    }
}

/// One attempt, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// When it began, in milliseconds since the epoch.
    pub at_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// HTTP status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Stable code of what went wrong: `dns`, `connect`, `tls`, `timeout`, `reset`, `http`, `not_sent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the destination said, or the platform, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

/// What identifies a dispatch at its destination, and what a list shows of it. It travels with every call, because an object that was
/// built again knows nothing of what is in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Identifier of the delivery (26 characters, sorted by the time of receipt).
    pub id: String,
    /// Hash of its idempotency key: 32 hexadecimal digits.
    pub key: String,
    /// From when on an equal key makes it a duplicate, in milliseconds since the epoch; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates_from_ms: Option<u64>,
    /// How often it was replayed or redelivered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub round: u32,
    /// What it was before its first replay, where its row may have expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// When it was received, in milliseconds since the epoch.
    pub received_at_ms: u64,
    /// Events in it.
    pub event_count: u64,
    /// Size of its body, in bytes.
    pub size_bytes: u64,
}

impl Dispatch {
    /// The dispatch of a delivery. `inline`: its body, where the message has it.
    pub fn of_delivery(delivery: &Delivery, inline: &[u8]) -> Self {
        Self {
            id: delivery.id.clone(),
            key: key_of(&delivery.source, delivery.dedupe_key.as_deref(), &delivery.body, inline),
            duplicates_from_ms: duplicates_from_ms(delivery.duplicate_window_s, delivery.received_at_ms),
            round: delivery.replay,
            origin: delivery.origin,
            received_at_ms: delivery.received_at_ms,
            event_count: delivery.event_count,
            size_bytes: delivery.body.size_bytes(),
        }
    }

    /// The dispatch that a dead letter is of. `inline`: its body, where the message has it.
    pub fn of_letter(letter: &DeadLetter, inline: &[u8]) -> Self {
        Self {
            id: letter.id.clone(),
            key: key_of(&letter.source, letter.dedupe_key.as_deref(), &letter.body, inline),
            duplicates_from_ms: duplicates_from_ms(letter.duplicate_window_s, letter.received_at_ms),
            round: letter.replay,
            origin: None,
            received_at_ms: letter.received_at_ms,
            event_count: letter.event_count.unwrap_or(0),
            size_bytes: letter.body.size_bytes(),
        }
    }
}

/// A key of 128 bits: nobody finds two deliveries of one source with the same.
fn key_of(source: &str, dedupe_key: Option<&str>, body: &BodyRef, inline: &[u8]) -> String {
    let key = match (dedupe_key, body) {
        (Some(key), _) => key.to_owned(),
        (None, BodyRef::Stored { sha256, .. }) => format!("body-sha256:{sha256}"),
        (None, _) => body_key(&Sha256::digest(inline).into()),
    };
    let digest: [u8; 32] = Sha256::digest(format!("{source}\u{1f}{key}")).into();
    hex(digest.first_chunk::<16>().unwrap_or(&[0; 16]))
}

fn duplicates_from_ms(window_s: Option<u32>, received_at_ms: u64) -> Option<u64> {
    match window_s {
        None => Some(0),
        Some(0) => None,
        Some(window_s) => Some(received_at_ms.saturating_sub(u64::from(window_s).saturating_mul(1_000))),
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's `skip_serializing_if` passes a reference
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A dispatch that came to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledRow {
    /// Which it is.
    pub dispatch: Dispatch,
    /// Not `Waiting`.
    pub state: DispatchState,
    /// When, in milliseconds since the epoch. Its day says in which table the row is.
    pub settled_at_ms: u64,
    /// Attempts of its last round.
    pub attempts: u32,
    /// The last of them, the oldest first.
    pub history: Vec<AttemptRecord>,
    /// The delivery that had its key before, or the reason of its death.
    pub detail: Option<String>,
}

/// A dispatch whose next attempt is not under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRow {
    /// Which it is.
    pub dispatch: Dispatch,
    /// When its next attempt is due; `None`: when there is room.
    pub due_ms: Option<u64>,
    /// Since when it waits, in milliseconds since the epoch.
    pub since_ms: u64,
    /// Attempts of this round.
    pub attempts: u32,
    /// How often a consumer took it and was not heard of again.
    pub crashes: u32,
    /// The last attempts, the oldest first.
    pub history: Vec<AttemptRecord>,
    /// Its message: header line and body.
    pub frame: BodyText,
}

/// Adds an attempt to a history.
pub fn remember(history: &mut Vec<AttemptRecord>, record: Option<AttemptRecord>) {
    history.extend(record);
    history.drain(..history.len().saturating_sub(HISTORY_LENGTH));
}

/// What a destination's object has counted since it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchTotals {
    /// Dispatches that it has seen.
    pub routed: u64,
    /// Taken by the destination.
    pub delivered: u64,
    /// Had been there before.
    pub duplicate: u64,
    /// Not wanted.
    pub filtered: u64,
    /// Given up, ever.
    pub died: u64,
    /// Of these: replayed, or delivered after all.
    pub revived: u64,
    /// Waiting now.
    pub waiting: u64,
    /// Of these: those that wait for room, not for a time.
    pub parked: u64,
    /// Delivered again on request.
    pub redelivered: u64,
    /// Attempts made.
    pub attempts: u64,
    /// Of these: failed, and followed by another.
    pub retries: u64,
    /// Deliveries that were refused on arrival and let in by a replay: nobody counted them as accepted.
    pub readmitted: u64,
}

impl DispatchTotals {
    /// Dead now.
    pub fn dead(&self) -> u64 {
        self.died.saturating_sub(self.revived)
    }

    /// Counts the way of a dispatch from one state (`None`: it was not known) to another. `origin`: what it was before a replay.
    pub fn count(&mut self, origin: Option<Origin>, before: Option<DispatchState>, after: DispatchState) {
        // Its row may have expired since it died.
        let before = before.or((origin == Some(Origin::Dead)).then_some(DispatchState::Dead));
        match before {
            None => {
                self.routed = self.routed.saturating_add(1);
                self.readmitted = self.readmitted.saturating_add(u64::from(origin == Some(Origin::Refused)));
            }
            Some(DispatchState::Waiting) => self.waiting = self.waiting.saturating_sub(1),
            Some(DispatchState::Delivered) => self.delivered = self.delivered.saturating_sub(1),
            Some(DispatchState::Duplicate) => self.duplicate = self.duplicate.saturating_sub(1),
            Some(DispatchState::Filtered) => self.filtered = self.filtered.saturating_sub(1),
            Some(DispatchState::Dead) => self.revived = self.revived.saturating_add(1),
        }
        let slot = match after {
            DispatchState::Waiting => &mut self.waiting,
            DispatchState::Delivered => &mut self.delivered,
            DispatchState::Duplicate => &mut self.duplicate,
            DispatchState::Filtered => &mut self.filtered,
            DispatchState::Dead => &mut self.died,
        };
        *slot = slot.saturating_add(1);
    }

    /// What was seen and is in none of the states: 0 unless something was counted wrongly.
    pub fn difference(&self) -> i128 {
        let known = [self.delivered, self.duplicate, self.filtered, self.dead(), self.waiting];
        known.into_iter().fold(i128::from(self.routed), |rest, n| rest.saturating_sub(n.into()))
    }
}

/// The rows of one destination's object. Everything between two calls of the object is one transaction.
pub trait DispatchStore {
    /// Why a row could not be read or written.
    type Error;

    /// The settled row of a delivery under its key.
    fn settled(&self, id: &str, key: &str) -> Result<Option<SettledRow>, Self::Error>;
    /// A delivery other than `id` that owns `key`, was received at `from_ms` or later, and is no duplicate itself.
    fn owner(&self, id: &str, key: &str, from_ms: u64) -> Result<Option<String>, Self::Error>;
    /// Writes a settled row in place of the one that the delivery has.
    fn settle(&mut self, row: &SettledRow) -> Result<(), Self::Error>;
    /// Takes a settled row away.
    fn unsettle(&mut self, id: &str, key: &str) -> Result<(), Self::Error>;
    /// A waiting row.
    fn waiting(&self, id: &str) -> Result<Option<WaitingRow>, Self::Error>;
    /// Writes a waiting row in place of the one that the delivery has.
    fn wait(&mut self, row: &WaitingRow) -> Result<(), Self::Error>;
    /// Takes a waiting row away.
    fn unwait(&mut self, id: &str) -> Result<(), Self::Error>;
    /// Rows that are due at `now_ms`, the most overdue first.
    fn due(&self, now_ms: u64, limit: usize) -> Result<Vec<WaitingRow>, Self::Error>;
    /// Rows that wait for room, the oldest delivery first.
    fn parked(&self, limit: usize) -> Result<Vec<WaitingRow>, Self::Error>;
    /// When the next row is due.
    fn next_due_ms(&self) -> Result<Option<u64>, Self::Error>;
    /// Counts how often a consumer was given a dispatch that may have crashed it; answers the number.
    fn suspect(&mut self, id: &str) -> Result<u32, Self::Error>;
    /// Writes what was counted.
    fn save(&mut self, totals: &DispatchTotals) -> Result<(), Self::Error>;
}
