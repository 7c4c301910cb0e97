//! The short way of a delivery, which nearly all of them take: `entry.js` reads, hashes what is large, stores and sends, and a few
//! synchronous calls decide.
//!
//! At a kilobyte the price of a delivery is the crossing between JavaScript and wasm: every header that is asked for, every
//! promise that is waited for, every object that is built. So `entry.js` hands everything over at once and waits by itself.
//!
//! Promises: this way can only accept. What it does not accept, for whatever reason, goes with its body and with what is known of
//! it ([`Begun`]: nothing is hashed twice) through [`crate::receiver`], which decides and says why; what it accepts leaves the
//! same message, the same answer and the same counts as the receiver would. Bodies are counted against the budget before
//! they are read, as there. Out of scope: bodies of unknown size, sources with conditions at the door, large bodies of schemes
//! that sign more than the body.

use crate::config::{self, Configured, Gateway};
use crate::counting::{self, Count};
use crate::platform::body::{LARGE_BYTES, Place};
use crate::platform::context::EventContext;
use crate::platform::{clock, crypto};
use crate::receiver::{accepted_counts, accepted_text, payload_key};
use gateway_core::in_flight::LEASE_MS;
use genesys_webhook::encoding::{Tag, hex};
use genesys_webhook::id::delivery_id;
use genesys_webhook::intake::{Head, path_and_query};
use genesys_webhook::message::{self, BodyRef, Delivery};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use worker::Env;

/// `GATEWAY_NO_SHORT_WAY`, whatever its value, closes this way at build time, for measuring the other.
const IS_OPEN: bool = option_env!("GATEWAY_NO_SHORT_WAY").is_none();

/// A delivery on its way. What is read is kept between the calls; little crosses for it.
pub(crate) struct Begun {
    pub(crate) received_at_ms: u64,
    /// Holds its bytes in the isolate's budget.
    pub(crate) place: Place,
    /// URL and headers, as [`Head`] reads them.
    pub(crate) head: String,
    /// The tags of its body by the source's active secrets, once they are computed.
    pub(crate) tags: Option<Vec<Tag>>,
    gateway: Rc<Gateway>,
    /// Which of the gateway's sources it is sent to.
    source: usize,
    accepted: Option<Accepted>,
}

/// What is told of a delivery once its message is sent.
struct Accepted {
    event_count: u64,
    secret_label: String,
    size_bytes: u64,
    /// One whose body has to be stored first.
    to_store: Option<Delivery>,
}

#[derive(Default)]
struct Deliveries {
    last_ticket: u32,
    begun: BTreeMap<u32, Begun>,
}

thread_local! {
    static DELIVERIES: RefCell<Deliveries> = RefCell::default();
}

/// Nothing holds it across a call, so it is never borrowed here already.
fn with<T>(f: impl FnOnce(&mut Deliveries) -> T) -> Option<T> {
    DELIVERIES.with(|cell| cell.try_borrow_mut().ok().map(|mut deliveries| f(&mut deliveries)))
}

impl Begun {
    /// The source that it is sent to.
    fn source(&self) -> Option<Configured<'_>> {
        self.gateway.source_at(self.source)
    }
}

/// From this size on [`short_inspect`] wants tags that the runtime has computed, with the keys of [`short_keys`].
#[wasm_bindgen]
pub fn short_hashed_outside_from() -> u32 {
    u32::try_from(LARGE_BYTES).unwrap_or(u32::MAX)
}

/// A place for a body of `size_bytes` that is about to be read: its ticket, or 0 where this is not its way.
///
/// `head`: the URL, then name and value of each header, a line each.
#[wasm_bindgen]
pub fn short_begin(env: &Env, head: String, size_bytes: u32) -> u32 {
    begin(env, head, size_bytes).unwrap_or(0)
}

fn begin(env: &Env, head: String, size_bytes: u32) -> Option<u32> {
    let gateway = config::gateway(env).ok()?;
    let url = head.split_once('\n').map_or(&*head, |(url, _)| url);
    let (path, _) = gateway_core::query::split(path_and_query(url));
    let at = gateway.place(path.strip_prefix("/webhook/")?)?;
    let source = gateway.source_at(at)?.source;
    let is_conditional = !source.allow_networks.is_empty() || source.rate_limit.is_some();
    if !IS_OPEN || is_conditional || u64::from(size_bytes) > source.max_body_bytes {
        return None;
    }
    let received_at_ms = clock::now_ms();
    let place = Place::take(size_bytes.into(), received_at_ms).ok()?;
    with(|deliveries| {
        // Those whose requests vanished without a word: tickets are given in the order of time.
        while let Some(oldest) = deliveries.begun.first_entry() {
            if oldest.get().received_at_ms.saturating_add(LEASE_MS) > received_at_ms {
                break;
            }
            oldest.remove();
        }
        // Zero says no.
        let ticket = deliveries.last_ticket.wrapping_add(1).max(1);
        deliveries.last_ticket = ticket;
        let begun = Begun { received_at_ms, place, head, tags: None, gateway, source: at, accepted: None };
        deliveries.begun.insert(ticket, begun);
        ticket
    })
}

