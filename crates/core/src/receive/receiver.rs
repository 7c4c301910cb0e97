//! The decisions on a request, step by step, with what the requests of an isolate share: room for bodies, quarantine, the log
//! of unknown sources.
//!
//! Promises: a delivery is answered 200 only after its message was sent; rate limit and quarantine count only what cannot be
//! verified, by source and address; every POST is accounted once; a request that vanishes gives back what it held.
//! Out of scope: what becomes of a request by its own merits (`super::judgement`).

use super::answer::ReceiveAnswer;
use super::body_budget::BodyBudget;
use super::delivery::{RequestHead, SourcePolicy, path};
use super::judgement::{Judgement, ReceivedRequest};
use super::quarantine::Quarantine;
use super::receptions::{Reception, Receptions};
use super::rejection::{ReceiveFailure, Rejection};
use super::steps::{Growth, NextStep, ReadBody, ReceiveOutcome, SettledRequest, UnknownRequest};
use super::{LEASE_MS, UNKNOWN_LOGGED_PER_MINUTE};
use crate::messages::id::delivery_id;
use crate::time::MINUTE_MS;
use genesys_webhook::refusal::Refusal;
use genesys_webhook::signature::PreparedCheck;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Receiver {
    receptions: Receptions,
    budget: BodyBudget,
    /// By source.
    quarantines: BTreeMap<String, Quarantine>,
    unknown: UnknownLog,
}

/// How many requests to unknown sources were logged in this minute.
#[derive(Debug, Default)]
struct UnknownLog {
    since_ms: u64,
    logged: u32,
}

impl UnknownLog {
    fn admit(&mut self, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.since_ms) >= MINUTE_MS {
            *self = Self { since_ms: now_ms, logged: 0 };
        }
        self.logged = self.logged.saturating_add(1);
        self.logged <= UNKNOWN_LOGGED_PER_MINUTE
    }
}

