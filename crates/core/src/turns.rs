//! Whose turn it is: the deliveries of one batch, by destination, share the connections of one invocation.
//!
//! Promises: never more than the limit at once; each destination gets its share, so that with as many destinations as
//! connections, or fewer, one whose share is free never waits for another; turns go round; a destination that has used up
//! the batch's budget gets no more turns, and the rest of its deliveries is given back. Out of scope: the attempts.

/// The connections of one invocation that may wait for an answer's headers at once (Workers, limits: six simultaneous open
/// connections). The platform would hold a seventh back while its time limit is already running.
pub const CONNECTIONS: usize = 6;

/// How long one destination may be worked on in one batch, in milliseconds. With the longest timeout of an attempt (60 s) it
/// stays far below a claim's lease (150 s).
pub const BUDGET_MS: u64 = 20_000;

#[derive(Clone, Debug)]
struct Lane {
    waiting: usize,
    running: usize,
    began_ms: Option<u64>,
}

/// What to do with the next delivery of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Try it; to be ended with [`Turns::done`].
    Start(usize),
    /// Give it back untried.
    GiveBack(usize),
}

/// The lanes of a batch, numbered from 0: one a destination.
#[derive(Clone, Debug)]
pub struct Turns {
    lanes: Vec<Lane>,
    limit: usize,
    running: usize,
    /// The lane that had the last turn.
    last: usize,
}

impl Turns {
    /// `waiting`: deliveries of each lane; `limit`: attempts at once.
    pub fn new(waiting: impl IntoIterator<Item = usize>, limit: usize) -> Self {
        let lanes: Vec<Lane> =
            waiting.into_iter().map(|waiting| Lane { waiting, running: 0, began_ms: None }).collect();
        Self { last: lanes.len().saturating_sub(1), lanes, limit: limit.max(1), running: 0 }
    }

    /// The next turn at `now_ms`; `None` where something has to end first, or nothing is left.
    pub fn next(&mut self, now_ms: u64) -> Option<Turn> {
        let busy = self.lanes.iter().filter(|lane| lane.waiting > 0 || lane.running > 0).count();
        let share = self.limit.checked_div(busy).unwrap_or(0).max(1);
        let has_room = self.running < self.limit;
        let count = self.lanes.len();
        for step in 1..=count {
            let index = self.last.saturating_add(step).checked_rem(count)?;
            let Some(lane) = self.lanes.get_mut(index).filter(|lane| lane.waiting > 0) else { continue };
            let is_spent = lane.began_ms.is_some_and(|began_ms| now_ms.saturating_sub(began_ms) >= BUDGET_MS);
            if !is_spent && (!has_room || lane.running >= share) {
                continue;
            }
            lane.waiting = lane.waiting.saturating_sub(1);
            if is_spent {
                return Some(Turn::GiveBack(index));
            }
            lane.running = lane.running.saturating_add(1);
            lane.began_ms = lane.began_ms.or(Some(now_ms));
            self.running = self.running.saturating_add(1);
            self.last = index;
            return Some(Turn::Start(index));
        }
        None
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
        self.lanes.get(index).is_none_or(|lane| lane.waiting == 0 && lane.running == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slow_destination_leaves_connections_to_the_others() {
        let mut turns = Turns::new([40, 10], CONNECTIONS);
        let started: Vec<Turn> = std::iter::from_fn(|| turns.next(0)).collect();
        let start = Turn::Start;
        assert_eq!(started, [start(0), start(1), start(0), start(1), start(0), start(1)]);
        // The first one hangs; all of the second goes through.
        for done in 0..10 {
            turns.done(1);
            // When it is through, its share is free.
            let expected = if done < 7 { Some(start(1)) } else { (done == 9).then_some(start(0)) };
            assert_eq!(turns.next(1), expected, "{done}");
        }
        assert!(turns.is_finished(1) && !turns.is_finished(0));
    }

    #[test]
    fn what_is_left_when_the_budget_is_used_up_is_given_back() {
        let mut turns = Turns::new([3, 1], 1);
        assert_eq!(turns.next(0), Some(Turn::Start(0)));
        assert_eq!(turns.next(BUDGET_MS - 1), None);
        turns.done(0);
        // The other one has had no turn: its budget has not begun.
        let rest: Vec<Turn> = std::iter::from_fn(|| turns.next(BUDGET_MS)).collect();
        assert_eq!(rest, [Turn::Start(1), Turn::GiveBack(0), Turn::GiveBack(0)]);
        assert!(turns.is_finished(0));
    }

    #[test]
    fn a_lane_alone_has_all_connections() {
        let mut turns = Turns::new([0, 9, 0], CONNECTIONS);
        assert_eq!(std::iter::from_fn(|| turns.next(0)).count(), CONNECTIONS);
    }

    proptest! {
        #[test]
        fn everything_has_its_turn_within_the_limits(waiting in proptest::collection::vec(0usize..20, 0..12), limit in 1usize..8, ends in any::<u64>()) {
            let mut turns = Turns::new(waiting.clone(), limit);
            let mut running: Vec<usize> = vec![];
            let mut had = vec![0; waiting.len()];
            let mut seed = ends;
            loop {
                while let Some(turn) = turns.next(0) {
                    let Turn::Start(lane) = turn else { panic!("nothing is given back in no time") };
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
                turns.done(lane);
            }
            prop_assert_eq!(had, waiting);
        }
    }
}
