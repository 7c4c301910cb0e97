//! `DELIVERIES`: claim → hand on → settle.
//!
//! Promises: nothing is handed on without a claim in the ledger, nothing is acknowledged before the ledger knows what
//! became of it, a crash in between repeats and never loses; deliveries of a batch are handed on side by side; a message
//! that cannot be read goes to the dead letters as it is. Out of scope: who may claim (`gateway_core::ledger`), what an
//! answer means (`gateway_core::handover`).

use super::dead_letters::unreadable;
use super::destination::{Attempt, hand_on};
use crate::config::Gateway;
use crate::platform::body::Body;
use crate::platform::queue::QueueMessage;
use crate::platform::{clock, log, objects, r2};
use crate::receiver::send_letter;
use futures_util::future::join_all;
use gateway_core::handover::{Attempted, Verdict, judge};
use gateway_core::ledger::{ClaimItem, Claimed, LedgerCall, Outcome, SettleItem, State, ledger_key, ledger_shard};
use genesys_webhook::dedupe::body_key;
use genesys_webhook::message::{BodyRef, DeadLetter, Delivery, Message, Stage, decode};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use worker::Env;

/// How long a delivery waits whose ledger object or stored body cannot be reached, in seconds.
const STORAGE_DELAY_S: u32 = 10;

/// A delivery of the batch, decoded.
struct Work<'m> {
    message: &'m QueueMessage,
    delivery: Delivery,
    inline: Vec<u8>,
    shard: String,
    key: String,
}

/// What is to be written into the ledger, and then done with the message.
struct Settlement<'m> {
    message: &'m QueueMessage,
    item: SettleItem,
    delay_s: Option<u32>,
    stored_key: Option<String>,
}

/// Works on one batch.
pub(super) async fn consume(gateway: &Gateway, messages: &[QueueMessage], env: &Env) {
    let mut shards: BTreeMap<String, Vec<Work<'_>>> = BTreeMap::new();
    for message in messages {
        match read(message) {
            Ok(work) => shards.entry(work.shard.clone()).or_default().push(work),
            Err((bytes, error)) => bury_unreadable(message, bytes, &error, env).await,
        }
    }
    join_all(shards.into_iter().map(|(shard, works)| work_on(gateway, shard, works, env))).await;
}

fn read(message: &QueueMessage) -> Result<Work<'_>, (Vec<u8>, String)> {
    let bytes = message.bytes();
    let decoded = match decode(&bytes) {
        Ok(Message::Delivery(delivery, inline)) => Ok((delivery, inline.to_vec())),
        Ok(Message::DeadLetter(..)) => Err("a dead letter in the queue of deliveries".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let (delivery, inline) = decoded.map_err(|error| (bytes, error))?;
    let key = key_of(&delivery, &inline);
    Ok(Work { message, shard: ledger_shard(&key), key, delivery, inline })
}

/// The key under which the ledger knows a delivery.
fn key_of(delivery: &Delivery, inline: &[u8]) -> String {
    let key = match (&delivery.dedupe_key, &delivery.body) {
        (Some(key), _) => key.clone(),
        (None, BodyRef::Stored { sha256, .. }) => format!("body-sha256:{sha256}"),
        (None, _) => body_key(&Sha256::digest(inline).into()),
    };
    ledger_key(&delivery.source, &key)
}

/// What the ledger is told of a delivery.
pub(super) fn claim_item(delivery: &Delivery, inline: &[u8]) -> ClaimItem {
    claim_item_under(key_of(delivery, inline), delivery)
}

fn claim_item_under(key: String, delivery: &Delivery) -> ClaimItem {
    ClaimItem {
        id: delivery.id.clone(),
        key,
        source: delivery.source.clone(),
        received_at_ms: delivery.received_at_ms,
        event_count: delivery.event_count,
        size_bytes: delivery.body.size_bytes(),
        replay: delivery.replay,
        origin: delivery.origin,
    }
}

async fn bury_unreadable(message: &QueueMessage, bytes: Vec<u8>, error: &str, env: &Env) {
    let mut letter = unreadable(message, "deliveries", bytes.len() as u64, error);
    match send_letter(env, &mut letter, &Body::Small(bytes)).await {
        Ok(()) => message.done(),
        Err((cause, error)) => {
            log::error(cause, &[("message", &message.id()), ("error", &error)]);
            message.put_off(STORAGE_DELAY_S);
        }
    }
}

/// The deliveries of one ledger shard: one call to claim them, one to settle them.
async fn work_on(gateway: &Gateway, shard: String, works: Vec<Work<'_>>, env: &Env) {
    let items = works.iter().map(Work::claim_item).collect();
    let claims: Vec<Claimed> =
        match objects::call(env, objects::DELIVERY_LEDGER, &shard, &LedgerCall::Claim { items }).await {
            Ok(claims) => claims,
            Err(error) => {
                log::error("claim_failed", &[("shard", &shard), ("error", &error.to_string())]);
                for work in works {
                    work.message.put_off(STORAGE_DELAY_S);
                }
                return;
            }
        };
    let mut attempts = vec![];
    let mut leftovers = vec![];
    for (work, claim) in works.into_iter().zip(claims) {
        match claim {
            Claimed::Proceed { attempt } => attempts.push(attempt_delivery(gateway, work, attempt, env)),
            Claimed::Busy { until_ms } => {
                let wait_ms = until_ms.saturating_sub(clock::now_ms());
                work.message.put_off(u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).clamp(1, 300));
            }
            // Its letter refers to the stored body.
            Claimed::Settled { state: State::Dead } => work.message.done(),
            Claimed::Settled { .. } | Claimed::Duplicate { .. } => {
                leftovers.extend(work.stored_key());
                work.message.done();
            }
        }
    }
    let settlements: Vec<Settlement<'_>> = join_all(attempts).await.into_iter().flatten().collect();
    if !settlements.is_empty() {
        let items = settlements.iter().map(|settlement| settlement.item.clone()).collect();
        let settled = objects::call::<u64>(env, objects::DELIVERY_LEDGER, &shard, &LedgerCall::Settle { items }).await;
        if let Err(error) = settled {
            // The claims' leases run out, and the deliveries are handed on again: at least once.
            log::error("settle_failed", &[("shard", &shard), ("error", &error.to_string())]);
            for settlement in settlements {
                settlement.message.put_off(STORAGE_DELAY_S);
            }
            return;
        }
        for settlement in settlements {
            if let Some(delay_s) = settlement.delay_s {
                settlement.message.put_off(delay_s);
            } else {
                leftovers.extend(settlement.stored_key);
                settlement.message.done();
            }
        }
    }
    // Bodies that nobody needs any more; what cannot be deleted now is left to retention.
    if let Err(error) = r2::delete(env, leftovers).await {
        log::warn("payload_delete_failed", &[("error", &error)]);
    }
}

