//! How many bytes of bodies an isolate holds at once.
//!
//! Promises: what is admitted together stays below a fixed sum, so that many large deliveries at once are answered 503 (and
//! repeated by their sender) instead of ending the isolate with everything in it; a delivery whose request vanished without
//! a word gives its bytes back when its lease ends. Out of scope: reading bodies.

use std::collections::BTreeMap;

/// The most body bytes in flight. An isolate has 128 MB for all of its JavaScript and wasm. The runtime holds a body twice
/// while it joins the chunks that arrived, the module with its heap and one copy of the largest body needs some 20 MB, and a
/// measurement with 50 bodies of 5 MB side by side (`bench/README.md`, "Memory") has to stay below the limit with room left.
pub const BUDGET_BYTES: u64 = 32_000_000;

/// After so long a request that never ended counts as gone, in milliseconds: the vendor gives up after 10 s, and other
/// senders seldom wait longer than 30 s.
pub const LEASE_MS: u64 = 60_000;

/// The bodies that are being worked on.
#[derive(Debug, Default)]
pub struct InFlight {
    next: u64,
    held: BTreeMap<u64, Held>,
    /// The sum of what is held.
    bytes: u64,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    until_ms: u64,
}

/// A place among the bodies in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl InFlight {
    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Admits a body of `bytes`; `None` where the budget does not have them. A body alone is always admitted: the source's
    /// own limit bounds it.
    pub fn admit(&mut self, bytes: u64, now_ms: u64) -> Option<Ticket> {
        // Places are given in the order of time.
        while let Some(oldest) = self.held.first_entry().filter(|oldest| oldest.get().until_ms <= now_ms) {
            self.bytes = self.bytes.saturating_sub(oldest.remove().bytes);
        }
        if !self.held.is_empty() && self.bytes.saturating_add(bytes) > BUDGET_BYTES {
            return None;
        }
        self.next = self.next.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.held.insert(self.next, Held { bytes, until_ms: now_ms.saturating_add(LEASE_MS) });
        Some(Ticket(self.next))
    }

    /// Lets an admitted body become `bytes` large; `false` where the budget does not have them.
    pub fn grow(&mut self, ticket: Ticket, bytes: u64) -> bool {
        let own = self.held.get(&ticket.0).map(|held| held.bytes);
        let others = self.bytes.saturating_sub(own.unwrap_or(0));
        let is_alone = self.held.len() <= usize::from(own.is_some());
        if !is_alone && others.saturating_add(bytes) > BUDGET_BYTES {
            return false;
        }
        if let Some(held) = self.held.get_mut(&ticket.0) {
            held.bytes = bytes;
            self.bytes = others.saturating_add(bytes);
        }
        true
    }

    /// The body is no longer held.
    pub fn release(&mut self, ticket: Ticket) {
        if let Some(held) = self.held.remove(&ticket.0) {
            self.bytes = self.bytes.saturating_sub(held.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bodies_are_admitted_up_to_the_budget_and_again_when_others_end() {
        let mut in_flight = InFlight::default();
        let tickets: Vec<Ticket> = (0..6).map(|_| in_flight.admit(5_000_000, 0).unwrap()).collect();
        assert_eq!(in_flight.admit(5_000_000, 0), None);
        assert!(in_flight.admit(1_000_000, 0).is_some());
        in_flight.release(tickets[0]);
        assert!(in_flight.admit(5_000_000, 0).is_some());
    }

    #[test]
    fn a_body_larger_than_the_budget_is_admitted_alone() {
        let mut in_flight = InFlight::default();
        let ticket = in_flight.admit(BUDGET_BYTES * 2, 0).unwrap();
        assert_eq!(in_flight.admit(1, 0), None);
        in_flight.release(ticket);
        assert!(in_flight.admit(1, 0).is_some());
    }

    #[test]
    fn a_request_that_vanished_gives_its_bytes_back() {
        let mut in_flight = InFlight::default();
        in_flight.admit(BUDGET_BYTES, 0).unwrap();
        assert_eq!(in_flight.admit(1, LEASE_MS - 1), None);
        assert!(in_flight.admit(1, LEASE_MS).is_some());
    }

    #[test]
    fn a_body_of_unknown_size_grows_as_far_as_the_budget_goes() {
        let mut in_flight = InFlight::default();
        in_flight.admit(BUDGET_BYTES - 10, 0).unwrap();
        let ticket = in_flight.admit(0, 0).unwrap();
        assert!(in_flight.grow(ticket, 10));
        assert!(!in_flight.grow(ticket, 11));
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_what_is_held(steps in proptest::collection::vec((0u8..4, 0u64..12_000_000, 0usize..8), 1..80)) {
            let mut in_flight = InFlight::default();
            let (mut now_ms, mut tickets) = (0, vec![]);
            for (step, bytes, which) in steps {
                let ticket = tickets.get(which).copied();
                match (step, ticket) {
                    (0, Some(ticket)) => in_flight.release(ticket),
                    (1, Some(ticket)) => drop(in_flight.grow(ticket, bytes)),
                    (2, _) => now_ms += LEASE_MS / 3,
                    _ => tickets.extend(in_flight.admit(bytes, now_ms)),
                }
                prop_assert_eq!(in_flight.bytes(), in_flight.held.values().map(|held| held.bytes).sum::<u64>());
            }
        }

        #[test]
        fn the_sum_stays_below_the_budget(sizes in proptest::collection::vec(1u64..20_000_000, 1..60)) {
            let mut in_flight = InFlight::default();
            for size in sizes {
                let _ = in_flight.admit(size, 0);
                prop_assert!(in_flight.bytes() <= BUDGET_BYTES);
            }
        }
    }
}
