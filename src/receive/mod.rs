//! `/webhook/{source}`: what the driver (`driver.js`) calls, and what it is told to do next.
//!
//! Promises:
//! - Every function is synchronous and keeps nothing borrowed across calls.
//! - What is decided is told by typed callbacks ([`Steps`]). Where nothing can be decided the answer is 503.
//! - Counting is outside of the answer.
//!
//! Out of scope: decisions ([`gateway_core::receive`]), input and output (the driver).

pub(crate) mod counting;

use crate::config::{self, Gateway};
use crate::platform::context::EventContext;
use crate::platform::{clock, log};
use gateway_core::metrics::counters::Metric;
use gateway_core::receive::answer::ReceiveAnswer;
use gateway_core::receive::delivery::{RequestHead, SourcePolicy, path};
use gateway_core::receive::rejection::ReceiveFailure;
use gateway_core::receive::{
    BodyPlace, Growth, NextStep, OutgoingMessage, Queue, READ_DEADLINE_MS, ReadBody, ReceiveOutcome, Receiver,
    STORED_FROM_BYTES, SettledRequest, UNKNOWN_SOURCE, UnknownRequest, route,
};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use worker::Env;

/// From this size on, in bytes, a body is hashed by the runtime in place. Below it the calls to WebCrypto cost more than hashing
/// in wasm (`bench/README.md`, "Where bodies are hashed").
const HASHED_FROM_BYTES: u32 = 8_192;

/// Why a request is answered 503 while the configuration cannot be read.
const BAD_CONFIGURATION: &str = "bad_configuration";

thread_local! {
    static RECEIVER: RefCell<Receiver> = RefCell::default();
}

#[wasm_bindgen]
extern "C" {
    /// What the driver does next (`Steps` of `driver.js`, which says what each call means).
    pub type Steps;
    #[wasm_bindgen(method)]
    fn answer(this: &Steps, status: u16, body: &str, headers: Option<String>);
    #[wasm_bindgen(method)]
    fn read(this: &Steps, id: u32, limit_bytes: f64);
    #[wasm_bindgen(method)]
    fn hash(this: &Steps, source: u32, secret: u32);
    #[wasm_bindgen(method)]
    fn around(this: &Steps, before: &[u8], after: &[u8]);
    #[wasm_bindgen(method, js_name = askRateLimit)]
    fn ask_rate_limit(this: &Steps, id: u32, binding: &str, key: &str);
    #[wasm_bindgen(method)]
    fn send(this: &Steps, id: u32, queue: u32, header: &[u8], is_inline: bool, bucket_key: Option<String>);
    #[wasm_bindgen(method, js_name = countsAreDue)]
    fn counts_are_due(this: &Steps);
}

#[wasm_bindgen]
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub enum DriverFailure {
    BodyTimeout,
    BodyUnreadable,
    NoRoom,
    CryptoFailed,
    StorageFailed,
    QueueFailed,
}

impl From<DriverFailure> for ReceiveFailure {
    fn from(failure: DriverFailure) -> Self {
        match failure {
            DriverFailure::BodyTimeout => Self::BodyTimeout,
            DriverFailure::BodyUnreadable => Self::BodyUnreadable,
            DriverFailure::NoRoom => Self::NoRoom,
            DriverFailure::CryptoFailed => Self::CryptoFailed,
            DriverFailure::StorageFailed => Self::StorageFailed,
            DriverFailure::QueueFailed => Self::QueueFailed,
        }
    }
}

/// In milliseconds and bytes: how long a sender may take for its body, from which size on one is hashed by the runtime, and from
/// which one it is stored in the bucket.
#[wasm_bindgen]
pub fn receive_limits() -> Vec<f64> {
    vec![READ_DEADLINE_MS as f64, f64::from(HASHED_FROM_BYTES), STORED_FROM_BYTES as f64]
}

