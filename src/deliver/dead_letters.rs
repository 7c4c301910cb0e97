//! `DEAD_LETTERS`: stores what was refused or given up.
//!
//! Promises:
//! - a letter is acknowledged once it is stored, and stored once however often it arrives;
//! - whatever else comes through this queue (a delivery that the platform gave up, bytes of another version) is stored too;
//! - each new letter is audited, and so is what had to go for it;
//! - the ledger learns of every letter of a delivery before its message is acknowledged: nothing else settles what the platform
//!   gave up, and a consumer's settlement may have been lost;
//! - a letter whose delivery stands otherwise (a late consumer has delivered it) is marked, so that nothing replays it;
//! - however long the store is away, no letter uses up the queue's retries.
//!
//! Out of scope: why a letter died, how a message is read (`gateway_core::dead_letters`).

use crate::objects::clients::{DeadLetterClient, LedgerClient};
use crate::platform::body::RawBody;
use crate::platform::objects::CallError;
use crate::platform::queue::{self, QueueMessage};
use crate::platform::{clock, log, r2};
use futures_util::future::join_all;
use gateway_core::audit::{letter_drafts, purge_drafts};
use gateway_core::dead_letters::{ArrivedLetter, DeathReport, MessageFacts, StoredDeadLetter, by_shard, outlived};
use gateway_core::deliver::ledger::ClaimItem;
use gateway_core::messages::{BodyRef, DeadLetter};
use worker::Env;

/// How long letters wait when the store cannot be reached, in seconds.
const STORE_DELAY_S: u32 = 30;

/// Works on one batch.
pub(super) async fn consume(messages: &[&QueueMessage], env: &Env) {
    let (mut letters, mut arrived) = (vec![], vec![]);
    for message in messages {
        match read(message, env).await {
            Ok((letter, death)) => {
                letters.push(letter);
                arrived.push((message, death));
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
    let known: Vec<DeadLetter> = letters.iter().map(|letter| letter.letter.clone()).collect();
    let stored = match DeadLetterClient::new(env).put(letters).await {
        Ok(stored) => stored,
        Err(error) => {
            log::error("letters_not_stored", &[("error", &error.to_string())]);
            for (message, _) in arrived {
                nack(message, env).await;
            }
            return;
        }
    };
    let untold = report(arrived.iter().filter_map(|(_, death)| death.as_ref()), env).await;
    for (message, death) in arrived {
        // The letter is stored whatever the ledger says; storing it again changes nothing.
        if death.is_some_and(|death| untold.contains(&death.shard)) {
            nack(message, env).await;
        } else {
            message.ack();
        }
    }
    // A message that came again is no second death.
    let mut drafts = letter_drafts(known.iter().filter(|letter| !stored.known.contains(&letter.id)));
    for (source, removed) in &stored.purged {
        log::warn("dead_letters_purged", &[("source", source), ("letters", &removed.to_string())]);
    }
    drafts.extend(purge_drafts(&stored.purged));
    if let Err(error) = r2::delete(env, stored.keys).await {
        // Retention finds bodies that no letter names.
        log::warn("payload_delete_failed", &[("error", &error)]);
    }
    crate::audit::append(env, drafts).await;
}

/// Behind this queue there is no other: what it gave up would be lost.
async fn nack(message: &QueueMessage, env: &Env) {
    super::nack(message, queue::DEAD_LETTERS, STORE_DELAY_S, env).await;
}

/// Tells the ledger of deaths, and the store which letters' deliveries are not dead. Answers the objects of the ledger whose
/// letters are to come again.
async fn report(deaths: impl Iterator<Item = &DeathReport>, env: &Env) -> Vec<String> {
    let told = join_all(by_shard(deaths).into_iter().map(|((shard, known), items)| async move {
        report_to(shard, known, items, env).await.map_err(|error| {
            log::error("give_up_failed", &[("shard", shard), ("error", &error.to_string())]);
            shard.to_owned()
        })
    }));
    told.await.into_iter().filter_map(Result::err).collect()
}

async fn report_to(shard: &str, known: bool, items: Vec<ClaimItem>, env: &Env) -> Result<(), CallError> {
    let letters = items.iter().map(|item| (item.id.clone(), item.replay)).collect();
    let letters = outlived(letters, LedgerClient::new(env, shard).give_up(items, known).await?);
    if !letters.is_empty() {
        DeadLetterClient::new(env).outlived(letters).await?;
    }
    Ok(())
}

/// The letter of a message, with its body in the bucket where it fits into no row; where it could not be put there the letter's
/// identifier, and why.
async fn read(message: &QueueMessage, env: &Env) -> Result<(StoredDeadLetter, Option<DeathReport>), (String, String)> {
    let bytes = message.bytes();
    let mut arrived = ArrivedLetter::read(&bytes, &facts(message), clock::now_ms());
    let death = arrived.death.take();
    let Some(key) = arrived.bucket_key() else { return Ok((arrived.stored(None), death)) };
    let (size_bytes, sha256) = (arrived.body.len() as u64, r2::sha256_hex(arrived.body));
    if let Err(error) = r2::put(env, &key, &RawBody::Wasm(arrived.body.to_vec())).await {
        return Err((arrived.letter.id, error));
    }
    Ok((arrived.stored(Some(BodyRef::Stored { key, size_bytes, sha256 })), death))
}

/// What the queue says of a message.
pub(super) fn facts(message: &QueueMessage) -> MessageFacts {
    MessageFacts { id: message.id(), sent_at_ms: message.sent_at_ms(), attempts: message.attempts() }
}
