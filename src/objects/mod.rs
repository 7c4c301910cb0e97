//! The Durable Objects: rows, and the decisions of `gateway-core` applied to them within one event each.
//!
//! Promise: every object is set up synchronously in its constructor (a gate opened there would not hold after the
//! instance was rebuilt), and answers an error instead of failing when that set-up failed.

mod audit_log;
mod counters;
mod dead_letter_store;
mod delivery_ledger;
mod destination;
mod lifecycle;
mod watch;

pub use audit_log::AuditLog;
pub(crate) use audit_log::OBJECT as AUDIT_OBJECT;
pub use counters::Counters;
pub use dead_letter_store::DeadLetterStore;
pub use delivery_ledger::DeliveryLedger;
pub use destination::Destination;
pub use lifecycle::Lifecycle;
pub use watch::Watch;

use crate::platform::sql;
use worker::{SqlStorage, State, Storage};

/// The SQL of an object whose tables exist, or why they do not.
struct Tables {
    sql: Result<SqlStorage, String>,
    storage: Storage,
}

impl Tables {
    /// Creates what is missing.
    fn set_up(state: &State, schema: &str) -> Self {
        let storage = state.storage();
        let sql = storage.sql();
        let created = sql.exec(schema, None).map(|_| ());
        Self { sql: created.map(|()| sql).map_err(|error| error.to_string()), storage }
    }

    /// Does what else has to be done before the first call.
    fn prepared(self, prepare: impl FnOnce(&SqlStorage) -> worker::Result<()>) -> Self {
        let sql = self.sql.and_then(|sql| prepare(&sql).map(|()| sql).map_err(|error| error.to_string()));
        Self { sql, ..self }
    }

    fn sql(&self) -> worker::Result<&SqlStorage> {
        self.sql.as_ref().map_err(|error| worker::Error::RustError(format!("set-up failed: {error}")))
    }

    /// Does `work` as a whole or not at all.
    fn transaction<T>(&self, work: impl FnOnce(&SqlStorage) -> worker::Result<T>) -> worker::Result<T> {
        let sql = self.sql()?;
        sql::transaction(&self.storage, || work(sql))
    }
}
