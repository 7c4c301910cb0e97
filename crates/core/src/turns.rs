//! Whose turn it is: the deliveries of one batch, by destination, share the connections of one invocation.
//!
//! Promises: never more than the limit at once; each destination gets its share, so that with as many destinations as
//! connections, or fewer, one whose share is free never waits for another (except for memory: bodies that are fetched for their
//! attempt stay within [`HELD_BYTES`] together, or are alone); turns go round; a destination that has used up the batch's
//! budget, or whose attempt might outlive its claim, gets no more turns, and the rest of its deliveries is given back. Out
//! of scope: the attempts.

use std::collections::VecDeque;

/// The connections of one invocation that may wait for an answer's headers at once (Workers, limits: six simultaneous open
/// connections). The platform would hold a seventh back while its time limit is already running.
pub const CONNECTIONS: usize = 6;

/// How long one destination may be worked on in one batch, in milliseconds. With the longest timeout of an attempt (60 s) it
/// stays far below a claim's lease (150 s).
pub const BUDGET_MS: u64 = 20_000;

/// How much of fetched bodies the attempts of a batch hold together, in bytes; one that is larger is held alone. Each is there
/// twice (as it was read, and as the runtime sends it), beside what the receiver holds (32 MB), in an isolate of 128 MB.
pub const HELD_BYTES: u64 = 16_000_000;

/// What is to be tried of one destination.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Of each delivery, in their order: what has to be fetched of its body, in bytes; 0 where it came with the message.
    pub fetched_bytes: VecDeque<u64>,
    /// From then on nothing more is tried: an attempt might outlive its claim.
    pub until_ms: u64,
}

#[derive(Clone, Debug)]
struct Lane {
    waiting: VecDeque<u64>,
    until_ms: u64,
    running: usize,
    began_ms: Option<u64>,
}

/// What to do with the next delivery of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Try it; to be ended with [`Turns::done`] and the bytes that it holds.
    Start(usize, u64),
    /// Give it back untried.
    GiveBack(usize),
}

/// The lanes of a batch, numbered from 0: one a destination.
#[derive(Clone, Debug)]
pub struct Turns {
    lanes: Vec<Lane>,
    limit: usize,
    running: usize,
    held_bytes: u64,
    /// The lane that had the last turn.
    last: usize,
}

impl Turns {
    /// `waiting`: deliveries of each lane; `limit`: attempts at once.
    pub fn new(waiting: impl IntoIterator<Item = Waiting>, limit: usize) -> Self {
        let lane =
            |Waiting { fetched_bytes, until_ms }| Lane { waiting: fetched_bytes, until_ms, running: 0, began_ms: None };
        let lanes: Vec<Lane> = waiting.into_iter().map(lane).collect();
        Self { last: lanes.len().saturating_sub(1), lanes, limit: limit.max(1), running: 0, held_bytes: 0 }
    }

    /// The next turn at `now_ms`; `None` where something has to end first, or nothing is left.
    pub fn next(&mut self, now_ms: u64) -> Option<Turn> {
        let busy = self.lanes.iter().filter(|lane| !lane.waiting.is_empty() || lane.running > 0).count();
        let share = self.limit.checked_div(busy).unwrap_or(0).max(1);
        let has_room = self.running < self.limit;
        let count = self.lanes.len();
        for step in 1..=count {
            let index = self.last.saturating_add(step).checked_rem(count)?;
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            let Some(bytes) = lane.waiting.front().copied() else { continue };
            let is_spent = now_ms >= lane.until_ms
                || lane.began_ms.is_some_and(|began_ms| now_ms.saturating_sub(began_ms) >= BUDGET_MS);
            let held_bytes = self.held_bytes.saturating_add(bytes);
            let fits = bytes == 0 || self.held_bytes == 0 || held_bytes <= HELD_BYTES;
            if !is_spent && (!has_room || !fits || lane.running >= share) {
                continue;
            }
            lane.waiting.pop_front();
            if is_spent {
                return Some(Turn::GiveBack(index));
            }
            self.held_bytes = held_bytes;
            lane.running = lane.running.saturating_add(1);
            lane.began_ms = lane.began_ms.or(Some(now_ms));
            self.running = self.running.saturating_add(1);
            self.last = index;
            return Some(Turn::Start(index, bytes));
        }
        None
    }

