//! `GET /api/deliveries`, `GET /api/deliveries/{id}`: what was accepted and how far it got.

use super::{Handled, ManagementCall, cursor, limit, next_cursor, not_found, one_of};
use crate::objects::clients::LedgerClient;
use crate::platform::http::json;
use futures_util::future::join_all;
use gateway_core::deliver::ledger::{DeliveryRow, State, ledger_shards};
use gateway_core::messages::id::is_delivery_id;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryPage {
    deliveries: Vec<DeliveryRow>,
    next_cursor: Option<String>,
}

/// Deliveries, newest first, of all shards.
pub(super) async fn list(call: &ManagementCall<'_>) -> Handled {
    let state = one_of("status", call.query.get("status"), &State::ALL, State::as_str)?;
    let (limit, before) = (limit(call)?, cursor(call)?);
    let (source, shards): (_, Vec<String>) = (call.query.text("source"), ledger_shards().collect());
    let asked = shards
        .iter()
        .map(|shard| LedgerClient::new(call.env, shard).list(source.clone(), state, before.clone(), limit));
    let mut deliveries: Vec<DeliveryRow> = vec![];
    for rows in join_all(asked).await {
        // A list with a hole in it would be believed: one missing shard fails the call.
        deliveries.extend(rows?);
    }
    deliveries.sort_unstable_by(|a, b| (b.received_at_ms, &b.id).cmp(&(a.received_at_ms, &a.id)));
    deliveries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = next_cursor(&deliveries, limit, |row| (row.received_at_ms, &row.id));
    Ok(json(200, &DeliveryPage { deliveries, next_cursor }))
}

/// One delivery, from whichever shard has it.
pub(super) async fn read(call: &ManagementCall<'_>, id: &str) -> Handled {
    let mut problem = not_found("No such delivery");
    if !is_delivery_id(id) {
        return Err(problem);
    }
    let shards: Vec<String> = ledger_shards().collect();
    for row in join_all(shards.iter().map(|shard| LedgerClient::new(call.env, shard).get(id))).await {
        match row {
            Ok(Some(row)) => return Ok(json(200, &row)),
            Ok(None) => {}
            Err(error) => problem = error.into(),
        }
    }
    Err(problem)
}
