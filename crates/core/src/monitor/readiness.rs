//! When the checks of readiness are made, and how long what they said holds.
//!
//! Promises: one probe at a time makes the checks, and others are answered with what it finds; a round that ends without a word,
//! because its request went away, leaves nothing behind: neither an old answer nor a wait that is longer than a round takes.
//! Out of scope: the checks.

/// How long an answer holds, in milliseconds.
pub const HOLDS_MS: u64 = 10_000;

/// How long a round may take, in milliseconds.
pub const ROUND_MS: u64 = 3_500;

#[derive(Clone, Debug, Default)]
pub struct Rounds {
    until_ms: u64,
    /// Status and body; `None` while a round is under way.
    answer: Option<(u16, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadinessStep {
    /// Makes the checks, and calls [`Rounds::ended`].
    Check,
    /// Looks again soon: another probe is making them.
    Wait,
    Answer(u16, String),
}

impl Rounds {
    /// A probe arrives, or looks again.
    pub fn probe(&mut self, now_ms: u64) -> ReadinessStep {
        if self.until_ms > now_ms {
            let answer = self.answer.clone();
            return answer.map_or(ReadinessStep::Wait, |(status, body)| ReadinessStep::Answer(status, body));
        }
        *self = Self { until_ms: now_ms.saturating_add(ROUND_MS), answer: None };
        ReadinessStep::Check
    }

    pub fn ended(&mut self, status: u16, body: String, now_ms: u64) {
        *self = Self { until_ms: now_ms.saturating_add(HOLDS_MS), answer: Some((status, body)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_round_answers_all_probes_for_a_while() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.probe(1_000), ReadinessStep::Check);
        assert_eq!(rounds.probe(1_050), ReadinessStep::Wait);
        rounds.ended(200, "ready".into(), 1_100);
        assert_eq!(rounds.probe(1_100 + HOLDS_MS - 1), ReadinessStep::Answer(200, "ready".into()));
        assert_eq!(rounds.probe(1_100 + HOLDS_MS), ReadinessStep::Check);
    }

    #[test]
    fn a_round_that_was_cancelled_leaves_no_old_answer() {
        let mut rounds = Rounds::default();
        rounds.ended(200, "ready".into(), 0);
        assert_eq!(rounds.probe(HOLDS_MS), ReadinessStep::Check);
        // Its request went away.
        assert_eq!(rounds.probe(HOLDS_MS + 1), ReadinessStep::Wait);
        assert_eq!(rounds.probe(HOLDS_MS + ROUND_MS), ReadinessStep::Check);
    }
}
