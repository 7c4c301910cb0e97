//! `DELIVERY_LEDGER`: one row a delivery, for the idempotency keys of one shard.
//!
//! Promises: claims and settlements of a batch are decided by `gateway_core::ledger` and written within one event, between
//! whose awaits nothing else of this object runs; the totals by source change in the same transaction as the rows.
//! Out of scope: handing on.

use super::Tables;
use crate::platform::sql::{number, optional, rows, run, text, unreadable};
use crate::platform::{clock, objects, sql::Row};
use gateway_core::ledger::{
    ClaimItem, Claimed, DeliveryRow, LEASE_MS, LedgerCall, LedgerTotals, Outcome, Progress, SettleItem, SourceTotals,
    State, decide_claim, decide_give_up, decide_settle, tally,
};
use genesys_webhook::message::Origin;
use worker::{
    DurableObject, Env, Request, Response, Result, SqlStorage, SqlStorageValue, State as ObjectState, durable_object,
};

/// `key` is unique among the rows that own theirs, so two owners cannot come to be even by mistake.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS deliveries (
        id TEXT PRIMARY KEY, key TEXT NOT NULL, source TEXT NOT NULL, state INTEGER NOT NULL, attempt INTEGER NOT NULL,
        replay INTEGER NOT NULL, lease_until_ms INTEGER NOT NULL, next_attempt_ms INTEGER, received_at_ms INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL, event_count INTEGER NOT NULL, size_bytes INTEGER NOT NULL, last_status INTEGER,
        last_error TEXT, duplicate_of TEXT) WITHOUT ROWID;
    CREATE UNIQUE INDEX IF NOT EXISTS owners ON deliveries (key) WHERE duplicate_of IS NULL;
    CREATE INDEX IF NOT EXISTS by_time ON deliveries (received_at_ms, id);
    CREATE INDEX IF NOT EXISTS pending ON deliveries (source, received_at_ms) WHERE state < 2;
    CREATE TABLE IF NOT EXISTS totals (source TEXT, outcome TEXT, n INTEGER NOT NULL, PRIMARY KEY (source, outcome)) WITHOUT ROWID;";

const COLUMNS: &str = "id, source, state, attempt, received_at_ms, updated_at_ms, event_count, size_bytes, replay, \
    next_attempt_ms, last_status, last_error, duplicate_of";

/// A ledger object.
#[durable_object(fetch)]
pub struct DeliveryLedger {
    tables: Tables,
}

