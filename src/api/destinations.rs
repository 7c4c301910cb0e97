//! `GET /api/destinations`, `POST /api/destinations/{source}/{close,pause,resume,probe}`: where deliveries go, and whether they wait.

use super::{Handled, ManagementCall, configured, not_found};
use crate::deliver::circuit_breakers::{self, Order};
use crate::platform::http::json;
use gateway_core::deliver::circuit_breaker::{CircuitRow, CircuitState};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct DestinationList {
    destinations: Vec<CircuitRow>,
    /// Sources whose circuit could not be read.
    missing: Vec<String>,
}

/// The destinations of all sources with their circuits.
pub(super) async fn list(call: &ManagementCall<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let destinations = circuit_breakers::circuits(call.env, &gateway).await;
    let missing = destinations.iter().filter(|row| row.state == CircuitState::Unknown).map(|row| row.source.clone());
    Ok(json(200, &DestinationList { missing: missing.collect(), destinations }))
}

/// What was asked for by hand, and whether the destination was `was`.
async fn by_hand(call: &ManagementCall<'_>, source: &str, order: Order, was: &'static str) -> Handled {
    let gateway = configured(call.env)?;
    let Some(configured) = gateway.source(source) else { return Err(not_found("No such source")) };
    let before = circuit_breakers::by_hand(call.env, configured.source, order).await?;
    Ok(json(200, &BTreeMap::from([("source", Value::from(source)), (was, before.into())])))
}

/// Closes a circuit: a delivery that waits is tried when its wait is over, one that comes from now on at once.
pub(super) async fn close(call: &ManagementCall<'_>, source: &str) -> Handled {
    by_hand(call, source, Order::Close, "wasOpen").await
}

/// Has deliveries wait until they are resumed.
pub(super) async fn pause(call: &ManagementCall<'_>, source: &str) -> Handled {
    by_hand(call, source, Order::Pause, "wasPaused").await
}

/// Ends a pause.
pub(super) async fn resume(call: &ManagementCall<'_>, source: &str) -> Handled {
    by_hand(call, source, Order::Resume, "wasPaused").await
}

/// Has the next delivery tried, whatever it would wait for except a pause.
pub(super) async fn probe(call: &ManagementCall<'_>, source: &str) -> Handled {
    by_hand(call, source, Order::Probe, "wasWaiting").await
}
