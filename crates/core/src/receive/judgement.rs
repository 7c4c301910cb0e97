//! What becomes of a request by its own merits: signature, address, envelope.
//!
//! Promises: the signature is verified over the raw bytes before anything is parsed; what is genuine is sent on, as a
//! delivery or as a dead letter. Out of scope: limits that several requests share (`super::Receiver`).

use super::STORED_FROM_BYTES;
use super::answer::ReceiveAnswer;
use super::delivery::{RequestHead, SourcePolicy};
use super::networks;
use super::receptions::Reception;
use super::rejection::Rejection;
use super::steps::{BodyPlace, OutgoingMessage, Queue, ReadBody, ReceiveOutcome};
use crate::messages::keys::payload_key;
use crate::messages::{self, BodyRef, DeadLetter, Stage};
use genesys_webhook::doctor;
use genesys_webhook::encoding::hex;
use genesys_webhook::headers::owned;
use genesys_webhook::refusal::Refusal;
use genesys_webhook::signature::VerifyError;
use sha2::{Digest as _, Sha256};

pub(super) struct ReceivedRequest<'r> {
    pub(super) id: u32,
    pub(super) reception: &'r Reception,
    pub(super) policy: SourcePolicy<'r>,
    pub(super) head: RequestHead<'r>,
    /// `None`: not read.
    pub(super) body: Option<ReadBody<'r>>,
}

pub(super) enum Judgement {
    /// Genuine: what is sent, and what it comes to then.
    Send(OutgoingMessage, ReceiveOutcome),
    Unverified(Refusal),
    /// Not to be judged now. Stable name of the cause.
    Unavailable(&'static str),
}

impl<'r> ReceivedRequest<'r> {
    pub(super) fn new(id: u32, reception: &'r Reception, policy: SourcePolicy<'r>, body: Option<ReadBody<'r>>) -> Self {
        Self { id, reception, policy, head: RequestHead::read(&reception.head), body }
    }

    /// Whether its address is in the source's networks, where there are any.
    pub(super) fn is_address_allowed(&self) -> bool {
        let networks = &self.policy.source.allow_networks;
        networks.is_empty() || networks::allows(networks, self.head.address())
    }

    pub(super) fn judge(&self, body: ReadBody<'_>) -> Judgement {
        let label = match self.verify(body) {
            Ok(label) => label,
            Err(VerifyError::Refused(refusal)) => return Judgement::Unverified(refusal),
            Err(error @ VerifyError::NoActiveSecret) => return Judgement::Unavailable(error.code()),
        };
        if !self.is_address_allowed() {
            return self.refused(&Rejection::AddressNotAllowed, Some(label));
        }
        let Reception { delivery_id, received_at_ms, .. } = self.reception;
        let mut delivery =
            match self.policy.delivery(delivery_id.clone(), label, &self.head.headers, body.bytes, *received_at_ms) {
                Ok(delivery) => delivery,
                Err(refusal) => return self.refused(&Rejection::Refused(refusal), Some(label)),
            };
        let (event_count, secret_label) = (delivery.event_count, label.to_owned());
        let answer = ReceiveAnswer::accepted(&delivery.id, event_count);
        let message = self.message(Queue::Deliveries, answer, |body| {
            delivery.body = body;
            messages::delivery_header(&delivery)
        });
        Judgement::Send(message, ReceiveOutcome::Accepted { event_count, secret_label })
    }

    /// The label of the secret that verified it.
    fn verify(&self, body: ReadBody<'_>) -> Result<&'r str, VerifyError> {
        let prepared = self.policy.verifier.prepare(self.head.headers.as_slice(), self.reception.received_at_ms)?;
        let verified = if body.tags.len() == prepared.secrets().len() {
            prepared.check(body.tags)
        } else {
            prepared.check(&prepared.tags(body.bytes))
        };
        Ok(verified?.label)
    }

    /// Keeps it as a dead letter. `label`: of the secret that verified it.
    pub(super) fn refused(&self, rejection: &Rejection, label: Option<&str>) -> Judgement {
        let Reception { delivery_id, received_at_ms, omitted_bytes, .. } = self.reception;
        // Bounded work, and only within the quarantine's budget.
        let diagnosis = self.body.filter(|_| label.is_none()).map(|body| {
            doctor::diagnose(self.policy.verifier, self.head.headers.as_slice(), body.bytes, *received_at_ms)
        });
        let unread = BodyRef::Omitted { size_bytes: *omitted_bytes };
        let mut letter = DeadLetter {
            source: self.policy.source.name.clone(),
            detail: rejection.detail(),
            diagnosis,
            verified: label.is_some(),
            secret_label: label.map(ToOwned::to_owned),
            duplicate_window_s: Some(self.policy.source.duplicate_window_s),
            headers: owned(self.policy.kept_headers(&self.head.headers)),
            ..DeadLetter::of(delivery_id.clone(), Stage::Receive, rejection.code(), unread, *received_at_ms)
        };
        let message = self.message(Queue::DeadLetters, rejection.answer(), |body| {
            letter.body = body;
            messages::dead_letter_header(&letter)
        });
        Judgement::Send(message, ReceiveOutcome::Refused { code: rejection.code(), is_over_budget: false })
    }

    /// `header`: the header line, with what it says of the body.
    fn message(
        &self,
        queue: Queue,
        answer: ReceiveAnswer,
        mut header: impl FnMut(BodyRef) -> String,
    ) -> OutgoingMessage {
        let Reception { delivery_id, received_at_ms, omitted_bytes, .. } = self.reception;
        let outgoing = |header, body| OutgoingMessage { id: self.id, queue, header, body, answer };
        let Some(body) = self.body else {
            return outgoing(header(BodyRef::Omitted { size_bytes: *omitted_bytes }), BodyPlace::Nowhere);
        };
        let size_bytes = body.bytes.len() as u64;
        let inline = header(BodyRef::Inline { size_bytes });
        if body.bytes.len() < STORED_FROM_BYTES && messages::fits(&inline, body.bytes.len()) {
            return outgoing(inline, BodyPlace::Message);
        }
        let key = payload_key(&self.policy.source.name, delivery_id, *received_at_ms);
        let sha256 = hex(&body.sha256.unwrap_or_else(|| Sha256::digest(body.bytes).into()));
        outgoing(header(BodyRef::Stored { key: key.clone(), size_bytes, sha256 }), BodyPlace::Bucket(key))
    }
}
