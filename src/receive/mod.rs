//! `POST /webhook/{source}`: from raw bytes to the queue, or to a refusal that is kept.
//!
//! Promises (DESIGN §3): the signature is verified over the raw bytes before anything is parsed; a delivery is durable
//! before it is answered 200; what is refused is kept whole within the source's quarantine budget; what is ours to repair
//! is answered 503, so that the sender repeats; no synchronous call to a Durable Object. Out of scope: what a valid
//! signature and envelope are (`genesys_webhook`).

pub(crate) mod counting;
pub(crate) mod short;

use crate::config::{Configured, Gateway};
use crate::platform::body::{self, Body, BodyError};
use crate::platform::context::EventContext;
use crate::platform::crypto::{self, Failed};
use crate::platform::http::{Answer, Problem, RequestHeaders, empty, json_text};
use crate::platform::{clock, log, queue, r2, rate};
use crate::receive::counting::{Count, count};
use crate::receive::short::Begun;
use gateway_core::config::Source;
use gateway_core::messages::id::delivery_id;
use gateway_core::messages::{self, BodyRef, DeadLetter, Stage};
use gateway_core::metrics::counters::Metric;
use gateway_core::receive::delivery::{Incoming, RequestHead};
use gateway_core::receive::networks::allows;
use gateway_core::receive::quarantine::Quarantine;
use gateway_core::time::date_path;
use genesys_webhook::doctor;
use genesys_webhook::headers::owned;
use genesys_webhook::refusal::Refusal;
use genesys_webhook::signature::VerifyError;
use js_sys::Uint8Array;
use std::cell::RefCell;
use std::collections::BTreeMap;
use web_sys::Request;
use worker::Env;

/// What `Retry-After` says with 503, in seconds: Genesys repeats after 5 s on its own.
const RETRY_AFTER_S: &str = "5";

/// The body of a message whose body is stored elsewhere.
const NOTHING: Body = Body::Small(vec![]);

thread_local! {
    static QUARANTINES: RefCell<BTreeMap<String, Quarantine>> = const { RefCell::new(BTreeMap::new()) };
}

/// What a request came to.
enum Outcome {
    /// Turned away at the door: nothing was read, nothing is kept.
    Rejected {
        status: u16,
        error: &'static str,
        code: &'static str,
    },
    Accepted {
        id: String,
        event_count: u64,
        secret_label: String,
    },
    Refused {
        refusal: Refusal,
        kept: bool,
    },
    Unavailable {
        cause: &'static str,
    },
}

/// Answers whatever is sent to `/webhook/{name}`. `read`: its body and what is known of it, where [`crate::receive::short`] has read it.
pub(crate) async fn receive(
    gateway: &Gateway,
    name: &str,
    request: &Request,
    read: Option<(Uint8Array, Option<Begun>)>,
    env: &Env,
    context: &EventContext,
) -> Answer {
    let Some(configured) = gateway.source(name) else {
        return Problem::new(404, "Unknown source", "unknown_source").answer();
    };
    match request.method().as_str() {
        "POST" => {}
        "GET" | "HEAD" => return empty(204, &[("cache-control", "no-store")]),
        _ => {
            return Problem::new(405, "Method not allowed", "method_not_allowed")
                .header("allow", "GET, HEAD, POST")
                .answer();
        }
    }
    let begun = read.as_ref().and_then(|(_, begun)| begun.as_ref());
    let received_at_ms = begun.map_or_else(clock::now_ms, |begun| begun.received_at_ms);
    let mut size_bytes = 0;
    let outcome = process(configured, request, read, env, received_at_ms, &mut size_bytes).await;
    let latency_ms = clock::now_ms().saturating_sub(received_at_ms);
    let counted =
        |outcome: &[(Metric, &str, u64)]| count(env, context, &Count { source: name, latency_ms, size_bytes, outcome });
    match outcome {
        Outcome::Accepted { id, event_count, secret_label } => {
            counted(&accepted_counts(event_count, &secret_label));
            json_text(200, &accepted_text(&id, event_count), &[])
        }
        Outcome::Refused { refusal, kept } => {
            let code = refusal.code().as_str();
            counted(&[(Metric::Refused, code, 1), (Metric::NotQuarantined, "", u64::from(!kept))]);
            Problem::new(refusal.http_status(), refusal.error(), code).detail(refusal.detail()).answer()
        }
        Outcome::Rejected { status, error, code } => {
            counted(&[(Metric::Refused, code, 1)]);
            Problem::new(status, error, code).header("retry-after", RETRY_AFTER_S).answer()
        }
        Outcome::Unavailable { cause } => {
            counted(&[(Metric::Unavailable, cause, 1)]);
            unavailable(cause)
        }
    }
}

