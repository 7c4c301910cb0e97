//! What arrives through the queue of dead letters.
//!
//! Promises:
//! - every message is a letter: a dead letter as it is, a delivery that the platform gave up, and bytes that nothing can read;
//! - a message that comes again, because its acknowledgement was lost, is the same letter;
//! - the ledger learns of every delivery that has a letter.
//!
//! Out of scope: storing, calling the ledger.

use super::calls::Outlived;
use super::replay::ReplayVerdict;
use super::{BodyText, INLINE_MAX_BYTES, LetterStatus, StoredDeadLetter};
use crate::deliver::ledger::{ClaimItem, State, delivery_key, ledger_shard};
use crate::messages::id::delivery_id;
use crate::messages::keys::letter_body_key;
use crate::messages::{BodyRef, DeadLetter, Message, Stage, decode, reason};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// What the store does with a letter that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterArrival {
    /// The store does not have it.
    New,
    /// Its delivery was replayed and died again: it takes the place of the older one and waits again.
    DiedAgain,
    /// It is there already, or a replay has gone past it.
    Known,
}

/// Decides about a letter that arrives; the numbers are the replays that the letters carry.
///
/// A queue may repeat a message at any time: a repetition never opens again what was replayed since.
pub fn decide_arrival(stored_replay: Option<u32>, arriving_replay: u32) -> LetterArrival {
    match stored_replay {
        None => LetterArrival::New,
        Some(stored) if arriving_replay > stored => LetterArrival::DiedAgain,
        Some(_) => LetterArrival::Known,
    }
}

/// What a queue says of a message.
#[derive(Clone, Debug)]
pub struct MessageFacts {
    /// Its identifier.
    pub id: String,
    /// When it was sent.
    pub sent_at_ms: u64,
    /// How often it was handed over, this time included.
    pub attempts: u32,
}

/// What the ledger is told of a letter's delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeathReport {
    /// The object of the ledger.
    pub shard: String,
    /// Whether only a delivery that the ledger knows is meant: a death that a consumer reported may have been counted and
    /// forgotten since.
    pub known: bool,
    /// The delivery.
    pub item: ClaimItem,
}

/// A message as a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivedLetter<'a> {
    /// The letter.
    pub letter: DeadLetter,
    /// The body that came with the message.
    pub body: &'a [u8],
    /// What the ledger is told; `None` where there was no delivery.
    pub death: Option<DeathReport>,
}

impl<'a> ArrivedLetter<'a> {
    /// Reads a message of the queue of dead letters.
    pub fn read(bytes: &'a [u8], message: &MessageFacts, now_ms: u64) -> Self {
        let report = |known, item: ClaimItem| Some(DeathReport { shard: ledger_shard(&item.key), known, item });
        match decode(bytes) {
            Ok(Message::DeadLetter(letter, body)) if letter.stage == Stage::Deliver => {
                Self { death: report(true, ClaimItem::of_letter(&letter, body)), letter, body }
            }
            Ok(Message::DeadLetter(letter, body)) => Self { letter, body, death: None },
            // The platform moves a delivery here when it has been retried as often as a queue allows.
            Ok(Message::Delivery(delivery, body)) => {
                let death = report(false, ClaimItem::of_delivery(delivery_key(&delivery, body), &delivery));
                let (reason, detail) = (reason::RETRIES_EXHAUSTED, Some("given up by the queue".to_owned()));
                let letter = DeadLetter::undeliverable(&delivery, reason, message.attempts, None, detail, now_ms);
                Self { letter, body, death }
            }
            Err(error) => {
                let letter = undecodable("dead letters", message, bytes.len() as u64, &error.to_string(), now_ms);
                Self { letter, body: bytes, death: None }
            }
        }
    }

    /// Where the body goes first; `None` where it fits into the letter's row.
    pub fn bucket_key(&self) -> Option<String> {
        let is_large = self.body.len() > INLINE_MAX_BYTES;
        is_large.then(|| letter_body_key(&self.letter.id, self.letter.received_at_ms))
    }

    /// What is stored. `in_bucket`: the reference to the body, where it went there.
    pub fn stored(self, in_bucket: Option<BodyRef>) -> StoredDeadLetter {
        let Self { mut letter, body, .. } = self;
        letter.body = in_bucket.unwrap_or(letter.body);
        let inline = matches!(letter.body, BodyRef::Inline { .. }).then(|| BodyText::from_bytes(body));
        StoredDeadLetter { letter, inline, moved: None, status: LetterStatus::Stored, last_replay: None }
    }
}

/// The letter of a message of the queue of `what` that cannot be read. Its identifier is made from that of the message.
pub fn undecodable(what: &str, message: &MessageFacts, size_bytes: u64, error: &str, now_ms: u64) -> DeadLetter {
    let digest: [u8; 32] = Sha256::digest(&message.id).into();
    let id = delivery_id(message.sent_at_ms, digest.first_chunk().copied().unwrap_or_default());
    DeadLetter {
        detail: Some(format!("message {} of the queue of {what}: {error}", message.id)),
        attempts: message.attempts,
        ..DeadLetter::of(id, Stage::Queue, reason::UNDECODABLE_MESSAGE, BodyRef::Inline { size_bytes }, now_ms)
    }
}

