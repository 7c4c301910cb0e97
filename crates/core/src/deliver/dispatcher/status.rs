//! Where a destination stands, in words for people and metrics.
//!
//! Promise: what could not be read is unknown, never fine. Out of scope: what is decided.

use super::calls::DestinationStatus;
use serde::{Deserialize, Serialize};

/// The state of a circuit in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Deliveries are handed on.
    Closed,
    /// They wait.
    Open,
    /// They wait for a probe that is due or out.
    Probing,
    /// They wait because the destination asked for it.
    Held,
    /// They wait because a person said so.
    Paused,
    /// The object did not answer.
    Unknown,
}

impl CircuitState {
    /// All states.
    pub const ALL: [Self; 6] = [Self::Closed, Self::Open, Self::Probing, Self::Held, Self::Paused, Self::Unknown];

    /// The name in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }
}

/// What is shown of the circuit of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitRow {
    /// Name of the source.
    pub source: String,
    /// Its destination without query and credentials; `null` is the archive.
    pub url: Option<String>,
    /// The state.
    pub state: CircuitState,
    /// Since when it is open, milliseconds since the epoch.
    pub opened_at_ms: Option<u64>,
    /// When the next probe is due, milliseconds since the epoch.
    pub next_probe_ms: Option<u64>,
    /// Until when the destination asked to be left alone, milliseconds since the epoch.
    pub held_until_ms: Option<u64>,
    /// Dispatches that wait.
    pub waiting: Option<u64>,
    /// Dispatches that consumers have in hand.
    pub in_flight: Option<u32>,
    /// When the oldest of what waits was received, milliseconds since the epoch.
    pub oldest_waiting_ms: Option<u64>,
}

impl CircuitRow {
    /// The row of a source's destination; `status`: nothing where its object did not answer.
    pub fn new(source: &str, url: Option<String>, status: Option<&DestinationStatus>, now_ms: u64) -> Self {
        let gate = status.map(|status| status.gate);
        let open = gate.and_then(|gate| gate.open);
        let held_until_ms = gate.map(|gate| gate.held_until_ms).filter(|until_ms| *until_ms > now_ms);
        let state = match (gate, open) {
            (None, _) => CircuitState::Unknown,
            (Some(gate), _) if gate.is_paused => CircuitState::Paused,
            (Some(_), Some(open)) if now_ms >= open.probe_at_ms => CircuitState::Probing,
            (Some(_), Some(_)) => CircuitState::Open,
            (Some(_), None) if held_until_ms.is_some() => CircuitState::Held,
            (Some(_), None) => CircuitState::Closed,
        };
        Self {
            source: source.into(),
            url,
            state,
            opened_at_ms: open.map(|open| open.since_ms),
            next_probe_ms: open.map(|open| open.probe_at_ms),
            held_until_ms,
            waiting: status.map(|status| status.totals.waiting),
            in_flight: status.map(|status| status.in_flight),
            oldest_waiting_ms: status.and_then(|status| status.oldest_waiting_ms),
        }
    }
}

/// An address as it is shown: without credentials, query and fragment, which may hold keys.
pub fn shown_url(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = plain.split_once("://") else { return plain.into() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
}
