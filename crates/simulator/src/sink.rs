//! The sink: the user's destination on `/sink/{name}`, which counts what arrives and can be told to fail.
//!
//! Promises: every POST is counted; each body is remembered by its SHA-256 and each `webhook-id` by its text, within bounded memory; signatures by
//! Standard Webhooks are checked where a secret was given. A sink exists from its first use.

use crate::signature::{Digest, SignatureCheck, sha256, standard_webhooks};
use axum::http::{HeaderMap, HeaderValue};
use fastrand::Rng;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;

/// How many requests are kept with headers and body, and how much of a body.
const LATEST: usize = 20;
const LATEST_BODY_BYTES: usize = 64 * 1024;

/// How many sinks there can be: every caller makes up names.
const MAX_SINKS: usize = 1_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Behaviour {
    pub status: u16,
    /// For so many requests; without it, until it is cleared.
    pub times: Option<u64>,
    /// How probable at each request, 0 to 1.
    pub probability: f64,
    pub delay_ms: u64,
    /// Cut the connection instead of an answer.
    pub cut: bool,
    pub retry_after_s: Option<u64>,
    /// `Retry-After` as an HTTP date.
    pub http_date: bool,
    /// Quote the request's headers in the answer, one a line, as a careless destination does.
    pub echo_headers: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            status: 200,
            times: None,
            probability: 1.0,
            delay_ms: 0,
            cut: false,
            retry_after_s: None,
            http_date: false,
            echo_headers: false,
        }
    }
}

impl Behaviour {
    /// Answers `status` to the next `times` requests.
    pub fn fail(status: u16, times: u64) -> Self {
        Self { status, times: Some(times), ..Self::default() }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            _ if !(200..=599).contains(&self.status) => Err("status: expected 200 to 599"),
            _ if !(0.0..=1.0).contains(&self.probability) => Err("probability: expected 0 to 1"),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkArrival {
    /// SHA-256, in hex where it is serialised.
    #[serde(with = "hex::serde")]
    pub digest: [u8; 32],
    pub received: u64,
    pub accepted: u64,
    /// First and last time, ms since the epoch.
    pub first_ms: u64,
    pub last_ms: u64,
}

/// A request kept whole, or the beginning of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// When it arrived, ms since the epoch.
    pub at_ms: u64,
    /// What was answered; 0 when the connection was cut.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The first 64 KiB of the body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkReport {
    pub received: u64,
    pub accepted: u64,
    /// Answers by status; 0 for cut connections.
    pub answers: BTreeMap<u16, u64>,
    pub distinct_ids: u64,
    pub distinct_digests: u64,
    /// Different bodies that were accepted at least once.
    pub accepted_digests: u64,
    /// Accepted requests whose `webhook-id` had been accepted before.
    pub duplicates: u64,
    pub without_id: u64,
    /// Signatures that held (only counted with a secret).
    pub good_signatures: u64,
    pub bad_signatures: u64,
    pub unsigned: u64,
    /// Requests whose id or body there was no room to remember.
    pub untracked: u64,
}

#[derive(Debug, Default)]
struct SinkState {
    report: SinkReport,
    secret: Option<String>,
    behaviours: Vec<Behaviour>,
    ids: HashMap<String, u64>,
    digests: BTreeMap<Digest, SinkArrival>,
    latest: VecDeque<Received>,
}

#[derive(Debug)]
pub struct Sink {
    state: Mutex<SinkState>,
    rng: Mutex<Rng>,
    max_entries: usize,
    accepted: watch::Sender<u64>,
}

impl Sink {
    fn new(seed: u64, max_entries: usize) -> Self {
        Self {
            state: Mutex::default(),
            rng: Mutex::new(Rng::with_seed(seed)),
            max_entries,
            accepted: watch::Sender::new(0),
        }
    }

    /// Sets the secret that signatures are checked with: `whsec_` and base64, or any other text as its bytes; `None` ends the checks.
    pub fn set_secret(&self, secret: Option<String>) {
        self.state.lock().secret = secret;
    }

    /// Adds a misbehaviour. The first that applies is used; the error says which field is wrong.
    pub fn behave(&self, behaviour: Behaviour) -> Result<(), &'static str> {
        behaviour.check()?;
        self.state.lock().behaviours.push(behaviour);
        Ok(())
    }

    pub fn behave_well(&self) {
        self.state.lock().behaviours.clear();
    }

    pub fn report(&self) -> SinkReport {
        let state = self.state.lock();
        SinkReport {
            distinct_ids: state.ids.len() as u64,
            distinct_digests: state.digests.len() as u64,
            ..state.report.clone()
        }
    }

