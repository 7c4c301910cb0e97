//! The calls to the object of a circuit, and what they answer.
//!
//! Promise: one set of types for both sides of a call, whose forms the tests pin. Out of scope: what is decided ([`super`]).

use crate::deliver::retry_policy::Attempted;
use serde::{Deserialize, Serialize};

/// Longest error that is kept, in characters.
const MAX_ERROR_CHARS: usize = 300;

/// When a source's circuit opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How far back calls count, in milliseconds.
    pub window_ms: u64,
    /// Calls within the window before it is judged.
    pub min_calls: u64,
    /// Per cent of the calls that fail before it opens.
    pub failure_percent: u64,
    /// Per cent of the calls that are slow before it opens; 0: slowness does not open it.
    pub slow_percent: u64,
    /// From when on a call is slow, in milliseconds.
    pub slow_after_ms: u64,
}

impl Default for Settings {
    /// Half of ten calls or more within two minutes: more than a few poisoned deliveries.
    fn default() -> Self {
        Self { window_ms: 120_000, min_calls: 10, failure_percent: 50, slow_percent: 0, slow_after_ms: 10_000 }
    }
}

impl Settings {
    /// Whether a call speaks for opening.
    pub fn is_bad(&self, call: &EndedAttempt) -> bool {
        call.sign == AttemptSign::Failure || self.is_slow(call)
    }

    pub(super) const fn is_slow(&self, call: &EndedAttempt) -> bool {
        self.slow_percent > 0 && call.duration_ms >= self.slow_after_ms
    }
}

/// What one attempt says about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptSign {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// It is there, and did not want this delivery: that ends an open circuit, and counts for nothing in a closed one.
    Answered,
    /// Nothing: the attempt failed on our side, or the destination asked to be left alone.
    Nothing,
}

/// What an attempt says about its destination.
pub const fn sign(attempted: &Attempted) -> AttemptSign {
    match attempted {
        Attempted::Answered { status: 200..=299, .. } => AttemptSign::Success,
        Attempted::Answered { status: 429 | 503, retry_after_s: Some(_) }
        | Attempted::NotSent
        | Attempted::BodyUnavailable => AttemptSign::Nothing,
        Attempted::Answered { status: 408 | 429 | 500.., .. } | Attempted::Failed => AttemptSign::Failure,
        Attempted::Answered { .. } => AttemptSign::Answered,
    }
}

/// An attempt that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedAttempt {
    /// When it began, in milliseconds since the epoch.
    pub at_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What it says.
    pub sign: AttemptSign,
}

/// What the attempts of one batch on one destination came to, in the order in which they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptTally {
    /// The attempts that say something.
    pub calls: Vec<EndedAttempt>,
    /// Until when the destination asked to be left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until_ms: Option<u64>,
    /// What the last failure was, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl AttemptTally {
    /// Adds an attempt.
    pub fn add(&mut self, call: EndedAttempt, status: Option<u16>, error: Option<&str>) {
        if call.sign == AttemptSign::Failure {
            self.blame(status, error);
        }
        if call.sign != AttemptSign::Nothing {
            self.calls.push(call);
        }
    }

    /// The destination asked to be left alone until then.
    pub fn hold(&mut self, until_ms: u64, status: Option<u16>, error: Option<&str>) {
        self.held_until_ms = self.held_until_ms.max(Some(until_ms));
        self.blame(status, error);
    }

    fn blame(&mut self, status: Option<u16>, error: Option<&str>) {
        self.error = error.map(|error| error.chars().take(MAX_ERROR_CHARS).collect());
        self.status = status;
    }

    /// Whether the object has to hear of it at once: of bad calls, of what became of a probe, of a wish to be left alone. Other
    /// calls are told with the next question.
    pub fn is_news(&self, gate: &Gate, settings: &Settings) -> bool {
        matches!(gate, Gate::Probe { .. })
            || self.held_until_ms.is_some()
            || self.calls.iter().any(|call| settings.is_bad(call))
    }
}

/// What may be done with the deliveries of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Hand them on.
    Closed,
    /// Put them off.
    Wait {
        /// Until when nothing changes.
        until_ms: u64,
    },
    /// Hand on one, put off the others.
    Probe {
        /// Until when it holds; names the probe in its report.
        until_ms: u64,
    },
}

/// A change of the state, for the log and the audit trail; reported to exactly one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Deliveries wait from now on.
    Opened,
    /// They are handed on again.
    Closed,
}

/// A call to a circuit's object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitCall {
    /// Before a batch: answers a [`Gate`].
    Ask {
        /// How long a probe may take.
        lease_ms: u64,
        /// Calls that have not been told yet, none of which is bad.
        calls: Vec<EndedAttempt>,
        /// When the circuit opens.
        settings: Settings,
    },
    /// After a batch: answers [`Reported`].
    Report {
        /// The probe that this was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probe: Option<u64>,
        /// What the attempts came to.
        tally: AttemptTally,
        /// When the circuit opens.
        settings: Settings,
    },
    /// Closes it by hand: answers whether it was open.
    Close,
    /// Pauses or resumes it by hand: answers whether it was paused.
    Pause(bool),
    /// Ends every wait but a pause by hand, so that the next delivery is tried: answers whether there was one.
    Probe,
    /// Answers the [`super::Circuit`].
    Read,
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// What the report changed.
    pub change: Option<Change>,
    /// Whether deliveries are handed on.
    pub is_closed: bool,
}
