//! What the caps of a source do, and the segments that bodies move to.
//!
//! Promises:
//! - a cap removes unverified letters only;
//! - over a cap, or in an object that is half full, the inline bodies of verified letters move to the bucket; their rows stay;
//! - a segment is one object of many bodies, and each row knows where its own lies in it and what that hashes to.
//!
//! Out of scope: SQL and the bucket (the `DEAD_LETTER_STORE` object).

use crate::schema::STORAGE_LIMIT_BYTES;
use genesys_webhook::encoding::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The most bodies in a segment: their rows change in one transaction.
pub const SEGMENT_LETTERS: u64 = 1_000;

/// The most bytes in a segment: they are in memory three times while it is written.
pub const SEGMENT_BYTES: u64 = 4_000_000;

/// Size of the store's object above which bodies move whatever the caps of their sources are: half of what it may store.
const CROWDED_BYTES: u64 = STORAGE_LIMIT_BYTES / 2;

/// Letters and the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Letters.
    pub letters: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// How much of one source the store keeps: of unverified letters at all, of verified ones with their bodies in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Letters.
    pub max_letters: u64,
    /// Bytes of their bodies.
    pub max_bytes: u64,
}

impl Default for Caps {
    /// 100,000 letters and 1 GB, a tenth of what an object may store.
    fn default() -> Self {
        Self { max_letters: 100_000, max_bytes: 1_000_000_000 }
    }
}

impl Caps {
    /// Whether so much is more than may be kept.
    pub fn exceeded(&self, held: Amount) -> bool {
        held.letters > self.max_letters || held.bytes > self.max_bytes
    }
}

/// Whether bodies of a source move to a segment. `inline`: its verified letters with their bodies in rows; `caps`: `None` where the
/// configuration cannot be read; `stored_bytes`: size of the object, in which a source fills at least a segment.
pub fn bodies_move(inline: Amount, caps: Option<Caps>, stored_bytes: u64) -> bool {
    let is_segment = inline.letters >= SEGMENT_LETTERS || inline.bytes >= SEGMENT_BYTES;
    caps.is_some_and(|caps| caps.exceeded(inline)) || (stored_bytes > CROWDED_BYTES && is_segment)
}

/// Where a body lies in a segment. Stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRange {
    /// Key of the segment.
    pub key: String,
    /// Bytes before the body.
    pub offset: u64,
    /// Bytes of the body.
    pub length: u64,
    /// SHA-256 of the body, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// A segment while it is filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    key: String,
    bytes: Vec<u8>,
}

impl Segment {
    /// An empty one, to be stored under `key`.
    pub fn new(key: String) -> Self {
        Self { key, bytes: vec![] }
    }

    /// Adds a body; answers where it lies.
    pub fn push(&mut self, body: &[u8]) -> BodyRange {
        let (offset, length) = (self.bytes.len() as u64, body.len() as u64);
        self.bytes.extend_from_slice(body);
        BodyRange { key: self.key.clone(), offset, length, sha256: hex(&Sha256::digest(body)) }
    }

    /// What is stored.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps { max_letters: 10, max_bytes: 100 };

    #[test]
    fn caps_hold_to_the_letter_and_the_byte() {
        for (letters, bytes, exceeded) in [(0, 0, false), (10, 100, false), (11, 0, true), (1, 101, true)] {
            let held = Amount { letters, bytes };
            assert_eq!(CAPS.exceeded(held), exceeded, "{held:?}");
            assert_eq!(bodies_move(held, Some(CAPS), 0), exceeded, "{held:?}");
            assert!(!bodies_move(held, None, 0), "nothing moves for a guess");
        }
    }

    #[test]
    fn a_crowded_object_moves_whole_segments_whatever_the_caps() {
        let full = STORAGE_LIMIT_BYTES / 2 + 1;
        for (letters, bytes, moves) in [(999, 3_999_999, false), (1_000, 0, true), (1, 4_000_000, true)] {
            let inline = Amount { letters, bytes };
            for caps in [None, Some(Caps::default())] {
                assert_eq!(bodies_move(inline, caps, full), moves, "{inline:?} {caps:?}");
                assert!(!bodies_move(inline, caps, full - 1));
            }
        }
    }

    #[test]
    fn each_body_of_a_segment_is_where_its_range_says() {
        let mut segment = Segment::new("k".into());
        let bodies: [&[u8]; 4] = [b"{}", b"", b"\xff\x00", "☕".as_bytes()];
        let ranges = bodies.map(|body| segment.push(body));
        let bytes = segment.into_bytes();
        let mut rest = bytes.as_slice();
        for (range, body) in ranges.iter().zip(bodies) {
            assert_eq!((range.offset, range.length), ((bytes.len() - rest.len()) as u64, body.len() as u64));
            assert_eq!((range.key.as_str(), &range.sha256), ("k", &hex(&Sha256::digest(body))));
            rest = rest.strip_prefix(body).unwrap();
        }
        assert_eq!(rest, b"");
        let json = r#"{"key":"k","offset":0,"length":2,"sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;
        assert_eq!(serde_json::to_string(&ranges[0]).unwrap(), json);
    }
}
