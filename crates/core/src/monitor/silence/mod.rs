//! Whether a source that used to deliver has gone quiet.
//!
//! Promises:
//! - a source is compared with its own history by hour of the week (UTC): an hour is busy when the source was active in it in
//!   every one of the last weeks that were observed, at least two (of three or more, one may be missing), and so it was in the
//!   hours before and behind it (a shift may begin and end anywhere within its first and last hour);
//! - nights, weekends and the first weeks therefore never flag; busy time without a delivery does, once it has lasted longer
//!   than [`LEAST_MS`] and than twice the longest pause of the last weeks, and only a delivery ends it;
//! - time without a delivery teaches nothing before the next one shows what it was: a pause is usual from then on, an outage
//!   that was flagged is not. A source that keeps away from an hour for good is flagged for it in up to three weeks;
//! - a configured limit takes the place of all that.
//!
//! Out of scope: when deliveries came (the counters), which notices are sent (`alerts`).

use crate::time::HOUR_MS;
use genesys_webhook::encoding::{hex, unhex};
use serde::{Deserialize, Serialize};

/// Hours of a week, the slots of the history.
const SLOTS: u64 = 168;

/// Weeks that the history looks back; the bits of a slot are the current week and these.
const WEEKS: u32 = 4;

/// Weeks in which a source must have been active in an hour before it is expected to be busy.
const LEAST_WEEKS: u32 = 2;

/// Weeks, of those that were observed, that may have been without a delivery: a short outage or a holiday that was not flagged
/// must not blind the monitor for its hours.
const MISSED_WEEKS: u32 = 1;

/// Busy time without a delivery below which nothing is silent: Genesys itself gives up after 85 s and a reconciliation runs
/// every five minutes, so shorter pauses are told by other means or not worth a page.
pub const LEAST_MS: u64 = 30 * 60_000;

/// How many times the longest pause of the last weeks a silence has to last.
const TIMES_PAUSE: u64 = 2;

/// Pauses longer than this are nights, weekends or outages, and teach nothing about what is usual within busy hours.
const LONGEST_PAUSE_MS: u64 = 2 * HOUR_MS;

/// What was learned about a source. Stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The week that bit 0 of every slot stands for, counted from the epoch.
    week: u64,
    /// For each slot a bit a week: the slot was observed. Hexadecimal, two digits a slot.
    observed: WeekBits,
    /// The same: something was delivered in it.
    active: WeekBits,
    /// Longest pause between deliveries by week, the current one first, in milliseconds.
    pauses_ms: [u64; WEEKS as usize],
    /// The last delivery that the history knows.
    last_ms: Option<u64>,
    /// What the last evaluation said.
    silent: bool,
    /// Whether the last evaluation went by a configured limit, so that what it said is not from this history.
    limited: bool,
}

/// One byte a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct WeekBits(Vec<u8>);

impl WeekBits {
    fn of(&self, slot: u64) -> u8 {
        usize::try_from(slot).ok().and_then(|slot| self.0.get(slot)).copied().unwrap_or(0)
    }

    fn set(&mut self, slot: u64, bit: u64) {
        self.0.resize(168, 0);
        let bit = 1u8.checked_shl(u32::try_from(bit).unwrap_or(u32::MAX)).unwrap_or(0);
        if let Some(byte) = usize::try_from(slot).ok().and_then(|slot| self.0.get_mut(slot)) {
            *byte |= bit;
        }
    }

    /// Takes from each slot the bits that `of` gives for it.
    fn forget(&mut self, of: impl Fn(u64) -> u8) {
        for (slot, byte) in (0u64..).zip(&mut self.0) {
            *byte &= !of(slot);
        }
    }

    fn age(&mut self, weeks: u64) {
        let weeks = u32::try_from(weeks).unwrap_or(u32::MAX);
        for byte in &mut self.0 {
            *byte = byte.checked_shl(weeks).unwrap_or(0);
        }
    }
}

