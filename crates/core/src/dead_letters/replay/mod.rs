//! What a replay does with a dead letter.
//!
//! Promises: a refused letter is verified and validated again, over what was kept of it, with today's secrets and
//! configuration and at the time of its receipt (a dated signature was fresh then); what was accepted before is sent again
//! as it is; the replayed delivery keeps its identifier and carries a higher replay number, by which the ledger hands it on
//! once however often it is sent. Out of scope: reading bodies, sending, leases (the `DEAD_LETTER_STORE` object).

mod job;
pub use job::{DEFAULT_RATE_PER_S, Job, JobOrder, JobState, MAX_DRY_RUN, MAX_RATE_PER_S, MAX_STALLS, at_once};

use crate::deliver::dispatcher::rows::DispatchState;
use crate::messages::{BodyRef, DeadLetter, Delivery, Message, Origin, Stage, decode};
use genesys_webhook::doctor::{self, SecretTexts};
use genesys_webhook::refusal::Refusal;
use genesys_webhook::signature::{Verifier, VerifyError};
use serde::{Deserialize, Serialize};

/// How long a replay may hold a letter, in milliseconds: reading a body of 5 MB and sending a message take a second or two
/// at worst. Who held it longer has crashed; another then sends it under the same replay number, which the ledger sees.
pub const LEASE_MS: u64 = 60_000;

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is on its way again.
    Replayed,
    /// It was judged again and refused again.
    StillRefused,
    /// Nothing was decided about it.
    Skipped,
}

/// Why a letter was skipped; the names are part of the API.
pub mod skipped {
    /// Somebody else is replaying it.
    pub const BEING_REPLAYED: &str = "being_replayed";
    /// It was replayed before.
    pub const ALREADY_REPLAYED: &str = "already_replayed";
    /// Its body was larger than the source's limit and never read to its end.
    pub const BODY_NOT_KEPT: &str = "body_not_kept";
    /// Its stored body is gone, or is not what was stored.
    pub const BODY_LOST: &str = "body_lost";
    /// Its body cannot be read now; ours, and worth another try.
    pub const BODY_UNAVAILABLE: &str = "body_unavailable";
    /// The queue took nothing; ours, and worth another try.
    pub const QUEUE_FAILED: &str = "queue_failed";
    /// Every step with it ended in a crash: a job goes on without it.
    pub const CRASHED: &str = "crashed";
    /// The configuration cannot be read, so nothing can be verified; ours.
    pub const BAD_CONFIGURATION: &str = "bad_configuration";
}

/// Why a letter is done with though nobody replayed it; the names are part of the API.
pub mod outlived {
    /// Its destination took the delivery after it had been given up.
    pub const DELIVERED_LATE: &str = "delivered_late";
    /// Its delivery is a duplicate of another.
    pub const DUPLICATE: &str = "duplicate";
}

/// Codes of letters that are still refused, beside those of refusals.
pub mod refused {
    /// No source of that name is configured.
    pub const SOURCE_NOT_CONFIGURED: &str = "source_not_configured";
    /// A message that today's code cannot read either.
    pub const UNDECODABLE_MESSAGE: &str = crate::messages::reason::UNDECODABLE_MESSAGE;
}

/// What a replay came to, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What became of it.
    pub outcome: Fate,
    /// Stable code: of the refusal, or one of [`skipped`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What and where, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// One line of the signature doctor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
}

impl Verdict {
    /// On its way again.
    pub fn replayed() -> Self {
        Self { outcome: Fate::Replayed, code: None, detail: None, diagnosis: None }
    }

    /// Done with, without a replay: what the ledger says of its delivery. `None` where that is dead, or may still be.
    pub fn outlived(state: DispatchState) -> Option<Self> {
        let code = match state {
            DispatchState::Delivered => outlived::DELIVERED_LATE,
            DispatchState::Duplicate => outlived::DUPLICATE,
            DispatchState::Waiting | DispatchState::Filtered | DispatchState::Dead => return None,
        };
        Some(Self { code: Some(code.into()), ..Self::replayed() })
    }

    /// Nothing was decided, for the reason `code` (one of [`skipped`]).
    pub fn skipped(code: &str, detail: Option<String>) -> Self {
        Self { outcome: Fate::Skipped, code: Some(code.into()), detail, diagnosis: None }
    }

    /// Whether it is ours to repair, so that trying again later may come to something else.
    pub fn is_transient(&self) -> bool {
        let ours = [skipped::BODY_UNAVAILABLE, skipped::QUEUE_FAILED, skipped::BAD_CONFIGURATION];
        self.outcome == Fate::Skipped && self.code.as_deref().is_some_and(|code| ours.contains(&code))
    }

