//! How much of what could not be verified is kept.
//!
//! Promises:
//! - A forger cannot fill the dead-letter store: a token bucket limits letters and bytes of each source in each isolate.
//! - A forger starves no other sender: an address has only a share of it.
//! - One body up to the source's limit fits into an unused budget and share.
//!
//! What is over the budget is counted and answered as always, only it is not kept. Out of scope: the store's own caps, which hold
//! across isolates.

use crate::time::MINUTE_MS;
use std::collections::BTreeMap;

/// How many letters and bytes of unverified deliveries a source may have kept, per minute and isolate. Zero keeps none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineBudget {
    /// Letters a minute; also the burst.
    pub letters_per_minute: u32,
    /// Bytes a minute; also the burst, unless the source's largest body is larger.
    pub bytes_per_minute: u64,
}

impl Default for QuarantineBudget {
    /// 600 letters and 32 MB a minute: two orders above what a misconfigured secret produces at a usual rate, and
    /// little enough that a day of forgeries from one isolate stays below 50 GB of R2.
    fn default() -> Self {
        Self { letters_per_minute: 600, bytes_per_minute: 32_000_000 }
    }
}

/// One address takes at most this part of a source's budget, so that a forger leaves room to what other senders get wrong.
const ADDRESS_SHARE: u32 = 4;

/// Addresses that are told apart at once. Further ones share one bucket, so that memory stays bounded.
const MAX_ADDRESSES: usize = 64;

/// What is left of the [`QuarantineBudget`] of one source, and of the share of each address.
#[derive(Clone, Debug)]
pub struct Quarantine {
    whole: TokenBucket,
    /// Full: what an address begins with.
    share: TokenBucket,
    by_address: BTreeMap<String, TokenBucket>,
}

impl Quarantine {
    /// A full one at `now_ms`. `max_body_bytes`: of its source.
    pub fn new(budget: QuarantineBudget, max_body_bytes: u64, now_ms: u64) -> Self {
        let share = QuarantineBudget {
            letters_per_minute: budget.letters_per_minute.div_ceil(ADDRESS_SHARE),
            bytes_per_minute: budget.bytes_per_minute.div_ceil(ADDRESS_SHARE.into()),
        };
        let [whole, share] = [budget, share].map(|budget| TokenBucket::full(budget, max_body_bytes, now_ms));
        Self { whole, share, by_address: BTreeMap::new() }
    }

    /// Takes one letter of `size_bytes` out of the budget; `false` where the source or the address does not have that much.
    pub fn admit(&mut self, address: &str, size_bytes: u64, now_ms: u64) -> bool {
        let is_new = !self.by_address.contains_key(address);
        if is_new && self.by_address.len() >= MAX_ADDRESSES {
            // What is full again says nothing of its address.
            self.by_address.retain(|_, bucket| bucket.refilled(now_ms).left != bucket.most);
        }
        let known = if is_new && self.by_address.len() >= MAX_ADDRESSES { "" } else { address };
        let own = self.by_address.entry(known.to_owned()).or_insert(self.share);
        let taken = own.take(size_bytes, now_ms).zip(self.whole.take(size_bytes, now_ms));
        if let Some(left) = taken {
            (*own, self.whole) = left;
        }
        taken.is_some()
    }
}

/// Letters and bytes in sixty-thousandths (budget units times milliseconds of a minute), so that slow refills are not rounded
/// away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tokens {
    letters: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    per_minute: QuarantineBudget,
    most: Tokens,
    left: Tokens,
    filled_ms: u64,
}

impl TokenBucket {
    fn full(per_minute: QuarantineBudget, max_body_bytes: u64, now_ms: u64) -> Self {
        let burst_bytes = match per_minute.bytes_per_minute {
            0 => 0,
            bytes => bytes.max(max_body_bytes),
        };
        let letters = u64::from(per_minute.letters_per_minute).saturating_mul(MINUTE_MS);
        let most = Tokens { letters, bytes: burst_bytes.saturating_mul(MINUTE_MS) };
        Self { per_minute, most, left: most, filled_ms: now_ms }
    }