impl Serialize for WeekBits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for WeekBits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text).map(Self).ok_or_else(|| serde::de::Error::custom("expected hexadecimal digits"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SilenceVerdict {
    /// It has never delivered, or too little is known to expect anything of it.
    Unknown,
    Normal,
    Silent,
}

/// The slot and the week of a time.
fn place(time_ms: u64) -> (u64, u64) {
    let hour = time_ms.div_euclid(HOUR_MS);
    (hour.rem_euclid(SLOTS), hour.div_euclid(SLOTS))
}

/// The bits of `slot`, counted back from `week`, whose hours begin after the one that `time_ms` lies in.
fn behind(week: u64, slot: u64, time_ms: u64) -> u8 {
    let (last_slot, last_week) = place(time_ms);
    // Up to this age a week's hour lies behind: so many weeks back is the week of `time_ms`, where later slots do.
    let ages = week.saturating_sub(last_week).saturating_add(u64::from(slot > last_slot));
    let all = u32::try_from(ages).ok().and_then(|ages| 1u8.checked_shl(ages));
    all.map_or(u8::MAX, |bit| bit.saturating_sub(1))
}

impl History {
    /// Takes in what is known at `now_ms` (called every few minutes, times not falling) and says what follows from it.
    ///
    /// `last_delivery_ms`: the last accepted delivery that the counters know; `None` where there never was one.
    /// `limit_ms`: the configured limit; `Some(0)` turns the judgement off, `None` has it learned.
    pub fn evaluate(&mut self, now_ms: u64, last_delivery_ms: Option<u64>, limit_ms: Option<u64>) -> SilenceVerdict {
        let delivered = self.learn(now_ms, last_delivery_ms);
        // Weeks go by and take with them what the expectation rests on; that does not bring the source back.
        let still = self.silent && !self.limited && !delivered && limit_ms.is_none();
        let verdict = if still { SilenceVerdict::Silent } else { self.verdict(now_ms, limit_ms) };
        self.silent = verdict == SilenceVerdict::Silent;
        self.limited = limit_ms.is_some();
        verdict
    }

    /// Answers whether something was delivered since the last time.
    fn learn(&mut self, now_ms: u64, last_delivery_ms: Option<u64>) -> bool {
        let (slot, week) = place(now_ms);
        let passed = week.saturating_sub(self.week);
        if passed > 0 {
            self.observed.age(passed);
            self.active.age(passed);
            for _ in 0..passed.min(u64::from(WEEKS)) {
                self.pauses_ms.rotate_right(1);
                self.pauses_ms[0] = 0;
            }
            self.week = week;
        }
        self.observed.set(slot, 0);
        let Some(last_ms) = last_delivery_ms else { return false };
        let known = self.last_ms.unwrap_or(last_ms);
        if last_ms < known || self.last_ms == Some(last_ms) {
            // A shard that did not answer makes the last delivery seem older than it is.
            return false;
        }
        let pause_ms = last_ms.saturating_sub(known);
        if !self.silent && pause_ms <= LONGEST_PAUSE_MS {
            self.pauses_ms[0] = self.pauses_ms[0].max(pause_ms);
        }
        if self.silent && !self.limited {
            let week = self.week;
            self.observed.forget(|slot| behind(week, slot, known));
        }
        self.last_ms = Some(last_ms);
        let (slot, week) = place(last_ms);
        let age = self.week.saturating_sub(week);
        self.observed.set(slot, age);
        self.active.set(slot, age);
        true
    }

    fn verdict(&self, now_ms: u64, limit_ms: Option<u64>) -> SilenceVerdict {
        let Some(last_ms) = self.last_ms else { return SilenceVerdict::Unknown };
        let quiet_ms = now_ms.saturating_sub(last_ms);
        match limit_ms {
            Some(0) => return SilenceVerdict::Unknown,
            Some(limit_ms) if quiet_ms > limit_ms => return SilenceVerdict::Silent,
            Some(_) => return SilenceVerdict::Normal,
            None => {}
        }
        if (0..SLOTS).all(|slot| !self.busy(slot)) {
            return SilenceVerdict::Unknown;
        }
        let longest_pause_ms = self.pauses_ms.iter().copied().max().unwrap_or(0);
        let patience_ms = longest_pause_ms.saturating_mul(TIMES_PAUSE).max(LEAST_MS);
        if self.busy_ms(last_ms, now_ms) > patience_ms { SilenceVerdict::Silent } else { SilenceVerdict::Normal }
    }

    pub fn expected(&self, now_ms: u64) -> bool {
        self.counts(place(now_ms).0)
    }

    /// Active in the last weeks that were observed, and there were enough of them.
    fn busy(&self, slot: u64) -> bool {
        // The current week is what is judged, and may be at its beginning; so is all that has passed since the last delivery,
        // in whatever week that was.
        let undecided = self.last_ms.map_or(0, |last_ms| behind(self.week, slot, last_ms));
        let observed = self.observed.of(slot) & 0b1_1110 & !undecided;
        let active = observed & self.active.of(slot);
        let missed = observed.count_ones().saturating_sub(active.count_ones());
        active.count_ones() >= LEAST_WEEKS && missed <= MISSED_WEEKS
    }

    /// Busy, between busy hours.
    fn counts(&self, slot: u64) -> bool {
        let before = slot.saturating_add(SLOTS).saturating_sub(1).rem_euclid(SLOTS);
        let behind = slot.saturating_add(1).rem_euclid(SLOTS);
        [before, slot, behind].into_iter().all(|slot| self.busy(slot))
    }

    /// The part of a time that counts, looking back a week at most: a source that was quiet for longer was quiet for
    /// every hour that counts.
    fn busy_ms(&self, from_ms: u64, until_ms: u64) -> u64 {
        let mut from_ms = from_ms.max(until_ms.saturating_sub(SLOTS.saturating_mul(HOUR_MS)));
        let mut busy_ms = 0u64;
        while from_ms < until_ms {
            let hour_end = from_ms.div_euclid(HOUR_MS).saturating_add(1).saturating_mul(HOUR_MS);
            let end = hour_end.min(until_ms);
            if self.counts(place(from_ms).0) {
                busy_ms = busy_ms.saturating_add(end.saturating_sub(from_ms));
            }
            from_ms = end;
        }
        busy_ms
    }
}

#[cfg(test)]
mod tests;
