//! `AUDIT_LOG`: the chain of audit entries.
//!
//! Promises:
//! - entries are numbered without gaps and chained in the order in which they arrive;
//! - an entry is removed only when it is in a verified file, and never changed;
//! - the head of the chain is kept apart from the entries: the next entry needs none of them, and the loss of the last shows;
//! - whatever is wrong with a row, a walk names it and the next entry is recorded.
//!
//! Out of scope: what the hashes cover (`gateway_core::audit`).

mod list;
mod segments;

use super::{SchemaStep, Tables, json};
use crate::platform::clock;
use crate::platform::sql::{Row, number, optional, rows, run, text};
use gateway_core::audit::{Anchor, AuditCall, Broken, Draft, Entry, Head, Verification, segment_bounds};
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

const SCHEMA: [SchemaStep; 1] = ["
    CREATE TABLE entries (seq INTEGER PRIMARY KEY, action TEXT NOT NULL, entry TEXT NOT NULL);
    CREATE INDEX by_action ON entries (action, seq);
    CREATE TABLE batches (n INTEGER PRIMARY KEY, batch TEXT NOT NULL);
    CREATE TABLE segments (to_seq INTEGER PRIMARY KEY, anchor TEXT NOT NULL);
    CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL);"];

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
        Self { tables: Tables::set_up(&state, &SCHEMA), env }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let answer = async |call, sql: &SqlStorage| match call {
            AuditCall::Append { drafts, batch } => {
                json(&self.tables.transaction(|sql| append(sql, drafts, batch.as_deref()))?)
            }
            AuditCall::List { filter, before_seq, limit } => list::page(sql, &filter, before_seq, limit),
            AuditCall::Verify { from_seq, limit } => json(&walk(sql, from_seq, limit)?),
            AuditCall::Lines { from_seq, limit } => json(&segments::lines(sql, from_seq, limit)?),
            AuditCall::Export { limit } => json(&segments::export(sql, &self.env, limit).await?),
            AuditCall::Anchored { segment } => json(&segments::at(sql, segment_bounds(segment).1)?),
            AuditCall::Expire { before_ms } => json(&self.tables.transaction(|sql| segments::expire(sql, before_ms))?),
            AuditCall::StorageBytes => json(&sql.database_size()),
        };
        self.tables.serve(request, answer).await
    }
}

/// Where the log has got to.
fn kept_head(sql: &SqlStorage) -> Result<Head> {
    let found = rows(sql, "SELECT seq, hash FROM head", vec![])?;
    let read = |row: &Row| Some(Head { seq: row.number(0)?, hash: row.text(1)? });
    Ok(found.first().and_then(read).unwrap_or_default())
}

fn keep_head(sql: &SqlStorage, head: &Head) -> Result<()> {
    run(
        sql,
        "INSERT INTO head (id, seq, hash) VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
        vec![number(head.seq), text(&head.hash)],
    )
}

/// The hash that a stored entry says it has; `None` where it cannot be read any more.
fn said_hash(entry: Option<String>) -> Option<String> {
    serde_json::from_str::<Entry>(&entry?).ok().map(|entry| entry.hash)
}

/// Number of the last row.
fn last_seq(sql: &SqlStorage) -> Result<u64> {
    Ok(rows(sql, "SELECT MAX(seq) FROM entries", vec![])?.first().and_then(|row| row.number(0)).unwrap_or(0))
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
    let mut head = kept_head(sql)?;
    // Behind a row that the log did not append the next entry goes on: a walk finds that row, and nothing is lost.
    head.seq = head.seq.max(last_seq(sql)?);
    let now_ms = clock::now_ms();
    let is_news = !drafts.is_empty();
    for draft in drafts {
        let next = head.append(draft, now_ms);
        run(
            sql,
            "INSERT INTO entries (seq, action, entry) VALUES (?, ?, ?)",
            vec![number(next.seq), text(next.draft.action.as_str()), text(&serde_json::to_string(&next)?)],
        )?;
    }
    if is_news {
        keep_head(sql, &head)?;
    }
    if let Some(batch) = batch {
        remember(sql, batch)?;
    }
    Ok(head.seq)
}

/// The head of the chain before a walk that begins behind entry `seq`: it was checked by the walk that ended there.
fn head_at(sql: &SqlStorage, seq: u64, removed: Option<Anchor>) -> Result<std::result::Result<Head, Broken>> {
    let head = |hash| Ok(Head { seq, hash });
    let found = rows(sql, "SELECT entry FROM entries WHERE seq = ?", vec![number(seq)])?;
    Ok(match (found.first(), removed.filter(|anchor| anchor.to == seq)) {
        _ if seq == 0 => Ok(Head::default()),
        (Some(row), _) => said_hash(row.text(0)).map_or(Err(Broken::Changed { seq }), head),
        (None, Some(anchor)) => head(anchor.last_hash),
        (None, None) => Err(Broken::Gap { expected: seq }),
    })
}

fn walk(sql: &SqlStorage, from_seq: u64, limit: u32) -> Result<Verification> {
    // What is only in files any more is verified there; the walk begins behind it.
    let removed = segments::removed(sql)?;
    let after_anchor = removed.as_ref().map(|anchor| anchor.to).filter(|to| from_seq <= *to);
    let before_seq = after_anchor.unwrap_or_else(|| from_seq.saturating_sub(1));
    let mut head = match head_at(sql, before_seq, removed)? {
        Ok(head) => head,
        Err(broken) => {
            let broken = Some(broken);
            return Ok(Verification { intact: false, checked: 0, after_anchor, next_seq: None, broken });
        }
    };
    let found = rows(
        sql,
        "SELECT seq, action, entry FROM entries WHERE seq > ? ORDER BY seq LIMIT ?",
        vec![number(before_seq), number(limit.into())],
    )?;
    let (mut checked, mut broken) = (0u64, None);
    for row in &found {
        let (action, entry) = (row.text(1).unwrap_or_default(), row.text(2).unwrap_or_default());
        broken = head.follow_row(row.number(0).unwrap_or(0), &action, &entry).err();
        if broken.is_some() {
            break;
        }
        checked = checked.saturating_add(1);
    }
    let is_end = (found.len() as u64) < u64::from(limit);
    let next_seq = found.last().and_then(|row| row.number(0)).filter(|_| !is_end).map(|seq| seq.saturating_add(1));
    if is_end && broken.is_none() {
        broken = head.check_end(&kept_head(sql)?).err();
    }
    Ok(Verification { intact: broken.is_none(), checked, after_anchor, next_seq, broken })
}
