//! Follows the way to `events` and to the parts of the idempotency key while [`super::scan`] reads.
//!
//! Promise: the first fault of the envelope is remembered, and told by [`Tracker::finish`] when the text turned out to be
//! JSON. Out of scope: the grammar.
//!
//! Depths: the whole text stands at depth 0, members and elements of the outermost container at depth 1, and so on. A
//! path has followed `matched` steps when the value that is being read, or a container around it, stands at depth
//! `matched` and was reached by the first `matched` tokens of its path.

use super::reader::Text;
use crate::pointer::{JsonPointer, MAX_POINTER_TOKENS, ReferenceToken};
use crate::refusal::EnvelopeFault;

/// The member that holds the events of an [`EnvelopeKind::Events`].
static EVENTS: [ReferenceToken; 1] = [ReferenceToken::of_key("events")];

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum EnvelopeKind {
    /// An object with one array `events`; each element is an event.
    Events,
    /// One object, which is one event.
    Object,
    /// Any bytes, JSON or not, which are one event.
    Any,
}

impl EnvelopeKind {
    pub const ALL: [Self; 3] = [Self::Events, Self::Object, Self::Any];

    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    pub event_count: u64,
    /// For each pointer that was asked for: the string (unescaped, unless it has a lone surrogate) or the number
    /// (as written) that it names; `None` where it names nothing or something else.
    pub captures: Vec<Option<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Object,
    Array,
    String,
    Number,
    Literal,
}

pub(super) struct Tracker<'p> {
    kind: EnvelopeKind,
    paths: Vec<TrackedPath<'p>>,
    /// One more than the most steps that any path has followed: names and elements below this depth do not matter.
    reach: u32,
    /// Elements begun so far in the array at each depth, as far as paths reach.
    elements: [u64; MAX_POINTER_TOKENS],
    event_count: Option<u64>,
    fault: Option<(EnvelopeFault, usize)>,
    end: usize,
}

struct TrackedPath<'p> {
    steps: &'p [ReferenceToken],
    matched: u32,
    /// Bit `n`: the step from depth `n` was taken. Never cleared: the container on the way is the only one of its depth.
    seen: u32,
    role: PathRole,
}

enum PathRole {
    Events,
    Capture(Option<String>),
}

impl<'p> Tracker<'p> {
    pub(super) fn new(kind: EnvelopeKind, pointers: &'p [JsonPointer]) -> Self {
        let tracked = |steps, role| TrackedPath { steps, matched: 0, seen: 0, role };
        let events = (kind == EnvelopeKind::Events).then(|| tracked(EVENTS.as_slice(), PathRole::Events));
        let captures = pointers.iter().map(|pointer| tracked(pointer.tokens(), PathRole::Capture(None)));
        Self {
            kind,
            paths: events.into_iter().chain(captures).collect(),
            reach: 1,
            elements: [0; MAX_POINTER_TOKENS],
            event_count: None,
            fault: None,
            end: 0,
        }
    }

    pub(super) fn value(&mut self, depth: u32, kind: ValueKind, at: usize) {
        if depth >= self.reach {
            return;
        }
        if depth == 0 && kind != ValueKind::Object {
            self.fault(EnvelopeFault::NotAnObject, at);
        }
        if kind == ValueKind::Array {
            self.set_elements(depth, 0);
        } else if self.paths.iter().any(|path| path.is_events_at(depth)) {
            self.fault(EnvelopeFault::EventsNotAnArray, at);
        }
    }

    /// Whether something is looked for in the container that has just been opened, whose members or elements stand at
    /// `depth`. How many elements it has is counted in either case.
    #[inline]
    pub(super) fn looks_into(&self, depth: u32) -> bool {
        depth <= self.reach && self.paths.iter().any(|path| path.leads_into(depth))
    }

    /// The array whose elements stand at `depth` was passed over.
    pub(super) fn passed_elements(&mut self, depth: u32, elements: u64) {
        self.set_elements(depth.saturating_sub(1), elements);
    }

    /// A member's name was read in a container whose members stand at `depth`.
    pub(super) fn name(&mut self, depth: u32, text: Text<'_>, at: usize) {
        if depth <= self.reach {
            let unescaped = text.has_escapes.then(|| unescape(text.raw));
            let name = unescaped.as_ref().map_or(text.raw, String::as_bytes);
            self.step(depth, Some(at), |token| token.key.as_bytes() == name);
        }
    }

