//! `GET /api/deliveries`, `GET /api/deliveries/{id}`: what was accepted and how far it got.

use super::{Call, Handled, bad_parameter, cursor, limit, not_found};
use crate::objects::clients::LedgerClient;
use crate::platform::http::json;
use futures_util::future::join_all;
use gateway_core::deliver::ledger::{DeliveryRow, State, ledger_shards};
use gateway_core::messages::id::is_delivery_id;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    deliveries: Vec<DeliveryRow>,
    next_cursor: Option<String>,
}

/// Deliveries, newest first, of all shards.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    let state = match call.query.get("status") {
        None => None,
        Some(name) => Some(State::from_name(&name).ok_or_else(|| {
            let names: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
            bad_parameter("status", &format!("one of {}", names.join(", ")))
        })?),
    };
    let (limit, before) = (limit(call)?, cursor(call)?);
    let (source, shards): (_, Vec<String>) = (call.query.get("source"), ledger_shards().collect());
    let calls = shards
        .iter()
        .map(|shard| LedgerClient::new(call.env, shard).list(source.clone(), state, before.clone(), limit));
    let mut deliveries = vec![];
    for rows in join_all(calls).await {
        // A list with a hole in it would be believed: one missing shard fails the call.
        deliveries.extend(rows?);
    }
    deliveries.sort_unstable_by(|a, b| (b.received_at_ms, &b.id).cmp(&(a.received_at_ms, &a.id)));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = deliveries.len() >= limit;
    deliveries.truncate(limit);
    let next_cursor = deliveries.last().filter(|_| more).map(|row| format!("{}-{}", row.received_at_ms, row.id));
    Ok(json(200, &Page { deliveries, next_cursor }))
}

/// One delivery, from whichever shard has it.
pub(super) async fn read(call: &Call<'_>, id: &str) -> Handled {
    if !is_delivery_id(id) {
        return Err(not_found("No such delivery").into());
    }
    let shards: Vec<String> = ledger_shards().collect();
    let calls = shards.iter().map(|shard| LedgerClient::new(call.env, shard).get(id));
    let mut failed = None;
    for row in join_all(calls).await {
        match row {
            Ok(Some(row)) => return Ok(json(200, &row)),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or_else(|| not_found("No such delivery").into(), Into::into))
}
