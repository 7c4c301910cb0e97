//! How many bytes of bodies an isolate holds at once.
//!
//! Promises: what is admitted together stays below a fixed sum, so that many large deliveries at once are answered 503 (and
//! repeated by their sender) instead of ending the isolate with everything in it; large bodies cannot use up what is reserved
//! for small ones, because a place is given before a byte has arrived and anything is verified; a delivery whose request
//! vanished without a word gives its bytes back when its lease ends. Out of scope: reading bodies.
//!
//! The arithmetic, at senders that prove nothing and send nothing after their headers: four announcements of 5 MB, the default
//! limit of a source, are admitted, a fifth would be over [`LARGE_SHARE_BYTES`] and is answered 503. A delivery of 1 KB is served
//! all the same, even where the whole share is taken, until small bodies hold [`RESERVE_BYTES`] beside it: that takes 62
//! connections that announce [`SMALL_BYTES`] each, or 10,000 of 1 KB (those of [`SMALLEST_SHARE_BYTES`] with them).

use crate::messages::MAX_MESSAGE_BYTES;
use std::collections::VecDeque;

/// The most body bytes in flight. An isolate has 128 MB for all of its JavaScript and wasm. The runtime holds a body twice
/// while it joins the chunks that arrived, the module with its heap and one copy of the largest body needs some 20 MB, and a
/// measurement with 50 bodies of 5 MB side by side (`bench/README.md`, "Memory") has to stay below the limit with room left.
pub const BUDGET_BYTES: u64 = 32_000_000;

/// The part of it that large bodies leave to small ones.
pub const RESERVE_BYTES: u64 = 8_000_000;

/// What large bodies hold together at most.
pub const LARGE_SHARE_BYTES: u64 = BUDGET_BYTES - RESERVE_BYTES;

/// The largest of the small bodies: what fits into a message is what nearly all deliveries are.
pub const SMALL_BYTES: u64 = MAX_MESSAGE_BYTES as u64;

/// Beside the budget: what bodies so small that they are hashed in wasm (below 8 KB) hold together, counted where they are read
/// (`src/short.js`) and not here; what has no room in it is admitted here as any other.
pub const SMALLEST_SHARE_BYTES: u64 = 2_000_000;

/// After so long a request that never ended counts as gone, in milliseconds: the vendor gives up after 10 s, and other
/// senders seldom wait longer than 30 s.
pub const LEASE_MS: u64 = 60_000;

/// The bodies that are being worked on.
#[derive(Debug, Default)]
pub struct InFlight {
    /// In the order of admission: the first has the number `first`, the others follow; `None` is no longer held.
    held: VecDeque<Option<Held>>,
    first: u64,
    sums: Sums,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    /// Of memory.
    bytes: u64,
    is_large: bool,
    until_ms: u64,
}

/// What is held, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    small_bytes: u64,
    large_bytes: u64,
    large: usize,
}

impl Sums {
    fn with(self, held: Held) -> Self {
        if held.is_large {
            let large_bytes = self.large_bytes.saturating_add(held.bytes);
            Self { large_bytes, large: self.large.saturating_add(1), ..self }
        } else {
            Self { small_bytes: self.small_bytes.saturating_add(held.bytes), ..self }
        }
    }

    fn without(self, held: Held) -> Self {
        if held.is_large {
            let large_bytes = self.large_bytes.saturating_sub(held.bytes);
            Self { large_bytes, large: self.large.saturating_sub(1), ..self }
        } else {
            Self { small_bytes: self.small_bytes.saturating_sub(held.bytes), ..self }
        }
    }

    fn bytes(self) -> u64 {
        self.small_bytes.saturating_add(self.large_bytes)
    }

    /// One large body is always admitted beside the reserve: the source's own limit bounds it, and it would never be otherwise.
    fn fit(self) -> bool {
        (self.bytes() <= BUDGET_BYTES || self.small_bytes <= RESERVE_BYTES)
            && (self.large_bytes <= LARGE_SHARE_BYTES || self.large <= 1)
    }
}

