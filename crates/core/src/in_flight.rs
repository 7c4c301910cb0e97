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
        self.held.values().fold(0, |sum, held| sum.saturating_add(held.bytes))
    }

    /// Admits a body of `bytes`; `None` where the budget does not have them. A body alone is always admitted: the source's
    /// own limit bounds it.
    pub fn admit(&mut self, bytes: u64, now_ms: u64) -> Option<Ticket> {
        self.held.retain(|_, held| held.until_ms > now_ms);
        if !self.held.is_empty() && self.bytes().saturating_add(bytes) > BUDGET_BYTES {
            return None;
        }
        self.next = self.next.wrapping_add(1);
        self.held.insert(self.next, Held { bytes, until_ms: now_ms.saturating_add(LEASE_MS) });
        Some(Ticket(self.next))
    }

    /// Lets an admitted body become `bytes` large; `false` where the budget does not have them.
    pub fn grow(&mut self, ticket: Ticket, bytes: u64) -> bool {
        let others = self.held.iter().filter(|(id, _)| **id != ticket.0);
        let (count, sum) = others
            .fold((0u64, 0u64), |(count, sum), (_, held)| (count.saturating_add(1), sum.saturating_add(held.bytes)));
        if count > 0 && sum.saturating_add(bytes) > BUDGET_BYTES {
            return false;
        }
        if let Some(held) = self.held.get_mut(&ticket.0) {
            held.bytes = bytes;
        }
        true
    }

    /// The body is no longer held.
    pub fn release(&mut self, ticket: Ticket) {
        self.held.remove(&ticket.0);
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
        fn the_sum_stays_below_the_budget(sizes in proptest::collection::vec(1u64..20_000_000, 1..60)) {
            let mut in_flight = InFlight::default();
            for size in sizes {
                let _ = in_flight.admit(size, 0);
                prop_assert!(in_flight.bytes() <= BUDGET_BYTES);
            }
        }
    }
}
