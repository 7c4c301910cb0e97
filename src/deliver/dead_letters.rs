//! `DEAD_LETTERS`: stores what was refused or given up.
//!
//! Promises: a letter is acknowledged once it is stored, and stored once however often it arrives; whatever else comes
//! through this queue (a delivery that the platform gave up, bytes of another version) is stored too, with its raw form;
//! each is audited, and so is what had to go for it. Of every letter of a delivery its destination learns that it is dead, before
//! the message is acknowledged: nobody else would settle what the platform gave up, and the settlement of what a consumer
//! gave up may have been lost. A delivery that stands otherwise (a late consumer has delivered it) is not to be replayed, and
//! its letter is marked so. However long the store is away, no letter uses up the queue's retries. Out of scope: why a
//! letter died.

use super::destinations;
use crate::platform::body::Body;
use crate::platform::objects::CallError;
use crate::platform::queue::QueueMessage;
use crate::platform::{clock, log, objects, r2};
use futures_util::future::join_all;
use gateway_core::audit::{Action, Draft, letter_drafts};
use gateway_core::dead_letters::replay::Verdict;
use gateway_core::dead_letters::{
    BodyText, INLINE_MAX_BYTES, Letter, LettersCall, Outlived, STORE_OBJECT, Status, Stored,
};
use gateway_core::deliver::dispatcher::calls::GivenUp;
use gateway_core::deliver::dispatcher::rows::Dispatch;
use gateway_core::messages::id::delivery_id;
use gateway_core::messages::{BodyRef, DeadLetter, Message, Stage, decode, reason};
use gateway_core::time::date_path;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use worker::Env;

/// How long letters wait when the store cannot be reached, in seconds.
const STORE_DELAY_S: u32 = 30;

/// Works on one batch.
pub(super) async fn consume(messages: &[&QueueMessage], env: &Env) {
    let mut stored = vec![];
    let mut letters = vec![];
    for message in messages {
        // Its object releases again what the platform gave up.
        if matches!(decode(&message.bytes()), Ok(Message::Release(..))) {
            message.ack();
            continue;
        }
        match to_letter(message, env).await {
            Ok((letter, given_up)) => {
                letters.push(letter);
                stored.push((message, given_up));
            }
            Err((id, error)) => {
                log::error("letter_body_failed", &[("message", &message.id()), ("delivery", &id), ("error", &error)]);
                nack(message, env).await;
            }
        }
    }
    if letters.is_empty() {
        return;
    }
    let put = LettersCall::Put { letters };
    let purged = match objects::call::<Stored>(env, objects::DEAD_LETTER_STORE, STORE_OBJECT, &put).await {
        Ok(purged) => purged,
        Err(error) => {
            log::error("letters_not_stored", &[("error", &error.to_string())]);
            for (message, _) in stored {
                nack(message, env).await;
            }
            return;
        }
    };
    let untold = tell(stored.iter().map(|(_, news)| news), env).await;
    for (message, news) in stored {
        // The letter is stored whatever its destination says; storing it again changes nothing.
        if news.is_some_and(|(source, _)| untold.contains(&source)) {
            nack(message, env).await;
        } else {
            message.ack();
        }
    }
    let LettersCall::Put { letters } = put else { return };
    // A message that came again is no second death.
    let new = letters.iter().map(|letter| &letter.letter).filter(|letter| !purged.known.contains(&letter.id));
    let mut drafts = letter_drafts(new);
    for (source, removed) in &purged.purged {
        log::warn("dead_letters_purged", &[("source", source), ("letters", &removed.total().to_string())]);
        drafts.push(Draft {
            source: Some(source.clone()).filter(|source| !source.is_empty()),
            error: Some(format!("over the cap; {} of them were verified", removed.verified)),
            count: Some(removed.total()),
            ..Draft::new(Action::Purge, "consumer")
        });
    }
    if let Err(error) = r2::delete(env, purged.keys).await {
        // Retention finds bodies that no letter names.
        log::warn("payload_delete_failed", &[("error", &error)]);
    }
    crate::audit::append(env, drafts).await;
}

/// Behind this queue there is no other: what it gave up would be lost.
async fn nack(message: &QueueMessage, env: &Env) {
    super::nack_letter(message, STORE_DELAY_S, env).await;
}

/// What is told of a letter: the source whose destination is told, and of which dispatch.
type News = (String, GivenUp);