/// The WebCrypto keys to compute the tags of a body with, in the order in which [`short_inspect`] takes the tags. Nothing where the
/// receiver has to decide: it also imports keys that are not there yet.
#[wasm_bindgen]
pub fn short_keys(ticket: u32) -> Option<js_sys::Array> {
    with(|deliveries| {
        let begun = deliveries.begun.get(&ticket)?;
        let Configured { source, secrets } = begun.source()?;
        let head = Head::read(&begun.head);
        let prepared = secrets.verifier.prepare(head.headers.as_slice(), begun.received_at_ms).ok()?;
        let body_alone = prepared.before_body().is_empty() && prepared.after_body().is_empty();
        if body_alone { crypto::imported_keys(&source.name, prepared.secrets()) } else { None }
    })?
}

/// What to send for a delivery, or nothing where the receiver has to decide.
///
/// `tags`: 32 bytes a key of [`short_keys`]; where there are none the body is hashed here. What comes back begins with the length
/// of the answer in a byte; the answer follows, then the message: whole where the body was hashed here, else its header line.
/// A length of 0: the body does not fit into a message, and the key to store it under follows.
#[wasm_bindgen]
pub fn short_inspect(ticket: u32, body: &[u8], tags: &[u8]) -> Option<Vec<u8>> {
    with(|deliveries| inspect(deliveries.begun.get_mut(&ticket)?, body, tags))?
}

fn inspect(begun: &mut Begun, body: &[u8], tags: &[u8]) -> Option<Vec<u8>> {
    let received_at_ms = begun.received_at_ms;
    let configured = begun.gateway.source_at(begun.source)?;
    let headers = Head::read(&begun.head).headers;
    if body.len() as u64 > configured.source.max_body_bytes {
        return None;
    }
    let prepared = configured.secrets.verifier.prepare(headers.as_slice(), received_at_ms).ok()?;
    let inline = if tags.is_empty() { body } else { &[] };
    let tags = if tags.is_empty() { prepared.tags(body) } else { tags.as_chunks().0.to_vec() };
    let verified = prepared.check(begun.tags.insert(tags)).ok()?;
    let id = delivery_id(received_at_ms, clock::random().ok()?);
    let delivery = configured.gate().delivery(id, verified.label, &headers, body, received_at_ms).ok()?;
    let header = delivery.header_line();
    let mut accepted = Accepted {
        event_count: delivery.event_count,
        secret_label: verified.label.to_owned(),
        size_bytes: body.len() as u64,
        to_store: None,
    };
    let out = if message::fits(&header, body.len()) {
        reply(&accepted_text(&delivery.id, delivery.event_count), &header, inline)
    } else {
        let key = payload_key(&delivery.source, &delivery.id, received_at_ms);
        accepted.to_store = Some(delivery.into_owned());
        Some([&[0], key.as_bytes()].concat())
    };
    begun.accepted = Some(accepted);
    out
}

/// The body was stored under the key of [`short_inspect`]: what to send now, in the same form.
///
/// `sha256`: of the body, 32 bytes.
#[wasm_bindgen]
pub fn short_stored(ticket: u32, sha256: &[u8]) -> Option<Vec<u8>> {
    with(|deliveries| {
        let begun = deliveries.begun.get_mut(&ticket)?;
        let mut delivery = begun.accepted.as_mut()?.to_store.take()?;
        let key = payload_key(&delivery.source, &delivery.id, begun.received_at_ms);
        delivery.body = BodyRef::Stored { key, size_bytes: delivery.body.size_bytes(), sha256: hex(sha256) };
        reply(&accepted_text(&delivery.id, delivery.event_count), &message::delivery_header(&delivery), &[])
    })?
}

/// An answer is a hundred characters at most, so its length fits into a byte.
fn reply(answer: &str, header: &str, inline: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(answer.len()).ok()?;
    Some([&[length], answer.as_bytes(), header.as_bytes(), inline].concat())
}

/// The message was sent: counts the delivery. 0: the ticket is unknown; 2: [`short_flush`] is to be called.
#[wasm_bindgen]
pub fn short_sent(ticket: u32) -> u32 {
    sent(ticket).unwrap_or(0)
}

fn sent(ticket: u32) -> Option<u32> {
    let begun = end(ticket)?;
    let accepted = begun.accepted.as_ref()?;
    let now_ms = clock::now_ms();
    let count = Count {
        source: &begun.source()?.source.name,
        latency_ms: now_ms.saturating_sub(begun.received_at_ms),
        size_bytes: accepted.size_bytes,
        outcome: &accepted_counts(accepted.event_count, &accepted.secret_label),
    };
    Some(if counting::add_request(&count, now_ms) { 2 } else { 1 })
}

/// Sees to it that the counts are sent.
#[wasm_bindgen]
pub fn short_flush(env: &Env, context: &EventContext) {
    counting::drive(env, context);
}

/// Ends the short way of a delivery, for the receiver: what is known of it.
pub(crate) fn end(ticket: u32) -> Option<Begun> {
    with(|deliveries| deliveries.begun.remove(&ticket)).flatten()
}
