//! Follows the way to `events` and to the parts of the idempotency key while [`super::scan`] reads.
//!
//! Promises: below the deepest container that lies on such a way a value costs one comparison of depths. The first
//! fault of the envelope is remembered, and told by [`Tracker::finish`] when the text turned out to be JSON.
//!
//! Depths: the whole text stands at depth 0, members and elements of the outermost container at depth 1, and so on. A
//! target has followed `matched` steps when the value that is being read, or a container around it, stands at depth
//! `matched` and was reached by the first `matched` tokens of its path.

use super::reader::Text;
use crate::pointer::{JsonPointer, MAX_POINTER_TOKENS, Token};
use crate::refusal::EnvelopeFault;

/// The member that holds the events of an [`EnvelopeKind::Events`].
static EVENTS: [Token; 1] = [Token::of_key("events")];

/// What a body has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeKind {
    /// An object with one array `events`; each element is an event.
    Events,
    /// One object, which is one event.
    Object,
    /// Any bytes, JSON or not, which are one event.
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
    /// For each pointer that was asked for: the string (unescaped, unless it has a lone surrogate) or the number
    /// (as written) that it names; `None` where it names nothing or something else.
    pub captures: Vec<Option<String>>,
}

/// What a value begins with.
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
    targets: Vec<Target<'p>>,
    /// One more than the most steps that any target has followed: names and elements below this depth do not matter.
    reach: u32,
    /// Elements begun so far in the array at each depth, as far as targets reach.
    elements: [u64; MAX_POINTER_TOKENS],
    event_count: Option<u64>,
    fault: Option<(EnvelopeFault, usize)>,
    end: usize,
}

struct Target<'p> {
    path: &'p [Token],
    matched: u32,
    /// Bit `n`: the step from depth `n` was taken. Never cleared: the container on the way is the only one of its depth.
    seen: u32,
    role: Role,
}

enum Role {
    Events,
    Capture(Option<String>),
}

impl<'p> Tracker<'p> {
    pub(super) fn new(kind: EnvelopeKind, pointers: &'p [JsonPointer]) -> Self {
        let target = |path, role| Target { path, matched: 0, seen: 0, role };
        let events = (kind == EnvelopeKind::Events).then(|| target(EVENTS.as_slice(), Role::Events));
        let captures = pointers.iter().map(|pointer| target(pointer.tokens(), Role::Capture(None)));
        Self {
            kind,
            targets: events.into_iter().chain(captures).collect(),
            reach: 1,
            elements: [0; MAX_POINTER_TOKENS],
            event_count: None,
            fault: None,
            end: 0,
        }
    }

    /// A value begins at `depth`.
    #[inline]
    pub(super) fn value(&mut self, depth: u32, kind: ValueKind, at: usize) {
        if depth < self.reach {
            self.value_on_the_way(depth, kind, at);
        }
    }

    #[cold]
    fn value_on_the_way(&mut self, depth: u32, kind: ValueKind, at: usize) {
        if depth == 0 && kind != ValueKind::Object {
            self.fault(EnvelopeFault::NotAnObject, at);
        }
        if kind == ValueKind::Array
            && let Some(count) = self.count_mut(depth)
        {
            *count = 0;
        }
        let is_events = |target: &Target<'_>| matches!(target.role, Role::Events) && target.is_at(depth);
        if kind != ValueKind::Array && self.targets.iter().any(is_events) {
            self.fault(EnvelopeFault::EventsNotAnArray, at);
        }
    }

    /// Whether something is looked for in the container that has just been opened, whose members or elements stand at
    /// `depth`. How many elements it has is counted in either case.
    #[inline]
    pub(super) fn looks_into(&self, depth: u32) -> bool {
        depth <= self.reach && self.targets.iter().any(|target| target.leads_into(depth))
    }

    /// The array whose elements stand at `depth` was passed over.
    pub(super) fn passed_elements(&mut self, depth: u32, elements: u64) {
        if let Some(count) = self.count_mut(depth.saturating_sub(1)) {
            *count = elements;
        }
    }

    /// A member's name was read in a container whose members stand at `depth`.
    #[inline]
    pub(super) fn name(&mut self, depth: u32, text: Text<'_>, at: usize) {
        if depth <= self.reach {
            self.name_on_the_way(depth, text, at);
        }
    }

    #[cold]
    fn name_on_the_way(&mut self, depth: u32, text: Text<'_>, at: usize) {
        let unescaped;
        let name = if text.has_escapes {
            unescaped = unescape(text.raw);
            unescaped.as_bytes()
        } else {
            text.raw
        };
        self.step(depth, Some(at), |token| token.key.as_bytes() == name);
    }

