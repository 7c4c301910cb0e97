//! `AUDIT_LOG`: the chain of audit entries.
//!
//! Promises: entries are numbered without gaps and chained in the order in which they arrive; nothing changes or removes
//! one. Out of scope: what the hashes cover (`gateway_core::audit`).

mod segments;

use super::Tables;
use crate::platform::sql::{number, optional, rows, run, text, unreadable};
use crate::platform::{clock, objects};
use gateway_core::audit::{Action, AuditCall, Broken, Draft, Entry, Verification, chain, segment_bounds, verify};
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

/// Name of the object: there is one chain.
pub(crate) const OBJECT: &str = "audit";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, action TEXT NOT NULL, entry TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS by_action ON entries (action, seq);
    CREATE TABLE IF NOT EXISTS batches (n INTEGER PRIMARY KEY, batch TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS segments (to_seq INTEGER PRIMARY KEY, anchor TEXT NOT NULL);";

/// Names of batches that are remembered. A batch is repeated within seconds, while far fewer others arrive.
const MAX_BATCHES: u64 = 256;

/// The audit log's object.
#[durable_object(fetch)]
pub struct AuditLog {
    tables: Tables,
    env: Env,
}

impl DurableObject for AuditLog {
    fn new(state: State, env: Env) -> Self {
        Self { tables: Tables::set_up(&state, SCHEMA), env }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        objects::serve(request, async |call: AuditCall| -> Result<String> {
            let sql = self.tables.sql()?;
            Ok(match call {
                AuditCall::Append { drafts, batch } => {
                    self.tables.transaction(|sql| append(sql, drafts, batch.as_deref()))?.to_string()
                }
                AuditCall::List { action, source, since, until, before_seq, limit } => {
                    let filters = [action.map(Action::as_str), source.as_deref(), since.as_deref(), until.as_deref()];
                    list(sql, filters, before_seq, limit)?
                }
                AuditCall::Verify { from_seq, limit } => objects::json(&walk(sql, from_seq, limit)?)?,
                AuditCall::Lines { from_seq, limit } => objects::json(&segments::lines(sql, from_seq, limit)?)?,
                AuditCall::Export { limit } => segments::export(sql, &self.env, limit).await?.to_string(),
                AuditCall::Anchored { segment } => objects::json(&segments::at(sql, segment_bounds(segment).1)?)?,
                AuditCall::Expire { before_ms } => {
                    self.tables.transaction(|sql| segments::expire(sql, before_ms))?.to_string()
                }
            })
        })
        .await
    }
}

fn entry(text: Option<String>) -> Result<Entry> {
    Ok(Entry::from_json(&text.ok_or_else(|| unreadable("entry"))?)?)
}

/// Remembers that a batch was appended: called last, so that what failed before is appended when it is repeated.
fn remember(sql: &SqlStorage, batch: &str) -> Result<()> {
    run(sql, "INSERT INTO batches (batch) VALUES (?)", vec![text(batch)])?;
    run(sql, "DELETE FROM batches WHERE n <= (SELECT MAX(n) FROM batches) - ?", vec![number(MAX_BATCHES)])
}

fn append(sql: &SqlStorage, mut drafts: Vec<Draft>, batch: Option<&str>) -> Result<u64> {
    let known = rows(sql, "SELECT n FROM batches WHERE batch = ?", vec![optional(batch)])?;
    let batch = if known.is_empty() {
        batch
    } else {
        drafts.clear();
        None
    };
    let last = rows(sql, "SELECT entry FROM entries ORDER BY seq DESC LIMIT 1", vec![])?;
    let last = last.first().map(|row| entry(row.text(0))).transpose()?;
    let mut head = match last {
        Some(entry) => Some((entry.seq, entry.hash)),
        // Everything is in files: the chain goes on behind the last of them.
        None => segments::last(sql)?.map(|anchor| (anchor.to, anchor.last_hash)),
    };
    let now_ms = clock::now_ms();
    for draft in drafts {
        let next = chain(head.as_ref().map(|(seq, hash)| (*seq, hash.as_str())), draft, now_ms);
        run(
            sql,
            "INSERT INTO entries VALUES (?, ?, ?)",
            vec![number(next.seq), text(next.draft.action.as_str()), text(&serde_json::to_string(&next)?)],
        )?;
        head = Some((next.seq, next.hash));
    }
    if let Some(batch) = batch {
        remember(sql, batch)?;
    }
    Ok(head.map_or(0, |(seq, _)| seq))
}

/// A page as the API answers it, made of the texts that are stored: an auditor hashes what was written, field by field.
/// `filters`: action, source, since, until. Times grow with the numbers, and their texts sort as they do.
fn list(sql: &SqlStorage, filters: [Option<&str>; 4], before_seq: Option<u64>, limit: u32) -> Result<String> {
    let mut parameters = vec![number(before_seq.unwrap_or(u64::MAX)), number(limit.into())];
    parameters.extend(filters.map(optional));
    let found = rows(
        sql,
        "SELECT entry, seq FROM entries WHERE seq < ?1 AND (?3 IS NULL OR action = ?3)
            AND (?4 IS NULL OR entry ->> '$.source' = ?4) AND (?5 IS NULL OR entry ->> '$.timestamp' >= ?5)
            AND (?6 IS NULL OR entry ->> '$.timestamp' < ?6) ORDER BY seq DESC LIMIT ?2",
        parameters,
    )?;
    let last_seq =
        found.last().and_then(|row| row.number(1)).filter(|seq| *seq > 1 && found.len() as u64 == u64::from(limit));
    let next_cursor = last_seq.map_or_else(|| "null".into(), |seq| format!("\"{seq}\""));
    let entries: Vec<String> = found.iter().filter_map(|row| row.text(0)).collect();
    Ok(format!(r#"{{"entries":[{}],"nextCursor":{next_cursor}}}"#, entries.join(",")))
}

fn walk(sql: &SqlStorage, from_seq: u64, limit: u32) -> Result<Verification> {
    // What is only in files any more is verified there; the walk begins behind it.
    let removed = segments::removed(sql)?;
    let after_anchor = removed.as_ref().map(|anchor| anchor.to).filter(|to| from_seq <= *to);
    let from_seq = after_anchor.map_or(from_seq, |to| to.saturating_add(1)).max(1);
    // One entry before the first is needed for its hash; it was checked by the walk that ended there.
    let before_seq = from_seq.saturating_sub(1);
    let previous = rows(sql, "SELECT entry FROM entries WHERE seq = ?", vec![number(before_seq)])?;
    let previous = previous.first().map(|row| entry(row.text(0))).transpose()?.map(|entry| (entry.seq, entry.hash));
    let anchored = || removed.filter(|anchor| anchor.to == before_seq).map(|anchor| (anchor.to, anchor.last_hash));
    let previous = previous.or_else(anchored);
    if previous.is_none() && from_seq > 1 {
        let broken = Some(Broken::Gap { expected: before_seq });
        return Ok(Verification { intact: false, checked: 0, after_anchor, next_seq: None, broken });
    }
    let found = rows(
        sql,
        "SELECT entry FROM entries WHERE seq >= ? ORDER BY seq LIMIT ?",
        vec![number(from_seq), number(limit.into())],
    )?;
    let entries: Result<Vec<Entry>> = found.iter().map(|row| entry(row.text(0))).collect();
    let entries = entries?;
    let broken = verify(previous.as_ref().map(|(seq, hash)| (*seq, hash.as_str())), &entries).err();
    let next_seq =
        entries.last().map(|entry| entry.seq.saturating_add(1)).filter(|_| entries.len() as u64 == u64::from(limit));
    Ok(Verification { intact: broken.is_none(), checked: entries.len() as u64, after_anchor, next_seq, broken })
}
