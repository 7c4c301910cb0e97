//! The short way of a delivery, which nearly all of them take: `short.js` reads, hashes what is large, stores and sends, and a few
//! synchronous calls decide.
//!
//! At a kilobyte the price of a delivery is the crossing between JavaScript and wasm: every header that is asked for, every
//! promise that is waited for, every object that is built, and every call for the memory that it finds cold. So `short.js` hands
//! everything over at once and waits by itself: a small body is decided by one call ([`short_at_once`]) and counted by one
//! ([`short_counted`]); between them nothing is kept here. A large one has a ticket, because its bytes are counted against the
//! isolate's budget before they are read ([`short_begin`], [`short_inspect`], [`short_sent`]); those of small ones `short.js` counts.
//!
//! Promises: this way can only accept. What it does not accept, for whatever reason, goes with its body and with what is known of
//! it ([`Begun`]: nothing is hashed twice) through [`crate::receive`], which decides and says why; what it accepts leaves the
//! same message, the same answer and the same counts as the receiver would. Out of scope: bodies of unknown size, sources with
//! conditions at the door, large bodies of schemes that sign more than the body.

use crate::config::{self, Configured, Gateway};
use crate::platform::body::{LARGE_BYTES, Place};
use crate::platform::context::EventContext;
use crate::platform::{clock, crypto};
use crate::receive::counting::{self, Count};
use crate::receive::{accepted_counts, accepted_text, payload_key};
use gateway_core::config::Source;
use gateway_core::messages::id::delivery_id;
use gateway_core::messages::{self, BodyRef};
use gateway_core::receive::body_budget::{LEASE_MS, SMALLEST_SHARE_BYTES};
use gateway_core::receive::delivery::{Incoming, RequestHead};
use genesys_webhook::encoding::Tag;
use genesys_webhook::signature::Prepared;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use worker::Env;

/// `GATEWAY_NO_SHORT_WAY`, whatever its value, closes this way at build time, for measuring the other.
const IS_OPEN: bool = option_env!("GATEWAY_NO_SHORT_WAY").is_none();

/// What a reply begins with instead of the length of an answer: the receiver has to decide, or the body is to be stored.
const NO_ANSWER: u8 = 0;

/// Stands where the digest of a body goes that has not been computed yet: 64 digits.
const NO_SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A delivery on its way. What is read is kept between the calls; little crosses for it.
pub(crate) struct Begun {
    pub(crate) received_at_ms: u64,
    /// Holds its bytes in the isolate's budget.
    pub(crate) place: Place,
    /// URL and headers, as [`RequestHead`] reads them.
    pub(crate) head: String,
    /// The tags of its body by the source's active secrets, once they are computed.
    pub(crate) tags: Option<Vec<Tag>>,
    gateway: Rc<Gateway>,
    /// Which of the gateway's sources it is sent to.
    source: usize,
    accepted: Option<Accepted>,
}

/// What is counted of a delivery once its message is sent.
struct Accepted {
    event_count: u64,
    secret_label: String,
    size_bytes: u64,
}

#[derive(Default)]
struct Deliveries {
    last_ticket: u32,
    /// By ticket, the oldest first.
    begun: VecDeque<(u32, Begun)>,
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

    /// Keeps it; its ticket, which is never 0.
    fn keep(self) -> Option<u32> {
        with(|deliveries| {
            // Those whose requests vanished without a word: tickets are given in the order of time.
            while let Some((_, oldest)) = deliveries.begun.front()
                && oldest.received_at_ms.saturating_add(LEASE_MS) <= self.received_at_ms
            {
                deliveries.begun.pop_front();
            }
            let ticket = deliveries.last_ticket.wrapping_add(1).max(1);
            deliveries.last_ticket = ticket;
            deliveries.begun.push_back((ticket, self));
            ticket
        })
    }
}

/// What `short.js` has to know, in bytes and milliseconds: from which size on a body is hashed by the runtime, how many bytes of
/// smaller ones may be in flight, and when one that vanished counts no more.
#[wasm_bindgen]
pub fn short_limits() -> Vec<f64> {
    // Whole numbers far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    [LARGE_BYTES, SMALLEST_SHARE_BYTES, LEASE_MS].map(|limit| limit as f64).to_vec()
}

/// The sources that this way is open to, three values each: which of the gateway's it is, its name, and the most bytes that it takes.
/// None where the configuration is broken. `short.js` asks once, because no body is read before somebody has said that it may be.
#[wasm_bindgen]
pub fn short_sources(env: &Env) -> js_sys::Array {
    let sources = js_sys::Array::new();
    for (at, source) in (0u32..).zip(config::gateway(env).iter().flat_map(|gateway| &gateway.config.sources)) {
        if is_open(source) {
            // Whole and far below 2^53.
            #[allow(clippy::cast_precision_loss)]
            let limit_bytes = source.max_body_bytes as f64;
            for value in [JsValue::from(at), JsValue::from(source.name.as_str()), JsValue::from(limit_bytes)] {
                sources.push(&value);
            }
        }
    }
    sources
}

