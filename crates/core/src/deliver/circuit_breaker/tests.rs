use super::*;
use proptest::prelude::*;

const SETTINGS: Settings = Settings { after_ms: 60_000, failures: 10 };
const LEASE_MS: u64 = 30_000;

fn failed(count: u64, at_ms: u64) -> Tally {
    let mut tally = Tally::default();
    (0..count).for_each(|_| tally.add(Sign::Failure, at_ms, Some(503), Some("HTTP 503: down")));
    tally
}

fn succeeded(at_ms: u64) -> Tally {
    let mut tally = Tally::default();
    tally.add(Sign::Success, at_ms, Some(200), None);
    tally
}

/// A circuit that opened at `at_ms`.
fn opened(at_ms: u64) -> Circuit {
    let mut circuit = Circuit::default();
    let change = circuit.report(None, &failed(10, at_ms - 60_000), &SETTINGS, at_ms);
    assert_eq!(change, Some(Change::Opened));
    circuit
}

fn probe(circuit: &mut Circuit, now_ms: u64) -> u64 {
    match circuit.ask(LEASE_MS, now_ms) {
        Gate::Probe { number, .. } => number,
        gate => panic!("no probe but {gate:?}"),
    }
}

#[test]
fn only_what_speaks_about_the_destination_counts() {
    let answered = |status| Attempted::Answered { status, retry_after_s: None };
    for (attempted, expected) in [
        (answered(200), Sign::Success),
        (answered(299), Sign::Success),
        (answered(302), Sign::Answer),
        (answered(400), Sign::Answer),
        (answered(404), Sign::Answer),
        (answered(408), Sign::Failure),
        (answered(410), Sign::Answer),
        (answered(429), Sign::Failure),
        (answered(500), Sign::Failure),
        (answered(599), Sign::Failure),
        (Attempted::Failed, Sign::Failure),
        (Attempted::NotSent, Sign::None),
        (Attempted::BodyUnavailable, Sign::None),
    ] {
        assert_eq!(sign(&attempted), expected, "{attempted:?}");
    }
}

#[test]
fn it_opens_after_enough_failures_for_long_enough_and_not_before() {
    for (failures, for_ms, change) in
        [(9, 60_000, None), (10, 59_999, None), (10, 60_000, Some(Change::Opened)), (1_000, 0, None)]
    {
        let mut circuit = Circuit::default();
        assert_eq!(
            circuit.report(None, &failed(failures, 1_000), &SETTINGS, 1_000 + for_ms),
            change,
            "{failures} {for_ms}"
        );
    }
    let mut circuit = Circuit::default();
    circuit.report(None, &failed(50, 1_000), &SETTINGS, 1_000);
    circuit.report(None, &succeeded(50_000), &SETTINGS, 50_000);
    assert_eq!(circuit.report(None, &failed(50, 61_000), &SETTINGS, 61_000), None, "a success begins the time anew");
    assert_eq!(circuit.ask(LEASE_MS, 61_000), Gate::Closed { failing: true });
    // A success that ended before the first failure proves nothing about what came after it.
    assert_eq!(circuit.report(None, &succeeded(60_000), &SETTINGS, 62_000), None);
    assert_eq!(circuit.ask(LEASE_MS, 62_000), Gate::Closed { failing: true });
}

#[test]
fn answers_about_the_delivery_neither_open_a_closed_circuit_nor_count_as_successes() {
    let mut answers = Tally::default();
    (0..100).for_each(|_| answers.add(Sign::Answer, 5, Some(404), Some("HTTP 404")));
    let mut circuit = Circuit::default();
    assert_eq!(circuit.report(None, &answers, &SETTINGS, 1_000_000), None);
    assert_eq!(circuit, Circuit::default());
    circuit.report(None, &failed(9, 0), &SETTINGS, 0);
    circuit.report(None, &answers, &SETTINGS, 30_000);
    assert_eq!(circuit.report(None, &failed(1, 60_000), &SETTINGS, 60_000), Some(Change::Opened));
}

