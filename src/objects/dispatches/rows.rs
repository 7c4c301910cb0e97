//! The rows of a destination's object in SQL.
//!
//! Promises: settled rows are in a table for each day, found by key and by delivery with one row and one entry of an index each; a day
//! that is over is dropped as a whole; what a batch asks for is read with one statement a table. Out of scope: decisions.

use super::{day, keep};
use crate::platform::sql::{Row, blob, number, optional, rows, run, text, unreadable};
use gateway_core::dead_letters::BodyText;
use gateway_core::deliver::dispatcher::calls::DispatchRow;
use gateway_core::deliver::dispatcher::rows::{
    AttemptRecord, Dispatch, DispatchState, DispatchStore, SettledRow, DispatchTotals, WaitingRow,
};
use gateway_core::messages::id::{id_bytes, id_from_bytes, id_time_ms};
use gateway_core::time::DAY_MS;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use worker::{Error, Result, SqlStorage, SqlStorageValue};

/// Days that a settled dispatch is remembered, as long as its key keeps duplicates away.
const REMEMBERED_DAYS: u64 = 8;

/// Parameters that a statement may have (Durable Objects, limits: 100).
const MAX_PARAMETERS: usize = 100;

const SETTLED: &str = "key, id, state, round, attempts, settled_at_ms, event_count, size_bytes, more";

/// What most settled rows do not have.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct More {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<AttemptRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The store of one call.
pub(super) struct Rows<'s> {
    sql: &'s SqlStorage,
    days: RefCell<Option<Vec<u64>>>,
    /// Settled rows by key, where they were asked for before.
    settled: BTreeMap<String, Vec<SettledRow>>,
}

impl<'s> Rows<'s> {
    pub(super) const fn new(sql: &'s SqlStorage) -> Self {
        Self { sql, days: RefCell::new(None), settled: BTreeMap::new() }
    }

    /// Reads the settled rows of all keys of a batch.
    pub(super) fn prefetch<'d>(&mut self, dispatches: impl Iterator<Item = &'d Dispatch>) -> Result<()> {
        let keys: Vec<&str> = dispatches.map(|dispatch| dispatch.key.as_str()).collect();
        for key in &keys {
            self.settled.entry((*key).to_owned()).or_default();
        }
        for day in self.days()? {
            for keys in keys.chunks(MAX_PARAMETERS) {
                let marks = vec!["?"; keys.len()].join(", ");
                let parameters = keys.iter().map(|key| key_blob(key)).collect::<Result<Vec<_>>>()?;
                let found =
                    rows(self.sql, &format!("SELECT {SETTLED} FROM settled_{day} WHERE key IN ({marks})"), parameters)?;
                for row in &found {
                    let row = settled_row(row)?;
                    self.settled.entry(row.dispatch.key.clone()).or_default().push(row);
                }
            }
        }
        Ok(())
    }

    fn days(&self) -> Result<Vec<u64>> {
        let mut known = self.days.try_borrow_mut().map_err(|_| unreadable("days"))?;
        if known.is_none() {
            *known = Some(all_days(self.sql)?);
        }
        Ok(known.clone().unwrap_or_default())
    }

    fn of_key(&self, key: &str) -> Result<Vec<SettledRow>> {
        if let Some(known) = self.settled.get(key) {
            return Ok(known.clone());
        }
        let mut found = vec![];
        for day in self.days()? {
            let statement = format!("SELECT {SETTLED} FROM settled_{day} WHERE key = ?");
            for row in rows(self.sql, &statement, vec![key_blob(key)?])? {
                found.push(settled_row(&row)?);
            }
        }
        Ok(found)
    }

    /// Makes the table of a day.
    fn make(&self, day: u64) -> Result<()> {
        if self.days()?.contains(&day) {
            return Ok(());
        }
        run(
            self.sql,
            &format!(
                "CREATE TABLE settled_{day} (
                    key BLOB NOT NULL, id BLOB NOT NULL, state INTEGER NOT NULL, round INTEGER NOT NULL, attempts INTEGER NOT NULL,
                    settled_at_ms INTEGER NOT NULL, event_count INTEGER NOT NULL, size_bytes INTEGER NOT NULL, more TEXT,
                    PRIMARY KEY (key, id)) WITHOUT ROWID"
            ),
            vec![],
        )?;
        run(self.sql, &format!("CREATE INDEX settled_{day}_id ON settled_{day} (id)"), vec![])?;
        run(self.sql, "INSERT INTO days (day) VALUES (?)", vec![number(day)])?;
        *self.days.try_borrow_mut().map_err(|_| unreadable("days"))? = None;
        Ok(())
    }
}