impl Work<'_> {
    fn claim_item(&self) -> ClaimItem {
        claim_item_under(self.key.clone(), &self.delivery)
    }

    /// Key of a stored body that nothing needs any more once this is settled. That of a replay belongs to its letter.
    fn stored_key(&self) -> Option<String> {
        match &self.delivery.body {
            _ if self.delivery.replay > 0 => None,
            BodyRef::Stored { key, .. } => Some(key.clone()),
            BodyRef::Inline { .. } | BodyRef::Omitted { .. } => None,
        }
    }
}

/// One attempt on one claimed delivery; `None` where the message was put off without one.
async fn attempt_delivery<'m>(gateway: &Gateway, work: Work<'m>, attempt: u32, env: &Env) -> Option<Settlement<'m>> {
    let Work { message, delivery, inline, .. } = &work;
    let stored;
    let (body, attempted) = match &delivery.body {
        BodyRef::Stored { key, sha256, .. } => match r2::get(env, key, sha256).await {
            Ok(bytes) => {
                stored = bytes;
                (&stored, None)
            }
            Err(r2::ReadError::Gone(error)) => (inline, Some(Attempt::body_unavailable(error))),
            Err(r2::ReadError::Failed(error)) => {
                (inline, Some(Attempt { attempted: Attempted::Failed, status: None, error: Some(error) }))
            }
        },
        BodyRef::Inline { .. } | BodyRef::Omitted { .. } => (inline, None),
    };
    let Some(configured) = gateway.source(&delivery.source) else {
        // Its source is not configured any more: the schedule goes on, so that bringing it back delivers what waits.
        let error = format!("source {} is not configured", delivery.source);
        return settle(
            &[300; 12],
            work,
            attempt,
            Attempt { attempted: Attempted::Failed, status: None, error: Some(error) },
            env,
        )
        .await;
    };
    let attempted = match attempted {
        Some(attempted) => attempted,
        None => hand_on(configured, env, delivery, body).await,
    };
    if let Some(error) = &attempted.error {
        log::warn(
            "attempt_failed",
            &[
                ("delivery", &delivery.id),
                ("source", &delivery.source),
                ("error", error),
                ("attempts", &message.attempts().to_string()),
            ],
        );
    }
    settle(&configured.source.retry_schedule_s, work, attempt, attempted, env).await
}

async fn settle<'m>(
    schedule_s: &[u32],
    work: Work<'m>,
    attempt: u32,
    attempted: Attempt,
    env: &Env,
) -> Option<Settlement<'m>> {
    let now_ms = clock::now_ms();
    let Attempt { attempted, status, error } = attempted;
    let mut stored_key = work.stored_key();
    let (outcome, delay_s) = match judge(schedule_s, attempt, &attempted, clock::jitter()) {
        Verdict::Delivered => (Outcome::Delivered, None),
        Verdict::Retry { delay_s } => {
            let next_attempt_ms = now_ms.saturating_add(u64::from(delay_s).saturating_mul(1000));
            (Outcome::Retry { next_attempt_ms }, Some(delay_s))
        }
        Verdict::Dead { reason } => {
            // The letter refers to the stored body.
            stored_key = None;
            let mut letter = dead_letter(&work.delivery, reason, attempt, status, error.clone(), now_ms);
            if let Err((cause, error)) = send_letter(env, &mut letter, &Body::Small(work.inline)).await {
                log::error(cause, &[("delivery", &letter.id), ("error", &error)]);
                work.message.put_off(STORAGE_DELAY_S);
                return None;
            }
            (Outcome::Dead { reason: reason.into() }, None)
        }
    };
    let item = SettleItem { id: work.delivery.id, attempt, outcome, status, error };
    Some(Settlement { message: work.message, item, delay_s, stored_key })
}

/// The letter of a delivery that was given up.
pub(super) fn dead_letter(
    delivery: &Delivery,
    reason: &str,
    attempts: u32,
    last_status: Option<u16>,
    error: Option<String>,
    now_ms: u64,
) -> DeadLetter {
    DeadLetter {
        id: delivery.id.clone(),
        source: delivery.source.clone(),
        stage: Stage::Deliver,
        reason: reason.into(),
        detail: error,
        diagnosis: None,
        verified: true,
        received_at_ms: delivery.received_at_ms,
        dead_at_ms: now_ms,
        attempts,
        last_status,
        event_count: Some(delivery.event_count),
        secret_label: Some(delivery.secret_label.clone()),
        dedupe_key: delivery.dedupe_key.clone(),
        headers: delivery.headers.clone(),
        replay: delivery.replay,
        body: delivery.body.clone(),
    }
}