    pub fn arrival(&self, digest: &[u8; 32]) -> Option<SinkArrival> {
        self.state.lock().digests.get(digest).copied()
    }

    pub fn arrivals(&self) -> Vec<SinkArrival> {
        self.state.lock().digests.values().copied().collect()
    }

    /// The latest requests, oldest first: at most 20.
    pub fn latest(&self) -> Vec<Received> {
        self.state.lock().latest.iter().cloned().collect()
    }

    /// Waits until `count` requests were accepted since the start or the last reset.
    pub async fn wait_for_accepted(&self, count: u64) {
        // The sender of the channel lives in `self`: waiting can only end well.
        let _ = self.accepted.subscribe().wait_for(|accepted| *accepted >= count).await;
    }

    fn reset(&self) {
        *self.state.lock() = SinkState::default();
        self.accepted.send_replace(0);
    }

    pub(crate) fn behaviour(&self) -> Option<Behaviour> {
        let mut state = self.state.lock();
        let mut rng = self.rng.lock();
        let chosen = state.behaviours.iter_mut().find(|one| one.times != Some(0) && rng.f64() < one.probability)?;
        chosen.times = chosen.times.map(|times| times.saturating_sub(1));
        let chosen = chosen.clone();
        state.behaviours.retain(|one| one.times != Some(0));
        Some(chosen)
    }

    pub(crate) fn record(&self, headers: &HeaderMap, body: &[u8], status: u16, at_ms: u64) {
        let digest = sha256(body);
        let is_accepted = (200..300).contains(&status);
        let mut state = self.state.lock();
        let state = &mut *state;
        let report = &mut state.report;
        report.received += 1;
        report.accepted += u64::from(is_accepted);
        *report.answers.entry(status).or_default() += 1;
        if let Some(secret) = &state.secret {
            match standard_webhooks(secret, headers, body, at_ms) {
                SignatureCheck::Good => report.good_signatures += 1,
                SignatureCheck::Bad => report.bad_signatures += 1,
                SignatureCheck::Missing => report.unsigned += 1,
            }
        }
        let mut tracked = true;
        match headers.get("webhook-id").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()) {
            None => report.without_id += 1,
            Some(id) if state.ids.len() < self.max_entries || state.ids.contains_key(&id) => {
                let accepted = state.ids.entry(id).or_default();
                report.duplicates += u64::from(is_accepted && *accepted > 0);
                *accepted += u64::from(is_accepted);
            }
            Some(_) => tracked = false,
        }
        if state.digests.len() < self.max_entries || state.digests.contains_key(&digest) {
            let new = SinkArrival { digest, first_ms: at_ms, ..SinkArrival::default() };
            let seen = state.digests.entry(digest).or_insert(new);
            seen.received += 1;
            report.accepted_digests += u64::from(is_accepted && seen.accepted == 0);
            seen.accepted += u64::from(is_accepted);
            seen.last_ms = at_ms;
        } else {
            tracked = false;
        }
        report.untracked += u64::from(!tracked);
        if state.latest.len() == LATEST {
            state.latest.pop_front();
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        state.latest.push_back(Received {
            at_ms,
            status,
            headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: String::from_utf8_lossy(body.get(..LATEST_BODY_BYTES).unwrap_or(body)).into_owned(),
        });
        // Still under the lock, so that a waiter that is woken finds the figures.
        self.accepted.send_modify(|accepted| *accepted += u64::from(is_accepted));
    }
}

#[derive(Debug)]
pub(crate) struct Sinks {
    seed: u64,
    max_entries: usize,
    all: Mutex<BTreeMap<String, Arc<Sink>>>,
}

impl Sinks {
    pub(crate) fn new(seed: u64, max_entries: usize) -> Self {
        Self { seed, max_entries, all: Mutex::default() }
    }

    /// The sink of this name, made if need be. `None` when there are too many.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Sink>> {
        let mut all = self.all.lock();
        if !all.contains_key(name) && all.len() >= MAX_SINKS {
            return None;
        }
        let made = all.entry(name.to_owned()).or_insert_with(|| Arc::new(Sink::new(self.seed, self.max_entries)));
        Some(made.clone())
    }

    pub(crate) fn reports(&self) -> BTreeMap<String, SinkReport> {
        self.all.lock().iter().map(|(name, sink)| (name.clone(), sink.report())).collect()
    }

    /// Empties every sink. The sinks stay, because a call may wait at one.
    pub(crate) fn reset(&self) {
        self.all.lock().values().for_each(|sink| sink.reset());
    }
}
