//! Where alerts are sent, and from when on.
//!
//! Promise: the address is checked as that of a destination. Out of scope: when an alert is raised (`crate::monitor::alerts`).

use super::binding::{bindings, url};
use super::reader::Table;
use crate::monitor::alerts::{DEFAULT_DEAD_LETTERS_OVER, Rules};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertDestination {
    pub url: String,
    /// Names of the Worker secrets that sign towards it, one at least.
    pub secrets: Vec<String>,
    pub dead_letters_over: u64,
    /// After so many seconds an alert that is still raised is told again.
    pub repeat_after_s: Option<u64>,
}

impl AlertDestination {
    /// The rules of an evaluation; without a destination no alert is sent.
    pub fn rules(destination: Option<&Self>) -> Rules {
        Rules {
            dead_letters_over: destination.map_or(DEFAULT_DEAD_LETTERS_OVER, |to| to.dead_letters_over),
            repeat_after_ms: destination.and_then(|to| to.repeat_after_s).map(|s| s.saturating_mul(1000)),
            told: destination.is_some(),
        }
    }
}

pub(super) fn read(table: &Table<'_>, allow_private: bool) -> Option<AlertDestination> {
    let url = url(table, allow_private);
    // A receiver that pages people must be able to tell who has sent what.
    let secrets = bindings(table, "secret");
    if table.value("secret").is_none() {
        table.problem("secret", "is missing: alerts are signed; name a Worker secret");
    }
    let dead_letters_over = table.number("dead_letters_over", 0, 1_000_000_000).unwrap_or(DEFAULT_DEAD_LETTERS_OVER);
    // Less than an evaluation apart is not possible, and more than a month is never.
    let repeat_after_s = table.number("repeat_after_s", 300, 2_592_000);
    Some(AlertDestination { url: url?, secrets, dead_letters_over, repeat_after_s })
}
