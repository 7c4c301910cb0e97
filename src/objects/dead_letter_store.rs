//! `DEAD_LETTER_STORE`: dead letters, where they can be listed, read and deleted.
//!
//! Promises: a letter that arrives twice is one letter; lists are newest first with a cursor that new letters do not
//! disturb. Out of scope: bodies in R2 (whoever deletes a letter deletes its body too), replaying.

use super::Tables;
use crate::platform::objects;
use crate::platform::sql::{Row, number, optional, rows, run, text, unreadable};
use gateway_core::letters::{Expired, Filter, Letter, LetterTotals, LettersCall, Summary};
use genesys_webhook::message::{BodyRef, DeadLetter};
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

/// The letter itself is JSON of a versioned form, the columns beside it are what lists filter and sort by.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS letters (
        id TEXT PRIMARY KEY, source TEXT NOT NULL, reason TEXT NOT NULL, dead_at_ms INTEGER NOT NULL, verified INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL, letter TEXT NOT NULL, body TEXT) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_time ON letters (dead_at_ms, id);
    CREATE INDEX IF NOT EXISTS by_source ON letters (source, dead_at_ms, id);";

/// The dead-letter store's object.
#[durable_object(fetch)]
pub struct DeadLetterStore {
    tables: Tables,
}

impl DurableObject for DeadLetterStore {
    fn new(state: State, _env: Env) -> Self {
        Self { tables: Tables::set_up(&state, SCHEMA) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        objects::serve(request, async |call: LettersCall| -> Result<String> {
            let sql = self.tables.sql()?;
            Ok(match call {
                LettersCall::Put { letters } => {
                    for letter in &letters {
                        put(sql, letter)?;
                    }
                    letters.len().to_string()
                }
                LettersCall::List { filter, before, limit } => objects::json(&list(sql, &filter, before, limit)?)?,
                LettersCall::Get { id } => objects::json(&get(sql, &id)?)?,
                LettersCall::Delete { id } => {
                    let letter = get(sql, &id)?;
                    run(sql, "DELETE FROM letters WHERE id = ?", vec![text(&id)])?;
                    objects::json(&letter.map(|letter| letter.letter))?
                }
                LettersCall::Expire { before_ms, limit } => objects::json(&expire(sql, before_ms, limit)?)?,
                LettersCall::Totals => objects::json(&totals(sql)?)?,
            })
        })
        .await
    }
}

fn put(sql: &SqlStorage, Letter { letter, inline }: &Letter) -> Result<()> {
    let body = inline.as_ref().map(serde_json::to_string).transpose()?;
    run(
        sql,
        "INSERT OR REPLACE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        vec![
            text(&letter.id),
            text(&letter.source),
            text(&letter.reason),
            number(letter.dead_at_ms),
            number(u64::from(letter.verified)),
            number(letter.body.size_bytes()),
            text(&serde_json::to_string(letter)?),
            optional(body.as_deref()),
        ],
    )
}

fn get(sql: &SqlStorage, id: &str) -> Result<Option<Letter>> {
    let found = rows(sql, "SELECT letter, body FROM letters WHERE id = ?", vec![text(id)])?;
    let Some(row) = found.first() else { return Ok(None) };
    let letter = row.text(0).ok_or_else(|| unreadable("letter"))?;
    let inline = row.text(1).map(|body| serde_json::from_str(&body)).transpose()?;
    Ok(Some(Letter { letter: serde_json::from_str(&letter)?, inline }))
}

fn list(sql: &SqlStorage, filter: &Filter, before: Option<(u64, String)>, limit: u32) -> Result<Vec<Summary>> {
    let (before_ms, before_id) = before.unwrap_or((u64::MAX, String::new()));
    let found = rows(
        sql,
        "SELECT letter FROM letters WHERE (dead_at_ms, id) < (?1, ?2) AND (?3 IS NULL OR source = ?3)
            AND (?4 IS NULL OR reason = ?4) AND dead_at_ms >= ?5 ORDER BY dead_at_ms DESC, id DESC LIMIT ?6",
        vec![
            number(before_ms),
            text(&before_id),
            optional(filter.source.as_deref()),
            optional(filter.reason.as_deref()),
            number(filter.since_ms.unwrap_or(0)),
            number(limit.into()),
        ],
    )?;
    let summary =
        |letter: String| -> Result<Summary> { Ok(Summary::from(&serde_json::from_str::<DeadLetter>(&letter)?)) };
    found.iter().map(|row| row.text(0).ok_or_else(|| unreadable("letter")).and_then(summary)).collect()
}

fn expire(sql: &SqlStorage, before_ms: u64, limit: u32) -> Result<Expired> {
    let old = rows(
        sql,
        "DELETE FROM letters WHERE id IN (SELECT id FROM letters WHERE dead_at_ms < ? ORDER BY dead_at_ms, id LIMIT ?) RETURNING letter",
        vec![number(before_ms), number(limit.into())],
    )?;
    let stored = |row: &Row| match serde_json::from_str::<DeadLetter>(&row.text(0)?).ok()?.body {
        BodyRef::Stored { key, .. } => Some(key),
        BodyRef::Inline { .. } | BodyRef::Omitted { .. } => None,
    };
    Ok(Expired { removed: old.len() as u64, keys: old.iter().filter_map(stored).collect() })
}

fn totals(sql: &SqlStorage) -> Result<LetterTotals> {
    let mut totals = LetterTotals::default();
    for row in rows(sql, "SELECT reason, COUNT(*), MIN(dead_at_ms) FROM letters GROUP BY reason", vec![])? {
        let (Some(reason), Some(n)) = (row.text(0), row.number(1)) else { return Err(unreadable("totals")) };
        totals.stored = totals.stored.saturating_add(n);
        totals.by_reason.insert(reason, n);
        totals.oldest_dead_at_ms = [totals.oldest_dead_at_ms, row.number(2)].into_iter().flatten().min();
    }
    Ok(totals)
}
