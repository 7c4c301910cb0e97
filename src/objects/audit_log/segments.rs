//! Segments of the chain: what is to be written to files, the anchors of what was, and the removal of old entries.
//!
//! Promise: an entry is removed only with its whole segment, and only when the anchor of that segment's file is kept.

use super::entry;
use crate::platform::body::Body;
use crate::platform::r2;
use crate::platform::sql::{number, rows, run, text, unreadable};
use gateway_core::audit::{Anchor, GENESIS_HASH, Lines, SEGMENT_ENTRIES, Segment, check_segment, segment_key};
use gateway_core::time::parse_rfc3339;
use worker::{Env, Error, Result, SqlStorage};

/// Segments that one call removes: ten thousand rows.
const MAX_REMOVED: u64 = 10;

fn anchors(sql: &SqlStorage, which: &str, parameter: u64) -> Result<Vec<Anchor>> {
    let found = rows(sql, &format!("SELECT anchor FROM segments {which}"), vec![number(parameter)])?;
    let read = |text: Option<String>| Ok(serde_json::from_str(&text.ok_or_else(|| unreadable("anchor"))?)?);
    found.iter().map(|row| read(row.text(0))).collect()
}

/// The anchor of the segment that ends with `to`.
pub(super) fn at(sql: &SqlStorage, to: u64) -> Result<Option<Anchor>> {
    Ok(anchors(sql, "WHERE to_seq = ?", to)?.pop())
}

/// The last anchor.
pub(super) fn last(sql: &SqlStorage) -> Result<Option<Anchor>> {
    Ok(anchors(sql, "WHERE to_seq > ? ORDER BY to_seq DESC LIMIT 1", 0)?.pop())
}

fn first_seq(sql: &SqlStorage) -> Result<Option<u64>> {
    Ok(rows(sql, "SELECT MIN(seq) FROM entries", vec![])?.first().and_then(|row| row.number(0)))
}

/// The anchor of the last segment whose entries are only in files any more.
pub(super) fn removed(sql: &SqlStorage) -> Result<Option<Anchor>> {
    match first_seq(sql)? {
        None => last(sql),
        Some(first) => at(sql, first.saturating_sub(1)),
    }
}

/// The oldest complete segment without an anchor.
pub(super) fn next(sql: &SqlStorage) -> Result<Option<Segment>> {
    let before = last(sql)?;
    let from = before.as_ref().map_or(1, |anchor| anchor.to.saturating_add(1));
    let to = from.saturating_add(SEGMENT_ENTRIES).saturating_sub(1);
    let found =
        rows(sql, "SELECT entry FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq", vec![number(from), number(to)])?;
    if found.len() as u64 != SEGMENT_ENTRIES {
        return Ok(None);
    }
    let mut lines = String::new();
    for row in &found {
        lines.push_str(&row.text(0).ok_or_else(|| unreadable("entry"))?);
        lines.push('\n');
    }
    let last = entry(found.last().and_then(|row| row.text(0)))?;
    let previous_hash = before.map_or_else(|| GENESIS_HASH.into(), |anchor| anchor.last_hash);
    let until_ms = parse_rfc3339(&last.timestamp).ok_or_else(|| unreadable("timestamp"))?;
    Ok(Some(Segment { from, to, until_ms, previous_hash, last_hash: last.hash, lines }))
}

/// Writes segments to files: file first, then its anchor, so that whatever is cut off in between is repeated.
pub(super) async fn export(sql: &SqlStorage, env: &Env, limit: u32) -> Result<u64> {
    let mut written = 0u64;
    for _ in 0..limit {
        let Some(segment) = next(sql)? else { break };
        let anchor = segment.anchor();
        // A segment that does not hold is not made good by an anchor: it stays, and `verify` names what is wrong with it.
        check_segment(&segment.lines, &anchor, None).map_err(|broken| Error::RustError(broken.to_string()))?;
        let key = segment_key(segment.from, segment.to);
        r2::put(env, &key, &Body::Small(segment.lines.into_bytes())).await.map_err(Error::RustError)?;
        // Two exports at once write the same bytes under the same key.
        let parameters = vec![number(anchor.to), text(&serde_json::to_string(&anchor)?)];
        run(sql, "INSERT OR IGNORE INTO segments VALUES (?, ?)", parameters)?;
        written = written.saturating_add(SEGMENT_ENTRIES);
    }
    Ok(written)
}

/// Entries from a number on.
pub(super) fn lines(sql: &SqlStorage, from_seq: u64, limit: u32) -> Result<Lines> {
    if removed(sql)?.is_some_and(|anchor| from_seq <= anchor.to) {
        let holding = anchors(sql, "WHERE to_seq >= ? ORDER BY to_seq LIMIT 1", from_seq)?.pop();
        let next_seq = holding.as_ref().map(|anchor| anchor.to.saturating_add(1));
        return Ok(Lines { lines: String::new(), next_seq, anchor: holding });
    }
    let found = rows(
        sql,
        "SELECT entry, seq FROM entries WHERE seq >= ? ORDER BY seq LIMIT ?",
        vec![number(from_seq), number(limit.into())],
    )?;
    let full = found.len() as u64 == u64::from(limit);
    let next_seq = found.last().and_then(|row| row.number(1)).filter(|_| full).map(|seq| seq.saturating_add(1));
    let lines: Vec<String> = found.iter().filter_map(|row| row.text(0)).map(|entry| entry + "\n").collect();
    Ok(Lines { lines: lines.concat(), next_seq, anchor: None })
}

/// Removes the entries of the oldest anchored segments that are old enough.
pub(super) fn expire(sql: &SqlStorage, before_ms: u64) -> Result<u64> {
    let Some(first) = first_seq(sql)? else { return Ok(0) };
    let mut removed = 0u64;
    let until = first.saturating_add(SEGMENT_ENTRIES.saturating_mul(MAX_REMOVED));
    for anchor in anchors(sql, "WHERE to_seq >= ? ORDER BY to_seq", first)? {
        if anchor.until_ms >= before_ms || anchor.to >= until {
            break;
        }
        let range = vec![number(anchor.from), number(anchor.to)];
        let gone = rows(sql, "DELETE FROM entries WHERE seq BETWEEN ? AND ? RETURNING seq", range)?;
        removed = removed.saturating_add(gone.len() as u64);
    }
    Ok(removed)
}
