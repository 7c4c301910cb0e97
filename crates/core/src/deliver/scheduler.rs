//! Which delivery of a batch is attempted next: the destinations of one batch share the connections of one invocation.
//!
//! Promises:
//! - never more attempts than the limit at once;
//! - each destination gets its share: with as many destinations as connections, or fewer, one whose share is free waits for no other;
//! - fetched bodies of all batches of an isolate stay within [`HELD_BYTES`] together, or one is held alone. A body that was not released
//!   counts as gone when its claim's lease has ended: its batch was cut off;
//! - destinations are served in turn;
//! - a destination that has used up the batch's time, or whose attempt might outlive its claim, gets no more attempts, and the rest
//!   of its deliveries is released.
//!
//! Out of scope: the attempts.

use super::ledger::LEASE_MS;
use std::collections::VecDeque;

/// The connections of one invocation that may wait for an answer's headers at once (Workers, limits: six simultaneous open
/// connections). The platform would hold a seventh back while its time limit is already running.
pub const CONNECTIONS: usize = 6;

/// How long one destination may be worked on in one batch, in milliseconds. With the longest timeout of an attempt (60 s) it
/// stays far below a claim's lease (150 s).
pub const BUDGET_MS: u64 = 20_000;

/// How much of fetched bodies the attempts of an isolate hold together, in bytes, whichever batch they are of; one that is larger is
/// held alone. That is beside what the receiver holds (34 MB), in an isolate of 128 MB: `bench/README.md`, "Memory".
pub const HELD_BYTES: u64 = 16_000_000;

/// Fetched bodies that an isolate holds.
#[derive(Debug, Default)]
pub struct FetchBudget {
    held: Vec<Held>,
    last: u64,
}

#[derive(Debug)]
struct Held {
    number: u64,
    bytes: u64,
    until_ms: u64,
}

/// A body's permit in [`FetchBudget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPermit(u64);

impl FetchBudget {
    /// A permit for a body of `bytes`; `None` where there is none now.
    pub fn take(&mut self, bytes: u64, now_ms: u64) -> Option<FetchPermit> {
        self.held.retain(|held| held.until_ms > now_ms);
        let before = self.held.iter().fold(0, |sum: u64, held| sum.saturating_add(held.bytes));
        if before > 0 && before.saturating_add(bytes) > HELD_BYTES {
            return None;
        }
        self.last = self.last.wrapping_add(1);
        self.held.push(Held { number: self.last, bytes, until_ms: now_ms.saturating_add(LEASE_MS) });
        Some(FetchPermit(self.last))
    }

    /// The body is no longer held.
    pub fn release(&mut self, permit: FetchPermit) {
        self.held.retain(|held| held.number != permit.0);
    }
}

/// What is to be tried of one destination.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Of each delivery, in their order: what has to be fetched of its body, in bytes; 0 where it came with the message.
    pub fetched_bytes: VecDeque<u64>,
    /// From then on nothing more is tried: an attempt might outlive its claim.
    pub until_ms: u64,
}

#[derive(Clone, Debug)]
struct SchedulerLane {
    waiting: VecDeque<u64>,
    until_ms: u64,
    running: usize,
    began_ms: Option<u64>,
}

/// What to do with the next delivery of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAttempt {
    /// Try it; to be ended with [`BatchScheduler::done`]. Its body's permit is to be released, where it has one.
    Start(usize, Option<FetchPermit>),
    /// Give it back untried.
    Release(usize),
}

/// The lanes of a batch, numbered from 0: one a destination.
#[derive(Clone, Debug)]
pub struct BatchScheduler {
    lanes: Vec<SchedulerLane>,
    limit: usize,
    running: usize,
    waits_for_budget: bool,
    /// The lane that was served last.
    last: usize,
}

impl BatchScheduler {
    /// `waiting`: deliveries of each lane; `limit`: attempts at once.
    pub fn new(waiting: impl IntoIterator<Item = Waiting>, limit: usize) -> Self {
        let lane = |Waiting { fetched_bytes, until_ms }| SchedulerLane {
            waiting: fetched_bytes,
            until_ms,
            running: 0,
            began_ms: None,
        };
        let lanes: Vec<SchedulerLane> = waiting.into_iter().map(lane).collect();
        Self { last: lanes.len().saturating_sub(1), lanes, limit: limit.max(1), running: 0, waits_for_budget: false }
    }

