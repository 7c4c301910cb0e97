use super::*;
use crate::time::DAY_MS;
use proptest::prelude::*;

const STEP_MS: u64 = 300_000;
const WEEK_MS: u64 = 7 * DAY_MS;

/// Monday 2026-11-02, 00:00 UTC.
const MONDAY_MS: u64 = 1_793_577_600_000;

/// A source that delivers every `every_ms` in the hours of the week that `on` allows, until `dies_ms`.
struct Life<'a> {
    on: &'a dyn Fn(u64) -> bool,
    every_ms: u64,
    dies_ms: u64,
}

impl Life<'_> {
    /// The last delivery at or before a time.
    fn last_ms(&self, now_ms: u64) -> Option<u64> {
        let mut at = now_ms.min(self.dies_ms).div_euclid(self.every_ms) * self.every_ms;
        while at >= MONDAY_MS {
            if (self.on)((at - MONDAY_MS).rem_euclid(WEEK_MS)) {
                return Some(at);
            }
            at -= self.every_ms;
        }
        None
    }

    /// The times at which it was said to be silent.
    fn silent(&self, from_ms: u64, until_ms: u64, limit_ms: Option<u64>) -> Vec<u64> {
        let (mut history, mut silent, mut now_ms) = (History::default(), vec![], from_ms);
        while now_ms < until_ms {
            if history.evaluate(now_ms, self.last_ms(now_ms), limit_ms) == Verdict::Silent {
                silent.push(now_ms);
            }
            now_ms += STEP_MS;
        }
        silent
    }
}

/// Monday to Friday, eight to five and a bit, with half an hour of lunch.
fn office(in_week_ms: u64) -> bool {
    let (day, minute) = (in_week_ms / DAY_MS, in_week_ms % DAY_MS / 60_000);
    day < 5 && (475..1_028).contains(&minute) && !(725..755).contains(&minute)
}

#[test]
fn nights_weekends_lunch_and_first_weeks_do_not_flag() {
    let life = Life { on: &office, every_ms: 61_000, dies_ms: u64::MAX };
    assert_eq!(life.silent(MONDAY_MS, MONDAY_MS + 5 * WEEK_MS, None), Vec::<u64>::new());
}

#[test]
fn a_dead_tuesday_morning_flags_within_its_patience_and_until_it_is_back() {
    // The first hour of a day is not counted on, and lunch has taught a patience of an hour.
    let tuesday_ms = MONDAY_MS + 3 * WEEK_MS + DAY_MS;
    let life = Life { on: &office, every_ms: 61_000, dies_ms: tuesday_ms };
    let silent = life.silent(MONDAY_MS, tuesday_ms + DAY_MS, None);
    let first = silent[0] - tuesday_ms;
    assert!((10 * HOUR_MS..11 * HOUR_MS).contains(&first), "{} min", first / 60_000);
    // The night in between does not end it.
    assert_eq!(*silent.last().unwrap(), tuesday_ms + DAY_MS - STEP_MS);
    let back = |ms: u64| office(ms) && !(DAY_MS..DAY_MS + 13 * HOUR_MS).contains(&(ms % WEEK_MS));
    // Missing only in the fourth week: the source as a whole, with one morning taken out.
    let life = Life { on: &office, every_ms: 61_000, dies_ms: u64::MAX };
    let (mut history, mut silent) = (History::default(), vec![]);
    for step in 0..(4 * WEEK_MS / STEP_MS) {
        let now_ms = MONDAY_MS + step * STEP_MS;
        let cut = Life { on: &back, ..life };
        let last = if now_ms < MONDAY_MS + 3 * WEEK_MS {
            life.last_ms(now_ms)
        } else {
            cut.last_ms(now_ms).max(life.last_ms(now_ms.min(tuesday_ms)))
        };
        if history.evaluate(now_ms, last, None) == Verdict::Silent {
            silent.push(now_ms);
        }
    }
    assert!(!silent.is_empty());
    assert!(silent.iter().all(|at| *at < tuesday_ms + 13 * HOUR_MS + STEP_MS), "silent after it was back");
}

#[test]
fn before_two_weeks_nothing_is_known() {
    let mut history = History::default();
    assert_eq!(history.evaluate(MONDAY_MS, None, None), Verdict::Unknown);
    let life = Life { on: &|_| true, every_ms: 60_000, dies_ms: MONDAY_MS + WEEK_MS };
    assert_eq!(life.silent(MONDAY_MS, MONDAY_MS + 2 * WEEK_MS, None), Vec::<u64>::new());
    assert!(!history.expected(MONDAY_MS));
}

