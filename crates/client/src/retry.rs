//! The one retry policy, as a pure function: whether to try again, and after how long.
//!
//! Promise: every limit is in [`RetryPolicy`], and time and randomness are passed in. Out of scope: whether a repetition
//! could do harm, which the caller knows (see [`crate::call::ApiCall`]).

use std::time::UNIX_EPOCH;

/// Limits of the policy. The defaults follow Genesys' official tools (1 s to 30 s, give up when `Retry-After` is over
/// 180 s) and the webhook API's rule of at most three retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub max_retries: u32,
    /// The upper limit of the first back-off. It doubles with every attempt.
    pub base_ms: u64,
    /// The upper limit of every back-off.
    pub max_backoff_ms: u64,
    /// A `Retry-After` longer than this is not waited for.
    pub max_retry_after_ms: u64,
    /// All attempts and waits together end within this time.
    pub max_total_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            base_ms: 1_000,
            max_backoff_ms: 30_000,
            max_retry_after_ms: 180_000,
            max_total_ms: 300_000,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
    /// A rate limit with another status is given as 429.
    Status { status: u16, retry_after_ms: Option<u64> },
    /// No answer, by a timeout, a missing or a lost connection.
    NoAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    GiveUp,
    /// Try again after this many milliseconds.
    WaitMs(u64),
}

impl RetryPolicy {
    /// Decides after a failed attempt. `attempt` counts from 0, `elapsed_ms` is the time since the first attempt began, and
    /// `random` is 64 uniform bits.
    ///
    /// 429, 5xx except 501 and missing answers are worth another attempt. `Retry-After` is obeyed in full, with up to 10 %
    /// (at most 1 s) added, so that callers who were refused together do not come back together. Without it the wait is
    /// exponential with full jitter.
    pub fn decide(&self, attempt: u32, failure: AttemptFailure, elapsed_ms: u64, random: u64) -> Decision {
        let asked_ms = match failure {
            AttemptFailure::Status { status: 429 | 500 | 502..=599, retry_after_ms } => retry_after_ms,
            AttemptFailure::Status { .. } => return Decision::GiveUp,
            AttemptFailure::NoAnswer => None,
        };
        if attempt >= self.max_retries {
            return Decision::GiveUp;
        }
        let wait_ms = match asked_ms {
            Some(asked_ms) if asked_ms > self.max_retry_after_ms => return Decision::GiveUp,
            Some(asked_ms) => asked_ms.saturating_add(up_to((asked_ms / 10).min(1_000), random)),
            None => {
                let ceiling = self.base_ms.saturating_mul(1_u64.checked_shl(attempt).unwrap_or(u64::MAX));
                up_to(ceiling.min(self.max_backoff_ms), random)
            }
        };
        if elapsed_ms.saturating_add(wait_ms) > self.max_total_ms {
            Decision::GiveUp
        } else {
            Decision::WaitMs(wait_ms)
        }
    }
}

/// How long a `Retry-After` value asks to wait from `now_ms`, in milliseconds: seconds, or a date in one of the three
/// forms of HTTP (RFC 9110, section 5.6.7). `None` when it is neither. A date in the past is 0.
pub fn retry_after_ms(value: &str, now_ms: u64) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to read is longer than any wait.
        return Some(value.parse::<u64>().map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000)));
    }
    let since_epoch = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_epoch.as_millis()).ok().map(|then_ms| then_ms.saturating_sub(now_ms))
}

/// Uniform in `0..=limit`, but for a bias far below what jitter needs.
fn up_to(limit: u64, random: u64) -> u64 {
    random.checked_rem(limit.saturating_add(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{AttemptFailure, Decision, RetryPolicy, retry_after_ms};
    use proptest::prelude::*;

    fn status(status: u16, retry_after_ms: Option<u64>) -> AttemptFailure {
        AttemptFailure::Status { status, retry_after_ms }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for code in 200..=599 {
            let again = RetryPolicy::default().decide(0, status(code, None), 0, 0) != Decision::GiveUp;
            assert_eq!(again, code == 429 || (code >= 500 && code != 501), "{code}");
        }
        assert_ne!(RetryPolicy::default().decide(0, AttemptFailure::NoAnswer, 0, 0), Decision::GiveUp);
    }

    #[test]
    fn retries_waits_and_the_total_time_are_limited() {
        for (attempt, failure, elapsed_ms, expected) in [
            (2, AttemptFailure::NoAnswer, 0, Decision::WaitMs(0)),
            (3, AttemptFailure::NoAnswer, 0, Decision::GiveUp),
            (0, status(429, Some(60_000)), 0, Decision::WaitMs(60_000)),
            (0, status(503, Some(180_000)), 0, Decision::WaitMs(180_000)),
            (0, status(429, Some(180_001)), 0, Decision::GiveUp),
            (0, status(429, Some(10_000)), 290_000, Decision::WaitMs(10_000)),
            (0, status(429, Some(10_000)), 290_001, Decision::GiveUp),
        ] {
            assert_eq!(RetryPolicy::default().decide(attempt, failure, elapsed_ms, 0), expected, "{failure:?}");
        }
        assert_eq!(RetryPolicy::default().decide(0, status(429, Some(0)), 0, 5), Decision::WaitMs(0));
    }

    #[test]
    fn retry_after_is_read_in_every_form_that_http_has() {
        // 2026-01-02T03:04:05Z.
        let now_ms = 1_767_323_045_000;
        for (value, expected_ms) in [
            (" 7 ", Some(7_000)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Fri, 02 Jan 2026 03:04:08 GMT", Some(3_000)),
            ("Friday, 02-Jan-26 03:04:08 GMT", Some(3_000)),
            ("Fri Jan  2 03:04:08 2026", Some(3_000)),
            (" Fri, 02 Jan 2026 03:04:08 GMT\n", Some(3_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("Fri, 02 Jan 2026 03:04:08 UTC", None),
            ("Fri, 02 Jan 2026 03:04:08 GMT x", None),
            ("Sun, 06 Nov 1969 08:49:37 GMT", None),
            ("2026-01-02T03:04:08Z", None),
        ] {
            assert_eq!(retry_after_ms(value, now_ms), expected_ms, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn a_back_off_stays_below_its_ceiling_and_reaches_all_of_it(attempt in 0_u32..200, random in any::<u64>()) {
            let policy = RetryPolicy { max_retries: u32::MAX, ..RetryPolicy::default() };
            let ceiling = if attempt < 5 { 1_000 << attempt } else { 30_000 };
            let Decision::WaitMs(wait_ms) = policy.decide(attempt, AttemptFailure::NoAnswer, 0, random) else { panic!("gave up") };
            prop_assert!(wait_ms <= ceiling);
            prop_assert_eq!(policy.decide(attempt, AttemptFailure::NoAnswer, 0, ceiling), Decision::WaitMs(ceiling));
            prop_assert_eq!(policy.decide(attempt, AttemptFailure::NoAnswer, 0, 0), Decision::WaitMs(0));
        }
    }
}
