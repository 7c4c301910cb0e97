//! Whose fault an error is.
//!
//! Promise: five parties, with names that are stored and shown. Out of scope: what the party has to do, which the
//! error's message says.

use serde::{Deserialize, Serialize};

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorFault {
    /// This program, which sent a wrong request.
    Ours,
    /// The operator, by credentials, permissions, names or addresses.
    Configuration,
    /// The vendor, which failed or sent an answer that makes no sense.
    Vendor,
    /// The network, which brought no answer.
    Network,
    /// No party. The condition passes by itself.
    TryAgain,
}
