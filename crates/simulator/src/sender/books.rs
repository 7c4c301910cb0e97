//! The sender's accounting: what was sent, what was answered, and what became of every single delivery.

use super::forge::Prepared;
use super::histogram::Histogram;
use super::transport::Answer;
use crate::config::Kind;
use crate::lock::lock;
use crate::signature::{Digest, hex};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered with 2xx: from here on the receiver answers for it.
    Accepted,
    /// Answered with a status that the policy does not repeat: final.
    Refused,
    /// Timeouts, 429 or 5xx until the retries were used up.
    Exhausted,
    /// No connection, or it broke, and the policy does not repeat that.
    Unreachable,
    /// Dropped by a reset or by the end of the simulator.
    Aborted,
}

/// One delivery that is over.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRecord {
    /// Its number: 1 for the first, in the order of sending.
    pub number: u64,
    /// The subscription's id.
    pub subscription: String,
    /// What it was made to be.
    pub kind: Kind,
    /// SHA-256 of the body that was sent, in hex.
    #[serde(serialize_with = "as_hex")]
    pub digest: Digest,
    /// Length of the body.
    pub bytes: usize,
    /// How many events the body carries, as long as it is genuine.
    pub events: u64,
    /// How often it was sent.
    pub attempts: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// The last status, if any attempt was answered with one.
    pub status: Option<u16>,
    /// The beginning of the last answer.
    pub answer: String,
    /// The last error, if the last attempt had one.
    pub error: Option<String>,
    /// From the first attempt to the end, retries included, in milliseconds.
    pub duration_ms: u64,
}

fn as_hex<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(digest))
}

/// Latencies of answered attempts, in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// How many attempts were answered.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// Half are faster.
    pub p50: f64,
    /// Nine in ten are faster.
    pub p90: f64,
    /// 99 in 100 are faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// Figures of one kind, or of all: `deliveries = accepted + refused + exhausted + unreachable + aborted + inFlight`, and
/// `attempts = answers + timeouts + connectionErrors` once nothing is in flight and nothing was aborted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Deliveries started.
    pub deliveries: u64,
    /// See [`Outcome::Accepted`].
    pub accepted: u64,
    /// See [`Outcome::Refused`].
    pub refused: u64,
    /// See [`Outcome::Exhausted`].
    pub exhausted: u64,
    /// See [`Outcome::Unreachable`].
    pub unreachable: u64,
    /// See [`Outcome::Aborted`].
    pub aborted: u64,
    /// Deliveries that are not over.
    pub in_flight: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Body bytes of these requests.
    pub bytes: u64,
    /// Answers by status, of every attempt.
    pub answers: BTreeMap<u16, u64>,
    /// Attempts without an answer in time.
    pub timeouts: u64,
    /// Attempts whose connection failed.
    pub connection_errors: u64,
    /// Latency of the answered attempts.
    pub latency_ms: Latency,
    /// The last answer that was not 2xx, or the last error.
    pub last_error: Option<String>,
}

/// Figures by kind and in all.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// All kinds together.
    pub total: Figures,
    /// Each kind that was sent.
    pub by_kind: BTreeMap<Kind, Figures>,
    /// Duplicates for which no accepted delivery was there to repeat: sent as valid ones, and counted as such.
    pub substituted: u64,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    deliveries: u64,
    outcomes: [u64; 5],
    attempts: u64,
    bytes: u64,
    answers: BTreeMap<u16, u64>,
    timeouts: u64,
    connection_errors: u64,
    latency: Histogram,
    last_error: Option<String>,
}

impl Tally {
    fn figures(&self) -> Figures {
        let [accepted, refused, exhausted, unreachable, aborted] = self.outcomes;
        let latency = &self.latency;
        Figures {
            deliveries: self.deliveries,
            accepted,
            refused,
            exhausted,
            unreachable,
            aborted,
            in_flight: self.deliveries.saturating_sub(self.outcomes.iter().sum()),
            attempts: self.attempts,
            bytes: self.bytes,
            answers: self.answers.clone(),
            timeouts: self.timeouts,
            connection_errors: self.connection_errors,
            latency_ms: Latency {
                count: latency.count(),
                mean: latency.mean_ms(),
                p50: latency.quantile_ms(0.5),
                p90: latency.quantile_ms(0.9),
                p99: latency.quantile_ms(0.99),
                max: latency.max_ms(),
            },
            last_error: self.last_error.clone(),
        }
    }

    fn attempted(&mut self, bytes: usize, answer: &Answer, took_us: u64) {
        self.attempts += 1;
        self.bytes += bytes as u64;
        match answer {
            Answer::Status(status, text) => {
                *self.answers.entry(*status).or_default() += 1;
                self.latency.add(took_us);
                if !(200..300).contains(status) {
                    self.last_error = Some(format!("{status} {text}"));
                }
            }
            Answer::Timeout => {
                self.timeouts += 1;
                self.last_error = Some("no answer in time".to_owned());
            }
            Answer::Connection(error) => {
                self.connection_errors += 1;
                self.last_error = Some(error.clone());
            }
        }
    }
}

#[derive(Debug, Default)]
struct Pages {
    total: Tally,
    by_kind: BTreeMap<Kind, Tally>,
    substituted: u64,
}

/// Books over a set of deliveries: all of a session, or those of one burst.
#[derive(Debug, Default)]
pub(super) struct Books {
    pages: Mutex<Pages>,
    /// How many deliveries are not over, for those who wait.
    pub(super) open: watch::Sender<u64>,
}

impl Books {
    fn each(&self, kind: Kind, change: impl Fn(&mut Tally)) {
        let mut pages = lock(&self.pages);
        change(&mut pages.total);
        change(pages.by_kind.entry(kind).or_default());
    }

    pub(super) fn started(&self, kind: Kind) {
        self.each(kind, |tally| tally.deliveries += 1);
        self.open.send_modify(|open| *open += 1);
    }

    pub(super) fn attempted(&self, prepared: &Prepared, answer: &Answer, took_us: u64) {
        self.each(prepared.kind, |tally| tally.attempted(prepared.body.len(), answer, took_us));
    }

    pub(super) fn ended(&self, kind: Kind, outcome: Outcome) {
        self.each(kind, |tally| tally.outcomes[outcome as usize] += 1);
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    pub(super) fn substituted(&self) {
        lock(&self.pages).substituted += 1;
    }

    /// Waits until every delivery that was started is over.
    pub(super) async fn settled(self: Arc<Self>) {
        // The sender of the channel is held here, so that waiting can only end well.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }

    pub(super) fn report(&self) -> Report {
        let pages = lock(&self.pages);
        Report {
            total: pages.total.figures(),
            by_kind: pages.by_kind.iter().map(|(kind, tally)| (*kind, tally.figures())).collect(),
            substituted: pages.substituted,
        }
    }
}