#[test]
fn one_probe_at_a_time_after_waits_that_double_to_a_quarter_of_an_hour() {
    let mut now_ms = 100_000;
    let mut circuit = opened(now_ms);
    for delay_ms in [30_000, 60_000, 120_000, 240_000, 480_000, 900_000, 900_000] {
        let due_ms = now_ms + delay_ms;
        assert_eq!(circuit.ask(LEASE_MS, due_ms - 1), Gate::Open { until_ms: due_ms });
        let number = probe(&mut circuit, due_ms);
        let second = circuit.ask(LEASE_MS, due_ms + 1);
        assert_eq!(second, Gate::Open { until_ms: due_ms + LEASE_MS });
        now_ms = due_ms + 5_000;
        assert_eq!(circuit.report(Some(number), &failed(1, now_ms), &SETTINGS, now_ms), None);
    }
    let number = probe(&mut circuit, now_ms + 900_000);
    now_ms += 900_010;
    assert_eq!(circuit.report(Some(number), &succeeded(now_ms), &SETTINGS, now_ms), Some(Change::Closed));
    assert_eq!(circuit.ask(LEASE_MS, now_ms), Gate::Closed { failing: false });
    assert_eq!(circuit.row("s", None, now_ms).last_error.as_deref(), Some("HTTP 503: down"));
}

#[test]
fn a_probe_that_is_lost_is_followed_by_another_and_its_late_failure_is_ignored() {
    let mut circuit = opened(100_000);
    let lost = probe(&mut circuit, 130_000);
    let next = probe(&mut circuit, 130_000 + LEASE_MS);
    assert_ne!(lost, next);
    let before = circuit.clone();
    circuit.report(Some(lost), &failed(1, 161_000), &SETTINGS, 161_000);
    assert_eq!(circuit.open, before.open);
    // Late, but it did succeed.
    assert_eq!(circuit.report(Some(lost), &succeeded(162_000), &SETTINGS, 162_000), Some(Change::Closed));
}

#[test]
fn a_probe_that_found_nothing_to_send_leaves_its_place_to_the_next() {
    let mut circuit = opened(100_000);
    let unused = probe(&mut circuit, 130_000);
    assert_eq!(circuit.report(Some(unused), &Tally::default(), &SETTINGS, 130_001), None);
    assert_eq!(probe(&mut circuit, 130_001), unused + 1);
}

#[test]
fn an_answer_to_a_probe_closes() {
    let mut circuit = opened(100_000);
    let number = probe(&mut circuit, 130_000);
    let mut gone = Tally::default();
    gone.add(Sign::Answer, 130_001, Some(410), Some("HTTP 410"));
    assert_eq!(circuit.report(Some(number), &gone, &SETTINGS, 130_002), Some(Change::Closed));
}

#[test]
fn a_batch_that_began_before_the_circuit_opened_may_close_it() {
    let mut circuit = opened(100_000);
    assert_eq!(circuit.report(None, &succeeded(100_000), &SETTINGS, 100_001), None);
    assert_eq!(circuit.report(None, &failed(3, 100_002), &SETTINGS, 100_002), None);
    assert_eq!(circuit.report(None, &succeeded(100_001), &SETTINGS, 100_003), Some(Change::Closed));
}

#[test]
fn a_circuit_that_was_closed_by_hand_is_as_new() {
    let mut circuit = opened(100_000);
    assert_eq!((circuit.close(), circuit.close()), (Some(Change::Closed), None));
    assert_eq!(circuit.report(None, &failed(10, 100_001), &SETTINGS, 100_001), None);
}

#[test]
fn what_is_news_to_the_object() {
    let (open, probe) = (Gate::Open { until_ms: 1 }, Gate::Probe { number: 1, until_ms: 1 });
    for (tally, gate, expected) in [
        (Tally::default(), Gate::Closed { failing: true }, false),
        (succeeded(1), Gate::Closed { failing: false }, false),
        (succeeded(1), Gate::Closed { failing: true }, true),
        (failed(1, 1), Gate::Closed { failing: false }, true),
        (Tally::default(), probe, true),
        (failed(1, 1), open, false),
    ] {
        assert_eq!(tally.is_news(&gate), expected, "{tally:?} {gate:?}");
    }
}

