//! `GET /api/audit`, `GET /api/audit/verify`.

use super::{Call, Handled, bad_parameter, limit, object_failed};
use crate::objects::AUDIT_OBJECT;
use crate::platform::http::{json, json_text};
use crate::platform::objects;
use gateway_core::audit::{Action, AuditCall, Verification};

/// Entries that one call of `verify` walks unless it says otherwise.
const VERIFY_STEP: u32 = 1_000;

/// The most entries that one call of `verify` walks.
const MAX_VERIFY_STEP: u32 = 10_000;

/// Entries, newest first.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    let action = match call.query.get("action") {
        None => None,
        Some(name) => Some(Action::from_name(&name).ok_or_else(|| {
            let names: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
            bad_parameter("action", &format!("one of {}", names.join(", ")))
        })?),
    };
    let before_seq = match call.query.get("cursor") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| bad_parameter("cursor", "the nextCursor of an earlier answer"))?),
    };
    let limit = limit(call)?;
    let request = AuditCall::List { action, before_seq, limit };
    let page = objects::call_for_text(call.env, objects::AUDIT_LOG, AUDIT_OBJECT, &request).await;
    Ok(json_text(200, &page.map_err(|error| object_failed(&error))?, &[]))
}

/// Whether the chain holds, from `?from=` on, at most `?limit=` entries.
pub(super) async fn verify(call: &Call<'_>) -> Handled {
    let from_seq =
        call.query.count("from", 1, u32::MAX).map_err(|_| bad_parameter("from", "the number of an entry"))?;
    let limit = call
        .query
        .count("limit", VERIFY_STEP, MAX_VERIFY_STEP)
        .map_err(|_| bad_parameter("limit", &format!("a number from 1 to {MAX_VERIFY_STEP}")))?;
    let request = AuditCall::Verify { from_seq: from_seq.into(), limit };
    let verification: Verification = objects::call(call.env, objects::AUDIT_LOG, AUDIT_OBJECT, &request)
        .await
        .map_err(|error| object_failed(&error))?;
    Ok(json(200, &verification))
}
