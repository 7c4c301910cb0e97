//! One dispatch in hand: tried or given up, and what its object is told of it.
//!
//! Promise: a dead letter is on its way before a dispatch is told to be dead. Out of scope: admission and settlement (`batch`), what an
//! answer means (`gateway_core::deliver::retry_policy`).

use super::destination::{Attempt, hand_on};
use super::destinations::schedule_s;
use crate::config::Configured;
use crate::deliver::letter::{failed, send_letter};
use crate::platform::body::Body;
use crate::platform::queue::QueueMessage;
use crate::platform::{clock, log, r2};
use gateway_core::dead_letters::BodyText;
use gateway_core::deliver::dispatcher::calls::{DispatchOutcome, EndedDispatch};
use gateway_core::deliver::dispatcher::gate::EndedAttempt;
use gateway_core::deliver::dispatcher::rows::{AttemptRecord, Dispatch};
use gateway_core::deliver::retry_policy::{judge, sign};
use gateway_core::messages::{BodyRef, DeadLetter, Delivery, delivery_header, frame, reason};
use worker::Env;

/// A dispatch that a consumer has in hand.
pub(super) struct Work<'m> {
    /// Its message; `None` where its object handed it over.
    pub(super) message: Option<&'m QueueMessage>,
    pub(super) dispatch: Dispatch,
    pub(super) delivery: Delivery,
    pub(super) inline: Vec<u8>,
    /// From 1; 0 where there is none.
    pub(super) attempt: u32,
    /// Why it is given up untried.
    pub(super) give_up: Option<String>,
}

impl Work<'_> {
    /// What an attempt has to fetch of the body, in bytes.
    pub(super) fn fetched_bytes(&self) -> u64 {
        if let BodyRef::Stored { size_bytes, .. } = &self.delivery.body { *size_bytes } else { 0 }
    }

    /// Key of a stored body that nothing needs any more once this has ended. That of a replay belongs to its letter.
    pub(super) fn stored_key(&self) -> Option<String> {
        match &self.delivery.body {
            _ if self.delivery.replay > 0 => None,
            BodyRef::Stored { key, .. } => Some(key.clone()),
            BodyRef::Inline { .. } | BodyRef::Omitted { .. } => None,
        }
    }

    /// What its object is told. Where it may have to wait, its object is handed its message, unless it has it.
    pub(super) fn settlement(&self, outcome: DispatchOutcome) -> EndedDispatch {
        let waits = !matches!(outcome, DispatchOutcome::Delivered | DispatchOutcome::Dead { .. });
        let frame = (waits && self.message.is_some())
            .then(|| BodyText::from_bytes(&frame(&delivery_header(&self.delivery), &self.inline)));
        let (dispatch, attempt) = (self.dispatch.clone(), self.attempt);
        EndedDispatch { dispatch, attempt, outcome, record: None, call: None, frame }
    }

    /// Tells the letter of a delivery that was given up, and then delivered by a consumer that was late: the letter is sent
    /// again, and whoever stores letters asks the object how their deliveries stand. The body stays: the letter refers to it.
    pub(super) async fn tell_its_letter(&self, env: &Env) {
        let detail = Some("its destination took it after it had been given up".to_owned());
        let reason = reason::RETRIES_EXHAUSTED;
        let mut letter = DeadLetter::undeliverable(&self.delivery, reason, self.attempt, None, detail, clock::now_ms());
        if let Err((cause, error)) = send_letter(env, &mut letter, &Body::Small(self.inline.clone())).await {
            failed(cause, &letter.source, &letter.id, &letter.headers, &error);
        }
    }
}

/// What became of a dispatch: itself, and what its object is told. Nothing where its letter could not be sent.
pub(super) type Tried<'m> = (Work<'m>, Option<EndedDispatch>);

/// One attempt, or the end without one.
pub(super) async fn attempt<'m>(configured: Option<Configured<'_>>, mut work: Work<'m>, env: &Env) -> Tried<'m> {
    if let Some(reason) = work.give_up.take() {
        let attempts = work.attempt.saturating_sub(1);
        let detail = match reason.as_str() {
            reason::CRASHED => "its consumers did not end with it in hand",
            _ => "its destination had no room for it in time",
        };
        return bury(work, reason, attempts, None, Some(detail.to_owned()), env).await;
    }
    let at_ms = clock::now_ms();
    let attempt = match configured {
        Some(configured) => hand_on_body(configured, &mut work, env).await,
        None => Attempt::not_sent(format!("source {} is not configured", work.delivery.source)),
    };
    let now_ms = clock::now_ms();
    let Attempt { attempted, status, error, code, cause } = attempt;
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
    let duration_ms = now_ms.saturating_sub(at_ms);
    let record =
        AttemptRecord { at_ms, duration_ms, status, error: code.map(ToOwned::to_owned), excerpt: error.clone() };
    let call = EndedAttempt { at_ms, duration_ms, sign: sign(&attempted) };
    let outcome = judge(schedule_s(configured), work.attempt, &attempted, clock::jitter(), now_ms);
    let (work, settlement) = match outcome {
        DispatchOutcome::Dead { reason } => {
            let attempts = work.attempt;
            bury(work, reason, attempts, status, error, env).await
        }
        outcome => {
            let settlement = work.settlement(outcome);
            (work, Some(settlement))
        }
    };
    (work, settlement.map(|settlement| EndedDispatch { record: Some(record), call: Some(call), ..settlement }))
}

/// What came with the message is lent for the attempt, and is there again for a letter.
async fn hand_on_body(configured: Configured<'_>, work: &mut Work<'_>, env: &Env) -> Attempt {
    let Work { delivery, inline, .. } = work;
    match &delivery.body {
        BodyRef::Stored { key, sha256, .. } => match r2::get_in_place(env, key, sha256).await {
            Ok(body) => hand_on(configured, env, delivery, &body).await,
            Err(r2::ReadError::Gone(error)) => Attempt::body_unavailable(error),
            Err(r2::ReadError::Failed(error)) => Attempt::not_sent(error),
        },
        BodyRef::Inline { .. } | BodyRef::Omitted { .. } => {
            let body = Body::Small(std::mem::take(inline));
            let attempt = hand_on(configured, env, delivery, &body).await;
            if let Body::Small(bytes) = body {
                *inline = bytes;
            }
            attempt
        }
    }
}

/// Sends the letter of a delivery that is given up.
async fn bury<'m>(
    work: Work<'m>,
    reason: String,
    attempts: u32,
    status: Option<u16>,
    error: Option<String>,
    env: &Env,
) -> Tried<'m> {
    let mut letter = DeadLetter::undeliverable(&work.delivery, &reason, attempts, status, error, clock::now_ms());
    if let Err((cause, error)) = send_letter(env, &mut letter, &Body::Small(work.inline.clone())).await {
        failed(cause, &letter.source, &letter.id, &letter.headers, &error);
        return (work, None);
    }
    let settlement = work.settlement(DispatchOutcome::Dead { reason });
    (work, Some(settlement))
}
