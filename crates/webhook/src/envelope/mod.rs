//! Envelopes: is the body what the profile says, and how many events does it hold?
//!
//! Promises: one pass over the bytes, no tree, no recursion, memory independent of the body; strict RFC 8259. A
//! refusal says what and at which byte. Where a body is neither valid JSON nor the right envelope, it is
//! `invalid_json`: the first fault of the text ends the scan, a fault of the envelope is told when the text has ended
//! well.
//!
//! Decided where the standard leaves room:
//! - Nesting over [`MAX_NESTING`] is refused (RFC 8259, section 9, allows a limit), as `invalid_json`.
//! - A byte order mark at the beginning is passed over (section 8.1 lets a reader ignore it); an empty body is refused.
//! - A lone surrogate escape such as `"\ud800"` is accepted: the grammar has it, and a chat text that was cut in the
//!   middle of an emoji is genuine. Raw bytes that are not UTF-8 are refused (section 8.1).
//! - Numbers of any size and precision are accepted: they are not read.
//! - Duplicate member names are accepted, because what they mean is the destination's to say, except on the way to
//!   `events` and to the parts of the idempotency key: there two readers could count or deduplicate differently, so
//!   they are refused. Names are compared after unescaping.
//! - Elements of `events` may be of any type and unknown message types are accepted; an empty `events` counts 0.

use crate::pointer::{JsonPointer, Token};
use crate::refusal::Refusal;

mod block;
pub(crate) mod fault;
mod reader;
mod skim;
mod tracker;

pub use fault::{EnvelopeFault, JsonFault, MAX_NESTING};
use reader::{Fault, Reader};
use tracker::Tracker;

/// The member that holds the events of an [`EnvelopeKind::Events`].
static EVENTS: [Token; 1] = [Token::of_key("events")];

/// What a body has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeKind {
    /// An object with one array `events`; each element is an event.
    Events,
    /// One object, which is one event.
    Object,
    /// Any bytes, which are one event.
    Any,
}

impl EnvelopeKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Events, Self::Object, Self::Any];

    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Object => "object",
            Self::Any => "any",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What was found in a valid envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// How many events it holds.
    pub event_count: u64,
    /// For each pointer that was asked for: the string (unescaped; a lone surrogate keeps its escape as text) or the
    /// number (as written) that it names; `None` where it names nothing or something else.
    pub captures: Vec<Option<String>>,
}

/// What a value begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Number,
    Literal,
}

/// Validates a body, counts its events and captures the values that `pointers` name.
///
/// Errors: [`Refusal::InvalidJson`], [`Refusal::InvalidEnvelope`].
pub fn inspect(body: &[u8], kind: EnvelopeKind, pointers: &[JsonPointer]) -> Result<Envelope, Refusal> {
    match kind {
        EnvelopeKind::Events | EnvelopeKind::Object => judge(body, kind, pointers, true),
        // What can be read of it is read all the same, for the idempotency key.
        EnvelopeKind::Any => Ok(judge(body, EnvelopeKind::Object, pointers, true)
            .unwrap_or_else(|_| Envelope { event_count: 1, captures: vec![None; pointers.len()] })),
    }
}

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn judge(body: &[u8], kind: EnvelopeKind, pointers: &[JsonPointer], skims: bool) -> Result<Envelope, Refusal> {
    let mut tracker = Tracker::new(kind, pointers);
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let from_body = |at: usize| at.saturating_add(body.len().saturating_sub(text.len()));
    match scan(text, &mut tracker, skims) {
        Ok(()) => tracker.finish().map_err(|(fault, at)| Refusal::InvalidEnvelope { fault, at_byte: from_body(at) }),
        Err((fault, at)) => Err(Refusal::InvalidJson { fault, at_byte: from_body(at) }),
    }
}

