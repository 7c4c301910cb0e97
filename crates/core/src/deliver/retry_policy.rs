//! Handing a delivery on: what a destination's answer means, and when to try again.
//!
//! Promises: 2xx is delivered, 410 is given up at once, everything else is tried again on a schedule with jitter, where
//! `Retry-After` may lengthen a wait and never shorten it; 429 and 503 with `Retry-After` hold the whole destination and cost no
//! attempt; when the schedule is used up the delivery is dead. Out of scope: sending.

use super::dispatcher::calls::DispatchOutcome;
use super::dispatcher::gate::AttemptSign;
use crate::messages::reason;

/// The waits before each further attempt, in seconds: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h (the retry schedule that
/// the Standard Webhooks specification recommends).
pub const DEFAULT_SCHEDULE_S: [u32; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];

/// The longest wait that Queues take for one delay, in seconds (24 h).
pub const MAX_DELAY_S: u32 = 86_400;

/// The longest `Retry-After` that is honoured, in seconds (1 h): a destination may ask for patience, not park a delivery.
pub const MAX_RETRY_AFTER_S: u64 = 3_600;

/// How long a dispatch waits for room beyond the sum of its schedule, in milliseconds (24 h).
pub const PATIENCE_MS: u64 = 86_400_000;

/// From this attempt of a dead letter's message on, it is sent again as a new one instead of being retried: Queues give a message
/// up after 100 retries, and no queue is behind that of the letters. Leaves room for what cannot be sent again.
pub const RENEW_FROM_ATTEMPT: u32 = 80;

/// How old a queue's message may become before it is sent again as a new one, in milliseconds (2 days): half of what a queue
/// keeps a message where nobody has said otherwise (4 days: Queues, limits), so that what its wait adds (a day at most) still
/// ends before. A queue drops what it has kept for its time, and tells nobody.
pub const RENEW_AFTER_MS: u64 = 172_800_000;

/// Whether a message that is to wait for `delay_s` is sent again as a new one instead: the queue would give it up or drop it.
pub fn is_to_be_renewed(message_attempts: u32, message_age_ms: u64, delay_s: u32) -> bool {
    let age_ms = message_age_ms.saturating_add(u64::from(delay_s).saturating_mul(1000));
    message_attempts >= RENEW_FROM_ATTEMPT || age_ms > RENEW_AFTER_MS
}

/// How long a delivery or a replay may be under way at most, in milliseconds: waits with jitter or `Retry-After`, whichever is
/// longer, and the patience for an open circuit; twice, because what has waited for a circuit may still have its whole
/// schedule before it. The attempts themselves (a minute each at most) are within what that is too much.
pub fn longest_ms(schedule_s: &[u32]) -> u64 {
    let longest_s = |wait_s: &u32| {
        let wait_s = u64::from(*wait_s);
        wait_s.saturating_add(wait_s.div_euclid(5)).max(MAX_RETRY_AFTER_S)
    };
    let waits_s = schedule_s.iter().map(longest_s).fold(0, u64::saturating_add);
    waits_s.saturating_mul(1000).saturating_add(PATIENCE_MS).saturating_mul(2)
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// The destination answered.
    Answered {
        /// HTTP status.
        status: u16,
        /// Its `Retry-After` in seconds.
        retry_after_s: Option<u64>,
    },
    /// No answer: timeout, refused or cut connection.
    Failed,
    /// Nothing was sent, for a reason of ours (a missing secret, storage that does not answer) that may pass.
    NotSent,
    /// The body that should be sent is gone or is not what was stored: trying again cannot help.
    BodyUnavailable,
}

/// What an attempt says about its destination.
pub fn sign(attempted: &Attempted) -> AttemptSign {
    match attempted {
        Attempted::Answered { status: 200..=299, .. } => AttemptSign::Success,
        Attempted::Answered { status: 429 | 503, retry_after_s: Some(_) }
        | Attempted::NotSent
        | Attempted::BodyUnavailable => AttemptSign::Nothing,
        Attempted::Answered { status: 408 | 429 | 500.., .. } | Attempted::Failed => AttemptSign::Failure,
        Attempted::Answered { .. } => AttemptSign::Answered,
    }
}

/// Judges attempt number `attempt` (from 1) under `schedule_s`. `random`: any 64 bits, spread the waits by up to a fifth.
pub fn judge(schedule_s: &[u32], attempt: u32, attempted: &Attempted, random: u64, now_ms: u64) -> DispatchOutcome {
    let dead = |reason: &str| DispatchOutcome::Dead { reason: reason.into() };
    let after_ms = |wait_s: u64| now_ms.saturating_add(wait_s.saturating_mul(1_000));
    let retry_after_s = match attempted {
        Attempted::Answered { status: 200..=299, .. } => return DispatchOutcome::Delivered,
        Attempted::Answered { status: 410, .. } => return dead(reason::DESTINATION_GONE),
        Attempted::BodyUnavailable => return dead(reason::BODY_UNAVAILABLE),
        Attempted::Answered { status: 429 | 503, retry_after_s: Some(wait_s) } => {
            return DispatchOutcome::Held { until_ms: after_ms((*wait_s).clamp(1, MAX_RETRY_AFTER_S)) };
        }
        Attempted::Answered { retry_after_s, .. } => retry_after_s.unwrap_or(0).min(MAX_RETRY_AFTER_S),
        Attempted::Failed | Attempted::NotSent => 0,
    };
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(wait_s) = schedule_s.get(index) else { return dead(reason::RETRIES_EXHAUSTED) };
    let wait_s = u64::from(*wait_s);
    let jitter_s = random.checked_rem(wait_s.div_euclid(5).saturating_add(1)).unwrap_or(0);
    let wait_s = wait_s.saturating_add(jitter_s).max(retry_after_s).clamp(1, u64::from(MAX_DELAY_S));
    DispatchOutcome::Retry { due_ms: after_ms(wait_s) }
}

