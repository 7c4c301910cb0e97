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
    let give_up = LedgerCall::GiveUp { items: vec![ClaimItem { origin: Some(Origin::Refused), ..items[0].clone() }] };
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

/// What may happen to deliveries whose letters are replayed. Messages and letters are numbered modulo what there is.
#[derive(Clone, Debug)]
enum Turn {
    /// The receiver accepts a delivery (with one of three idempotency keys) or refuses it: a letter.
    Arrive { key: u8, accepted: bool },
    /// The queue gives a message to a consumer; it stays in the queue, so that it may come again.
    Take(u8),
    /// A consumer that holds a claim ends: what came of it, and whether the settlement arrives.
    End { outcome: u8, settled: bool },
    /// The platform gives a message up.
    GiveUp(u8),
    /// Somebody replays a letter; it stays, so that a crash may send it twice.
    Replay(u8),
    /// Retention removes the settled rows.
    Expire,
    /// Time passes.
    Wait(u64),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        3 => (0u8..3, any::<bool>()).prop_map(|(key, accepted)| Turn::Arrive { key, accepted }),
        6 => any::<u8>().prop_map(Turn::Take),
        6 => (0u8..3, prop::bool::weighted(0.8)).prop_map(|(outcome, settled)| Turn::End { outcome, settled }),
        2 => any::<u8>().prop_map(Turn::GiveUp),
        4 => any::<u8>().prop_map(Turn::Replay),
        1 => Just(Turn::Expire),
        1 => (1u64..LEASE_MS * 2).prop_map(Turn::Wait),
    ];
    proptest::collection::vec(turn, 0..150)
}

/// A ledger as its object keeps it: rows, owners of keys, and counts that change with the rows.
#[derive(Default)]
struct Model {
    rows: BTreeMap<usize, Progress>,
    duplicates: std::collections::BTreeSet<usize>,
    counts: BTreeMap<Tally, i64>,
    /// The state that each delivery was last seen in, which outlives its row: the truth.
    truth: BTreeMap<usize, State>,
}

impl Model {
    fn owner(&self, keys: &[u8], id: usize) -> Option<String> {
        let owns = |other: &&usize| **other != id && keys[**other] == keys[id] && !self.duplicates.contains(other);
        self.rows.keys().find(owns).map(ToString::to_string)
    }

    fn change(&mut self, id: usize, origin: Option<Origin>, row: Progress) {
        let before = self.rows.get(&id).map(|row| row.state);
        for (counted, n) in tally(before, origin, row.state) {
            *self.counts.entry(counted).or_default() += n;
        }
        if row.state == State::Duplicate {
            self.duplicates.insert(id);
        }
        self.rows.insert(id, row);
        self.truth.insert(id, row.state);
    }

    fn count(&self, counted: Tally) -> i64 {
        self.counts.get(&counted).copied().unwrap_or(0)
    }
}

