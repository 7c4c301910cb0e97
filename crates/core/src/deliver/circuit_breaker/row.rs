//! A circuit as the API, the metrics and the alerts show it.
//!
//! Promise: nothing of an address that may be secret. Out of scope: where it is shown.

use super::{AttemptSign, Circuit, Settings};
use serde::{Deserialize, Serialize};

impl Circuit {
    /// What the API, the metrics and the alerts show of it.
    pub fn row(self, source: &str, url: Option<String>, settings: &Settings, now_ms: u64) -> CircuitRow {
        let from_ms = now_ms.saturating_sub(settings.window_ms);
        let calls: Vec<_> = self.window.iter().filter(|call| call.at_ms >= from_ms).collect();
        let is_held = now_ms < self.held_until_ms;
        CircuitRow {
            source: source.into(),
            url,
            state: match self.open {
                _ if self.paused_since_ms.is_some() => CircuitState::Paused,
                Some(open) if open.is_probing && now_ms < open.probe_at_ms => CircuitState::Probing,
                Some(_) => CircuitState::Open,
                None if is_held => CircuitState::Held,
                None => CircuitState::Closed,
            },
            calls: calls.len(),
            failures: calls.iter().filter(|call| call.sign == AttemptSign::Failure).count(),
            opened_at_ms: self.open.map(|open| open.since_ms),
            next_probe_ms: self.open.map(|open| open.probe_at_ms),
            held_until_ms: is_held.then_some(self.held_until_ms),
            paused_since_ms: self.paused_since_ms,
            last_error: self.last_error,
            last_status: self.last_status,
        }
    }
}

/// The state of a circuit in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Deliveries are handed on.
    Closed,
    /// They wait.
    Open,
    /// They wait for the probe that is out.
    Probing,
    /// They wait because the destination asked for it.
    Held,
    /// They wait because a person said so.
    Paused,
    /// The object did not answer; the consumers take such a circuit for closed.
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
    /// Calls within its window.
    pub calls: usize,
    /// Those that failed.
    pub failures: usize,
    /// Since when it is open, milliseconds since the epoch.
    pub opened_at_ms: Option<u64>,
    /// When the next probe is due, or the one that is out is given up, milliseconds since the epoch.
    pub next_probe_ms: Option<u64>,
    /// Until when the destination asked to be left alone, milliseconds since the epoch.
    pub held_until_ms: Option<u64>,
    /// Since when a person has it paused, milliseconds since the epoch.
    pub paused_since_ms: Option<u64>,
    /// The last failure, secrets removed; kept when the destination works again.
    pub last_error: Option<String>,
    /// Its HTTP status.
    pub last_status: Option<u16>,
}

impl CircuitRow {
    /// The row of a circuit whose object did not answer.
    pub fn unknown(source: &str, url: Option<String>, error: String) -> Self {
        let row = Circuit::default().row(source, url, &Settings::default(), 0);
        Self { state: CircuitState::Unknown, last_error: Some(error), ..row }
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
