//! `DEAD_LETTERS`: stores what was refused or given up.
//!
//! Promises: a letter is acknowledged once it is stored, and stored once however often it arrives; whatever else comes
//! through this queue (a delivery that the platform gave up, bytes of another version) is stored too, with its raw form;
//! it is audited, and so is what had to go for it. Of a delivery that the platform gave up the ledger learns that it is
//! dead, before the message is acknowledged: nobody else would settle it. However long the store is away, no letter uses up
//! the queue's retries. Out of scope: why a letter died.

use super::attempt::dead_letter;
use super::deliveries::claim_item;
use crate::platform::body::Body;
use crate::platform::queue::{self, QueueMessage};
use crate::platform::{clock, log, objects, r2};
use gateway_core::audit::{Action, Draft, letter_drafts};
use gateway_core::ledger::{ClaimItem, LedgerCall, ledger_shard};
use gateway_core::letters::{BodyText, INLINE_MAX_BYTES, Letter, LettersCall, STORE_OBJECT, Status, Stored};
use gateway_core::time::date_path;
use genesys_webhook::id::delivery_id;
use genesys_webhook::message::{BodyRef, DeadLetter, Message, Stage, decode, reason};
use worker::Env;

/// How long letters wait when the store cannot be reached, in seconds.
const STORE_DELAY_S: u32 = 30;

/// Works on one batch.
pub(super) async fn consume(messages: &[QueueMessage], env: &Env) {
    let mut stored = vec![];
    let mut letters = vec![];
    for message in messages {
        match to_letter(message, env).await {
            Ok((letter, given_up)) => {
                letters.push(letter);
                stored.push((message, given_up));
            }
            Err((id, error)) => {
                log::error("letter_body_failed", &[("message", &message.id()), ("delivery", &id), ("error", &error)]);
                put_off(message, env).await;
            }
        }
    }
    if letters.is_empty() {
        return;
    }
    let mut drafts = letter_drafts(letters.iter().map(|letter| &letter.letter));
    let put = LettersCall::Put { letters };
    let purged = match objects::call::<Stored>(env, objects::DEAD_LETTER_STORE, STORE_OBJECT, &put).await {
        Ok(purged) => purged,
        Err(error) => {
            log::error("letters_not_stored", &[("error", &error.to_string())]);
            for (message, _) in stored {
                put_off(message, env).await;
            }
            return;
        }
    };
    for (message, given_up) in stored {
        // The letter is stored whatever the ledger says; storing it again changes nothing.
        let told = match given_up {
            Some(item) => give_up(env, item).await,
            None => true,
        };
        if told {
            message.done();
        } else {
            put_off(message, env).await;
        }
    }
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
async fn put_off(message: &QueueMessage, env: &Env) {
    super::put_off(message, queue::DEAD_LETTERS, STORE_DELAY_S, env).await;
}

/// Tells the ledger of a delivery that the platform gave up; such messages are rare and come one by one.
async fn give_up(env: &Env, item: ClaimItem) -> bool {
    let (shard, id) = (ledger_shard(&item.key), item.id.clone());
    let told =
        objects::call::<u64>(env, objects::DELIVERY_LEDGER, &shard, &LedgerCall::GiveUp { items: vec![item] }).await;
    if let Err(error) = &told {
        log::error("give_up_failed", &[("shard", &shard), ("delivery", &id), ("error", &error.to_string())]);
    }
    told.is_ok()
}

/// The letter of a message, and what the ledger is to be told where it was a delivery; of a body that could not be stored the
/// identifier, and why.
async fn to_letter(message: &QueueMessage, env: &Env) -> Result<(Letter, Option<ClaimItem>), (String, String)> {
    let bytes = message.bytes();
    let mut given_up = None;
    let (mut letter, body) = match decode(&bytes) {
        Ok(Message::DeadLetter(letter, body)) => (letter, body),
        // The platform moves a delivery here when it has been retried as often as a queue allows.
        Ok(Message::Delivery(delivery, body)) => {
            let error = "given up by the queue".to_owned();
            given_up = Some(claim_item(&delivery, body));
            (
                dead_letter(
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
        Err(error) => (unreadable(message, "dead letters", bytes.len() as u64, &error.to_string()), bytes.as_slice()),
    };
    if body.len() <= INLINE_MAX_BYTES {
        let inline = matches!(letter.body, BodyRef::Inline { .. }).then(|| BodyText::from_bytes(body));
        return Ok((whole(letter, inline), given_up));
    }
    let key = format!("dead-letters/{}/{}", date_path(letter.received_at_ms), letter.id);
    let sha256 = r2::sha256_hex(body);
    if let Err(error) = r2::put(env, &key, &Body::Small(body.to_vec())).await {
        return Err((letter.id, error));
    }
    letter.body = BodyRef::Stored { key, size_bytes: body.len() as u64, sha256 };
    Ok((whole(letter, None), given_up))
}

fn whole(letter: DeadLetter, inline: Option<BodyText>) -> Letter {
    Letter { letter, inline, status: Status::Stored, last_replay: None }
}

/// The letter of a message of the queue of `what` that cannot be read.
pub(super) fn unreadable(message: &QueueMessage, what: &str, size_bytes: u64, error: &str) -> DeadLetter {
    let now_ms = clock::now_ms();
    DeadLetter {
        id: delivery_id(now_ms, clock::random().unwrap_or_default()),
        source: String::new(),
        stage: Stage::Queue,
        reason: reason::UNDECODABLE_MESSAGE.into(),
        detail: Some(format!("message {} of the queue of {what}: {error}", message.id())),
        diagnosis: None,
        verified: false,
        received_at_ms: now_ms,
        dead_at_ms: now_ms,
        attempts: message.attempts(),
        last_status: None,
        event_count: None,
        secret_label: None,
        dedupe_key: None,
        headers: vec![],
        replay: 0,
        body: BodyRef::Inline { size_bytes },
    }
}
