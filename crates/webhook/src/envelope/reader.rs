//! The lexer below [`super::scan`]: white space, strings, numbers, literals.
//!
//! Promises:
//! - It never reads past the end.
//! - Every fault names its byte.

use super::block::{BLOCK_BYTES, Block};
use crate::refusal::JsonFault;

/// What is wrong, and at which byte.
pub(super) type LocatedFault = (JsonFault, usize);

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A place in a text: what is left of it.
pub(super) struct Reader<'b> {
    body: &'b [u8],
    rest: &'b [u8],
}

/// The inside of a string, which is UTF-8.
#[derive(Clone, Copy)]
pub(super) struct Text<'b> {
    pub(super) raw: &'b [u8],
    pub(super) has_escapes: bool,
}

impl<'b> Reader<'b> {
    #[inline]
    pub(super) fn new(body: &'b [u8]) -> Self {
        Self { body, rest: body }
    }

    /// Begins at the first byte of a whole text that is neither whitespace nor a byte order mark before it.
    pub(super) fn of_text(body: &'b [u8]) -> Result<Self, LocatedFault> {
        let mut reader = Self { body, rest: body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body) };
        reader.skip_whitespace();
        if reader.is_at_end() { Err((JsonFault::Empty, reader.at())) } else { Ok(reader) }
    }

    #[inline]
    pub(super) fn at(&self) -> usize {
        length_before(self.body, self.rest)
    }

    /// A fault at the next byte; where there is none, the text is cut off.
    pub(super) fn fault(&self, fault: JsonFault) -> LocatedFault {
        (if self.is_at_end() { JsonFault::Truncated } else { fault }, self.at())
    }

    pub(super) fn rest(&self) -> &'b [u8] {
        self.rest
    }

    pub(super) fn pass(&mut self, length: usize) {
        self.rest = self.rest.get(length..).unwrap_or_default();
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn skip(&mut self) {
        if let [_, rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    #[inline]
    pub(super) fn take(&mut self, wanted: u8) -> bool {
        match self.rest {
            [byte, rest @ ..] if *byte == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn since(&self, start: usize) -> &'b [u8] {
        self.body.get(start..self.at()).unwrap_or_default()
    }

    #[inline]
    pub(super) fn skip_whitespace(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// The rest of a literal whose first byte was taken.
    pub(super) fn literal(&mut self, first: u8) -> Result<(), LocatedFault> {
        let rest: &[u8] = match first {
            b't' => b"rue",
            b'f' => b"alse",
            _ => b"ull",
        };
        for wanted in rest {
            if !self.take(*wanted) {
                return Err(self.fault(JsonFault::Value));
            }
        }
        Ok(())
    }

    /// The rest of a number whose first byte was taken (RFC 8259, section 6).
    #[inline]
    pub(super) fn number(&mut self, first: u8) -> Result<(), LocatedFault> {
        let leading = if first == b'-' { self.digit()? } else { first };
        if leading == b'0' {
            if let Some(b'0'..=b'9') = self.peek() {
                return Err((JsonFault::Number, self.at()));
            }
        } else {
            self.skip_digits();
        }
        if self.take(b'.') {
            self.digit()?;
            self.skip_digits();
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digit()?;
            self.skip_digits();
        }
        Ok(())
    }

    #[inline]
    fn digit(&mut self) -> Result<u8, LocatedFault> {
        match self.peek() {
            Some(byte @ b'0'..=b'9') => {
                self.skip();
                Ok(byte)
            }
            _ => Err(self.fault(JsonFault::Number)),
        }
    }

    #[inline]
    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.skip();
        }
    }

    /// The rest of a string whose opening quote was taken, closing quote included.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'b>, LocatedFault> {
        let text = self.rest;
        let (plain, is_ascii) = plain_run(text);
        // Nearly every string is this one.
        if let Some((raw, [b'"', rest @ ..])) = text.split_at_checked(plain)
            && is_ascii
        {
            self.rest = rest;
            return Ok(Text { raw, has_escapes: false });
        }
        self.unusual_string()
    }

    /// A string with escapes, with text that is not ASCII, or with a fault.
    fn unusual_string(&mut self) -> Result<Text<'b>, LocatedFault> {
        let start = self.at();
        let mut has_escapes = false;
        let mut is_ascii = true;
        loop {
            let (plain, ascii) = plain_run(self.rest);
            is_ascii &= ascii;
            self.rest = self.rest.get(plain..).unwrap_or_default();
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.skip();
                    self.escape()?;
                }
                _ => {
                    // A fault before this byte is told first.
                    self.utf8_since(start)?;
                    return Err(self.fault(JsonFault::Control));
                }
            }
        }
        if !is_ascii {
            self.utf8_since(start)?;
        }
        let raw = self.since(start);
        self.skip();
        Ok(Text { raw, has_escapes })
    }

    fn utf8_since(&self, start: usize) -> Result<(), LocatedFault> {
        match core::str::from_utf8(self.since(start)) {
            Ok(_) => Ok(()),
            Err(error) => Err((JsonFault::Utf8, start.saturating_add(error.valid_up_to()))),
        }
    }

    pub(super) fn escape(&mut self) -> Result<(), LocatedFault> {
        if self.take(b'u') {
            for _ in 0..4 {
                if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                    return Err(self.fault(JsonFault::Escape));
                }
                self.skip();
            }
            return Ok(());
        }
        if !matches!(self.peek(), Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) {
            return Err(self.fault(JsonFault::Escape));
        }
        self.skip();
        Ok(())
    }
}

/// How many bytes come before the first quote, backslash or control character, and whether they are all ASCII.
#[inline]
fn plain_run(bytes: &[u8]) -> (usize, bool) {
    let mut rest = bytes;
    let mut is_ascii = true;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK_BYTES>() {
        let block = Block::new(block);
        if block.equal(b'"') | block.equal(b'\\') | block.controls() != 0 {
            break;
        }
        is_ascii &= block.is_ascii();
        rest = after;
    }
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
    let (before, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
    (length_before(bytes, after), is_ascii && before.is_ascii())
}

/// Bytes of `whole` before its end `rest`: nothing wraps here.
#[inline]
fn length_before(whole: &[u8], rest: &[u8]) -> usize {
    whole.len().wrapping_sub(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fast_scan_of_strings_equals_the_slow_one(bytes in proptest::collection::vec(
            prop_oneof![8 => any::<u8>(), 8 => 0x20u8..0x7f, 1 => Just(b'"'), 1 => Just(b'\\'), 1 => 0x1eu8..0x22, 1 => Just(0xa2u8)], 0..60)
        ) {
            let slow = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_run(&bytes), (slow, bytes[..slow].is_ascii()));
        }
    }
}
