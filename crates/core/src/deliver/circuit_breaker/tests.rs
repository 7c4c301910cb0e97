use super::*;
use crate::deliver::retry_policy::Attempted;
use proptest::prelude::*;

const SETTINGS: Settings =
    Settings { window_ms: 120_000, min_calls: 10, failure_percent: 50, slow_percent: 0, slow_after_ms: 10_000 };
const LEASE_MS: u64 = 30_000;

fn call(at_ms: u64, duration_ms: u64, sign: AttemptSign) -> EndedAttempt {
    EndedAttempt { at_ms, duration_ms, sign }
}

fn tally(count: u64, at_ms: u64, sign: AttemptSign) -> AttemptTally {
    let mut tally = AttemptTally::default();
    (0..count).for_each(|_| tally.add(call(at_ms, 1, sign), Some(503), Some("HTTP 503: down")));
    tally
}

fn failed(count: u64, at_ms: u64) -> AttemptTally {
    tally(count, at_ms, AttemptSign::Failure)
}

fn succeeded(at_ms: u64) -> AttemptTally {
    tally(1, at_ms, AttemptSign::Success)
}

fn held(until_ms: u64) -> AttemptTally {
    let mut tally = AttemptTally::default();
    tally.hold(until_ms, Some(429), Some("HTTP 429: later"));
    tally
}

fn ask(circuit: &mut Circuit, now_ms: u64) -> Gate {
    circuit.ask(&[], &SETTINGS, LEASE_MS, now_ms)
}

/// A circuit that opened at `at_ms`.
fn opened(at_ms: u64) -> Circuit {
    let mut circuit = Circuit::default();
    assert_eq!(circuit.report(None, &failed(10, at_ms), &SETTINGS, at_ms), Some(Change::Opened));
    circuit
}

fn probe(circuit: &mut Circuit, now_ms: u64) -> u64 {
    match ask(circuit, now_ms) {
        Gate::Probe { until_ms } => until_ms,
        gate => panic!("no probe but {gate:?}"),
    }
}

#[test]
fn only_what_speaks_about_the_destination_counts() {
    let answered = |status| Attempted::Answered { status, retry_after_s: None };
    let asks = |status| Attempted::Answered { status, retry_after_s: Some(1) };
    for (attempted, expected) in [
        (answered(200), AttemptSign::Success),
        (asks(299), AttemptSign::Success),
        (answered(302), AttemptSign::Answered),
        (answered(400), AttemptSign::Answered),
        (asks(404), AttemptSign::Answered),
        (answered(408), AttemptSign::Failure),
        (answered(410), AttemptSign::Answered),
        (answered(429), AttemptSign::Failure),
        (asks(429), AttemptSign::Nothing),
        (asks(500), AttemptSign::Failure),
        (answered(503), AttemptSign::Failure),
        (asks(503), AttemptSign::Nothing),
        (answered(599), AttemptSign::Failure),
        (Attempted::Failed, AttemptSign::Failure),
        (Attempted::NotSent, AttemptSign::Nothing),
        (Attempted::BodyUnavailable, AttemptSign::Nothing),
    ] {
        assert_eq!(sign(&attempted), expected, "{attempted:?}");
    }
}

/// Attempts until it opens, of which every `nth` succeeds at once and the others end after `duration_ms`, `every_ms` one; `None`:
/// never in a thousand.
fn opens_after(settings: &Settings, nth: u64, every_ms: u64, duration_ms: u64, bad: AttemptSign) -> Option<u64> {
    let mut circuit = Circuit::default();
    (1..=1_000).find(|n| {
        let is_good = n % nth == 0;
        let (sign, duration_ms) = if is_good { (AttemptSign::Success, 20) } else { (bad, duration_ms) };
        let mut tally = AttemptTally::default();
        tally.add(call(n * every_ms, duration_ms, sign), None, None);
        let now_ms = n * every_ms + duration_ms;
        if tally.is_news(&Gate::Closed, settings) {
            circuit.report(None, &tally, settings, now_ms) == Some(Change::Opened)
        } else {
            circuit.ask(&tally.calls, settings, LEASE_MS, now_ms);
            false
        }
    })
}

