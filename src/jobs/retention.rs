//! Removes what is old: dead letters, ledger rows, stored bodies that nothing refers to.
//!
//! Promises:
//! - bounded steps, and an account of what was removed; a step that fails leaves its part to the next run;
//! - nothing is removed while the configuration, which says how long things are kept, cannot be read;
//! - no body is removed by its date in a run that left a letter or a delivery over;
//! - a delivery that the queue does not hold any more becomes a dead letter.
//!
//! Out of scope: what is old (`gateway_core::dead_letters::retention`); the archive, which is the user's.

use crate::config::gateway;
use crate::deliver::letter::send_letter;
use crate::jobs::audit_export;
use crate::objects::clients::{DeadLetterClient, LedgerClient, MonitorClient};
use crate::platform::body::RawBody;
use crate::platform::{clock, log, r2};
use gateway_core::audit::retention_draft;
use gateway_core::config::GatewayConfig;
use gateway_core::dead_letters::INLINE_MAX_BYTES;
use gateway_core::dead_letters::retention::{LastRetention, MAX_STEPS, Removed, STEP, before_ms};
use gateway_core::deliver::ledger::{
    DeliveryRow, LOST_LIMIT, LostRow, ledger_shards, lost_before_ms, lost_letter, suspected_before_ms,
};
use gateway_core::deliver::retry_policy::longest_ms;
use gateway_core::messages::BodyRef;
use gateway_core::messages::keys::{BODY_PREFIXES, letter_body_key, payload_key};
use worker::Env;

/// The cron of `wrangler.toml` that removes.
pub(crate) const CRON: &str = "17 3 * * *";

/// What the cron and `POST /api/retention` do.
/// `actor`: who wants it, for the audit.
pub(crate) async fn run(env: &Env, actor: &str) -> Removed {
    let mut removed = Removed::default();
    // A replay job whose alarm was lost goes on.
    if let Err(error) = DeadLetterClient::new(env).wake().await {
        failed(&mut removed, &error.to_string());
    }
    match gateway(env) {
        Ok(gateway) => remove(env, &gateway.config, &mut removed).await,
        // How long things are to be kept is written there.
        Err(_) => failed(&mut removed, "bad_configuration"),
    }
    let Removed { failures, unfinished, .. } = removed;
    let last = LastRetention { ended_at_ms: clock::now_ms(), failures, unfinished };
    if let Err(error) = MonitorClient::new(env).retained(last).await {
        log::warn("retention_not_kept", &[("error", &error.to_string())]);
    }
    let figures = serde_json::to_string(&removed).unwrap_or_default();
    log::info("retention", &[("removed", &figures), ("audit_head", &audit_export::head(env).await)]);
    crate::audit::append(env, retention_draft(&removed, actor).into_iter().collect()).await;
    removed
}

async fn remove(env: &Env, config: &GatewayConfig, removed: &mut Removed) {
    let (retention, now_ms) = (config.retention, clock::now_ms());
    let longest_ms = config.sources.iter().map(|source| longest_ms(&source.retry_schedule_s)).max().unwrap_or(0);
    let received_before_ms = retention.received_before_ms(longest_ms, now_ms);
    // Before bodies go that they may still need.
    lost(env, now_ms, removed).await;
    letters(env, before_ms(retention.letter_days, now_ms), received_before_ms, removed).await;
    ledgers(env, before_ms(retention.dedupe_days, now_ms), removed).await;
    // What was left over may refer to them.
    let left_over = removed.unfinished;
    for prefix in BODY_PREFIXES.into_iter().filter(|_| !left_over) {
        bodies(env, prefix, &retention.bodies_before_key(prefix, longest_ms, now_ms), removed).await;
    }
    audit_export::run(env, before_ms(retention.audit_days, now_ms), removed).await;
}

/// Repeats a step until it answers that nothing is left, or fails.
async fn repeat(removed: &mut Removed, step: impl AsyncFn(&mut Removed) -> Result<bool, String>) {
    for _ in 0..MAX_STEPS {
        match step(removed).await {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => return failed(removed, &error),
        }
    }
    removed.unfinished = true;
}

