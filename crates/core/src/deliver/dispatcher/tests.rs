//! Histories of a destination, told by a model: consumers that crash, messages that come twice, objects that are built again, time
//! that jumps, destinations that fail, people who pause and replay.

use super::calls::*;
use super::gate::{EndedAttempt, GateSettings, AttemptSign};
use super::rows::*;
use super::*;
use crate::dead_letters::BodyText;
use crate::messages::Origin;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::convert::Infallible;

/// Rows in memory, as SQL would keep them.
#[derive(Clone, Debug, Default)]
struct Rows {
    settled: BTreeMap<String, SettledRow>,
    waiting: BTreeMap<String, WaitingRow>,
    suspects: BTreeMap<String, u32>,
    totals: DispatchTotals,
}

impl DispatchStore for Rows {
    type Error = Infallible;

    fn settled(&self, id: &str, _key: &str) -> Result<Option<SettledRow>, Infallible> {
        Ok(self.settled.get(id).cloned())
    }
    fn owner(&self, id: &str, key: &str, from_ms: u64) -> Result<Option<String>, Infallible> {
        let owns = |row: &&SettledRow| {
            row.dispatch.key == key
                && row.dispatch.id != id
                && row.dispatch.received_at_ms >= from_ms
                && matches!(row.state, DispatchState::Delivered | DispatchState::Dead)
        };
        Ok(self.settled.values().find(owns).map(|row| row.dispatch.id.clone()))
    }
    fn settle(&mut self, row: &SettledRow) -> Result<(), Infallible> {
        self.settled.insert(row.dispatch.id.clone(), row.clone());
        self.suspects.remove(&row.dispatch.id);
        Ok(())
    }
    fn unsettle(&mut self, id: &str, _key: &str) -> Result<(), Infallible> {
        self.settled.remove(id);
        Ok(())
    }
    fn waiting(&self, id: &str) -> Result<Option<WaitingRow>, Infallible> {
        Ok(self.waiting.get(id).cloned())
    }
    fn wait(&mut self, row: &WaitingRow) -> Result<(), Infallible> {
        self.waiting.insert(row.dispatch.id.clone(), row.clone());
        Ok(())
    }
    fn unwait(&mut self, id: &str) -> Result<(), Infallible> {
        self.waiting.remove(id);
        Ok(())
    }
    fn due(&self, now_ms: u64, limit: usize) -> Result<Vec<WaitingRow>, Infallible> {
        let mut due: Vec<_> =
            self.waiting.values().filter(|row| row.due_ms.is_some_and(|due| due <= now_ms)).cloned().collect();
        due.sort_by_key(|row| row.due_ms);
        due.truncate(limit);
        Ok(due)
    }
    fn parked(&self, limit: usize) -> Result<Vec<WaitingRow>, Infallible> {
        Ok(self.waiting.values().filter(|row| row.due_ms.is_none()).take(limit).cloned().collect())
    }
    fn next_due_ms(&self) -> Result<Option<u64>, Infallible> {
        Ok(self.waiting.values().filter_map(|row| row.due_ms).min())
    }
    fn suspect(&mut self, id: &str) -> Result<u32, Infallible> {
        let n = self.suspects.entry(id.into()).or_default();
        *n += 1;
        Ok(*n)
    }
    fn save(&mut self, totals: &DispatchTotals) -> Result<(), Infallible> {
        self.totals = *totals;
        Ok(())
    }
}

fn frame() -> BodyText {
    BodyText::from_bytes(b"{}\n")
}

const SCHEDULE_MS: [u64; 2] = [5_000, 60_000];

fn policy() -> DestinationPolicy {
    DestinationPolicy {
        gate: GateSettings { min_calls: 4, max_in_flight: 8, ..GateSettings::default() },
        lease_ms: 30_000,
        patience_ms: 3_600_000,
        max_crashes: 5,
    }
}

fn dispatch(number: u64, key: u64, received_at_ms: u64) -> Dispatch {
    Dispatch {
        id: format!("{number:026}"),
        key: format!("{key:032x}"),
        duplicates_from_ms: Some(0),
        round: 0,
        origin: None,
        received_at_ms,
        event_count: 1,
        size_bytes: 2,
    }
}

#[derive(Clone, Debug)]
enum Message {
    Delivery(Dispatch, u32),
    Release(u32, u32),
}

/// What a destination answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Fine,
    Failing,
    Busy,
}

#[derive(Clone, Debug)]
enum Step {
    /// A delivery arrives; some have the key of an earlier one.
    Arrive {
        key: u8,
    },
    /// A consumer takes the next message, and stops after some of its steps.
    Consume {
        crash_after: Option<u8>,
    },
    /// Time passes, in milliseconds; the alarm rings if it is due.
    Wait(u32),
    /// The object is built again from its rows.
    Restart,
    Mood(Mood),
    Pause(bool),
    /// A dead letter is replayed.
    Replay,
    /// The queue hands its next message over again later.
    Twice,
}

