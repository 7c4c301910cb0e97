//! JSON written anew, as the usual libraries would.
//!
//! Promises:
//! - Members keep their order, except under [`sorted`].
//! - There is no recursion over the input's nesting beyond [`crate::envelope::MAX_NESTING`].
//! - What is not JSON, or would not change, gives nothing.

use core::fmt::Write as _;

use crate::envelope::{self, EnvelopeKind};
use crate::refusal::Refusal;

#[derive(Clone, Copy)]
pub(super) struct JsonStyle {
    pub(super) comma: &'static str,
    pub(super) colon: &'static str,
    /// Spaces a level, on lines of their own; 0 for one line.
    pub(super) indent: usize,
    pub(super) escapes: Escapes,
    /// Whether numbers are read and written as JavaScript does: `1.0` becomes `1`.
    pub(super) numbers_anew: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    AsTheyAre,
    /// Only what must be.
    Least,
    /// All that is not ASCII too.
    Ascii,
}

impl JsonStyle {
    /// JavaScript's `JSON.stringify`.
    pub(super) const COMPACT: Self =
        Self { comma: ",", colon: ":", indent: 0, escapes: Escapes::Least, numbers_anew: true };
    /// Python's `json.dumps(…, ensure_ascii=False)`.
    pub(super) const SPACED: Self =
        Self { comma: ", ", colon: ": ", indent: 0, escapes: Escapes::Least, numbers_anew: false };
}

pub(super) fn rewrite(body: &[u8], style: JsonStyle) -> Option<Vec<u8>> {
    let text = json(body)?;
    let mut out = String::with_capacity(text.len());
    let mut depth = 0usize;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' => {
                let taken = string_length(rest);
                write_string(&mut out, rest.get(..taken)?, style.escapes);
                taken
            }
            '{' | '[' => {
                out.push(first);
                let inside = rest.get(1..)?.trim_start();
                if let Some(close @ ('}' | ']')) = inside.chars().next() {
                    out.push(close);
                    rest = inside.get(1..)?;
                    continue;
                }
                depth = depth.saturating_add(1);
                line(&mut out, style, depth);
                1
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, style, depth);
                out.push(first);
                1
            }
            ',' => {
                out.push_str(style.comma);
                line(&mut out, style, depth);
                1
            }
            ':' => {
                out.push_str(style.colon);
                1
            }
            ' ' | '\n' | '\r' | '\t' => 1,
            _ => {
                let ends = |char: char| matches!(char, ',' | '}' | ']' | ' ' | '\n' | '\r' | '\t');
                let taken = rest.find(ends).unwrap_or(rest.len());
                write_scalar(&mut out, rest.get(..taken)?, style.numbers_anew);
                taken
            }
        };
        rest = rest.get(taken..)?;
    }
    (out.as_bytes() != body).then(|| out.into_bytes())
}

/// Without spaces, members in the order of their names: what a map without order becomes.
pub(super) fn sorted(body: &[u8]) -> Option<Vec<u8>> {
    let value: serde_json::Value = serde_json::from_str(json(body)?).ok()?;
    let out = serde_json::to_vec(&value).ok()?;
    (out != body).then_some(out)
}

fn json(body: &[u8]) -> Option<&str> {
    let is_json = !matches!(envelope::inspect(body, EnvelopeKind::Object, &[]), Err(Refusal::InvalidJson { .. }));
    // A parser drops the byte order mark.
    let text = core::str::from_utf8(body).ok().filter(|_| is_json)?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Length of the string literal at the beginning, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'\\' if !escaped => escaped = true,
            b'"' if !escaped => return at.saturating_add(1),
            _ => escaped = false,
        }
    }
    text.len()
}

fn write_string(out: &mut String, literal: &str, escapes: Escapes) {
    // A lone surrogate has no text; its literal stays as it is.
    let anew = match escapes {
        Escapes::AsTheyAre => None,
        Escapes::Least | Escapes::Ascii => serde_json::from_str::<String>(literal).ok(),
    };
    let Some(anew) = anew.and_then(|text| serde_json::to_string(&text).ok()) else {
        out.push_str(literal);
        return;
    };
    if escapes == Escapes::Least {
        out.push_str(&anew);
        return;
    }
    for char in anew.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

/// A number or a literal. Outside the range in which JavaScript writes no exponent a number stays as it is.
fn write_scalar(out: &mut String, scalar: &str, numbers_anew: bool) {
    match scalar.parse::<f64>() {
        Ok(number) if numbers_anew && number == 0.0 => out.push('0'),
        Ok(number) if numbers_anew && (1e-6..1e21).contains(&number.abs()) => out.push_str(&number.to_string()),
        _ => out.push_str(scalar),
    }
}

fn line(out: &mut String, style: JsonStyle, depth: usize) {
    if style.indent > 0 {
        out.push('\n');
        out.extend(core::iter::repeat_n(' ', style.indent.saturating_mul(depth)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: &str, style: JsonStyle) -> String {
        String::from_utf8(rewrite(body.as_bytes(), style).unwrap()).unwrap()
    }

    #[test]
    fn writes_as_the_libraries_do() {
        let body =
            "{ \"b\" : [1.0, 1e2 ,-0, 12345678901234567890, {}, [ ]],\n\"a\":\"\\u00e9\\/😀\\\"\\n\", \"n\": null}";
        assert_eq!(
            written(body, JsonStyle::COMPACT),
            "{\"b\":[1,100,0,12345678901234567000,{},[]],\"a\":\"é/😀\\\"\\n\",\"n\":null}"
        );
        assert_eq!(
            written(body, JsonStyle { escapes: Escapes::Ascii, ..JsonStyle::SPACED }),
            "{\"b\": [1.0, 1e2, -0, 12345678901234567890, {}, []], \"a\": \"\\u00e9/\\ud83d\\ude00\\\"\\n\", \"n\": null}"
        );
        assert_eq!(
            written("{\"a\":[1,{\"b\":2}],\"c\":{}}", JsonStyle { indent: 2, colon: ": ", ..JsonStyle::COMPACT }),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": {}\n}"
        );
        assert_eq!(sorted(br#"{"b":1,"a":{"d":1,"c":2}}"#).unwrap(), br#"{"a":{"c":2,"d":1},"b":1}"#);
    }

    #[test]
    fn leaves_alone_what_is_not_json_or_would_not_change() {
        assert_eq!(rewrite(b"{\"a\":1}", JsonStyle::COMPACT), None);
        assert_eq!(rewrite(b"{\"a\":1", JsonStyle::COMPACT), None);
        assert_eq!(rewrite("[".repeat(100_000).as_bytes(), JsonStyle::COMPACT), None);
    }
}
