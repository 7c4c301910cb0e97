//! Segments of the chain that are kept as files.
//!
//! Promises: a segment is a fixed run of entries, one line each, as they are stored; the name of its file has its first number
//! and the hash of its last entry, so that the names and the files alone are a chain. A file that was changed in any byte, cut,
//! renamed, added or put in another's place does not verify. Out of scope: writing and reading files.

use super::{Broken, Entry, Head, Marks};
use crate::messages::keys::audit_segment_prefix;
use crate::time::parse_rfc3339;

/// Entries of a segment: some 400 KB as JSON, which one call to the object carries and one look at R2 reads.
pub const SEGMENT_ENTRIES: u64 = 1_000;

/// Entries beyond which the oldest leave the log at any age, once they are in files: with their index some 2 GB of the 10 GB
/// that an object may have. A sender who causes many entries must not bring the log to a stop.
pub const MAX_ENTRIES: u64 = 2_000_000;

/// Number of the segment of entry `seq`; both from 1.
pub fn segment_of(seq: u64) -> u64 {
    seq.div_ceil(SEGMENT_ENTRIES)
}

/// First and last number of the entries of a segment.
pub fn segment_bounds(segment: u64) -> (u64, u64) {
    let last = segment.saturating_mul(SEGMENT_ENTRIES);
    (last.saturating_sub(SEGMENT_ENTRIES).saturating_add(1), last)
}

/// Whether the segment that ends with `last` may leave a log that has got to number `head_seq`: it is older than `before_ms`,
/// or too many entries came after it. An entry that says no time is not as it was written.
pub fn may_leave(last: &Entry, head_seq: u64, before_ms: u64) -> Result<bool, Broken> {
    let recorded_ms = parse_rfc3339(&last.timestamp).ok_or(Broken::Changed(last.seq))?;
    Ok(recorded_ms < before_ms || head_seq.saturating_sub(last.seq) >= MAX_ENTRIES)
}

/// Checks a segment as the bucket has it: its keys and those of the segment before it, what is stored under its key, and its end
/// against the log's marks.
///
/// # Errors
/// The first entry that was changed, is missing, or was not recorded by the log.
pub fn check_segment(
    segment: u64,
    keys_before: &[String],
    keys: &[String],
    text: &str,
    marks: &Marks,
) -> Result<(), Broken> {
    let mut end = if segment <= 1 { Head::default() } else { named_end(segment.saturating_sub(1), keys_before)? };
    let named = named_end(segment, keys)?;
    end.follow_lines(text)?;
    end.check_end(&named)?;
    marks.check(&end)
}

/// Number and hash of a segment's last entry, as the name of its only file says them.
fn named_end(segment: u64, keys: &[String]) -> Result<Head, Broken> {
    let (first, seq) = segment_bounds(segment);
    match keys {
        [] => Err(Broken::Missing(first)),
        [key] => {
            let hash = key.strip_prefix(&audit_segment_prefix(first)).and_then(|rest| rest.strip_suffix(".jsonl"));
            Ok(Head { seq, hash: hash.ok_or(Broken::Unrecorded(first))?.into() })
        }
        _ => Err(Broken::Unrecorded(first)),
    }
}
