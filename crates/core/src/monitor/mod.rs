//! Watching over the gateway: what is silent, what is wrong, and who is told.

pub mod alerts;
pub mod calls;
pub mod readiness;
pub mod silence;
