//! Whole numbers between Rust and JavaScript.
//!
//! Promise: exact up to 2^53, and never a wrong value. Out of scope: fractions.

/// A number as JavaScript has it, exact up to 2^53, which no time and no count reaches.
#[expect(clippy::cast_precision_loss, reason = "times and counts are below 2^53")]
pub(crate) fn number(value: u64) -> f64 {
    value as f64
}

/// A whole number of JavaScript, not negative and exact.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
pub(crate) fn whole(value: f64) -> Option<u64> {
    /// `Number.MAX_SAFE_INTEGER`.
    const MAX: f64 = 9_007_199_254_740_991.0;
    ((0.0..=MAX).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn only_exact_whole_numbers_are_taken() {
        assert_eq!(whole(1_700_000_000_000.0), Some(1_700_000_000_000));
        for value in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e16] {
            assert_eq!(whole(value), None, "{value}");
        }
    }
}
