//! `GET /api/deliveries`, `GET /api/deliveries/{id}`: what was accepted and how far it got.

use super::{ApiCall, Handled, cursor, limit, next_cursor, not_found, object_failed, one_of};
use crate::platform::http::json;
use crate::platform::objects::{self, CallError};
use futures_util::future::join_all;
use gateway_core::deliver::ledger::{DeliveryRow, LedgerCall, State, ledger_shards};
use gateway_core::messages::id::is_delivery_id;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryPage {
    deliveries: Vec<DeliveryRow>,
    next_cursor: Option<String>,
}

/// Asks all shards the same, side by side.
async fn ask_shards<T: DeserializeOwned>(call: &ApiCall<'_>, request: &LedgerCall) -> Vec<Result<T, CallError>> {
    let ask = async |shard: String| objects::call(call.env, objects::DELIVERY_LEDGER, &shard, request).await;
    join_all(ledger_shards().map(ask)).await
}

/// Deliveries, newest first, of all shards.
pub(super) async fn list(call: &ApiCall<'_>) -> Handled {
    let state = one_of("status", call.query.get("status"), &State::ALL, State::as_str)?;
    let (limit, before) = (limit(call)?, cursor(call)?);
    let request = LedgerCall::List { source: call.query.text("source"), state, before, limit };
    let mut deliveries: Vec<DeliveryRow> = vec![];
    for rows in ask_shards::<Vec<DeliveryRow>>(call, &request).await {
        // A list with a hole in it would be believed: one missing shard fails the call.
        deliveries.extend(rows.map_err(|error| object_failed(&error))?);
    }
    deliveries.sort_unstable_by(|a, b| (b.received_at_ms, &b.id).cmp(&(a.received_at_ms, &a.id)));
    deliveries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = next_cursor(&deliveries, limit, |row| (row.received_at_ms, &row.id));
    Ok(json(200, &DeliveryPage { deliveries, next_cursor }))
}

/// One delivery, from whichever shard has it.
pub(super) async fn read(call: &ApiCall<'_>, id: &str) -> Handled {
    let mut problem = not_found("No such delivery");
    if !is_delivery_id(id) {
        return Err(problem);
    }
    for row in ask_shards::<Option<DeliveryRow>>(call, &LedgerCall::Get { id: id.into() }).await {
        match row {
            Ok(Some(row)) => return Ok(json(200, &row)),
            Ok(None) => {}
            Err(error) => problem = object_failed(&error),
        }
    }
    Err(problem)
}