    /// An attempt of a lane has ended, which held so much.
    pub fn done(&mut self, index: usize, bytes: u64) {
        if let Some(lane) = self.lanes.get_mut(index).filter(|lane| lane.running > 0) {
            lane.running = lane.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
            self.held_bytes = self.held_bytes.saturating_sub(bytes);
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

    #[test]
    fn large_bodies_wait_for_memory_and_what_came_with_its_message_does_not() {
        let (large, huge) = (HELD_BYTES / 2, HELD_BYTES + 1);
        let mut turns = Turns::new([fetched(&[large, huge]), fetched(&[large, large]), small(3)], CONNECTIONS);
        let started: Vec<Turn> = std::iter::from_fn(|| turns.next(0)).collect();
        let small = Turn::Start(2, 0);
        assert_eq!(started, [Turn::Start(0, large), Turn::Start(1, large), small, small]);
        turns.done(0, large);
        // What does not fit is passed over, and held alone in the end.
        assert_eq!(turns.next(0), Some(Turn::Start(1, large)));
        turns.done(1, large);
        assert_eq!(turns.next(0), None);
        turns.done(1, large);
        assert_eq!([turns.next(0), turns.next(0)], [Some(small), Some(Turn::Start(0, huge))]);
    }

    #[test]
    fn what_might_outlive_its_claim_is_given_back() {
        let mut turns = Turns::new([Waiting { until_ms: 10, ..small(2) }, small(1)], 1);
        assert_eq!(turns.next(9), Some(Turn::Start(0, 0)));
        assert_eq!(turns.next(10), Some(Turn::GiveBack(0)));
        turns.done(0, 0);
        assert_eq!([turns.next(10), turns.next(10)], [Some(Turn::Start(1, 0)), None]);
    }

    #[test]
    fn a_slow_destination_leaves_connections_to_the_others() {
        let mut turns = Turns::new([small(40), small(10)], CONNECTIONS);
        let started: Vec<Turn> = std::iter::from_fn(|| turns.next(0)).collect();
        let start = |lane| Turn::Start(lane, 0);
        assert_eq!(started, [start(0), start(1), start(0), start(1), start(0), start(1)]);
        // The first one hangs; all of the second goes through.
        for done in 0..10 {
            turns.done(1, 0);
            // When it is through, its share is free.
            let expected = if done < 7 { Some(start(1)) } else { (done == 9).then_some(start(0)) };
            assert_eq!(turns.next(1), expected, "{done}");
        }
        assert!(turns.is_finished(1) && !turns.is_finished(0));
    }

    #[test]
    fn what_is_left_when_the_budget_is_used_up_is_given_back() {
        let mut turns = Turns::new([small(3), small(1)], 1);
        assert_eq!(turns.next(0), Some(Turn::Start(0, 0)));
        assert_eq!(turns.next(BUDGET_MS - 1), None);
        turns.done(0, 0);
        // The other one has had no turn: its budget has not begun.
        let rest: Vec<Turn> = std::iter::from_fn(|| turns.next(BUDGET_MS)).collect();
        assert_eq!(rest, [Turn::Start(1, 0), Turn::GiveBack(0), Turn::GiveBack(0)]);
        assert!(turns.is_finished(0));
    }

    #[test]
    fn a_lane_alone_has_all_connections() {
        let mut turns = Turns::new([small(0), small(9), small(0)], CONNECTIONS);
        assert_eq!(std::iter::from_fn(|| turns.next(0)).count(), CONNECTIONS);
    }

    proptest! {
        #[test]
        fn what_is_fetched_fits_into_memory_or_is_alone(sizes in proptest::collection::vec(proptest::collection::vec(0..2 * HELD_BYTES, 0..6), 0..5), ends in any::<u64>()) {
            let mut turns = Turns::new(sizes.iter().map(|sizes| fetched(sizes)), CONNECTIONS);
            let (mut running, mut had, mut seed): (Vec<(usize, u64)>, usize, u64) = (vec![], 0, ends);
            loop {
                while let Some(Turn::Start(lane, bytes)) = turns.next(0) {
                    had += 1;
                    running.push((lane, bytes));
                }
                let held: Vec<u64> = running.iter().map(|(_, bytes)| *bytes).filter(|bytes| *bytes > 0).collect();
                prop_assert!(held.len() <= 1 || held.iter().sum::<u64>() <= HELD_BYTES);
                if running.is_empty() { break }
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (lane, bytes) = running.swap_remove((seed >> 33) as usize % running.len());
                turns.done(lane, bytes);
            }
            prop_assert_eq!(had, sizes.iter().map(Vec::len).sum::<usize>());
        }

        #[test]
        fn everything_has_its_turn_within_the_limits(waiting in proptest::collection::vec(0usize..20, 0..12), limit in 1usize..8, ends in any::<u64>()) {
            let mut turns = Turns::new(waiting.iter().map(|count| small(*count)), limit);
            let mut running: Vec<usize> = vec![];
            let mut had = vec![0; waiting.len()];
            let mut seed = ends;
            loop {
                while let Some(turn) = turns.next(0) {
                    let Turn::Start(lane, _) = turn else { panic!("nothing is given back in no time") };
                    had[lane] += 1;
                    running.push(lane);
                }
                prop_assert!(running.len() <= limit);
                let busy = (0..waiting.len()).filter(|lane| !turns.is_finished(*lane)).count();
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
                turns.done(lane, 0);
            }
            prop_assert_eq!(had, waiting);
        }
    }
}