#[test]
fn a_configured_limit_decides_alone() {
    let dies_ms = MONDAY_MS + HOUR_MS;
    let life = Life { on: &|_| true, every_ms: 60_000, dies_ms };
    let silent = life.silent(MONDAY_MS, MONDAY_MS + 3 * HOUR_MS, Some(600_000));
    assert_eq!(silent[0], dies_ms + 600_000 + STEP_MS);
    assert_eq!(life.silent(MONDAY_MS, MONDAY_MS + DAY_MS, Some(0)), Vec::<u64>::new());
    assert_eq!(History::default().evaluate(MONDAY_MS, None, Some(1)), Verdict::Unknown);
}

#[test]
fn a_shard_that_does_not_answer_takes_nothing_back() {
    let mut history = History::default();
    let mut at = |last| history.evaluate(MONDAY_MS + HOUR_MS, last, Some(HOUR_MS));
    assert_eq!(at(Some(MONDAY_MS + HOUR_MS)), Verdict::Normal);
    assert_eq!(at(Some(MONDAY_MS - HOUR_MS)), Verdict::Normal);
    assert_eq!(at(None), Verdict::Normal);
}

#[test]
fn a_week_that_nobody_watched_is_no_week_of_silence() {
    let life = Life { on: &|_| true, every_ms: 60_000, dies_ms: u64::MAX };
    let mut history = History::default();
    for step in 0..(4 * WEEK_MS / STEP_MS) {
        let now_ms = MONDAY_MS + step * STEP_MS;
        if (now_ms - MONDAY_MS) / WEEK_MS == 2 {
            continue;
        }
        assert_ne!(history.evaluate(now_ms, life.last_ms(now_ms), None), Verdict::Silent);
    }
    assert!(history.expected(MONDAY_MS + 4 * WEEK_MS));
}

#[test]
fn an_outage_that_was_noticed_teaches_no_patience() {
    let first_ms = MONDAY_MS + 3 * WEEK_MS;
    let (again_ms, end_ms) = (first_ms + 10 * HOUR_MS, first_ms + 12 * HOUR_MS);
    // Away for 100 minutes, back, and away again.
    let last = |now_ms: u64| match now_ms {
        now_ms if now_ms < first_ms => now_ms,
        now_ms if now_ms < first_ms + 100 * 60_000 => first_ms,
        now_ms => now_ms.min(again_ms),
    };
    let (mut history, mut silent, mut now_ms) = (History::default(), vec![], MONDAY_MS);
    while now_ms < end_ms {
        if history.evaluate(now_ms, Some(last(now_ms)), None) == Verdict::Silent {
            silent.push(now_ms);
        }
        now_ms += STEP_MS;
    }
    assert_eq!(silent.first(), Some(&(first_ms + LEAST_MS + STEP_MS)));
    assert_eq!(silent.iter().find(|at| **at > again_ms), Some(&(again_ms + LEAST_MS + STEP_MS)));
}

#[test]
fn the_stored_form_is_pinned_and_comes_back() {
    let mut history = History::default();
    history.evaluate(MONDAY_MS, Some(MONDAY_MS - 1), None);
    let text = serde_json::to_string(&history).unwrap();
    assert!(text.starts_with(r#"{"week":2965,"watched":"0000"#), "{text}");
    assert!(text.ends_with(r#""pauses_ms":[0,0,0,0],"last_ms":1793577599999,"silent":false}"#), "{text}");
    assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    let first = r#"{"week":1,"watched":"","active":"","pauses_ms":[],"last_ms":null}"#;
    assert_eq!(serde_json::from_str::<History>(first).unwrap().last_ms, None);
    assert!(serde_json::from_str::<History>(&first.replace(r#""watched":"""#, r#""watched":"zz""#)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever hours of the week a source is active in: as long as it keeps to them it is never silent, and once it has
    /// stopped it is silent within the next two weeks if it had three busy hours in a row, and never otherwise.
    #[test]
    fn only_what_stops_is_silent(hours in proptest::collection::vec(any::<bool>(), 168), run in 0usize..160, minutes in 1u64..20) {
        let mut hours = hours;
        for hour in &mut hours[run..run + 6] {
            *hour = true;
        }
        let on = |ms: u64| hours[usize::try_from(ms / HOUR_MS).unwrap()];
        let dies_ms = MONDAY_MS + 4 * WEEK_MS;
        let life = Life { on: &on, every_ms: minutes * 60_000, dies_ms };
        let silent = life.silent(MONDAY_MS, dies_ms + WEEK_MS, None);
        prop_assert!(silent.iter().all(|at| *at > dies_ms), "silent while it kept to its hours");
        prop_assert!(!silent.is_empty(), "a week without a delivery passed unnoticed");
    }
}
