//! The circuit of a destination: whether deliveries are tried, wait, or are probed with one of them.
//!
//! Promises:
//! - a circuit opens by the rate of failures, or of slow calls, over a window of calls ([`Settings`]), not by failures in a row;
//! - while it is open one probe at a time is let through, after waits that double from [`FIRST_WAIT_MS`] to [`LONGEST_WAIT_MS`];
//! - a probe that is never reported is followed by another; a probe that is answered closes the circuit;
//! - a destination that asks to be left alone is, and so is one that a person paused, whatever its circuit does;
//! - only what speaks about the destination counts ([`sign`]).
//!
//! Out of scope: keeping the state (the `DESTINATIONS` objects), putting deliveries off (the consumer).

mod calls;
mod row;

pub use calls::{AttemptSign, AttemptTally, Change, CircuitCall, EndedAttempt, Gate, Reported, Settings, sign};
pub use row::{CircuitRow, CircuitState, shown_url};

use crate::deliver::retry_policy::MAX_DELAY_S;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Calls that the window remembers at most.
pub const WINDOW_CALLS: usize = 100;

/// The wait before the first probe, in milliseconds: longer than a restart, short enough to be noticed by nobody.
pub const FIRST_WAIT_MS: u64 = 10_000;

/// The longest wait between two probes, in milliseconds (15 min): a destination that recovers is used again within it.
pub const LONGEST_WAIT_MS: u64 = 900_000;

/// What a probe may take beyond the destination's own time limit, in milliseconds: reading a stored body, a settlement,
/// and the rest of its batch.
pub const PROBE_MARGIN_MS: u64 = 15_000;

/// How long an isolate may take a circuit for closed without asking, in milliseconds: a pause or a hold that it has not heard of
/// takes effect within it.
pub const MEMORY_MS: u64 = 5_000;

/// Name of the object that keeps the circuit of `source`. Where its destination is replaced by one of another kind, the state of
/// the one says nothing about the other.
pub fn object_name(source: &str, kind: &str) -> String {
    format!("{kind}:{source}")
}

/// An open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    since_ms: u64,
    /// The wait before the next probe.
    wait_ms: u64,
    /// When a probe is due next; that is also when one that is out is given up.
    probe_at_ms: u64,
    /// Whether a probe is out.
    is_probing: bool,
}

/// The state of a circuit, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<Open>,
    /// Until when the destination asked to be left alone.
    #[serde(default)]
    held_until_ms: u64,
    /// Since when a person has it paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused_since_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    /// Successes and failures, the oldest first.
    #[serde(default)]
    window: VecDeque<EndedAttempt>,
    /// Whether one of them is bad.
    #[serde(default)]
    is_failing: bool,
}

impl Default for Circuit {
    fn default() -> Self {
        Self {
            v: 2,
            open: None,
            held_until_ms: 0,
            paused_since_ms: None,
            last_error: None,
            last_status: None,
            window: VecDeque::new(),
            is_failing: false,
        }
    }
}

impl Circuit {
    /// What a batch may do now. A probe that is granted has to be reported within `lease_ms`. `calls`: what was not told yet.
    pub fn ask(&mut self, calls: &[EndedAttempt], settings: &Settings, lease_ms: u64, now_ms: u64) -> Gate {
        if self.open.is_none() {
            self.remember(calls, settings, now_ms);
        }
        if let Some(since_ms) = self.paused_since_ms {
            // The longer a pause has lasted, the longer it is likely to last.
            let wait_ms = now_ms.saturating_sub(since_ms).clamp(FIRST_WAIT_MS, LONGEST_WAIT_MS);
            return Gate::Wait { until_ms: now_ms.saturating_add(wait_ms) };
        }
        let until_ms = self.open.map_or(0, |open| open.probe_at_ms).max(self.held_until_ms);
        if now_ms < until_ms {
            return Gate::Wait { until_ms };
        }
        let Some(open) = &mut self.open else { return Gate::Closed };
        open.is_probing = true;
        open.probe_at_ms = now_ms.saturating_add(lease_ms.max(1));
        Gate::Probe { until_ms: open.probe_at_ms }
    }

