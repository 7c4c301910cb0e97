//! Segments of the chain that are kept as files.
//!
//! Promises: a segment is a fixed run of entries, one line each, as they are stored; its anchor, which stays in the log,
//! ties the file to the chain by the hashes before and at its end, and by a digest of the file. A file that was changed in
//! any byte, cut, or put in another's place does not verify. Out of scope: writing and reading files.

use super::{Broken, GENESIS_HASH, Head};
use crate::time::parse_rfc3339;
use genesys_webhook::encoding::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Entries of a segment: some 400 KB as JSON, which one call to the object carries and one look at R2 reads.
pub const SEGMENT_ENTRIES: u64 = 1_000;

/// Entries beyond which the oldest leave the log at any age, once they are in files: with their index some 2 GB of the 10 GB
/// that an object may have. A sender who causes many entries must not bring the log to a stop.
pub const MAX_ENTRIES: u64 = 2_000_000;

/// First and last number of the entries of a segment, which are numbered from 1.
pub fn segment_bounds(segment: u64) -> (u64, u64) {
    let to = segment.saturating_mul(SEGMENT_ENTRIES);
    (to.saturating_sub(SEGMENT_ENTRIES).saturating_add(1), to)
}

/// A segment on its way into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What the log keeps of it.
    pub anchor: Anchor,
    /// The file: a line an entry.
    pub lines: String,
}

/// What the log keeps of a segment. Stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anchor {
    /// Number of its first entry.
    pub from: u64,
    /// Number of its last entry.
    pub to: u64,
    /// When its last entry was recorded.
    pub until_ms: u64,
    /// Hash of the entry before its first.
    pub previous_hash: String,
    /// Hash of its last entry.
    pub last_hash: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

impl Segment {
    /// The segment of `lines`, which follow `before` and end with number `to`.
    ///
    /// # Errors
    /// They do not hold: a file and its anchor would make that good.
    pub fn cut(before: Head, to: u64, lines: String) -> Result<Self, Broken> {
        let mut end = before.clone();
        let last = end.follow_lines(&lines)?;
        if end.seq < to {
            return Err(Broken::Gap { expected: end.seq.saturating_add(1) });
        }
        let until_ms = last.and_then(|last| parse_rfc3339(&last.timestamp)).ok_or(Broken::Changed { seq: to })?;
        let (from, sha256) = (before.seq.saturating_add(1), hex(&Sha256::digest(lines.as_bytes())));
        let anchor = Anchor { from, to, until_ms, previous_hash: before.hash, last_hash: end.hash, sha256 };
        Ok(Self { anchor, lines })
    }
}

impl Anchor {
    /// Whether its entries may leave a log that has got to number `head_seq`: they are older than `before_ms`, or too many
    /// came after them.
    pub fn may_leave(&self, before_ms: u64, head_seq: u64) -> bool {
        self.until_ms < before_ms || head_seq.saturating_sub(self.to) >= MAX_ENTRIES
    }
}

/// Why a file is not the segment that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum SegmentBroken {
    /// Its digest is another.
    #[error("the file is not the one that was written")]
    File,
    /// Its chain does not hold.
    #[error("{0}")]
    Chain(Broken),
    /// It does not end where its anchor does.
    #[error("the segment does not end with entry {to} as anchored")]
    End {
        /// The last number of the anchor.
        to: u64,
    },
    /// It does not begin where the segment before it ended.
    #[error("the segment does not follow the one before it")]
    Before,
}

/// Checks a file against its anchor, and the anchor against the one before it (`None`: it is the first, or that one is
/// not known). Answers the number of entries; the error names what breaks first, the entry where one can be named.
pub fn check_segment(text: &str, anchor: &Anchor, before: Option<&Anchor>) -> Result<u64, SegmentBroken> {
    let follows = match before {
        Some(before) => before.last_hash == anchor.previous_hash && before.to.saturating_add(1) == anchor.from,
        None => anchor.from > 1 || anchor.previous_hash == GENESIS_HASH,
    };
    if !follows {
        return Err(SegmentBroken::Before);
    }
    let before_seq = anchor.from.saturating_sub(1);
    let mut end = Head { seq: before_seq, hash: anchor.previous_hash.clone() };
    end.follow_lines(text).map_err(SegmentBroken::Chain)?;
    if end.seq != anchor.to || end.hash != anchor.last_hash {
        return Err(SegmentBroken::End { to: anchor.to });
    }
    if hex(&Sha256::digest(text.as_bytes())) != anchor.sha256 {
        return Err(SegmentBroken::File);
    }
    Ok(end.seq.saturating_sub(before_seq))
}