#[test]
fn it_opens_by_the_rate_of_failures_not_by_failures_in_a_row() {
    let fails = AttemptSign::Failure;
    for (name, settings, nth, every_ms, expected) in [
        ("one in ten answers and the others hang", SETTINGS, 10, 500, Some(11)),
        ("5 % succeed", SETTINGS, 20, 500, Some(10)),
        ("half succeed", SETTINGS, 2, 100, Some(11)),
        ("all succeed", SETTINGS, 1, 100, None),
        ("half succeed, and more may fail", Settings { failure_percent: 60, ..SETTINGS }, 2, 100, None),
        ("few calls are not judged", Settings { min_calls: 100, ..SETTINGS }, 20, 10, Some(101)),
        ("a call in a minute is never ten within the window", SETTINGS, 10, 60_000, None),
    ] {
        assert_eq!(opens_after(&settings, nth, every_ms, 15_000, fails), expected, "{name}");
    }
    // Every third fails: 66 % succeed.
    let mut circuit = Circuit::default();
    for n in 1..=1_000u64 {
        let sign = if n % 3 == 0 { AttemptSign::Failure } else { AttemptSign::Success };
        assert_eq!(circuit.report(None, &tally(1, n * 100, sign), &SETTINGS, n * 100), None, "{n}");
    }
}

#[test]
fn slow_calls_open_it_only_where_that_is_asked_for() {
    let slow = Settings { slow_percent: 50, ..SETTINGS };
    let works = AttemptSign::Success;
    for (settings, duration_ms, expected) in [(slow, 10_000, Some(10)), (slow, 9_999, None), (SETTINGS, 60_000, None)] {
        assert_eq!(opens_after(&settings, 1_001, 100, duration_ms, works), expected, "{settings:?} {duration_ms}");
    }
}

#[test]
fn answers_about_the_delivery_neither_open_a_closed_circuit_nor_count_as_successes() {
    let answers = tally(100, 5, AttemptSign::Answered);
    assert!(!answers.is_news(&Gate::Closed, &SETTINGS));
    let mut circuit = Circuit::default();
    assert_eq!(circuit.report(None, &answers, &SETTINGS, 10), None);
    circuit.report(None, &failed(9, 5), &SETTINGS, 10);
    circuit.report(None, &answers, &SETTINGS, 10);
    assert_eq!(circuit.report(None, &failed(1, 10), &SETTINGS, 10), Some(Change::Opened));
}

#[test]
fn one_probe_at_a_time_after_waits_that_double_to_a_quarter_of_an_hour() {
    let mut now_ms = 100_000;
    let mut circuit = opened(now_ms);
    for wait_ms in [10, 20, 40, 80, 160, 320, 640, 900, 900].map(|s| s * 1_000) {
        let due_ms = now_ms + wait_ms;
        assert_eq!(ask(&mut circuit, due_ms - 1), Gate::Wait { until_ms: due_ms });
        let until_ms = probe(&mut circuit, due_ms);
        assert_eq!(ask(&mut circuit, due_ms + 1), Gate::Wait { until_ms: due_ms + LEASE_MS });
        now_ms = due_ms + 5_000;
        // What other batches found says nothing new.
        assert_eq!(circuit.report(None, &succeeded(now_ms), &SETTINGS, now_ms), None);
        assert_eq!(circuit.report(None, &failed(20, now_ms), &SETTINGS, now_ms), None);
        assert_eq!(circuit.report(Some(until_ms), &failed(1, now_ms), &SETTINGS, now_ms), None);
    }
    now_ms += 900_000;
    let until_ms = probe(&mut circuit, now_ms);
    assert_eq!(circuit.report(Some(until_ms), &succeeded(now_ms), &SETTINGS, now_ms), Some(Change::Closed));
    assert_eq!(ask(&mut circuit, now_ms), Gate::Closed);
    assert_eq!(circuit.row("s", None, &SETTINGS, now_ms).last_error.as_deref(), Some("HTTP 503: down"));
}