    fn refilled(self, now_ms: u64) -> Self {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        let more = |left: u64, per_minute: u64| left.saturating_add(per_minute.saturating_mul(passed_ms));
        let left = Tokens {
            letters: more(self.left.letters, self.per_minute.letters_per_minute.into()).min(self.most.letters),
            bytes: more(self.left.bytes, self.per_minute.bytes_per_minute).min(self.most.bytes),
        };
        Self { left, filled_ms: self.filled_ms.max(now_ms), ..self }
    }

    /// What would be left without one letter of `size_bytes`.
    fn take(self, size_bytes: u64, now_ms: u64) -> Option<Self> {
        let refilled = self.refilled(now_ms);
        let letters = refilled.left.letters.checked_sub(MINUTE_MS)?;
        let bytes = refilled.left.bytes.checked_sub(size_bytes.saturating_mul(MINUTE_MS))?;
        Some(Self { left: Tokens { letters, bytes }, ..refilled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quarantine(letters_per_minute: u32, bytes_per_minute: u64) -> Quarantine {
        Quarantine::new(QuarantineBudget { letters_per_minute, bytes_per_minute }, 1, 0)
    }

    #[test]
    fn the_budget_is_spent_and_comes_back_with_time() {
        let mut quarantine = quarantine(12, 4_000);
        assert!((0..3).all(|_| quarantine.admit("a", 10, 0)));
        assert!(!quarantine.admit("a", 10, 19_999));
        assert!(quarantine.admit("a", 10, 20_000));
        assert!(!quarantine.admit("a", 10, 20_000));
    }

    #[test]
    fn bytes_count_too_and_what_is_not_admitted_costs_nothing() {
        let mut quarantine = quarantine(400, 4_000);
        assert!(!quarantine.admit("a", 1_001, 0));
        assert!(quarantine.admit("a", 1_000, 0));
        assert!(!quarantine.admit("a", 1, 0));
    }

    #[test]
    fn one_body_up_to_the_limit_of_its_source_is_kept() {
        for (bytes_per_minute, max_body_bytes) in [(32_000_000, 25_000_000), (1_000, 5_000_000), (32_000_000, 100)] {
            let budget = QuarantineBudget { letters_per_minute: 600, bytes_per_minute };
            let mut quarantine = Quarantine::new(budget, max_body_bytes, 0);
            assert!(!quarantine.admit("a", max_body_bytes.max(bytes_per_minute) + 1, 0));
            assert!(quarantine.admit("a", max_body_bytes, 0));
            // It fills as slowly as it is configured.
            let share = bytes_per_minute / 4;
            assert_eq!(quarantine.admit("a", max_body_bytes, MINUTE_MS), max_body_bytes <= share);
        }
        for budget in [(0, 32_000_000), (600, 0)] {
            let budget = QuarantineBudget { letters_per_minute: budget.0, bytes_per_minute: budget.1 };
            assert!(!Quarantine::new(budget, 5_000_000, 0).admit("a", 1, 0), "zero keeps none");
        }
    }

    #[test]
    fn a_clock_that_goes_back_refills_nothing() {
        let mut quarantine =
            Quarantine::new(QuarantineBudget { letters_per_minute: 1, bytes_per_minute: 40 }, 1, 1_000_000);
        assert!(quarantine.admit("a", 1, 1_000_000));
        assert!(!quarantine.admit("a", 1, 0));
        assert!(!quarantine.admit("a", 1, 1_000_001));
    }

    #[test]
    fn an_address_leaves_room_to_others_and_all_stay_within_the_budget() {
        let mut quarantine = quarantine(8, 1_000_000);
        assert_eq!((0..100).filter(|_| quarantine.admit("forger", 1, 0)).count(), 2);
        assert!(quarantine.admit("genuine", 1, 0));
        assert_eq!((0..100).filter(|n| quarantine.admit(&n.to_string(), 1, 0)).count(), 5, "eight in all");
    }

    #[test]
    fn addresses_without_end_take_bounded_memory() {
        let mut quarantine = quarantine(1_000_000, 1_000_000_000);
        assert!((0..10_000).all(|n| quarantine.admit(&n.to_string(), 1, 0)));
        assert!(quarantine.by_address.len() <= MAX_ADDRESSES + 1);
        assert!(quarantine.admit("late", 1, 600_000));
        assert!(quarantine.by_address.contains_key("late"), "what is full again makes room");
    }
}