    /// The next next at `now_ms`; `None` where something has to end first, or nothing is left.
    pub fn next(&mut self, budget: &mut FetchBudget, now_ms: u64) -> Option<NextAttempt> {
        let busy = self.lanes.iter().filter(|lane| !lane.waiting.is_empty() || lane.running > 0).count();
        let share = self.limit.checked_div(busy).unwrap_or(0).max(1);
        let has_room = self.running < self.limit;
        let count = self.lanes.len();
        self.waits_for_budget = false;
        for step in 1..=count {
            let index = self.last.saturating_add(step).checked_rem(count)?;
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            let Some(bytes) = lane.waiting.front().copied() else { continue };
            let is_spent = now_ms >= lane.until_ms
                || lane.began_ms.is_some_and(|began_ms| now_ms.saturating_sub(began_ms) >= BUDGET_MS);
            if is_spent {
                lane.waiting.pop_front();
                return Some(NextAttempt::Release(index));
            }
            if !has_room || lane.running >= share {
                continue;
            }
            let permit = if bytes == 0 { None } else { budget.take(bytes, now_ms) };
            if bytes > 0 && permit.is_none() {
                self.waits_for_budget = true;
                continue;
            }
            lane.waiting.pop_front();
            lane.running = lane.running.saturating_add(1);
            lane.began_ms = lane.began_ms.or(Some(now_ms));
            self.running = self.running.saturating_add(1);
            self.last = index;
            return Some(NextAttempt::Start(index, permit));
        }
        None
    }

    /// Whether a lane had no next at the last [`Self::next`] only because other bodies are held, which may be those of another
    /// batch: it is to be asked again though nothing of this one has ended.
    pub fn waits_for_budget(&self) -> bool {
        self.waits_for_budget
    }

    /// An attempt of a lane has ended.
    pub fn done(&mut self, index: usize) {
        if let Some(lane) = self.lanes.get_mut(index).filter(|lane| lane.running > 0) {
            lane.running = lane.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
        }
    }

