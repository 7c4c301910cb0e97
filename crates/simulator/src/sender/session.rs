//! One stretch of sending, from the start or a reset to the next reset: its books, its limits, and the life of each delivery.

use super::books::{Books, DeliveryRecord, SendOutcome};
use super::forge::PreparedDelivery;
use super::transport::{SendAttempt, attempt};
use crate::config::{DeliveryKind, DeliveryPolicy, SimulatorSettings};
use axum::body::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// How many accepted bodies are kept to be repeated as duplicates, and how many bytes.
const REPEATABLE: usize = 256;
const REPEATABLE_BYTES: usize = 32 * 1024 * 1024;

#[derive(Clone)]
pub(super) struct Repeatable {
    pub(super) subscription: String,
    pub(super) body: Bytes,
    pub(super) events: u64,
}

/// The right to have one delivery under way: one of the unfinished, and one of those that wait for an answer.
pub(super) struct Permit {
    pending: OwnedSemaphorePermit,
    slot: OwnedSemaphorePermit,
}

pub(super) struct Session {
    pub(super) books: Arc<Books>,
    records: Mutex<Vec<DeliveryRecord>>,
    max_records: usize,
    repeatable: Mutex<VecDeque<Repeatable>>,
    slots: Arc<Semaphore>,
    pending: Arc<Semaphore>,
    aborted: watch::Sender<bool>,
    /// Of the running dispatcher: deliveries a second, `None` to stop. Empty while none runs.
    pub(super) rate: Mutex<Option<watch::Sender<Option<f64>>>>,
}

/// A delivery that is not over. It counts as over when this is dropped, even when its task is dropped with the runtime.
struct OpenDelivery {
    books: Vec<Arc<Books>>,
    record: DeliveryRecord,
}

impl Drop for OpenDelivery {
    fn drop(&mut self) {
        for books in &self.books {
            books.ended(self.record.kind, self.record.outcome);
        }
    }
}

impl Session {
    pub(super) fn new(settings: &SimulatorSettings, max_records: usize) -> Self {
        Self {
            books: Arc::default(),
            records: Mutex::default(),
            max_records,
            repeatable: Mutex::default(),
            slots: Arc::new(Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS))),
            pending: Arc::new(Semaphore::new(settings.max_pending.min(Semaphore::MAX_PERMITS))),
            aborted: watch::Sender::new(false),
            rate: Mutex::new(None),
        }
    }

    pub(super) fn abort(&self) {
        self.aborted.send_replace(true);
        if let Some(rate) = self.rate.lock().take() {
            rate.send_replace(None);
        }
    }

    /// Waits for room; `None` once the session was aborted. Dropped while it waits, it has taken nothing.
    pub(super) async fn permit(&self) -> Option<Permit> {
        let pending = self.unless_aborted(self.pending.clone().acquire_owned()).await?.ok()?;
        let slot = self.unless_aborted(self.slots.clone().acquire_owned()).await?.ok()?;
        Some(Permit { pending, slot })
    }

    async fn unless_aborted<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut aborted = self.aborted.subscribe();
        tokio::select! {
            biased;
            _ = aborted.wait_for(|aborted| *aborted) => None,
            value = future => Some(value),
        }
    }

    /// The accepted deliveries that can be repeated, the oldest first; of one subscription if `only` names it.
    pub(super) fn repeatable(&self, only: Option<&str>) -> Vec<Repeatable> {
        self.repeatable.lock().iter().filter(|one| only.is_none_or(|id| id == one.subscription)).cloned().collect()
    }

    fn remember(&self, prepared: &PreparedDelivery) {
        let mut kept = self.repeatable.lock();
        kept.push_back(Repeatable {
            subscription: prepared.target.id.clone(),
            body: prepared.body.clone(),
            events: prepared.events,
        });
        while kept.len() > REPEATABLE || kept.iter().map(|one| one.body.len()).sum::<usize>() > REPEATABLE_BYTES {
            kept.pop_front();
        }
    }

    /// The records in the order in which the deliveries ended, and how many there was no room for.
    pub(super) fn records<T>(&self, pick: impl FnMut(&DeliveryRecord) -> Option<T>) -> Vec<T> {
        self.records.lock().iter().filter_map(pick).collect()
    }

    pub(super) fn records_dropped(&self) -> u64 {
        let total = self.books.report().total;
        (total.deliveries - total.in_flight).saturating_sub(self.records.lock().len() as u64)
    }

    /// Carries a delivery through: attempts, pauses, and the entry in the books.
    pub(super) async fn deliver(
        self: Arc<Self>,
        client: reqwest::Client,
        policy: DeliveryPolicy,
        prepared: PreparedDelivery,
        permit: Permit,
        books: Vec<Arc<Books>>,
    ) -> DeliveryRecord {
        let started = Instant::now();
        let record = DeliveryRecord {
            number: prepared.number,
            subscription: prepared.target.id.clone(),
            kind: prepared.kind,
            digest: prepared.digest,
            bytes: prepared.body.len(),
            events: prepared.events,
            attempts: 0,
            outcome: SendOutcome::Aborted,
            status: None,
            answer: String::new(),
            error: None,
            duration_ms: 0,
        };
        let mut open = OpenDelivery { books, record };
        let Permit { pending, slot } = permit;
        // `None`: aborted, and the record says so already.
        if let Some(outcome) = self.attempts(&client, &policy, &prepared, slot, &mut open).await {
            open.record.outcome = outcome;
        }
        open.record.duration_ms = millis(started.elapsed());
        if open.record.outcome == SendOutcome::Accepted && prepared.kind == DeliveryKind::Valid {
            self.remember(&prepared);
        }
        let record = open.record.clone();
        let mut records = self.records.lock();
        if records.len() < self.max_records {
            records.push(record.clone());
        }
        drop(records);
        drop(pending);
        // Last: a caller that waits for the end finds the record.
        drop(open);
        record
    }

    async fn attempts(
        &self,
        client: &reqwest::Client,
        policy: &DeliveryPolicy,
        prepared: &PreparedDelivery,
        first_slot: OwnedSemaphorePermit,
        OpenDelivery { books, record }: &mut OpenDelivery,
    ) -> Option<SendOutcome> {
        let mut slot = first_slot;
        loop {
            let sent = Instant::now();
            record.attempts += 1;
            let attempt = self.unless_aborted(attempt(client, prepared, policy.timeout_ms)).await?;
            let took_us = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
            for books in books.iter() {
                books.attempted(prepared, &attempt, took_us);
            }
            drop(slot);
            let (ending, repeats) = match attempt {
                SendAttempt::Status(status, text) => {
                    (record.status, record.answer, record.error) = (Some(status), text, None);
                    match status {
                        200..=299 => (SendOutcome::Accepted, false),
                        429 | 500..=599 => (SendOutcome::Exhausted, true),
                        _ => (SendOutcome::Refused, false),
                    }
                }
                SendAttempt::Timeout => {
                    record.error = Some(format!("no answer in {} ms", policy.timeout_ms));
                    (SendOutcome::Exhausted, true)
                }
                SendAttempt::Connection(error) => {
                    record.error = Some(error);
                    (SendOutcome::Unreachable, false)
                }
            };
            if !repeats || record.attempts > policy.retries {
                return Some(ending);
            }
            // A delivery that waits for its retry takes no slot: others go on.
            self.unless_aborted(tokio::time::sleep(Duration::from_millis(policy.retry_pause_ms))).await?;
            slot = self.unless_aborted(self.slots.clone().acquire_owned()).await?.ok()?;
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
