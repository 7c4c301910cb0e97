//! Small deliveries, which are nearly all of them: `entry.js` reads and sends, and three synchronous calls decide.
//!
//! At a kilobyte the price of a delivery is the crossing between JavaScript and wasm: every header that is asked for, every
//! promise that is waited for, every object that is built. So `entry.js` hands everything over at once and waits by itself.
//!
//! Promises: this way can only accept. What it does not accept, for whatever reason, goes with its body through
//! [`crate::receiver`], which decides anew and says why; what it accepts leaves the same message, the same answer and the
//! same counts as the receiver would. Bodies are counted against the budget before they are read, as there. Out of scope:
//! bodies of unknown or larger size, sources with conditions at the door.

use crate::config;
use crate::counting::{Count, count};
use crate::platform::body::Place;
use crate::platform::clock;
use crate::platform::context::EventContext;
use crate::platform::http::path_and_query;
use crate::receiver::{accepted_counts, accepted_text, kept_headers};
use gateway_core::in_flight::LEASE_MS;
use genesys_webhook::id::delivery_id;
use genesys_webhook::message::{self, BodyRef, Delivery};
use std::cell::RefCell;
use std::collections::BTreeMap;
use wasm_bindgen::prelude::*;
use worker::Env;

/// Up to this size a body goes this way (`bench/README.md`, "Where bodies are hashed"): it is hashed in wasm.
/// `GATEWAY_SMALL_BYTES`, whatever its value, closes this way at build time, for measuring the other.
const SMALL_BYTES: u32 = match option_env!("GATEWAY_SMALL_BYTES") {
    Some(_) => 0,
    None => 32_768,
};

/// From so many on, those whose requests vanished without a word are looked for.
const SWEEP_FROM: usize = 64;

/// A delivery on its way. What is read is kept between the calls; only numbers cross for it.
struct Pending {
    received_at_ms: u64,
    /// Holds its bytes in the isolate's budget.
    _place: Place,
    accepted: Option<Accepted>,
}

struct Accepted {
    id: String,
    source: String,
    event_count: u64,
    secret_label: String,
    size_bytes: u64,
}

#[derive(Default)]
struct Deliveries {
    last_ticket: u32,
    pending: BTreeMap<u32, Pending>,
}

thread_local! {
    static DELIVERIES: RefCell<Deliveries> = RefCell::default();
}

/// Nothing holds it across a call, so it is never borrowed here already.
fn with<T>(f: impl FnOnce(&mut Deliveries) -> T) -> Option<T> {
    DELIVERIES.with(|cell| cell.try_borrow_mut().ok().map(|mut deliveries| f(&mut deliveries)))
}

/// A place for a body of `size_bytes` that is about to be read: its ticket, or 0 where this is not its way.
#[wasm_bindgen]
pub fn small_admit(size_bytes: u32) -> u32 {
    if size_bytes > SMALL_BYTES {
        return 0;
    }
    let received_at_ms = clock::now_ms();
    let Ok(place) = Place::take(size_bytes.into()) else { return 0 };
    with(|deliveries| {
        if deliveries.pending.len() >= SWEEP_FROM {
            deliveries.pending.retain(|_, pending| pending.received_at_ms.saturating_add(LEASE_MS) > received_at_ms);
        }
        // Zero says no.
        let ticket = deliveries.last_ticket.wrapping_add(1).max(1);
        deliveries.last_ticket = ticket;
        deliveries.pending.insert(ticket, Pending { received_at_ms, _place: place, accepted: None });
        ticket
    })
    .unwrap_or(0)
}

/// The message to send for a delivery, or nothing where the receiver has to decide; the ticket is given back then.
///
/// `head`: the URL, then name and value of each header, a line each (neither can contain a line's end).
#[wasm_bindgen]
pub fn small_inspect(ticket: u32, env: &Env, head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let received_at_ms = with(|deliveries| deliveries.pending.get(&ticket).map(|pending| pending.received_at_ms))??;
    let Some((accepted, message)) = accept(env, head, body, received_at_ms) else {
        small_release(ticket);
        return None;
    };
    with(|deliveries| {
        let pending = deliveries.pending.get_mut(&ticket)?;
        pending.accepted = Some(accepted);
        Some(message)
    })?
}

fn accept(env: &Env, head: &str, body: &[u8], received_at_ms: u64) -> Option<(Accepted, Vec<u8>)> {
    let mut lines = head.split('\n');
    let (path, _) = gateway_core::query::split(path_and_query(lines.next()?));
    let gateway = config::gateway(env).ok()?;
    let configured = gateway.source(path.strip_prefix("/webhook/")?)?;
    let source = configured.source;
    let size_bytes = body.len() as u64;
    if size_bytes > source.max_body_bytes || !source.allow_networks.is_empty() || source.rate_limit.is_some() {
        return None;
    }
    let mut headers: Vec<(&str, &str)> = Vec::with_capacity(24);
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        headers.push((name, value));
    }
    let verified = configured.secrets.verifier.verify(headers.as_slice(), body, received_at_ms).ok()?;
    let envelope = source.scheme.inspect(body).ok()?;
    let delivery = Delivery {
        id: delivery_id(received_at_ms, clock::random().ok()?),
        source: source.name.clone(),
        received_at_ms,
        event_count: envelope.event_count,
        secret_label: verified.label.to_owned(),
        dedupe_key: source.scheme.idempotency_key(headers.as_slice(), &envelope),
        headers: kept_headers(configured, &headers).headers,
        replay: 0,
        origin: None,
        body: BodyRef::Inline { size_bytes },
    };
    let header = message::delivery_header(&delivery);
    if !message::fits(&header, body.len()) {
        return None;
    }
    let Delivery { id, source, event_count, secret_label, .. } = delivery;
    Some((Accepted { id, source, event_count, secret_label, size_bytes }, message::frame(&header, body)))
}

/// The message was sent: counts the delivery and gives the text of its answer. Nothing where the ticket is unknown.
#[wasm_bindgen]
pub fn small_sent(ticket: u32, env: &Env, context: &EventContext) -> Option<String> {
    let pending = with(|deliveries| deliveries.pending.remove(&ticket))??;
    let Accepted { id, source, event_count, secret_label, size_bytes } = pending.accepted?;
    let latency_ms = clock::now_ms().saturating_sub(pending.received_at_ms);
    let outcome = accepted_counts(event_count, &secret_label);
    count(env, context, &Count { source: &source, latency_ms, size_bytes, outcome: &outcome });
    Some(accepted_text(&id, event_count))
}

/// Gives a ticket back: the body could not be read, or the message not be sent.
#[wasm_bindgen]
pub fn small_release(ticket: u32) {
    with(|deliveries| deliveries.pending.remove(&ticket));
}