    /// An element begins in an array whose elements stand at `depth`.
    #[inline]
    pub(super) fn element(&mut self, depth: u32) {
        if depth <= self.reach {
            self.element_on_the_way(depth);
        }
    }

    #[cold]
    fn element_on_the_way(&mut self, depth: u32) {
        if let Some(count) = self.count_mut(depth.saturating_sub(1)) {
            let index = *count;
            *count = index.saturating_add(1);
            self.step(depth, None, |token| token.index == Some(index));
        }
    }

    fn step(&mut self, depth: u32, name_at: Option<usize>, is_next: impl Fn(&Token) -> bool) {
        let mut fault = None;
        for target in &mut self.targets {
            let from = depth.saturating_sub(1);
            let Some(token) = target.path.get(from as usize) else { continue };
            if target.matched != from || !is_next(token) {
                continue;
            }
            let bit = 1u32.checked_shl(from).unwrap_or(0);
            if let Some(at) = name_at
                && target.seen & bit != 0
            {
                fault = Some((EnvelopeFault::Duplicate(token.key.to_string()), at));
            }
            target.seen |= bit;
            target.matched = depth;
            self.reach = self.reach.max(depth.saturating_add(1));
        }
        if let Some((fault, at)) = fault {
            self.fault(fault, at);
        }
    }

    /// A string was read as a value at `depth`.
    #[inline]
    pub(super) fn string(&mut self, depth: u32, text: Text<'_>) {
        if depth < self.reach {
            self.capture(depth, text.raw, text.has_escapes);
        }
    }

    /// A number was read as a value at `depth`.
    #[inline]
    pub(super) fn number(&mut self, depth: u32, digits: &[u8]) {
        if depth < self.reach {
            self.capture(depth, digits, false);
        }
    }

    #[cold]
    fn capture(&mut self, depth: u32, raw: &[u8], has_escapes: bool) {
        for target in &mut self.targets {
            if target.is_at(depth)
                && let Role::Capture(value) = &mut target.role
            {
                *value = Some(if has_escapes { unescape(raw) } else { String::from_utf8_lossy(raw).into_owned() });
            }
        }
    }

    /// The array whose elements stand at `depth` closes.
    pub(super) fn close_array(&mut self, depth: u32) {
        let outer = depth.saturating_sub(1);
        if outer >= self.reach || !self.targets.iter().any(|t| matches!(t.role, Role::Events) && t.is_at(outer)) {
            return;
        }
        self.event_count = self.count_mut(outer).map(|count| *count);
    }

    /// A value at `depth` has ended before byte `at`.
    #[inline]
    pub(super) fn end(&mut self, depth: u32, at: usize) {
        if depth < self.reach {
            self.end_on_the_way(depth, at);
        }
    }

    #[cold]
    fn end_on_the_way(&mut self, depth: u32, at: usize) {
        self.end = at;
        let before = depth.saturating_sub(1);
        for target in &mut self.targets {
            target.matched = target.matched.min(before);
        }
        self.reach = self.targets.iter().map(|target| target.matched).max().unwrap_or(0).saturating_add(1);
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
        let captures = self.targets.into_iter().filter_map(|target| match target.role {
            Role::Events => None,
            Role::Capture(value) => Some(value),
        });
        Ok(Envelope { event_count, captures: captures.collect() })
    }

    fn fault(&mut self, fault: EnvelopeFault, at: usize) {
        self.fault.get_or_insert((fault, at));
    }

    fn count_mut(&mut self, array_depth: u32) -> Option<&mut u64> {
        self.elements.get_mut(array_depth as usize)
    }
}

impl Target<'_> {
    /// Whether the value at `depth` is the one that the path names.
    fn is_at(&self, depth: u32) -> bool {
        self.matched == depth && self.path.len() == depth as usize
    }

    /// Whether the path goes on in the container whose members or elements stand at `depth`.
    fn leads_into(&self, depth: u32) -> bool {
        self.matched == depth.saturating_sub(1) && self.path.len() >= depth as usize
    }
}

/// The text of a valid string. One with a lone surrogate has none: it stays as it is written, so that two of them stay
/// two.
fn unescape(raw: &[u8]) -> String {
    let literal = [b"\"", raw, b"\""].concat();
    serde_json::from_slice(&literal).unwrap_or_else(|_| String::from_utf8_lossy(raw).into_owned())
}
