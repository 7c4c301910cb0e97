//! `GET /readyz`: whether everything that a delivery needs is there.
//!
//! Promises: public, so it says names of checks and whether they hold, and nothing else; the checks run at most once in ten
//! seconds an isolate, however often it is asked, and end by themselves. Out of scope: why a check fails (`/metrics`, logs).

use crate::config::{gateway, secret};
use crate::objects::AUDIT_OBJECT;
use crate::platform::http::{Answer, Problem, json_text};
use crate::platform::{clock, objects, queue, r2};
use futures_util::future::{join, join_all};
use gateway_core::auth::MIN_TOKEN_CHARS;
use gateway_core::counters::counter_shards;
use gateway_core::ledger::ledger_shards;
use gateway_core::letters::STORE_OBJECT;
use gateway_core::lifecycle::LIFECYCLE_OBJECT;
use gateway_core::watch::WATCH_OBJECT;
use std::cell::RefCell;
use std::fmt::Write as _;
use web_sys::Request;
use worker::Env;

/// How long an answer holds, in milliseconds.
const HOLDS_MS: u64 = 10_000;

/// How long a check may take, in milliseconds.
const CHECK_MS: u64 = 3_000;

/// Each source has an object of its own, `destination:…` or `archive:…`; this one belongs to none.
const PROBED_DESTINATION: &str = "readyz";

/// What the last round of checks said.
struct Round {
    /// Until when nobody else starts one.
    until_ms: u64,
    /// Status and body; `None` while the first round is under way.
    answer: Option<(u16, String)>,
}

thread_local! {
    static ROUND: RefCell<Round> = const { RefCell::new(Round { until_ms: 0, answer: None }) };
}

/// Answers a probe.
pub(crate) async fn answer(request: &Request, env: &Env) -> Answer {
    if !matches!(request.method().as_str(), "GET" | "HEAD") {
        return Problem::new(405, "Method not allowed", "method_not_allowed").header("allow", "GET, HEAD").answer();
    }
    let now_ms = clock::now_ms();
    let known = ROUND.with(|round| {
        let mut round = round.borrow_mut();
        if round.until_ms > now_ms {
            return Some(round.answer.clone());
        }
        round.until_ms = now_ms.saturating_add(HOLDS_MS);
        None
    });
    match known {
        Some(Some((status, body))) => json_text(status, &body, &[]),
        Some(None) => json_text(503, r#"{"status":"checking"}"#, &[("retry-after", "1")]),
        None => {
            let (status, body) = check(env).await;
            ROUND.with(|round| round.borrow_mut().answer = Some((status, body.clone())));
            json_text(status, &body, &[])
        }
    }
}

async fn check(env: &Env) -> (u16, String) {
    let gateway = gateway(env);
    let secrets = gateway.as_ref().is_ok_and(|gateway| gateway.secret_problems().is_empty());
    let token = secret(env, "ADMIN_TOKEN").is_some_and(|token| token.len() >= MIN_TOKEN_CHARS);
    let (counters, ledger) = (counter_shards().next(), ledger_shards().next());
    // One object of each class: they share their code and their binding.
    let classes = [
        ("counters", objects::COUNTERS, counters.as_deref().unwrap_or_default()),
        ("delivery_ledger", objects::DELIVERY_LEDGER, ledger.as_deref().unwrap_or_default()),
        ("dead_letter_store", objects::DEAD_LETTER_STORE, STORE_OBJECT),
        ("audit_log", objects::AUDIT_LOG, AUDIT_OBJECT),
        ("lifecycle", objects::LIFECYCLE, LIFECYCLE_OBJECT),
        ("watch", objects::WATCH, WATCH_OBJECT),
        ("destinations", objects::DESTINATIONS, PROBED_DESTINATION),
    ];
    let asked = classes.map(|(check, binding, name)| async move {
        (
            check,
            clock::within(CHECK_MS, objects::ping(env, binding, name)).await.is_some_and(|answered| answered.is_ok()),
        )
    });
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
    let mut body = format!(r#"{{"status":"{}","checks":{{"#, if ready { "ready" } else { "not_ready" });
    for (index, (name, ok)) in checks.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing into a string cannot fail.
        let _ = write!(body, r#"{comma}"{name}":"{}""#, if *ok { "ok" } else { "failed" });
    }
    body.push_str("}}");
    (if ready { 200 } else { 503 }, body)
}
