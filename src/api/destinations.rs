//! `GET /api/destinations`, `POST /api/destinations/{source}/close`: where deliveries go, and whether they wait.

use super::{ApiCall, Handled, configured, not_found};
use crate::deliver::circuit_breakers;
use crate::platform::http::json;
use gateway_core::deliver::circuit_breaker::{CircuitRow, CircuitState};
use serde::Serialize;

#[derive(Serialize)]
struct DestinationList {
    destinations: Vec<CircuitRow>,
    /// Sources whose circuit could not be read.
    missing: Vec<String>,
}

/// The destinations of all sources with their circuits.
pub(super) async fn list(call: &ApiCall<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let destinations = circuit_breakers::circuits(call.env, &gateway).await;
    let missing = destinations.iter().filter(|row| row.state == CircuitState::Unknown).map(|row| row.source.clone());
    Ok(json(200, &DestinationList { missing: missing.collect(), destinations }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedCircuit<'a> {
    source: &'a str,
    was_open: bool,
}

/// Closes a circuit by hand: a delivery that waits is tried when its wait is over, one that comes from now on at once.
pub(super) async fn close(call: &ApiCall<'_>, source: &str) -> Handled {
    let gateway = configured(call.env)?;
    let Some(configured) = gateway.source(source) else { return Err(not_found("No such source")) };
    let was_open = circuit_breakers::close(call.env, configured.source).await?;
    Ok(json(200, &ClosedCircuit { source, was_open }))
}