/// Everything around a destination.
struct World {
    rows: Rows,
    destination: Dispatcher,
    queue: Vec<Message>,
    mood: Mood,
    now_ms: u64,
    next: u64,
    accepted: BTreeMap<String, String>,
    letters: BTreeSet<String>,
    /// Successful attempts by key and round.
    reached: BTreeMap<(String, u32), u32>,
    is_exact: bool,
}

impl World {
    fn new() -> Self {
        Self {
            rows: Rows::default(),
            destination: Dispatcher::new(GateRow::default(), DispatchTotals::default()),
            queue: vec![],
            mood: Mood::Fine,
            now_ms: 1_000_000,
            next: 0,
            accepted: BTreeMap::new(),
            letters: BTreeSet::new(),
            reached: BTreeMap::new(),
            is_exact: true,
        }
    }

    fn restart(&mut self) {
        let row = *self.destination.gate().row();
        self.destination = Dispatcher::new(row, self.rows.totals);
    }

    fn ring(&mut self) {
        let count = self.destination.releasable(&self.rows, &policy(), self.now_ms).unwrap();
        if count > 0 {
            self.queue.push(Message::Release(count, 0));
        }
    }

    fn attempt(&mut self, taken: Taken) -> EndedDispatch {
        let Taken { dispatch, attempt, give_up, frame, .. } = taken;
        let at_ms = self.now_ms;
        if let Some(reason) = give_up {
            self.letters.insert(dispatch.id.clone());
            let outcome = DispatchOutcome::Dead { reason };
            return EndedDispatch { dispatch, attempt, outcome, record: None, call: None, frame: None };
        }
        let schedule = usize::try_from(attempt - 1).ok().and_then(|index| SCHEDULE_MS.get(index));
        let (sign, outcome) = match self.mood {
            Mood::Fine => {
                *self.reached.entry((dispatch.key.clone(), dispatch.round)).or_default() += 1;
                (AttemptSign::Success, DispatchOutcome::Delivered)
            }
            Mood::Busy => (AttemptSign::Nothing, DispatchOutcome::Held { until_ms: at_ms + 20_000 }),
            Mood::Failing => {
                let outcome = schedule.map(|wait_ms| DispatchOutcome::Retry { due_ms: at_ms + wait_ms });
                let dead = || DispatchOutcome::Dead { reason: "retries_exhausted".into() };
                if outcome.is_none() {
                    self.letters.insert(dispatch.id.clone());
                }
                (AttemptSign::Failure, outcome.unwrap_or_else(dead))
            }
        };
        let record = Some(AttemptRecord { at_ms, duration_ms: 10, status: None, error: None, excerpt: None });
        let call = Some(EndedAttempt { at_ms, duration_ms: 10, sign });
        EndedDispatch { dispatch, attempt, outcome, record, call, frame: Some(frame) }
    }

