//! Envelopes: is the body what the profile says, and how many events does it hold?
//!
//! Promises:
//! - One pass over the bytes, no tree, no recursion, memory independent of the body; strict RFC 8259.
//! - A refusal says what and at which byte.
//! - A body that is neither valid JSON nor the right envelope is `invalid_json`: the first fault of the text ends the
//!   scan, a fault of the envelope is told when the text has ended well.
//! - [`EnvelopeKind::Any`] takes any bytes, so that a verified body never gets stuck.
//!
//! Decided where the standard leaves room:
//! - Nesting over [`MAX_NESTING`] is refused (RFC 8259, section 9, allows a limit), as `invalid_json`.
//! - A byte order mark before the text is passed over, as section 8.1 permits. An empty body is refused.
//! - A lone surrogate escape such as `"\ud800"` is accepted: the grammar has it, and a chat text that was cut in the
//!   middle of an emoji is genuine. Raw bytes that are not UTF-8 are refused (section 8.1).
//! - Numbers of any size and precision are accepted: they are not read.
//! - Duplicate member names are accepted, because what they mean is the destination's to say, except on the way to
//!   `events` and to the parts of the idempotency key: there two readers could count or deduplicate differently, so
//!   they are refused. Names are compared after unescaping.
//! - Elements of `events` may be of any type and unknown message types are accepted; an empty `events` counts 0.

mod block;
mod nesting;
mod reader;
mod skip_container;
mod tracker;

pub use nesting::MAX_NESTING;
pub use tracker::{Envelope, EnvelopeKind};

use crate::pointer::JsonPointer;
use crate::refusal::{JsonFault, Refusal};
use nesting::Nesting;
use reader::{LocatedFault, Reader, Text};
use tracker::{Tracker, ValueKind};

/// Validates a body, counts its events and captures the values that `pointers` name.
///
/// Errors: [`Refusal::InvalidJson`], [`Refusal::InvalidEnvelope`].
pub fn inspect(body: &[u8], kind: EnvelopeKind, pointers: &[JsonPointer]) -> Result<Envelope, Refusal> {
    match kind {
        EnvelopeKind::Events | EnvelopeKind::Object => judge(body, kind, pointers, true),
        // Most of these bodies are no JSON; where one is, its pointers are worth a look.
        EnvelopeKind::Any if pointers.is_empty() => Ok(Envelope { event_count: 1, captures: vec![] }),
        EnvelopeKind::Any => Ok(judge(body, EnvelopeKind::Object, pointers, true)
            .unwrap_or_else(|_| Envelope { event_count: 1, captures: vec![None; pointers.len()] })),
    }
}

/// `skips`: whether containers in which nothing is looked for are passed over ([`skip_container`]).
fn judge(body: &[u8], kind: EnvelopeKind, pointers: &[JsonPointer], skips: bool) -> Result<Envelope, Refusal> {
    let mut tracker = Tracker::new(kind, pointers);
    match scan(body, &mut tracker, skips) {
        Ok(()) => tracker.finish().map_err(|(fault, at_byte)| Refusal::InvalidEnvelope { fault, at_byte }),
        Err((fault, at_byte)) => Err(Refusal::InvalidJson { fault, at_byte }),
    }
}

/// The grammar: a loop in which each turn reads the beginning of a value, and then whatever ends values.
///
/// Containers in which the tracker looks for nothing are passed over while `skips`.
fn scan(body: &[u8], tracker: &mut Tracker<'_>, mut skips: bool) -> Result<(), LocatedFault> {
    let mut reader = Reader::of_text(body)?;
    let mut nesting = Nesting::default();
    loop {
        let start = reader.at();
        match reader.next() {
            Some(open @ (b'{' | b'[')) => {
                let (is_object, kind) =
                    if open == b'{' { (true, ValueKind::Object) } else { (false, ValueKind::Array) };
                nesting.open(is_object).ok_or((JsonFault::TooDeep(MAX_NESTING), start))?;
                tracker.value(nesting.outer(), kind, start);
                reader.skip_whitespace();
                if !reader.take(closing(is_object)) && !passed_over(&mut reader, tracker, nesting, &mut skips) {
                    inside(&mut reader, tracker, nesting.depth, is_object)?;
                    continue;
                }
                tracker.close(nesting.depth);
                nesting.close();
            }
            Some(b'"') => {
                tracker.value(nesting.depth, ValueKind::String, start);
                let text = reader.string()?;
                tracker.scalar(nesting.depth, text);
            }
            Some(first @ (b'-' | b'0'..=b'9')) => {
                tracker.value(nesting.depth, ValueKind::Number, start);
                reader.number(first)?;
                tracker.scalar(nesting.depth, Text { raw: reader.since(start), has_escapes: false });
            }
            Some(first @ (b't' | b'f' | b'n')) => {
                tracker.value(nesting.depth, ValueKind::Literal, start);
                reader.literal(first)?;
            }
            Some(_) => return Err((JsonFault::Value, start)),
            None => return Err((JsonFault::Truncated, start)),
        }
        // A value has ended; what follows ends containers or leads to the next value.
        loop {
            tracker.end(nesting.depth, reader.at());
            reader.skip_whitespace();
            let at = reader.at();
            let Some(is_object) = nesting.innermost() else {
                return if at == body.len() { Ok(()) } else { Err((JsonFault::Trailing, at)) };
            };
            match reader.next() {
                Some(b',') => {
                    reader.skip_whitespace();
                    inside(&mut reader, tracker, nesting.depth, is_object)?;
                    break;
                }
                Some(byte) if byte == closing(is_object) => {
                    tracker.close(nesting.depth);
                    nesting.close();
                }
                Some(_) if is_object => return Err((JsonFault::ObjectEnd, at)),
                Some(_) => return Err((JsonFault::ArrayEnd, at)),
                None => return Err((JsonFault::Truncated, at)),
            }
        }
    }
}

const fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// Passes over the innermost container if nothing is looked for in it and it has no fault. Where it has one, `skips` is
/// cleared: the fault ends the scan, and nothing is tried twice on the way to it.
fn passed_over(reader: &mut Reader<'_>, tracker: &mut Tracker<'_>, nesting: Nesting, skips: &mut bool) -> bool {
    if !*skips || tracker.looks_into(nesting.depth) {
        return false;
    }
    let Some(skipped) = skip_container::skip_container(reader.rest(), nesting) else {
        *skips = false;
        return false;
    };
    reader.pass(skipped.length);
    tracker.passed_elements(nesting.depth, skipped.commas.saturating_add(1));
    true
}

/// What stands before a value in a container: a member's name and the colon, or nothing.
fn inside(reader: &mut Reader<'_>, tracker: &mut Tracker<'_>, depth: u32, is_object: bool) -> Result<(), LocatedFault> {
    if !is_object {
        tracker.element(depth);
        return Ok(());
    }
    let start = reader.at();
    if !reader.take(b'"') {
        return Err(reader.fault(JsonFault::Name));
    }
    let text = reader.string()?;
    tracker.name(depth, text, start);
    reader.skip_whitespace();
    if !reader.take(b':') {
        return Err(reader.fault(JsonFault::Colon));
    }
    reader.skip_whitespace();
    Ok(())
}

#[cfg(test)]
mod tests;
