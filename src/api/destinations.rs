//! `GET /api/destinations`, `POST /api/destinations/{source}/close`: where deliveries go, and whether they wait.

use super::{Call, Handled, configured, not_found};
use crate::deliver::circuit_breakers;
use crate::platform::http::json;
use gateway_core::deliver::circuit_breaker::{CircuitRow, CircuitState};
use serde::Serialize;

#[derive(Serialize)]
struct Page {
    destinations: Vec<CircuitRow>,
    /// Sources whose circuit could not be read.
    missing: Vec<String>,
}

/// The destinations of all sources with their circuits.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let destinations = circuit_breakers::circuits(call.env, &gateway).await;
    let missing = destinations.iter().filter(|row| row.state == CircuitState::Unknown).map(|row| row.source.clone());
    Ok(json(200, &Page { missing: missing.collect(), destinations }))
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
    let was_open = circuit_breakers::close(call.env, configured.source).await?;
    Ok(json(200, &Closed { source, was_open }))
}
