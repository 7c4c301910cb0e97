//! How many dispatches a destination may have under way: circuit breaker, limits, waits that it asked for, pauses that people made.
//!
//! Promises: the breaker opens by the rate of failures over a window of calls, not by failures in a row; an open one lets one probe
//! through at a time; what comes after it is let through at a rate that doubles, so that a backlog does not fall on a destination that
//! has just come back; a destination has as many dispatches in flight as it has shown to take. Out of scope: which dispatches.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Calls that the window remembers at most.
const WINDOW_CALLS: usize = 100;

/// How many dispatches a destination has in flight before it has shown anything, and at least.
const FIRST_IN_FLIGHT: u32 = 10;

/// The fewest that it has in flight after failures.
const LEAST_IN_FLIGHT: u32 = 2;

/// From this duration on, in milliseconds, an attempt is slow: a destination whose attempts are gets its dispatches from its
/// object only, so that no batch of deliveries waits for it.
pub const SLOW_MS: u64 = 2_000;

/// The first wait of an open breaker, in milliseconds; it doubles with every probe that fails.
const FIRST_PROBE_MS: u64 = 10_000;

/// The longest wait between probes, in milliseconds.
const LONGEST_PROBE_MS: u64 = 300_000;

/// The rate at which a backlog begins to be let through after an outage, per second. It doubles every [`RAMP_STEP_MS`].
const RAMP_PER_S: u64 = 5;
const RAMP_STEP_MS: u64 = 10_000;

/// Doublings after which the return from an outage is over: 5/s have become 5,120/s.
const RAMP_STEPS: u64 = 10;

/// What a destination may be asked to take, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSettings {
    /// Dispatches under way at once, at most.
    pub max_in_flight: u32,
    /// Attempts that begin in a second, at most; 0: no limit.
    pub rate_per_s: u32,
    /// How far back calls count, in milliseconds.
    pub window_ms: u64,
    /// Calls within the window before the breaker judges.
    pub min_calls: u32,
    /// Per cent of the calls that fail before it opens.
    pub failure_percent: u32,
    /// Per cent of the calls that are slow before it opens; 0: slowness does not open it.
    pub slow_percent: u32,
    /// From when on a call is slow for that, in milliseconds.
    pub slow_after_ms: u64,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            max_in_flight: 200,
            rate_per_s: 0,
            window_ms: 120_000,
            min_calls: 10,
            failure_percent: 50,
            slow_percent: 0,
            slow_after_ms: 10_000,
        }
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
    /// It is there, and did not want this delivery: that ends an open breaker, and counts for nothing in a closed one.
    Answered,
    /// Nothing: the attempt failed on our side, or the destination asked to be left alone.
    Nothing,
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

/// What happened to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateChange {
    /// It opened.
    Opened,
    /// It closed.
    Closed,
}

/// The part that outlives a restart of the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRow {
    /// The breaker, where it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenBreaker>,
    /// Until when the destination asked for nothing, in milliseconds since the epoch.
    #[serde(default)]
    pub held_until_ms: u64,
    /// Whether a person paused it.
    #[serde(default)]
    pub is_paused: bool,
}

/// An open breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBreaker {
    /// Since when, in milliseconds since the epoch.
    pub since_ms: u64,
    /// When the next probe is due.
    pub probe_at_ms: u64,
    /// How long the wait for it was.
    pub wait_ms: u64,
}

/// Decides how much of what waits may begin.
#[derive(Clone, Debug)]
pub struct DestinationGate {
    row: GateRow,
    window: VecDeque<EndedAttempt>,
    /// Dispatches in flight that it has shown to take.
    allowed: u32,
    /// When the return from an outage began.
    ramp_since_ms: Option<u64>,
    /// Thousandths of attempts that may begin.
    tokens: u64,
    filled_at_ms: u64,
    /// Mean duration of its attempts, the last ones counting most, in milliseconds.
    mean_ms: u64,
}

impl DestinationGate {
    /// The gate as it was stored.
    pub fn new(row: GateRow) -> Self {
        let window = VecDeque::new();
        Self { row, window, allowed: FIRST_IN_FLIGHT, ramp_since_ms: None, tokens: 0, filled_at_ms: 0, mean_ms: 0 }
    }

    /// What is stored of it.
    pub const fn row(&self) -> &GateRow {
        &self.row
    }

    /// Whether its attempts take so long that no batch of deliveries is to wait for them.
    pub const fn is_slow(&self) -> bool {
        self.mean_ms >= SLOW_MS
    }

    /// How many attempts may begin now, with `in_flight` under way.
    pub fn room(&mut self, settings: &GateSettings, in_flight: u32, now_ms: u64) -> u32 {
        if self.row.is_paused || now_ms < self.row.held_until_ms {
            return 0;
        }
        if let Some(open) = self.row.open {
            return u32::from(now_ms >= open.probe_at_ms);
        }
        let most = self.allowed.min(settings.max_in_flight).saturating_sub(in_flight);
        match self.rate_per_s(settings, now_ms) {
            None => most,
            Some(rate_per_s) => {
                self.fill(rate_per_s, now_ms);
                most.min(u32::try_from(self.tokens.div_euclid(1000)).unwrap_or(u32::MAX))
            }
        }
    }

    /// The rate that holds now; `None`: any.
    fn rate_per_s(&mut self, settings: &GateSettings, now_ms: u64) -> Option<u64> {
        let configured = (settings.rate_per_s > 0).then_some(u64::from(settings.rate_per_s));
        let Some(since_ms) = self.ramp_since_ms else { return configured };
        let steps = now_ms.saturating_sub(since_ms).div_euclid(RAMP_STEP_MS);
        if steps >= RAMP_STEPS {
            self.ramp_since_ms = None;
            return configured;
        }
        let ramp = RAMP_PER_S.saturating_mul(1 << steps.min(RAMP_STEPS));
        Some(configured.map_or(ramp, |rate| rate.min(ramp)))
    }