async fn letters(env: &Env, before_ms: u64, received_before_ms: u64, removed: &mut Removed) {
    let step = async |removed: &mut Removed| {
        let expired = DeadLetterClient::new(env).expire(before_ms, received_before_ms, STEP).await;
        let expired = expired.map_err(|error| error.to_string())?;
        removed.dead_letters = removed.dead_letters.saturating_add(expired.removed);
        if let Err(error) = r2::delete(env, expired.keys).await {
            // They are found again as bodies without a letter.
            failed(removed, &error);
        }
        Ok(expired.removed < u64::from(STEP))
    };
    repeat(removed, step).await;
}

async fn ledgers(env: &Env, before_ms: u64, removed: &mut Removed) {
    for shard in ledger_shards() {
        let step = async |removed: &mut Removed| {
            let expired = LedgerClient::new(env, &shard).expire(before_ms, STEP).await;
            let rows = expired.map_err(|error| error.to_string())?;
            removed.deliveries = removed.deliveries.saturating_add(rows);
            Ok(rows < u64::from(STEP))
        };
        repeat(removed, step).await;
    }
}

/// Makes letters of deliveries whose messages are gone. The ledger learns of them when they are stored, so one that is sent
/// twice is one.
async fn lost(env: &Env, now_ms: u64, removed: &mut Removed) {
    let (before_ms, suspected_before_ms) = (lost_before_ms(now_ms), suspected_before_ms(now_ms));
    for shard in ledger_shards() {
        match LedgerClient::new(env, &shard).lost(before_ms, suspected_before_ms, LOST_LIMIT).await {
            Ok(rows) => {
                removed.unfinished |= rows.len() as u64 == u64::from(LOST_LIMIT);
                for lost in rows {
                    match send_lost(env, &lost, now_ms).await {
                        Ok(()) => {
                            log::error("message_lost", &[("delivery", &lost.row.id), ("source", &lost.row.source)]);
                            removed.lost = removed.lost.saturating_add(1);
                        }
                        Err(error) => failed(removed, &error),
                    }
                }
            }
            Err(error) => failed(removed, &error.to_string()),
        }
    }
}

async fn send_lost(env: &Env, lost: &LostRow, now_ms: u64) -> Result<(), String> {
    let mut letter = lost_letter(lost, stored_body(env, &lost.row).await?, now_ms);
    let sent = send_letter(env, &mut letter, &RawBody::Wasm(vec![])).await;
    sent.map_err(|(cause, error)| format!("{cause}: {error}"))
}

/// The body of a delivery, where the bucket has it: under the keys of the receiver and of the consumer of letters.
async fn stored_body(env: &Env, row: &DeliveryRow) -> Result<Option<BodyRef>, String> {
    if row.size_bytes <= INLINE_MAX_BYTES as u64 {
        return Ok(None);
    }
    for key in [payload_key(&row.source, &row.id, row.received_at_ms), letter_body_key(&row.id, row.received_at_ms)] {
        if let Some(bytes) = r2::get_any(env, &key).await? {
            let (size_bytes, sha256) = (bytes.len() as u64, r2::sha256_hex(&bytes));
            return Ok(Some(BodyRef::Stored { key, size_bytes, sha256 }));
        }
    }
    Ok(None)
}

async fn bodies(env: &Env, prefix: &str, before_key: &str, removed: &mut Removed) {
    let step = async |removed: &mut Removed| {
        // Keys begin with the date, so the oldest come first, and the first that is young enough ends the walk.
        let mut keys = r2::list(env, prefix, STEP).await?;
        keys.retain(|key| key.as_str() < before_key);
        let old = keys.len() as u64;
        r2::delete(env, keys).await?;
        removed.bodies = removed.bodies.saturating_add(old);
        Ok(old < u64::from(STEP))
    };
    repeat(removed, step).await;
}

fn failed(removed: &mut Removed, error: &str) {
    log::error("retention_failed", &[("error", error)]);
    removed.failures = removed.failures.saturating_add(1);
    removed.unfinished = true;
}
