//! `DEAD_LETTERS`: stores what was refused or given up.
//!
//! Promises: a letter is acknowledged once it is stored, and stored once however often it arrives; whatever else comes
//! through this queue (a delivery that the platform gave up, bytes of another version) is stored too, with its raw form;
//! each is audited. Out of scope: why a letter died.

use super::attempt::dead_letter;
use crate::platform::body::Body;
use crate::platform::queue::QueueMessage;
use crate::platform::{clock, log, objects, r2};
use gateway_core::audit::{Action, Draft};
use gateway_core::letters::{BodyText, INLINE_MAX_BYTES, Letter, LettersCall, STORE_OBJECT};
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
    let mut drafts = vec![];
    for message in messages {
        match to_letter(message, env).await {
            Ok(letter) => {
                drafts.push(Draft {
                    source: Some(letter.letter.source.clone()).filter(|source| !source.is_empty()),
                    status_code: letter.letter.last_status,
                    error: Some(letter.letter.reason.clone()),
                    correlation_id: Some(letter.letter.id.clone()),
                    ..Draft::new(Action::DlqRoute, "consumer")
                });
                letters.push(letter);
                stored.push(message);
            }
            Err(error) => {
                log::error("letter_body_failed", &[("message", &message.id()), ("error", &error)]);
                message.put_off(STORE_DELAY_S);
            }
        }
    }
    if letters.is_empty() {
        return;
    }
    let put = LettersCall::Put { letters };
    match objects::call::<u64>(env, objects::DEAD_LETTER_STORE, STORE_OBJECT, &put).await {
        Ok(_) => {
            for message in stored {
                message.done();
            }
        }
        Err(error) => {
            log::error("letters_not_stored", &[("error", &error.to_string())]);
            for message in stored {
                message.put_off(STORE_DELAY_S);
            }
            return;
        }
    }
    crate::audit::append(env, drafts).await;
}

async fn to_letter(message: &QueueMessage, env: &Env) -> Result<Letter, String> {
    let bytes = message.bytes();
    let (mut letter, body) = match decode(&bytes) {
        Ok(Message::DeadLetter(letter, body)) => (letter, body),
        // The platform moves a delivery here when it has been retried as often as a queue allows.
        Ok(Message::Delivery(delivery, body)) => {
            let error = "given up by the queue".to_owned();
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
        return Ok(Letter { letter, inline });
    }
    let key = format!("dead-letters/{}/{}", date_path(letter.received_at_ms), letter.id);
    let sha256 = r2::sha256_hex(body);
    r2::put(env, &key, &Body::Small(body.to_vec())).await?;
    letter.body = BodyRef::Stored { key, size_bytes: body.len() as u64, sha256 };
    Ok(Letter { letter, inline: None })
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
