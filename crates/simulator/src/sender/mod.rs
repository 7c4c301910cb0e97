//! The sender: delivers signed events to every subscription that is enabled, as Genesys would, and keeps books about each of them.
//!
//! Promises: nothing is ever sent to an address that is not loopback; at most `maxInFlight` requests wait for answers and at most `maxPending`
//! deliveries are unfinished; what is sent depends on the seed and the delivery's number only (and on the time, in timestamps). Subscriptions
//! take turns. Filter expressions other than `"true"` are not evaluated: they take every event of their type.

mod books;
mod forge;
mod session;
mod target;
mod transport;

use crate::clock::now_ms;
use crate::config::{DeliveryKind, SimulatorSettings};
use crate::seed::of_item;
use crate::store::SubscriptionStore;
use forge::PreparedDelivery;
use parking_lot::Mutex;
use serde::Deserialize;
use session::{Permit, Session, millis};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

pub use books::{DeliveryRecord, SendOutcome, SenderFigures, SenderLatency, SenderReport};
pub(crate) use target::loopback;

const MAX_BURST: u64 = 1_000_000;

/// How far a dispatcher that fell behind catches up.
const MAX_BACKLOG: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    #[error(
        "no subscription that is enabled, ready and at a loopback address (http://127.0.0.1, http://[::1], http://localhost)"
    )]
    NoSubscription,
    #[error("{0}")]
    Invalid(&'static str),
    #[error("aborted by a reset")]
    Aborted,
}

/// A number of deliveries that ends by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Burst {
    /// How many deliveries, of kinds drawn from the mix.
    pub count: u64,
    /// Exactly so many of each kind, in shuffled order, on top of `count`. A duplicate waits until there is something to repeat.
    pub counts: BTreeMap<DeliveryKind, u64>,
    /// Deliveries a second; as fast as `maxInFlight` allows when absent.
    pub rate: Option<f64>,
    pub subscription: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BurstReport {
    /// The number of its first delivery. Numbers of deliveries sent at the same time by others may lie in between.
    pub first_number: u64,
    pub last_number: u64,
    /// How long it took, retries included, in milliseconds.
    pub duration_ms: u64,
    #[serde(flatten)]
    pub report: SenderReport,
}

#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SenderState {
    /// Deliveries a second while it runs.
    pub rate: Option<f64>,
    /// The figures since the start or the last reset.
    #[serde(flatten)]
    pub report: SenderReport,
    /// Deliveries that are over and counted, but for whose records there was no room.
    pub records_dropped: u64,
}

pub struct Sender {
    seed: u64,
    next: AtomicU64,
    max_records: usize,
    store: Arc<Mutex<SubscriptionStore>>,
    settings: Arc<Mutex<Arc<SimulatorSettings>>>,
    client: reqwest::Client,
    session: Mutex<Arc<Session>>,
}

impl Sender {
    pub(crate) fn new(
        seed: u64,
        max_records: usize,
        store: Arc<Mutex<SubscriptionStore>>,
        settings: Arc<Mutex<Arc<SimulatorSettings>>>,
    ) -> Self {
        let session = Mutex::new(Arc::new(Session::new(&settings.lock().clone(), max_records)));
        Self { seed, next: AtomicU64::new(1), max_records, store, settings, client: transport::client(), session }
    }

