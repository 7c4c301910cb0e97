//! The accounts of the ledger through whatever may happen to deliveries and their letters.

use super::*;

/// What may happen to deliveries whose letters are replayed. Messages and letters are numbered modulo what there is.
#[derive(Clone, Debug)]
enum LedgerStep {
    /// The receiver accepts a delivery (with one of three idempotency keys) or refuses it: a letter.
    Arrive { key: u8, accepted: bool },
    /// The queue gives a message to a consumer; it stays in the queue, so that it may come again.
    Take(u8),
    /// A consumer that holds a claim ends: what came of it, and whether the settlement arrives.
    End { outcome: u8, settled: bool },
    /// The platform gives a message up.
    GiveUp(u8),
    /// The queue gives a letter to the consumer of letters, which stores it and asks the ledger how its delivery stands; it
    /// stays in the queue.
    Store(u8),
    /// Somebody replays a letter of the store; it stays, so that a crash may send it twice.
    Replay(u8),
    /// Retention removes the settled rows.
    Expire,
    /// Time passes.
    Wait(u64),
}

fn turns() -> impl Strategy<Value = Vec<LedgerStep>> {
    let turn = prop_oneof![
        3 => (0u8..3, any::<bool>()).prop_map(|(key, accepted)| LedgerStep::Arrive { key, accepted }),
        6 => any::<u8>().prop_map(LedgerStep::Take),
        6 => (0u8..3, prop::bool::weighted(0.8)).prop_map(|(outcome, settled)| LedgerStep::End { outcome, settled }),
        2 => any::<u8>().prop_map(LedgerStep::GiveUp),
        4 => any::<u8>().prop_map(LedgerStep::Store),
        4 => any::<u8>().prop_map(LedgerStep::Replay),
        1 => Just(LedgerStep::Expire),
        1 => (1u64..LEASE_MS * 2).prop_map(LedgerStep::Wait),
    ];
    proptest::collection::vec(turn, 0..150)
}

/// A ledger as its object keeps it: rows, owners of keys, and counts that change with the rows.
#[derive(Default)]
struct Model {
    rows: BTreeMap<usize, Progress>,
    duplicates: std::collections::BTreeSet<usize>,
    counts: BTreeMap<LedgerCount, i64>,
    /// The state that each delivery was last seen in, which outlives its row: the truth.
    truth: BTreeMap<usize, State>,
}

/// A letter of the store.
#[derive(Clone, Copy, Debug)]
struct Kept {
    replay: u32,
    origin: Origin,
    /// Nobody can replay it: it was replayed, or its delivery is not dead.
    is_through: bool,
}

/// A letter in the queue.
#[derive(Clone, Copy, Debug)]
struct Sent {
    id: usize,
    replay: u32,
    /// The message is the delivery itself, which the platform has given up.
    is_given_up: bool,
    origin: Option<Origin>,
}

impl Model {
    /// What the consumer of letters does with one.
    fn store(
        &mut self,
        letters: &mut BTreeMap<usize, Kept>,
        keys: &[u8],
        Sent { id, replay, is_given_up, origin }: Sent,
    ) {
        if crate::dead_letters::decide_arrival(letters.get(&id).map(|kept| kept.replay), replay)
            != crate::dead_letters::LetterArrival::Known
        {
            letters.insert(id, Kept { replay, origin: Origin::Dead, is_through: false });
        }
        let (row, owner) = (self.rows.get(&id).copied(), self.owner(keys, id));
        let decided = decide_give_up(row.as_ref(), owner.as_deref(), replay).filter(|_| row.is_some() || is_given_up);
        if let Some(state) = decided {
            let before = row.unwrap_or(Progress { state, attempt: 0, replay, lease_until_ms: 0 });
            self.change(id, origin, Progress { state, replay, ..before });
        }
        let state = decided.unwrap_or_else(|| stands(row.as_ref(), replay));
        if crate::dead_letters::replay::ReplayVerdict::outlived(state).is_some()
            && let Some(kept) = letters.get_mut(&id).filter(|kept| kept.replay <= replay)
        {
            kept.is_through = true;
        }
    }

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

