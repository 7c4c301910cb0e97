//! Segments of the chain: writing them to files, their anchors, and the removal of old entries.
//!
//! Promises: an entry is removed only with its whole segment, and only when the anchor of that segment's file is kept; a
//! segment that does not hold is not made good by a file and an anchor, and is an error for as long as it stays.

use super::{kept_head, last_seq};
use crate::platform::body::RawBody;
use crate::platform::r2;
use crate::platform::sql::{number, rows, run, text, unreadable};
use gateway_core::audit::{Anchor, Head, Lines, SEGMENT_ENTRIES, Segment};
use gateway_core::messages::keys::audit_segment_key;
use worker::{Env, Error, Result, SqlStorage};

/// Segments that one call removes: twenty thousand rows.
const MAX_REMOVED: u64 = 20;

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

/// Number of the first row.
pub(super) fn first_seq(sql: &SqlStorage) -> Result<Option<u64>> {
    Ok(rows(sql, "SELECT MIN(seq) FROM entries", vec![])?.first().and_then(|row| row.number(0)))
}

/// The anchor of the last segment whose entries are only in files any more.
pub(super) fn removed(sql: &SqlStorage) -> Result<Option<Anchor>> {
    match first_seq(sql)? {
        None => last(sql),
        Some(first) => at(sql, first.saturating_sub(1)),
    }
}

/// The oldest segment without an anchor, once the chain has got beyond it.
fn next(sql: &SqlStorage) -> Result<Option<Segment>> {
    let before = last(sql)?.map_or_else(Head::default, |anchor| Head { seq: anchor.to, hash: anchor.last_hash });
    let to = before.seq.saturating_add(SEGMENT_ENTRIES);
    if kept_head(sql)?.seq.max(last_seq(sql)?) < to {
        return Ok(None);
    }
    let range = vec![number(before.seq), number(to)];
    let mut lines = String::new();
    for row in rows(sql, "SELECT entry FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq", range)? {
        lines.push_str(&row.text(0).unwrap_or_default());
        lines.push('\n');
    }
    Segment::cut(before, to, lines).map(Some).map_err(|broken| Error::RustError(broken.to_string()))
}

/// Writes segments to files: file first, then its anchor, so that whatever is cut off in between is repeated.
pub(super) async fn export(sql: &SqlStorage, env: &Env, limit: u32) -> Result<u64> {
    let mut written = 0u64;
    for _ in 0..limit {
        let Segment { anchor, lines } = match next(sql) {
            Ok(Some(segment)) => segment,
            Ok(None) => break,
            // What was written is answered first, and the next call answers what is wrong.
            Err(_) if written > 0 => break,
            Err(error) => return Err(error),
        };
        let key = audit_segment_key(anchor.from, anchor.to);
        r2::put(env, &key, &RawBody::Wasm(lines.into_bytes())).await.map_err(Error::RustError)?;
        // Two exports at once write the same bytes under the same key.
        let parameters = vec![number(anchor.to), text(&serde_json::to_string(&anchor)?)];
        run(sql, "INSERT OR IGNORE INTO segments (to_seq, anchor) VALUES (?, ?)", parameters)?;
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

/// Removes the entries of the oldest anchored segments that may leave.
pub(super) fn expire(sql: &SqlStorage, before_ms: u64) -> Result<u64> {
    let Some(first) = first_seq(sql)? else { return Ok(0) };
    let (mut removed, head_seq) = (0u64, kept_head(sql)?.seq);
    let until = first.saturating_add(SEGMENT_ENTRIES.saturating_mul(MAX_REMOVED));
    for anchor in anchors(sql, "WHERE to_seq >= ? ORDER BY to_seq", first)? {
        if anchor.to >= until || !anchor.may_leave(before_ms, head_seq) {
            break;
        }
        let range = vec![number(anchor.from), number(anchor.to)];
        let gone = rows(sql, "DELETE FROM entries WHERE seq BETWEEN ? AND ? RETURNING seq", range)?;
        removed = removed.saturating_add(gone.len() as u64);
    }
    Ok(removed)
}
