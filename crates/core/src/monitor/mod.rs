//! The health monitor: which sources are silent, what is wrong, and which notices are sent.

pub mod alerts;
pub mod calls;
pub mod evaluation;
pub mod readiness;
pub mod silence;