/// Whether nothing has to be asked before the body is read.
fn is_open(source: &Source) -> bool {
    IS_OPEN && source.allow_networks.is_empty() && source.rate_limit.is_none()
}

/// One of [`short_sources`].
fn open_source(gateway: &Gateway, at: u32) -> Option<(usize, Configured<'_>)> {
    let at = usize::try_from(at).ok()?;
    gateway.source_at(at).filter(|configured| is_open(configured.source)).map(|configured| (at, configured))
}

/// A small delivery at once: what to send for it, or nothing where the receiver has to decide.
///
/// `source`: of [`short_sources`]; `head`: the URL, then name and value of each header, a line each; `received_at_ms`: since the epoch.
/// What comes back begins with the length of the answer in a byte; two numbers for [`short_counted`] follow, in four bytes each, the
/// lowest first; then the answer, then the message. A length of 0: the receiver has to decide, with the ticket in the four bytes that
/// follow.
#[wasm_bindgen]
pub fn short_at_once(env: &Env, source: u32, head: String, body: &[u8], received_at_ms: f64) -> Option<Vec<u8>> {
    let received_at_ms = clock::whole_ms(received_at_ms);
    let gateway = config::gateway(env).ok()?;
    let (source, tags) = {
        let headers = RequestHead::read(&head).headers;
        let (source, configured) = open_source(&gateway, source)?;
        if body.len() as u64 > configured.source.max_body_bytes {
            return None;
        }
        let prepared = configured.secrets.verifier.prepare(headers.as_slice(), received_at_ms).ok()?;
        let tags = prepared.tags(body);
        let accepted = accept(configured, &prepared, &tags, &headers, body, received_at_ms);
        if let Some(accepted) = accepted.filter(|made| messages::fits(&made.header, body.len())) {
            let secrets = configured.secrets.verifier.secrets();
            let secret = secrets.iter().position(|secret| secret.label() == accepted.label)?;
            let told = [secret as u64, accepted.delivery.event_count];
            return reply(&accepted, &told, body);
        }
        (source, tags)
    };
    let place = Place::take(body.len() as u64, received_at_ms).ok()?;
    let begun = Begun { received_at_ms, place, head, tags: Some(tags), gateway, source, accepted: None };
    Some([&[NO_ANSWER][..], &begun.keep()?.to_le_bytes()].concat())
}

/// The message of a delivery of [`short_at_once`] was sent: counts it. 0: the numbers are not ours; 2: [`short_flush`] is to be called.
#[wasm_bindgen]
pub fn short_counted(
    env: &Env,
    source: u32,
    secret: u32,
    event_count: u32,
    size_bytes: u32,
    received_at_ms: f64,
    now_ms: f64,
) -> u32 {
    let counted = || {
        let gateway = config::gateway(env).ok()?;
        let Configured { source, secrets } = gateway.source_at(usize::try_from(source).ok()?)?;
        let secret = secrets.verifier.secrets().get(usize::try_from(secret).ok()?)?;
        let (received_at_ms, now_ms) = (clock::whole_ms(received_at_ms), clock::whole_ms(now_ms));
        Some(count(&source.name, event_count.into(), secret.label(), size_bytes.into(), received_at_ms, now_ms))
    };
    counted().unwrap_or(0)
}

/// A place for a large body that is about to be read: its ticket, then the WebCrypto keys to compute its tags with, in the order
/// in which [`short_inspect`] takes the tags. Nothing where this is not its way; the receiver also imports keys that are not there yet.
///
/// `source`, `head` and `received_at_ms`: as for [`short_at_once`].
#[wasm_bindgen]
pub fn short_begin(
    env: &Env,
    source: u32,
    head: String,
    size_bytes: u32,
    received_at_ms: f64,
) -> Option<js_sys::Array> {
    let received_at_ms = clock::whole_ms(received_at_ms);
    let gateway = config::gateway(env).ok()?;
    let (source, keys) = {
        let headers = RequestHead::read(&head).headers;
        let (at, Configured { source, secrets }) = open_source(&gateway, source)?;
        if u64::from(size_bytes) > source.max_body_bytes {
            return None;
        }
        let prepared = secrets.verifier.prepare(headers.as_slice(), received_at_ms).ok()?;
        if !(prepared.before_body().is_empty() && prepared.after_body().is_empty()) {
            return None;
        }
        (at, crypto::imported_keys(&source.name, prepared.secrets())?)
    };
    let place = Place::take(size_bytes.into(), received_at_ms).ok()?;
    let begun = Begun { received_at_ms, place, head, tags: None, gateway, source, accepted: None };
    keys.unshift(&begun.keep()?.into());
    Some(keys)
}

