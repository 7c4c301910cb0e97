//! `GET /healthz`: it runs. `GET /readyz`: whether everything that a delivery needs is there.
//!
//! Promises:
//! - it is public, and says no more than names of checks and whether they hold;
//! - an object is there when it answers a call that reads its tables;
//! - the checks run at most once in ten seconds an isolate, however often it is asked, and end by themselves;
//! - a probe that comes during the first round waits for it.
//!
//! Out of scope: why a check fails (`/metrics`, logs).

use super::{Handled, ManagementCall};
use crate::VERSION;
use crate::config::{gateway, secret};
use crate::objects::clients::{
    AuditLogClient, CircuitClient, CountersClient, DeadLetterClient, LedgerClient, LifecycleClient, MonitorClient,
};
use crate::platform::http::json_text;
use crate::platform::objects::CallError;
use crate::platform::{clock, queue, r2};
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join, join_all};
use gateway_core::auth::MIN_TOKEN_CHARS;
use gateway_core::deliver::ledger::ledger_shards;
use gateway_core::lifecycle::LifecycleCall;
use gateway_core::metrics::counters::counter_shards;
use gateway_core::monitor::readiness::{ROUND_MS, ReadinessStep, Rounds};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use worker::Env;

const CHECK_MS: u64 = 3_000;

/// How often a probe looks whether the first round, which another probe began, is done, in milliseconds.
const LOOK_MS: u64 = 50;

/// Each source has an object of its own, `destination:…` or `archive:…`; this one belongs to none.
const PROBED_DESTINATION: &str = "readyz";

thread_local! {
    static ROUNDS: RefCell<Rounds> = RefCell::default();
}

#[derive(Serialize)]
struct ReadinessReport {
    status: &'static str,
    checks: BTreeMap<&'static str, &'static str>,
}

pub(super) async fn alive(_: &ManagementCall<'_>) -> Handled {
    Ok(json_text(200, &format!(r#"{{"status":"ok","version":"{VERSION}"}}"#), &[]))
}

pub(super) async fn ready(call: &ManagementCall<'_>) -> Handled {
    for _ in 0..=ROUND_MS.div_ceil(LOOK_MS) {
        match ROUNDS.with(|rounds| rounds.borrow_mut().probe(clock::now_ms())) {
            ReadinessStep::Answer(status, body) => return Ok(json_text(status, &body, &[])),
            // One request cannot wait for what another does, but it can look.
            ReadinessStep::Wait => clock::sleep_ms(LOOK_MS).await,
            ReadinessStep::Check => {
                let (status, body) = check(call.env).await;
                ROUNDS.with(|rounds| rounds.borrow_mut().ended(status, body.clone(), clock::now_ms()));
                return Ok(json_text(status, &body, &[]));
            }
        }
    }
    Ok(json_text(503, r#"{"status":"checking"}"#, &[("retry-after", "1")]))
}

/// Whether a call is answered in time.
fn answers<'a, T>(call: impl Future<Output = Result<T, CallError>> + 'a) -> LocalBoxFuture<'a, bool> {
    async { clock::within(CHECK_MS, call).await.is_some_and(|answered| answered.is_ok()) }.boxed_local()
}

async fn check(env: &Env) -> (u16, String) {
    let gateway = gateway(env);
    let secrets = gateway.as_ref().is_ok_and(|gateway| gateway.secret_problems().is_empty());
    let token = secret(env, "ADMIN_TOKEN").is_some_and(|token| token.len() >= MIN_TOKEN_CHARS);
    let (counters, ledger) = (counter_shards().next(), ledger_shards().next());
    let (counters, ledger) = (counters.as_deref().unwrap_or_default(), ledger.as_deref().unwrap_or_default());
    // One object of each class: they share their code and their binding. Each is asked for what it looks up in its tables at
    // the least cost, by the key of nothing where it can be.
    let classes = [
        ("counters", answers(CountersClient::new(env, counters).read())),
        ("delivery_ledger", answers(LedgerClient::new(env, ledger).get(""))),
        ("dead_letter_store", answers(DeadLetterClient::new(env).get(""))),
        ("audit_log", answers(AuditLogClient::new(env).marks())),
        ("lifecycle", answers(LifecycleClient::new(env).call(&LifecycleCall::Last))),
        ("monitor", answers(MonitorClient::new(env).read())),
        ("destinations", answers(CircuitClient::new(env, PROBED_DESTINATION).read())),
    ];
    let asked = classes.map(|(check, answer)| async move { (check, answer.await) });
    let bucket = clock::within(CHECK_MS, r2::list(env, "ready/", 1));
    let (answered, bucket) = join(join_all(asked), bucket).await;
    let mut checks = vec![
        ("configuration", gateway.is_ok()),
        ("secrets", secrets && token),
        ("deliveries_queue", queue::is_bound(env, queue::DELIVERIES)),
        ("dead_letters_queue", queue::is_bound(env, queue::DEAD_LETTERS)),
        ("bucket", bucket.is_some_and(|listed| listed.is_ok())),
    ];
    checks.extend(answered);
    let ready = checks.iter().all(|(_, ok)| *ok);
    let checks = checks.into_iter().map(|(name, ok)| (name, if ok { "ok" } else { "failed" })).collect();
    let report = ReadinessReport { status: if ready { "ready" } else { "not_ready" }, checks };
    // Texts only: nothing of it can fail.
    (if ready { 200 } else { 503 }, serde_json::to_string(&report).unwrap_or_default())
}
