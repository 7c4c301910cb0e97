use super::SilenceVerdict::{Normal, Silent, Unknown};
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

    /// The times until `until_ms` at which it was said to be silent.
    fn silent(&self, until_ms: u64, limit_ms: Option<u64>) -> Vec<u64> {
        silent(until_ms, limit_ms, |now_ms| self.last_ms(now_ms))
    }
}

/// When a source that delivered last at `last(now)` was said to be silent.
fn silent(until_ms: u64, limit_ms: Option<u64>, last: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
    let mut history = History::default();
    let is_silent = |now_ms: &u64| history.evaluate(*now_ms, last(*now_ms), limit_ms) == Silent;
    steps(until_ms).filter(is_silent).collect()
}

fn steps(until_ms: u64) -> impl Iterator<Item = u64> {
    (MONDAY_MS..until_ms).step_by(usize::try_from(STEP_MS).unwrap())
}

/// Monday to Friday, eight to five and a bit, with half an hour of lunch.
fn office(in_week_ms: u64) -> bool {
    let (day, minute) = (in_week_ms / DAY_MS, in_week_ms % DAY_MS / 60_000);
    day < 5 && (475..1_028).contains(&minute) && !(725..755).contains(&minute)
}

#[test]
fn nights_weekends_lunch_and_first_weeks_do_not_flag() {
    let life = Life { on: &office, every_ms: 61_000, dies_ms: u64::MAX };
    assert_eq!(life.silent(MONDAY_MS + 5 * WEEK_MS, None), Vec::<u64>::new());
}

#[test]
fn a_dead_tuesday_morning_flags_within_its_patience_and_the_night_does_not_end_it() {
    // The first minutes of a day (from 7:55) are not counted on, and lunch has taught a patience of an hour.
    let tuesday_ms = MONDAY_MS + 3 * WEEK_MS + DAY_MS;
    let life = Life { on: &office, every_ms: 61_000, dies_ms: tuesday_ms };
    let silent = life.silent(tuesday_ms + DAY_MS, None);
    let first = silent[0] - tuesday_ms;
    assert!((9 * HOUR_MS..10 * HOUR_MS).contains(&first), "{} min", first / 60_000);
    assert_eq!(*silent.last().unwrap(), tuesday_ms + DAY_MS - STEP_MS);
}

#[test]
fn before_two_weeks_nothing_is_known() {
    let mut history = History::default();
    assert_eq!(history.evaluate(MONDAY_MS, None, None), Unknown);
    let life = Life { on: &|_| true, every_ms: 60_000, dies_ms: MONDAY_MS + WEEK_MS };
    assert_eq!(life.silent(MONDAY_MS + 2 * WEEK_MS, None), Vec::<u64>::new());
    assert!(!history.expected(MONDAY_MS));
}

#[test]
fn a_configured_limit_decides_alone() {
    let dies_ms = MONDAY_MS + HOUR_MS;
    let life = Life { on: &|_| true, every_ms: 60_000, dies_ms };
    let silent = life.silent(MONDAY_MS + 3 * HOUR_MS, Some(600_000));
    assert_eq!(silent[0], dies_ms + 600_000 + STEP_MS);
    assert_eq!(life.silent(MONDAY_MS + DAY_MS, Some(0)), Vec::<u64>::new());
    assert_eq!(History::default().evaluate(MONDAY_MS, None, Some(1)), Unknown);
}

#[test]
fn a_shard_that_does_not_answer_takes_nothing_back() {
    let mut history = History::default();
    let mut at = |last| history.evaluate(MONDAY_MS + HOUR_MS, last, Some(HOUR_MS));
    assert_eq!(at(Some(MONDAY_MS + HOUR_MS)), Normal);
    assert_eq!(at(Some(MONDAY_MS - HOUR_MS)), Normal);
    assert_eq!(at(None), Normal);
}

