//! Receiving a delivery: who may send, how many bytes are held, what is kept of what is refused.

pub mod body_budget;
pub mod delivery;
pub mod networks;
pub mod quarantine;