#[test]
fn a_probe_that_is_lost_is_followed_by_another_and_its_late_report_is_ignored() {
    let mut circuit = opened(100_000);
    let lost = probe(&mut circuit, 110_000);
    let next = probe(&mut circuit, 110_000 + LEASE_MS);
    assert_ne!(lost, next);
    let before = circuit.clone();
    for late in [failed(1, 141_000), succeeded(141_000)] {
        assert_eq!(circuit.report(Some(lost), &late, &SETTINGS, 141_000), None);
        assert_eq!(circuit.open, before.open);
    }
}

#[test]
fn a_probe_that_says_nothing_leaves_its_place_to_the_next_and_an_answer_closes() {
    let mut circuit = opened(100_000);
    let unused = probe(&mut circuit, 110_000);
    assert_eq!(circuit.report(Some(unused), &AttemptTally::default(), &SETTINGS, 110_001), None);
    let held_off = probe(&mut circuit, 110_001);
    assert_eq!(circuit.report(Some(held_off), &held(130_000), &SETTINGS, 110_002), None);
    assert_eq!(ask(&mut circuit, 110_003), Gate::Wait { until_ms: 130_000 });
    let gone = probe(&mut circuit, 130_000);
    let answer = tally(1, 130_000, AttemptSign::Answered);
    assert_eq!(circuit.report(Some(gone), &answer, &SETTINGS, 130_001), Some(Change::Closed));
}

#[test]
fn a_destination_that_asks_to_be_left_alone_is_and_so_is_one_that_people_pause() {
    let mut circuit = Circuit::default();
    for until_ms in [5_000, 4_000] {
        assert_eq!(circuit.report(None, &held(until_ms), &SETTINGS, 10), None);
    }
    assert_eq!(circuit.reported(None, 10), Reported { change: None, is_closed: false });
    assert_eq!((ask(&mut circuit, 4_999), ask(&mut circuit, 5_000)), (Gate::Wait { until_ms: 5_000 }, Gate::Closed));
    assert_eq!((circuit.pause(true, 6_000), circuit.pause(true, 7_000)), (false, true));
    // What waits for a pause asks again after as long as it has lasted.
    for (now_ms, wait_ms) in [(6_001, FIRST_WAIT_MS), (66_000, 60_000), (90_000_000, LONGEST_WAIT_MS)] {
        assert_eq!(ask(&mut circuit, now_ms), Gate::Wait { until_ms: now_ms + wait_ms });
    }
    assert!(!circuit.close() && !circuit.probe(7_000), "only who resumes ends a pause");
    assert_eq!(circuit.clone().row("s", None, &SETTINGS, 7_000).state, CircuitState::Paused);
    assert_eq!((circuit.pause(false, 8_000), circuit.pause(false, 8_000)), (true, false));
    assert_eq!(ask(&mut circuit, 8_000), Gate::Closed);
}

#[test]
fn people_close_it_or_have_it_probed_at_once() {
    let mut circuit = opened(100_000);
    assert!(circuit.probe(100_001));
    probe(&mut circuit, 100_001);
    assert!(circuit.probe(100_002), "the probe that is out stays the only one");
    assert_eq!(ask(&mut circuit, 100_002), Gate::Wait { until_ms: 100_001 + LEASE_MS });
    assert_eq!((circuit.close(), circuit.close()), (true, false));
    assert_eq!(circuit.report(None, &failed(9, 100_003), &SETTINGS, 100_003), None);
    circuit.report(None, &held(200_000), &SETTINGS, 100_003);
    assert_eq!((circuit.probe(100_004), circuit.probe(100_004)), (true, false));
    assert_eq!(ask(&mut circuit, 100_004), Gate::Closed);
}

