mod accounts;

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn the_forms_of_calls_are_pinned() {
    let claim = LedgerCall::Claim {
        items: vec![ClaimItem {
            id: "1".into(),
            key: "s\u{1f}k".into(),
            source: "s".into(),
            received_at_ms: 1,
            event_count: 2,
            size_bytes: 3,
            replay: 0,
            origin: None,
            duplicate_window_s: None,
        }],
    };
    assert_eq!(
        serde_json::to_string(&claim).unwrap(),
        r#"{"claim":{"items":[{"id":"1","key":"s\u001fk","source":"s","received_at_ms":1,"event_count":2,"size_bytes":3,"replay":0}]}}"#
    );
    let settle = LedgerCall::Settle {
        items: vec![SettleItem {
            id: "1".into(),
            attempt: 1,
            outcome: Outcome::Retry { next_attempt_ms: 9 },
            status: Some(503),
            error: None,
        }],
    };
    assert_eq!(
        serde_json::to_string(&settle).unwrap(),
        r#"{"settle":{"items":[{"id":"1","attempt":1,"outcome":{"retry":{"next_attempt_ms":9}},"status":503}]}}"#
    );
}

#[test]
fn what_was_not_tried_has_forms_of_its_own() {
    for (outcome, text) in [
        (Outcome::NotAttempted { next_attempt_ms: 9 }, r#"{"not_attempted":{"next_attempt_ms":9}}"#),
        (Outcome::GivenUp { reason: "r".into() }, r#"{"given_up":{"reason":"r"}}"#),
    ] {
        assert_eq!(serde_json::to_string(&outcome).unwrap(), text);
        assert!(!outcome.is_attempt());
        let state = if text.contains("given_up") { State::Dead } else { State::Waiting };
        assert_eq!(decide_settle(&progress(State::Claimed, 2), 2, &outcome), Some(state));
        assert_eq!(decide_settle(&progress(State::Claimed, 3), 2, &outcome), None, "another holds it");
        assert_eq!(decide_settle(&progress(State::Delivered, 2), 2, &outcome), None);
    }
}

#[test]
fn a_claim_without_an_origin_is_read_and_one_with_it_is_pinned() {
    let old =
        r#"{"claim":{"items":[{"id":"1","key":"k","source":"s","received_at_ms":1,"event_count":2,"size_bytes":3}]}}"#;
    let LedgerCall::Claim { items } = serde_json::from_str(old).unwrap() else { panic!("another call") };
    assert_eq!((items[0].replay, items[0].origin), (0, None));
    let items = vec![ClaimItem { origin: Some(Origin::Refused), ..items[0].clone() }];
    let give_up = LedgerCall::GiveUp { items, known: false };
    assert_eq!(
        serde_json::to_string(&give_up).unwrap(),
        concat!(
            r#"{"give_up":{"items":[{"id":"1","key":"k","source":"s","received_at_ms":1,"event_count":2,"size_bytes":3,"#,
            r#""replay":0,"origin":"refused"}]}}"#
        )
    );
    let totals: SourceTotals =
        serde_json::from_str(r#"{"delivered":1,"duplicate":0,"dead":0,"retries":0,"pending":0}"#).unwrap();
    assert_eq!((totals.readmitted, totals.revived), (0, 0));
}

#[test]
fn what_the_platform_gave_up_is_dead_unless_it_was_settled_or_replayed_since() {
    let replayed = |state| Progress { replay: 1, ..progress(state, 1) };
    for (row, owner, replay, decision) in [
        (None, None, 0, Some(State::Dead)),
        (None, Some("x"), 0, Some(State::Duplicate)),
        // The lease of `progress` ends at 100 ms: a live one makes no difference.
        (Some(progress(State::Claimed, 1)), None, 0, Some(State::Dead)),
        (Some(progress(State::Waiting, 1)), None, 0, Some(State::Dead)),
        (Some(replayed(State::Waiting)), None, 1, Some(State::Dead)),
        (Some(replayed(State::Waiting)), None, 0, None),
        (Some(progress(State::Delivered, 1)), None, 0, None),
        (Some(progress(State::Dead, 1)), None, 0, None),
        (Some(progress(State::Duplicate, 0)), Some("x"), 0, None),
    ] {
        assert_eq!(decide_give_up(row.as_ref(), owner, replay), decision, "{row:?} {owner:?} {replay}");
    }
}

#[test]
fn how_a_delivery_stands_for_its_letter() {
    for (row, replay, state) in [
        (None, 0, State::Dead),
        (Some(progress(State::Delivered, 1)), 0, State::Delivered),
        (Some(progress(State::Duplicate, 0)), 3, State::Duplicate),
        (Some(Progress { replay: 1, ..progress(State::Delivered, 1) }), 0, State::Dead),
        (Some(Progress { replay: 1, ..progress(State::Delivered, 1) }), 1, State::Delivered),
    ] {
        assert_eq!(stands(row.as_ref(), replay), state, "{row:?} {replay}");
    }
}

#[test]
fn the_forms_of_what_is_told_later_are_pinned() {
    let settled = Settled { counted: 1, revived: vec![] };
    assert_eq!(serde_json::to_string(&settled).unwrap(), r#"{"counted":1}"#);
    let lost = LedgerCall::Lost { before_ms: 1, suspected_before_ms: 2, limit: 3 };
    assert_eq!(serde_json::to_string(&lost).unwrap(), r#"{"lost":{"before_ms":1,"suspected_before_ms":2,"limit":3}}"#);
    let known = LedgerCall::GiveUp { items: vec![], known: true };
    assert_eq!(serde_json::to_string(&known).unwrap(), r#"{"give_up":{"items":[],"known":true}}"#);
}

#[test]
fn a_lost_delivery_becomes_a_letter_that_its_key_leads_back_to_its_row() {
    let text = r#"{"row":{"id":"1","source":"s","status":"waiting","attempts":2,"receivedAtMs":1,"updatedAtMs":0,"eventCount":4,"sizeBytes":5,"replay":1},"key":"s\u001fbody-sha256:ab"}"#;
    let lost: LostRow = serde_json::from_str(text).unwrap();
    let letter = lost_letter(&lost, None, 9);
    assert_eq!((letter.reason.as_str(), letter.attempts, letter.replay, letter.dead_at_ms), ("message_lost", 2, 1, 9));
    assert_eq!(letter.body, crate::messages::BodyRef::Omitted { size_bytes: 5 });
    assert_eq!(ledger_key(&letter.source, letter.dedupe_key.as_deref().unwrap()), lost.key);
}

#[test]
fn stored_numbers_and_names_of_states_stay() {
    for (number, state, name) in [
        (0, State::Claimed, "claimed"),
        (1, State::Waiting, "waiting"),
        (2, State::Delivered, "delivered"),
        (3, State::Dead, "dead"),
        (4, State::Duplicate, "duplicate"),
    ] {
        assert_eq!((state.number(), state.as_str()), (number, name));
        assert_eq!((State::from_number(number), State::from_name(name)), (Some(state), Some(state)));
    }
    assert_eq!(State::from_number(5), None);
}

#[test]
fn keys_stay_on_their_shards() {
    // Part of the stored form: a key that moved would be delivered again.
    assert_eq!(ledger_shard(&ledger_key("contact-center", "a")), "ledger-3");
    assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
}

fn progress(state: State, attempt: u32) -> Progress {
    Progress { state, attempt, replay: 0, lease_until_ms: 100 }
}

#[test]
fn claims_are_decided_by_what_is_known() {
    let proceed = |attempt| Claimed::Proceed { attempt };
    for (row, owner, replay, now_ms, decision) in [
        (None, None, 0, 0, proceed(1)),
        (None, Some("x"), 0, 0, Claimed::Duplicate { of: "x".into() }),
        (Some(progress(State::Claimed, 1)), None, 0, 99, Claimed::Busy { until_ms: 100 }),
        (Some(progress(State::Claimed, 1)), None, 0, 100, proceed(2)),
        (Some(progress(State::Waiting, 3)), None, 0, 0, proceed(4)),
        (Some(progress(State::Delivered, 1)), None, 0, 200, Claimed::Settled { state: State::Delivered }),
        (Some(progress(State::Delivered, 1)), None, 1, 200, Claimed::Settled { state: State::Delivered }),
        (Some(progress(State::Dead, 8)), None, 0, 200, Claimed::Settled { state: State::Dead }),
        (Some(progress(State::Dead, 8)), None, 1, 200, proceed(1)),
        (Some(progress(State::Duplicate, 0)), Some("x"), 0, 200, Claimed::Settled { state: State::Duplicate }),
        // A message from before the replay takes nothing from it, and must not have the stored body deleted.
        (
            Some(Progress { replay: 1, ..progress(State::Waiting, 1) }),
            None,
            0,
            200,
            Claimed::Settled { state: State::Dead },
        ),
        (
            Some(Progress { replay: 1, ..progress(State::Delivered, 1) }),
            None,
            0,
            200,
            Claimed::Settled { state: State::Dead },
        ),
    ] {
        assert_eq!(decide_claim(row.as_ref(), owner, replay, now_ms), decision, "{row:?} {owner:?} {replay} {now_ms}");
    }
}

#[test]
fn a_failure_counts_only_from_the_current_holder_and_a_delivery_from_anybody() {
    let (retry, dead) = (Outcome::Retry { next_attempt_ms: 0 }, Outcome::Dead { reason: "r".into() });
    assert_eq!(decide_settle(&progress(State::Claimed, 2), 1, &retry), None);
    assert_eq!(decide_settle(&progress(State::Claimed, 2), 1, &dead), None);
    assert_eq!(decide_settle(&progress(State::Claimed, 2), 2, &retry), Some(State::Waiting));
    assert_eq!(decide_settle(&progress(State::Claimed, 2), 2, &dead), Some(State::Dead));
    assert_eq!(decide_settle(&progress(State::Claimed, 2), 1, &Outcome::Delivered), Some(State::Delivered));
    assert_eq!(decide_settle(&progress(State::Delivered, 2), 2, &dead), None);
    // The letter was stored before the settlement came: it adds what the last attempt came to, and counts nothing.
    assert_eq!(decide_settle(&progress(State::Dead, 2), 2, &dead), Some(State::Dead));
    assert_eq!(tally(Some(State::Dead), None, State::Dead).count(), 0);
    assert_eq!(decide_settle(&progress(State::Dead, 3), 2, &dead), None);
    assert_eq!(decide_settle(&progress(State::Delivered, 2), 2, &Outcome::Delivered), None);
}

/// What may happen between a queue, its consumers and a ledger.
#[derive(Clone, Debug)]
enum Step {
    /// The queue gives message `m` to a consumer.
    Take(u8),
    /// A consumer that holds a claim ends: the destination took it or not, and the settlement arrives or not.
    End { taken: bool, settled: bool },
    /// Time passes.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..6).prop_map(Step::Take),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(taken, settled)| Step::End { taken, settled }),
        1 => (1u64..LEASE_MS * 2).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    /// Six messages of three idempotency keys, given out again and again in any order, with consumers that crash at any
    /// point: a key is handed on again only after a crash or a failure, and never after its delivery was settled.
    #[test]
    fn a_key_is_delivered_once_where_nothing_crashed(steps in steps()) {
        let mut rows: BTreeMap<u8, Progress> = BTreeMap::new();
        let mut owner: BTreeMap<u8, u8> = BTreeMap::new();
        let mut held: Vec<(u8, u32)> = vec![];
        let mut taken_by_destination: BTreeMap<u8, u32> = BTreeMap::new();
        let mut crashes: BTreeMap<u8, u32> = BTreeMap::new();
        let mut now_ms = 0;
        for step in steps {
            match step {
                Step::Wait(ms) => now_ms += ms,
                Step::Take(m) => {
                    let key = m % 3;
                    let other = owner.get(&key).filter(|o| **o != m).map(ToString::to_string);
                    match decide_claim(rows.get(&m), other.as_deref(), 0, now_ms) {
                        Claimed::Proceed { attempt } => {
                            if rows.get(&m).is_some_and(|row| row.state == State::Claimed) {
                                *crashes.entry(key).or_default() += 1;
                            }
                            rows.insert(m, Progress { state: State::Claimed, attempt, replay: 0, lease_until_ms: now_ms + LEASE_MS });
                            owner.entry(key).or_insert(m);
                            held.push((m, attempt));
                        }
                        Claimed::Duplicate { .. } => {
                            prop_assert!(owner.get(&key).is_some_and(|o| *o != m));
                            rows.insert(m, Progress { state: State::Duplicate, attempt: 0, replay: 0, lease_until_ms: 0 });
                        }
                        Claimed::Busy { until_ms } => prop_assert!(until_ms > now_ms),
                        Claimed::Settled { state } => prop_assert!(!state.is_pending()),
                    }
                }
                Step::End { taken, settled } => {
                    let Some((m, attempt)) = held.pop() else { continue };
                    let before = rows[&m];
                    if taken {
                        *taken_by_destination.entry(m % 3).or_default() += 1;
                    }
                    let outcome = if taken { Outcome::Delivered } else { Outcome::Retry { next_attempt_ms: now_ms } };
                    if settled && let Some(state) = decide_settle(&before, attempt, &outcome) {
                        rows.insert(m, Progress { state, ..before });
                    }
                }
            }
        }
        for key in 0..3 {
            let times = taken_by_destination.get(&key).copied().unwrap_or(0);
            prop_assert!(times <= 1 + crashes.get(&key).copied().unwrap_or(0), "key {key} was delivered {times} times");
        }
    }
}