/// Nothing holds the receiver across a call, so it is never borrowed here already.
fn with<T>(decide: impl FnOnce(&mut Receiver) -> T) -> Option<T> {
    RECEIVER.with(|cell| cell.try_borrow_mut().ok().map(|mut receiver| decide(&mut receiver)))
}

/// The path of the gateway's own address.
fn path_prefix(gateway: &Gateway) -> &str {
    match gateway.config.public_url.as_deref().map(path) {
        Some("/") | None => "",
        Some(prefix) => prefix,
    }
}

/// The path of a URL without the path of the gateway's own address.
pub(crate) fn path_within<'u>(env: &Env, url: &'u str) -> &'u str {
    let gateway = config::gateway(env).ok();
    let path = path(url);
    path.strip_prefix(gateway.as_deref().map_or("", path_prefix)).unwrap_or(path)
}

/// Whether a URL is below `/webhook`, in whatever form it is written.
#[wasm_bindgen]
pub fn is_webhook(env: &Env, url: &str) -> bool {
    let gateway = config::gateway(env).ok();
    route::source_name(path(url), gateway.as_deref().map_or("", path_prefix)).is_some()
}

/// Opens a request. `head`: as [`RequestHead`] reads it; `declared_bytes`: below zero where it is unknown.
#[wasm_bindgen]
pub fn receive_open(env: &Env, head: String, declared_bytes: f64, now_ms: f64, steps: &Steps) {
    let now_ms = clock::whole_ms(now_ms);
    let Ok(gateway) = config::gateway(env) else { return broken(&head, now_ms, steps) };
    let Ok(entropy) = clock::random() else {
        return answer(steps, &ReceiveAnswer::unavailable("no_randomness"));
    };
    let declared = (declared_bytes >= 0.0).then_some(clock::whole_ms(declared_bytes));
    let name = route::source_name(path(RequestHead::first_line(&head).1), path_prefix(&gateway));
    let found = name.and_then(|name| gateway.place(&name));
    let policy = found.and_then(|at| Some((at, gateway.source_at(at)?.policy())));
    let next = with(|receiver| receiver.open(policy, head, declared, entropy, now_ms));
    if let (Some(NextStep::Read { id, .. }), Some((at, policy))) = (&next, policy)
        && declared.is_none_or(|bytes| bytes >= HASHED_FROM_BYTES.into())
    {
        plan_hashing(*id, at, policy, steps);
    }
    apply(&gateway, next, steps);
}

/// Every source answers 503, so that its sender repeats, and it is counted for none: which one it is cannot be known.
fn broken(head: &str, now_ms: u64, steps: &Steps) {
    if RequestHead::first_line(head).0 == "POST" {
        let outcome = ReceiveOutcome::Unavailable { cause: BAD_CONFIGURATION };
        let settled = SettledRequest { source: None, outcome, size_bytes: 0, latency_ms: 0, unknown: None };
        count(UNKNOWN_SOURCE, &settled, now_ms, steps);
    }
    answer(steps, &ReceiveAnswer::unavailable(BAD_CONFIGURATION));
}

fn plan_hashing(id: u32, source: usize, policy: SourcePolicy<'_>, steps: &Steps) {
    let Some(Some(plan)) = with(|receiver| receiver.hash_plan(id, policy)) else { return };
    for secret in plan.secrets() {
        let at = policy.verifier.secrets().iter().position(|known| std::ptr::eq(known, *secret));
        if let (Ok(source), Some(Ok(at))) = (u32::try_from(source), at.map(u32::try_from)) {
            steps.hash(source, at);
        }
    }
    if !(plan.before_body().is_empty() && plan.after_body().is_empty()) {
        steps.around(plan.before_body(), plan.after_body());
    }
}

