//! The Durable Objects: rows, and the decisions of `gateway-core` applied to them within one event each.
//!
//! Promise: every object is set up synchronously in its constructor (a gate opened there would not hold after the
//! instance was rebuilt), and answers an error instead of failing when that set-up failed.

mod audit_log;
mod counters;
mod dead_letter_store;
mod dispatches;
mod lifecycle;
mod watch;

pub use audit_log::AuditLog;
pub(crate) use audit_log::OBJECT as AUDIT_OBJECT;
pub use counters::Counters;
pub use dead_letter_store::DeadLetterStore;
pub use dispatches::Dispatches;
pub use lifecycle::Lifecycle;
pub use watch::Watch;

use crate::platform::sql;
use gateway_core::schema;
use worker::{Error, Result, SqlStorage, State, Storage};

/// The SQL of an object whose tables exist, or why they do not.
struct Tables {
    sql: std::result::Result<SqlStorage, String>,
    storage: Storage,
}

/// A step of an object's schema: SQL that takes its tables from one version to the next. Steps are added at the end, and one that
/// has landed is never changed.
type Step = &'static str;

impl Tables {
    /// Takes the tables through the steps that they have not seen, as a whole or not at all. Tables that a newer version has
    /// changed are left alone, and every call fails until that version is back.
    fn set_up(state: &State, steps: &[Step]) -> Self {
        let storage = state.storage();
        let sql = storage.sql();
        let prepared = sql::transaction(&storage, || bring_up(&sql, steps));
        Self { sql: prepared.map(|()| sql).map_err(|error| error.to_string()), storage }
    }

    /// Does what else has to be done before the first call.
    fn prepared(self, prepare: impl FnOnce(&SqlStorage) -> Result<()>) -> Self {
        let sql = self.sql.and_then(|sql| prepare(&sql).map(|()| sql).map_err(|error| error.to_string()));
        Self { sql, ..self }
    }

    fn sql(&self) -> Result<&SqlStorage> {
        self.sql.as_ref().map_err(|error| Error::RustError(format!("set-up failed: {error}")))
    }

    /// Does `work` as a whole or not at all.
    fn transaction<T>(&self, work: impl FnOnce(&SqlStorage) -> Result<T>) -> Result<T> {
        let sql = self.sql()?;
        sql::transaction(&self.storage, || work(sql))
    }
}

fn bring_up(sql: &SqlStorage, steps: &[Step]) -> Result<()> {
    sql::run(
        sql,
        "CREATE TABLE IF NOT EXISTS schema (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL)",
        vec![],
    )?;
    let version =
        sql::rows(sql, "SELECT version FROM schema", vec![])?.first().and_then(|row| row.number(0)).unwrap_or(0);
    let missing = schema::missing(version, steps.len()).map_err(|error| Error::RustError(error.to_string()))?;
    if missing.is_empty() {
        return Ok(());
    }
    for step in steps.get(missing).unwrap_or_default() {
        sql.exec(step, None)?;
    }
    let version = vec![sql::number(steps.len() as u64)];
    sql::run(
        sql,
        "INSERT INTO schema (id, version) VALUES (1, ?) ON CONFLICT DO UPDATE SET version = excluded.version",
        version,
    )
}