/// The calls that tell the ledger: by object and whether only known deliveries are meant, the deliveries.
pub fn by_shard<'a>(reports: impl IntoIterator<Item = &'a DeathReport>) -> BTreeMap<(&'a str, bool), Vec<ClaimItem>> {
    let mut calls: BTreeMap<_, Vec<ClaimItem>> = BTreeMap::new();
    for DeathReport { shard, known, item } in reports {
        calls.entry((shard.as_str(), *known)).or_default().push(item.clone());
    }
    calls
}

/// The letters whose deliveries stand otherwise than dead: nothing replays them. `letters`: identifier and replay of each, in
/// the order of `states`.
pub fn outlived(letters: Vec<(String, u32)>, states: Vec<State>) -> Vec<Outlived> {
    let letters = letters.into_iter().zip(states).filter(|(_, state)| ReplayVerdict::outlived(*state).is_some());
    letters.map(|((id, replay), state)| Outlived { id, replay, state }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{Delivery, dead_letter_header, delivery_header, frame};

    fn facts(attempts: u32) -> MessageFacts {
        MessageFacts { id: "m".into(), sent_at_ms: 1_000, attempts }
    }

    fn delivery(size_bytes: usize) -> Delivery {
        Delivery {
            id: "01ARYZ6S410000000000000000".into(),
            source: "s".into(),
            received_at_ms: 5,
            event_count: 2,
            secret_label: "l".into(),
            dedupe_key: Some("k".into()),
            duplicate_window_s: None,
            headers: vec![],
            replay: 1,
            origin: None,
            body: BodyRef::Inline { size_bytes: size_bytes as u64 },
        }
    }

    #[test]
    fn a_repetition_never_opens_again_what_was_replayed() {
        for (stored, arriving, arrival) in [
            (None, 0, LetterArrival::New),
            (None, 3, LetterArrival::New),
            (Some(0), 0, LetterArrival::Known),
            (Some(0), 1, LetterArrival::DiedAgain),
            (Some(2), 1, LetterArrival::Known),
            (Some(2), 2, LetterArrival::Known),
        ] {
            assert_eq!(decide_arrival(stored, arriving), arrival, "{stored:?} {arriving}");
        }
    }

    #[test]
    fn a_delivery_that_the_platform_gave_up_is_a_letter_and_dead_even_where_the_ledger_does_not_know_it() {
        let bytes = frame(&delivery_header(&delivery(2)), b"{}");
        let arrived = ArrivedLetter::read(&bytes, &facts(7), 9);
        let death = arrived.death.clone().unwrap();
        assert_eq!((death.known, death.item.replay, death.shard), (false, 1, ledger_shard(&death.item.key)));
        assert_eq!(arrived.bucket_key(), None);
        let StoredDeadLetter { letter, inline, .. } = arrived.stored(None);
        assert_eq!((letter.reason.as_str(), letter.attempts, letter.dead_at_ms), ("retries_exhausted", 7, 9));
        assert_eq!(inline, Some(BodyText::Body("{}".into())));
    }

    #[test]
    fn only_letters_of_deliveries_are_deaths_and_large_bodies_go_to_the_bucket() {
        let large = vec![b'x'; INLINE_MAX_BYTES + 1];
        for (stage, is_death) in [(Stage::Receive, false), (Stage::Deliver, true), (Stage::Queue, false)] {
            let body = BodyRef::Inline { size_bytes: large.len() as u64 };
            let bytes = frame(&dead_letter_header(&DeadLetter::of("1".into(), stage, "r", body, 5)), &large);
            let arrived = ArrivedLetter::read(&bytes, &facts(7), 9);
            assert_eq!(arrived.death.as_ref().map(|death| death.known), is_death.then_some(true));
            assert_eq!(arrived.bucket_key().as_deref(), Some("dead-letters/1970/01/01/1"));
            let reference = BodyRef::Stored { key: "k".into(), size_bytes: 1, sha256: "ab".into() };
            let stored = arrived.stored(Some(reference.clone()));
            assert_eq!((stored.letter.body, stored.inline), (reference, None));
        }
    }

    #[test]
    fn what_cannot_be_read_is_one_letter_however_often_it_comes() {
        let first = ArrivedLetter::read(b"garbage", &facts(7), 9);
        let again = ArrivedLetter::read(b"garbage", &facts(8), 99);
        assert_eq!((&first.letter.id, first.body, &first.death), (&again.letter.id, again.body, &None));
        assert_eq!(first.letter.detail.as_deref(), Some("message m of the queue of dead letters: no header line"));
    }

    #[test]
    fn the_ledger_is_told_by_object_and_letters_learn_what_is_not_dead() {
        let report = |shard: &str, known, id: &str| {
            let item = ClaimItem { id: id.into(), ..ClaimItem::of_delivery("k".into(), &delivery(0)) };
            DeathReport { shard: shard.into(), known, item }
        };
        let reports = [report("a", true, "1"), report("b", true, "2"), report("a", true, "3"), report("a", false, "4")];
        let told = by_shard(&reports).into_iter().map(|(key, items)| (key, items.len())).collect::<Vec<_>>();
        assert_eq!(told, [(("a", false), 1), (("a", true), 2), (("b", true), 1)]);
        let letters = [("1".to_owned(), 0), ("2".to_owned(), 3), ("3".to_owned(), 0)];
        let marked = outlived(letters.to_vec(), vec![State::Dead, State::Delivered, State::Waiting]);
        assert_eq!(marked, [Outlived { id: "2".into(), replay: 3, state: State::Delivered }]);
    }
}
