//! The same body, before something changed it: what may have been signed instead of the bytes that arrived.
//!
//! Promises: each transformation returns nothing where it changes nothing.

use super::rewrite::{self, Escapes, Style};
use super::{FindingCode, Hypothesis};

/// A transformation of the bytes that arrived into those that may have been signed.
pub(super) type Transformation = fn(&[u8]) -> Option<Vec<u8>>;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The smallest change first: a body without its line end is also a rewritten one, and the line end is the explanation.
pub(super) const TRANSFORMATIONS: &[(Hypothesis, Transformation)] = &[
    ((FindingCode::LineEndRemoved, "over a body that ended in a line feed, which was removed on the way"), |body| {
        (!body.ends_with(b"\n")).then(|| [body, b"\n"].concat())
    }),
    (
        (
            FindingCode::LineEndRemoved,
            "over a body that ended in a carriage return and a line feed, which were removed on the way",
        ),
        |body| (!body.ends_with(b"\n")).then(|| [body, b"\r\n"].concat()),
    ),
    ((FindingCode::LineEndAdded, "over the body without the line end that it has now"), |body| {
        let body = body.strip_suffix(b"\n")?;
        Some(body.strip_suffix(b"\r").unwrap_or(body).to_vec())
    }),
    ((FindingCode::ByteOrderMark, "over the body without the byte order mark that it has now"), |body| {
        body.strip_prefix(BOM).map(<[u8]>::to_vec)
    }),
    ((FindingCode::ByteOrderMark, "over a body with a byte order mark, which was removed on the way"), |body| {
        (!body.starts_with(BOM)).then(|| [BOM, body].concat())
    }),
    (
        (
            FindingCode::LineEndsChanged,
            "over a body with line feeds, which were changed to carriage return and line feed",
        ),
        |body| changed(body, without_carriage_returns(body)),
    ),
    (
        (
            FindingCode::LineEndsChanged,
            "over a body with carriage return and line feed, which were changed to line feeds",
        ),
        |body| {
            let bare = without_carriage_returns(body);
            let both = bare
                .iter()
                .flat_map(|byte| if *byte == b'\n' { b"\r\n".as_slice() } else { core::slice::from_ref(byte) });
            changed(body, both.copied().collect())
        },
    ),
    ((FindingCode::WhitespaceTrimmed, "over the body without the whitespace around it"), |body| {
        changed(body, body.trim_ascii().to_vec())
    }),
    (
        (
            FindingCode::JsonRewritten,
            "over the JSON written anew without spaces (JSON.stringify): sign the bytes that are sent",
        ),
        |body| rewrite::rewrite(body, Style::COMPACT),
    ),
    ((FindingCode::JsonRewritten, "over the JSON with its whitespace removed: sign the bytes that are sent"), |body| {
        rewrite::rewrite(body, Style { escapes: Escapes::AsTheyAre, numbers_anew: false, ..Style::COMPACT })
    }),
    (
        (
            FindingCode::JsonRewritten,
            "over the JSON written anew with spaces and escapes (Python's json.dumps): sign the bytes that are sent",
        ),
        |body| rewrite::rewrite(body, Style { escapes: Escapes::Ascii, ..Style::SPACED }),
    ),
    ((FindingCode::JsonRewritten, "over the JSON written anew with spaces: sign the bytes that are sent"), |body| {
        rewrite::rewrite(body, Style::SPACED)
    }),
    (
        (
            FindingCode::JsonRewritten,
            "over the JSON written anew without spaces and with escapes for all that is not ASCII: sign the bytes that are sent",
        ),
        |body| rewrite::rewrite(body, Style { escapes: Escapes::Ascii, numbers_anew: false, ..Style::COMPACT }),
    ),
    (
        (
            FindingCode::JsonRewritten,
            "over the JSON written anew with line breaks (indented by 2): sign the bytes that are sent",
        ),
        |body| rewrite::rewrite(body, Style { indent: 2, colon: ": ", ..Style::COMPACT }),
    ),
    (
        (
            FindingCode::JsonRewritten,
            "over the JSON written anew with its members sorted: sign the bytes that are sent",
        ),
        rewrite::sorted,
    ),
    ((FindingCode::EmptyBodySigned, "over an empty body: the sender signs before it has written the body"), |body| {
        (!body.is_empty()).then(Vec::new)
    }),
];

fn changed(from: &[u8], to: Vec<u8>) -> Option<Vec<u8>> {
    (from != to.as_slice()).then_some(to)
}

fn without_carriage_returns(body: &[u8]) -> Vec<u8> {
    let next = body.iter().skip(1).map(Some).chain([None]);
    body.iter()
        .zip(next)
        .filter(|(byte, next)| !(**byte == b'\r' && *next == Some(&b'\n')))
        .map(|(byte, _)| *byte)
        .collect()
}