    fn count(&self, counted: LedgerCount) -> i64 {
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
        let mut letters: BTreeMap<usize, Kept> = BTreeMap::new();
        let mut dying: Vec<Sent> = vec![];
        let mut held: Vec<(usize, u32, u32)> = vec![];
        let mut now_ms = 0;
        for turn in turns {
            match turn {
                LedgerStep::Wait(ms) => now_ms += ms,
                LedgerStep::Arrive { key, accepted: is_accepted } => {
                    let id = keys.len();
                    keys.push(key);
                    accepted.push(is_accepted);
                    if is_accepted {
                        messages.push((id, 0, None));
                    } else {
                        letters.insert(id, Kept { replay: 0, origin: Origin::Refused, is_through: false });
                    }
                }
                LedgerStep::Take(n) if !messages.is_empty() => {
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
                LedgerStep::End { outcome, settled } => {
                    let Some((id, attempt, replay)) = held.pop() else { continue };
                    let outcome = match outcome {
                        0 => Outcome::Delivered,
                        1 => Outcome::Retry { next_attempt_ms: now_ms },
                        // The letter goes before the settlement, which may be lost.
                        _ => {
                            dying.push(Sent { id, replay, is_given_up: false, origin: None });
                            Outcome::Dead { reason: "r".into() }
                        }
                    };
                    let Some(row) = ledger.rows.get(&id).copied().filter(|_| settled) else { continue };
                    if let Some(state) = decide_settle(&row, attempt, &outcome) {
                        ledger.change(id, None, Progress { state, ..row });
                        if row.state == State::Dead && state == State::Delivered {
                            dying.push(Sent { id, replay, is_given_up: false, origin: None });
                        }
                    }
                }
                LedgerStep::GiveUp(n) if !messages.is_empty() => {
                    let (id, replay, origin) = messages.remove(usize::from(n) % messages.len());
                    dying.push(Sent { id, replay, is_given_up: true, origin });
                }
                LedgerStep::Store(n) if !dying.is_empty() => {
                    ledger.store(&mut letters, &keys, dying[usize::from(n) % dying.len()]);
                }
                LedgerStep::Replay(n) => {
                    // One that is through is sent again only by whoever crashed: under the number that it had.
                    let place = usize::from(n) % letters.len().max(1);
                    let Some((id, kept)) = letters.iter_mut().nth(place) else { continue };
                    if !kept.is_through || messages.iter().any(|(sent, replay, _)| sent == id && *replay == kept.replay + 1) {
                        kept.is_through = true;
                        messages.push((*id, kept.replay + 1, Some(kept.origin)));
                    }
                }
                LedgerStep::Expire => {
                    // Weeks later: what the queues still held has long come, and only what the store says is left.
                    for sent in std::mem::take(&mut dying) {
                        ledger.store(&mut letters, &keys, sent);
                    }
                    messages.clear();
                    held.clear();
                    let settled: Vec<usize> = ledger.rows.iter().filter(|(_, row)| !row.state.is_pending()).map(|(id, _)| *id).collect();
                    for id in settled {
                        ledger.rows.remove(&id);
                    }
                }
                LedgerStep::Take(_) | LedgerStep::GiveUp(_) | LedgerStep::Store(_) => {}
            }
            let signed = |n: usize| i64::try_from(n).unwrap();
            let is = |state: State| signed(ledger.truth.values().filter(|s| **s == state).count());
            prop_assert_eq!(ledger.count(LedgerCount::Delivered), is(State::Delivered));
            prop_assert_eq!(ledger.count(LedgerCount::Dead), is(State::Dead));
            prop_assert_eq!(ledger.count(LedgerCount::Duplicate), is(State::Duplicate));
            let readmitted = signed(ledger.truth.keys().filter(|id| !accepted[**id]).count());
            prop_assert_eq!(ledger.count(LedgerCount::Readmitted), readmitted);
            // What is printed as counters.
            for (name, n) in [
                ("died", ledger.count(LedgerCount::Dead) + ledger.count(LedgerCount::Revived)),
                ("revived", ledger.count(LedgerCount::Revived)),
                ("delivered", ledger.count(LedgerCount::Delivered)),
                ("duplicate", ledger.count(LedgerCount::Duplicate)),
                ("retries", ledger.count(LedgerCount::Retries)),
                ("readmitted", readmitted),
            ] {
                let before = grown.insert(name, n).unwrap_or(0);
                prop_assert!(before <= n, "{} fell from {} to {}", name, before, n);
            }
            let pending = signed(ledger.rows.values().filter(|row| row.state.is_pending()).count());
            prop_assert_eq!(pending, is(State::Claimed) + is(State::Waiting));
            let settled = [LedgerCount::Delivered, LedgerCount::Dead, LedgerCount::Duplicate].map(|counted| ledger.count(counted)).iter().sum::<i64>();
            let seen = signed(ledger.truth.keys().filter(|id| accepted[**id]).count());
            prop_assert_eq!(seen + readmitted, settled + pending);
        }
    }
}