impl DispatchStore for Rows<'_> {
    type Error = Error;

    fn settled(&self, id: &str, key: &str) -> Result<Option<SettledRow>> {
        Ok(self.of_key(key)?.into_iter().find(|row| row.dispatch.id == id))
    }

    fn owner(&self, id: &str, key: &str, from_ms: u64) -> Result<Option<String>> {
        let owns = |row: &SettledRow| {
            row.dispatch.id != id
                && row.dispatch.received_at_ms >= from_ms
                && matches!(row.state, DispatchState::Delivered | DispatchState::Dead)
        };
        Ok(self.of_key(key)?.into_iter().find(owns).map(|row| row.dispatch.id))
    }

    fn settle(&mut self, row: &SettledRow) -> Result<()> {
        let SettledRow { dispatch, state, settled_at_ms, attempts, history, detail } = row;
        self.unsettle(&dispatch.id, &dispatch.key)?;
        let day = day(*settled_at_ms);
        self.make(day)?;
        let more = More { history: history.clone(), detail: detail.clone() };
        let more = if more == More::default() { None } else { Some(serde_json::to_string(&more)?) };
        run(
            self.sql,
            &format!("INSERT INTO settled_{day} ({SETTLED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"),
            vec![
                key_blob(&dispatch.key)?,
                id_blob(&dispatch.id)?,
                number(*state as u64),
                number(dispatch.round.into()),
                number((*attempts).into()),
                number(*settled_at_ms),
                number(dispatch.event_count),
                number(dispatch.size_bytes),
                optional(more.as_deref()),
            ],
        )?;
        if let Some(known) = self.settled.get_mut(&dispatch.key) {
            known.push(row.clone());
        }
        run(self.sql, "DELETE FROM suspects WHERE id = ?", vec![id_blob(&dispatch.id)?])
    }

    fn unsettle(&mut self, id: &str, key: &str) -> Result<()> {
        if self.settled(id, key)?.is_none() {
            return Ok(());
        }
        for day in self.days()? {
            let statement = format!("DELETE FROM settled_{day} WHERE key = ? AND id = ?");
            run(self.sql, &statement, vec![key_blob(key)?, id_blob(id)?])?;
        }
        if let Some(known) = self.settled.get_mut(key) {
            known.retain(|row| row.dispatch.id != id);
        }
        Ok(())
    }

    fn waiting(&self, id: &str) -> Result<Option<WaitingRow>> {
        let found = rows(self.sql, &waiting_where("id = ?"), vec![id_blob(id)?])?;
        found.first().map(waiting_row).transpose()
    }

    fn wait(&mut self, row: &WaitingRow) -> Result<()> {
        let WaitingRow { dispatch, due_ms, since_ms, attempts, crashes, history, frame } = row;
        let history = if history.is_empty() { None } else { Some(serde_json::to_string(history)?) };
        let frame = frame.to_bytes().ok_or_else(|| unreadable("frame"))?;
        run(
            self.sql,
            "INSERT OR REPLACE INTO waiting (id, due_ms, since_ms, attempts, crashes, dispatch, history, frame)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            vec![
                id_blob(&dispatch.id)?,
                due_ms.map_or(SqlStorageValue::Null, number),
                number(*since_ms),
                number((*attempts).into()),
                number((*crashes).into()),
                text(&serde_json::to_string(dispatch)?),
                optional(history.as_deref()),
                blob(frame),
            ],
        )
    }

    fn unwait(&mut self, id: &str) -> Result<()> {
        run(self.sql, "DELETE FROM waiting WHERE id = ?", vec![id_blob(id)?])
    }

    fn due(&self, now_ms: u64, limit: usize) -> Result<Vec<WaitingRow>> {
        let found = rows(
            self.sql,
            &waiting_where("due_ms IS NOT NULL AND due_ms <= ? ORDER BY due_ms LIMIT ?"),
            vec![number(now_ms), number(limit as u64)],
        )?;
        found.iter().map(waiting_row).collect()
    }

    fn parked(&self, limit: usize) -> Result<Vec<WaitingRow>> {
        let found = rows(self.sql, &waiting_where("due_ms IS NULL ORDER BY id LIMIT ?"), vec![number(limit as u64)])?;
        found.iter().map(waiting_row).collect()
    }

    fn next_due_ms(&self) -> Result<Option<u64>> {
        let found =
            rows(self.sql, "SELECT due_ms FROM waiting WHERE due_ms IS NOT NULL ORDER BY due_ms LIMIT 1", vec![])?;
        Ok(found.first().and_then(|row| row.number(0)))
    }

    fn suspect(&mut self, id: &str) -> Result<u32> {
        let found = rows(
            self.sql,
            "INSERT INTO suspects (id, n) VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n",
            vec![id_blob(id)?],
        )?;
        let n = found.first().and_then(|row| row.number(0)).unwrap_or(1);
        Ok(u32::try_from(n).unwrap_or(u32::MAX))
    }

    fn save(&mut self, totals: &DispatchTotals) -> Result<()> {
        keep(self.sql, "totals", totals)
    }
}

