//! Delivering: when a delivery is tried, how often, and what a destination's answer means.

pub mod dispatcher;
pub mod retry_policy;
pub mod scheduler;
