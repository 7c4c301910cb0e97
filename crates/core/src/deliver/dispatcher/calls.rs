//! What consumers and the API say to a destination's object, and what it answers.
//!
//! Promise: one set of types for both sides, whose forms the tests pin. Out of scope: what is decided ([`super`]).

use super::gate::{EndedAttempt, GateChange, GateRow, GateSettings};
use super::rows::{AttemptRecord, Dispatch, DispatchState, DispatchTotals};
use crate::dead_letters::BodyText;
use crate::deliver::retry_policy::PATIENCE_MS;
use serde::{Deserialize, Serialize};

/// What holds for a destination, as configured. Every call carries it, because an object reads no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationPolicy {
    /// Breaker and limits.
    pub gate: GateSettings,
    /// How long a consumer may take for an attempt, in milliseconds: the destination's timeout, and time around it.
    pub lease_ms: u64,
    /// How long a dispatch waits for room before it is given up, in milliseconds.
    pub patience_ms: u64,
    /// How often a dispatch may be given to a consumer that is not heard of again.
    pub max_crashes: u32,
}

/// What an attempt may take beyond the destination's timeout, in milliseconds: the rest of its batch, reading a stored body, the
/// settlement.
const LEASE_MARGIN_MS: u64 = 90_000;

/// Crashes that a dispatch may cause beyond the attempts of its schedule.
const MAX_CRASHES: u32 = 3;

impl DestinationPolicy {
    /// What holds for a destination with this timeout and schedule.
    pub fn new(gate: GateSettings, timeout_ms: u64, schedule_s: &[u32]) -> Self {
        let waits_s = schedule_s.iter().fold(0u64, |sum, wait_s| sum.saturating_add(u64::from(*wait_s)));
        Self {
            gate,
            lease_ms: timeout_ms.saturating_add(LEASE_MARGIN_MS),
            patience_ms: waits_s.saturating_mul(1_000).saturating_add(PATIENCE_MS),
            max_crashes: u32::try_from(schedule_s.len()).unwrap_or(u32::MAX).saturating_add(MAX_CRASHES),
        }
    }
}

/// A dispatch that a consumer has a message of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmitItem {
    /// Which it is.
    pub dispatch: Dispatch,
    /// Whether the destination's filter lets it through.
    pub is_wanted: bool,
    /// Whether the message was given to a consumer before that did not end it: the delivery may have crashed it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_suspect: bool,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// Attempt number `attempt` begins.
    Go {
        /// From 1 within its round.
        attempt: u32,
    },
    /// There is no room: it is to be parked, with its frame.
    Park,
    /// Nothing is left to do.
    Done {
        /// What it is.
        state: DispatchState,
    },
    /// Another consumer has it in hand until then.
    Busy {
        /// In milliseconds since the epoch.
        until_ms: u64,
    },
    /// It has crashed its consumers: it is to be given up without an attempt.
    Crashed,
}

/// What an attempt came to, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DispatchOutcome {
    /// The destination took it.
    Delivered,
    /// The next attempt is due then.
    Retry {
        /// In milliseconds since the epoch.
        due_ms: u64,
    },
    /// The destination asked to be left alone until then; the attempt does not count.
    Held {
        /// In milliseconds since the epoch.
        until_ms: u64,
    },
    /// No attempt was made: it waits for room.
    Parked,
    /// Given up; its dead letter is on its way.
    Dead {
        /// Stable code.
        reason: String,
    },
}

/// What became of a dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedDispatch {
    /// Which it is.
    pub dispatch: Dispatch,
    /// Number of the attempt; 0 where there was none.
    pub attempt: u32,
    /// What it came to.
    pub outcome: DispatchOutcome,
    /// The attempt, where one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<AttemptRecord>,
    /// What it says of the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<EndedAttempt>,
    /// Its message, where it has to wait and the object may not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<BodyText>,
}

/// A waiting dispatch that a consumer takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Which it is.
    pub dispatch: Dispatch,
    /// Number of its attempt.
    pub attempt: u32,
    /// Why it is to be given up without an attempt: it waited too long, or crashed its consumers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<String>,
    /// Attempts so far.
    pub history: Vec<AttemptRecord>,
    /// Its message.
    pub frame: BodyText,
}

/// What a settlement changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlements {
    /// What happened to the breaker, in order.
    pub changes: Vec<GateChange>,
    /// Deliveries that were dead, and that the destination took after all.
    pub revived: Vec<String>,
}

/// A dispatch that has a dead letter, told by whoever stores that: the platform gave its message up, or the settlement of its consumer
/// may have been lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Which it is.
    pub dispatch: Dispatch,
    /// Stable code.
    pub reason: String,
    /// Whether nothing is done where the object does not know it.
    pub is_known: bool,
}

/// A dispatch for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DispatchRow {
    /// Identifier of the delivery.
    pub id: String,
    /// How far it got; `in_flight` and `waiting` are not ends.
    pub status: String,
    /// When it was received, in milliseconds since the epoch.
    pub received_at_ms: u64,
    /// When it came to what it is, in milliseconds since the epoch.
    pub updated_at_ms: u64,
    /// When its next attempt is due; absent where it waits for room, or for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_ms: Option<u64>,
    /// Attempts of its round.
    pub attempts: u32,
    /// How often it was replayed or redelivered.
    pub round: u32,
    /// Events in it.
    pub event_count: u64,
    /// Size of its body, in bytes.
    pub size_bytes: u64,
    /// The delivery that had its key before, or the reason of its death.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The last attempts, the oldest first.
    pub history: Vec<AttemptRecord>,
}

/// Calls to the object of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationCall {
    /// What may be done with the dispatches of a batch: one [`Admission`] for each.
    Admit {
        /// What holds for the destination.
        policy: DestinationPolicy,
        /// The dispatches.
        items: Vec<AdmitItem>,
    },
    /// What became of dispatches: [`Settlements`].
    Settle {
        /// What holds for the destination.
        policy: DestinationPolicy,
        /// The dispatches.
        items: Vec<EndedDispatch>,
    },
    /// Dispatches that wait: a list of [`Taken`].
    Take {
        /// What holds for the destination.
        policy: DestinationPolicy,
        /// At most so many.
        limit: u32,
        /// Whether the message that asks was given to a consumer before.
        is_suspect: bool,
    },
    /// Dispatches that have a dead letter: what each of them is now.
    GiveUp {
        /// The dispatches.
        items: Vec<GivenUp>,
    },
    /// [`DestinationStatus`].
    Status,
    /// Dispatches, the newest first: a list of [`DispatchRow`].
    List {
        /// Only those.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<DispatchState>,
        /// Older than this delivery.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
        /// At most so many.
        limit: u32,
    },
    /// One dispatch: a [`DispatchRow`] or `null`.
    Get {
        /// Identifier of the delivery.
        id: String,
    },
    /// A person pauses or resumes it: whether that changed anything.
    Pause {
        /// Which of the two.
        is_paused: bool,
    },
    /// A person closes its breaker: whether it was open.
    Close,
    /// A person has it probed now.
    Probe,
}

/// Where a destination stands, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationStatus {
    /// Breaker, holds, pauses.
    pub gate: GateRow,
    /// What was counted.
    pub totals: DispatchTotals,
    /// Dispatches in flight.
    pub in_flight: u32,
    /// When the oldest of what waits was received, in milliseconds since the epoch.
    pub oldest_waiting_ms: Option<u64>,
}
