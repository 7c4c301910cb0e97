//! The queue consumers.
//!
//! Promise: every message of a batch is acknowledged or put off by itself; no error leaves a consumer, because one would
//! have the whole batch delivered again.

mod attempt;
mod batch;
mod dead_letters;
mod destination;
pub(crate) mod destinations;
pub(crate) mod letter;
pub(crate) mod replay;

use crate::config::gateway;
use crate::platform::body::Body;
use crate::platform::queue::{self, QueueBatch, QueueMessage};
use crate::platform::{clock, log};
use gateway_core::deliver::retry_policy::is_to_be_renewed;
use gateway_core::messages::{Message, decode};
use worker::Env;

/// How long a batch waits that cannot be worked on now, in seconds.
const NACK_S: u32 = 30;

/// Works on one batch of either queue. A letter is recognised by what it is, whatever its queue is called. Only a delivery
/// does not say whether the platform has given it up: it has where its queue's name contains `dead-letters`, and from a
/// queue of dead letters with another name it is tried again, which loses nothing.
pub(crate) async fn consume(batch: &QueueBatch, env: &Env) {
    let messages = batch.to_vec();
    let all: Vec<&QueueMessage> = messages.iter().collect();
    match gateway(env) {
        // Letters need no configuration: what was refused is stored whatever is configured now.
        _ if batch.queue().contains("dead-letters") => dead_letters::consume(&all, env).await,
        Ok(gateway) => batch::consume(&gateway, &messages, env).await,
        Err(_) => {
            log::error("batch_nacked", &[("queue", &batch.queue()), ("cause", "bad_configuration")]);
            let is_letter = |message: &&QueueMessage| matches!(decode(&message.bytes()), Ok(Message::DeadLetter(..)));
            let (letters, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_letter);
            dead_letters::consume(&letters, env).await;
            for message in others {
                message.nack(NACK_S);
            }
        }
    }
}

/// A dead letter goes back to its queue, as a new message before the queue would give the old one up or drop it. A copy that is left
/// over where the platform repeats is harmless: the store knows what it has.
async fn nack_letter(message: &QueueMessage, delay_s: u32, env: &Env) {
    let age_ms = clock::now_ms().saturating_sub(message.sent_at_ms());
    if is_to_be_renewed(message.attempts(), age_ms, delay_s) {
        match queue::send_later(env, queue::DEAD_LETTERS, "", &Body::Small(message.bytes()), delay_s).await {
            Ok(()) => return message.ack(),
            Err(error) => log::warn("renewal_failed", &[("message", &message.id()), ("error", &error)]),
        }
    }
    message.nack(delay_s);
}
