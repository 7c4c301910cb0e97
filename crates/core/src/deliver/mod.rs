//! Delivering: when a delivery is tried, how often, and what a destination's answer means.

pub mod circuit_breaker;
pub mod destination;
pub mod ledger;
pub mod retry_policy;
pub mod scheduler;