fn waiting_where(condition: &str) -> String {
    format!("SELECT due_ms, since_ms, attempts, crashes, dispatch, history, frame FROM waiting WHERE {condition}")
}

fn key_blob(key: &str) -> Result<SqlStorageValue> {
    u128::from_str_radix(key, 16).map(|key| blob(key.to_be_bytes().to_vec())).map_err(|_| unreadable("key"))
}

fn id_blob(id: &str) -> Result<SqlStorageValue> {
    id_bytes(id).map(|bytes| blob(bytes.to_vec())).ok_or_else(|| unreadable("identifier"))
}

fn small(row: &Row, column: usize) -> Option<u32> {
    row.number(column).and_then(|n| u32::try_from(n).ok())
}

fn settled_row(row: &Row) -> Result<SettledRow> {
    let read = || {
        let key: [u8; 16] = row.blob(0)?.try_into().ok()?;
        let id = id_from_bytes(row.blob(1)?.try_into().ok()?);
        let more: More = row.text(8).map(|more| serde_json::from_str(&more)).transpose().ok()?.unwrap_or_default();
        Some(SettledRow {
            dispatch: Dispatch {
                received_at_ms: id_time_ms(&id).unwrap_or(0),
                id,
                key: format!("{:032x}", u128::from_be_bytes(key)),
                duplicates_from_ms: None,
                round: small(row, 3)?,
                origin: None,
                event_count: row.number(6)?,
                size_bytes: row.number(7)?,
            },
            state: DispatchState::from_number(row.number(2)?)?,
            settled_at_ms: row.number(5)?,
            attempts: small(row, 4)?,
            history: more.history,
            detail: more.detail,
        })
    };
    read().ok_or_else(|| unreadable("settled dispatch"))
}

fn waiting_row(row: &Row) -> Result<WaitingRow> {
    let read = || {
        Some(WaitingRow {
            due_ms: row.number(0),
            since_ms: row.number(1)?,
            attempts: small(row, 2)?,
            crashes: small(row, 3)?,
            dispatch: serde_json::from_str(&row.text(4)?).ok()?,
            history: row.text(5).map(|text| serde_json::from_str(&text)).transpose().ok()?.unwrap_or_default(),
            frame: BodyText::from_bytes(&row.blob(6)?),
        })
    };
    read().ok_or_else(|| unreadable("waiting dispatch"))
}

fn all_days(sql: &SqlStorage) -> Result<Vec<u64>> {
    let found = rows(sql, "SELECT day FROM days ORDER BY day DESC", vec![])?;
    Ok(found.iter().filter_map(|row| row.number(0)).collect())
}

/// The oldest day that has a table.
pub(super) fn first_day(sql: &SqlStorage) -> Result<Option<u64>> {
    Ok(all_days(sql)?.last().copied())
}

/// When the table of a day is dropped.
pub(super) const fn expires_at_ms(day: u64) -> u64 {
    day.saturating_add(1).saturating_add(REMEMBERED_DAYS).saturating_mul(DAY_MS)
}