    /// Takes in what the attempts of a batch came to. While the circuit is open only its probe counts: what other batches find
    /// began before.
    pub fn report(
        &mut self,
        probe: Option<u64>,
        tally: &AttemptTally,
        settings: &Settings,
        now_ms: u64,
    ) -> Option<Change> {
        self.held_until_ms = self.held_until_ms.max(tally.held_until_ms.unwrap_or(0));
        if tally.error.is_some() || tally.status.is_some() {
            (self.last_error, self.last_status) = (tally.error.clone(), tally.status);
        }
        let Some(open) = &mut self.open else {
            self.remember(&tally.calls, settings, now_ms);
            let is_bad = tally.calls.iter().any(|call| settings.is_bad(call));
            return if is_bad { self.judge(settings, now_ms) } else { None };
        };
        if !open.is_probing || probe != Some(open.probe_at_ms) {
            return None;
        }
        open.is_probing = false;
        open.probe_at_ms = now_ms;
        if tally.calls.iter().any(|call| call.sign == AttemptSign::Failure) {
            open.wait_ms = open.wait_ms.saturating_mul(2).min(LONGEST_WAIT_MS);
            open.probe_at_ms = now_ms.saturating_add(open.wait_ms);
        } else if !tally.calls.is_empty() {
            self.close();
            return Some(Change::Closed);
        }
        None
    }

    fn remember(&mut self, calls: &[EndedAttempt], settings: &Settings, now_ms: u64) {
        self.window.extend(calls.iter().filter(|call| call.sign != AttemptSign::Answered));
        let from_ms = now_ms.saturating_sub(settings.window_ms);
        self.window.retain(|call| call.at_ms >= from_ms);
        self.window.drain(..self.window.len().saturating_sub(WINDOW_CALLS));
        self.is_failing = self.window.iter().any(|call| settings.is_bad(call));
    }

    fn judge(&mut self, settings: &Settings, now_ms: u64) -> Option<Change> {
        let calls = self.window.len() as u64;
        let percent = |count: usize| (count as u64).saturating_mul(100);
        let failed = self.window.iter().filter(|call| call.sign == AttemptSign::Failure).count();
        let slow = self.window.iter().filter(|call| settings.is_slow(call)).count();
        let is_over = percent(failed) >= calls.saturating_mul(settings.failure_percent)
            || settings.slow_percent > 0 && percent(slow) >= calls.saturating_mul(settings.slow_percent);
        if calls < settings.min_calls.max(1) || !is_over {
            return None;
        }
        self.forget();
        let probe_at_ms = now_ms.saturating_add(FIRST_WAIT_MS);
        self.open = Some(Open { since_ms: now_ms, wait_ms: FIRST_WAIT_MS, probe_at_ms, is_probing: false });
        Some(Change::Opened)
    }

    fn forget(&mut self) {
        self.window.clear();
        self.is_failing = false;
    }

    /// Closes it, by itself or by hand: nothing that the destination did before counts. Answers whether it was open.
    pub fn close(&mut self) -> bool {
        self.forget();
        self.held_until_ms = 0;
        self.open.take().is_some()
    }

    /// A person pauses or resumes it; answers whether it was paused.
    pub fn pause(&mut self, is_paused: bool, now_ms: u64) -> bool {
        let before = self.paused_since_ms;
        self.paused_since_ms = is_paused.then(|| before.unwrap_or(now_ms));
        before.is_some()
    }

    /// A person has the next delivery tried, whatever it would wait for except a pause; answers whether it would have waited. A
    /// probe that is out stays the only one.
    pub fn probe(&mut self, now_ms: u64) -> bool {
        let was_waiting = self.open.is_some() || now_ms < self.held_until_ms;
        self.held_until_ms = 0;
        if let Some(open) = self.open.as_mut().filter(|open| !open.is_probing) {
            open.probe_at_ms = open.probe_at_ms.min(now_ms);
        }
        was_waiting
    }

    /// Whether what changed since `before` has to outlive the object's memory: not the calls of a destination that works.
    pub fn is_to_be_stored(&self, before: &Self) -> bool {
        let is_same = Self { window: before.window.clone(), ..self.clone() } == *before;
        !is_same || self.is_failing && self.window != before.window
    }

    /// The answer to a report that came to `change`.
    pub fn reported(&self, change: Option<Change>, now_ms: u64) -> Reported {
        let is_closed = self.open.is_none() && self.paused_since_ms.is_none() && now_ms >= self.held_until_ms;
        Reported { change, is_closed }
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
