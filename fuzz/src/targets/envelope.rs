//! The envelope scanner against `serde_json`: the same texts are accepted, and the same values are found in them.
//!
//! Input: JSON pointers in the first line, separated by spaces; the body is the rest. Deliberate differences, as the
//! scanner documents them: nesting is limited to 128 levels; numbers of any size and lone surrogates are accepted, which
//! `serde_json` accepts only where it does not read them, so values are not compared there.

use crate::split_once;
use genesys_webhook::envelope::{Envelope, EnvelopeKind, MAX_NESTING, inspect};
use genesys_webhook::pointer::{JsonPointer, MAX_POINTER_TOKENS};
use genesys_webhook::refusal::{EnvelopeFault, JsonFault, Refusal};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Judges one input; `false` where it says nothing.
pub fn run(input: &[u8]) -> bool {
    let (line, body) = split_once(input, b"\n");
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let texts: Vec<&str> = line.split(' ').filter(|text| !text.is_empty()).take(4).collect();
    let pointers: Vec<(&str, JsonPointer)> =
        texts.iter().filter_map(|text| Some((*text, JsonPointer::parse(text).ok()?))).collect();
    let parsed: Vec<JsonPointer> = pointers.iter().map(|(_, pointer)| pointer.clone()).collect();
    let steps: Vec<Vec<String>> = pointers.iter().map(|(text, _)| steps(text)).collect();
    let any = inspect(body, EnvelopeKind::Any, &parsed).expect("any bytes are taken");
    assert_eq!((any.event_count, any.captures.len()), (1, parsed.len()));
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let tree = tree(text);
    for kind in [EnvelopeKind::Events, EnvelopeKind::Object] {
        let verdict = inspect(body, kind, &parsed);
        same_texts(text, body.len(), &verdict);
        if let Some(tree) = &tree
            && is_json(&verdict)
        {
            same_values(tree, kind, &steps, &verdict);
        }
    }
    true
}

fn is_json(verdict: &Result<Envelope, Refusal>) -> bool {
    !matches!(verdict, Err(Refusal::InvalidJson { .. }))
}

/// `body`: what is behind a byte order mark, of so many bytes in all.
fn same_texts(body: &[u8], all_bytes: usize, verdict: &Result<Envelope, Refusal>) {
    if let Err(Refusal::InvalidJson { at_byte, .. } | Refusal::InvalidEnvelope { at_byte, .. }) = verdict {
        assert!(*at_byte <= all_bytes, "byte {at_byte} of {all_bytes}");
    }
    let depth = depth(body);
    if let Err(Refusal::InvalidJson { fault: JsonFault::TooDeep { .. }, .. }) = verdict {
        assert!(depth > MAX_NESTING, "{depth} levels are too deep");
        return;
    }
    // Just below the limit the unit tests judge: the count here is a rough one where the text is no JSON.
    if depth + 2 < MAX_NESTING {
        let elsewhere = std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
        assert_eq!(is_json(verdict), elsewhere, "{:?}", String::from_utf8_lossy(body));
    }
}

/// Most brackets open at once before the text is no longer one.
fn depth(body: &[u8]) -> u32 {
    let (mut depth, mut most, mut in_string, mut escaped) = (0u32, 0u32, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

fn same_values(tree: &Tree, kind: EnvelopeKind, pointers: &[Vec<String>], verdict: &Result<Envelope, Refusal>) {
    let Tree::Object(members) = tree else {
        let fault = matches!(verdict, Err(Refusal::InvalidEnvelope { fault: EnvelopeFault::NotAnObject, .. }));
        assert!(fault, "no object, and {verdict:?}");
        return;
    };
    let events: Vec<&Tree> = members.iter().filter(|(name, _)| name == "events").map(|(_, value)| value).collect();
    let count = match (kind, events.as_slice()) {
        (EnvelopeKind::Object | EnvelopeKind::Any, _) => Some(1),
        (EnvelopeKind::Events, [Tree::Array(events)]) => Some(events.len() as u64),
        (EnvelopeKind::Events, _) => None,
    };
    let captures: Option<Vec<Option<&Tree>>> = pointers.iter().map(|steps| find(tree, steps)).collect();
    match (count, captures, verdict) {
        (Some(count), Some(captures), Ok(envelope)) => {
            assert_eq!(envelope.event_count, count);
            assert_eq!(envelope.captures.len(), captures.len());
            for (found, expected) in envelope.captures.iter().zip(captures) {
                match (found, expected) {
                    (Some(found), Some(Tree::String(text))) => assert_eq!(found, text),
                    (Some(found), Some(Tree::Number(number))) => {
                        let again: serde_json::Number = found.parse().expect("a number");
                        assert_eq!(again, *number);
                    }
                    (None, None | Some(Tree::Other | Tree::Array(_) | Tree::Object(_))) => {}
                    different => panic!("{different:?}"),
                }
            }
        }
        (None, _, Err(_)) | (_, None, Err(_)) => {}
        (count, captures, verdict) => panic!("{count:?} {captures:?}, and {verdict:?}"),
    }
}

/// The value that steps lead to; the outer `None` where a name on the way is there twice.
#[allow(clippy::option_option)]
fn find<'t>(tree: &'t Tree, steps: &[String]) -> Option<Option<&'t Tree>> {
    let Some((step, rest)) = steps.split_first() else { return Some(Some(tree)) };
    match tree {
        Tree::Object(members) => {
            let mut named = members.iter().filter(|(name, _)| name == step);
            match (named.next(), named.next()) {
                (Some(_), Some(_)) => None,
                (Some((_, value)), None) => find(value, rest),
                (None, _) => Some(None),
            }
        }
        Tree::Array(elements) => {
            let is_index = step == "0" || (step.bytes().all(|b| b.is_ascii_digit()) && !step.starts_with('0'));
            let index = step.parse::<usize>().ok().filter(|_| is_index);
            match index.and_then(|index| elements.get(index)) {
                Some(value) => find(value, rest),
                None => Some(None),
            }
        }
        _ => Some(None),
    }
}

/// RFC 6901, section 4.
fn steps(pointer: &str) -> Vec<String> {
    let steps: Vec<String> =
        pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    assert!(steps.len() <= MAX_POINTER_TOKENS);
    steps
}

/// A value with duplicate members kept.
#[derive(Debug)]
enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    String(String),
    Number(serde_json::Number),
    Other,
}

/// `None` where the text is not JSON, or has what `serde_json` cannot hold.
fn tree(body: &[u8]) -> Option<Tree> {
    serde_json::from_slice(body).ok()
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(serde_json::Number::from_f64(number).map_or(Tree::Other, Tree::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Tree::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Object(members))
    }
}
