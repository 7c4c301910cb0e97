//! `DELIVERY_LEDGER`: one row a delivery, for the idempotency keys of one shard.
//!
//! Promises: claims and settlements of a batch are decided by `gateway_core::deliver::ledger` and written within one event, between
//! whose awaits nothing else of this object runs; the totals by source change in the same transaction as the rows.
//! Out of scope: handing on.

use super::{SchemaStep, Tables, json};
use crate::platform::sql::{number, optional, rows, run, text, unreadable};
use crate::platform::{clock, sql::Row};
use gateway_core::deliver::ledger::{
    ClaimItem, Claimed, DeliveryRow, LEASE_MS, LedgerCall, LedgerCount, LedgerTotals, LostRow, Outcome, Progress,
    SettleItem, Settled, SourceTotals, State, decide_claim, decide_give_up, decide_settle, stands, tally,
};
use gateway_core::messages::Origin;
use std::collections::BTreeMap;
use worker::{
    DurableObject, Env, Request, Response, Result, SqlStorage, SqlStorageValue, State as ObjectState, durable_object,
};

/// Identifiers sort by the time of receipt, so their order is that of lists. Every index more is a row more that is written, and
/// billed, for each delivery. `key` is unique among the rows that own theirs, so two owners cannot come to be even by mistake.
const SCHEMA: [SchemaStep; 1] = ["
    CREATE TABLE deliveries (
        id TEXT PRIMARY KEY, key TEXT NOT NULL, source TEXT NOT NULL, state INTEGER NOT NULL, attempt INTEGER NOT NULL,
        replay INTEGER NOT NULL, lease_until_ms INTEGER NOT NULL, next_attempt_ms INTEGER, received_at_ms INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL, event_count INTEGER NOT NULL, size_bytes INTEGER NOT NULL, last_status INTEGER,
        last_error TEXT, duplicate_of TEXT) WITHOUT ROWID;
    CREATE INDEX owners ON deliveries (key) WHERE duplicate_of IS NULL;
    CREATE INDEX pending ON deliveries (source, received_at_ms) WHERE state < 2;
    CREATE TABLE totals (source TEXT, outcome TEXT, n INTEGER NOT NULL, PRIMARY KEY (source, outcome)) WITHOUT ROWID;"];

const COLUMNS: &str = "id, source, state, attempt, received_at_ms, updated_at_ms, event_count, size_bytes, replay, \
    next_attempt_ms, last_status, last_error, duplicate_of";

/// A ledger object.
#[durable_object(fetch)]
pub struct DeliveryLedger {
    tables: Tables,
}

impl DurableObject for DeliveryLedger {
    fn new(state: ObjectState, _env: Env) -> Self {
        Self { tables: Tables::set_up(&state, &SCHEMA) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let answer = async |call, sql: &SqlStorage| -> Result<String> {
            Ok(match call {
                LedgerCall::Claim { items } => json(&self.change(|sql, counts, now_ms| {
                    items.iter().map(|item| claim(sql, counts, item, now_ms)).collect::<Result<Vec<Claimed>>>()
                })?)?,
                LedgerCall::Settle { items } => json(&self.change(|sql, counts, now_ms| {
                    let mut settled = Settled::default();
                    for item in &items {
                        settle(sql, counts, item, now_ms, &mut settled)?;
                    }
                    Ok(settled)
                })?)?,
                LedgerCall::GiveUp { items, known } => json(&self.change(|sql, counts, now_ms| {
                    items.iter().map(|item| give_up(sql, counts, item, known, now_ms)).collect::<Result<Vec<State>>>()
                })?)?,
                LedgerCall::Lost { before_ms, suspected_before_ms, limit } => {
                    json(&lost(sql, before_ms, suspected_before_ms, limit)?)?
                }
                LedgerCall::List { source, state, before, limit } => {
                    json(&list(sql, source.as_deref(), state, before, limit)?)?
                }
                LedgerCall::Get { id } => {
                    let found = rows(sql, &format!("SELECT {COLUMNS} FROM deliveries WHERE id = ?"), vec![text(&id)])?;
                    json(&found.first().map(delivery_row).transpose()?)?
                }
                LedgerCall::Expire { before_ms, limit } => {
                    let expired = "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE received_at_ms < ?1 AND \
                        updated_at_ms < ?1 AND state >= 2 ORDER BY id LIMIT ?2) RETURNING id";
                    rows(sql, expired, vec![number(before_ms), number(limit.into())])?.len().to_string()
                }
                LedgerCall::Totals => json(&totals(sql)?)?,
            })
        };
        self.tables.serve(request, answer).await
    }
}

/// What changes in the totals, by source, each a handful: written once for a batch.
type Counts = BTreeMap<String, Vec<(LedgerCount, i64)>>;

impl DeliveryLedger {
    /// Changes rows and totals, as a whole or not at all.
    fn change<T>(&self, work: impl FnOnce(&SqlStorage, &mut Counts, u64) -> Result<T>) -> Result<T> {
        self.tables.transaction(|sql| {
            let mut counts = Counts::new();
            let done = work(sql, &mut counts, clock::now_ms())?;
            for (source, changes) in &counts {
                for (counted, change) in changes.iter().filter(|(_, change)| *change != 0) {
                    run(
                        sql,
                        "INSERT INTO totals (source, outcome, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                        vec![text(source), text(counted.as_str()), SqlStorageValue::Integer(*change)],
                    )?;
                }
            }
            Ok(done)
        })
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
    let Some(from_ms) = item.duplicates_from_ms() else { return Ok(None) };
    let owner = rows(
        sql,
        "SELECT id FROM deliveries WHERE key = ? AND duplicate_of IS NULL AND id <> ? AND received_at_ms >= ? LIMIT 1",
        vec![text(&item.key), text(&item.id), number(from_ms)],
    )?;
    Ok(owner.first().and_then(|row| row.text(0)))
}

/// `only_known`: where there is no row, nothing is done.
fn give_up(sql: &SqlStorage, counts: &mut Counts, item: &ClaimItem, only_known: bool, now_ms: u64) -> Result<State> {
    let (known, owner) = (progress(sql, &item.id)?, owner(sql, item)?);
    let known = known.as_ref().map(|(progress, _)| progress);
    let decided = decide_give_up(known, owner.as_deref(), item.replay).filter(|_| known.is_some() || !only_known);
    let Some(state) = decided else { return Ok(stands(known, item.replay)) };
    let attempt = known.map_or(0, |progress| progress.attempt);
    insert(sql, item, state, attempt, now_ms, owner.as_ref().filter(|_| state == State::Duplicate))?;
    let why = if only_known { "last_error" } else { "NULL" };
    run(
        sql,
        &format!("UPDATE deliveries SET last_error = COALESCE({why}, 'given up by the queue') WHERE id = ?"),
        vec![text(&item.id)],
    )?;
    count(counts, &item.source, known.map(|progress| progress.state), item.origin, state);
    Ok(state)
}

/// A suspicion is a lease that ends long after the one that a claim gives: a claim or a settlement takes it away, and it keeps
/// nobody from claiming, because it lies in the past.
fn lost(sql: &SqlStorage, before_ms: u64, suspected_before_ms: u64, limit: u32) -> Result<Vec<LostRow>> {
    let (old, suspected) = ("state < 2 AND updated_at_ms < ?1", "lease_until_ms > updated_at_ms + ?2");
    let found = rows(
        sql,
        &format!("SELECT {COLUMNS}, key FROM deliveries WHERE {old} AND {suspected} AND lease_until_ms < ?3 LIMIT ?4"),
        vec![number(before_ms), number(LEASE_MS), number(suspected_before_ms), number(limit.into())],
    )?;
    run(
        sql,
        &format!("UPDATE deliveries SET lease_until_ms = ?3 WHERE {old} AND NOT {suspected}"),
        vec![number(before_ms), number(LEASE_MS), number(clock::now_ms())],
    )?;
    let lost = |row: &Row| Ok(LostRow { row: delivery_row(row)?, key: row.text(13).unwrap_or_default() });
    found.iter().map(lost).collect()
}

fn claim(sql: &SqlStorage, counts: &mut Counts, item: &ClaimItem, now_ms: u64) -> Result<Claimed> {
    let known = progress(sql, &item.id)?;
    let owner = owner(sql, item)?;
    let before = known.as_ref().map(|(progress, _)| progress.state);
    let decision = decide_claim(known.as_ref().map(|(progress, _)| progress), owner.as_deref(), item.replay, now_ms);
    match &decision {
        Claimed::Proceed { attempt } => {
            count(counts, &item.source, before, item.origin, State::Claimed);
            insert(sql, item, State::Claimed, *attempt, now_ms, None)?;
        }
        Claimed::Duplicate { of } => {
            insert(sql, item, State::Duplicate, 0, now_ms, Some(of))?;
            count(counts, &item.source, before, item.origin, State::Duplicate);
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
        "INSERT INTO deliveries (id, key, source, state, attempt, replay, lease_until_ms, received_at_ms, updated_at_ms, event_count,
            size_bytes, duplicate_of) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
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

fn settle(sql: &SqlStorage, counts: &mut Counts, item: &SettleItem, now_ms: u64, settled: &mut Settled) -> Result<()> {
    let Some((progress, source)) = progress(sql, &item.id)? else { return Ok(()) };
    let Some(state) = decide_settle(&progress, item.attempt, &item.outcome) else { return Ok(()) };
    settled.counted = settled.counted.saturating_add(1);
    if progress.state == State::Dead && state == State::Delivered {
        settled.revived.push(item.id.clone());
    }
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
        count(counts, &source, Some(progress.state), None, state);
    }
    Ok(())
}

/// Counts the way of a row from one state to another.
fn count(counts: &mut Counts, source: &str, before: Option<State>, origin: Option<Origin>, after: State) {
    for (counted, change) in tally(before, origin, after) {
        let changes = counts.entry(source.to_owned()).or_default();
        match changes.iter_mut().find(|(known, _)| *known == counted) {
            Some((_, sum)) => *sum = sum.saturating_add(change),
            None => changes.push((counted, change)),
        }
    }
}

fn list(
    sql: &SqlStorage,
    source: Option<&str>,
    state: Option<State>,
    before: Option<(u64, String)>,
    limit: u32,
) -> Result<Vec<DeliveryRow>> {
    // No identifier sorts behind it.
    let before_id = before.map_or_else(|| "~".to_owned(), |(_, id)| id);
    let found = rows(
        sql,
        &format!(
            "SELECT {COLUMNS} FROM deliveries WHERE id < ?1 AND (?2 IS NULL OR source = ?2) AND (?3 IS NULL OR state = ?3)
                ORDER BY id DESC LIMIT ?4"
        ),
        vec![
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
    let mut totals = LedgerTotals { storage_bytes: sql.database_size() as u64, ..LedgerTotals::default() };
    for row in rows(sql, "SELECT source, outcome, n FROM totals", vec![])? {
        let (Some(source), Some(outcome), Some(n)) = (row.text(0), row.text(1), row.number(2)) else {
            return Err(unreadable("totals"));
        };
        let source: &mut SourceTotals = totals.sources.entry(source.clone()).or_default();
        match outcome.as_str() {
            "delivered" => source.delivered = n,
            "duplicate" => source.duplicate = n,
            "dead" => source.dead = n,
            "retries" => source.retries = n,
            "readmitted" => source.readmitted = n,
            "revived" => source.revived = n,
            // What another version counted is not this version's to report.
            _ => {}
        }
    }
    for row in rows(
        sql,
        "SELECT source, COUNT(*), MIN(received_at_ms) FROM deliveries WHERE state < 2 GROUP BY source",
        vec![],
    )? {
        let (Some(source), Some(pending)) = (row.text(0), row.number(1)) else { return Err(unreadable("totals")) };
        let source = totals.sources.entry(source.clone()).or_default();
        (source.pending, source.oldest_pending_ms) = (pending, row.number(2));
    }
    Ok(totals)
}
