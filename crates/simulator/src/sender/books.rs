//! The sender's accounting: what was sent, what was answered, and what became of every single delivery.

use super::forge::PreparedDelivery;
use super::transport::SendAttempt;
use crate::config::DeliveryKind;
use crate::signature::Digest;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The longest latency that is told from longer ones: ten minutes, in µs.
const LATENCY_MAX_US: u64 = 600_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendOutcome {
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

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRecord {
    /// Its number: 1 for the first, in the order of sending.
    pub number: u64,
    pub subscription: String,
    pub kind: DeliveryKind,
    /// SHA-256 of the body that was sent, in hex.
    #[serde(with = "hex::serde")]
    pub digest: Digest,
    pub bytes: usize,
    /// How many events the body carries, as long as it is genuine.
    pub events: u64,
    pub attempts: u32,
    pub outcome: SendOutcome,
    /// The last status, if any attempt was answered with one.
    pub status: Option<u16>,
    /// The beginning of the last answer.
    pub answer: String,
    pub error: Option<String>,
    /// From the first attempt to the end, retries included, in milliseconds.
    pub duration_ms: u64,
}

/// Latencies of answered attempts, in milliseconds; exact to 1 %.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SenderLatency {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Figures of one kind, or of all: `deliveries = accepted + refused + exhausted + unreachable + aborted + inFlight`, and
/// `attempts = answers + timeouts + connectionErrors` once nothing is in flight and nothing was aborted.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SenderFigures {
    pub deliveries: u64,
    pub accepted: u64,
    pub refused: u64,
    pub exhausted: u64,
    pub unreachable: u64,
    pub aborted: u64,
    pub in_flight: u64,
    pub attempts: u64,
    pub bytes: u64,
    /// Answers by status, of every attempt.
    pub answers: BTreeMap<u16, u64>,
    pub timeouts: u64,
    pub connection_errors: u64,
    pub latency_ms: SenderLatency,
    /// The last answer that was not 2xx, or the last error.
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SenderReport {
    pub total: SenderFigures,
    pub by_kind: BTreeMap<DeliveryKind, SenderFigures>,
    /// Duplicates for which no accepted delivery was there to repeat: sent as valid ones, and counted as such.
    pub substituted: u64,
}

#[derive(Debug)]
struct KindTally {
    figures: SenderFigures,
    latency_us: Histogram<u64>,
}

impl Default for KindTally {
    fn default() -> Self {
        let latency_us = Histogram::new_with_max(LATENCY_MAX_US, 2).expect("the bounds are constants that fit");
        Self { figures: SenderFigures::default(), latency_us }
    }
}

impl KindTally {
    fn figures(&self) -> SenderFigures {
        let latency = &self.latency_us;
        let quantile_ms = |quantile| latency.value_at_quantile(quantile).min(latency.max()) as f64 / 1_000.0;
        let latency_ms = SenderLatency {
            count: latency.len(),
            p50: quantile_ms(0.5),
            p99: quantile_ms(0.99),
            max: quantile_ms(1.0),
        };
        SenderFigures { latency_ms, ..self.figures.clone() }
    }

    fn ended(&mut self, outcome: SendOutcome) {
        let figures = &mut self.figures;
        figures.in_flight -= 1;
        *match outcome {
            SendOutcome::Accepted => &mut figures.accepted,
            SendOutcome::Refused => &mut figures.refused,
            SendOutcome::Exhausted => &mut figures.exhausted,
            SendOutcome::Unreachable => &mut figures.unreachable,
            SendOutcome::Aborted => &mut figures.aborted,
        } += 1;
    }

    fn attempted(&mut self, bytes: usize, attempt: &SendAttempt, took_us: u64) {
        let figures = &mut self.figures;
        figures.attempts += 1;
        figures.bytes += bytes as u64;
        let error = match attempt {
            SendAttempt::Status(status, text) => {
                *figures.answers.entry(*status).or_default() += 1;
                self.latency_us.saturating_record(took_us);
                (!(200..300).contains(status)).then(|| format!("{status} {text}"))
            }
            SendAttempt::Timeout => {
                figures.timeouts += 1;
                Some("no answer in time".to_owned())
            }
            SendAttempt::Connection(error) => {
                figures.connection_errors += 1;
                Some(error.clone())
            }
        };
        figures.last_error = error.or(figures.last_error.take());
    }
}

#[derive(Debug, Default)]
struct BookPages {
    total: KindTally,
    by_kind: BTreeMap<DeliveryKind, KindTally>,
    substituted: u64,
}

/// Books over a set of deliveries: all of a session, or those of one burst.
#[derive(Debug, Default)]
pub(super) struct Books {
    pages: Mutex<BookPages>,
    /// How many deliveries are not over, for waiting.
    pub(super) open: watch::Sender<u64>,
}

impl Books {
    fn each(&self, kind: DeliveryKind, change: impl Fn(&mut KindTally)) {
        let mut pages = self.pages.lock();
        change(&mut pages.total);
        change(pages.by_kind.entry(kind).or_default());
    }

    pub(super) fn started(&self, kind: DeliveryKind) {
        self.each(kind, |tally| {
            tally.figures.deliveries += 1;
            tally.figures.in_flight += 1;
        });
        self.open.send_modify(|open| *open += 1);
    }

    pub(super) fn attempted(&self, prepared: &PreparedDelivery, attempt: &SendAttempt, took_us: u64) {
        self.each(prepared.kind, |tally| tally.attempted(prepared.body.len(), attempt, took_us));
    }

    pub(super) fn ended(&self, kind: DeliveryKind, outcome: SendOutcome) {
        self.each(kind, |tally| tally.ended(outcome));
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    pub(super) fn substituted(&self) {
        self.pages.lock().substituted += 1;
    }

    pub(super) async fn settled(self: Arc<Self>) {
        // The sender of the channel is held here, so that waiting can only end well.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }

    pub(super) fn report(&self) -> SenderReport {
        let pages = self.pages.lock();
        SenderReport {
            total: pages.total.figures(),
            by_kind: pages.by_kind.iter().map(|(kind, tally)| (*kind, tally.figures())).collect(),
            substituted: pages.substituted,
        }
    }
}
