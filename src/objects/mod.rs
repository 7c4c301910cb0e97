//! The Durable Objects: rows, and the decisions of `gateway-core` applied to them within one event each.
//!
//! Promises:
//! - every object is set up synchronously in its constructor: a gate opened there would not hold after the instance was rebuilt;
//! - an object whose set-up failed answers every call with the reason;
//! - tables that a newer version has changed are left alone, and every call is refused as `newer_schema`.

mod audit_log;
pub(crate) mod clients;
mod counters;
mod dead_letter_store;
mod delivery_ledger;
mod destination;
mod lifecycle;
mod monitor;

pub use audit_log::AuditLog;
pub use counters::Counters;
pub use dead_letter_store::DeadLetterStore;
pub use delivery_ledger::DeliveryLedger;
pub use destination::Destination;
pub use lifecycle::Lifecycle;
pub use monitor::Monitor;

use crate::platform::sql;
use gateway_core::object_refusal::ObjectRefusal;
use gateway_core::schema::{self, NewerSchema};
use serde::{Serialize, de::DeserializeOwned};
use worker::{Error, Request, Response, Result, SqlStorage, State, Storage};

/// A step of an object's schema: SQL that takes its tables from one version to the next. Steps are added at the end, and one that
/// has landed is never changed.
type SchemaStep = &'static str;

/// The SQL of an object whose tables are those of this version, or why they are not.
struct Tables {
    sql: std::result::Result<SqlStorage, ObjectRefusal>,
    storage: Storage,
}

impl Tables {
    /// Takes the tables through the steps that they have not seen, as a whole or not at all.
    fn set_up(state: &State, steps: &[SchemaStep]) -> Self {
        let storage = state.storage();
        let sql = storage.sql();
        let sql = match sql::transaction(&storage, || bring_up(&sql, steps)) {
            Ok(Ok(())) => Ok(sql),
            Ok(Err(newer)) => Err(ObjectRefusal::NewerSchema(newer)),
            Err(error) => Err(ObjectRefusal::Failed(format!("set-up: {error}"))),
        };
        Self { sql, storage }
    }

    /// Does what else has to be done before the first call.
    fn prepared(self, prepare: impl FnOnce(&SqlStorage) -> Result<()>) -> Self {
        let failed = |error: Error| ObjectRefusal::Failed(format!("set-up: {error}"));
        let sql = self.sql.and_then(|sql| prepare(&sql).map(|()| sql).map_err(failed));
        Self { sql, ..self }
    }

    /// Answers a call with the JSON text that `handle` makes of it ([`json`]). No failure is an exception, which would cross to
    /// the caller without a name.
    async fn serve<C, F>(&self, mut request: Request, handle: F) -> Result<Response>
    where
        C: DeserializeOwned,
        F: AsyncFnOnce(C, &SqlStorage) -> Result<String>,
    {
        let sql = match &self.sql {
            Ok(sql) => sql,
            Err(refusal) => return refused(refusal),
        };
        match serde_json::from_str(&request.text().await?) {
            Ok(call) => match handle(call, sql).await {
                Ok(answer) => Response::ok(answer),
                Err(error) => refused(&ObjectRefusal::Failed(error.to_string())),
            },
            Err(error) => refused(&ObjectRefusal::CallNotUnderstood(error.to_string())),
        }
    }

    fn sql(&self) -> Result<&SqlStorage> {
        self.sql.as_ref().map_err(|refusal| Error::RustError(refusal.to_string()))
    }

    /// Does `work` as a whole or not at all.
    fn transaction<T>(&self, work: impl FnOnce(&SqlStorage) -> Result<T>) -> Result<T> {
        let sql = self.sql()?;
        sql::transaction(&self.storage, || work(sql))
    }
}

fn refused(refusal: &ObjectRefusal) -> Result<Response> {
    Response::error(json(refusal)?, refusal.status())
}

/// The JSON text of an answer: a tree in between would double the code for every type.
fn json(answer: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(answer)?)
}

fn bring_up(sql: &SqlStorage, steps: &[SchemaStep]) -> Result<std::result::Result<(), NewerSchema>> {
    let table = "CREATE TABLE IF NOT EXISTS schema (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL)";
    sql::run(sql, table, vec![])?;
    let version = sql::rows(sql, "SELECT version FROM schema", vec![])?;
    let version = version.first().and_then(|row| row.number(0)).unwrap_or(0);
    let missing = match schema::missing(version, steps.len()) {
        Ok(missing) if missing.is_empty() => return Ok(Ok(())),
        Ok(missing) => missing,
        Err(newer) => return Ok(Err(newer)),
    };
    for step in steps.get(missing).unwrap_or_default() {
        sql.exec(step, None)?;
    }
    let seen = "INSERT INTO schema (id, version) VALUES (1, ?) ON CONFLICT DO UPDATE SET version = excluded.version";
    sql::run(sql, seen, vec![sql::number(steps.len() as u64)]).map(Ok)
}
