use super::AlertEvent::{Raised, Recovered, Repeated};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use strum::VariantArray as _;

/// What lies between two runs of the cron.
const STEP_MS: u64 = 300_000;

const RULES: Rules = Rules { dead_letters_over: 10, repeat_after_ms: None, told: true };

fn letters(n: u64) -> Conditions {
    Conditions { dead_letters: Some(n), ..Conditions::default() }
}

fn quiet() -> Conditions {
    Conditions {
        dead_letters: Some(0),
        not_quarantined: Some(0),
        open_circuits: Some(vec![]),
        silent: Some(vec![]),
        unrepaired: Some(vec![]),
        storage_percent: Some(0),
    }
}

fn events(notices: &[Notice]) -> Vec<(AlertEvent, AlertKind, Option<&str>)> {
    notices.iter().map(|notice| (notice.event, notice.kind, notice.subject.as_deref())).collect()
}

#[test]
fn one_outage_is_one_alert_and_one_recovery() {
    let mut alerts = Alerts::default();
    let history = [0, 11, 12, 9, 20, 9, 9, 9, 9, 9];
    let told: Vec<Notice> =
        (0..).zip(history).flat_map(|(now, n)| alerts.evaluate(now * STEP_MS, &letters(n), RULES)).collect();
    assert_eq!(events(&told), [(Raised, AlertKind::DeadLetters, None), (Recovered, AlertKind::DeadLetters, None)]);
    assert_eq!((told[0].since_ms, told[1].since_ms, told[1].at_ms), (300_000, 300_000, 2_100_000));
    assert_eq!(told[0].id, "alert-300000-dead_letters-raised");
    assert!(alerts.open().is_empty());
}

#[test]
fn an_object_is_told_to_fill_up_at_four_fifths() {
    let mut alerts = Alerts::default();
    let mut at = |now_ms, percent| {
        alerts.evaluate(now_ms, &Conditions { storage_percent: percent, ..Conditions::default() }, RULES)
    };
    assert_eq!(at(0, Some(79)), []);
    let raised = at(STEP_MS, Some(80));
    assert_eq!(events(&raised), [(AlertEvent::Raised, AlertKind::Storage, None)]);
    let summary = "a Durable Object is 80 % full: storageBytes in /metrics says which";
    assert!(raised[0].payload("").contains(summary), "{}", raised[0].payload(""));
    assert_eq!((at(2 * STEP_MS, None), at(3 * STEP_MS, Some(99))), (vec![], vec![]));
}

#[test]
fn what_cannot_be_told_changes_nothing() {
    let mut alerts = Alerts::default();
    assert_eq!(alerts.evaluate(0, &letters(11), RULES).len(), 1);
    for now_ms in 1..10 {
        assert_eq!(alerts.evaluate(now_ms, &Conditions::default(), RULES), []);
    }
    assert_eq!(alerts.open(), [OpenAlert { kind: AlertKind::DeadLetters, source: None, since_ms: 0 }]);
}

#[test]
fn a_single_failed_reconciliation_pages_nobody() {
    let mut alerts = Alerts::default();
    let failed = |sources: &[&str]| Conditions {
        unrepaired: Some(sources.iter().map(ToString::to_string).collect()),
        ..Conditions::default()
    };
    assert_eq!(alerts.evaluate(0, &failed(&["a"]), RULES), []);
    assert_eq!(alerts.evaluate(STEP_MS, &failed(&[]), RULES), []);
    assert_eq!(alerts.evaluate(2 * STEP_MS, &failed(&["a", "b"]), RULES), []);
    let told = alerts.evaluate(3 * STEP_MS, &failed(&["a", "b"]), RULES);
    assert_eq!(
        events(&told),
        [(Raised, AlertKind::Subscription, Some("a")), (Raised, AlertKind::Subscription, Some("b"))]
    );
}

#[test]
fn who_asks_three_times_in_a_row_has_not_waited_a_quarter_of_an_hour() {
    let mut alerts = Alerts::default();
    let mut at = |now_ms, n| events(&alerts.evaluate(now_ms, &letters(n), RULES)).len();
    assert_eq!(at(0, 11), 1);
    // Asked every second, between the runs of the cron.
    for step in 1..=2 {
        for second in 0..60 {
            assert_eq!(at(step * STEP_MS + second * 1_000, 0), 0);
        }
    }
    assert_eq!(at(3 * STEP_MS, 0), 1);
    let mut alerts = Alerts::default();
    let mut at = |now_ms| {
        let failed = Conditions { unrepaired: Some(vec!["a".into()]), ..Conditions::default() };
        alerts.evaluate(now_ms, &failed, RULES).len()
    };
    assert_eq!([at(0), at(1), at(2), at(STEP_MS)], [0, 0, 0, 1]);
}

#[test]
fn a_budget_is_exceeded_when_its_counter_grows() {
    let mut alerts = Alerts::default();
    let lost = |n| Conditions { not_quarantined: Some(n), ..Conditions::default() };
    // What was lost before the first evaluation is no news.
    let told: Vec<usize> = (0..)
        .zip([7, 7, 9, 9, 9, 9, 9])
        .map(|(now, n)| alerts.evaluate(now * STEP_MS, &lost(n), RULES).len())
        .collect();
    assert_eq!(told, [0, 0, 1, 0, 0, 1, 0]);
}

