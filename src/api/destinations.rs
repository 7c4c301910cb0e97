//! `GET /api/destinations`, `POST /api/destinations/{source}/close`: where deliveries go, and whether they wait.

use super::{Call, Handled, configured, not_found, object_failed};
use crate::deliver::destinations;
use crate::platform::http::json;
use gateway_core::deliver::dispatcher::status::{CircuitRow, CircuitState};
use serde::Serialize;

#[derive(Serialize)]
struct Page {
    destinations: Vec<CircuitRow>,
    /// Sources whose destination's object did not answer.
    missing: Vec<String>,
}

/// The destinations of all sources with their circuits.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let rows = destinations::circuits(call.env, &gateway).await;
    let missing = rows.iter().filter(|row| row.state == CircuitState::Unknown).map(|row| row.source.clone());
    Ok(json(200, &Page { missing: missing.collect(), destinations: rows }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Closed<'a> {
    source: &'a str,
    was_open: bool,
}

/// Closes a circuit by hand: what waits is handed on when its wait is over, what comes from now on at once.
pub(super) async fn close(call: &Call<'_>, source: &str) -> Handled {
    let gateway = configured(call.env)?;
    let Some(configured) = gateway.source(source) else { return Err(not_found("No such source").into()) };
    let was_open = destinations::close(call.env, configured.source).await.map_err(|error| object_failed(&error))?;
    Ok(json(200, &Closed { source, was_open }))
}