/// What an accepted delivery adds to the counts.
pub(crate) fn accepted_counts(event_count: u64, secret_label: &str) -> [(Metric, &str, u64); 3] {
    [(Metric::Accepted, "", 1), (Metric::Events, "", event_count), (Metric::SecretUsed, secret_label, 1)]
}

/// The answer to an accepted delivery. An identifier and a number need no escaping.
pub(crate) fn accepted_text(id: &str, event_count: u64) -> String {
    // Less than `format!` takes: every delivery is answered.
    [r#"{"received":true,"eventCount":"#, &event_count.to_string(), r#","id":""#, id, r#""}"#].concat()
}

/// The answer that makes a sender repeat.
pub(crate) fn unavailable(cause: &'static str) -> Answer {
    Problem::new(503, "Service unavailable", cause).header("retry-after", RETRY_AFTER_S).answer()
}

async fn process(
    configured: Configured<'_>,
    request: &Request,
    read: Option<(Uint8Array, Option<Begun>)>,
    env: &Env,
    received_at_ms: u64,
    size_bytes: &mut u64,
) -> Outcome {
    let Configured { source, secrets } = configured;
    if let Some(rejected) = at_the_door(source, request, env).await {
        return rejected;
    }
    let Ok(random) = clock::random() else { return Outcome::Unavailable { cause: "no_randomness" } };
    let id = delivery_id(received_at_ms, random);
    let (array, begun) = read.unzip();
    let (place, head, tags) = match begun.flatten() {
        Some(Begun { place, head, tags, .. }) => (Some(place), head, tags),
        // Read once, as they are: asking JavaScript for one after the other costs more than all together.
        None => (None, RequestHeaders(request.headers()).head(&request.url()), None),
    };
    let headers = RequestHead::read(&head).headers;
    let headers = headers.as_slice();
    let read = match array {
        Some(array) => body::take(array, place, source.max_body_bytes),
        None => body::read(request, source.max_body_bytes).await,
    };
    let (body, _place) = match read {
        Ok(read) => read,
        Err(BodyError::TooLarge { size_bytes: known }) => {
            let refusal = Refusal::BodyTooLarge { limit_bytes: source.max_body_bytes };
            let refused = Refused { id, refusal, label: None, received_at_ms, omitted_bytes: Some(known) };
            return refused.keep(configured, env, headers, Body::Small(vec![])).await;
        }
        Err(BodyError::Busy) => return Outcome::Unavailable { cause: "too_much_in_flight" },
        Err(BodyError::Unreadable(error)) => {
            log::warn("body_unreadable", &[("source", &source.name), ("delivery", &id), ("error", &error)]);
            return Outcome::Unavailable { cause: "body_unreadable" };
        }
    };
    *size_bytes = body.len() as u64;
    let verified = match (&body, tags) {
        (_, Some(tags)) => {
            let prepared = secrets.verifier.prepare(headers, received_at_ms);
            prepared.and_then(|prepared| Ok(prepared.check(&tags)?)).map_err(Failed::Verify)
        }
        (Body::Small(bytes), None) => secrets.verifier.verify(headers, bytes, received_at_ms).map_err(Failed::Verify),
        (Body::Large(array), None) => {
            crypto::verify(&source.name, &secrets.verifier, headers, array, received_at_ms).await
        }
    };
    let label = match verified {
        Ok(verified) => verified.label.to_owned(),
        Err(Failed::Verify(VerifyError::Unavailable(unavailable))) => {
            return Outcome::Unavailable { cause: unavailable.code() };
        }
        Err(Failed::Verify(VerifyError::Refused(refusal))) => {
            let refused = Refused { id, refusal, label: None, received_at_ms, omitted_bytes: None };
            return refused.keep(configured, env, headers, body).await;
        }
        Err(Failed::Crypto(error)) => {
            failed("crypto_failed", &source.name, &id, &configured.gate().kept_headers(headers), &error);
            return Outcome::Unavailable { cause: "crypto_failed" };
        }
    };
    let made = body.with_bytes(|bytes| configured.gate().delivery(id.clone(), &label, headers, bytes, received_at_ms));
    let mut delivery = match made {
        Ok(delivery) => delivery,
        Err(refusal) => {
            let refused = Refused { id, refusal, label: Some(label), received_at_ms, omitted_bytes: None };
            return refused.keep(configured, env, headers, body).await;
        }
    };
    match send_delivery(env, &mut delivery, &body).await {
        Ok(()) => Outcome::Accepted {
            id: delivery.id,
            event_count: delivery.event_count,
            secret_label: delivery.secret_label,
        },
        Err((cause, error)) => {
            failed(cause, &source.name, &delivery.id, &delivery.headers, &error);
            Outcome::Unavailable { cause }
        }
    }
}

/// Sends a delivery with its body, which goes to R2 first where it does not fit.
async fn send_delivery(env: &Env, delivery: &mut Incoming<'_>, body: &Body) -> Result<(), (&'static str, String)> {
    let header = delivery.header_line();
    let sent = if messages::fits(&header, body.len()) {
        queue::send(env, queue::DELIVERIES, &header, body).await
    } else {
        delivery.body = store(env, &delivery.source, &delivery.id, delivery.received_at_ms, body)
            .await
            .map_err(|error| ("storage_failed", error))?;
        queue::send(env, queue::DELIVERIES, &delivery.header_line(), &NOTHING).await
    };
    sent.map_err(|error| ("queue_failed", error))
}

/// Tells what was ours to do for a delivery or its letter and failed; `kept`: headers without secrets.
pub(crate) fn failed<N: AsRef<str>, V: AsRef<str>>(event: &str, source: &str, id: &str, kept: &[(N, V)], error: &str) {
    let correlation = log::correlation(kept);
    log::error(event, &[("source", source), ("delivery", id), ("correlation", correlation), ("error", error)]);
}

/// The optional checks that need no body: who sends, and how often.
async fn at_the_door(source: &Source, request: &Request, env: &Env) -> Option<Outcome> {
    if !source.allow_networks.is_empty() {
        let address = request.headers().get("cf-connecting-ip").ok().flatten();
        if !allows(&source.allow_networks, address.as_deref()) {
            return Some(Outcome::Rejected { status: 403, error: "Forbidden", code: "address_not_allowed" });
        }
    }
    let binding = source.rate_limit.as_deref()?;
    let within = match rate::limiter(env, binding) {
        Ok(limiter) => rate::allows(&limiter, &source.name).await,
        Err(error) => Err(error),
    };
    match within {
        Ok(true) => None,
        Ok(false) => Some(Outcome::Rejected { status: 429, error: "Too many requests", code: "rate_limited" }),
        // A limiter that fails protects nobody by turning genuine deliveries away.
        Err(error) => {
            log::error("rate_limit_failed", &[("source", &source.name), ("error", &error)]);
            None
        }
    }
}

/// Where in the bucket a body is kept, so that its key says when and whose.
pub(crate) fn payload_key(source: &str, id: &str, received_at_ms: u64) -> String {
    format!("payloads/{}/{source}/{id}", date_path(received_at_ms))
}

/// Puts a body into R2.
async fn store(env: &Env, source: &str, id: &str, received_at_ms: u64, body: &Body) -> Result<BodyRef, String> {
    let key = payload_key(source, id, received_at_ms);
    let (size_bytes, sha256) = (body.len() as u64, r2::body_sha256_hex(body).await?);
    r2::put(env, &key, body).await?;
    Ok(BodyRef::Stored { key, size_bytes, sha256 })
}

/// A refusal on its way to the dead letters.
struct Refused {
    id: String,
    refusal: Refusal,
    /// Label of the secret that verified it, where the signature was good.
    label: Option<String>,
    received_at_ms: u64,
    /// Size of a body that was not read to its end.
    omitted_bytes: Option<u64>,
}

impl Refused {
    /// Sends the letter; where that fails the sender has to repeat.
    async fn keep(self, configured: Configured<'_>, env: &Env, headers: &[(&str, &str)], body: Body) -> Outcome {
        let Configured { source, secrets } = configured;
        let verified = self.label.is_some();
        if !verified && !admit(configured, body.len() as u64, self.received_at_ms) {
            return Outcome::Refused { refusal: self.refusal, kept: false };
        }
        // Bounded work, and only within the quarantine's budget; an envelope's refusal explains itself.
        let diagnosis = (!verified && self.omitted_bytes.is_none())
            .then(|| body.with_bytes(|bytes| doctor::diagnose(&secrets.verifier, headers, bytes, self.received_at_ms)));
        let size_bytes = body.len() as u64;
        let mut letter = DeadLetter {
            id: self.id,
            source: source.name.clone(),
            stage: Stage::Receive,
            reason: self.refusal.code().as_str().into(),
            detail: Some(self.refusal.detail()),
            diagnosis,
            verified,
            received_at_ms: self.received_at_ms,
            dead_at_ms: self.received_at_ms,
            attempts: 0,
            last_status: None,
            event_count: None,
            secret_label: self.label,
            dedupe_key: None,
            headers: owned(configured.gate().kept_headers(headers)),
            replay: 0,
            body: match self.omitted_bytes {
                Some(size_bytes) => BodyRef::Omitted { size_bytes },
                None => BodyRef::Inline { size_bytes },
            },
        };
        match send_letter(env, &mut letter, &body).await {
            Ok(()) => Outcome::Refused { refusal: self.refusal, kept: true },
            Err((cause, error)) => {
                failed(cause, &source.name, &letter.id, &letter.headers, &error);
                Outcome::Unavailable { cause }
            }
        }
    }
}

/// Sends a letter with its body, which goes to R2 first where it does not fit.
pub(crate) async fn send_letter(env: &Env, letter: &mut DeadLetter, body: &Body) -> Result<(), (&'static str, String)> {
    let header = messages::dead_letter_header(letter);
    let sent = if messages::fits(&header, body.len()) {
        queue::send(env, queue::DEAD_LETTERS, &header, body).await
    } else {
        letter.body = store(env, &letter.source, &letter.id, letter.received_at_ms, body)
            .await
            .map_err(|error| ("storage_failed", error))?;
        queue::send(env, queue::DEAD_LETTERS, &messages::dead_letter_header(letter), &NOTHING).await
    };
    sent.map_err(|error| ("queue_failed", error))
}

fn admit(configured: Configured<'_>, size_bytes: u64, now_ms: u64) -> bool {
    let source = configured.source;
    QUARANTINES.with(|cell| {
        // Nothing holds it across an await, so it is never borrowed here already.
        let Ok(mut quarantines) = cell.try_borrow_mut() else { return false };
        let quarantine =
            quarantines.entry(source.name.clone()).or_insert_with(|| Quarantine::new(source.quarantine, now_ms));
        quarantine.admit(size_bytes, now_ms)
    })
}
