//! A circuit as the API, the metrics and the alerts show it.
//!
//! Promise: nothing of an address that may be secret. Out of scope: where it is shown.

use super::Circuit;
use serde::{Deserialize, Serialize};

impl Circuit {
    /// What the API, the metrics and the alerts show of it.
    pub fn row(self, source: &str, url: Option<String>, now_ms: u64) -> CircuitRow {
        let out = self.open.as_ref().and_then(|open| open.probe_until_ms).is_some_and(|until_ms| now_ms < until_ms);
        CircuitRow {
            source: source.into(),
            url,
            state: match &self.open {
                None => CircuitState::Closed,
                Some(_) if out => CircuitState::Probing,
                Some(_) => CircuitState::Open,
            },
            failing_since_ms: self.failing_since_ms,
            consecutive_failures: self.failures,
            opened_at_ms: self.open.as_ref().map(|open| open.since_ms),
            next_probe_ms: self.open.as_ref().map(|open| open.next_probe_ms),
            delay_s: self.open.as_ref().map(|open| open.delay_ms.div_euclid(1000)),
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
    /// The object did not answer; the consumers take such a circuit for closed.
    Unknown,
}

impl CircuitState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::Probing, Self::Unknown];

    /// The name in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
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
    /// When the first failure since the last success ended, milliseconds since the epoch.
    pub failing_since_ms: Option<u64>,
    /// Failures since the last success.
    pub consecutive_failures: u64,
    /// Since when it is open, milliseconds since the epoch.
    pub opened_at_ms: Option<u64>,
    /// When the next probe is due, milliseconds since the epoch.
    pub next_probe_ms: Option<u64>,
    /// The wait between two probes, in seconds.
    pub delay_s: Option<u64>,
    /// The last failure, secrets removed; kept when the destination works again.
    pub last_error: Option<String>,
    /// Its HTTP status.
    pub last_status: Option<u16>,
}

impl CircuitRow {
    /// The row of a circuit whose object did not answer.
    pub fn unknown(source: &str, url: Option<String>, error: String) -> Self {
        let row = Circuit::default().row(source, url, 0);
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
