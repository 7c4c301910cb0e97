//! Pages of the trail, as the API answers them.
//!
//! Promises: entries are given as they are stored (an auditor hashes what was written, field by field), and a row that is no
//! JSON any more spoils no page; a page looks at a bounded number of rows however long the trail is. Every index on `entries`
//! would be billed with every entry, so times are found by their order and sources by reading on, page by page.

use super::{REMOVED, last_seq, mark};
use crate::platform::sql::{number, rows, text};
use gateway_core::audit::EntryFilter;
use worker::{Result, SqlStorage};

/// Rows that one page looks at for those of a source: some 30 ms.
const SCANNED_ROWS: u64 = 10_000;

/// What is shown of a row.
const SHOWN: &str =
    "CASE WHEN json_valid(entry) THEN entry ELSE json_object('seq', seq, 'unreadable', CAST(entry AS TEXT)) END";

/// The first number in `low..high` whose entry was recorded at `time` or later. Times grow with the numbers, as far as the
/// platform's clock goes forward, and their texts sort as they do.
fn first_since(sql: &SqlStorage, time: &str, mut low: u64, mut high: u64) -> Result<u64> {
    while low < high {
        let middle = low.midpoint(high);
        let found = rows(
            sql,
            "SELECT entry ->> '$.timestamp', seq FROM entries WHERE seq >= ? AND json_valid(entry) ORDER BY seq LIMIT 1",
            vec![number(middle)],
        )?;
        match found.first().and_then(|row| Some((row.text(0)?, row.number(1)?))) {
            Some((timestamp, seq)) if timestamp.as_str() < time => low = seq.saturating_add(1),
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The newest entries before `before_seq`, of an action and a source, recorded from one time on and before another. A page
/// that is not full says where to go on where there may be more.
pub(super) fn page(sql: &SqlStorage, filter: &EntryFilter, before_seq: Option<u64>, limit: u32) -> Result<String> {
    let EntryFilter { action, source, since, until } = filter;
    let (first, end) = (mark(sql, REMOVED)?.seq.saturating_add(1), last_seq(sql)?.saturating_add(1));
    let bound =
        |time: &Option<String>, other| time.as_ref().map_or(Ok(other), |time| first_since(sql, time, first, end));
    let (from, to) = (bound(since, first)?, bound(until, end)?.min(before_seq.unwrap_or(u64::MAX)));
    let scanned = if source.is_some() { SCANNED_ROWS } else { limit.into() };
    let mut parameters = vec![number(from), number(to), number(scanned)];
    let action_is = action.map_or("", |action| {
        parameters.push(text(action.as_str()));
        "AND action = ?4"
    });
    let window = format!("FROM entries WHERE seq >= ?1 AND seq < ?2 {action_is} ORDER BY seq DESC LIMIT ?3");
    let seen = rows(sql, &format!("SELECT MIN(seq), COUNT(*) FROM (SELECT seq {window})"), parameters.clone())?;
    let source_is = source.as_ref().map_or_else(String::new, |source| {
        parameters.push(text(source));
        format!("WHERE json_valid(entry) AND entry ->> '$.source' = ?{}", parameters.len())
    });
    let found = rows(
        sql,
        &format!("SELECT {SHOWN}, seq FROM (SELECT entry, seq {window}) {source_is} ORDER BY seq DESC LIMIT {limit}"),
        parameters,
    )?;
    let next_seq = if found.len() as u64 == u64::from(limit) {
        found.last().and_then(|row| row.number(1))
    } else {
        seen.first().filter(|row| row.number(1) == Some(scanned)).and_then(|row| row.number(0))
    };
    let next_seq = next_seq.filter(|seq| *seq > from);
    let next_cursor = next_seq.map_or_else(|| "null".into(), |seq| format!("\"{seq}\""));
    let entries: Vec<String> = found.iter().filter_map(|row| row.text(0)).collect();
    Ok(format!(r#"{{"entries":[{}],"nextCursor":{next_cursor}}}"#, entries.join(",")))
}