    /// An element begins in an array whose elements stand at `depth`.
    pub(super) fn element(&mut self, depth: u32) {
        let array_depth = depth.saturating_sub(1);
        if depth <= self.reach
            && let Some(index) = self.elements(array_depth)
        {
            self.set_elements(array_depth, index.saturating_add(1));
            self.step(depth, None, |token| token.index == Some(index));
        }
    }

    fn step(&mut self, depth: u32, name_at: Option<usize>, is_next: impl Fn(&ReferenceToken) -> bool) {
        let mut fault = None;
        for path in &mut self.paths {
            let from = depth.saturating_sub(1);
            let Some(token) = path.steps.get(from as usize) else { continue };
            if path.matched != from || !is_next(token) {
                continue;
            }
            let bit = 1u32.checked_shl(from).unwrap_or(0);
            if let Some(at) = name_at
                && path.seen & bit != 0
            {
                fault = Some((EnvelopeFault::Duplicate(token.key.to_string()), at));
            }
            path.seen |= bit;
            path.matched = depth;
            self.reach = self.reach.max(depth.saturating_add(1));
        }
        if let Some((fault, at)) = fault {
            self.fault(fault, at);
        }
    }

    /// A string or a number was read as a value at `depth`.
    pub(super) fn scalar(&mut self, depth: u32, text: Text<'_>) {
        for path in &mut self.paths {
            if path.is_at(depth)
                && let PathRole::Capture(value) = &mut path.role
            {
                let as_written = || String::from_utf8_lossy(text.raw).into_owned();
                *value = Some(if text.has_escapes { unescape(text.raw) } else { as_written() });
            }
        }
    }

    /// The container whose members or elements stand at `depth` closes.
    pub(super) fn close(&mut self, depth: u32) {
        let array_depth = depth.saturating_sub(1);
        if self.paths.iter().any(|path| path.is_events_at(array_depth)) {
            self.event_count = self.elements(array_depth);
        }
    }

    /// A value at `depth` has ended before byte `at`.
    pub(super) fn end(&mut self, depth: u32, at: usize) {
        if depth >= self.reach {
            return;
        }
        self.end = at;
        let before = depth.saturating_sub(1);
        for path in &mut self.paths {
            path.matched = path.matched.min(before);
        }
        self.reach = self.paths.iter().map(|path| path.matched).max().unwrap_or(0).saturating_add(1);
    }

    /// The verdict over a text that is JSON.
    pub(super) fn finish(self) -> Result<Envelope, (EnvelopeFault, usize)> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let event_count = match (self.kind, self.event_count) {
            (EnvelopeKind::Object | EnvelopeKind::Any, _) => 1,
            (EnvelopeKind::Events, Some(count)) => count,
            (EnvelopeKind::Events, None) => return Err((EnvelopeFault::NoEvents, self.end.saturating_sub(1))),
        };
        let captures = self.paths.into_iter().filter_map(|path| match path.role {
            PathRole::Events => None,
            PathRole::Capture(value) => Some(value),
        });
        Ok(Envelope { event_count, captures: captures.collect() })
    }

    fn fault(&mut self, fault: EnvelopeFault, at: usize) {
        self.fault.get_or_insert((fault, at));
    }

    fn elements(&self, array_depth: u32) -> Option<u64> {
        self.elements.get(array_depth as usize).copied()
    }

    fn set_elements(&mut self, array_depth: u32, elements: u64) {
        if let Some(count) = self.elements.get_mut(array_depth as usize) {
            *count = elements;
        }
    }
}

impl TrackedPath<'_> {
    /// Whether the value at `depth` is the one that the path names.
    fn is_at(&self, depth: u32) -> bool {
        self.matched == depth && self.steps.len() == depth as usize
    }

    fn is_events_at(&self, depth: u32) -> bool {
        matches!(self.role, PathRole::Events) && self.is_at(depth)
    }

    /// Whether the path goes on in the container whose members or elements stand at `depth`.
    fn leads_into(&self, depth: u32) -> bool {
        self.matched == depth.saturating_sub(1) && self.steps.len() >= depth as usize
    }
}

/// The text of a valid string. One with a lone surrogate has none: it stays as it is written, so that two of them stay
/// two.
fn unescape(raw: &[u8]) -> String {
    let literal = [b"\"", raw, b"\""].concat();
    serde_json::from_slice(&literal).unwrap_or_else(|_| String::from_utf8_lossy(raw).into_owned())
}