#[test]
fn a_week_without_an_evaluation_is_no_week_of_silence() {
    let life = Life { on: &|_| true, every_ms: 60_000, dies_ms: u64::MAX };
    let mut history = History::default();
    for now_ms in steps(MONDAY_MS + 4 * WEEK_MS) {
        if (now_ms - MONDAY_MS) / WEEK_MS == 2 {
            continue;
        }
        assert_ne!(history.evaluate(now_ms, life.last_ms(now_ms), None), Silent);
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
    let silent = silent(end_ms, None, |now_ms| Some(last(now_ms)));
    assert_eq!(silent.first(), Some(&(first_ms + LEAST_MS + STEP_MS)));
    assert_eq!(silent.iter().find(|at| **at > again_ms), Some(&(again_ms + LEAST_MS + STEP_MS)));
}

#[test]
fn the_stored_form_is_pinned_and_comes_back() {
    let mut history = History::default();
    history.evaluate(MONDAY_MS, Some(MONDAY_MS - 1), None);
    let text = serde_json::to_string(&history).unwrap();
    assert!(text.starts_with(r#"{"week":2965,"observed":"0000"#), "{text}");
    assert!(
        text.ends_with(r#""pauses_ms":[0,0,0,0],"last_ms":1793577599999,"silent":false,"limited":false}"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    assert!(serde_json::from_str::<History>(&text.replace(r#""observed":"00"#, r#""observed":"zz"#)).is_err());
}

/// What was said from `from_ms` on, and when it changed, of a source that delivered last at `last(now)`.
fn said(from_ms: u64, until_ms: u64, last: impl Fn(u64) -> Option<u64>) -> Vec<(u64, SilenceVerdict)> {
    let (mut history, mut said) = (History::default(), vec![]);
    for now_ms in steps(until_ms) {
        let verdict = history.evaluate(now_ms, last(now_ms), None);
        if now_ms >= from_ms && said.last().is_none_or(|(_, before)| *before != verdict) {
            said.push((now_ms, verdict));
        }
        // As the object keeps it.
        if now_ms.is_multiple_of(DAY_MS) {
            history = serde_json::from_str(&serde_json::to_string(&history).unwrap()).unwrap();
        }
    }
    said
}

/// The source `on`, away in each of `gaps`.
fn with_gaps(on: &dyn Fn(u64) -> bool, every_ms: u64, gaps: &[(u64, u64)], now_ms: u64) -> Option<u64> {
    let mut at = now_ms;
    loop {
        at = Life { on, every_ms, dies_ms: at }.last_ms(at)?;
        match gaps.iter().find(|(from, until)| (*from..*until).contains(&at)) {
            Some((from, _)) => at = from - 1,
            None => return Some(at),
        }
    }
}

#[test]
fn what_has_died_is_silent_until_it_delivers_however_many_weeks_later() {
    let born_ms = MONDAY_MS + 3 * WEEK_MS;
    // Tuesday morning, Friday morning, and the minutes around the beginning of a week (Thursday 00:00).
    let deaths = [
        DAY_MS + 10 * HOUR_MS,
        4 * DAY_MS + 10 * HOUR_MS,
        3 * DAY_MS - HOUR_MS / 4,
        3 * DAY_MS,
        3 * DAY_MS + HOUR_MS / 4,
    ];
    for on in [&(|_| true) as &dyn Fn(u64) -> bool, &office] {
        for death in deaths {
            let gap = (born_ms + death, born_ms + death + 5 * WEEK_MS);
            let changes = said(born_ms, gap.1 + DAY_MS, |now_ms| with_gaps(on, 61_000, &[gap], now_ms));
            let verdicts: Vec<SilenceVerdict> = changes.iter().map(|(_, verdict)| *verdict).collect();
            // Afterwards too little is left to expect anything.
            assert_eq!(verdicts, [Normal, Silent, Unknown], "{changes:?}");
            assert!(changes[2].0 >= gap.1 && changes[2].0 < gap.1 + DAY_MS, "{changes:?}");
        }
    }
}

#[test]
fn the_beginning_of_a_week_does_not_put_off_what_is_silent() {
    // A pause of an hour has taught a patience of two; it dies an hour and a half before the week begins.
    let dies_ms = MONDAY_MS + 3 * WEEK_MS + 3 * DAY_MS - 90 * 60_000;
    let pause = (MONDAY_MS + 2 * WEEK_MS, MONDAY_MS + 2 * WEEK_MS + HOUR_MS);
    let changes =
        said(dies_ms, dies_ms + DAY_MS, |now_ms| with_gaps(&|_| true, 60_000, &[pause, (dies_ms, u64::MAX)], now_ms));
    assert_eq!(changes[1].1, Silent);
    assert!(changes[1].0 <= dies_ms + 2 * HOUR_MS + 2 * STEP_MS, "{} min late", (changes[1].0 - dies_ms) / 60_000);
}

#[test]
fn an_outage_does_not_blind_the_monitor_for_the_same_hours_of_the_next_week() {
    let first_ms = MONDAY_MS + 3 * WEEK_MS + DAY_MS + 10 * HOUR_MS;
    // Four hours, which are flagged, and one, which is within the patience of a source with a pause of an hour.
    for hours in [4, 1] {
        let pause = (MONDAY_MS + 2 * WEEK_MS, MONDAY_MS + 2 * WEEK_MS + HOUR_MS);
        let second_ms = first_ms + WEEK_MS;
        let gaps = [pause, (first_ms, first_ms + hours * HOUR_MS), (second_ms, u64::MAX)];
        let changes =
            said(second_ms - HOUR_MS, second_ms + DAY_MS, |now_ms| with_gaps(&|_| true, 60_000, &gaps, now_ms));
        assert_eq!(changes[1].1, Silent);
        let late_ms = changes[1].0 - second_ms;
        assert!(late_ms <= 2 * HOUR_MS + 2 * STEP_MS, "after {hours} h: {} min late", late_ms / 60_000);
    }
}

#[test]
fn a_holiday_is_one_flag_and_does_not_blind_the_monitor_for_the_next_monday() {
    let holiday_ms = MONDAY_MS + 3 * WEEK_MS;
    let dies_ms = holiday_ms + WEEK_MS + 9 * HOUR_MS + HOUR_MS / 2;
    let gaps = [(holiday_ms, holiday_ms + DAY_MS), (dies_ms, u64::MAX)];
    let changes = said(holiday_ms, dies_ms + DAY_MS, |now_ms| with_gaps(&office, 61_000, &gaps, now_ms));
    let verdicts: Vec<SilenceVerdict> = changes.iter().map(|(_, verdict)| *verdict).collect();
    assert_eq!(verdicts, [Normal, Silent, Normal, Silent]);
    assert!(changes[2].0 < holiday_ms + DAY_MS + 9 * HOUR_MS, "the next morning ends it");
    assert!(changes[3].0 - dies_ms < 90 * 60_000, "{} min late", (changes[3].0 - dies_ms) / 60_000);
}

#[test]
fn a_source_that_gives_up_its_mondays_is_flagged_for_it_three_times_at_most() {
    let from_ms = MONDAY_MS + 4 * WEEK_MS;
    let mondays: Vec<(u64, u64)> = (4..10).map(|week| MONDAY_MS + week * WEEK_MS).map(|at| (at, at + DAY_MS)).collect();
    let changes = said(from_ms, from_ms + 6 * WEEK_MS, |now_ms| with_gaps(&office, 61_000, &mondays, now_ms));
    assert_eq!(changes.iter().filter(|(_, verdict)| *verdict == Silent).count(), 3, "{changes:?}");
    assert_eq!(changes.last().unwrap().1, Normal);
}

#[test]
fn what_a_limit_said_does_not_last_longer_than_the_limit() {
    let mut history = History::default();
    assert_eq!(history.evaluate(MONDAY_MS, Some(MONDAY_MS), None), Unknown);
    assert_eq!(history.evaluate(MONDAY_MS + HOUR_MS, Some(MONDAY_MS), Some(60_000)), Silent);
    let text = serde_json::to_string(&history).unwrap();
    assert!(text.ends_with(r#""silent":true,"limited":true}"#), "{text}");
    assert_eq!(serde_json::from_str::<History>(&text).unwrap(), history);
    assert_eq!(history.evaluate(MONDAY_MS + HOUR_MS, Some(MONDAY_MS), None), Unknown);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever hours of the week a source is active in: as long as it keeps to them it is never silent, and once it has
    /// stopped it is silent within a week if it had three busy hours in a row, for as long as it does not deliver.
    #[test]
    fn only_what_stops_is_silent(hours in proptest::collection::vec(any::<bool>(), 168), run in 0usize..160, minutes in 1u64..20) {
        let mut hours = hours;
        for hour in &mut hours[run..run + 6] {
            *hour = true;
        }
        let on = |ms: u64| hours[usize::try_from(ms / HOUR_MS).unwrap()];
        let dies_ms = MONDAY_MS + 4 * WEEK_MS;
        let life = Life { on: &on, every_ms: minutes * 60_000, dies_ms };
        let end_ms = dies_ms + 6 * WEEK_MS;
        let silent = life.silent(end_ms, None);
        prop_assert!(silent.iter().all(|at| *at > dies_ms), "silent while it kept to its hours");
        prop_assert!(silent.first().is_some_and(|at| *at <= dies_ms + WEEK_MS), "a week without a delivery passed unnoticed");
        let lasted = (end_ms - silent[0]).div_ceil(STEP_MS);
        prop_assert_eq!(silent.len() as u64, lasted, "not silent any more without a delivery");
    }
}