/// The grammar: a loop in which each turn reads the beginning of a value, and then whatever ends values.
///
/// Containers in which the tracker looks for nothing are passed over ([`skim`]) while `skims`.
fn scan(body: &[u8], tracker: &mut Tracker<'_>, mut skims: bool) -> Result<(), Fault> {
    let mut reader = Reader::of_text(body)?;
    let mut nesting = Nesting::default();
    loop {
        let start = reader.at();
        match reader.next() {
            Some(b'{') => {
                nesting.open(true).ok_or((JsonFault::TooDeep, start))?;
                tracker.value(nesting.outer(), Kind::Object, start);
                reader.skip_whitespace();
                if !reader.take(b'}') && !passed_over(&mut reader, tracker, nesting, &mut skims) {
                    name(&mut reader, tracker, nesting.depth)?;
                    continue;
                }
                nesting.close();
            }
            Some(b'[') => {
                nesting.open(false).ok_or((JsonFault::TooDeep, start))?;
                tracker.value(nesting.outer(), Kind::Array, start);
                reader.skip_whitespace();
                if !reader.take(b']') && !passed_over(&mut reader, tracker, nesting, &mut skims) {
                    tracker.element(nesting.depth);
                    continue;
                }
                tracker.close_array(nesting.depth);
                nesting.close();
            }
            Some(b'"') => {
                tracker.value(nesting.depth, Kind::String, start);
                let text = reader.string()?;
                tracker.string(nesting.depth, text);
            }
            Some(first @ (b'-' | b'0'..=b'9')) => {
                tracker.value(nesting.depth, Kind::Number, start);
                reader.number(first)?;
                tracker.number(nesting.depth, reader.since(start));
            }
            Some(first @ (b't' | b'f' | b'n')) => {
                tracker.value(nesting.depth, Kind::Literal, start);
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
            match nesting.innermost() {
                None if at == body.len() => return Ok(()),
                None => return Err((JsonFault::Trailing, at)),
                Some(true) => match reader.next() {
                    Some(b',') => {
                        reader.skip_whitespace();
                        name(&mut reader, tracker, nesting.depth)?;
                        break;
                    }
                    Some(b'}') => nesting.close(),
                    Some(_) => return Err((JsonFault::ObjectEnd, at)),
                    None => return Err((JsonFault::Truncated, at)),
                },
                Some(false) => match reader.next() {
                    Some(b',') => {
                        reader.skip_whitespace();
                        tracker.element(nesting.depth);
                        break;
                    }
                    Some(b']') => {
                        tracker.close_array(nesting.depth);
                        nesting.close();
                    }
                    Some(_) => return Err((JsonFault::ArrayEnd, at)),
                    None => return Err((JsonFault::Truncated, at)),
                },
            }
        }
    }
}

/// Passes over the innermost container if nothing is looked for in it and it has no fault. Where it has one, `skims` is
/// cleared: the fault ends the scan, and nothing is tried twice on the way to it.
fn passed_over(reader: &mut Reader<'_>, tracker: &mut Tracker<'_>, nesting: Nesting, skims: &mut bool) -> bool {
    if !*skims || tracker.looks_into(nesting.depth) {
        return false;
    }
    let Some(skimmed) = skim::skim(reader.rest(), nesting) else {
        *skims = false;
        return false;
    };
    reader.pass(skimmed.length);
    tracker.passed_elements(nesting.depth, skimmed.commas.saturating_add(1));
    true
}

/// A member's name and the colon, up to its value.
fn name(reader: &mut Reader<'_>, tracker: &mut Tracker<'_>, depth: u32) -> Result<(), Fault> {
    let start = reader.at();
    match reader.next() {
        Some(b'"') => {}
        Some(_) => return Err((JsonFault::Name, start)),
        None => return Err((JsonFault::Truncated, start)),
    }
    let text = reader.string()?;
    tracker.name(depth, text, start);
    reader.skip_whitespace();
    if !reader.take(b':') {
        let fault = if reader.is_at_end() { JsonFault::Truncated } else { JsonFault::Colon };
        return Err((fault, reader.at()));
    }
    reader.skip_whitespace();
    Ok(())
}

/// The open containers: a bit each, set for objects, the innermost lowest.
#[derive(Clone, Copy, Default)]
struct Nesting {
    objects: u128,
    depth: u32,
}

impl Nesting {
    fn open(&mut self, object: bool) -> Option<()> {
        if self.depth >= MAX_NESTING {
            return None;
        }
        self.objects = self.objects << 1 | u128::from(object);
        self.depth = self.depth.saturating_add(1);
        Some(())
    }

    fn close(&mut self) {
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether the innermost container is an object; `None` outside of all.
    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.objects & 1 == 1)
    }

    /// The depth at which the innermost container itself stands.
    fn outer(&self) -> u32 {
        self.depth.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests;