/// `text` without `secrets`: each of them, and each word of at least 8 characters in it (a token behind `Bearer`), becomes
/// as many asterisks, so that what is cut off behind stays where it was.
pub fn scrub<'s>(text: &str, secrets: impl Iterator<Item = &'s str>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let words = secret.split_ascii_whitespace().filter(|word| word.len() >= 8);
        for hidden in std::iter::once(secret).chain(words).filter(|hidden| !hidden.is_empty()) {
            text = text.replace(hidden, &"*".repeat(hidden.chars().count()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answered(status: u16) -> Attempted {
        Attempted::Answered { status, retry_after_s: None }
    }

    #[test]
    fn answers_mean_what_they_say() {
        let asks = |status, retry_after_s| Attempted::Answered { status, retry_after_s: Some(retry_after_s) };
        let retry = |wait_s: u64| DispatchOutcome::Retry { due_ms: 7 + wait_s * 1_000 };
        let held = |wait_s: u64| DispatchOutcome::Held { until_ms: 7 + wait_s * 1_000 };
        let dead = |reason: &str| DispatchOutcome::Dead { reason: reason.into() };
        for (attempt, attempted, outcome, expected) in [
            (1, answered(200), DispatchOutcome::Delivered, AttemptSign::Success),
            (8, answered(204), DispatchOutcome::Delivered, AttemptSign::Success),
            (1, answered(410), dead("destination_gone"), AttemptSign::Answered),
            (1, answered(302), retry(5), AttemptSign::Answered),
            (1, answered(404), retry(5), AttemptSign::Answered),
            (1, answered(429), retry(5), AttemptSign::Failure),
            (2, answered(500), retry(300), AttemptSign::Failure),
            (7, Attempted::Failed, retry(36_000), AttemptSign::Failure),
            (8, Attempted::Failed, dead("retries_exhausted"), AttemptSign::Failure),
            (1, Attempted::NotSent, retry(5), AttemptSign::Nothing),
            (1, Attempted::BodyUnavailable, dead("body_unavailable"), AttemptSign::Nothing),
            (1, asks(429, 60), held(60), AttemptSign::Nothing),
            (8, asks(503, 0), held(1), AttemptSign::Nothing),
            (1, asks(429, u64::MAX), held(3_600), AttemptSign::Nothing),
            (1, asks(500, 60), retry(60), AttemptSign::Failure),
            (2, asks(500, 1), retry(300), AttemptSign::Failure),
        ] {
            assert_eq!(judge(&DEFAULT_SCHEDULE_S, attempt, &attempted, 0, 7), outcome, "{attempt} {attempted:?}");
            assert_eq!(sign(&attempted), expected, "{attempted:?}");
        }
        assert_eq!(judge(&[], 1, &answered(500), 0, 7), dead("retries_exhausted"));
    }

    #[test]
    fn a_message_is_renewed_before_its_queue_gives_it_up_or_drops_it() {
        for (attempts, age_ms, delay_s, expected) in [
            (79, 0, MAX_DELAY_S, false),
            (80, 0, 1, true),
            (1, RENEW_AFTER_MS - 1_000, 1, false),
            (1, RENEW_AFTER_MS - 999, 1, true),
            (1, u64::MAX, MAX_DELAY_S, true),
        ] {
            assert_eq!(is_to_be_renewed(attempts, age_ms, delay_s), expected, "{attempts} {age_ms} {delay_s}");
        }
        // However long a message waits, its queue keeps it: 4 days by default.
        const { assert!(RENEW_AFTER_MS + MAX_DELAY_S as u64 * 1_000 < 4 * 86_400_000) }
    }

    #[test]
    fn the_longest_way_counts_what_may_lengthen_a_wait_and_the_patience_for_a_circuit() {
        // Many short waits, each of which a destination may lengthen to an hour.
        assert_eq!(longest_ms(&[1; 90]), 2 * (90 * 3_600_000 + PATIENCE_MS));
        assert_eq!(longest_ms(&[36_000]), 2 * (43_200_000 + PATIENCE_MS));
    }

    #[test]
    fn secrets_are_scrubbed_in_place() {
        let secrets = || ["Bearer s3cr3t-token", "k\u{e9}y", ""].into_iter();
        for (text, expected) in [
            ("saw Bearer s3cr3t-token!", "saw *******************!"),
            ("token s3cr3t-token and k\u{e9}y", "token ************ and ***"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(scrub(text, secrets()), expected);
        }
    }

    proptest! {
        #[test]
        fn waits_are_as_long_as_the_schedule_says_at_least(
            schedule in proptest::collection::vec(any::<u32>(), 0..9),
            attempt in any::<u32>(),
            status in any::<u16>(),
            retry_after_s in any::<Option<u64>>(),
            random in any::<u64>(),
        ) {
            let attempted = Attempted::Answered { status, retry_after_s };
            if let DispatchOutcome::Retry { due_ms } = judge(&schedule, attempt, &attempted, random, 0) {
                let wait_s = due_ms / 1_000;
                prop_assert!((1..=u64::from(MAX_DELAY_S)).contains(&wait_s));
                prop_assert!(wait_s >= u64::from(schedule[attempt as usize - 1].min(MAX_DELAY_S)));
            }
        }
    }
}