    /// Starts to send `rate` deliveries a second, or changes the rate of what is running. Until there is a subscription nothing is sent.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(self: &Arc<Self>, rate: f64) -> Result<(), SenderError> {
        check_rate(rate)?;
        let session = self.session();
        let mut running = session.rate.lock();
        if let Some(current) = running.as_ref() {
            current.send_replace(Some(rate));
        } else {
            let (sender, receiver) = watch::channel(Some(rate));
            *running = Some(sender);
            tokio::spawn(self.clone().dispatch(session.clone(), receiver));
        }
        Ok(())
    }

    /// Stops sending and waits until everything in flight is over, retries (and bursts) included.
    pub async fn stop(&self) -> SenderState {
        let session = self.session();
        let running = session.rate.lock().take();
        if let Some(rate) = running {
            rate.send_replace(None);
            // The dispatcher may be about to launch one more: it holds a receiver until it has ended.
            rate.closed().await;
        }
        session.books.clone().settled().await;
        self.state()
    }

    pub async fn send_exactly(&self, count: u64) -> Result<BurstReport, SenderError> {
        self.burst(Burst { count, ..Burst::default() }).await
    }

    pub fn state(&self) -> SenderState {
        let session = self.session();
        let rate = session.rate.lock().as_ref().and_then(|rate| *rate.borrow());
        SenderState { rate, report: session.books.report(), records_dropped: session.records_dropped() }
    }

    /// What became of the deliveries for which `pick` returns something.
    pub fn records<T>(&self, pick: impl FnMut(&DeliveryRecord) -> Option<T>) -> Vec<T> {
        self.session().records(pick)
    }

    pub(crate) fn reset(&self) {
        let fresh = Arc::new(Session::new(&self.settings(), self.max_records));
        let old = std::mem::replace(&mut *self.session.lock(), fresh);
        old.abort();
    }

    fn session(&self) -> Arc<Session> {
        self.session.lock().clone()
    }

    fn settings(&self) -> Arc<SimulatorSettings> {
        self.settings.lock().clone()
    }

    async fn dispatch(self: Arc<Self>, session: Arc<Session>, mut rates: watch::Receiver<Option<f64>>) {
        let mut due = Instant::now();
        loop {
            let Some(rate) = *rates.borrow_and_update() else { return };
            due = due.min(Instant::now() + Duration::from_secs_f64(1.0 / rate));
            tokio::select! {
                biased;
                _ = rates.changed() => continue,
                () = tokio::time::sleep_until(due) => {}
            }
            let permit = tokio::select! {
                biased;
                _ = rates.changed() => continue,
                permit = session.permit() => permit,
            };
            let Some(permit) = permit else { return };
            let kind = forge::kind(&mut of_item(!self.seed, self.next.load(Ordering::Relaxed)), &self.settings());
            // Without a subscription there is nothing to do until the next time.
            let _ = self.launch(&session, kind, None, permit, &[]);
            due = following(due, rate);
        }
    }

    /// Sends what `burst` says and waits for the end of it, retries included.
    pub async fn burst(&self, burst: Burst) -> Result<BurstReport, SenderError> {
        if let Some(rate) = burst.rate {
            check_rate(rate)?;
        }
        let total = burst.counts.values().fold(burst.count, |sum, count| sum.saturating_add(*count));
        if total == 0 || total > MAX_BURST {
            return Err(SenderError::Invalid("count, counts: expected 1 to 1,000,000 deliveries"));
        }
        let session = self.session();
        let first_number = self.next.load(Ordering::Relaxed);
        let mut rng = of_item(!self.seed, first_number);
        let settings = self.settings();
        let mut kinds: Vec<DeliveryKind> = (0..burst.count).map(|_| forge::kind(&mut rng, &settings)).collect();
        for (kind, count) in &burst.counts {
            kinds.extend((0..*count).map(|_| *kind));
        }
        rng.shuffle(&mut kinds);
        // Something to repeat comes before the first repetition.
        let first = |wanted| kinds.iter().position(|kind| *kind == wanted);
        if let (Some(duplicate), Some(valid)) = (first(DeliveryKind::Duplicate), first(DeliveryKind::Valid))
            && duplicate < valid
        {
            kinds.swap(duplicate, valid);
        }
        let books = [Arc::<books::Books>::default()];
        let mut tasks = JoinSet::new();
        let (started, mut due) = (Instant::now(), Instant::now());
        let only = burst.subscription.as_deref();
        for kind in kinds {
            if let Some(rate) = burst.rate {
                tokio::time::sleep_until(due).await;
                due = following(due, rate);
            }
            if kind == DeliveryKind::Duplicate && session.repeatable(only).is_empty() {
                books[0].clone().settled().await;
            }
            let permit = session.permit().await.ok_or(SenderError::Aborted)?;
            let task = self.launch(&session, kind, only, permit, &books)?;
            // Held so that their end can be waited for; not aborted when this burst's caller leaves.
            tasks.spawn(task);
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
        let report = books[0].report();
        if report.total.aborted > 0 {
            return Err(SenderError::Aborted);
        }
        Ok(BurstReport {
            first_number,
            last_number: self.next.load(Ordering::Relaxed) - 1,
            duration_ms: millis(started.elapsed()),
            report,
        })
    }

    fn launch(
        &self,
        session: &Arc<Session>,
        kind: DeliveryKind,
        only: Option<&str>,
        permit: Permit,
        books: &[Arc<books::Books>],
    ) -> Result<JoinHandle<DeliveryRecord>, SenderError> {
        let now_ms = now_ms();
        let number = self.next.load(Ordering::Relaxed);
        let target = target::choose(&self.store.lock(), only, number, now_ms).ok_or(SenderError::NoSubscription)?;
        // Numbers are taken by deliveries only; two that draw at the same time get different ones here.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let fresh = |kind| forge::prepare(self.seed, number, kind, target, &self.settings(), now_ms);
        let prepared = if kind == DeliveryKind::Duplicate {
            self.repeat(session, number, only, now_ms).unwrap_or_else(|| {
                for books in std::iter::once(&session.books).chain(books) {
                    books.substituted();
                }
                fresh(DeliveryKind::Valid)
            })
        } else {
            fresh(kind)
        };
        Ok(self.spawn(session, prepared, permit, books))
    }

    /// The bytes of an accepted delivery once more, signed as its subscription signs today.
    fn repeat(&self, session: &Session, number: u64, only: Option<&str>, now_ms: u64) -> Option<PreparedDelivery> {
        let one = of_item(self.seed, number).choice(session.repeatable(only))?;
        let target = target::choose(&self.store.lock(), Some(&one.subscription), number, now_ms)?;
        Some(forge::signed(number, DeliveryKind::Duplicate, target, one.body, one.events))
    }

    fn spawn(
        &self,
        session: &Arc<Session>,
        prepared: PreparedDelivery,
        permit: Permit,
        books: &[Arc<books::Books>],
    ) -> JoinHandle<DeliveryRecord> {
        let all: Vec<_> = std::iter::once(session.books.clone()).chain(books.iter().cloned()).collect();
        for books in &all {
            books.started(prepared.kind);
        }
        let policy = self.settings().policy.clone();
        tokio::spawn(session.clone().deliver(self.client.clone(), policy, prepared, permit, all))
    }
}

fn check_rate(rate: f64) -> Result<(), SenderError> {
    let right = (0.001..=100_000.0).contains(&rate);
    right.then_some(()).ok_or(SenderError::Invalid("rate: expected deliveries a second, 0.001 to 100,000"))
}

/// The next due time after `due`, not further back than the backlog.
fn following(due: Instant, rate: f64) -> Instant {
    let now = Instant::now();
    let next = due + Duration::from_secs_f64(1.0 / rate);
    next.max(now.checked_sub(MAX_BACKLOG).unwrap_or(now))
}