proptest! {
    /// Whatever is accepted, refused, replayed, given up, repeated by the queue or forgotten by a crash: the counts are those
    /// of the deliveries, and everything that came in is accounted for.
    #[test]
    fn the_accounts_hold_through_replays(turns in turns()) {
        let mut ledger = Model::default();
        let mut grown: BTreeMap<&str, i64> = BTreeMap::new();
        // By delivery: its key, and whether it was accepted.
        let (mut keys, mut accepted): (Vec<u8>, Vec<bool>) = (vec![], vec![]);
        let mut messages: Vec<(usize, u32, Option<Origin>)> = vec![];
        let mut letters: BTreeMap<usize, (u32, Origin)> = BTreeMap::new();
        let mut held: Vec<(usize, u32, u32)> = vec![];
        let mut now_ms = 0;
        for turn in turns {
            match turn {
                Turn::Wait(ms) => now_ms += ms,
                Turn::Arrive { key, accepted: is_accepted } => {
                    let id = keys.len();
                    keys.push(key);
                    accepted.push(is_accepted);
                    if is_accepted {
                        messages.push((id, 0, None));
                    } else {
                        letters.insert(id, (0, Origin::Refused));
                    }
                }
                Turn::Take(n) if !messages.is_empty() => {
                    let (id, replay, origin) = messages[usize::from(n) % messages.len()];
                    let owner = ledger.owner(&keys, id);
                    match decide_claim(ledger.rows.get(&id), owner.as_deref(), replay, now_ms) {
                        Claimed::Proceed { attempt } => {
                            ledger.change(id, origin, Progress { state: State::Claimed, attempt, replay, lease_until_ms: now_ms + LEASE_MS });
                            held.push((id, attempt, replay));
                        }
                        Claimed::Duplicate { .. } => {
                            ledger.change(id, origin, Progress { state: State::Duplicate, attempt: 0, replay, lease_until_ms: 0 });
                        }
                        Claimed::Busy { .. } | Claimed::Settled { .. } => {}
                    }
                }
                Turn::End { outcome, settled } => {
                    let Some((id, attempt, replay)) = held.pop() else { continue };
                    let outcome = match outcome {
                        0 => Outcome::Delivered,
                        1 => Outcome::Retry { next_attempt_ms: now_ms },
                        // The letter goes before the settlement, which may be lost.
                        _ => {
                            letters.insert(id, (replay, Origin::Dead));
                            Outcome::Dead { reason: "r".into() }
                        }
                    };
                    let Some(row) = ledger.rows.get(&id).copied().filter(|_| settled) else { continue };
                    if let Some(state) = decide_settle(&row, attempt, &outcome) {
                        ledger.change(id, None, Progress { state, ..row });
                    }
                }
                Turn::GiveUp(n) if !messages.is_empty() => {
                    let (id, replay, origin) = messages.remove(usize::from(n) % messages.len());
                    letters.insert(id, (replay, Origin::Dead));
                    let (row, owner) = (ledger.rows.get(&id).copied(), ledger.owner(&keys, id));
                    if let Some(state) = decide_give_up(row.as_ref(), owner.as_deref(), replay) {
                        let row = row.unwrap_or(Progress { state, attempt: 0, replay, lease_until_ms: 0 });
                        ledger.change(id, origin, Progress { state, replay, ..row });
                    }
                }
                Turn::Replay(n) if !letters.is_empty() => {
                    let (id, (replay, origin)) = letters.iter().nth(usize::from(n) % letters.len()).map(|(id, of)| (*id, *of)).unwrap();
                    messages.push((id, replay + 1, Some(origin)));
                }
                Turn::Expire => {
                    // Weeks later: what the queue still held has long come, and only letters remain. A row that says
                    // otherwise than its letter (a late delivery of what was given up) is what an expired row cannot tell.
                    messages.clear();
                    held.clear();
                    letters.retain(|id, (_, origin)| match ledger.truth.get(id) {
                        None => *origin == Origin::Refused,
                        Some(state) => *state == State::Dead && *origin == Origin::Dead,
                    });
                    let settled: Vec<usize> = ledger.rows.iter().filter(|(_, row)| !row.state.is_pending()).map(|(id, _)| *id).collect();
                    for id in settled {
                        ledger.rows.remove(&id);
                    }
                }
                Turn::Take(_) | Turn::GiveUp(_) | Turn::Replay(_) => {}
            }
            let signed = |n: usize| i64::try_from(n).unwrap();
            let is = |state: State| signed(ledger.truth.values().filter(|s| **s == state).count());
            prop_assert_eq!(ledger.count(Tally::Delivered), is(State::Delivered));
            prop_assert_eq!(ledger.count(Tally::Dead), is(State::Dead));
            prop_assert_eq!(ledger.count(Tally::Duplicate), is(State::Duplicate));
            let readmitted = signed(ledger.truth.keys().filter(|id| !accepted[**id]).count());
            prop_assert_eq!(ledger.count(Tally::Readmitted), readmitted);
            // What is printed as counters.
            for (name, n) in [
                ("died", ledger.count(Tally::Dead) + ledger.count(Tally::Revived)),
                ("revived", ledger.count(Tally::Revived)),
                ("delivered", ledger.count(Tally::Delivered)),
                ("duplicate", ledger.count(Tally::Duplicate)),
                ("retries", ledger.count(Tally::Retries)),
                ("readmitted", readmitted),
            ] {
                let before = grown.insert(name, n).unwrap_or(0);
                prop_assert!(before <= n, "{} fell from {} to {}", name, before, n);
            }
            let pending = signed(ledger.rows.values().filter(|row| row.state.is_pending()).count());
            prop_assert_eq!(pending, is(State::Claimed) + is(State::Waiting));
            let settled = [Tally::Delivered, Tally::Dead, Tally::Duplicate].map(|counted| ledger.count(counted)).iter().sum::<i64>();
            let seen = signed(ledger.truth.keys().filter(|id| accepted[**id]).count());
            prop_assert_eq!(seen + readmitted, settled + pending);
        }
    }
}
