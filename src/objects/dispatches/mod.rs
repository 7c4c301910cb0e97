//! `DISPATCHES`: the dispatches of one destination.
//!
//! Promises: what `gateway_core::deliver::dispatcher` decides is stored within the event that asked for it, as a whole or not at all;
//! the alarm lets consumers come for what waits, and drops the tables of days that are over. Out of scope: attempts, dead letters.

mod rows;

use super::{Step, Tables};
use crate::platform::body::Body;
use crate::platform::sql::{self, text};
use crate::platform::{clock, log, objects, queue};
use gateway_core::deliver::dispatcher::calls::{DestinationCall, DestinationPolicy, DestinationStatus};
use gateway_core::deliver::dispatcher::{Dispatcher, gate::GateRow, rows::DispatchTotals};
use gateway_core::messages::{Release, release_header};
use gateway_core::time::DAY_MS;
use rows::Rows;
use serde::{Serialize, de::DeserializeOwned};
use std::cell::{Cell, RefCell};
use std::time::Duration;
use worker::{DurableObject, Env, Error, Request, Response, Result, SqlStorage, State, durable_object};

/// Settled rows are in a table for each day (`rows`), so that a day expires without a row that is written.
const SCHEMA: [Step; 1] = ["
    CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE days (day INTEGER PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE suspects (id BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE waiting (
        id BLOB PRIMARY KEY, due_ms INTEGER, since_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, crashes INTEGER NOT NULL,
        dispatch TEXT NOT NULL, history TEXT, frame BLOB NOT NULL) WITHOUT ROWID;
    CREATE INDEX waiting_due ON waiting (due_ms) WHERE due_ms IS NOT NULL;"];

/// How many dispatches a consumer comes for at once: the connections that it has.
const RELEASED_AT_ONCE: u32 = 6;

/// How much later than wanted an alarm may be set already, in milliseconds: setting it is a row that is written.
const ALARM_SLACK_MS: u64 = 100;

/// The object of a destination.
#[durable_object(alarm)]
pub struct Dispatches {
    tables: Tables,
    state: State,
    env: Env,
    /// Nothing holds it across an await.
    destination: RefCell<Option<Dispatcher>>,
    alarm_at_ms: Cell<Option<u64>>,
}

impl DurableObject for Dispatches {
    fn new(state: State, env: Env) -> Self {
        let tables = Tables::set_up(&state, &SCHEMA);
        Self { tables, state, env, destination: RefCell::default(), alarm_at_ms: Cell::new(None) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        objects::serve(request, async |call: DestinationCall| -> Result<String> {
            let answered = self.answer(call);
            if answered.is_err() {
                // What is in memory may be ahead of what was stored.
                self.forget();
            }
            self.wake().await;
            answered
        })
        .await
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_at_ms.set(None);
        if let Err(error) = self.release().await {
            self.forget();
            log::error("release_failed", &[("object", &self.name()), ("error", &error.to_string())]);
        }
        self.wake().await;
        Response::empty()
    }
}

impl Dispatches {
    fn answer(&self, call: DestinationCall) -> Result<String> {
        let now_ms = clock::now_ms();
        match call {
            DestinationCall::Admit { policy, items } => {
                self.keep_policy(&policy)?;
                self.change(|destination, rows| {
                    rows.prefetch(items.iter().map(|item| &item.dispatch))?;
                    destination.admit(rows, &policy, &items, now_ms)
                })
            }
            DestinationCall::Settle { policy, items } => {
                self.keep_policy(&policy)?;
                self.change(|destination, rows| {
                    rows.prefetch(items.iter().map(|item| &item.dispatch))?;
                    destination.settle(rows, &policy, items, now_ms)
                })
            }
            DestinationCall::Take { policy, limit, is_suspect } => {
                self.keep_policy(&policy)?;
                self.change(|destination, rows| destination.take(rows, &policy, limit, is_suspect, now_ms))
            }
            DestinationCall::GiveUp { items } => {
                self.change(|destination, rows| destination.give_up(rows, items, now_ms))
            }
            DestinationCall::Status => {
                let sql = self.tables.sql()?;
                let oldest_waiting_ms = rows::oldest_waiting_ms(sql)?;
                self.with(|destination| {
                    objects::json(&DestinationStatus {
                        gate: *destination.gate().row(),
                        totals: *destination.totals(),
                        in_flight: destination.in_flight(),
                        oldest_waiting_ms,
                    })
                })
            }
            DestinationCall::List { state, before, limit } => {
                objects::json(&rows::list(self.tables.sql()?, state, before.as_deref(), limit)?)
            }
            DestinationCall::Get { id } => objects::json(&rows::get(self.tables.sql()?, &id)?),
            DestinationCall::Pause { is_paused } => {
                self.change(|destination, _| Ok(destination.gate_mut().pause(is_paused, now_ms)))
            }
            DestinationCall::Close => self.change(|destination, _| Ok(destination.gate_mut().close(now_ms).is_some())),
            DestinationCall::Probe => self.change(|destination, _| {
                destination.gate_mut().probe_now(now_ms);
                Ok(())
            }),
        }
    }

    /// Changes the destination and its rows, as a whole or not at all; answers the JSON of what that came to.
    fn change<T: Serialize>(&self, work: impl FnOnce(&mut Dispatcher, &mut Rows<'_>) -> Result<T>) -> Result<String> {
        self.with(|destination| {
            let before = *destination.gate().row();
            let done = self.tables.transaction(|sql| {
                let mut rows = Rows::new(sql);
                let done = work(destination, &mut rows)?;
                if *destination.gate().row() != before {
                    keep(sql, "gate", destination.gate().row())?;
                }
                Ok(done)
            })?;
            objects::json(&done)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Dispatcher) -> Result<T>) -> Result<T> {
        let busy = |_| Error::RustError("the destination is in use".into());
        let mut cell = self.destination.try_borrow_mut().map_err(busy)?;
        if cell.is_none() {
            let sql = self.tables.sql()?;
            let gate: GateRow = kept(sql, "gate")?.unwrap_or_default();
            let totals: DispatchTotals = kept(sql, "totals")?.unwrap_or_default();
            *cell = Some(Dispatcher::new(gate, totals));
        }
        let destination = cell.as_mut().ok_or_else(|| sql::unreadable("destination"))?;
        work(destination)
    }

    fn forget(&self) {
        if let Ok(mut cell) = self.destination.try_borrow_mut() {
            *cell = None;
        }
    }

    /// The alarm has no caller that says what is configured.
    fn keep_policy(&self, policy: &DestinationPolicy) -> Result<()> {
        let sql = self.tables.sql()?;
        if kept::<DestinationPolicy>(sql, "policy")?.as_ref() == Some(policy) {
            Ok(())
        } else {
            keep(sql, "policy", policy)
        }
    }

    /// `source/destination`.
    fn name(&self) -> String {
        self.state.id().name().unwrap_or_default()
    }

    /// Sends consumers for what may be taken, and drops what has expired.
    async fn release(&self) -> Result<()> {
        let now_ms = clock::now_ms();
        let sql = self.tables.sql()?;
        rows::expire(sql, now_ms)?;
        let Some(policy) = kept::<DestinationPolicy>(sql, "policy")? else { return Ok(()) };
        let mut left = self.with(|destination| destination.releasable(&Rows::new(sql), &policy, now_ms))?;
        let name = self.name();
        let (source, destination) = name.split_once('/').unwrap_or((&name, ""));
        while left > 0 {
            let count = left.min(RELEASED_AT_ONCE);
            let release = Release { source: source.into(), destination: destination.into(), count };
            let sent = queue::send(&self.env, queue::RELEASES, &release_header(&release), &Body::Small(vec![])).await;
            sent.map_err(Error::RustError)?;
            left = left.saturating_sub(count);
        }
        Ok(())
    }

    /// Sets the alarm for when something is to be done next.
    async fn wake(&self) {
        if let Err(error) = self.try_wake().await {
            log::error("alarm_not_set", &[("object", &self.name()), ("error", &error.to_string())]);
        }
    }

    async fn try_wake(&self) -> Result<()> {
        let now_ms = clock::now_ms();
        let sql = self.tables.sql()?;
        let waiting = match kept::<DestinationPolicy>(sql, "policy")? {
            Some(policy) => self.with(|destination| destination.wake_at_ms(&Rows::new(sql), &policy, now_ms))?,
            None => None,
        };
        let expiry = rows::first_day(sql)?.map(rows::expires_at_ms);
        let Some(wanted_ms) = [waiting, expiry].into_iter().flatten().min() else { return Ok(()) };
        let wanted_ms = wanted_ms.max(now_ms);
        let storage = self.state.storage();
        let set_ms = match self.alarm_at_ms.get() {
            Some(set_ms) => Some(set_ms),
            // An object that was built again may have one.
            None => storage.get_alarm().await?.and_then(|at_ms| u64::try_from(at_ms).ok()),
        };
        if set_ms.is_some_and(|set_ms| set_ms <= wanted_ms.saturating_add(ALARM_SLACK_MS)) {
            self.alarm_at_ms.set(set_ms);
            return Ok(());
        }
        storage.set_alarm(Duration::from_millis(wanted_ms.saturating_sub(now_ms))).await?;
        self.alarm_at_ms.set(Some(wanted_ms));
        Ok(())
    }
}

fn kept<T: DeserializeOwned>(sql: &SqlStorage, name: &str) -> Result<Option<T>> {
    let found = sql::rows(sql, "SELECT value FROM kept WHERE name = ?", vec![text(name)])?;
    let value = found.first().and_then(|row| row.text(0));
    Ok(value.map(|value| serde_json::from_str(&value)).transpose()?)
}

fn keep(sql: &SqlStorage, name: &str, value: &impl Serialize) -> Result<()> {
    sql::run(
        sql,
        "INSERT INTO kept (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        vec![text(name), text(&objects::json(value)?)],
    )
}

/// The number of a day since the epoch.
const fn day(at_ms: u64) -> u64 {
    at_ms.div_euclid(DAY_MS)
}
