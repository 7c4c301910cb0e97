//! Replays one dead letter: reads its body, decides, sends.
//!
//! Promise: nothing is changed in the store, and every failure is a verdict with which the store can put the letter back.
//! Out of scope: what is decided (`gateway_core::dead_letters::replay`), when a letter is replayed (the store's object).

use crate::config::gateway;
use crate::platform::body::RawBody;
use crate::platform::{queue, r2};
use gateway_core::dead_letters::replay::{Parcel, ReplayVerdict, decide, skipped};
use gateway_core::dead_letters::{BodyText, StoredDeadLetter};
use gateway_core::messages::{BodyRef, Stage, delivery_header};
use worker::Env;

/// The body of a letter, wherever it is; `None` where it was not kept.
pub(crate) async fn read_body(
    env: &Env,
    StoredDeadLetter { letter, inline, moved, .. }: &StoredDeadLetter,
) -> Result<Option<Vec<u8>>, r2::ReadError> {
    match (&letter.body, moved) {
        (BodyRef::Omitted { .. }, _) => Ok(None),
        (BodyRef::Stored { key, sha256, .. }, _) => r2::get(env, key, sha256).await.map(Some),
        (BodyRef::Inline { .. }, Some(range)) => r2::get_range(env, range).await.map(Some),
        (BodyRef::Inline { .. }, None) => match inline.as_ref().and_then(BodyText::to_bytes) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(r2::ReadError::Gone("the row holds no body".into())),
        },
    }
}

/// Judges a letter as a replay would; the parcel and the body that would be sent.
async fn judge(env: &Env, stored: &StoredDeadLetter) -> Result<(Parcel, Vec<u8>), ReplayVerdict> {
    let letter = &stored.letter;
    let body = match &letter.body {
        // What was verified once is sent by its reference, so that it need not be read here.
        BodyRef::Stored { key, .. } if letter.stage == Stage::Deliver => match r2::exists(env, key).await {
            Ok(true) => Ok(None),
            Ok(false) => Err(r2::ReadError::Gone(format!("no object {key}"))),
            Err(error) => Err(r2::ReadError::Failed(error)),
        },
        _ => read_body(env, stored).await,
    };
    let body = body.map_err(|error| match error {
        r2::ReadError::Gone(error) => ReplayVerdict::skipped(skipped::BODY_LOST, Some(error)),
        r2::ReadError::Failed(error) => ReplayVerdict::skipped(skipped::BODY_UNAVAILABLE, Some(error)),
    });
    let body = body?.unwrap_or_default();
    if letter.stage != Stage::Receive {
        return Ok((decide(letter, None, &body)?, body));
    }
    let gateway = gateway(env).map_err(|_| ReplayVerdict::skipped(skipped::BAD_CONFIGURATION, None))?;
    let source = gateway.source(&letter.source);
    let source = source.as_ref().map(|source| (&source.secrets.verifier, source.source.max_body_bytes));
    Ok((decide(letter, source, &body)?, body))
}

/// What a replay would come to.
pub(crate) async fn rehearse(env: &Env, letter: &StoredDeadLetter) -> ReplayVerdict {
    judge(env, letter).await.map_or_else(|verdict| verdict, |_| ReplayVerdict::replayed())
}

/// Replays a letter that the caller holds.
pub(crate) async fn carry_out(env: &Env, letter: &StoredDeadLetter) -> ReplayVerdict {
    let (parcel, body) = match judge(env, letter).await {
        Ok(judged) => judged,
        Err(verdict) => return verdict,
    };
    let (binding, header, body) = match parcel {
        Parcel::RawDelivery => (queue::DELIVERIES, String::new(), body),
        Parcel::RawLetter => (queue::DEAD_LETTERS, String::new(), body),
        Parcel::Delivery(delivery) => {
            // A stored body stays where it is.
            let inline = if matches!(delivery.body, BodyRef::Inline { .. }) { body } else { vec![] };
            (queue::DELIVERIES, delivery_header(&delivery), inline)
        }
    };
    match queue::send(env, binding, &header, &RawBody::Wasm(body)).await {
        Ok(()) => ReplayVerdict::replayed(),
        Err(error) => ReplayVerdict::skipped(skipped::QUEUE_FAILED, Some(error)),
    }
}
