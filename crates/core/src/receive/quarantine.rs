//! How much of what could not be verified is kept.
//!
//! Promises: a forger cannot fill the dead-letter store: per source and isolate a token bucket limits letters and bytes;
//! what is over it is counted and answered as always, only its body is not kept. Out of scope: the store's own caps, which
//! hold across isolates.

/// How many letters and bytes of unverified deliveries a source may have kept, per minute and isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Letters a minute; also the burst.
    pub letters_per_minute: u32,
    /// Bytes a minute; also the burst.
    pub bytes_per_minute: u64,
}

impl Default for Budget {
    /// 600 letters and 32 MB a minute: two orders above what a misconfigured secret produces at a usual rate, and
    /// little enough that a day of forgeries from one isolate stays below 50 GB of R2.
    fn default() -> Self {
        Self { letters_per_minute: 600, bytes_per_minute: 32_000_000 }
    }
}

/// What is left of a [`Budget`]. Fractions are kept by counting in sixty-thousandths (budget units times milliseconds of
/// a minute), so that slow refills are not rounded away.
#[derive(Clone, Copy, Debug)]
pub struct Quarantine {
    budget: Budget,
    letters: u64,
    bytes: u64,
    filled_ms: u64,
}

const MINUTE_MS: u64 = 60_000;

impl Quarantine {
    /// A full bucket at `now_ms`.
    pub fn new(budget: Budget, now_ms: u64) -> Self {
        Self {
            budget,
            letters: u64::from(budget.letters_per_minute).saturating_mul(MINUTE_MS),
            bytes: budget.bytes_per_minute.saturating_mul(MINUTE_MS),
            filled_ms: now_ms,
        }
    }

    /// Takes one letter of `size_bytes` out of the budget; `false` where it does not have that much.
    pub fn admit(&mut self, size_bytes: u64, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = self.filled_ms.max(now_ms);
        let refill = |left: u64, per_minute: u64| {
            left.saturating_add(per_minute.saturating_mul(passed_ms)).min(per_minute.saturating_mul(MINUTE_MS))
        };
        self.letters = refill(self.letters, u64::from(self.budget.letters_per_minute));
        self.bytes = refill(self.bytes, self.budget.bytes_per_minute);
        let (letters, bytes) =
            (self.letters.checked_sub(MINUTE_MS), self.bytes.checked_sub(size_bytes.saturating_mul(MINUTE_MS)));
        let (Some(letters), Some(bytes)) = (letters, bytes) else { return false };
        (self.letters, self.bytes) = (letters, bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_spent_and_comes_back_with_time() {
        let mut quarantine = Quarantine::new(Budget { letters_per_minute: 3, bytes_per_minute: 1000 }, 0);
        assert!((0..3).all(|_| quarantine.admit(10, 0)));
        assert!(!quarantine.admit(10, 19_999));
        assert!(quarantine.admit(10, 20_000));
        assert!(!quarantine.admit(10, 20_000));
    }

    #[test]
    fn bytes_count_too_and_a_refused_one_costs_nothing() {
        let mut quarantine = Quarantine::new(Budget { letters_per_minute: 100, bytes_per_minute: 1000 }, 0);
        assert!(!quarantine.admit(1001, 0));
        assert!(quarantine.admit(1000, 0));
        assert!(!quarantine.admit(1, 0));
    }

    #[test]
    fn a_clock_that_goes_back_refills_nothing() {
        let mut quarantine = Quarantine::new(Budget { letters_per_minute: 1, bytes_per_minute: 10 }, 1_000_000);
        assert!(quarantine.admit(1, 1_000_000));
        assert!(!quarantine.admit(1, 0));
        assert!(!quarantine.admit(1, 1_000_001));
    }
}
