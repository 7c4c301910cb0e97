//! The Durable Objects: rows, and the decisions of `gateway-core` applied to them within one event each.
//!
//! Promise: every object is set up synchronously in its constructor (a gate opened there would not hold after the
//! instance was rebuilt), and answers an error instead of failing when that set-up failed.

mod audit_log;
mod counters;
mod dead_letter_store;
mod delivery_ledger;
mod lifecycle;

pub use audit_log::AuditLog;
pub(crate) use audit_log::OBJECT as AUDIT_OBJECT;
pub use counters::Counters;
pub use dead_letter_store::DeadLetterStore;
pub use delivery_ledger::DeliveryLedger;
pub use lifecycle::Lifecycle;

use worker::{SqlStorage, State};

/// The SQL of an object whose tables exist, or why they do not.
struct Tables(Result<SqlStorage, String>);

impl Tables {
    /// Creates what is missing.
    fn set_up(state: &State, schema: &str) -> Self {
        let sql = state.storage().sql();
        let created = sql.exec(schema, None).map(|_| ());
        Self(created.map(|()| sql).map_err(|error| error.to_string()))
    }

    /// Does what else has to be done before the first call.
    fn prepared(self, prepare: impl FnOnce(&SqlStorage) -> worker::Result<()>) -> Self {
        Self(self.0.and_then(|sql| prepare(&sql).map(|()| sql).map_err(|error| error.to_string())))
    }

    fn sql(&self) -> worker::Result<&SqlStorage> {
        self.0.as_ref().map_err(|error| worker::Error::RustError(format!("set-up failed: {error}")))
    }
}
