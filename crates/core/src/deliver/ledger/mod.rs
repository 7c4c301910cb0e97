//! The delivery ledger: who may hand a delivery on, and what became of it.
//!
//! Promises: claim with a lease → hand on → settle. A delivery that somebody holds is not handed on by another until the
//! lease has run out (then its holder has crashed: it is handed on again, at least once); one that was delivered or given
//! up is never handed on again, unless it is replayed; a second delivery with the same idempotency key is a duplicate of
//! the first. The decisions here are pure; the `DELIVERY_LEDGER` objects keep the rows and apply them within one event,
//! so that claims of one key cannot interleave. Out of scope: waiting (the queue's), the destination.

mod calls;
mod lost;

pub use calls::{ClaimItem, DeliveryRow, LedgerCall, LedgerTotals, LostRow, SettleItem, Settled, SourceTotals};
pub use lost::{LOST_LIMIT, lost_before_ms, lost_letter, suspected_before_ms};

use crate::messages::{BodyRef, Delivery, Origin};
use genesys_webhook::dedupe::body_key;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many ledger objects share the load, by idempotency key: a Durable Object answers about 1,000 requests a second,
/// a batch makes two calls a shard, and a queue delivers up to 5,000 messages a second. Part of the stored form: with
/// another number keys would be looked for where they are not.
pub const LEDGER_SHARDS: u32 = 16;

/// How long a claim holds, in milliseconds: longer than a destination's longest timeout (60 s) with the time that a batch
/// needs around it, and short enough that a crash delays a delivery by minutes only.
pub const LEASE_MS: u64 = 150_000;

/// FNV-1a, 64 bits: a stable, dependency-free hash to spread keys over shards. Not for anything an attacker may choose a
/// collision in to his profit: a shard is only a place.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The key under which a source's delivery is known: keys of different sources never meet.
pub fn ledger_key(source: &str, dedupe_key: &str) -> String {
    format!("{source}\u{1f}{dedupe_key}")
}

/// The key under which the ledger knows a delivery. `inline`: its body, where the message has it.
pub fn delivery_key(delivery: &Delivery, inline: &[u8]) -> String {
    key_under(&delivery.source, delivery.dedupe_key.as_deref(), &delivery.body, inline)
}

fn key_under(source: &str, dedupe_key: Option<&str>, body: &BodyRef, inline: &[u8]) -> String {
    let key = match (dedupe_key, body) {
        (Some(key), _) => key.to_owned(),
        (None, BodyRef::Stored { sha256, .. }) => format!("body-sha256:{sha256}"),
        (None, _) => body_key(&Sha256::digest(inline).into()),
    };
    ledger_key(source, &key)
}

/// Name of the object that keeps `key`.
pub fn ledger_shard(key: &str) -> String {
    format!("ledger-{}", fnv1a(key.as_bytes()).checked_rem(u64::from(LEDGER_SHARDS)).unwrap_or(0))
}

/// Names of all ledger objects.
pub fn ledger_shards() -> impl Iterator<Item = String> {
    (0..LEDGER_SHARDS).map(|shard| format!("ledger-{shard}"))
}

/// How far a delivery got. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A consumer holds it.
    Claimed,
    /// Its next attempt is waiting in the queue.
    Waiting,
    /// The destination took it.
    Delivered,
    /// Given up; it is in the dead letters.
    Dead,
    /// Another delivery had its idempotency key before.
    Duplicate,
}

impl State {
    /// All states, in the order of their stored numbers.
    pub const ALL: [Self; 5] = [Self::Claimed, Self::Waiting, Self::Delivered, Self::Dead, Self::Duplicate];

    /// The stored number.
    pub const fn number(self) -> i64 {
        match self {
            Self::Claimed => 0,
            Self::Waiting => 1,
            Self::Delivered => 2,
            Self::Dead => 3,
            Self::Duplicate => 4,
        }
    }

    /// The state of a stored number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Duplicate => "duplicate",
        }
    }

    /// The state of an API name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether work on it goes on.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Claimed | Self::Waiting)
    }
}