    /// A second's worth at most is saved up.
    fn fill(&mut self, rate_per_s: u64, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.filled_at_ms).min(1000);
        let full = rate_per_s.saturating_mul(1000);
        self.tokens = self.tokens.saturating_add(passed_ms.saturating_mul(rate_per_s)).min(full);
        self.filled_at_ms = now_ms;
    }

    /// `count` attempts begin. A probe that nobody reports of is followed by another.
    pub fn begin(&mut self, count: u32, now_ms: u64) {
        self.tokens = self.tokens.saturating_sub(u64::from(count).saturating_mul(1000));
        if count > 0
            && let Some(open) = &mut self.row.open
        {
            open.probe_at_ms = now_ms.saturating_add(open.wait_ms);
        }
    }

    /// When there may be room again by the passing of time alone; `None`: it takes an attempt that ends, or a person.
    pub fn wake_at_ms(&mut self, settings: &GateSettings, now_ms: u64) -> Option<u64> {
        if self.row.is_paused {
            return None;
        }
        let held = Some(self.row.held_until_ms).filter(|until| *until > now_ms);
        let probe = self.row.open.map(|open| open.probe_at_ms);
        let token_ms = |rate_per_s: u64| 1000u64.checked_div(rate_per_s).unwrap_or(1000).max(1);
        let filled = match self.rate_per_s(settings, now_ms) {
            Some(rate_per_s) if self.tokens < 1000 => Some(now_ms.saturating_add(token_ms(rate_per_s))),
            _ => None,
        };
        held.into_iter().chain(probe).chain(filled).max()
    }

    /// Takes in an attempt that ended, with `in_flight` beside it.
    pub fn report(
        &mut self,
        settings: &GateSettings,
        call: EndedAttempt,
        in_flight: u32,
        now_ms: u64,
    ) -> Option<GateChange> {
        if call.sign == AttemptSign::Nothing {
            return None;
        }
        self.mean_ms = self.mean_ms.saturating_mul(4).saturating_add(call.duration_ms).div_euclid(5);
        if call.sign == AttemptSign::Failure {
            self.allowed = self.allowed.div_euclid(2).max(LEAST_IN_FLIGHT);
        } else if in_flight.saturating_mul(2) >= self.allowed {
            self.allowed = self.allowed.saturating_add(1).min(settings.max_in_flight);
        }
        if let Some(open) = &mut self.row.open {
            // What began before it opened says nothing new.
            if call.at_ms < open.since_ms {
                return None;
            }
            if call.sign != AttemptSign::Failure {
                return self.close(now_ms);
            }
            open.wait_ms = open.wait_ms.saturating_mul(2).min(LONGEST_PROBE_MS);
            open.probe_at_ms = now_ms.saturating_add(open.wait_ms);
            return None;
        }
        if call.sign == AttemptSign::Answered {
            return None;
        }
        self.window.push_back(call);
        let from_ms = now_ms.saturating_sub(settings.window_ms);
        while self.window.len() > WINDOW_CALLS || self.window.front().is_some_and(|call| call.at_ms < from_ms) {
            self.window.pop_front();
        }
        if !self.is_failing(settings) {
            return None;
        }
        self.window.clear();
        self.ramp_since_ms = None;
        let wait_ms = FIRST_PROBE_MS;
        self.row.open = Some(OpenBreaker { since_ms: now_ms, probe_at_ms: now_ms.saturating_add(wait_ms), wait_ms });
        Some(GateChange::Opened)
    }

    fn is_failing(&self, settings: &GateSettings) -> bool {
        let calls = self.window.len() as u64;
        let percent = |count: usize| (count as u64).saturating_mul(100);
        let failed = self.window.iter().filter(|call| call.sign == AttemptSign::Failure).count();
        let slow = self.window.iter().filter(|call| call.duration_ms >= settings.slow_after_ms).count();
        calls >= u64::from(settings.min_calls)
            && (percent(failed) >= calls.saturating_mul(settings.failure_percent.into())
                || settings.slow_percent > 0 && percent(slow) >= calls.saturating_mul(settings.slow_percent.into()))
    }

    /// The destination asked to be left alone until then.
    pub fn hold(&mut self, until_ms: u64) {
        self.row.held_until_ms = self.row.held_until_ms.max(until_ms);
    }

    /// Closes an open breaker: a probe succeeded, or a person said so.
    pub fn close(&mut self, now_ms: u64) -> Option<GateChange> {
        self.row.open.take()?;
        self.row.held_until_ms = 0;
        self.window.clear();
        (self.allowed, self.mean_ms) = (FIRST_IN_FLIGHT, 0);
        self.ramp_since_ms = Some(now_ms);
        (self.tokens, self.filled_at_ms) = (0, now_ms);
        Some(GateChange::Closed)
    }

    /// A person has it probed now, whatever it waits for.
    pub fn probe_now(&mut self, now_ms: u64) {
        self.row.held_until_ms = 0;
        if let Some(open) = &mut self.row.open {
            open.probe_at_ms = now_ms;
        }
    }

    /// A person pauses or resumes it; whether that changed anything.
    pub fn pause(&mut self, is_paused: bool, now_ms: u64) -> bool {
        let changed = self.row.is_paused != is_paused;
        self.row.is_paused = is_paused;
        if changed && !is_paused {
            self.ramp_since_ms = Some(now_ms);
            (self.tokens, self.filled_at_ms) = (0, now_ms);
        }
        changed
    }
}

#[cfg(test)]
mod tests;
