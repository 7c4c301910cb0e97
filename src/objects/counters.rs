//! `COUNTERS`: sums of what isolates have counted.
//!
//! Promises: a flush counts once, however often it arrives: its isolate's last number and the sums change together.
//! Isolates that have been silent for a day are forgotten. Out of scope: adding up the shards.

use super::{SchemaStep, Tables, json};
use crate::platform::{clock, sql};
use gateway_core::metrics::counters::{CountersCall, Flush, LastSeen, Series, Totals};
use gateway_core::time::DAY_MS;
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, SqlStorageValue, State, durable_object};

const SCHEMA: [SchemaStep; 1] = ["
    CREATE TABLE isolates (isolate TEXT PRIMARY KEY, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE series (metric TEXT, source TEXT, label TEXT, value INTEGER NOT NULL,
        PRIMARY KEY (metric, source, label)) WITHOUT ROWID;
    CREATE TABLE seen (source TEXT PRIMARY KEY, request_ms INTEGER, delivery_ms INTEGER) WITHOUT ROWID;"];

/// Precision of the times at which sources were last heard of, in milliseconds: a busy source is not worth a written row with
/// every flush, and silence is measured in minutes.
const SEEN_STEP_MS: u64 = 1_000;

#[durable_object(fetch)]
pub struct Counters {
    tables: Tables,
}

impl DurableObject for Counters {
    fn new(state: State, _env: Env) -> Self {
        Self { tables: Tables::set_up(&state, &SCHEMA) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let answer = async |call, sql: &SqlStorage| match call {
            CountersCall::Add(flush) => json(&self.tables.transaction(|sql| add(sql, &flush))?),
            CountersCall::Read => json(&read(sql)?),
        };
        self.tables.serve(request, answer).await
    }
}

fn add(sql: &SqlStorage, flush: &Flush) -> Result<()> {
    let known = sql::rows(sql, "SELECT seq FROM isolates WHERE isolate = ?", vec![sql::text(&flush.isolate)])?;
    if known.first().and_then(|row| row.number(0)).is_some_and(|seq| seq >= flush.seq) {
        return Ok(());
    }
    for (Series(metric, source, label), n) in &flush.deltas {
        sql::run(
            sql,
            "INSERT INTO series (metric, source, label, value) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
            vec![sql::text(metric.as_str()), sql::text(source), sql::text(label), sql::number(*n)],
        )?;
    }
    for LastSeen { source, request_ms, delivery_ms } in flush.seen() {
        let time = |ms: Option<u64>| ms.map_or(SqlStorageValue::Null, sql::number);
        sql::run(
            sql,
            "INSERT INTO seen (source, request_ms, delivery_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET
                request_ms = NULLIF(MAX(COALESCE(request_ms, 0), COALESCE(excluded.request_ms, 0)), 0),
                delivery_ms = NULLIF(MAX(COALESCE(delivery_ms, 0), COALESCE(excluded.delivery_ms, 0)), 0)
                WHERE COALESCE(excluded.request_ms, 0) > COALESCE(request_ms, 0) + ?4
                OR COALESCE(excluded.delivery_ms, 0) > COALESCE(delivery_ms, 0) + ?4",
            vec![sql::text(&source), time(request_ms), time(delivery_ms), sql::number(SEEN_STEP_MS)],
        )?;
    }
    let now_ms = clock::now_ms();
    sql::run(
        sql,
        "INSERT OR REPLACE INTO isolates (isolate, seq, at_ms) VALUES (?, ?, ?)",
        vec![sql::text(&flush.isolate), sql::number(flush.seq), sql::number(now_ms)],
    )?;
    if flush.seq == 1 {
        // A new isolate is the rare moment to forget old ones: none lives for a day without counting.
        sql::run(sql, "DELETE FROM isolates WHERE at_ms < ?", vec![sql::number(now_ms.saturating_sub(DAY_MS))])?;
    }
    Ok(())
}

fn read(sql: &SqlStorage) -> Result<Totals> {
    let mut totals = Totals::default();
    for row in sql::rows(sql, "SELECT metric, source, label, value FROM series", vec![])? {
        let (Some(metric), Some(source), Some(label), Some(value)) =
            (row.text(0), row.text(1), row.text(2), row.number(3))
        else {
            return Err(sql::unreadable("series"));
        };
        // A metric that another version counted is not this version's to report.
        if let Ok(metric) = metric.parse() {
            totals.series.push((Series(metric, source, label), value));
        }
    }
    for row in sql::rows(sql, "SELECT source, request_ms, delivery_ms FROM seen", vec![])? {
        let source = row.text(0).ok_or_else(|| sql::unreadable("seen"))?;
        totals.seen.push(LastSeen { source, request_ms: row.number(1), delivery_ms: row.number(2) });
    }
    Ok(totals)
}