#[test]
fn what_is_news_to_the_object_and_what_it_stores() {
    let (wait, probe) = (Gate::Wait { until_ms: 1 }, Gate::Probe { until_ms: 1 });
    let slow = Settings { slow_percent: 1, slow_after_ms: 1, ..SETTINGS };
    for (tally, gate, settings, expected) in [
        (AttemptTally::default(), Gate::Closed, SETTINGS, false),
        (succeeded(1), Gate::Closed, SETTINGS, false),
        (succeeded(1), Gate::Closed, slow, true),
        (failed(1, 1), Gate::Closed, SETTINGS, true),
        (held(1), Gate::Closed, SETTINGS, true),
        (AttemptTally::default(), probe, SETTINGS, true),
        (AttemptTally::default(), wait, SETTINGS, false),
    ] {
        assert_eq!(tally.is_news(&gate, &settings), expected, "{tally:?} {gate:?}");
    }
    let mut circuit = Circuit::default();
    let mut is_stored = |change: &dyn Fn(&mut Circuit)| {
        let before = circuit.clone();
        change(&mut circuit);
        circuit.is_to_be_stored(&before)
    };
    let good = |circuit: &mut Circuit| {
        circuit.ask(&succeeded(1).calls, &SETTINGS, LEASE_MS, 1);
    };
    assert!(!is_stored(&good), "a destination that works costs no row");
    assert!(is_stored(&|circuit| {
        circuit.report(None, &failed(1, 1), &SETTINGS, 1);
    }));
    assert!(is_stored(&good), "beside a failure it counts");
    assert!(!is_stored(&|circuit| {
        ask(circuit, 2);
    }));
    assert!(is_stored(&|circuit| {
        circuit.pause(true, 2);
    }));
}

