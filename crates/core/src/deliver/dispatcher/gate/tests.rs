//! Breaker, limits and returns of one destination over time.

use super::*;

const SETTINGS: GateSettings = GateSettings {
    max_in_flight: 200,
    rate_per_s: 0,
    window_ms: 120_000,
    min_calls: 10,
    failure_percent: 50,
    slow_percent: 0,
    slow_after_ms: 10_000,
};

fn call(at_ms: u64, duration_ms: u64, is_good: bool) -> EndedAttempt {
    EndedAttempt { at_ms, duration_ms, sign: if is_good { AttemptSign::Success } else { AttemptSign::Failure } }
}

fn gate() -> DestinationGate {
    DestinationGate::new(GateRow::default())
}

/// Reports calls of which every `nth` is good; whether the breaker opened.
fn opens(settings: &GateSettings, calls: u64, every_ms: u64, nth: u64, duration_ms: u64) -> bool {
    let mut gate = gate();
    (0..calls).any(|n| {
        let at_ms = n * every_ms;
        let is_good = n % nth == nth - 1;
        gate.report(settings, call(at_ms, duration_ms, is_good), 1, at_ms + duration_ms) == Some(GateChange::Opened)
    })
}

#[test]
fn it_opens_by_the_rate_of_failures_not_by_failures_in_a_row() {
    for (name, settings, nth, every_ms, expected) in [
        ("one in ten works", SETTINGS, 10, 500, true),
        ("one in twenty works, so there are never many failures in a row of 20", SETTINGS, 20, 500, true),
        ("two in three fail", SETTINGS, 3, 100, true),
        ("all work", SETTINGS, 1, 100, false),
        ("nine calls are too few", GateSettings { min_calls: 101, ..SETTINGS }, 10, 10, false),
        ("a call in a minute is never ten within the window", SETTINGS, 10, 60_000, false),
    ] {
        assert_eq!(opens(&settings, 100, every_ms, nth, 10), expected, "{name}");
    }
    // Every third fails.
    let mut gate = gate();
    let change = (0..300u64).find_map(|n| gate.report(&SETTINGS, call(n, 1, n % 3 != 0), 1, n));
    assert_eq!(change, None);
}

#[test]
fn slow_calls_open_it_only_where_that_is_asked_for() {
    let slow = GateSettings { slow_percent: 50, ..SETTINGS };
    assert!(opens(&slow, 20, 100, 1, 10_000));
    assert!(!opens(&slow, 20, 100, 1, 9_999));
    assert!(!opens(&SETTINGS, 100, 100, 1, 20_000));
    let mut gate = gate();
    gate.report(&SETTINGS, call(0, 20_000, true), 1, 20_000);
    assert!(gate.is_slow());
    for n in 0..20 {
        gate.report(&SETTINGS, call(n, 20, true), 1, n);
    }
    assert!(!gate.is_slow());
}

fn open_gate() -> DestinationGate {
    let mut gate = gate();
    for n in 0..10 {
        gate.report(&SETTINGS, call(0, 1, false), 1, n);
    }
    assert!(gate.row().open.is_some());
    gate
}