/// A place among the bodies in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl InFlight {
    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.sums.bytes()
    }

    /// Admits a body of `bytes`; `None` where there is no room for it.
    pub fn admit(&mut self, bytes: u64, now_ms: u64) -> Option<Ticket> {
        // Places are given in the order of time: behind one whose lease goes on there is none whose lease has ended.
        while self.held.front().is_some_and(|oldest| oldest.is_none_or(|held| held.until_ms <= now_ms)) {
            self.first = self.first.wrapping_add(1);
            if let Some(held) = self.held.pop_front().flatten() {
                self.sums = self.sums.without(held);
            }
        }
        let held = Held { bytes, is_large: bytes > SMALL_BYTES, until_ms: now_ms.saturating_add(LEASE_MS) };
        let sums = self.sums.with(held);
        if !sums.fit() {
            return None;
        }
        self.sums = sums;
        let ticket = Ticket(self.first.wrapping_add(self.held.len() as u64));
        self.held.push_back(Some(held));
        Some(ticket)
    }

    fn place(&mut self, ticket: Ticket) -> Option<&mut Option<Held>> {
        let place = ticket.0.wrapping_sub(self.first);
        usize::try_from(place).ok().and_then(|place| self.held.get_mut(place))
    }

    /// Lets an admitted body become `bytes` large, of which there are `copies`; `false` where there is no room for it, or where
    /// its lease has ended: what nobody counts must not grow.
    pub fn grow(&mut self, ticket: Ticket, bytes: u64, copies: u64) -> bool {
        let sums = self.sums;
        let Some(Some(held)) = self.place(ticket) else { return false };
        let grown = Held { bytes: bytes.saturating_mul(copies), is_large: bytes > SMALL_BYTES, ..*held };
        let sums = sums.without(*held).with(grown);
        if !sums.fit() {
            return false;
        }
        *held = grown;
        self.sums = sums;
        true
    }

    /// The body is no longer held.
    pub fn release(&mut self, ticket: Ticket) {
        if let Some(held) = self.place(ticket).and_then(Option::take) {
            self.sums = self.sums.without(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The default limit of a source.
    const LARGE: u64 = 5_000_000;

    #[test]
    fn large_bodies_are_admitted_up_to_their_share_and_again_when_others_end() {
        let mut in_flight = InFlight::default();
        let tickets: Vec<Ticket> = (0..4).map(|_| in_flight.admit(LARGE, 0).unwrap()).collect();
        assert_eq!(in_flight.admit(LARGE, 0), None);
        assert!(in_flight.admit(LARGE_SHARE_BYTES - 4 * LARGE, 0).is_some());
        assert_eq!(in_flight.admit(SMALL_BYTES + 1, 0), None);
        in_flight.release(tickets[0]);
        assert!(in_flight.admit(LARGE, 0).is_some());
    }

    #[test]
    fn large_bodies_that_never_come_leave_room_for_62_small_ones() {
        let mut in_flight = InFlight::default();
        while in_flight.admit(LARGE, 0).is_some() {}
        while in_flight.admit(SMALL_BYTES + 1, 0).is_some() {}
        assert_eq!((0..100).filter(|_| in_flight.admit(SMALL_BYTES, 0).is_some()).count(), 62);
    }

    #[test]
    fn small_bodies_have_the_whole_budget_where_no_others_are() {
        let mut in_flight = InFlight::default();
        while in_flight.admit(SMALL_BYTES, 0).is_some() {}
        assert!(in_flight.bytes() > BUDGET_BYTES - SMALL_BYTES);
        // The reserve is no part of the budget on top of it.
        assert_eq!(in_flight.admit(LARGE, 0), None);
    }

    #[test]
    fn a_body_larger_than_the_share_is_admitted_where_no_other_large_one_is() {
        let mut in_flight = InFlight::default();
        in_flight.admit(SMALL_BYTES, 0).unwrap();
        let ticket = in_flight.admit(BUDGET_BYTES * 2, 0).unwrap();
        assert_eq!(in_flight.admit(SMALL_BYTES + 1, 0), None);
        assert!(in_flight.admit(SMALL_BYTES, 0).is_some());
        in_flight.release(ticket);
        assert!(in_flight.admit(LARGE, 0).is_some());
    }

    #[test]
    fn a_request_that_vanished_gives_its_bytes_back() {
        let mut in_flight = InFlight::default();
        let vanished = in_flight.admit(LARGE_SHARE_BYTES, 0).unwrap();
        assert_eq!(in_flight.admit(LARGE, LEASE_MS - 1), None);
        assert!(in_flight.admit(LARGE, LEASE_MS).is_some());
        assert!(!in_flight.grow(vanished, 1, 1), "grows uncounted");
        in_flight.release(vanished);
        assert_eq!(in_flight.bytes(), LARGE);
    }

    #[test]
    fn a_body_of_unknown_size_grows_as_far_as_there_is_room() {
        let mut in_flight = InFlight::default();
        in_flight.admit(LARGE_SHARE_BYTES - 2 * LARGE, 0).unwrap();
        let ticket = in_flight.admit(0, 0).unwrap();
        assert!(in_flight.grow(ticket, LARGE, 2));
        assert!(!in_flight.grow(ticket, LARGE + 1, 2));
        assert!(in_flight.grow(ticket, LARGE, 1));
        assert_eq!(in_flight.bytes(), LARGE_SHARE_BYTES - LARGE);
    }

    #[test]
    fn a_small_body_in_pieces_is_small_though_it_is_there_twice() {
        let mut in_flight = InFlight::default();
        in_flight.admit(LARGE_SHARE_BYTES, 0).unwrap();
        let ticket = in_flight.admit(0, 0).unwrap();
        assert!(in_flight.grow(ticket, SMALL_BYTES, 2));
        assert!(!in_flight.grow(ticket, SMALL_BYTES + 1, 2));
    }

    /// Any sequence of calls, each body no larger than `most`; what holds after each of them.
    fn sequence(
        steps: Vec<(u8, u64, usize)>,
        mut holds: impl FnMut(&InFlight) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        let mut in_flight = InFlight::default();
        let (mut now_ms, mut tickets) = (0, vec![]);
        for (step, bytes, which) in steps {
            let ticket = tickets.get(which).copied();
            match (step, ticket) {
                (0, Some(ticket)) => in_flight.release(ticket),
                (1, Some(ticket)) => drop(in_flight.grow(ticket, bytes, 2)),
                (2, _) => now_ms += LEASE_MS / 3,
                _ => tickets.extend(in_flight.admit(bytes, now_ms)),
            }
            holds(&in_flight)?;
        }
        Ok(())
    }

    fn steps(most: u64) -> impl Strategy<Value = Vec<(u8, u64, usize)>> {
        let bytes = prop_oneof![0..=SMALL_BYTES, SMALL_BYTES..most];
        proptest::collection::vec((0u8..6, bytes, 0usize..30), 1..200)
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_what_is_held(steps in steps(12_000_000)) {
            sequence(steps, |in_flight| {
                let sums = in_flight.held.iter().flatten().fold(Sums::default(), |sums, held| sums.with(*held));
                prop_assert_eq!(in_flight.sums, sums);
                prop_assert_eq!(in_flight.bytes(), in_flight.held.iter().flatten().map(|held| held.bytes).sum::<u64>());
                Ok(())
            })?;
        }

        #[test]
        fn together_they_stay_below_the_budget(steps in steps(LARGE_SHARE_BYTES / 2)) {
            sequence(steps, |in_flight| {
                prop_assert!(in_flight.bytes() <= BUDGET_BYTES, "{}", in_flight.bytes());
                Ok(())
            })?;
        }

        /// Whatever large bodies do, a small one is refused only where small ones hold the reserve already.
        #[test]
        fn large_bodies_cannot_keep_a_small_one_out(steps in steps(60_000_000), bytes in 0..=SMALL_BYTES) {
            sequence(steps, |in_flight| {
                let small_bytes: u64 =
                    in_flight.held.iter().flatten().filter(|held| !held.is_large).map(|held| held.bytes).sum();
                let mut next = InFlight { held: in_flight.held.clone(), ..*in_flight };
                prop_assert!(next.admit(bytes, 0).is_some() || small_bytes + bytes > RESERVE_BYTES);
                Ok(())
            })?;
        }
    }
}