#[test]
fn what_crosses_to_the_object_and_what_it_stores_is_pinned() {
    let call = CircuitCall::Report { probe: Some(2), tally: failed(1, 7), settings: SETTINGS };
    let text = r#"{"report":{"probe":2,"tally":{"answered":false,"failures":1,"failing_since_ms":7,"error":"HTTP 503: down","status":503},"settings":{"after_ms":60000,"failures":10}}}"#;
    assert_eq!(serde_json::to_string(&call).unwrap(), text);
    assert_eq!(serde_json::from_str::<CircuitCall>(text).unwrap(), call);
    let mut circuit = opened(100_000);
    probe(&mut circuit, 130_000);
    let stored = r#"{"v":1,"failures":10,"failing_since_ms":40000,"last_error":"HTTP 503: down","last_status":503,"open":{"since_ms":100000,"delay_ms":30000,"next_probe_ms":130000,"probes":1,"probe_until_ms":160000}}"#;
    assert_eq!(serde_json::to_string(&circuit).unwrap(), stored);
    assert_eq!(serde_json::from_str::<Circuit>(stored).unwrap(), circuit);
    assert_eq!(serde_json::from_str::<Circuit>(r#"{"v":1}"#).unwrap(), Circuit::default());
    let row = serde_json::to_string(&circuit.row("s", Some("https://a".into()), 140_000)).unwrap();
    assert_eq!(
        row,
        r#"{"source":"s","url":"https://a","state":"probing","failingSinceMs":40000,"consecutiveFailures":10,"openedAtMs":100000,"nextProbeMs":130000,"delayS":30,"lastError":"HTTP 503: down","lastStatus":503}"#
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

/// One step of a history: what a consumer does, and how much time passes before it.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    /// Reports the oldest probe that is out, or a batch without one.
    Report(Sign),
    /// The consumer that holds the probe crashes.
    Crash,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        3 => Just(Step::Report(Sign::Failure)),
        1 => Just(Step::Report(Sign::Success)),
        1 => Just(Step::Report(Sign::Answer)),
        1 => Just(Step::Report(Sign::None)),
        1 => Just(Step::Crash),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec((0u64..1_000_000, step), 0..80)
}

proptest! {
    #[test]
    fn at_most_one_probe_is_out_and_waits_are_bounded(steps in steps()) {
        let (mut circuit, mut now_ms) = (Circuit::default(), 1_000_000);
        let mut out: Option<(u64, u64)> = None;
        for (passed_ms, step) in steps {
            now_ms += passed_ms;
            match step {
                Step::Ask => match circuit.ask(LEASE_MS, now_ms) {
                    Gate::Probe { number, until_ms } => {
                        prop_assert!(out.is_none_or(|(_, lease_ms)| lease_ms <= now_ms), "two probes at once");
                        out = Some((number, until_ms));
                    }
                    Gate::Open { until_ms } => {
                        prop_assert!(until_ms > now_ms && until_ms - now_ms <= MAX_DELAY_MS.max(LEASE_MS));
                    }
                    Gate::Closed { .. } => {}
                },
                Step::Report(sign) => {
                    let mut tally = Tally::default();
                    tally.add(sign, now_ms, None, None);
                    let was_open = circuit.open.is_some();
                    let change = circuit.report(out.map(|(number, _)| number), &tally, &SETTINGS, now_ms);
                    prop_assert_eq!(change == Some(Change::Opened), !was_open && circuit.open.is_some());
                    prop_assert_eq!(change == Some(Change::Closed), was_open && circuit.open.is_none());
                    prop_assert!(change != Some(Change::Opened) || sign == Sign::Failure);
                    out = None;
                }
                Step::Crash => {}
                Step::Close => { circuit.close(); out = None; }
            }
            if let Some(open) = &circuit.open {
                prop_assert!((FIRST_DELAY_MS..=MAX_DELAY_MS).contains(&open.delay_ms));
            }
        }
        // Whatever happened: a destination that works again is found within the longest wait and one lease.
        now_ms += MAX_DELAY_MS + LEASE_MS;
        if let Gate::Probe { number, .. } = circuit.ask(LEASE_MS, now_ms) {
            prop_assert_eq!(circuit.report(Some(number), &succeeded(now_ms), &SETTINGS, now_ms), Some(Change::Closed));
        }
        let gate = circuit.ask(LEASE_MS, now_ms);
        prop_assert!(matches!(gate, Gate::Closed { .. }), "{:?}", gate);
    }

    #[test]
    fn waits_are_not_shorter_than_asked_and_spread_by_a_fifth(until_ms in any::<u64>(), now_ms in any::<u64>(), random in any::<u64>()) {
        let wait = u64::from(wait_s(until_ms, now_ms, random));
        let asked = until_ms.saturating_sub(now_ms).div_ceil(1000).max(1);
        prop_assert!((1..=u64::from(MAX_DELAY_S)).contains(&wait));
        prop_assert!(wait >= asked.min(u64::from(MAX_DELAY_S)) && wait <= asked.saturating_add((asked / 5).max(2)));
    }
}
