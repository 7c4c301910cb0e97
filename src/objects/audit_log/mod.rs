//! `AUDIT_LOG`: the chain of audit entries.
//!
//! Promises:
//! - entries are numbered without gaps and chained in the order in which they arrive;
//! - an entry is removed only when it is in a file, and never changed;
//! - three marks, a number and a hash each, are kept apart from the entries: the head (the next entry needs no other, and the
//!   loss of the last shows), where the exported part ends, and where the removed part does;
//! - whatever is wrong with a row, a walk names it and the next entry is recorded.
//!
//! Out of scope: what the hashes cover (`gateway_core::audit`).

mod list;
mod segments;

use super::{SchemaStep, Tables, json};
use crate::platform::clock;
use crate::platform::sql::{number, optional, rows, run, text};
use gateway_core::audit::{AuditCall, Broken, Draft, Entry, Head, Lines, LogTotals, Marks, Verification};
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

const SCHEMA: [SchemaStep; 1] = ["
    CREATE TABLE entries (seq INTEGER PRIMARY KEY, entry TEXT NOT NULL,
        action TEXT AS (CASE WHEN json_valid(entry) THEN entry ->> '$.action' END) VIRTUAL);
    CREATE INDEX by_action ON entries (action, seq);
    CREATE TABLE batches (n INTEGER PRIMARY KEY, batch TEXT NOT NULL);
    CREATE TABLE marks (name TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash TEXT NOT NULL) WITHOUT ROWID;"];

const HEAD: &str = "head";
const EXPORTED: &str = "exported";
const REMOVED: &str = "removed";

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
            AuditCall::Verify { from_seq, limit } => json(&verify(sql, from_seq, limit)?),
            AuditCall::Lines { from_seq, limit } => json(&lines(sql, from_seq, limit)?),
            AuditCall::Export => json(&segments::repeat(async || segments::export(sql, &self.env).await).await?),
            AuditCall::Expire { before_ms } => {
                let step = async || segments::expire(&self.tables, sql, &self.env, before_ms).await;
                json(&segments::repeat(step).await?)
            }
            AuditCall::Marks => json(&kept_marks(sql)?),
            AuditCall::Totals => json(&LogTotals { head: mark(sql, HEAD)?, storage_bytes: sql.database_size() as u64 }),
        };
        self.tables.serve(request, answer).await
    }
}

fn mark(sql: &SqlStorage, name: &str) -> Result<Head> {
    let found = rows(sql, "SELECT seq, hash FROM marks WHERE name = ?", vec![text(name)])?;
    let read = found.first().and_then(|row| Some(Head { seq: row.number(0)?, hash: row.text(1)? }));
    Ok(read.unwrap_or_default())
}

fn kept_marks(sql: &SqlStorage) -> Result<Marks> {
    Ok(Marks { head: mark(sql, HEAD)?, exported: mark(sql, EXPORTED)?, removed: mark(sql, REMOVED)? })
}

/// Moves a mark on; never back, whichever of two calls comes last.
fn set_mark(sql: &SqlStorage, name: &str, head: &Head) -> Result<()> {
    let statement = "INSERT INTO marks (name, seq, hash) VALUES (?, ?, ?) ON CONFLICT DO UPDATE
        SET seq = excluded.seq, hash = excluded.hash WHERE excluded.seq > marks.seq";
    run(sql, statement, vec![text(name), number(head.seq), text(&head.hash)])
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
    let mut head = mark(sql, HEAD)?;
    // Behind a row that the log did not append the next entry goes on: a walk finds that row, and nothing is lost.
    head.seq = head.seq.max(last_seq(sql)?);
    let now_ms = clock::now_ms();
    let is_news = !drafts.is_empty();
    for draft in drafts {
        let next = head.append(draft, now_ms);
        run(
            sql,
            "INSERT INTO entries (seq, entry) VALUES (?, ?)",
            vec![number(next.seq), text(&serde_json::to_string(&next)?)],
        )?;
    }
    if is_news {
        set_mark(sql, HEAD, &head)?;
    }
    if let Some(batch) = batch {
        remember(sql, batch)?;
    }
    Ok(head.seq)
}

