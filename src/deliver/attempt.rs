//! One claimed delivery: tried, given up or released, and what the ledger is told of it.
//!
//! Promises: a dead letter is on its way before the ledger calls a delivery dead; a message that goes back to the queue is
//! sent again as a new one before the queue would give it up. Out of scope: claims and settlements (`deliveries`), what an
//! answer means (`gateway_core::deliver::retry_policy`).

use super::destination::{Attempt, hand_on};
use crate::config::Configured;
use crate::deliver::letter::{failed, send_letter};
use crate::platform::body::RawBody;
use crate::platform::queue::{self, QueueMessage};
use crate::platform::{clock, log, r2};
use gateway_core::deliver::circuit_breaker::{AttemptSign, EndedAttempt, sign, wait_s};
use gateway_core::deliver::ledger::{ClaimItem, Outcome, SettleItem};
use gateway_core::deliver::retry_policy::{Verdict, has_waited_too_long, judge, least_held_ms};
use gateway_core::messages::{BodyRef, DeadLetter, Delivery, reason};
use worker::Env;

/// How long a delivery waits whose ledger object or stored body cannot be reached, in seconds.
pub(super) const STORAGE_DELAY_S: u32 = 10;

/// How long a delivery waits whose destination has used up its part of a batch, in seconds.
const RELEASED_DELAY_S: u32 = 5;

/// The schedule of a delivery whose source is not configured any more: an hour, in which bringing the source back delivers
/// what waits.
const UNCONFIGURED_SCHEDULE_S: [u32; 12] = [300; 12];

/// A delivery of the batch, decoded.
pub(super) struct Work<'m> {
    pub(super) message: &'m QueueMessage,
    pub(super) delivery: Delivery,
    pub(super) inline: Vec<u8>,
    pub(super) shard: String,
    pub(super) key: String,
    /// The attempt that the ledger has granted.
    pub(super) attempt: u32,
    /// Whether it is given up untried: it has waited too long for its destination's circuit.
    pub(super) is_given_up: bool,
}

impl Work<'_> {
    pub(super) fn claim_item(&self) -> ClaimItem {
        ClaimItem::of_delivery(self.key.clone(), &self.delivery)
    }

    /// What an attempt has to fetch of the body, in bytes.
    pub(super) fn fetched_bytes(&self) -> u64 {
        if let BodyRef::Stored { size_bytes, .. } = &self.delivery.body { *size_bytes } else { 0 }
    }

    /// Key of a stored body that nothing needs any more once this is settled. That of a replay belongs to its letter.
    pub(super) fn stored_key(&self) -> Option<String> {
        match &self.delivery.body {
            _ if self.delivery.replay > 0 => None,
            BodyRef::Stored { key, .. } => Some(key.clone()),
            BodyRef::Inline { .. } | BodyRef::Omitted { .. } => None,
        }
    }

    /// Tells the letter of a delivery that was given up, and then delivered by a consumer that was late: the letter is sent
    /// again, and whoever stores letters asks the ledger how their deliveries stand. The body stays: the letter refers to it.
    pub(super) async fn tell_its_letter(&self, env: &Env) {
        let detail = Some("its destination took it after it had been given up".to_owned());
        let reason = reason::RETRIES_EXHAUSTED;
        let mut letter = DeadLetter::undeliverable(&self.delivery, reason, self.attempt, None, detail, clock::now_ms());
        if let Err((cause, error)) = send_letter(env, &mut letter, &RawBody::Wasm(self.inline.clone())).await {
            failed(cause, &letter.source, &letter.id, &letter.headers, &error);
        }
    }

    /// Whether it is given up rather than put off for its destination's sake.
    pub(super) fn has_waited_too_long(&self, configured: Option<Configured<'_>>) -> bool {
        let Delivery { replay, received_at_ms, .. } = self.delivery;
        let attempts = self.message.attempts();
        has_waited_too_long(schedule_s(configured), replay, received_at_ms, attempts, clock::now_ms())
    }

    /// Back to the queue.
    pub(super) async fn nack(&self, delay_s: u32, env: &Env) {
        super::nack(self.message, queue::DELIVERIES, delay_s, env).await;
    }
}

/// What is to be written into the ledger, and then done with the message.
pub(super) struct Settlement<'m> {
    pub(super) work: Work<'m>,
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    /// For how long the message is put off; `None` where it is done with.
    pub(super) delay_s: Option<u32>,
}

impl<'m> Settlement<'m> {
    /// A claimed delivery that was not tried, or whose attempt does not count.
    fn not_attempted(work: Work<'m>, delay_s: u32, status: Option<u16>, error: Option<String>) -> Self {
        let outcome = Outcome::NotAttempted { next_attempt_ms: due_ms(delay_s) };
        Self { work, outcome, status, error, delay_s: Some(delay_s) }
    }

    /// A claimed delivery that was not tried.
    pub(super) fn released(work: Work<'m>) -> Self {
        Self::not_attempted(work, RELEASED_DELAY_S, None, None)
    }

    /// A claimed delivery whose destination asked to be left alone.
    pub(super) fn held(work: Work<'m>, until_ms: u64, status: Option<u16>, error: Option<String>) -> Self {
        let now_ms = clock::now_ms();
        let until_ms = until_ms.max(now_ms.saturating_add(least_held_ms(work.message.attempts())));
        Self::not_attempted(work, wait_s(until_ms, now_ms, clock::jitter()), status, error)
    }

    pub(super) fn item(&self) -> SettleItem {
        SettleItem {
            id: self.work.delivery.id.clone(),
            attempt: self.work.attempt,
            outcome: self.outcome.clone(),
            status: self.status,
            error: self.error.clone(),
        }
    }

