//! Passes over a container in which nothing is looked for, 64 bytes at a time.
//!
//! Promises: accepts exactly what [`super::scan`] would read to the container's end without a fault, and says where
//! that is. It never says what is wrong: where it declines, `scan` reads the same bytes and names the fault.
//!
//! How: the grammar as arithmetic on masks ([`super::block`]), a bit for each byte. What may stand where follows from
//! the token before it; "the token after these" is a shift, and an addition where blanks or the inside of a string lie
//! between: it carries through the run. Only brackets, scalars and escapes are visited one by one. What a block has to
//! know of those before it fits into [`Skipper`], whatever the length of the body.

use super::block::{BLOCK_BYTES, Block};
use super::nesting::Nesting;
use super::reader::Reader;

/// A container that was passed over, from behind its opening bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Bytes, closing bracket included.
    pub(super) length: usize,
    /// Commas between its own members or elements.
    pub(super) commas: u64,
}

/// What a block has to know of the blocks before it. A carry is for bit 0 of the next block.
struct Skipper<'b> {
    text: &'b [u8],
    /// The depth of what stands in the container itself.
    base: u32,
    nesting: Nesting,
    commas: u64,
    /// All ones inside of a string.
    string: u64,
    /// Carry: the last byte escapes the next.
    escape: u64,
    /// Carry: the last byte belongs to a scalar.
    scalar: u64,
    /// Carry: the string that is open is a name.
    name: u64,
    /// Carries: the last token, but for blanks, is an opening bracket or a comma; a colon or a comma; a name.
    opened_or_comma: u64,
    colon_or_comma: u64,
    named: u64,
    /// Where the blocks begin that are not ASCII and were not checked yet.
    not_ascii: Option<usize>,
}

/// The tokens of a block. Numbers and literals are scalars, and so is all that cannot stand outside of strings.
struct BlockTokens {
    brackets: u64,
    colons: u64,
    commas: u64,
    /// From each opening quote to the last byte before the closing one.
    strings: u64,
    string_starts: u64,
    scalar_starts: u64,
    blanks: u64,
}

/// What the brackets of a block say about its bytes.
struct Places {
    closes: u64,
    in_object: u64,
    /// Not in one of the containers in the container.
    at_base: u64,
    /// Up to the end of the container.
    inside: u64,
    /// Whether that end is in this block.
    ends: bool,
}

/// Passes over the rest of the innermost container of `nesting`; `text` begins with its first member or element, of
/// which there is one. `None` where there is a fault, or no end.
pub(super) fn skip_container(text: &[u8], nesting: Nesting) -> Option<Skipped> {
    let mut skipper = Skipper {
        text,
        base: nesting.depth,
        nesting,
        commas: 0,
        string: 0,
        escape: 0,
        scalar: 0,
        name: 0,
        opened_or_comma: 1,
        colon_or_comma: 0,
        named: 0,
        not_ascii: None,
    };
    let mut rest = text;
    let mut padded = [b' '; BLOCK_BYTES];
    while !rest.is_empty() {
        let at = text.len().wrapping_sub(rest.len());
        let bytes = if let Some((bytes, after)) = rest.split_first_chunk() {
            rest = after;
            bytes
        } else {
            // Blanks behind the text change nothing: what is open there has no end.
            padded.get_mut(..rest.len())?.copy_from_slice(rest);
            rest = &[];
            &padded
        };
        if let Some(length) = skipper.block(bytes, at)? {
            return Some(Skipped { length, commas: skipper.commas });
        }
    }
    None
}

