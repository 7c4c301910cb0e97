//! `GET /api/deliveries`, `GET /api/deliveries/{id}`: what was accepted and how far it got.
//!
//! Promises: a list is of one source, or of all configured ones; each object reads a bounded number of rows; a list with a hole in it
//! would be believed, so one missing object fails the call. Out of scope: what is still in the queue.

use super::{Call, Handled, bad_parameter, configured, cursor, limit, not_found, object_failed};
use crate::deliver::destinations;
use crate::platform::http::json;
use futures_util::future::join_all;
use gateway_core::deliver::dispatcher::calls::DispatchRow;
use gateway_core::deliver::dispatcher::rows::DispatchState;
use gateway_core::messages::id::is_delivery_id;
use serde::Serialize;

/// Objects that are asked at once.
const ASKED: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    deliveries: Vec<DeliveryJson>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct DeliveryJson {
    source: String,
    #[serde(flatten)]
    row: DispatchRow,
}

fn sources(call: &Call<'_>) -> Result<Vec<String>, Box<crate::platform::http::Problem>> {
    if let Some(source) = call.query.get("source") {
        return Ok(vec![source]);
    }
    Ok(configured(call.env)?.config.sources.iter().map(|source| source.name.clone()).collect())
}

/// Deliveries, newest first.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    let state = match call.query.get("status") {
        None => None,
        Some(name) => Some(DispatchState::from_name(&name).ok_or_else(|| {
            let names: Vec<&str> = DispatchState::ALL.iter().map(|state| state.as_str()).collect();
            bad_parameter("status", &format!("one of {}", names.join(", ")))
        })?),
    };
    let (limit, before) = (limit(call)?, cursor(call)?.map(|(_, id)| id));
    let mut deliveries = vec![];
    for sources in sources(call)?.chunks(ASKED) {
        let asked = sources.iter().map(|source| destinations::list(call.env, source, state, before.clone(), limit));
        for (source, rows) in sources.iter().zip(join_all(asked).await) {
            let rows = rows.map_err(|error| object_failed(&error))?;
            deliveries.extend(rows.into_iter().map(|row| DeliveryJson { source: source.clone(), row }));
        }
    }
    deliveries.sort_unstable_by(|a, b| b.row.id.cmp(&a.row.id));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = deliveries.len() >= limit;
    deliveries.truncate(limit);
    let next = deliveries.last().filter(|_| more).map(|delivery| &delivery.row);
    let next_cursor = next.map(|row| format!("{}-{}", row.received_at_ms, row.id));
    Ok(json(200, &Page { deliveries, next_cursor }))
}

/// One delivery, from whichever source has it.
pub(super) async fn read(call: &Call<'_>, id: &str) -> Handled {
    if !is_delivery_id(id) {
        return Err(not_found("No such delivery").into());
    }
    let mut failed = None;
    for sources in sources(call)?.chunks(ASKED) {
        let asked = sources.iter().map(|source| destinations::get(call.env, source, id));
        for (source, row) in sources.iter().zip(join_all(asked).await) {
            match row {
                Ok(Some(row)) => return Ok(json(200, &DeliveryJson { source: source.clone(), row })),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
    }
    Err(failed.map_or_else(|| not_found("No such delivery"), |error| object_failed(&error)).into())
}
