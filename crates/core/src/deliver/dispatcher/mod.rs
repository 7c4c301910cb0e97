//! One destination of one source: dedupe, what is in flight, what waits, breaker, limits, history.
//!
//! A consumer asks for each dispatch of a batch ([`Dispatcher::admit`]): it goes, is done, or is parked. It tells what became of what
//! went, and hands over what is to wait ([`Dispatcher::settle`]). The object's alarm lets what waits be taken
//! ([`Dispatcher::releasable`]) by a consumer that asks for it ([`Dispatcher::take`]).
//!
//! Promises: a dispatch ends once for each round; a second delivery with its key is a duplicate, whichever way it comes; everything
//! that a consumer says may be said again; what a consumer has taken and does not settle is given to another when its lease ends; a
//! dispatch that keeps crashing its consumers is given up; the accounts hold after every step. What is in flight is in memory only: an
//! object that was built again may let a second message of the same key pass (at least once), and nothing is lost.
//! Out of scope: SQL, alarms, queues (`src/objects`), what an answer means ([`super::retry_policy`]).

pub mod calls;
pub mod gate;
pub mod rows;
pub mod status;
#[cfg(test)]
mod tests;

use crate::messages::reason;
use calls::{Admission, AdmitItem, DestinationPolicy, DispatchOutcome, GivenUp, EndedDispatch, Settlements, Taken};
use gate::{DestinationGate, GateRow};
use rows::{DispatchState, DispatchStore, SettledRow, DispatchTotals, WaitingRow, remember};
use std::collections::BTreeMap;

/// How long a consumer has to come for what was released, in milliseconds. After that it is released again.
const RELEASE_LEASE_MS: u64 = 30_000;

/// Pause between two releases, in milliseconds.
pub const RELEASE_STEP_MS: u64 = 200;

/// Rows that are read beyond those that can be taken, because some are in flight.
const SPARE_ROWS: usize = 16;

/// A dispatch that a consumer has in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    key: String,
    /// Number of the attempt; 0 where there is none.
    attempt: u32,
    until_ms: u64,
    /// Whether it has a waiting row.
    is_waiting: bool,
}

/// The state of a destination's object that is in memory.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    gate: DestinationGate,
    totals: DispatchTotals,
    /// By delivery.
    claims: BTreeMap<String, Claim>,
    /// Which delivery in flight has a key.
    keys: BTreeMap<String, String>,
    /// What was released and not taken: how many, and until when a consumer may come.
    released: Vec<(u32, u64)>,
}

impl Dispatcher {
    /// The destination as it was stored.
    pub fn new(gate: GateRow, totals: DispatchTotals) -> Self {
        let (claims, keys) = (BTreeMap::new(), BTreeMap::new());
        Self { gate: DestinationGate::new(gate), totals, claims, keys, released: vec![] }
    }

    /// What was counted.
    pub const fn totals(&self) -> &DispatchTotals {
        &self.totals
    }

    /// Breaker and limits.
    pub const fn gate(&self) -> &DestinationGate {
        &self.gate
    }

    /// Breaker and limits, for what people ask for.
    pub const fn gate_mut(&mut self) -> &mut DestinationGate {
        &mut self.gate
    }