/// What decides about a claim or a settlement: the changing part of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far it got.
    pub state: State,
    /// Number of the last attempt, from 1 within a replay.
    pub attempt: u32,
    /// Number of the replay that this progress belongs to; 0 is the original.
    pub replay: u32,
    /// Until when a claim holds.
    pub lease_until_ms: u64,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claimed {
    /// Hand it on; this is attempt number `attempt`.
    Proceed {
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// Somebody else holds it until then: ask again later.
    Busy {
        /// End of the other's lease.
        until_ms: u64,
    },
    /// Nothing left to do: it was delivered, given up, or counted as a duplicate before.
    Settled {
        /// What it was settled as.
        state: State,
    },
    /// Its idempotency key belongs to another delivery: counted now, nothing to hand on.
    Duplicate {
        /// The delivery that came first.
        of: String,
    },
}

/// Decides a claim on a delivery.
///
/// `row`: its own progress, where the ledger knows it; `owner`: the other delivery that has its idempotency key, if any;
/// `replay`: the replay number that the message carries.
pub fn decide_claim(row: Option<&Progress>, owner: Option<&str>, replay: u32, now_ms: u64) -> Claimed {
    match (row, owner) {
        (None, Some(of)) => Claimed::Duplicate { of: of.into() },
        (None, None) => Claimed::Proceed { attempt: 1 },
        // A replay is somebody's decision to deliver again what was given up: it starts a schedule of its own.
        (Some(row), _) if replay > row.replay && row.state == State::Dead => Claimed::Proceed { attempt: 1 },
        // An older message of a delivery that was replayed since: that replay has a message of its own, and the letter that it
        // came from still refers to the stored body.
        (Some(row), _) if replay < row.replay => Claimed::Settled { state: State::Dead },
        (Some(row), _) => match row.state {
            State::Delivered | State::Dead | State::Duplicate => Claimed::Settled { state: row.state },
            State::Claimed if row.lease_until_ms > now_ms => Claimed::Busy { until_ms: row.lease_until_ms },
            State::Claimed | State::Waiting => Claimed::Proceed { attempt: row.attempt.saturating_add(1) },
        },
    }
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The destination took it.
    Delivered,
    /// Another attempt is in the queue.
    Retry {
        /// When it is due.
        next_attempt_ms: u64,
    },
    /// Given up; the letter is on its way.
    Dead {
        /// Stable code.
        reason: String,
    },
    /// Claimed and not tried: the claim ends, the attempt is not counted, the delivery waits.
    NotAttempted {
        /// When it is due again.
        next_attempt_ms: u64,
    },
    /// Given up without this attempt, which is not counted; the letter is on its way.
    GivenUp {
        /// Stable code.
        reason: String,
    },
}

impl Outcome {
    /// Whether the claim led to an attempt.
    pub const fn is_attempt(&self) -> bool {
        !matches!(self, Self::NotAttempted { .. } | Self::GivenUp { .. })
    }
}

/// Decides whether an outcome still counts, and what state it leads to.
///
/// A delivery that was made counts whoever reports it; a failure counts only from the holder of the current attempt,
/// because after a lease ran out somebody else is trying again.
pub fn decide_settle(row: &Progress, attempt: u32, outcome: &Outcome) -> Option<State> {
    match (row.state, outcome) {
        (State::Claimed | State::Waiting | State::Dead, Outcome::Delivered) => Some(State::Delivered),
        (State::Claimed, Outcome::Retry { .. } | Outcome::NotAttempted { .. }) if row.attempt == attempt => {
            Some(State::Waiting)
        }
        // Whoever stores the letter may have told of the death first; then this one only adds what the last attempt came to.
        (State::Claimed | State::Dead, Outcome::Dead { .. } | Outcome::GivenUp { .. }) if row.attempt == attempt => {
            Some(State::Dead)
        }
        _ => None,
    }
}

/// Decides what becomes of a delivery that has a letter and whose message will not come again: the platform gave it up, or a
/// consumer did whose settlement may not have arrived. `None`: nothing.
///
/// A live lease is outlived deliberately. Its holder can still report a delivery, which counts whatever the row says
/// ([`decide_settle`]), while a failure that it might report would wait for a message that does not exist any more.
/// A row that belongs to a later replay than the message is not touched: that replay has a message of its own.
pub fn decide_give_up(row: Option<&Progress>, owner: Option<&str>, replay: u32) -> Option<State> {
    match row {
        None if owner.is_some() => Some(State::Duplicate),
        None => Some(State::Dead),
        Some(row) if row.state.is_pending() && row.replay <= replay => Some(State::Dead),
        Some(_) => None,
    }
}

/// Where a delivery stands for whoever keeps its letter, which carries the number `replay`: a letter of what was delivered
/// after all, or is a duplicate, is not to be replayed, because nobody has counted it as dead. Dead where nothing speaks
/// against it: a row that has expired, or that belongs to a later replay (which has marked the letter itself).
pub fn stands(row: Option<&Progress>, replay: u32) -> State {
    row.filter(|row| row.replay <= replay).map_or(State::Dead, |row| row.state)
}

/// What a ledger object counts for good, by source. The names are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedgerCount {
    /// [`SourceTotals::delivered`].
    Delivered,
    /// [`SourceTotals::duplicate`].
    Duplicate,
    /// [`SourceTotals::dead`].
    Dead,
    /// [`SourceTotals::retries`].
    Retries,
    /// [`SourceTotals::readmitted`].
    Readmitted,
    /// [`SourceTotals::revived`].
    Revived,
}

impl LedgerCount {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Duplicate => "duplicate",
            Self::Dead => "dead",
            Self::Retries => "retries",
            Self::Readmitted => "readmitted",
            Self::Revived => "revived",
        }
    }
}

/// What changes in the counts when a row goes from one state to another; `before` is `None` where there was no row.
///
/// Together with the rows that are pending this keeps `accepted + readmitted = delivered + duplicate + pending + dead`.
/// A replay whose row has expired says by its `origin` what was counted for it: a refused one enters the accounts now, one
/// that had died takes its death back. That is counted too, because what has died so far, `dead + revived`, only grows.
pub fn tally(before: Option<State>, origin: Option<Origin>, after: State) -> impl Iterator<Item = (LedgerCount, i64)> {
    // One that is dead already dies no second time: its settlement only came after its letter.
    let stays_dead = before == Some(State::Dead) && after == State::Dead;
    let leaves: &[(LedgerCount, i64)] = match (before, origin) {
        _ if stays_dead => &[],
        (None, Some(Origin::Refused)) => &[(LedgerCount::Readmitted, 1)],
        (None, Some(Origin::Dead)) | (Some(State::Dead), _) => &[(LedgerCount::Dead, -1), (LedgerCount::Revived, 1)],
        (None, None) | (Some(_), _) => &[],
    };
    let enters = match after {
        State::Claimed => None,
        State::Waiting => Some(LedgerCount::Retries),
        State::Delivered => Some(LedgerCount::Delivered),
        State::Dead => (!stays_dead).then_some(LedgerCount::Dead),
        State::Duplicate => Some(LedgerCount::Duplicate),
    };
    leaves.iter().copied().chain(enters.map(|counted| (counted, 1)))
}

#[cfg(test)]
mod tests;