/// Drops the tables of days that are over.
pub(super) fn expire(sql: &SqlStorage, now_ms: u64) -> Result<()> {
    for day in all_days(sql)?.into_iter().filter(|day| expires_at_ms(*day) <= now_ms) {
        run(sql, &format!("DROP TABLE settled_{day}"), vec![])?;
        run(sql, "DELETE FROM days WHERE day = ?", vec![number(day)])?;
    }
    Ok(())
}

/// When the oldest of what waits was received.
pub(super) fn oldest_waiting_ms(sql: &SqlStorage) -> Result<Option<u64>> {
    let found = rows(sql, "SELECT id FROM waiting ORDER BY id LIMIT 1", vec![])?;
    let id = found.first().and_then(|row| row.blob(0)?.try_into().ok()).map(id_from_bytes);
    Ok(id.and_then(|id| id_time_ms(&id)))
}

fn of_settled(row: SettledRow) -> DispatchRow {
    let SettledRow { dispatch, state, settled_at_ms, attempts, history, detail } = row;
    DispatchRow {
        id: dispatch.id,
        status: state.as_str().into(),
        received_at_ms: dispatch.received_at_ms,
        updated_at_ms: settled_at_ms,
        next_attempt_ms: None,
        attempts,
        round: dispatch.round,
        event_count: dispatch.event_count,
        size_bytes: dispatch.size_bytes,
        detail,
        history,
    }
}

fn of_waiting(row: WaitingRow) -> DispatchRow {
    let WaitingRow { dispatch, due_ms, since_ms, attempts, history, .. } = row;
    DispatchRow {
        id: dispatch.id,
        status: DispatchState::Waiting.as_str().into(),
        received_at_ms: dispatch.received_at_ms,
        updated_at_ms: history.last().map_or(since_ms, |last| last.at_ms),
        next_attempt_ms: due_ms,
        attempts,
        round: dispatch.round,
        event_count: dispatch.event_count,
        size_bytes: dispatch.size_bytes,
        detail: None,
        history,
    }
}

/// Dispatches, the newest delivery first. Every statement reads `limit` rows at most where no state is asked for, and by steps of
/// them where one is.
pub(super) fn list(
    sql: &SqlStorage,
    state: Option<DispatchState>,
    before: Option<&str>,
    limit: u32,
) -> Result<Vec<DispatchRow>> {
    let before = match before {
        Some(id) => id_blob(id)?,
        None => blob(vec![0xff; 17]),
    };
    let limit = u64::from(limit);
    let mut found = vec![];
    if state.is_none_or(|state| state == DispatchState::Waiting) {
        let waiting =
            rows(sql, &waiting_where("id < ? ORDER BY id DESC LIMIT ?"), vec![before.clone(), number(limit)])?;
        for row in &waiting {
            found.push(of_waiting(waiting_row(row)?));
        }
    }
    if state != Some(DispatchState::Waiting) {
        for day in all_days(sql)? {
            let statement = format!(
                "SELECT {SETTLED} FROM settled_{day} WHERE id < ?1 AND (?2 IS NULL OR state = ?2) ORDER BY id DESC LIMIT ?3"
            );
            let state = state.map_or(SqlStorageValue::Null, |state| number(state as u64));
            for row in &rows(sql, &statement, vec![before.clone(), state, number(limit)])? {
                found.push(of_settled(settled_row(row)?));
            }
        }
    }
    found.sort_by(|a, b| b.id.cmp(&a.id));
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
}

/// One dispatch.
pub(super) fn get(sql: &SqlStorage, id: &str) -> Result<Option<DispatchRow>> {
    if let Some(row) = rows(sql, &waiting_where("id = ?"), vec![id_blob(id)?])?.first() {
        return Ok(Some(of_waiting(waiting_row(row)?)));
    }
    for day in all_days(sql)? {
        let found = rows(sql, &format!("SELECT {SETTLED} FROM settled_{day} WHERE id = ?"), vec![id_blob(id)?])?;
        if let Some(row) = found.first() {
            return Ok(Some(of_settled(settled_row(row)?)));
        }
    }
    Ok(None)
}