    /// Whether nothing of a lane is left.
    pub fn is_finished(&self, index: usize) -> bool {
        self.lanes.get(index).is_none_or(|lane| lane.waiting.is_empty() && lane.running == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small(count: usize) -> Waiting {
        Waiting { fetched_bytes: std::iter::repeat_n(0, count).collect(), until_ms: u64::MAX }
    }

    fn fetched(sizes: &[u64]) -> Waiting {
        Waiting { fetched_bytes: sizes.iter().copied().collect(), until_ms: u64::MAX }
    }

    const ALONE: u64 = u64::MAX;

    /// The lanes that have their next now, and the places of their bodies.
    fn started(
        scheduler: &mut BatchScheduler,
        budget: &mut FetchBudget,
        now_ms: u64,
    ) -> (Vec<usize>, Vec<FetchPermit>) {
        let scheduler = std::iter::from_fn(|| scheduler.next(budget, now_ms)).map(|next| match next {
            NextAttempt::Start(lane, permit) => (lane, permit),
            NextAttempt::Release(lane) => panic!("{lane} is released"),
        });
        let (lanes, places): (Vec<_>, Vec<_>) = scheduler.unzip();
        (lanes, places.into_iter().flatten().collect())
    }

    #[test]
    fn large_bodies_wait_for_memory_and_what_came_with_its_message_does_not() {
        let (large, huge, mut budget) = (HELD_BYTES / 2, HELD_BYTES + 1, FetchBudget::default());
        let mut scheduler =
            BatchScheduler::new([fetched(&[large, huge]), fetched(&[large, large]), small(3)], CONNECTIONS);
        let (lanes, places) = started(&mut scheduler, &mut budget, 0);
        assert_eq!((lanes, places.len(), scheduler.waits_for_budget()), (vec![0, 1, 2, 2], 2, true));
        // What does not fit is passed over, and held alone in the end.
        scheduler.done(0);
        budget.release(places[0]);
        let (lanes, more) = started(&mut scheduler, &mut budget, 0);
        assert_eq!((lanes, scheduler.waits_for_budget()), (vec![1], true));
        scheduler.done(1);
        budget.release(places[1]);
        assert_eq!(started(&mut scheduler, &mut budget, 0), (vec![], vec![]));
        scheduler.done(1);
        budget.release(more[0]);
        let (lanes, alone) = started(&mut scheduler, &mut budget, 0);
        assert_eq!((lanes, alone.len()), (vec![2, 0], 1));
    }

    #[test]
    fn the_batches_of_an_isolate_share_its_memory_and_one_that_was_cut_off_gives_it_back_in_the_end() {
        let (large, mut budget) = (HELD_BYTES / 2, FetchBudget::default());
        let mut cut_off = BatchScheduler::new([fetched(&[large, large])], CONNECTIONS);
        let mut other = BatchScheduler::new([fetched(&[large]), small(1)], CONNECTIONS);
        assert_eq!(started(&mut cut_off, &mut budget, 0).0, [0, 0]);
        assert_eq!((started(&mut other, &mut budget, 0).0, other.waits_for_budget()), (vec![1], true));
        assert!(started(&mut other, &mut budget, LEASE_MS - 1).0.is_empty());
        assert_eq!((started(&mut other, &mut budget, LEASE_MS).0, other.waits_for_budget()), (vec![0], false));
    }

    #[test]
    fn a_place_is_given_back_once_and_only_once() {
        let mut budget = FetchBudget::default();
        let permit = budget.take(ALONE, 0).unwrap();
        assert_eq!(budget.take(1, 0), None);
        budget.release(permit);
        let next = budget.take(HELD_BYTES, 0).unwrap();
        budget.release(permit);
        assert_eq!(budget.take(1, 0), None);
        budget.release(next);
        assert!(budget.take(1, 0).is_some());
    }

    #[test]
    fn what_might_outlive_its_claim_is_given_back() {
        let budget = &mut FetchBudget::default();
        let mut scheduler = BatchScheduler::new([Waiting { until_ms: 10, ..small(2) }, small(1)], 1);
        assert_eq!(scheduler.next(budget, 9), Some(NextAttempt::Start(0, None)));
        assert_eq!(scheduler.next(budget, 10), Some(NextAttempt::Release(0)));
        scheduler.done(0);
        assert_eq!([scheduler.next(budget, 10), scheduler.next(budget, 10)], [Some(NextAttempt::Start(1, None)), None]);
    }

    #[test]
    fn what_waits_for_memory_until_its_claim_ends_is_given_back() {
        let budget = &mut FetchBudget::default();
        budget.take(HELD_BYTES, 0).unwrap();
        let mut scheduler = BatchScheduler::new([Waiting { until_ms: 10, ..fetched(&[1, 1]) }], 1);
        assert_eq!((scheduler.next(budget, 9), scheduler.waits_for_budget()), (None, true));
        let rest: Vec<NextAttempt> = std::iter::from_fn(|| scheduler.next(budget, 10)).collect();
        assert_eq!(rest, [NextAttempt::Release(0), NextAttempt::Release(0)]);
        assert!(scheduler.is_finished(0) && !scheduler.waits_for_budget());
    }

    #[test]
    fn a_slow_destination_leaves_connections_to_the_others() {
        let budget = &mut FetchBudget::default();
        let mut scheduler = BatchScheduler::new([small(40), small(10)], CONNECTIONS);
        assert_eq!(started(&mut scheduler, budget, 0).0, [0, 1, 0, 1, 0, 1]);
        // The first one hangs; all of the second goes through.
        for done in 0..10 {
            scheduler.done(1);
            // When it is through, its share is free.
            let expected = if done < 7 { Some(1) } else { (done == 9).then_some(0) };
            assert_eq!(scheduler.next(budget, 1), expected.map(|lane| NextAttempt::Start(lane, None)), "{done}");
        }
        assert!(scheduler.is_finished(1) && !scheduler.is_finished(0));
    }

    #[test]
    fn what_is_left_when_the_budget_is_used_up_is_given_back() {
        let budget = &mut FetchBudget::default();
        let mut scheduler = BatchScheduler::new([small(3), small(1)], 1);
        assert_eq!(scheduler.next(budget, 0), Some(NextAttempt::Start(0, None)));
        assert_eq!(scheduler.next(budget, BUDGET_MS - 1), None);
        scheduler.done(0);
        // The other one has had no next: its budget has not begun.
        let rest: Vec<NextAttempt> = std::iter::from_fn(|| scheduler.next(budget, BUDGET_MS)).collect();
        assert_eq!(rest, [NextAttempt::Start(1, None), NextAttempt::Release(0), NextAttempt::Release(0)]);
        assert!(scheduler.is_finished(0));
    }

    #[test]
    fn a_lane_alone_has_all_connections() {
        let mut scheduler = BatchScheduler::new([small(0), small(9), small(0)], CONNECTIONS);
        assert_eq!(started(&mut scheduler, &mut FetchBudget::default(), 0).0.len(), CONNECTIONS);
    }

    proptest! {
        #[test]
        fn what_is_fetched_fits_into_memory_or_is_alone_and_nothing_waits_for_ever(
            batches in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(0..2 * HELD_BYTES, 0..6), 0..4), 1..4),
            ends in any::<u64>(),
        ) {
            let budget = &mut FetchBudget::default();
            let mut all: Vec<BatchScheduler> = batches.iter().map(|sizes| BatchScheduler::new(sizes.iter().map(|sizes| fetched(sizes)), CONNECTIONS)).collect();
            let mut running: Vec<(usize, usize, Option<FetchPermit>)> = vec![];
            let (mut had, mut seed) = (0, ends);
            loop {
                for (batch, scheduler) in all.iter_mut().enumerate() {
                    while let Some(NextAttempt::Start(lane, permit)) = scheduler.next(budget, 0) {
                        had += 1;
                        running.push((batch, lane, permit));
                    }
                }
                let held: Vec<u64> = budget.held.iter().map(|held| held.bytes).collect();
                prop_assert!(held.len() <= 1 || held.iter().sum::<u64>() <= HELD_BYTES);
                prop_assert_eq!(held.len(), running.iter().filter(|(_, _, permit)| permit.is_some()).count());
                if running.is_empty() { break }
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (batch, lane, permit) = running.swap_remove((seed >> 33) as usize % running.len());
                all[batch].done(lane);
                if let Some(permit) = permit { budget.release(permit) }
            }
            prop_assert_eq!(had, batches.iter().flatten().map(Vec::len).sum::<usize>());
        }

        #[test]
        fn everything_has_its_turn_within_the_limits(waiting in proptest::collection::vec(0usize..20, 0..12), limit in 1usize..8, ends in any::<u64>()) {
            let (mut scheduler, budget) = (BatchScheduler::new(waiting.iter().map(|count| small(*count)), limit), &mut FetchBudget::default());
            let mut running: Vec<usize> = vec![];
            let mut had = vec![0; waiting.len()];
            let mut seed = ends;
            loop {
                while let Some(next) = scheduler.next(budget, 0) {
                    let NextAttempt::Start(lane, _) = next else { panic!("nothing is released in no time") };
                    had[lane] += 1;
                    running.push(lane);
                }
                prop_assert!(running.len() <= limit);
                let busy = (0..waiting.len()).filter(|lane| !scheduler.is_finished(*lane)).count();
                for lane in 0..waiting.len() {
                    let own = running.iter().filter(|one| **one == lane).count();
                    prop_assert!(own <= (limit / busy.max(1)).max(1));
                    if busy <= limit && had[lane] < waiting[lane] {
                        prop_assert!(own > 0, "lane {} waits for others", lane);
                    }
                }
                if running.is_empty() { break }
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let lane = running.swap_remove((seed >> 33) as usize % running.len());
                scheduler.done(lane);
            }
            prop_assert_eq!(had, waiting);
        }
    }
}
