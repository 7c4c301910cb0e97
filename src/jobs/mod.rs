//! What runs by cron: reconciliation, retention, monitoring, the copy of the audit trail.

pub(crate) mod audit_export;
pub(crate) mod monitor;
pub(crate) mod reconcile;
pub(crate) mod retention;