impl DurableObject for DeliveryLedger {
    fn new(state: ObjectState, _env: Env) -> Self {
        Self { tables: Tables::set_up(&state, SCHEMA) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        objects::serve(request, async |call: LedgerCall| -> Result<String> {
            let sql = self.tables.sql()?;
            Ok(match call {
                LedgerCall::Claim { items } => {
                    let now_ms = clock::now_ms();
                    let claims: Result<Vec<Claimed>> = items.iter().map(|item| claim(sql, item, now_ms)).collect();
                    objects::json(&claims?)?
                }
                LedgerCall::Settle { items } => {
                    let now_ms = clock::now_ms();
                    let mut counted = 0u64;
                    for item in &items {
                        counted = counted.saturating_add(u64::from(settle(sql, item, now_ms)?));
                    }
                    counted.to_string()
                }
                LedgerCall::GiveUp { items } => {
                    let now_ms = clock::now_ms();
                    let mut changed = 0u64;
                    for item in &items {
                        changed = changed.saturating_add(u64::from(give_up(sql, item, now_ms)?));
                    }
                    changed.to_string()
                }
                LedgerCall::List { source, state, before, limit } => objects::json(&list(sql, source.as_deref(), state, before, limit)?)?,
                LedgerCall::Get { id } => {
                    let found = rows(sql, &format!("SELECT {COLUMNS} FROM deliveries WHERE id = ?"), vec![text(&id)])?;
                    objects::json(&found.first().map(delivery_row).transpose()?)?
                }
                LedgerCall::Expire { before_ms, limit } => {
                    let expired = "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE received_at_ms < ?1 AND \
                        updated_at_ms < ?1 AND state >= 2 ORDER BY received_at_ms, id LIMIT ?2) RETURNING id";
                    rows(sql, expired, vec![number(before_ms), number(limit.into())])?.len().to_string()
                }
                LedgerCall::Totals => objects::json(&totals(sql)?)?,
            })
        })
        .await
    }
}

fn progress(sql: &SqlStorage, id: &str) -> Result<Option<(Progress, String)>> {
    let found = rows(
        sql,
        "SELECT state, attempt, replay, lease_until_ms, source FROM deliveries WHERE id = ?",
        vec![text(id)],
    )?;
    found.first().map(|row| Ok((read_progress(row)?, row.text(4).ok_or_else(|| unreadable("delivery"))?))).transpose()
}

fn read_progress(row: &Row) -> Result<Progress> {
    let small = |column| row.number(column).and_then(|n| u32::try_from(n).ok());
    match (read_state(row, 0), small(1), small(2), row.number(3)) {
        (Some(state), Some(attempt), Some(replay), Some(lease_until_ms)) => {
            Ok(Progress { state, attempt, replay, lease_until_ms })
        }
        _ => Err(unreadable("delivery")),
    }
}

fn read_state(row: &Row, column: usize) -> Option<State> {
    row.number(column).and_then(|n| i64::try_from(n).ok()).and_then(State::from_number)
}

fn state_number(state: State) -> SqlStorageValue {
    SqlStorageValue::Integer(state.number())
}

/// The other delivery that has the idempotency key of `item`.
fn owner(sql: &SqlStorage, item: &ClaimItem) -> Result<Option<String>> {
    let owner = rows(
        sql,
        "SELECT id FROM deliveries WHERE key = ? AND duplicate_of IS NULL AND id <> ?",
        vec![text(&item.key), text(&item.id)],
    )?;
    Ok(owner.first().and_then(|row| row.text(0)))
}

fn give_up(sql: &SqlStorage, item: &ClaimItem, now_ms: u64) -> Result<bool> {
    let (known, owner) = (progress(sql, &item.id)?, owner(sql, item)?);
    let known = known.as_ref().map(|(progress, _)| progress);
    let Some(state) = decide_give_up(known, owner.as_deref(), item.replay) else { return Ok(false) };
    let attempt = known.map_or(0, |progress| progress.attempt);
    insert(sql, item, state, attempt, now_ms, owner.as_ref().filter(|_| state == State::Duplicate))?;
    run(sql, "UPDATE deliveries SET last_error = 'given up by the queue' WHERE id = ?", vec![text(&item.id)])?;
    count(sql, &item.source, known.map(|progress| progress.state), item.origin, state)?;
    Ok(true)
}

fn claim(sql: &SqlStorage, item: &ClaimItem, now_ms: u64) -> Result<Claimed> {
    let known = progress(sql, &item.id)?;
    let owner = owner(sql, item)?;
    let before = known.as_ref().map(|(progress, _)| progress.state);
    let decision = decide_claim(known.as_ref().map(|(progress, _)| progress), owner.as_deref(), item.replay, now_ms);
    match &decision {
        Claimed::Proceed { attempt } => {
            count(sql, &item.source, before, item.origin, State::Claimed)?;
            insert(sql, item, State::Claimed, *attempt, now_ms, None)?;
        }
        Claimed::Duplicate { of } => {
            insert(sql, item, State::Duplicate, 0, now_ms, Some(of))?;
            count(sql, &item.source, before, item.origin, State::Duplicate)?;
        }
        Claimed::Busy { .. } | Claimed::Settled { .. } => {}
    }
    Ok(decision)
}

fn insert(
    sql: &SqlStorage,
    item: &ClaimItem,
    state: State,
    attempt: u32,
    now_ms: u64,
    of: Option<&String>,
) -> Result<()> {
    let lease_until_ms = if state == State::Claimed { now_ms.saturating_add(LEASE_MS) } else { 0 };
    run(
        sql,
        "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, NULL, NULL, ?) ON CONFLICT (id) DO UPDATE SET
            state = excluded.state, attempt = excluded.attempt, replay = excluded.replay,
            lease_until_ms = excluded.lease_until_ms, next_attempt_ms = NULL, updated_at_ms = excluded.updated_at_ms",
        vec![
            text(&item.id),
            text(&item.key),
            text(&item.source),
            state_number(state),
            number(attempt.into()),
            number(item.replay.into()),
            number(lease_until_ms),
            number(item.received_at_ms),
            number(now_ms),
            number(item.event_count),
            number(item.size_bytes),
            optional(of.map(String::as_str)),
        ],
    )
}

fn settle(sql: &SqlStorage, item: &SettleItem, now_ms: u64) -> Result<bool> {
    let Some((progress, source)) = progress(sql, &item.id)? else { return Ok(false) };
    let Some(state) = decide_settle(&progress, item.attempt, &item.outcome) else { return Ok(false) };
    let next_attempt_ms = match &item.outcome {
        Outcome::Retry { next_attempt_ms } | Outcome::NotAttempted { next_attempt_ms } => number(*next_attempt_ms),
        Outcome::Delivered | Outcome::Dead { .. } | Outcome::GivenUp { .. } => SqlStorageValue::Null,
    };
    // What the last attempt came to stays where there was no other.
    let last = if item.outcome.is_attempt() {
        "last_status = ?, last_error = ?"
    } else {
        "last_status = COALESCE(?, last_status), last_error = COALESCE(?, last_error)"
    };
    let uncounted = u32::from(!item.outcome.is_attempt());
    run(
        sql,
        &format!(
            "UPDATE deliveries SET state = ?, attempt = ?, lease_until_ms = 0, next_attempt_ms = ?, updated_at_ms = ?, {last} WHERE id = ?"
        ),
        vec![
            state_number(state),
            number(progress.attempt.saturating_sub(uncounted).into()),
            next_attempt_ms,
            number(now_ms),
            item.status.map_or(SqlStorageValue::Null, |status| number(status.into())),
            optional(item.error.as_deref()),
            text(&item.id),
        ],
    )?;
    if !matches!(item.outcome, Outcome::NotAttempted { .. }) {
        count(sql, &source, Some(progress.state), None, state)?;
    }
    Ok(true)
}

/// Counts the way of a row from one state to another.
fn count(sql: &SqlStorage, source: &str, before: Option<State>, origin: Option<Origin>, after: State) -> Result<()> {
    for (counted, change) in tally(before, origin, after) {
        run(
            sql,
            "INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
            vec![text(source), text(counted.as_str()), SqlStorageValue::Integer(change)],
        )?;
    }
    Ok(())
}

fn list(
    sql: &SqlStorage,
    source: Option<&str>,
    state: Option<State>,
    before: Option<(u64, String)>,
    limit: u32,
) -> Result<Vec<DeliveryRow>> {
    let (before_ms, before_id) = before.unwrap_or((u64::MAX, String::new()));
    let found = rows(
        sql,
        &format!(
            "SELECT {COLUMNS} FROM deliveries WHERE (received_at_ms, id) < (?1, ?2) AND (?3 IS NULL OR source = ?3)
                AND (?4 IS NULL OR state = ?4) ORDER BY received_at_ms DESC, id DESC LIMIT ?5"
        ),
        vec![
            number(before_ms),
            text(&before_id),
            optional(source),
            state.map_or(SqlStorageValue::Null, state_number),
            number(limit.into()),
        ],
    )?;
    found.iter().map(delivery_row).collect()
}

fn delivery_row(row: &Row) -> Result<DeliveryRow> {
    let small = |column| row.number(column).and_then(|n| u32::try_from(n).ok());
    let read = || {
        Some(DeliveryRow {
            id: row.text(0)?,
            source: row.text(1)?,
            status: read_state(row, 2)?,
            attempts: small(3)?,
            received_at_ms: row.number(4)?,
            updated_at_ms: row.number(5)?,
            event_count: row.number(6)?,
            size_bytes: row.number(7)?,
            replay: small(8)?,
            next_attempt_ms: row.number(9),
            last_status: row.number(10).and_then(|n| u16::try_from(n).ok()),
            last_error: row.text(11),
            duplicate_of: row.text(12),
        })
    };
    read().ok_or_else(|| unreadable("delivery"))
}

fn totals(sql: &SqlStorage) -> Result<LedgerTotals> {
    let mut totals = LedgerTotals::default();
    for row in rows(sql, "SELECT source, outcome, n FROM totals", vec![])? {
        let (Some(source), Some(outcome), Some(n)) = (row.text(0), row.text(1), row.number(2)) else {
            return Err(unreadable("totals"));
        };
        let source: &mut SourceTotals = totals.sources.entry(source).or_default();
        match outcome.as_str() {
            "delivered" => source.delivered = n,
            "duplicate" => source.duplicate = n,
            "dead" => source.dead = n,
            "retries" => source.retries = n,
            "readmitted" => source.readmitted = n,
            _ => return Err(unreadable("totals")),
        }
    }
    for row in rows(
        sql,
        "SELECT source, COUNT(*), MIN(received_at_ms) FROM deliveries WHERE state < 2 GROUP BY source",
        vec![],
    )? {
        let (Some(source), Some(pending)) = (row.text(0), row.number(1)) else { return Err(unreadable("totals")) };
        let source = totals.sources.entry(source).or_default();
        (source.pending, source.oldest_pending_ms) = (pending, row.number(2));
    }
    Ok(totals)
}