    fn refused(code: &str, detail: String, diagnosis: Option<String>) -> Self {
        Self { outcome: Fate::StillRefused, code: Some(code.into()), detail: Some(detail), diagnosis }
    }
}

/// What a letter's latest replay came to, as it is stored and shown beside the letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastReplay {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Who wanted it.
    pub actor: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// The answer to the replay of one letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Identifier of the letter.
    pub id: String,
    /// Name of its source.
    pub source: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// What is sent for a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parcel {
    /// A delivery with the letter's body.
    Delivery(Box<Delivery>),
    /// The letter's bytes, as they are, into the queue of deliveries.
    RawDelivery,
    /// The letter's bytes, as they are, into the queue of dead letters.
    RawLetter,
}

/// Decides about a letter whose `body` was read (empty where none was kept).
///
/// `source`: the verifier of the letter's source as it is configured now and its limit of a body in bytes; `None` where
/// there is no such source. Errors: why nothing is sent.
pub fn decide(letter: &DeadLetter, source: Option<(&Verifier, u64)>, body: &[u8]) -> Result<Parcel, Verdict> {
    if let BodyRef::Omitted { size_bytes } = letter.body {
        let detail = format!("its {size_bytes} bytes were never read");
        return Err(Verdict::skipped(skipped::BODY_NOT_KEPT, Some(detail)));
    }
    match letter.stage {
        Stage::Deliver => {
            let delivery = delivery(letter, Origin::Dead);
            Ok(Parcel::Delivery(Box::new(delivery)))
        }
        Stage::Receive => {
            let (verifier, limit_bytes) = source.ok_or_else(|| {
                let detail = format!("no source {:?} is configured", letter.source);
                Verdict::refused(refused::SOURCE_NOT_CONFIGURED, detail, None)
            })?;
            verify(letter, verifier, limit_bytes, body).map(|delivery| Parcel::Delivery(Box::new(delivery)))
        }
        Stage::Queue => match decode(body) {
            Ok(Message::Delivery(..)) => Ok(Parcel::RawDelivery),
            Ok(Message::DeadLetter(..)) => Ok(Parcel::RawLetter),
            // Its object has released it again since.
            Ok(Message::Release(..)) => {
                Err(Verdict::refused(refused::UNDECODABLE_MESSAGE, "a release of a destination".into(), None))
            }
            Err(error) => Err(Verdict::refused(refused::UNDECODABLE_MESSAGE, error.to_string(), None)),
        },
    }
}

/// The delivery of a letter, as far as the letter knows it.
fn delivery(letter: &DeadLetter, origin: Origin) -> Delivery {
    Delivery {
        id: letter.id.clone(),
        source: letter.source.clone(),
        received_at_ms: letter.received_at_ms,
        event_count: letter.event_count.unwrap_or(0),
        secret_label: letter.secret_label.clone().unwrap_or_default(),
        dedupe_key: letter.dedupe_key.clone(),
        duplicate_window_s: letter.duplicate_window_s,
        headers: letter.headers.clone(),
        replay: letter.replay.saturating_add(1),
        origin: Some(origin),
        body: letter.body.clone(),
    }
}

/// What the receiver does, in its order: size, signature, envelope.
fn verify(letter: &DeadLetter, verifier: &Verifier, limit_bytes: u64, body: &[u8]) -> Result<Delivery, Verdict> {
    let headers = letter.headers.as_slice();
    let still = |refusal: &Refusal, diagnosis| Verdict::refused(refusal.code().as_str(), refusal.detail(), diagnosis);
    if body.len() as u64 > limit_bytes {
        return Err(still(&Refusal::BodyTooLarge { limit_bytes }, None));
    }
    let proof = verifier.verify(headers, body, letter.received_at_ms).map_err(|error| match error {
        VerifyError::Refused(refusal) => {
            still(&refusal, Some(doctor::diagnose(verifier, headers, body, letter.received_at_ms)))
        }
        VerifyError::Unavailable(unavailable) => Verdict::refused(unavailable.code(), unavailable.to_string(), None),
    })?;
    let envelope = verifier.scheme().inspect(body).map_err(|refusal| still(&refusal, None))?;
    let dedupe_key = verifier.scheme().idempotency_key(headers, &envelope);
    let mut delivery = Delivery {
        event_count: envelope.event_count,
        secret_label: proof.label.to_owned(),
        duplicate_window_s: letter.duplicate_window_s.filter(|_| dedupe_key.is_none()),
        dedupe_key,
        ..delivery(letter, Origin::Refused)
    };
    // A secret that is configured only now may stand in a header that was kept when nobody knew it for one.
    let texts = SecretTexts::of(verifier);
    delivery.headers.retain(|(_, value)| !texts.are_carried_by(value));
    Ok(delivery)
}

#[cfg(test)]
mod tests;
