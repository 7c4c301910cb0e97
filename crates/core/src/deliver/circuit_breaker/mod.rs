//! The circuit of a destination: whether deliveries are tried, wait, or are probed with one of them.
//!
//! Promises: a circuit opens when attempts have failed for [`Settings::after_ms`] without a success and at least
//! [`Settings::failures`] of them; while it is open one probe at a time is let through, after waits that double from
//! [`FIRST_DELAY_MS`] to [`MAX_DELAY_MS`]; a probe that is never reported is followed by another; it closes by itself. Only
//! what speaks about the destination counts ([`sign`]): an answer that is about the delivery (a 4xx) is no failure, and it
//! proves that somebody is there, so it ends an open circuit; in a closed one it is no success either, so that a
//! destination which only fails and refuses still opens it. Out of scope: keeping the state (the `DESTINATIONS` objects),
//! putting deliveries off (the consumer).

mod row;

pub use row::{CircuitRow, CircuitState, shown_url};

use crate::deliver::retry_policy::{Attempted, MAX_DELAY_S};
use serde::{Deserialize, Serialize};

/// The wait before the first probe, in milliseconds: longer than a restart, short enough to be noticed by nobody.
pub const FIRST_DELAY_MS: u64 = 30_000;

/// The longest wait between two probes, in milliseconds (15 min): a destination that recovers is used again within it.
pub const MAX_DELAY_MS: u64 = 900_000;

/// What a probe may take beyond the destination's own time limit, in milliseconds: reading a stored body, a settlement,
/// and the rest of its batch.
pub const PROBE_MARGIN_MS: u64 = 15_000;

/// How long an isolate may take a circuit for closed without asking, in milliseconds. Bounded by a quarter of
/// [`Settings::after_ms`] too, so that an isolate whose attempts succeed says so before failures elsewhere open the circuit.
pub const MEMORY_MS: u64 = 5_000;

/// Longest error that is kept, in characters.
const MAX_ERROR_CHARS: usize = 300;

/// When a source's circuit opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// For how long attempts must have failed without a success, in milliseconds.
    pub after_ms: u64,
    /// How many of them at least.
    pub failures: u64,
}

impl Default for Settings {
    /// A minute and ten attempts: more than a deployment of the destination or a few poisoned deliveries.
    fn default() -> Self {
        Self { after_ms: 60_000, failures: 10 }
    }
}

impl Settings {
    /// How long an isolate may remember that the circuit is closed, in milliseconds.
    pub fn memory_ms(&self) -> u64 {
        MEMORY_MS.min(self.after_ms.div_euclid(4))
    }
}

/// Name of the object that keeps the circuit of `source`. Where its destination is replaced by one of another kind, the state of
/// the one says nothing about the other.
pub fn object_name(source: &str, kind: &str) -> String {
    format!("{kind}:{source}")
}

/// What an attempt says about the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// It is there, and did not want this delivery.
    Answer,
    /// Nothing: it was not asked.
    None,
}

/// What an attempt says about the destination.
pub fn sign(attempted: &Attempted) -> Sign {
    match attempted {
        Attempted::Answered { status: 200..=299, .. } => Sign::Success,
        Attempted::Answered { status: 408 | 429 | 500.., .. } | Attempted::Failed => Sign::Failure,
        Attempted::Answered { .. } => Sign::Answer,
        Attempted::NotSent | Attempted::BodyUnavailable => Sign::None,
    }
}

/// What the attempts of one batch on one destination came to, in the order in which they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// When the last success ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_at_ms: Option<u64>,
    /// Whether there was an answer that is neither success nor failure.
    #[serde(default)]
    pub answered: bool,
    /// Failures since the last success.
    #[serde(default)]
    pub failures: u64,
    /// When the first of them ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since_ms: Option<u64>,
    /// What the last of them was, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The HTTP status of the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl Tally {
    /// Adds an attempt that ended at `now_ms`.
    pub fn add(&mut self, sign: Sign, now_ms: u64, status: Option<u16>, error: Option<&str>) {
        match sign {
            Sign::Success => {
                let answered = self.answered;
                *self = Self { succeeded_at_ms: Some(now_ms), answered, ..Self::default() };
            }
            Sign::Failure => {
                self.failures = self.failures.saturating_add(1);
                self.failing_since_ms = self.failing_since_ms.or(Some(now_ms));
                self.error = error.map(|error| error.chars().take(MAX_ERROR_CHARS).collect());
                self.status = status;
            }
            Sign::Answer => self.answered = true,
            Sign::None => {}
        }
    }

    /// Whether the object has to hear of it: always of failures and of what became of a probe; of successes only where it
    /// counts failures.
    pub fn is_news(&self, gate: &Gate) -> bool {
        match gate {
            Gate::Closed { failing } => self.failures > 0 || *failing && self.succeeded_at_ms.is_some(),
            Gate::Probe { .. } => true,
            Gate::Open { .. } => false,
        }
    }
}

