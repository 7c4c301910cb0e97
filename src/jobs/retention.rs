//! Removes what is old: dead letters, stored bodies that nothing refers to.
//!
//! Promises: bounded steps, and an account of what was removed; a step that fails leaves its part to the next run; nothing is
//! removed while the configuration, which says how long things are kept, cannot be read.
//! Out of scope: settled dispatches, which their objects drop by the day; what is old (`gateway_core::dead_letters::retention`); the archive, which is the user's.

use crate::config::gateway;
use crate::platform::{clock, log, objects, r2};
use gateway_core::audit::{Action, Draft};
use gateway_core::config::Config;
use gateway_core::dead_letters::retention::{BODY_PREFIXES, MAX_STEPS, Removed, STEP};
use gateway_core::dead_letters::{Expired, LettersCall, STORE_OBJECT};
use gateway_core::deliver::retry_policy::longest_ms;
use worker::Env;

/// The cron of `wrangler.toml` that removes.
pub(crate) const CRON: &str = "17 3 * * *";

/// What the cron and `POST /api/retention` do.
/// `actor`: who wants it, for the audit.
pub(crate) async fn run(env: &Env, actor: &str) -> Removed {
    let mut removed = Removed::default();
    wake_replays(env, &mut removed).await;
    match gateway(env) {
        Ok(gateway) => remove(env, &gateway.config, &mut removed).await,
        // How long things are to be kept is written there: whatever was removed instead might be what somebody wanted kept.
        Err(_) => failed(&mut removed, "bad_configuration"),
    }
    let figures = serde_json::to_string(&removed).unwrap_or_default();
    log::info("retention", &[("removed", &figures)]);
    let total = [removed.dead_letters, removed.bodies].into_iter().fold(0, u64::saturating_add);
    if total > 0 || removed.failures > 0 {
        let error = (removed.failures > 0).then(|| format!("{} steps failed", removed.failures));
        let draft = Draft { error, count: Some(total), ..Draft::new(Action::Purge, actor) };
        crate::audit::append(env, vec![draft]).await;
    }
    removed
}

async fn remove(env: &Env, config: &Config, removed: &mut Removed) {
    let (retention, now_ms) = (config.retention, clock::now_ms());
    let longest_ms = config.sources.iter().map(|source| longest_ms(&source.retry_schedule_s)).max().unwrap_or(0);
    let received_before_ms = retention.received_before_ms(longest_ms, now_ms);
    letters(env, retention.letters_before_ms(now_ms), received_before_ms, removed).await;
    for prefix in BODY_PREFIXES {
        bodies(env, prefix, &retention.bodies_before_key(prefix, longest_ms, now_ms), removed).await;
    }
    crate::jobs::audit_export::run(env, retention.audit_before_ms(now_ms), removed).await;
}

/// A replay job whose alarm was lost goes on.
async fn wake_replays(env: &Env, removed: &mut Removed) {
    let woken = objects::call::<u64>(env, objects::DEAD_LETTER_STORE, STORE_OBJECT, &LettersCall::Wake).await;
    if let Err(error) = woken {
        failed(removed, &error.to_string());
    }
}

async fn letters(env: &Env, before_ms: u64, received_before_ms: u64, removed: &mut Removed) {
    for _ in 0..MAX_STEPS {
        let call = LettersCall::Expire { before_ms, received_before_ms, limit: STEP };
        let expired = match objects::call::<Expired>(env, objects::DEAD_LETTER_STORE, STORE_OBJECT, &call).await {
            Ok(expired) => expired,
            Err(error) => return failed(removed, &error.to_string()),
        };
        removed.dead_letters = removed.dead_letters.saturating_add(expired.removed);
        if let Err(error) = r2::delete(env, expired.keys).await {
            // They are found again as bodies without a letter.
            failed(removed, &error);
        }
        if expired.removed < u64::from(STEP) {
            return;
        }
    }
    removed.unfinished = true;
}

async fn bodies(env: &Env, prefix: &str, before_key: &str, removed: &mut Removed) {
    for _ in 0..MAX_STEPS {
        // Keys begin with the date, so the oldest come first, and the first that is young enough ends the walk.
        let mut keys = match r2::list(env, prefix, STEP).await {
            Ok(keys) => keys,
            Err(error) => return failed(removed, &error),
        };
        let full = keys.len() as u64 == u64::from(STEP);
        keys.retain(|key| key.as_str() < before_key);
        let (old, all_old) = (keys.len() as u64, keys.len() as u64 == u64::from(STEP));
        if let Err(error) = r2::delete(env, keys).await {
            return failed(removed, &error);
        }
        removed.bodies = removed.bodies.saturating_add(old);
        if !(full && all_old) {
            return;
        }
    }
    removed.unfinished = true;
}

fn failed(removed: &mut Removed, error: &str) {
    log::error("retention_failed", &[("error", error)]);
    removed.failures = removed.failures.saturating_add(1);
    removed.unfinished = true;
}
