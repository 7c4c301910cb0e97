//! The same body before something changed it: what may have been signed instead of the bytes that arrived.
//!
//! Promise: each transformation returns nothing where it changes nothing. Out of scope: which of them is right.

use super::explanation::{FindingCode, Mistake};
use super::rewrite::{self, Escapes, JsonStyle};

/// A transformation of the bytes that arrived into those that may have been signed.
pub(super) struct Transformation {
    pub(super) mistake: Mistake,
    /// What it costs for a byte of the body, in bytes that are hashed.
    pub(super) cost: usize,
    pub(super) apply: fn(&[u8]) -> Option<Vec<u8>>,
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The smallest change first: a body without its line end is also a rewritten one, and the line end is the explanation.
pub(super) const TRANSFORMATIONS: &[Transformation] = &[
    bytes(FindingCode::LineEndRemoved, "over a body that ended in a line feed, which was removed on the way", |body| {
        (!body.ends_with(b"\n")).then(|| [body, b"\n"].concat())
    }),
    bytes(
        FindingCode::LineEndRemoved,
        "over a body with CR and LF at its end, which were removed on the way",
        |body| (!body.ends_with(b"\n")).then(|| [body, b"\r\n"].concat()),
    ),
    bytes(FindingCode::LineEndAdded, "over the body without the line end that it has now", |body| {
        let body = body.strip_suffix(b"\n")?;
        Some(body.strip_suffix(b"\r").unwrap_or(body).to_vec())
    }),
    bytes(FindingCode::ByteOrderMark, "over the body without the byte order mark that it has now", |body| {
        body.strip_prefix(BOM).map(<[u8]>::to_vec)
    }),
    bytes(FindingCode::ByteOrderMark, "over a body with a byte order mark, which was removed on the way", |body| {
        (!body.starts_with(BOM)).then(|| [BOM, body].concat())
    }),
    bytes(FindingCode::LineEndsChanged, "over a body with LF line ends, which were changed to CR and LF", |body| {
        changed(body, without_carriage_returns(body))
    }),
    bytes(FindingCode::LineEndsChanged, "over a body with CR and LF line ends, which were changed to LF", |body| {
        let bare = without_carriage_returns(body);
        let line = |byte: &u8| if *byte == b'\n' { b"\r\n".to_vec() } else { vec![*byte] };
        changed(body, bare.iter().flat_map(line).collect())
    }),
    bytes(FindingCode::WhitespaceTrimmed, "over the body without the whitespace around it", |body| {
        changed(body, body.trim_ascii().to_vec())
    }),
    json("over the JSON written anew without spaces (JSON.stringify): sign the bytes that are sent", |body| {
        rewrite::rewrite(body, JsonStyle::COMPACT)
    }),
    json("over the JSON with its whitespace removed: sign the bytes that are sent", |body| {
        rewrite::rewrite(body, JsonStyle { escapes: Escapes::AsTheyAre, numbers_anew: false, ..JsonStyle::COMPACT })
    }),
    json(
        "over the JSON written anew with spaces and escapes (Python's json.dumps): sign the bytes that are sent",
        |body| rewrite::rewrite(body, JsonStyle { escapes: Escapes::Ascii, ..JsonStyle::SPACED }),
    ),
    json("over the JSON written anew with spaces: sign the bytes that are sent", |body| {
        rewrite::rewrite(body, JsonStyle::SPACED)
    }),
    json("over the JSON written anew without spaces and with escapes: sign the bytes that are sent", |body| {
        rewrite::rewrite(body, JsonStyle { escapes: Escapes::Ascii, numbers_anew: false, ..JsonStyle::COMPACT })
    }),
    json("over the JSON written anew with line breaks (indented by 2): sign the bytes that are sent", |body| {
        rewrite::rewrite(body, JsonStyle { indent: 2, colon: ": ", ..JsonStyle::COMPACT })
    }),
    json("over the JSON written anew with its members sorted: sign the bytes that are sent", rewrite::sorted),
    bytes(
        FindingCode::EmptyBodySigned,
        "over an empty body: the sender signs before it has written the body",
        |body| (!body.is_empty()).then(Vec::new),
    ),
];

const fn bytes(code: FindingCode, detail: &'static str, apply: fn(&[u8]) -> Option<Vec<u8>>) -> Transformation {
    Transformation { mistake: (code, detail), cost: 1, apply }
}

/// Reading and writing JSON takes several times as long as hashing it.
const fn json(detail: &'static str, apply: fn(&[u8]) -> Option<Vec<u8>>) -> Transformation {
    Transformation { mistake: (FindingCode::JsonRewritten, detail), cost: 4, apply }
}

fn changed(from: &[u8], to: Vec<u8>) -> Option<Vec<u8>> {
    (from != to.as_slice()).then_some(to)
}

fn without_carriage_returns(body: &[u8]) -> Vec<u8> {
    let next = body.iter().skip(1).map(Some).chain([None]);
    let kept = body.iter().zip(next).filter(|(byte, next)| **byte != b'\r' || *next != Some(&b'\n'));
    kept.map(|(byte, _)| *byte).collect()
}