    /// A consumer works on the next message. A crash after `crash_after` of its steps leaves the message in the queue.
    fn consume(&mut self, crash_after: Option<u8>) {
        let Some(message) = self.queue.first().cloned() else { return };
        self.is_exact &= crash_after.is_none();
        let mut steps = crash_after;
        let mut crashes = move || match &mut steps {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let policy = policy();
        let now_ms = self.now_ms;
        // The queue counts that it handed the message over.
        let (taken, parked) = match self.queue.first_mut() {
            Some(Message::Delivery(_, handed_over) | Message::Release(_, handed_over)) => {
                *handed_over += 1;
                let is_suspect = *handed_over > 1;
                match message {
                    Message::Release(count, _) => {
                        (self.destination.take(&mut self.rows, &policy, count, is_suspect, now_ms).unwrap(), None)
                    }
                    Message::Delivery(dispatch, _) => {
                        let item = AdmitItem { dispatch: dispatch.clone(), is_wanted: true, is_suspect };
                        let admitted =
                            self.destination.admit(&mut self.rows, &policy, core::slice::from_ref(&item), now_ms);
                        let frame = frame();
                        let taken = |attempt, give_up| Taken {
                            dispatch: dispatch.clone(),
                            attempt,
                            give_up,
                            history: vec![],
                            frame: frame.clone(),
                        };
                        match admitted.unwrap().remove(0) {
                            Admission::Go { attempt } => (vec![taken(attempt, None)], None),
                            Admission::Crashed => (vec![taken(0, Some(reason::CRASHED.to_owned()))], None),
                            Admission::Park => (vec![], Some(dispatch)),
                            Admission::Done { .. } => (vec![], None),
                            // It comes again.
                            Admission::Busy { .. } => {
                                let message = self.queue.remove(0);
                                return self.queue.push(message);
                            }
                        }
                    }
                }
            }
            None => return,
        };
        if crashes() {
            return;
        }
        let mut items: Vec<EndedDispatch> = taken.into_iter().map(|taken| self.attempt(taken)).collect();
        if crashes() {
            return;
        }
        items.extend(parked.map(|dispatch| EndedDispatch {
            dispatch,
            attempt: 0,
            outcome: DispatchOutcome::Parked,
            record: None,
            call: None,
            frame: Some(frame()),
        }));
        self.destination.settle(&mut self.rows, &policy, items.clone(), now_ms).unwrap();
        // The answer was lost, and it is said again.
        let before = self.rows.totals;
        self.destination.settle(&mut self.rows, &policy, items, now_ms).unwrap();
        assert_eq!(before, self.rows.totals, "a settlement that is repeated");
        if !crashes() {
            self.queue.remove(0);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Arrive { key } => {
                self.next += 1;
                let key = if *key < 200 { self.next + 1_000 } else { u64::from(*key) };
                let dispatch = dispatch(self.next, key, self.now_ms);
                self.accepted.insert(dispatch.id.clone(), dispatch.key.clone());
                self.queue.push(Message::Delivery(dispatch, 0));
            }
            Step::Consume { crash_after } => self.consume(*crash_after),
            Step::Wait(ms) => {
                self.now_ms += u64::from(*ms);
                self.ring();
            }
            Step::Restart => {
                self.is_exact = false;
                self.restart();
            }
            Step::Mood(mood) => self.mood = *mood,
            Step::Pause(is_paused) => {
                self.destination.gate_mut().pause(*is_paused, self.now_ms);
            }
            Step::Replay => {
                let dead = self.rows.settled.values().find(|row| row.state == DispatchState::Dead);
                if let Some(row) = dead.cloned()
                    && self.letters.remove(&row.dispatch.id)
                {
                    let mut dispatch = row.dispatch;
                    dispatch.round += 1;
                    dispatch.origin = Some(Origin::Dead);
                    self.queue.push(Message::Delivery(dispatch, 0));
                }
            }
            Step::Twice => {
                if let Some(message) = self.queue.first().cloned() {
                    self.queue.push(message);
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        let totals = self.rows.totals;
        assert_eq!(totals.difference(), 0, "{totals:?}");
        let count = |state| self.rows.settled.values().filter(|row| row.state == state).count() as u64;
        assert_eq!(totals.delivered, count(DispatchState::Delivered));
        assert_eq!(totals.duplicate, count(DispatchState::Duplicate));
        assert_eq!(totals.dead(), count(DispatchState::Dead));
        assert_eq!(totals.waiting, self.rows.waiting.len() as u64);
        assert_eq!(totals.parked, self.rows.waiting.values().filter(|row| row.due_ms.is_none()).count() as u64);
        assert!(self.rows.waiting.keys().all(|id| !self.rows.settled.contains_key(id)));
        if self.is_exact {
            assert!(self.reached.values().all(|n| *n == 1), "{:?}", self.reached);
            assert!(self.destination.in_flight() <= policy().gate.max_in_flight);
        }
    }

    /// The destination is fine, nobody pauses it, time passes: everything ends.
    fn drain(&mut self) {
        self.mood = Mood::Fine;
        self.destination.gate_mut().pause(false, self.now_ms);
        for _ in 0..2_000 {
            if self.queue.is_empty() && self.rows.waiting.is_empty() {
                return;
            }
            self.step(&Step::Consume { crash_after: None });
            let woken = self.destination.wake_at_ms(&self.rows, &policy(), self.now_ms).unwrap();
            let until_ms = woken.filter(|_| self.queue.is_empty());
            assert!(until_ms.is_some() || !self.queue.is_empty() || self.rows.waiting.is_empty(), "it sleeps for ever");
            let pause_ms = until_ms.map_or(5_000, |until_ms| until_ms - self.now_ms);
            self.step(&Step::Wait(u32::try_from(pause_ms).unwrap()));
        }
        panic!("{} messages and {} waiting are left", self.queue.len(), self.rows.waiting.len());
    }
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u8>().prop_map(|key| Step::Arrive { key }),
        12 => Just(Step::Consume { crash_after: None }),
        2 => (0u8..3).prop_map(|after| Step::Consume { crash_after: Some(after) }),
        6 => (0u32..4_000).prop_map(Step::Wait),
        2 => (0u32..200_000).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        2 => prop_oneof![Just(Mood::Fine), Just(Mood::Failing), Just(Mood::Busy)].prop_map(Step::Mood),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::Replay),
        1 => Just(Step::Twice),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_accepted_delivery_ends_and_the_accounts_hold(history in proptest::collection::vec(steps(), 1..120)) {
        let mut world = World::new();
        for step in &history {
            world.step(step);
        }
        world.drain();
        for (id, key) in &world.accepted {
            let row = world.rows.settled.get(id).expect("it is known what became of it");
            match row.state {
                DispatchState::Delivered => prop_assert!(world.reached.keys().any(|(reached, _)| reached == key)),
                DispatchState::Dead => prop_assert!(world.letters.contains(id), "{row:?}"),
                DispatchState::Duplicate => {
                    let owner = row.detail.as_ref().expect("whose");
                    prop_assert_eq!(world.accepted.get(owner), Some(key));
                    prop_assert_ne!(world.rows.settled[owner].state, DispatchState::Duplicate);
                }
                state => prop_assert!(false, "{state:?}"),
            }
        }
        prop_assert_eq!(world.rows.totals.routed, world.accepted.len() as u64);
    }
}