/// What may be done with the deliveries of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Hand them on.
    Closed {
        /// Failures are being counted: a success is to be reported.
        failing: bool,
    },
    /// Put them off.
    Open {
        /// Until when nothing changes.
        until_ms: u64,
    },
    /// Hand on one, put off the others.
    Probe {
        /// Number of the probe, to be reported.
        number: u64,
        /// Until when it holds.
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
    },
    /// After a batch: answers [`Reported`].
    Report {
        /// The number of the probe that this was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probe: Option<u64>,
        /// What the attempts came to.
        tally: Tally,
        /// When the circuit opens.
        settings: Settings,
    },
    /// Closes it by hand: answers `Option<Change>`.
    Close,
    /// Answers the [`Circuit`].
    Read,
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// What the report changed.
    pub change: Option<Change>,
    /// Whether the circuit is closed with failures being counted; `None` where it is open.
    pub failing: Option<bool>,
}

/// An open circuit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    since_ms: u64,
    delay_ms: u64,
    next_probe_ms: u64,
    /// Number of the last probe.
    probes: u64,
    /// Until when the probe that is out may be reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probe_until_ms: Option<u64>,
}

/// The state of a circuit, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    v: u32,
    /// Failures since the last success.
    #[serde(default)]
    failures: u64,
    /// When the first of them ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<Open>,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { v: 1, failures: 0, failing_since_ms: None, last_error: None, last_status: None, open: None }
    }
}

impl Circuit {
    /// What a batch may do now. A probe that is granted has to be reported within `lease_ms`.
    pub fn ask(&mut self, lease_ms: u64, now_ms: u64) -> Gate {
        let Some(open) = &mut self.open else { return Gate::Closed { failing: self.failures > 0 } };
        let until_ms = open.next_probe_ms.max(open.probe_until_ms.unwrap_or(0));
        if now_ms < until_ms {
            return Gate::Open { until_ms };
        }
        open.probes = open.probes.saturating_add(1);
        let until_ms = now_ms.saturating_add(lease_ms);
        open.probe_until_ms = Some(until_ms);
        Gate::Probe { number: open.probes, until_ms }
    }

    /// Takes in what the attempts of a batch came to.
    pub fn report(&mut self, probe: Option<u64>, tally: &Tally, settings: &Settings, now_ms: u64) -> Option<Change> {
        let Some(open) = &mut self.open else { return self.count(tally, settings, now_ms) };
        let is_current = probe.is_some_and(|number| number == open.probes) && open.probe_until_ms.is_some();
        // A batch that began before the circuit opened may still prove that the destination is back.
        let is_back = tally.succeeded_at_ms.is_some_and(|at_ms| at_ms > open.since_ms);
        if is_back || is_current && tally.failures == 0 && (tally.answered || tally.succeeded_at_ms.is_some()) {
            return self.close();
        }
        if is_current {
            open.probe_until_ms = None;
            if tally.failures > 0 {
                open.delay_ms = open.delay_ms.saturating_mul(2).min(MAX_DELAY_MS);
                open.next_probe_ms = now_ms.saturating_add(open.delay_ms);
            }
        }
        self.add_failures(tally);
        None
    }

    fn count(&mut self, tally: &Tally, settings: &Settings, now_ms: u64) -> Option<Change> {
        if tally.succeeded_at_ms.is_some_and(|at_ms| self.failing_since_ms.is_none_or(|since| since <= at_ms)) {
            (self.failures, self.failing_since_ms) = (0, None);
        }
        self.add_failures(tally);
        let since_ms = self.failing_since_ms?;
        if self.failures < settings.failures || now_ms.saturating_sub(since_ms) < settings.after_ms {
            return None;
        }
        self.open = Some(Open {
            since_ms: now_ms,
            delay_ms: FIRST_DELAY_MS,
            next_probe_ms: now_ms.saturating_add(FIRST_DELAY_MS),
            probes: 0,
            probe_until_ms: None,
        });
        Some(Change::Opened)
    }

    fn add_failures(&mut self, tally: &Tally) {
        if tally.failures > 0 {
            self.failures = self.failures.saturating_add(tally.failures);
            self.failing_since_ms = [self.failing_since_ms, tally.failing_since_ms].into_iter().flatten().min();
            self.last_error.clone_from(&tally.error);
            self.last_status = tally.status;
        }
    }

    /// Closes it, by itself or by hand.
    pub fn close(&mut self) -> Option<Change> {
        let was_open = self.open.is_some();
        (self.failures, self.failing_since_ms, self.open) = (0, None, None);
        was_open.then_some(Change::Closed)
    }

    /// The answer to a report that came to `change`.
    pub fn reported(&self, change: Option<Change>) -> Reported {
        Reported { change, failing: self.open.is_none().then_some(self.failures > 0) }
    }
}

/// How long a delivery is put off that may be tried again at `until_ms`, in seconds. `random`: any 64 bits, spread what
/// waits by up to a fifth, at least over 2 s, so that not everything comes back at once.
pub fn wait_s(until_ms: u64, now_ms: u64, random: u64) -> u32 {
    let wait_s = until_ms.saturating_sub(now_ms).div_ceil(1000).max(1);
    let spread_s = wait_s.div_euclid(5).max(2);
    let jitter_s = random.checked_rem(spread_s.saturating_add(1)).unwrap_or(0);
    u32::try_from(wait_s.saturating_add(jitter_s)).unwrap_or(MAX_DELAY_S).min(MAX_DELAY_S)
}

#[cfg(test)]
mod tests;