/// The bytes of a key that `Steps::hash` named.
#[wasm_bindgen]
pub fn receive_key(env: &Env, source: u32, secret: u32) -> Vec<u8> {
    let key = || {
        let gateway = config::gateway(env).ok()?;
        let configured = gateway.source_at(usize::try_from(source).ok()?)?;
        Some(configured.policy().verifier.secrets().get(usize::try_from(secret).ok()?)?.key_bytes().to_vec())
    };
    key().unwrap_or_default()
}

/// Counts bytes of a body that are held: 0 to read on, 1 where they are too many, 2 where there is no room.
#[wasm_bindgen]
pub fn receive_grew(id: u32, bytes: u32) -> u32 {
    match with(|receiver| receiver.grow(id, bytes.into())) {
        Some(Growth::Fits) => 0,
        Some(Growth::TooLarge) => 1,
        Some(Growth::NoRoom) | None => 2,
    }
}

/// The body passed its limit.
#[wasm_bindgen]
pub fn receive_overflowed(env: &Env, id: u32, size_bytes: u32, steps: &Steps) {
    decide(env, id, steps, |receiver, policy| receiver.overflowed(id, policy, size_bytes.into()));
}

/// The body is there. `tags`: 32 bytes for each `Steps::hash`, or none; `sha256`: 32 bytes, or none.
#[wasm_bindgen]
pub fn receive_arrived(env: &Env, id: u32, body: &[u8], tags: Option<Vec<u8>>, sha256: Option<Vec<u8>>, steps: &Steps) {
    let tags = tags.unwrap_or_default();
    let body = ReadBody { bytes: body, tags: tags.as_chunks().0, sha256: digest(sha256) };
    decide(env, id, steps, |receiver, policy| receiver.arrived(id, policy, body));
}

fn digest(bytes: Option<Vec<u8>>) -> Option<[u8; 32]> {
    bytes.and_then(|bytes| bytes.try_into().ok())
}

/// The rate limiter has answered. `body`: nothing where it was not read.
#[wasm_bindgen]
pub fn receive_rate_limited(
    env: &Env,
    id: u32,
    body: Option<js_sys::Uint8Array>,
    sha256: Option<Vec<u8>>,
    is_within: bool,
    steps: &Steps,
) {
    let body = body.map(|body| body.to_vec());
    let body = body.as_deref().map(|bytes| ReadBody { bytes, tags: &[], sha256: digest(sha256) });
    decide(env, id, steps, |receiver, policy| receiver.rate_limited(id, policy, body, is_within));
}

#[wasm_bindgen]
pub fn receive_sent(env: &Env, id: u32, now_ms: f64, steps: &Steps) {
    let now_ms = clock::whole_ms(now_ms);
    match (config::gateway(env), with(|receiver| receiver.sent(id, now_ms)).flatten()) {
        (Ok(gateway), Some(settled)) => settle(&gateway, &settled, now_ms, steps),
        // Its sender repeats, and the delivery is known again.
        _ => answer(steps, &ReceiveAnswer::unavailable(ReceiveFailure::Interrupted.cause())),
    }
}

/// Something failed that is ours to repair.
#[wasm_bindgen]
pub fn receive_failed(env: &Env, id: u32, failure: DriverFailure, error: &str, now_ms: f64, steps: &Steps) {
    let (now_ms, failure) = (clock::whole_ms(now_ms), ReceiveFailure::from(failure));
    let Ok(gateway) = config::gateway(env) else {
        return answer(steps, &ReceiveAnswer::unavailable(BAD_CONFIGURATION));
    };
    with(|receiver| {
        let source = receiver.source(id).and_then(|at| gateway.source_at(at));
        let name = source.map_or("", |configured| &configured.source.name);
        if let Some((delivery, head)) = receiver.identity(id) {
            let correlation = log::correlation(&head.headers);
            let fields = [("source", name), ("delivery", delivery), ("correlation", correlation), ("error", error)];
            match failure {
                ReceiveFailure::BodyTimeout | ReceiveFailure::BodyUnreadable => {
                    log::warn(failure.cause(), &fields);
                }
                _ => log::error(failure.cause(), &fields),
            }
        }
    });
    if let Some((given, settled)) = with(|receiver| receiver.failed(id, failure, now_ms)) {
        answer(steps, &given);
        if let Some(settled) = settled {
            settle(&gateway, &settled, now_ms, steps);
        }
    }
}