#[test]
fn an_open_one_lets_one_probe_through_at_a_time_and_waits_longer_after_each_that_fails() {
    let mut gate = open_gate();
    let mut now_ms = 0;
    let mut waits = vec![];
    for _ in 0..8 {
        let at_ms = gate.wake_at_ms(&SETTINGS, now_ms).expect("a probe is due");
        assert_eq!(gate.room(&SETTINGS, 0, at_ms - 1), 0);
        assert_eq!(gate.room(&SETTINGS, 50, at_ms), 1);
        waits.push((at_ms - now_ms) / 1000);
        gate.begin(1, at_ms);
        assert_eq!(gate.room(&SETTINGS, 0, at_ms), 0);
        now_ms = at_ms;
        // What began before it opened changes nothing.
        assert_eq!(gate.report(&SETTINGS, call(0, 5, true), 1, now_ms), None);
        gate.report(&SETTINGS, call(now_ms, 0, false), 0, now_ms);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
    // A probe of which nobody reports is followed by another.
    let at_ms = gate.wake_at_ms(&SETTINGS, now_ms).expect("a probe is due");
    gate.begin(1, at_ms);
    assert_eq!(gate.wake_at_ms(&SETTINGS, at_ms), Some(at_ms + 300_000));
    assert_eq!(gate.report(&SETTINGS, call(at_ms, 5, true), 0, at_ms + 5), Some(GateChange::Closed));
}

/// Attempts that begin in each of the first `seconds` where there is always something that waits.
fn begun(gate: &mut DestinationGate, settings: &GateSettings, from_ms: u64, seconds: u64, latency_ms: u64) -> Vec<u64> {
    let mut ends: std::collections::VecDeque<u64> = std::collections::VecDeque::new();
    (0..seconds)
        .map(|second| {
            (0..1000u64).step_by(10).map(|ms| from_ms + second * 1000 + ms).fold(0, |sum, now_ms| {
                while ends.front().is_some_and(|end_ms| *end_ms <= now_ms) {
                    let end_ms = ends.pop_front().unwrap();
                    let in_flight = u32::try_from(ends.len()).unwrap();
                    gate.report(settings, call(end_ms - latency_ms, latency_ms, true), in_flight, now_ms);
                }
                let room = gate.room(settings, u32::try_from(ends.len()).unwrap(), now_ms);
                gate.begin(room, now_ms);
                ends.extend((0..room).map(|_| now_ms + latency_ms));
                sum + u64::from(room)
            })
        })
        .collect()
}

#[test]
fn a_backlog_returns_at_a_rate_that_doubles() {
    let mut gate = open_gate();
    assert_eq!(gate.close(1_000_000), Some(GateChange::Closed));
    let begun = begun(&mut gate, &SETTINGS, 1_000_000, 60, 20);
    for (second, expected) in [(1, 5), (9, 5), (11, 10), (25, 20), (35, 40), (45, 80), (55, 160)] {
        assert_eq!(begun[second], expected, "second {second}: {begun:?}");
    }
    // An outage again: everything from the start.
    assert!(begun.iter().sum::<u64>() < 4_000);
}

#[test]
fn limits_hold_and_a_destination_gets_as_much_as_it_has_shown_to_take() {
    let limited = GateSettings { rate_per_s: 25, ..SETTINGS };
    let seconds = begun(&mut gate(), &limited, 10_000, 20, 100);
    assert!(seconds.iter().skip(1).all(|n| (24..=26).contains(n)), "{seconds:?}");
    let narrow = GateSettings { max_in_flight: 3, ..SETTINGS };
    let seconds = begun(&mut gate(), &narrow, 10_000, 20, 100);
    assert!(seconds.iter().all(|n| *n <= 30), "{seconds:?}");
    // Nothing is known of it: ten at once, and more as it answers.
    let mut unknown = gate();
    assert_eq!(unknown.room(&SETTINGS, 0, 0), 10);
    let seconds = begun(&mut unknown, &SETTINGS, 10_000, 10, 100);
    assert!(seconds[0] < 1_000 && seconds[9] >= 1_900, "{seconds:?}");
    for n in 0..9 {
        unknown.report(&SETTINGS, call(n, 15_000, false), 100, n + 15_000);
    }
    assert_eq!(unknown.room(&SETTINGS, 0, 40_000), 2);
}

#[test]
fn a_destination_that_asks_to_be_left_alone_is_and_so_is_one_that_people_pause() {
    let mut gate = gate();
    gate.hold(5_000);
    gate.hold(4_000);
    assert_eq!((gate.room(&SETTINGS, 0, 4_999), gate.wake_at_ms(&SETTINGS, 100)), (0, Some(5_000)));
    assert_eq!(gate.room(&SETTINGS, 0, 5_000), 10);
    assert!(gate.pause(true, 6_000));
    assert!(!gate.pause(true, 6_000));
    assert_eq!((gate.room(&SETTINGS, 0, 9_000), gate.wake_at_ms(&SETTINGS, 9_000)), (0, None));
    let mut gate = DestinationGate::new(*gate.row());
    assert!(gate.row().is_paused, "a restart does not resume it");
    gate.pause(false, 10_000);
    assert_eq!(begun(&mut gate, &SETTINGS, 10_000, 2, 5)[1], 5);
    let mut gate = open_gate();
    gate.probe_now(50);
    assert_eq!(gate.room(&SETTINGS, 0, 50), 1);
}
