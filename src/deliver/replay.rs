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

/// Judges a letter as a replay would; the parcel and the body that would be sent.
async fn judge(
    env: &Env,
    StoredDeadLetter { letter, inline, .. }: &StoredDeadLetter,
) -> Result<(Parcel, Vec<u8>), ReplayVerdict> {
    let body = match &letter.body {
        BodyRef::Omitted { .. } => vec![],
        BodyRef::Inline { .. } => {
            let bytes = inline.as_ref().and_then(BodyText::to_bytes);
            bytes.ok_or_else(|| ReplayVerdict::skipped(skipped::BODY_LOST, Some("the row holds no body".into())))?
        }
        // What was verified once is sent by its reference, so that it need not be read here.
        BodyRef::Stored { key, .. } if letter.stage == Stage::Deliver => match r2::exists(env, key).await {
            Ok(true) => vec![],
            Ok(false) => return Err(ReplayVerdict::skipped(skipped::BODY_LOST, Some(format!("no object {key}")))),
            Err(error) => return Err(ReplayVerdict::skipped(skipped::BODY_UNAVAILABLE, Some(error))),
        },
        BodyRef::Stored { key, sha256, .. } => match r2::get(env, key, sha256).await {
            Ok(bytes) => bytes,
            Err(r2::ReadError::Gone(error)) => return Err(ReplayVerdict::skipped(skipped::BODY_LOST, Some(error))),
            Err(r2::ReadError::Failed(error)) => {
                return Err(ReplayVerdict::skipped(skipped::BODY_UNAVAILABLE, Some(error)));
            }
        },
    };
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