/// Sees to it that the counts are sent.
#[wasm_bindgen]
pub fn receive_flush(env: &Env, context: &EventContext) {
    counting::drive(env, context);
}

fn decide(env: &Env, id: u32, steps: &Steps, decide: impl FnOnce(&mut Receiver, SourcePolicy<'_>) -> NextStep) {
    let Ok(gateway) = config::gateway(env) else {
        return answer(steps, &ReceiveAnswer::unavailable(BAD_CONFIGURATION));
    };
    let next = with(|receiver| {
        let source = receiver.source(id).and_then(|at| gateway.source_at(at))?;
        Some(decide(receiver, source.policy()))
    });
    apply(&gateway, next.flatten(), steps);
}

/// Tells the driver what comes next.
fn apply(gateway: &Rc<Gateway>, next: Option<NextStep>, steps: &Steps) {
    match next {
        Some(NextStep::Answer { answer: given, settled }) => {
            answer(steps, &given);
            if let Some(settled) = settled {
                // Nothing was waited for, so the clock stands where it stood.
                settle(gateway, &settled, clock::now_ms(), steps);
            }
        }
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        Some(NextStep::Read { id, limit_bytes }) => steps.read(id, limit_bytes as f64),
        Some(NextStep::AskRateLimit { id, binding, key }) => steps.ask_rate_limit(id, &binding, &key),
        Some(NextStep::Send(OutgoingMessage { id, queue, header, body, answer: given })) => {
            answer(steps, &given);
            let queue = match queue {
                Queue::Deliveries => 0,
                Queue::DeadLetters => 1,
            };
            let is_inline = body == BodyPlace::Message;
            let key = if let BodyPlace::Bucket(key) = body { Some(key) } else { None };
            steps.send(id, queue, header.as_bytes(), is_inline, key);
        }
        None => answer(steps, &ReceiveAnswer::unavailable(ReceiveFailure::Interrupted.cause())),
    }
}

fn answer(steps: &Steps, answer: &ReceiveAnswer) {
    let lines: Vec<&str> = answer.headers.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    steps.answer(answer.status, &answer.body, (!lines.is_empty()).then(|| lines.join("\n")));
}

fn settle(gateway: &Gateway, settled: &SettledRequest, now_ms: u64, steps: &Steps) {
    let source = settled.source.and_then(|at| gateway.source_at(at));
    let name = source.map_or(UNKNOWN_SOURCE, |configured| &configured.source.name);
    count(name, settled, now_ms, steps);
    if let Some(UnknownRequest { path, address }) = &settled.unknown {
        let is_secret = |text: &str| gateway.policies().any(|policy| policy.texts.are_carried_by(text));
        let [path, address] = [path, address].map(|text| route::loggable(text, is_secret));
        log::warn("unknown_source", &[("path", &path), ("address", &address)]);
    }
}

fn count(source: &str, settled: &SettledRequest, now_ms: u64, steps: &Steps) {
    let outcome: &[(Metric, &str, u64)] = match &settled.outcome {
        ReceiveOutcome::Accepted { event_count, secret_label } => {
            &[(Metric::Accepted, "", 1), (Metric::Events, "", *event_count), (Metric::SecretUsed, secret_label, 1)]
        }
        ReceiveOutcome::Refused { code, is_over_budget } => {
            &[(Metric::Refused, code, 1), (Metric::NotQuarantined, "", u64::from(*is_over_budget))]
        }
        ReceiveOutcome::Unavailable { cause } => &[(Metric::Unavailable, cause, 1)],
    };
    if counting::add_request(source, settled, outcome, now_ms) {
        steps.counts_are_due();
    }
}