#[test]
fn what_lasts_is_repeated_where_that_is_wanted() {
    let mut alerts = Alerts::default();
    let rules = Rules { repeat_after_ms: Some(10), ..RULES };
    let told: Vec<Notice> = (0..25).flat_map(|now| alerts.evaluate(now, &letters(11), rules)).collect();
    assert_eq!(
        told.iter().map(|n| (n.event, n.at_ms)).collect::<Vec<_>>(),
        [(Raised, 0), (Repeated, 10), (Repeated, 20)]
    );
    assert_ne!(told[1].id, told[2].id);
}

#[test]
fn notices_wait_in_order_until_they_are_delivered() {
    let mut alerts = Alerts::default();
    alerts.evaluate(0, &Conditions { silent: Some(vec!["a".into()]), ..letters(11) }, RULES);
    let first = alerts.next().unwrap().clone();
    assert_eq!((first.kind, alerts.waiting()), (AlertKind::DeadLetters, 2));
    alerts.delivered("another");
    assert_eq!(alerts.next(), Some(&first));
    alerts.delivered(&first.id);
    assert_eq!(alerts.next().unwrap().kind, AlertKind::Silence);
    // Without an alert destination nothing waits.
    alerts.evaluate(1, &letters(11), Rules { told: false, ..RULES });
    assert_eq!(alerts.waiting(), 0);
}

#[test]
fn what_waits_is_bounded_and_leaves_in_pairs() {
    let mut alerts = Alerts::default();
    for now_ms in 0..1_000 {
        let holds = now_ms % 4 == 0;
        alerts.evaluate(now_ms * STEP_MS, &letters(if holds { 11 } else { 0 }), RULES);
    }
    assert!(alerts.waiting() <= MAX_WAITING);
    assert_eq!(alerts.next().unwrap().event, Raised);
}

#[test]
fn the_body_and_the_stored_form_are_pinned() {
    let mut alerts = Alerts::default();
    alerts.evaluate(0, &Conditions { silent: Some(vec!["cc".into()]), not_quarantined: Some(1), ..letters(0) }, RULES);
    let notice = alerts.next().unwrap();
    assert_eq!(
        notice.payload("https://hooks.example.com"),
        r#"{"type":"alert.raised","timestamp":"1970-01-01T00:00:00.000Z","data":{"kind":"silence","source":"cc","since":"1970-01-01T00:00:00.000Z","gateway":"https://hooks.example.com","summary":"cc has stopped delivering"}}"#
    );
    let stored = r#"{"tracked":[{"kind":"silence","subject":"cc","against":0,"counted_ms":null,"raised_ms":0,"told_ms":0}],"waiting":[{"id":"alert-0-silence.cc-raised","event":"raised","kind":"silence","subject":"cc","since_ms":0,"at_ms":0,"value":null}],"not_quarantined":1}"#;
    assert_eq!(serde_json::to_string(&alerts).unwrap(), stored);
    assert_eq!(serde_json::from_str::<Alerts>(stored).unwrap(), alerts);
    for kind in AlertKind::VARIANTS {
        assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.as_str()));
    }
}

fn histories() -> impl Strategy<Value = Vec<Conditions>> {
    let some = |name: &'static str| {
        prop_oneof![Just(None), Just(Some(vec![])), Just(Some(vec![name.to_owned()])), Just(Some(vec!["x".to_owned()]))]
    };
    let conditions =
        (
            proptest::option::of(0u64..20),
            proptest::option::of(0u64..3),
            some("a"),
            some("b"),
            some("c"),
            proptest::option::of(79u64..82),
        )
            .prop_map(|(dead_letters, not_quarantined, open_circuits, silent, unrepaired, storage_percent)| {
                Conditions { dead_letters, not_quarantined, open_circuits, silent, unrepaired, storage_percent }
            });
    proptest::collection::vec(conditions, 0..80)
}

proptest! {
    /// Whatever happens, each key is told raise and recovery in turn; once all is quiet, every raise has its recovery;
    /// identifiers never repeat; storing in between changes nothing.
    #[test]
    fn raise_and_recovery_alternate(history in histories()) {
        let mut alerts = Alerts::default();
        let mut raised = BTreeSet::new();
        let mut ids = BTreeSet::new();
        let calm = std::iter::repeat_n(quiet(), 10);
        for (now_ms, conditions) in (0..).zip(history.into_iter().chain(calm)) {
            let stored: Alerts = serde_json::from_str(&serde_json::to_string(&alerts).unwrap()).unwrap();
            prop_assert_eq!(&stored, &alerts);
            for notice in alerts.evaluate(now_ms * STEP_MS, &conditions, RULES) {
                prop_assert!(ids.insert(notice.id.clone()), "{} twice", notice.id);
                let key = key(notice.kind, notice.subject.as_deref());
                match notice.event {
                    Raised => prop_assert!(raised.insert(key)),
                    Recovered => prop_assert!(raised.remove(&key)),
                    Repeated => prop_assert!(false, "not asked for"),
                }
            }
            prop_assert_eq!(alerts.open().len(), raised.len());
        }
        prop_assert!(raised.is_empty());
    }
}