impl Receiver {
    /// Opens a request.
    ///
    /// `policy`: its source and the source's place in the configuration; `head`: as [`RequestHead`] reads it;
    /// `declared_bytes`: its `Content-Length`; `entropy`: for its identifier; `now_ms`: milliseconds since the epoch.
    pub fn open(
        &mut self,
        policy: Option<(usize, SourcePolicy<'_>)>,
        head: String,
        declared_bytes: Option<u64>,
        entropy: [u8; 10],
        now_ms: u64,
    ) -> NextStep {
        let is_post = RequestHead::first_line(&head).0 == "POST";
        let Some((source, policy)) = policy else {
            let settled = is_post.then(|| self.unknown(&head, now_ms));
            return NextStep::Answer { answer: Rejection::UnknownSource.answer(), settled };
        };
        if !is_post {
            return answered(without_a_delivery(&RequestHead::read(&head), policy));
        }
        self.forget_vanished(now_ms);
        let limit_bytes = policy.source.max_body_bytes;
        let id = self.receptions.push(Reception {
            source,
            head,
            delivery_id: delivery_id(now_ms, entropy),
            received_at_ms: now_ms,
            limit_bytes,
            ..Reception::default()
        });
        match declared_bytes {
            Some(declared_bytes) if declared_bytes > limit_bytes => self.overflowed(id, policy, declared_bytes),
            _ => NextStep::Read { id, limit_bytes },
        }
    }

    fn unknown(&mut self, head: &str, now_ms: u64) -> SettledRequest {
        let unknown = self.unknown.admit(now_ms).then(|| {
            let head = RequestHead::read(head);
            UnknownRequest { path: path(head.url).to_owned(), address: head.address().to_owned() }
        });
        let outcome = ReceiveOutcome::Refused { code: Rejection::UnknownSource.code(), is_over_budget: false };
        SettledRequest { source: None, outcome, size_bytes: 0, latency_ms: 0, unknown }
    }

    /// Which secrets a large body is to be hashed with, and what is signed around it. Nothing where its headers are refused
    /// whatever its body is.
    pub fn hash_plan<'g>(&self, id: u32, policy: SourcePolicy<'g>) -> Option<PreparedCheck<'g>> {
        let reception = self.receptions.get(id)?;
        let head = RequestHead::read(&reception.head);
        policy.verifier.prepare(head.headers.as_slice(), reception.received_at_ms).ok()
    }

    /// Counts `bytes` of a body that are held.
    pub fn grow(&mut self, id: u32, bytes: u64) -> Growth {
        let Some(reception) = self.receptions.get_mut(id) else { return Growth::NoRoom };
        if bytes > reception.limit_bytes {
            Growth::TooLarge
        } else if self.budget.hold(&mut reception.permit, bytes) {
            Growth::Fits
        } else {
            Growth::NoRoom
        }
    }

    pub fn arrived(&mut self, id: u32, policy: SourcePolicy<'_>, body: ReadBody<'_>) -> NextStep {
        let size_bytes = body.bytes.len() as u64;
        if self.receptions.get(id).is_none() {
            return interrupted();
        }
        match self.grow(id, size_bytes) {
            Growth::Fits => {}
            Growth::TooLarge => return self.overflowed(id, policy, size_bytes),
            Growth::NoRoom => return self.unavailable(id, ReceiveFailure::NoRoom.cause()),
        }
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        reception.size_bytes = size_bytes;
        let judgement = ReceivedRequest::new(id, reception, policy, Some(body)).judge(body);
        self.carry_out(id, policy, judgement, Some(body))
    }

    /// The body is larger than its source's limit; `size_bytes` of it are known.
    pub fn overflowed(&mut self, id: u32, policy: SourcePolicy<'_>, size_bytes: u64) -> NextStep {
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        // Nothing of it is held any longer.
        self.budget.release(core::mem::take(&mut reception.permit));
        reception.omitted_bytes = size_bytes;
        let refusal = Refusal::BodyTooLarge { limit_bytes: reception.limit_bytes };
        self.carry_out(id, policy, Judgement::Unverified(refusal), None)
    }

    fn carry_out(
        &mut self,
        id: u32,
        policy: SourcePolicy<'_>,
        judgement: Judgement,
        body: Option<ReadBody<'_>>,
    ) -> NextStep {
        let Some(reception) = self.receptions.get_mut(id) else { return interrupted() };
        match (judgement, &policy.source.rate_limit) {
            (Judgement::Send(message, outcome), _) => {
                reception.outcome = Some(outcome);
                NextStep::Send(message)
            }
            (Judgement::Unavailable(cause), _) => self.unavailable(id, cause),
            // What cannot be verified counts against the limit of its source and address.
            (Judgement::Unverified(refusal), Some(binding)) => {
                reception.refused = Some(refusal);
                let key = format!("{}|{}", policy.source.name, RequestHead::read(&reception.head).address());
                NextStep::AskRateLimit { id, binding: binding.clone(), key }
            }
            (Judgement::Unverified(refusal), None) => self.quarantine(id, policy, refusal, body),
        }
    }

    /// The rate limiter has answered. `body`: `None` where it was not read.
    ///
    /// `is_within`: a limiter that fails is taken for one that lets pass, because it would protect nobody otherwise.
    pub fn rate_limited(
        &mut self,
        id: u32,
        policy: SourcePolicy<'_>,
        body: Option<ReadBody<'_>>,
        is_within: bool,
    ) -> NextStep {
        let refused = self.receptions.get_mut(id).and_then(|reception| reception.refused.take());
        match refused {
            None => interrupted(),
            Some(_) if !is_within => self.refuse(id, &Rejection::RateLimited, false),
            Some(refusal) => self.quarantine(id, policy, refusal, body),
        }
    }

    /// Keeps what cannot be verified, within the budget of its source and address.
    fn quarantine(
        &mut self,
        id: u32,
        policy: SourcePolicy<'_>,
        refusal: Refusal,
        body: Option<ReadBody<'_>>,
    ) -> NextStep {
        let Some(reception) = self.receptions.get(id) else { return interrupted() };
        let request = ReceivedRequest::new(id, reception, policy, body);
        if !request.is_address_allowed() {
            return self.refuse(id, &Rejection::AddressNotAllowed, false);
        }
        let (source, now_ms) = (policy.source, reception.received_at_ms);
        let new = || Quarantine::new(source.quarantine, source.max_body_bytes, now_ms);
        let quarantine = self.quarantines.entry(source.name.clone()).or_insert_with(new);
        let rejection = Rejection::Refused(refusal);
        let size_bytes = body.map_or(0, |body| body.bytes.len()) as u64;
        if !quarantine.admit(request.head.address(), size_bytes, now_ms) {
            return self.refuse(id, &rejection, true);
        }
        let judgement = request.refused(&rejection, None);
        self.carry_out(id, policy, judgement, body)
    }

    /// The message was sent: what is counted. `None` where the request is unknown, and its sender is to repeat.
    pub fn sent(&mut self, id: u32, now_ms: u64) -> Option<SettledRequest> {
        let outcome = self.receptions.get_mut(id)?.outcome.take()?;
        self.settle(id, outcome, now_ms)
    }

    /// Something failed that is not the sender's fault, or the body did not arrive: what is answered and counted.
    pub fn failed(&mut self, id: u32, failure: ReceiveFailure, now_ms: u64) -> (ReceiveAnswer, Option<SettledRequest>) {
        let cause = failure.cause();
        (ReceiveAnswer::unavailable(cause), self.settle(id, ReceiveOutcome::Unavailable { cause }, now_ms))
    }

    /// The identifier of a request that was given to its delivery, and its head, for the log.
    pub fn identity(&self, id: u32) -> Option<(&str, RequestHead<'_>)> {
        let reception = self.receptions.get(id)?;
        Some((&reception.delivery_id, RequestHead::read(&reception.head)))
    }

    /// Place of the request's source in the configuration.
    pub fn source(&self, id: u32) -> Option<usize> {
        self.receptions.get(id).map(|reception| reception.source)
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> u64 {
        self.budget.bytes()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.receptions.len()
    }

    fn refuse(&mut self, id: u32, rejection: &Rejection, is_over_budget: bool) -> NextStep {
        self.end(id, rejection.answer(), ReceiveOutcome::Refused { code: rejection.code(), is_over_budget })
    }

    fn unavailable(&mut self, id: u32, cause: &'static str) -> NextStep {
        self.end(id, ReceiveAnswer::unavailable(cause), ReceiveOutcome::Unavailable { cause })
    }

    /// Ends a request without input or output, so without time.
    fn end(&mut self, id: u32, answer: ReceiveAnswer, outcome: ReceiveOutcome) -> NextStep {
        let now_ms = self.receptions.get(id).map_or(0, |reception| reception.received_at_ms);
        NextStep::Answer { answer, settled: self.settle(id, outcome, now_ms) }
    }

    fn settle(&mut self, id: u32, outcome: ReceiveOutcome, now_ms: u64) -> Option<SettledRequest> {
        let reception = self.receptions.remove(id)?;
        self.budget.release(reception.permit);
        let latency_ms = now_ms.saturating_sub(reception.received_at_ms);
        let Reception { source, size_bytes, .. } = reception;
        Some(SettledRequest { source: Some(source), outcome, size_bytes, latency_ms, unknown: None })
    }

    /// Ends the requests that vanished without a word. Numbers are given in the order of time.
    pub(super) fn forget_vanished(&mut self, now_ms: u64) {
        while let Some(vanished) = self.receptions.remove_oldest(now_ms.saturating_sub(LEASE_MS)) {
            self.budget.release(vanished.permit);
        }
    }
}

fn answered(answer: ReceiveAnswer) -> NextStep {
    NextStep::Answer { answer, settled: None }
}

/// The request is no longer known here: its sender repeats.
fn interrupted() -> NextStep {
    answered(ReceiveAnswer::unavailable(ReceiveFailure::Interrupted.cause()))
}

/// What is answered to a method other than POST.
fn without_a_delivery(request: &RequestHead<'_>, policy: SourcePolicy<'_>) -> ReceiveAnswer {
    let origin = request.header("webhook-request-origin");
    let origins = &policy.source.webhook_origins;
    match request.method {
        "GET" | "HEAD" => ReceiveAnswer::empty(204),
        // The handshake of CloudEvents' HTTP webhooks, section 4.
        "OPTIONS"
            if origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin)) && !origin.is_empty() =>
        {
            ReceiveAnswer::empty(200)
                .with("allow", "GET, HEAD, OPTIONS, POST")
                .with("webhook-allowed-origin", origin)
                .with("webhook-allowed-rate", "*")
        }
        _ => {
            ReceiveAnswer::error(405, "Method not allowed", "method_not_allowed", None).with("allow", "GET, HEAD, POST")
        }
    }
}
