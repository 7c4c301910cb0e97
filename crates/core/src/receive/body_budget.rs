//! How many bytes of bodies an isolate holds at once.
//!
//! Promises: what is held together stays below a fixed sum, so that many large deliveries at once are answered 503 (and
//! repeated by their sender) instead of ending the isolate with everything in it; bytes count from their arrival on, so a
//! sender that announces and does not send holds nothing; large bodies cannot use up what is reserved for small ones.
//! Out of scope: reading bodies, and permits of requests that vanished (`super::Receiver` ends them with their lease).

use crate::messages::MAX_MESSAGE_BYTES;

/// The most body bytes in flight. An isolate has 128 MB for all of its JavaScript and wasm. Beside what is counted it holds the
/// module with its heap and one copy of the largest body (some 20 MB), the old buffer while one body's buffer grows, and copies
/// of large bodies while they are hashed with what is signed around them. A measurement with 50 bodies of 5 MB side by side
/// (`bench/README.md`, "Memory") has to stay below the limit with room left.
pub const BUDGET_BYTES: u64 = 32_000_000;

/// The part of it that large bodies leave to small ones.
pub const RESERVE_BYTES: u64 = 8_000_000;

/// What large bodies hold together at most: four of 5 MB, the default limit of a source.
pub const LARGE_SHARE_BYTES: u64 = BUDGET_BYTES - RESERVE_BYTES;

/// The largest of the small bodies: what fits into a message is what nearly all deliveries are.
pub const SMALL_BYTES: u64 = MAX_MESSAGE_BYTES as u64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyPermit {
    bytes: u64,
    is_large: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyBudget {
    small_bytes: u64,
    large_bytes: u64,
    large: u64,
}

impl BodyBudget {
    pub fn bytes(self) -> u64 {
        self.small_bytes.saturating_add(self.large_bytes)
    }

    /// Lets a body hold `bytes`; `false` where there is no room, and then nothing changes.
    pub fn hold(&mut self, permit: &mut BodyPermit, bytes: u64) -> bool {
        let wanted = BodyPermit { bytes, is_large: bytes > SMALL_BYTES };
        let sums = self.changed(*permit, u64::saturating_sub).changed(wanted, u64::saturating_add);
        // What shrinks is always let.
        let fits = sums.fits() || wanted.bytes <= permit.bytes;
        if fits {
            (*self, *permit) = (sums, wanted);
        }
        fits
    }

    pub fn release(&mut self, permit: BodyPermit) {
        *self = self.changed(permit, u64::saturating_sub);
    }

    /// `change`: adds to a sum or takes from it.
    fn changed(self, permit: BodyPermit, change: fn(u64, u64) -> u64) -> Self {
        if permit.is_large {
            Self { large_bytes: change(self.large_bytes, permit.bytes), large: change(self.large, 1), ..self }
        } else {
            Self { small_bytes: change(self.small_bytes, permit.bytes), ..self }
        }
    }

    /// One large body is always let beside the reserve: the source's own limit bounds it, and it would never be otherwise.
    fn fits(self) -> bool {
        (self.bytes() <= BUDGET_BYTES || self.small_bytes <= RESERVE_BYTES)
            && (self.large_bytes <= LARGE_SHARE_BYTES || self.large <= 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn large_bodies_leave_the_reserve_to_small_ones() {
        let mut budget = BodyBudget::default();
        let mut large = [BodyPermit::default(); 5];
        let held: Vec<bool> = large.iter_mut().map(|permit| budget.hold(permit, 6_000_000)).collect();
        assert_eq!(held, [true, true, true, true, false]);
        let mut small = vec![BodyPermit::default(); 62];
        assert!(small.iter_mut().all(|permit| budget.hold(permit, SMALL_BYTES)));
        assert!(!budget.hold(&mut BodyPermit::default(), SMALL_BYTES), "the reserve is used up");
        budget.release(large[0]);
        assert!(budget.hold(&mut BodyPermit::default(), SMALL_BYTES));
    }

    #[test]
    fn one_body_is_let_however_large_it_is() {
        let mut budget = BodyBudget::default();
        let mut permit = BodyPermit::default();
        assert!(budget.hold(&mut permit, 30_000_000));
        assert!(!budget.hold(&mut BodyPermit::default(), SMALL_BYTES + 1));
        assert!(budget.hold(&mut permit, 25_000_000), "what shrinks is let");
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_permits(steps in proptest::collection::vec((0usize..8, 0u64..12_000_000), 1..200)) {
            let mut budget = BodyBudget::default();
            let mut permits = [BodyPermit::default(); 8];
            for (at, bytes) in steps {
                if bytes < 600_000 {
                    budget.release(std::mem::take(&mut permits[at]));
                } else {
                    budget.hold(&mut permits[at], bytes);
                }
                prop_assert_eq!(budget.bytes(), permits.iter().map(|permit| permit.bytes).sum::<u64>());
                prop_assert!(budget.bytes() <= BUDGET_BYTES.max(12_000_000 + RESERVE_BYTES));
            }
        }
    }
}