    /// Whether there is a letter of it.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.outcome, Outcome::Dead { .. } | Outcome::GivenUp { .. })
    }

    /// The stored body that nobody needs any more; a dead letter refers to its.
    pub(super) fn leftover(&self) -> Option<String> {
        if matches!(self.outcome, Outcome::Delivered) { self.work.stored_key() } else { None }
    }
}

fn due_ms(delay_s: u32) -> u64 {
    clock::now_ms().saturating_add(u64::from(delay_s).saturating_mul(1000))
}

/// What became of one claimed delivery.
pub(super) struct Tried<'m> {
    /// `None` where the message was put off and the claim runs out by itself.
    pub(super) settlement: Option<Settlement<'m>>,
    /// What it says about the destination, with status and error.
    pub(super) call: EndedAttempt,
    /// Until when the destination asked to be left alone.
    pub(super) held_until_ms: Option<u64>,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
}

/// One attempt on one claimed delivery, or its end without one.
pub(super) async fn attempt<'m>(configured: Option<Configured<'_>>, mut work: Work<'m>, env: &Env) -> Tried<'m> {
    if work.is_given_up {
        let error = "its destination did not recover in time: the circuit is open".to_owned();
        let attempts = work.attempt.saturating_sub(1);
        let settlement = bury(work, reason::DESTINATION_UNAVAILABLE, attempts, None, Some(error), env).await;
        let call = EndedAttempt { at_ms: clock::now_ms(), duration_ms: 0, sign: AttemptSign::Nothing };
        return Tried { settlement, call, held_until_ms: None, status: None, error: None };
    }
    let (at_ms, Attempt { attempted, status, error, cause }) = match configured {
        Some(configured) => hand_on_body(configured, &mut work, env).await,
        None => (0, Attempt::not_sent(format!("source {} is not configured", work.delivery.source))),
    };
    let call = EndedAttempt { at_ms, duration_ms: clock::now_ms().saturating_sub(at_ms), sign: sign(&attempted) };
    if let Some(cause) = &cause {
        let attempts = work.attempt.to_string();
        let Delivery { id, source, headers, .. } = &work.delivery;
        let correlation = log::correlation(headers);
        log::warn(
            "attempt_failed",
            &[
                ("delivery", id),
                ("correlation", correlation),
                ("source", source),
                ("error", cause),
                ("attempt", &attempts),
            ],
        );
    }
    let (told, attempts) = (error.clone(), work.attempt);
    let mut held_until_ms = None;
    let settlement = match judge(schedule_s(configured), attempts, &attempted, clock::jitter()) {
        Verdict::Delivered => Some(Settlement { work, outcome: Outcome::Delivered, status, error, delay_s: None }),
        Verdict::Retry { delay_s } => {
            let outcome = Outcome::Retry { next_attempt_ms: due_ms(delay_s) };
            Some(Settlement { work, outcome, status, error, delay_s: Some(delay_s) })
        }
        Verdict::Held { delay_s } => {
            let until_ms = due_ms(delay_s);
            held_until_ms = Some(until_ms);
            work.is_given_up = work.has_waited_too_long(configured);
            if work.is_given_up {
                bury(work, reason::DESTINATION_UNAVAILABLE, attempts.saturating_sub(1), status, error, env).await
            } else {
                Some(Settlement::held(work, until_ms, status, error))
            }
        }
        Verdict::Dead { reason } => bury(work, reason, attempts, status, error, env).await,
    };
    Tried { settlement, call, held_until_ms, status, error: told }
}

fn schedule_s(configured: Option<Configured<'_>>) -> &[u32] {
    configured.map_or(&UNCONFIGURED_SCHEDULE_S, |configured| &configured.source.retry_schedule_s)
}

/// The attempt, and when the destination was first asked. What came with the message is lent for it, and is there again for a letter.
async fn hand_on_body(configured: Configured<'_>, work: &mut Work<'_>, env: &Env) -> (u64, Attempt) {
    let Work { delivery, inline, .. } = work;
    match &delivery.body {
        BodyRef::Stored { key, sha256, .. } => match r2::get_in_place(env, key, sha256).await {
            Ok(body) => (clock::now_ms(), hand_on(configured, env, delivery, &body).await),
            Err(r2::ReadError::Gone(error)) => (0, Attempt::body_unavailable(error)),
            Err(r2::ReadError::Failed(error)) => (0, Attempt::not_sent(error)),
        },
        BodyRef::Inline { .. } | BodyRef::Omitted { .. } => {
            let body = RawBody::Wasm(std::mem::take(inline));
            let attempt = (clock::now_ms(), hand_on(configured, env, delivery, &body).await);
            if let RawBody::Wasm(bytes) = body {
                *inline = bytes;
            }
            attempt
        }
    }
}

/// Sends the letter of a delivery that is given up.
async fn bury<'m>(
    mut work: Work<'m>,
    reason: &'static str,
    attempts: u32,
    status: Option<u16>,
    error: Option<String>,
    env: &Env,
) -> Option<Settlement<'m>> {
    let mut letter =
        DeadLetter::undeliverable(&work.delivery, reason, attempts, status, error.clone(), clock::now_ms());
    let body = RawBody::Wasm(std::mem::take(&mut work.inline));
    if let Err((cause, error)) = send_letter(env, &mut letter, &body).await {
        failed(cause, &letter.source, &letter.id, &letter.headers, &error);
        work.nack(STORAGE_DELAY_S, env).await;
        return None;
    }
    let reason = reason.into();
    let outcome = if work.is_given_up { Outcome::GivenUp { reason } } else { Outcome::Dead { reason } };
    Some(Settlement { work, outcome, status, error, delay_s: None })
}
