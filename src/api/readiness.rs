//! `GET /readyz`: whether everything that a delivery needs is there.
//!
//! Promises: public, so it says names of checks and whether they hold, and nothing else; an object is there when it answers a
//! call that reads its tables; the checks run at most once in ten seconds an isolate, however often it is asked, and end by
//! themselves; whoever asks during the first round waits for it. Out of scope: why a check fails (`/metrics`, logs).

use crate::config::{gateway, secret};
use crate::objects::AUDIT_OBJECT;
use crate::platform::http::{Answer, Problem, json_text};
use crate::platform::{clock, objects, queue, r2};
use futures_util::future::{join, join_all};
use gateway_core::audit::AuditCall;
use gateway_core::auth::MIN_TOKEN_CHARS;
use gateway_core::dead_letters::{LettersCall, STORE_OBJECT};
use gateway_core::deliver::dispatcher::calls::DestinationCall;
use gateway_core::lifecycle::{LIFECYCLE_OBJECT, LifecycleCall};
use gateway_core::metrics::counters::{CountersCall, counter_shards};
use gateway_core::monitor::calls::{WATCH_OBJECT, WatchCall};
use gateway_core::monitor::readiness::{Probe, ROUND_MS, Rounds};
use serde::Serialize;
use std::cell::RefCell;
use std::fmt::Write as _;
use web_sys::Request;
use worker::Env;

/// How long a check may take, in milliseconds.
const CHECK_MS: u64 = 3_000;

/// How often a probe looks whether the first round, which another probe began, is done, in milliseconds.
const LOOK_MS: u64 = 50;

/// Each destination has an object of its own, `source/destination`; this one belongs to none.
const PROBED_DESTINATION: &str = "readyz";

thread_local! {
    static ROUNDS: RefCell<Rounds> = RefCell::default();
}

/// Answers a probe.
pub(crate) async fn answer(request: &Request, env: &Env) -> Answer {
    if !matches!(request.method().as_str(), "GET" | "HEAD") {
        return Problem::new(405, "Method not allowed", "method_not_allowed").header("allow", "GET, HEAD").answer();
    }
    for _ in 0..=ROUND_MS.div_ceil(LOOK_MS) {
        match ROUNDS.with(|rounds| rounds.borrow_mut().probe(clock::now_ms())) {
            Probe::Answer(status, body) => return json_text(status, &body, &[]),
            // One request cannot wait for what another does, but it can look.
            Probe::Wait => clock::sleep_ms(LOOK_MS).await,
            Probe::Check => {
                let (status, body) = check(env).await;
                ROUNDS.with(|rounds| rounds.borrow_mut().ended(status, body.clone(), clock::now_ms()));
                return json_text(status, &body, &[]);
            }
        }
    }
    json_text(503, r#"{"status":"checking"}"#, &[("retry-after", "1")])
}

/// A call to an object, as text.
fn text(call: &impl Serialize) -> String {
    // Structures of strings and numbers; what cannot be written would be refused, and so the check fails.
    objects::json(call).unwrap_or_default()
}

async fn check(env: &Env) -> (u16, String) {
    let gateway = gateway(env);
    let secrets = gateway.as_ref().is_ok_and(|gateway| gateway.secret_problems().is_empty());
    let token = secret(env, "ADMIN_TOKEN").is_some_and(|token| token.len() >= MIN_TOKEN_CHARS);
    let counters = counter_shards().next();
    let nobody = String::new;
    // One object of each class: they share their code and their binding. Each is asked for what it looks up in its tables at
    // the least cost, by the key of nothing where it can be.
    let classes = [
        ("counters", objects::COUNTERS, counters.as_deref().unwrap_or_default(), text(&CountersCall::Read)),
        ("dead_letter_store", objects::DEAD_LETTER_STORE, STORE_OBJECT, text(&LettersCall::Get { id: nobody() })),
        ("audit_log", objects::AUDIT_LOG, AUDIT_OBJECT, text(&AuditCall::Anchored { segment: 0 })),
        ("lifecycle", objects::LIFECYCLE, LIFECYCLE_OBJECT, text(&LifecycleCall::Last)),
        ("watch", objects::WATCH, WATCH_OBJECT, text(&WatchCall::Read)),
        ("dispatches", objects::DISPATCHES, PROBED_DESTINATION, text(&DestinationCall::Status)),
    ];
    let asked = classes.map(|(check, binding, name, call)| async move {
        let answered = clock::within(CHECK_MS, objects::exchange(env, binding, name, call)).await;
        (check, answered.is_some_and(|answered| answered.is_ok()))
    });
    let bucket = clock::within(CHECK_MS, r2::list(env, "ready/", 1));
    let (answered, bucket) = join(join_all(asked), bucket).await;
    let mut checks = vec![
        ("configuration", gateway.is_ok()),
        ("secrets", secrets && token),
        ("deliveries_queue", queue::is_bound(env, queue::DELIVERIES)),
        ("releases_queue", queue::is_bound(env, queue::RELEASES)),
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