/// What to send for a large delivery, or nothing where the receiver has to decide.
///
/// `tags`: 32 bytes a key of [`short_begin`]. What comes back begins with the length of the answer in a byte; the answer follows,
/// then the header line of the message. A length of 0: the body does not fit into a message. Then the key to store it under
/// follows, its length before it, then how many bytes before the end of it all the 64 digits of its SHA-256 belong, then the same as above.
#[wasm_bindgen]
pub fn short_inspect(ticket: u32, body: &[u8], tags: &[u8]) -> Option<Vec<u8>> {
    with(|deliveries| {
        let (_, begun) = deliveries.begun.iter_mut().find(|(given, _)| *given == ticket)?;
        inspect(begun, body, tags)
    })?
}

fn inspect(begun: &mut Begun, body: &[u8], tags: &[u8]) -> Option<Vec<u8>> {
    let received_at_ms = begun.received_at_ms;
    let configured = begun.gateway.source_at(begun.source)?;
    let headers = RequestHead::read(&begun.head).headers;
    if body.len() as u64 > configured.source.max_body_bytes {
        return None;
    }
    let prepared = configured.secrets.verifier.prepare(headers.as_slice(), received_at_ms).ok()?;
    let tags = begun.tags.insert(tags.as_chunks().0.to_vec());
    let mut made = accept(configured, &prepared, tags, &headers, body, received_at_ms)?;
    begun.accepted = Some(Accepted {
        event_count: made.delivery.event_count,
        secret_label: made.label.to_owned(),
        size_bytes: body.len() as u64,
    });
    if messages::fits(&made.header, body.len()) {
        return reply(&made, &[], &[]);
    }
    let key = payload_key(&made.delivery.source, &made.delivery.id, received_at_ms);
    let key_length = u8::try_from(key.len()).ok()?;
    made.delivery.body =
        BodyRef::Stored { key: key.clone(), size_bytes: body.len() as u64, sha256: NO_SHA256.to_owned() };
    made.header = made.delivery.header_line();
    // The last of what looks like it: headers of the request come before.
    let from_end = u8::try_from(made.header.len().checked_sub(made.header.rfind(NO_SHA256)?)?).ok()?;
    Some([&[NO_ANSWER, key_length][..], key.as_bytes(), &[from_end], &reply(&made, &[], &[])?].concat())
}

/// A delivery that this way accepts.
struct Made<'a> {
    delivery: Incoming<'a>,
    header: String,
    /// Of the secret that verified it.
    label: &'a str,
}

fn accept<'a>(
    configured: Configured<'a>,
    prepared: &Prepared<'a>,
    tags: &[Tag],
    headers: &[(&'a str, &'a str)],
    body: &[u8],
    received_at_ms: u64,
) -> Option<Made<'a>> {
    let label = prepared.check(tags).ok()?.label;
    let id = delivery_id(received_at_ms, clock::random().ok()?);
    let delivery = configured.gate().delivery(id, label, headers, body, received_at_ms).ok()?;
    Some(Made { header: delivery.header_line(), delivery, label })
}

/// An answer is a hundred characters at most, so its length fits into a byte.
fn reply(made: &Made<'_>, told: &[u64], inline: &[u8]) -> Option<Vec<u8>> {
    let answer = accepted_text(&made.delivery.id, made.delivery.event_count);
    let parts = [answer.as_bytes(), made.header.as_bytes(), inline];
    let mut reply = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>().saturating_add(16));
    reply.push(u8::try_from(answer.len()).ok()?);
    for number in told {
        reply.extend_from_slice(&u32::try_from(*number).ok()?.to_le_bytes());
    }
    for part in parts {
        reply.extend_from_slice(part);
    }
    Some(reply)
}

/// The message of a large delivery was sent: counts it. 0: the ticket is unknown; 2: [`short_flush`] is to be called.
#[wasm_bindgen]
pub fn short_sent(ticket: u32, now_ms: f64) -> u32 {
    let sent = || {
        let begun = end(ticket)?;
        let Accepted { event_count, secret_label, size_bytes } = begun.accepted.as_ref()?;
        let name = &begun.source()?.source.name;
        let now_ms = clock::whole_ms(now_ms);
        Some(count(name, *event_count, secret_label, *size_bytes, begun.received_at_ms, now_ms))
    };
    sent().unwrap_or(0)
}

fn count(source: &str, event_count: u64, label: &str, size_bytes: u64, received_at_ms: u64, now_ms: u64) -> u32 {
    let outcome = &accepted_counts(event_count, label);
    let latency_ms = now_ms.saturating_sub(received_at_ms);
    let is_due = counting::add_request(&Count { source, latency_ms, size_bytes, outcome }, now_ms);
    if is_due { 2 } else { 1 }
}

/// Sees to it that the counts are sent.
#[wasm_bindgen]
pub fn short_flush(env: &Env, context: &EventContext) {
    counting::drive(env, context);
}

/// Ends the short way of a delivery, for the receiver: what is known of it.
pub(crate) fn end(ticket: u32) -> Option<Begun> {
    with(|deliveries| {
        let at = deliveries.begun.iter().position(|(given, _)| *given == ticket)?;
        deliveries.begun.remove(at).map(|(_, begun)| begun)
    })
    .flatten()
}