/// Tells destinations of deaths, and the letters whose deliveries are not dead how those stand. Answers the sources whose letters
/// are to come again.
async fn tell(news: impl Iterator<Item = &Option<News>>, env: &Env) -> Vec<String> {
    let mut calls: BTreeMap<&str, Vec<GivenUp>> = BTreeMap::new();
    for (source, item) in news.flatten() {
        calls.entry(source).or_default().push(item.clone());
    }
    let told = join_all(calls.into_iter().map(|(source, items)| async move {
        tell_one(source, items, env).await.map_err(|error| {
            log::error("give_up_failed", &[("source", source), ("error", &error.to_string())]);
            source.to_owned()
        })
    }));
    told.await.into_iter().filter_map(Result::err).collect()
}

async fn tell_one(source: &str, items: Vec<GivenUp>, env: &Env) -> Result<(), CallError> {
    let letters: Vec<(String, u32)> =
        items.iter().map(|item| (item.dispatch.id.clone(), item.dispatch.round)).collect();
    let states = destinations::give_up(env, source, items).await?;
    let outlived = letters.into_iter().zip(states).filter(|(_, state)| Verdict::outlived(*state).is_some());
    let letters: Vec<Outlived> = outlived.map(|((id, replay), state)| Outlived { id, replay, state }).collect();
    if letters.is_empty() {
        return Ok(());
    }
    let mark = LettersCall::Outlived { letters };
    objects::call::<u64>(env, objects::DEAD_LETTER_STORE, STORE_OBJECT, &mark).await.map(|_| ())
}

/// The letter of a message, and what its destination is told where it was a delivery; of a body that could not be stored the
/// identifier, and why.
async fn to_letter(message: &QueueMessage, env: &Env) -> Result<(Letter, Option<News>), (String, String)> {
    let bytes = message.bytes();
    let mut news = None;
    let (mut letter, body) = match decode(&bytes) {
        Ok(Message::DeadLetter(letter, body)) => {
            news = (letter.stage == Stage::Deliver).then(|| {
                let (dispatch, reason) = (Dispatch::of_letter(&letter, body), letter.reason.clone());
                (letter.source.clone(), GivenUp { dispatch, reason, is_known: true })
            });
            (letter, body)
        }
        // The platform moves a delivery here when it has been retried as often as a queue allows.
        Ok(Message::Delivery(delivery, body)) => {
            let error = "given up by the queue".to_owned();
            let (dispatch, reason) = (Dispatch::of_delivery(&delivery, body), reason::RETRIES_EXHAUSTED.to_owned());
            news = Some((delivery.source.clone(), GivenUp { dispatch, reason, is_known: false }));
            (
                DeadLetter::undeliverable(
                    &delivery,
                    reason::RETRIES_EXHAUSTED,
                    message.attempts(),
                    None,
                    Some(error),
                    clock::now_ms(),
                ),
                body,
            )
        }
        Ok(Message::Release(..)) => {
            (unreadable(message, "dead letters", bytes.len() as u64, "a release"), bytes.as_slice())
        }
        Err(error) => (unreadable(message, "dead letters", bytes.len() as u64, &error.to_string()), bytes.as_slice()),
    };
    if body.len() <= INLINE_MAX_BYTES {
        let inline = matches!(letter.body, BodyRef::Inline { .. }).then(|| BodyText::from_bytes(body));
        return Ok((whole(letter, inline), news));
    }
    let key = format!("dead-letters/{}/{}", date_path(letter.received_at_ms), letter.id);
    let sha256 = r2::sha256_hex(body);
    if let Err(error) = r2::put(env, &key, &Body::Small(body.to_vec())).await {
        return Err((letter.id, error));
    }
    letter.body = BodyRef::Stored { key, size_bytes: body.len() as u64, sha256 };
    Ok((whole(letter, None), news))
}

fn whole(letter: DeadLetter, inline: Option<BodyText>) -> Letter {
    Letter { letter, inline, status: Status::Stored, last_replay: None }
}

/// The letter of a message of the queue of `what` that cannot be read.
/// Its identifier is that of the message: one that comes again, because its acknowledgement was lost, is the same letter.
pub(super) fn unreadable(message: &QueueMessage, what: &str, size_bytes: u64, error: &str) -> DeadLetter {
    let now_ms = clock::now_ms();
    let digest: [u8; 32] = Sha256::digest(message.id()).into();
    let id = delivery_id(message.sent_at_ms(), digest.first_chunk().copied().unwrap_or_default());
    DeadLetter {
        detail: Some(format!("message {} of the queue of {what}: {error}", message.id())),
        attempts: message.attempts(),
        ..DeadLetter::of(id, Stage::Queue, reason::UNDECODABLE_MESSAGE, BodyRef::Inline { size_bytes }, now_ms)
    }
}