    /// Dispatches in flight that no row says anything of yet.
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.claims.len()).unwrap_or(u32::MAX)
    }

    /// Forgets claims whose consumer was not heard of, and releases that nobody came for.
    fn expire(&mut self, now_ms: u64) {
        self.released.retain(|(_, until_ms)| *until_ms > now_ms);
        let ended: Vec<String> =
            self.claims.iter().filter(|(_, claim)| claim.until_ms <= now_ms).map(|(id, _)| id.clone()).collect();
        for id in ended {
            self.unclaim(&id);
        }
    }

    fn claim(&mut self, item: &AdmitItem, attempt: u32, is_waiting: bool, policy: &DestinationPolicy, now_ms: u64) {
        let (id, key) = (item.dispatch.id.clone(), item.dispatch.key.clone());
        self.keys.insert(key.clone(), id.clone());
        let until_ms = now_ms.saturating_add(policy.lease_ms);
        self.claims.insert(id, Claim { key, attempt, until_ms, is_waiting });
    }

    fn unclaim(&mut self, id: &str) -> Option<Claim> {
        let claim = self.claims.remove(id)?;
        if self.keys.get(&claim.key).is_some_and(|owner| owner == id) {
            self.keys.remove(&claim.key);
        }
        Some(claim)
    }

    /// Decides on the dispatches of a batch, in their order.
    ///
    /// # Errors
    /// The store's. After an error of any call the caller builds the destination again from its rows.
    pub fn admit<S: DispatchStore>(
        &mut self,
        store: &mut S,
        policy: &DestinationPolicy,
        items: &[AdmitItem],
        now_ms: u64,
    ) -> Result<Vec<Admission>, S::Error> {
        self.expire(now_ms);
        let before = self.totals;
        let admissions = items.iter().map(|item| self.admit_one(store, policy, item, now_ms)).collect();
        self.save(store, before)?;
        admissions
    }

    fn save<S: DispatchStore>(&self, store: &mut S, before: DispatchTotals) -> Result<(), S::Error> {
        if before == self.totals { Ok(()) } else { store.save(&self.totals) }
    }

    fn admit_one<S: DispatchStore>(
        &mut self,
        store: &mut S,
        policy: &DestinationPolicy,
        item: &AdmitItem,
        now_ms: u64,
    ) -> Result<Admission, S::Error> {
        let dispatch = &item.dispatch;
        if let Some(claim) = self.claims.get(&dispatch.id) {
            return Ok(Admission::Busy { until_ms: claim.until_ms });
        }
        // A later round of what still waits is the same wish.
        if store.waiting(&dispatch.id)?.is_some() {
            return Ok(Admission::Done { state: DispatchState::Waiting });
        }
        let settled = store.settled(&dispatch.id, &dispatch.key)?;
        if let Some(row) = &settled
            && dispatch.round <= row.dispatch.round
        {
            return Ok(Admission::Done { state: row.state });
        }
        if settled.is_none() {
            let ended = if item.is_wanted {
                self.owner(store, item)?.map(|owner| (DispatchState::Duplicate, Some(owner)))
            } else {
                Some((DispatchState::Filtered, None))
            };
            if let Some((state, detail)) = ended {
                self.end(store, item, state, detail, now_ms)?;
                return Ok(Admission::Done { state });
            }
        }
        if item.is_suspect && store.suspect(&dispatch.id)? > policy.max_crashes {
            self.claim(item, 0, false, policy, now_ms);
            return Ok(Admission::Crashed);
        }
        let in_flight = self.in_flight();
        if self.gate.is_slow()
            || self.totals.parked > 0
            || self.gate.row().open.is_some()
            || self.gate.room(&policy.gate, in_flight, now_ms) == 0
        {
            return Ok(Admission::Park);
        }
        self.gate.begin(1, now_ms);
        self.claim(item, 1, false, policy, now_ms);
        Ok(Admission::Go { attempt: 1 })
    }

    /// The delivery that had the key of `item` before.
    fn owner<S: DispatchStore>(&self, store: &S, item: &AdmitItem) -> Result<Option<String>, S::Error> {
        let dispatch = &item.dispatch;
        let Some(from_ms) = dispatch.duplicates_from_ms else { return Ok(None) };
        if let Some(owner) = self.keys.get(&dispatch.key).filter(|owner| **owner != dispatch.id) {
            return Ok(Some(owner.clone()));
        }
        store.owner(&dispatch.id, &dispatch.key, from_ms)
    }

    /// Ends a dispatch without an attempt.
    fn end<S: DispatchStore>(
        &mut self,
        store: &mut S,
        item: &AdmitItem,
        state: DispatchState,
        detail: Option<String>,
        now_ms: u64,
    ) -> Result<(), S::Error> {
        let dispatch = item.dispatch.clone();
        self.totals.count(dispatch.origin, None, state);
        store.settle(&SettledRow { dispatch, state, settled_at_ms: now_ms, attempts: 0, history: vec![], detail })
    }

    /// Takes in what became of dispatches.
    ///
    /// # Errors
    /// The store's.
    pub fn settle<S: DispatchStore>(
        &mut self,
        store: &mut S,
        policy: &DestinationPolicy,
        items: Vec<EndedDispatch>,
        now_ms: u64,
    ) -> Result<Settlements, S::Error> {
        let before = self.totals;
        let mut settlements = Settlements::default();
        for item in items {
            // Another consumer may have it in hand by now: only a delivery counts whoever tells it.
            let is_stale = self.claims.get(&item.dispatch.id).is_some_and(|claim| claim.attempt != item.attempt);
            if is_stale && item.outcome != DispatchOutcome::Delivered {
                continue;
            }
            self.unclaim(&item.dispatch.id);
            let in_flight = self.in_flight();
            if let Some(call) = item.call {
                settlements.changes.extend(self.gate.report(&policy.gate, call, in_flight, now_ms));
            }
            if let DispatchOutcome::Held { until_ms } = item.outcome {
                self.gate.hold(until_ms);
            }
            self.settle_one(store, item, now_ms, &mut settlements)?;
        }
        self.save(store, before)?;
        Ok(settlements)
    }

    fn settle_one<S: DispatchStore>(
        &mut self,
        store: &mut S,
        item: EndedDispatch,
        now_ms: u64,
        settlements: &mut Settlements,
    ) -> Result<(), S::Error> {
        let EndedDispatch { dispatch, attempt, outcome, record, frame, .. } = item;
        let settled = store.settled(&dispatch.id, &dispatch.key)?;
        let waiting = store.waiting(&dispatch.id)?;
        let known = settled.as_ref().filter(|row| row.dispatch.round >= dispatch.round);
        if let Some(row) = known {
            // A delivery counts whoever tells it and however late; everything else was said before.
            let is_late = row.state == DispatchState::Dead && outcome == DispatchOutcome::Delivered;
            if !is_late || row.dispatch.round > dispatch.round {
                return Ok(());
            }
            settlements.revived.push(dispatch.id.clone());
        }
        let before = waiting.as_ref().map(|_| DispatchState::Waiting);
        let before = before.or(settled.as_ref().map(|row| row.state));
        let (mut history, crashes) = match &waiting {
            Some(row) => (row.history.clone(), row.crashes),
            None => (settled.as_ref().map(|row| row.history.clone()).unwrap_or_default(), 0),
        };
        // What was said before, or by a consumer that is late.
        let is_new = waiting.as_ref().is_none_or(|row| {
            attempt == row.attempts.saturating_add(1)
                && record.as_ref().is_none_or(|record| !row.history.contains(record))
        });
        if !is_new && outcome != DispatchOutcome::Delivered {
            return Ok(());
        }
        self.totals.attempts = self.totals.attempts.saturating_add(u64::from(record.is_some()));
        remember(&mut history, record);
        let was_parked = waiting.as_ref().is_some_and(|row| row.due_ms.is_none());
        let due_ms = match outcome {
            DispatchOutcome::Retry { due_ms } => Some(due_ms),
            DispatchOutcome::Held { .. } | DispatchOutcome::Parked => None,
            DispatchOutcome::Delivered | DispatchOutcome::Dead { .. } => {
                let (state, detail) = match outcome {
                    DispatchOutcome::Dead { reason } => (DispatchState::Dead, Some(reason)),
                    _ => (DispatchState::Delivered, None),
                };
                if dispatch.round > 0 && state == DispatchState::Delivered {
                    self.totals.redelivered = self.totals.redelivered.saturating_add(1);
                }
                if waiting.is_some() {
                    store.unwait(&dispatch.id)?;
                    self.unpark(was_parked);
                }
                self.totals.count(dispatch.origin, before, state);
                return store.settle(&SettledRow {
                    dispatch,
                    state,
                    settled_at_ms: now_ms,
                    attempts: attempt,
                    history,
                    detail,
                });
            }
        };
        let is_counted = matches!(outcome, DispatchOutcome::Retry { .. });
        self.totals.retries = self.totals.retries.saturating_add(u64::from(is_counted));
        let attempts = if is_counted { attempt } else { attempt.saturating_sub(1) };
        let (since_ms, kept) = match waiting {
            Some(row) => (row.since_ms, Some(row.frame)),
            None => (now_ms, None),
        };
        // A consumer that hands nothing over has it from its row; one without either keeps its message.
        let Some(frame) = kept.or(frame) else { return Ok(()) };
        if settled.is_some() {
            store.unsettle(&dispatch.id, &dispatch.key)?;
        }
        self.unpark(was_parked);
        if due_ms.is_none() {
            self.totals.parked = self.totals.parked.saturating_add(1);
        }
        self.totals.count(dispatch.origin, before, DispatchState::Waiting);
        store.wait(&WaitingRow { dispatch, due_ms, since_ms, attempts, crashes, history, frame })
    }

    /// Takes in that dispatches have a dead letter: what each of them is now. A live claim is outlived on purpose: its holder may
    /// still tell of a delivery, which counts, while a failure that it might tell of would wait for a message that is gone.
    ///
    /// # Errors
    /// The store's.
    pub fn give_up<S: DispatchStore>(
        &mut self,
        store: &mut S,
        items: Vec<GivenUp>,
        now_ms: u64,
    ) -> Result<Vec<DispatchState>, S::Error> {
        let before = self.totals;
        let states = items.into_iter().map(|item| self.give_up_one(store, item, now_ms)).collect();
        self.save(store, before)?;
        states
    }

    fn give_up_one<S: DispatchStore>(
        &mut self,
        store: &mut S,
        item: GivenUp,
        now_ms: u64,
    ) -> Result<DispatchState, S::Error> {
        let GivenUp { dispatch, reason, is_known } = item;
        let settled = store.settled(&dispatch.id, &dispatch.key)?;
        if let Some(row) = settled.filter(|row| row.dispatch.round >= dispatch.round) {
            // A later round has marked the letter itself.
            let is_later = row.dispatch.round > dispatch.round;
            return Ok(if is_later { DispatchState::Dead } else { row.state });
        }
        let waiting = store.waiting(&dispatch.id)?;
        match (is_known, waiting.is_some()) {
            // Its row has expired.
            (true, false) => return Ok(DispatchState::Dead),
            // The object has it in hand, whatever became of a message.
            (false, true) => return Ok(DispatchState::Waiting),
            (true, true) | (false, false) => {}
        }
        let (history, attempts) = waiting.as_ref().map(|row| (row.history.clone(), row.attempts)).unwrap_or_default();
        if let Some(row) = &waiting {
            store.unwait(&dispatch.id)?;
            self.unpark(row.due_ms.is_none());
        }
        let known = waiting.map(|_| DispatchState::Waiting);
        self.totals.count(dispatch.origin, known, DispatchState::Dead);
        let (state, detail) = (DispatchState::Dead, Some(reason));
        store.settle(&SettledRow { dispatch, state, settled_at_ms: now_ms, attempts, history, detail })?;
        Ok(state)
    }

    fn unpark(&mut self, was_parked: bool) {
        self.totals.parked = self.totals.parked.saturating_sub(u64::from(was_parked));
    }

    /// How many waiting dispatches a consumer is to be sent for now; they count as on their way until it comes.
    ///
    /// # Errors
    /// The store's.
    pub fn releasable<S: DispatchStore>(
        &mut self,
        store: &S,
        policy: &DestinationPolicy,
        now_ms: u64,
    ) -> Result<u32, S::Error> {
        self.expire(now_ms);
        let on_their_way = self.on_their_way();
        let busy = self.in_flight().saturating_add(on_their_way);
        let mut room = self.gate.room(&policy.gate, busy, now_ms).saturating_add(on_their_way);
        if self.gate.row().open.is_some() {
            room = room.saturating_sub(on_their_way).max(on_their_way);
        }
        let ready = self.candidates(store, policy, usize::try_from(room).unwrap_or(0), now_ms)?;
        let count = u32::try_from(ready.len()).unwrap_or(u32::MAX).saturating_sub(on_their_way);
        if count > 0 {
            self.released.push((count, now_ms.saturating_add(RELEASE_LEASE_MS)));
        }
        Ok(count)
    }

    fn on_their_way(&self) -> u32 {
        self.released.iter().fold(0, |sum, (count, _)| sum.saturating_add(*count))
    }

    /// Waiting rows that may be taken: `room` of those whose turn it is, and those that have waited too long.
    fn candidates<S: DispatchStore>(
        &self,
        store: &S,
        policy: &DestinationPolicy,
        room: usize,
        now_ms: u64,
    ) -> Result<Vec<WaitingRow>, S::Error> {
        let is_late = |row: &WaitingRow| now_ms.saturating_sub(row.since_ms) > policy.patience_ms;
        let read = room.saturating_add(self.claims.len()).saturating_add(SPARE_ROWS);
        let mut rows = store.due(now_ms, read)?;
        rows.extend(store.parked(read)?);
        let mut left = room;
        let is_paused = self.gate.row().is_paused;
        rows.retain(|row| {
            if self.claims.contains_key(&row.dispatch.id) {
                return false;
            }
            if left > 0 {
                left = left.saturating_sub(1);
                return true;
            }
            is_late(row) && !is_paused
        });
        Ok(rows)
    }

    /// Gives a consumer up to `limit` waiting dispatches. `is_suspect`: its message was given to a consumer before that did not
    /// end it; then one dispatch is given, and what it may have done is counted.
    ///
    /// # Errors
    /// The store's.
    pub fn take<S: DispatchStore>(
        &mut self,
        store: &mut S,
        policy: &DestinationPolicy,
        limit: u32,
        is_suspect: bool,
        now_ms: u64,
    ) -> Result<Vec<Taken>, S::Error> {
        self.expire(now_ms);
        if !self.released.is_empty() {
            self.released.remove(0);
        }
        let before = self.totals;
        let limit = if is_suspect { 1 } else { limit };
        let room = self.gate.room(&policy.gate, self.in_flight(), now_ms).min(limit);
        let rows = self.candidates(store, policy, usize::try_from(room).unwrap_or(0), now_ms)?;
        let mut taken = vec![];
        for mut row in rows.into_iter().take(usize::try_from(limit).unwrap_or(0)) {
            let item = AdmitItem { dispatch: row.dispatch.clone(), is_wanted: true, is_suspect };
            let owner = if row.dispatch.round == 0 { self.owner(store, &item)? } else { None };
            if owner.is_some() {
                store.unwait(&row.dispatch.id)?;
                self.unpark(row.due_ms.is_none());
                self.totals.count(None, Some(DispatchState::Waiting), DispatchState::Duplicate);
                store.settle(&SettledRow {
                    dispatch: row.dispatch,
                    state: DispatchState::Duplicate,
                    settled_at_ms: now_ms,
                    attempts: row.attempts,
                    history: row.history,
                    detail: owner,
                })?;
                continue;
            }
            if is_suspect {
                row.crashes = row.crashes.saturating_add(1);
                store.wait(&row)?;
            }
            let give_up = if row.crashes > policy.max_crashes {
                Some(reason::CRASHED.to_owned())
            } else if now_ms.saturating_sub(row.since_ms) > policy.patience_ms {
                Some(reason::DESTINATION_UNAVAILABLE.to_owned())
            } else {
                None
            };
            if give_up.is_none() {
                self.gate.begin(1, now_ms);
            }
            let attempt = row.attempts.saturating_add(1);
            self.claim(&item, attempt, true, policy, now_ms);
            let WaitingRow { dispatch, history, frame, .. } = row;
            taken.push(Taken { dispatch, attempt, give_up, history, frame });
        }
        self.save(store, before)?;
        Ok(taken)
    }

    /// When the object is to look again, in milliseconds since the epoch; `None`: when it is called.
    ///
    /// # Errors
    /// The store's.
    pub fn wake_at_ms<S: DispatchStore>(
        &mut self,
        store: &S,
        policy: &DestinationPolicy,
        now_ms: u64,
    ) -> Result<Option<u64>, S::Error> {
        let on_their_way = self.on_their_way();
        let taken = self.claims.values().filter(|claim| claim.is_waiting).count() as u64;
        let left = self.totals.waiting.saturating_sub(taken).saturating_sub(on_their_way.into());
        let soon_ms = now_ms.saturating_add(RELEASE_STEP_MS);
        let ready_ms = if left == 0 || self.gate.row().is_paused {
            None
        } else {
            let due_ms = if self.totals.parked > 0 { Some(now_ms) } else { store.next_due_ms()? };
            let busy = self.in_flight().saturating_add(on_their_way);
            let is_open = self.gate.row().open.is_some();
            let gate_ms = match self.gate.room(&policy.gate, busy, now_ms) {
                // All that may be in flight is: an attempt that ends wakes it.
                0 => self.gate.wake_at_ms(&policy.gate, now_ms),
                _ if is_open && on_their_way > 0 => None,
                _ => Some(now_ms),
            };
            due_ms.zip(gate_ms).map(|(due_ms, gate_ms)| due_ms.max(gate_ms))
        };
        let lease_ms = self.claims.values().filter(|claim| claim.is_waiting).map(|claim| claim.until_ms).min();
        let release_ms = self.released.iter().map(|(_, until_ms)| *until_ms).min();
        let wake_ms = [ready_ms, lease_ms, release_ms].into_iter().flatten().min();
        Ok(wake_ms.map(|at_ms| at_ms.max(soon_ms)))
    }
}
