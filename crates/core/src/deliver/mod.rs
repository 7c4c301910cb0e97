//! Delivering: when a delivery is tried, how often, and what a destination's answer means.

pub mod destination;
pub mod retry_policy;
pub mod scheduler;