/// The entry of a number, as its row says it.
fn entry_at(sql: &SqlStorage, seq: u64) -> Result<std::result::Result<Entry, Broken>> {
    let found = rows(sql, "SELECT entry FROM entries WHERE seq = ?", vec![number(seq)])?;
    let Some(row) = found.first() else { return Ok(Err(Broken::Missing(seq))) };
    let entry = serde_json::from_str(&row.text(0).unwrap_or_default());
    Ok(entry.map_err(|_| Broken::Changed(seq)))
}

/// A walk along rows: how many there were, the last that held, the lines up to it, and what did not hold.
struct Walked {
    rows: u64,
    end: Head,
    lines: String,
    broken: Option<Broken>,
}

fn walk(sql: &SqlStorage, before: Head, limit: u64, marks: &Marks) -> Result<Walked> {
    let statement = "SELECT seq, entry FROM entries WHERE seq > ? ORDER BY seq LIMIT ?";
    let found = rows(sql, statement, vec![number(before.seq), number(limit)])?;
    let mut walked = Walked { rows: found.len() as u64, end: before, lines: String::new(), broken: None };
    for row in &found {
        let entry = row.text(1).unwrap_or_default();
        let mut end = walked.end.clone();
        let followed = end.follow(&entry).and_then(|entry| {
            if row.number(0) == Some(entry.seq) { marks.check(&end) } else { Err(Broken::Missing(entry.seq)) }
        });
        walked.broken = followed.err();
        if walked.broken.is_some() {
            break;
        }
        walked.end = end;
        walked.lines.extend([&entry, "\n"]);
    }
    Ok(walked)
}

/// Walks behind what is only in files, and compares the end with the head. The entry before `from_seq` was checked by the walk
/// that ended there.
fn verify(sql: &SqlStorage, from_seq: u64, limit: u32) -> Result<Verification> {
    let marks = kept_marks(sql)?;
    let removed = marks.removed.clone();
    let after_files = Some(removed.seq).filter(|seq| from_seq <= *seq);
    let before_seq = removed.seq.max(from_seq.saturating_sub(1));
    let before = if before_seq == removed.seq {
        removed
    } else {
        match entry_at(sql, before_seq)? {
            Ok(entry) => Head { seq: before_seq, hash: entry.hash },
            Err(broken) => return Ok(Verification { broken: Some(broken), ..Verification::default() }),
        }
    };
    let limit = u64::from(limit);
    let Walked { rows, end, mut broken, .. } = walk(sql, before, limit, &marks)?;
    let next_seq = (rows == limit).then(|| before_seq.saturating_add(limit).saturating_add(1));
    if next_seq.is_none() && broken.is_none() {
        broken = end.check_end(&marks.head).err();
    }
    let checked = end.seq.saturating_sub(before_seq);
    Ok(Verification { intact: broken.is_none(), checked, after_files, next_seq, broken })
}

/// Entries from a number on; `None` where that one is only in a file.
fn lines(sql: &SqlStorage, from_seq: u64, limit: u32) -> Result<Option<Lines>> {
    if from_seq <= mark(sql, REMOVED)?.seq {
        return Ok(None);
    }
    let statement = "SELECT entry || char(10), seq FROM entries WHERE seq >= ? ORDER BY seq LIMIT ?";
    let found = rows(sql, statement, vec![number(from_seq), number(limit.into())])?;
    let is_full = found.len() as u64 == u64::from(limit);
    let next_seq = found.last().and_then(|row| row.number(1)).filter(|_| is_full).map(|seq| seq.saturating_add(1));
    Ok(Some(Lines { lines: found.iter().filter_map(|row| row.text(0)).collect(), next_seq }))
}
