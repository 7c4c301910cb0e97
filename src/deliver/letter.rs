//! Sends a dead letter to its queue.
//!
//! Promise: a letter that is not sent leaves no stored body behind. Out of scope: letters of the receiver, whose driver does the same.

use crate::platform::body::RawBody;
use crate::platform::{log, queue, r2};
use gateway_core::messages::keys::payload_key;
use gateway_core::messages::{self, BodyRef, DeadLetter};
use worker::Env;

/// The body of a message whose body is stored elsewhere.
const NOTHING: RawBody = RawBody::Wasm(vec![]);

/// Sends a letter with its body, which goes to R2 first where it does not fit.
pub(crate) async fn send_letter(
    env: &Env,
    letter: &mut DeadLetter,
    body: &RawBody,
) -> Result<(), (&'static str, String)> {
    let header = messages::dead_letter_header(letter);
    if messages::fits(&header, body.len()) {
        let sent = queue::send(env, queue::DEAD_LETTERS, &header, body).await;
        return sent.map_err(|error| ("queue_failed", error));
    }
    let key = payload_key(&letter.source, &letter.id, letter.received_at_ms);
    let sha256 = r2::body_sha256_hex(body).await.map_err(|error| ("storage_failed", error))?;
    r2::put(env, &key, body).await.map_err(|error| ("storage_failed", error))?;
    letter.body = BodyRef::Stored { key: key.clone(), size_bytes: body.len() as u64, sha256 };
    let sent = queue::send(env, queue::DEAD_LETTERS, &messages::dead_letter_header(letter), &NOTHING).await;
    if sent.is_err()
        && let Err(error) = r2::delete(env, vec![key.clone()]).await
    {
        log::warn("discard_failed", &[("key", &key), ("error", &error)]);
    }
    sent.map_err(|error| ("queue_failed", error))
}

/// Logs a failure on our side that concerns a delivery; `kept`: headers without secrets.
pub(crate) fn failed<N: AsRef<str>, V: AsRef<str>>(event: &str, source: &str, id: &str, kept: &[(N, V)], error: &str) {
    let correlation = log::correlation(kept);
    log::error(event, &[("source", source), ("delivery", id), ("correlation", correlation), ("error", error)]);
}