impl Skipper<'_> {
    /// Reads the block that stands at byte `at`. `None` where there is a fault; otherwise where the container ends, if
    /// it does.
    #[inline]
    #[allow(clippy::option_option)]
    fn block(&mut self, bytes: &[u8; BLOCK_BYTES], at: usize) -> Option<Option<usize>> {
        let block = Block::new(bytes);
        let is_plain = block.is_plain() && self.escape == 0 && self.not_ascii.is_none();
        let mut quotes = block.equal(b'"');
        if !is_plain {
            let (escaped, escape) = escapes(block.equal(b'\\'), self.escape, self.text.get(at..)?)?;
            quotes &= !escaped;
            self.escape = escape;
        } else if quotes == 0 && self.string != 0 {
            return Some(None);
        }
        let tokens = self.tokens(&block, quotes, is_plain);
        let places = self.places(bytes, tokens.brackets)?;
        if self.misplaced(&tokens, &places) & places.inside != 0 {
            return None;
        }
        for bit in SetBits(tokens.scalar_starts & places.inside) {
            let start = at.wrapping_add(bit.trailing_zeros() as usize);
            if !is_scalar(self.text.get(start..)?) {
                return None;
            }
        }
        let commas = tokens.commas & places.at_base & places.inside;
        self.commas = self.commas.wrapping_add(u64::from(commas.count_ones()));
        let end = places.ends.then(|| at.wrapping_add(places.inside.trailing_ones() as usize));
        if !is_plain {
            if block.controls() & tokens.strings & places.inside != 0 {
                return None;
            }
            self.check_utf8(block.is_ascii(), at, end)?;
        }
        Some(end)
    }

    /// `quotes` are those that are not escaped.
    #[inline]
    fn tokens(&mut self, block: &Block, quotes: u64, is_plain: bool) -> BlockTokens {
        let strings = odd_so_far(quotes) ^ self.string;
        self.string = all(strings >> 63 != 0);
        let outside = !(strings | quotes);
        let brackets = block.brackets() & outside;
        let colons = block.equal(b':') & outside;
        let commas = block.equal(b',') & outside;
        let others = outside & !(brackets | colons | commas);
        let (mut blanks, mut scalars) = (0, 0);
        if others != 0 {
            blanks = block.equal(b' ') & others;
            if !is_plain {
                blanks |= (block.equal(b'\n') | block.equal(b'\r') | block.equal(b'\t')) & others;
            }
            scalars = others & !blanks;
        }
        let scalar_starts = scalars & !(scalars << 1 | self.scalar);
        self.scalar = scalars >> 63;
        BlockTokens { brackets, colons, commas, strings, string_starts: strings & quotes, scalar_starts, blanks }
    }

    /// Follows the brackets. `None` where one closes what it did not open, or too many are open.
    #[inline]
    fn places(&mut self, bytes: &[u8; BLOCK_BYTES], brackets: u64) -> Option<Places> {
        let mut places = Places {
            closes: 0,
            in_object: all(self.nesting.innermost()?),
            at_base: all(self.nesting.depth == self.base),
            inside: !0,
            ends: false,
        };
        for bit in SetBits(brackets) {
            let after = !(bit | bit.wrapping_sub(1));
            let byte = *bytes.get(bit.trailing_zeros() as usize)?;
            // These bits tell `{` and `}` from `[` and `]`, and `}` and `]` from `{` and `[`.
            let (is_object, closes) = (byte & 0x20 != 0, byte & 0x04 != 0);
            if !closes {
                self.nesting.open(is_object)?;
            } else if self.nesting.innermost()? == is_object {
                self.nesting.close();
                places.closes |= bit;
                if self.nesting.depth < self.base {
                    (places.inside, places.ends) = (!after, true);
                    break;
                }
            } else {
                return None;
            }
            places.in_object = places.in_object & !after | after & all(self.nesting.innermost()?);
            places.at_base = places.at_base & !after | after & all(self.nesting.depth == self.base);
        }
        Some(places)
    }

    /// Tokens where they may not stand, and other bytes where a token has to.
    #[inline]
    fn misplaced(&mut self, tokens: &BlockTokens, places: &Places) -> u64 {
        let BlockTokens { brackets, colons, commas, strings, string_starts, scalar_starts, blanks } = *tokens;
        let closes = places.closes;
        let opens = brackets & !closes;
        let after_opened_or_comma = following(opens | commas, blanks, &mut self.opened_or_comma);
        let after_colon_or_comma = following(colons | commas, blanks, &mut self.colon_or_comma);
        // Values stand after these and nowhere else. The container may end instead, but not after a colon or a comma.
        let values = string_starts | opens | scalar_starts;
        let mut faults = (values ^ (after_opened_or_comma | after_colon_or_comma)) & !closes;
        faults |= after_colon_or_comma & closes;
        // In an object it is a name that stands there, and colons stand after names and nowhere else.
        let members = after_opened_or_comma & places.in_object;
        faults |= members & !(string_starts | closes);
        let (names_end, is_open) = strings.overflowing_add(members & string_starts | self.name);
        self.name = u64::from(is_open);
        faults | colons ^ following(names_end & !strings, blanks, &mut self.named)
    }

    /// Checks blocks in a row that are not ASCII when the row, or the container, ends: characters do not.
    #[inline]
    fn check_utf8(&mut self, is_ascii: bool, at: usize, end: Option<usize>) -> Option<()> {
        if !is_ascii {
            self.not_ascii.get_or_insert(at);
        }
        if let Some(start) = self.not_ascii
            && let Some(end) = if is_ascii { Some(at) } else { end }
        {
            self.not_ascii = None;
            core::str::from_utf8(self.text.get(start..end)?).ok()?;
        }
        Some(())
    }
}

/// The set bits of a mask, lowest first.
struct SetBits(u64);

impl Iterator for SetBits {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let bit = self.0 & self.0.wrapping_neg();
        self.0 ^= bit;
        (bit != 0).then_some(bit)
    }
}

#[inline]
fn all(set: bool) -> u64 {
    u64::from(set).wrapping_neg()
}

/// The bits up to which, themselves included, the number of set bits is odd.
#[inline]
fn odd_so_far(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ bits << 32
}

/// The first byte that is no blank after each of `ends`, the last bytes of tokens.
#[inline]
fn following(ends: u64, blanks: u64, carry: &mut u64) -> u64 {
    let next = ends << 1 | *carry;
    *carry = ends >> 63;
    if blanks == 0 {
        return next;
    }
    // Added to the first of some blanks, a bit comes out behind the last.
    let (behind, is_open) = (next & blanks).overflowing_add(blanks);
    *carry |= u64::from(is_open);
    (next | behind) & !blanks
}

/// The bytes that backslashes escape, and the carry. `None` where there is no such escape; it stands in `text`, which
/// begins with the block.
fn escapes(backslashes: u64, carry: u64, text: &[u8]) -> Option<(u64, u64)> {
    let (mut escaped, mut open) = (carry, 0);
    for bit in SetBits(backslashes) {
        if escaped & bit != 0 {
            continue;
        }
        let mut reader = Reader::new(text.get(bit.trailing_zeros() as usize..)?);
        if !reader.take(b'\\') || reader.escape().is_err() {
            return None;
        }
        escaped |= bit << 1;
        open = bit >> 63;
    }
    Some((escaped, open))
}

/// Whether `text` begins with a number or a literal, and with nothing behind it that may not follow.
#[inline]
fn is_scalar(text: &[u8]) -> bool {
    let mut reader = Reader::new(text);
    let read = match reader.next() {
        Some(first @ (b'-' | b'0'..=b'9')) => reader.number(first),
        Some(first @ (b't' | b'f' | b'n')) => reader.literal(first),
        _ => return false,
    };
    read.is_ok() && matches!(reader.next(), Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
}

#[cfg(test)]
mod tests;