#[test]
fn what_crosses_to_the_object_and_what_it_stores_is_pinned() {
    let report = CircuitCall::Report { probe: Some(2), tally: failed(1, 7), settings: SETTINGS };
    let settings = r#"{"window_ms":120000,"min_calls":10,"failure_percent":50,"slow_percent":0,"slow_after_ms":10000}"#;
    let calls = r#"[{"at_ms":7,"duration_ms":1,"sign":"failure"}]"#;
    let tally = format!(r#"{{"calls":{calls},"error":"HTTP 503: down","status":503}}"#);
    let ask = CircuitCall::Ask { lease_ms: 5, calls: failed(1, 7).calls, settings: SETTINGS };
    for (call, text) in [
        (report, format!(r#"{{"report":{{"probe":2,"tally":{tally},"settings":{settings}}}}}"#)),
        (ask, format!(r#"{{"ask":{{"lease_ms":5,"calls":{calls},"settings":{settings}}}}}"#)),
        (CircuitCall::Pause(true), r#"{"pause":true}"#.to_owned()),
    ] {
        assert_eq!(serde_json::to_string(&call).unwrap(), text);
        assert_eq!(serde_json::from_str::<CircuitCall>(&text).unwrap(), call);
    }
    let mut circuit = opened(100_000);
    probe(&mut circuit, 110_000);
    circuit.report(None, &held(150_000), &SETTINGS, 110_000);
    let stored = r#"{"v":2,"open":{"since_ms":100000,"wait_ms":10000,"probe_at_ms":140000,"is_probing":true},"held_until_ms":150000,"last_error":"HTTP 429: later","last_status":429,"window":[],"is_failing":false}"#;
    assert_eq!(serde_json::to_string(&circuit).unwrap(), stored);
    assert_eq!(serde_json::from_str::<Circuit>(stored).unwrap(), circuit);
    let row = serde_json::to_string(&circuit.row("s", Some("https://a".into()), &SETTINGS, 139_999)).unwrap();
    assert_eq!(
        row,
        r#"{"source":"s","url":"https://a","state":"probing","calls":0,"failures":0,"openedAtMs":100000,"nextProbeMs":140000,"heldUntilMs":150000,"pausedSinceMs":null,"lastError":"HTTP 429: later","lastStatus":429}"#
    );
    for state in CircuitState::ALL {
        assert_eq!(serde_json::to_string(&state).unwrap(), format!("{:?}", state.as_str()));
    }
}

#[test]
fn addresses_are_shown_without_what_may_be_secret() {
    for (url, shown) in [
        ("https://a.example/b/c?key=s3cr3t#x", "https://a.example/b/c"),
        ("https://user:s3cr3t@a.example:8443", "https://a.example:8443"),
        ("https://user@s3cr3t@a.example/x@y", "https://a.example/x@y"),
        ("https://a.example?s3cr3t", "https://a.example"),
        ("s3cr3t-less", "s3cr3t-less"),
    ] {
        assert_eq!(shown_url(url), shown);
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    /// The probe that was granted last is reported, or a batch without one.
    Report(AttemptSign),
    Hold(u64),
    Close,
    Pause(bool),
    Probe,
    /// The object restarts from what it stored.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        8 => Just(Step::Report(AttemptSign::Failure)),
        1 => Just(Step::Report(AttemptSign::Success)),
        1 => Just(Step::Report(AttemptSign::Answered)),
        1 => Just(Step::Report(AttemptSign::Nothing)),
        1 => (0u64..3_600_000).prop_map(Step::Hold),
        1 => Just(Step::Close),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::Probe),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec((0u64..30_000, step), 0..120)
}

proptest! {
    #[test]
    fn at_most_one_probe_is_out_and_waits_are_bounded(steps in steps()) {
        let (mut circuit, mut now_ms) = (Circuit::default(), 1_000_000);
        let mut stored = circuit.clone();
        let mut out: Option<u64> = None;
        for (passed_ms, step) in steps {
            now_ms += passed_ms;
            let before = circuit.clone();
            match step {
                Step::Ask => match ask(&mut circuit, now_ms) {
                    Gate::Probe { until_ms } => {
                        prop_assert!(out.is_none_or(|until_ms| until_ms <= now_ms), "two probes at once");
                        out = Some(until_ms);
                    }
                    Gate::Wait { until_ms } => {
                        prop_assert!(until_ms > now_ms && until_ms - now_ms <= 3_600_000);
                    }
                    Gate::Closed => prop_assert!(now_ms >= circuit.held_until_ms && circuit.paused_since_ms.is_none()),
                },
                Step::Report(sign) => {
                    let change = circuit.report(out.take(), &tally(4, now_ms, sign), &SETTINGS, now_ms);
                    prop_assert_eq!(change == Some(Change::Opened), before.open.is_none() && circuit.open.is_some());
                    prop_assert_eq!(change == Some(Change::Closed), before.open.is_some() && circuit.open.is_none());
                    prop_assert!(change != Some(Change::Opened) || sign == AttemptSign::Failure);
                }
                Step::Hold(ms) => {
                    circuit.report(None, &held(now_ms + ms), &SETTINGS, now_ms);
                }
                Step::Close => {
                    circuit.close();
                    out = None;
                }
                Step::Pause(is_paused) => {
                    circuit.pause(is_paused, now_ms);
                }
                Step::Probe => {
                    circuit.probe(now_ms);
                }
                Step::Restart => {
                    let known = circuit.row("s", None, &SETTINGS, now_ms);
                    circuit = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
                    let read = circuit.clone().row("s", None, &SETTINGS, now_ms);
                    prop_assert_eq!((known.state, known.failures), (read.state, read.failures));
                }
            }
            if circuit.is_to_be_stored(&before) {
                stored = circuit.clone();
            }
            if let Some(open) = &circuit.open {
                prop_assert!((FIRST_WAIT_MS..=LONGEST_WAIT_MS).contains(&open.wait_ms));
            }
        }
        // Whatever happened: a destination that works again is found within the longest wait, or the hold that it asked for.
        circuit.pause(false, now_ms);
        now_ms += 3_600_000;
        if let Gate::Probe { until_ms } = ask(&mut circuit, now_ms) {
            prop_assert_eq!(circuit.report(Some(until_ms), &succeeded(now_ms), &SETTINGS, now_ms), Some(Change::Closed));
        }
        prop_assert_eq!(ask(&mut circuit, now_ms), Gate::Closed);
    }

    #[test]
    fn waits_are_not_shorter_than_asked_and_spread_by_a_fifth(until_ms in any::<u64>(), now_ms in any::<u64>(), random in any::<u64>()) {
        let wait = u64::from(wait_s(until_ms, now_ms, random));
        let asked = until_ms.saturating_sub(now_ms).div_ceil(1000).max(1);
        prop_assert!((1..=u64::from(MAX_DELAY_S)).contains(&wait));
        prop_assert!(wait >= asked.min(u64::from(MAX_DELAY_S)) && wait <= asked.saturating_add((asked / 5).max(2)));
    }
}
