//! The control calls of the sinks.

use super::{ControlError, ControlResult, Done, Given, part};
use crate::sink::{Behaviour, Received, Sink, SinkArrival, SinkReport};
use crate::state::{Sim, SimulatorState};
use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn find(state: &SimulatorState, name: &str) -> Result<Arc<Sink>, ControlError> {
    state.sinks.get(name).ok_or_else(|| ControlError::bad("too many sinks"))
}

pub(super) async fn report(state: Sim, Path(name): Path<String>) -> ControlResult<SinkReport> {
    Ok(Json(find(&state, &name)?.report()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Configure {
    secret: Option<String>,
}

pub(super) async fn configure(state: Sim, Path(name): Path<String>, Given(to): Given<Configure>) -> Done {
    find(&state, &name)?.set_secret(to.secret);
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn behave(state: Sim, Path(name): Path<String>, Given(behaviour): Given<Behaviour>) -> Done {
    find(&state, &name)?.behave(behaviour).map_err(ControlError::bad)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn behave_well(state: Sim, Path(name): Path<String>) -> Done {
    find(&state, &name)?.behave_well();
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wait {
    accepted: u64,
    #[serde(default = "half_a_minute")]
    timeout_ms: u64,
}

fn half_a_minute() -> u64 {
    30_000
}

/// Answers the report as soon as so many were accepted, or 408 with an error after the timeout.
pub(super) async fn wait(state: Sim, Path(name): Path<String>, Given(wait): Given<Wait>) -> ControlResult<SinkReport> {
    let Wait { accepted, timeout_ms } = wait;
    let sink = find(&state, &name)?;
    if tokio::time::timeout(Duration::from_millis(timeout_ms), sink.wait_for_accepted(accepted)).await.is_ok() {
        return Ok(Json(sink.report()));
    }
    let found = sink.report().accepted;
    Err(ControlError(StatusCode::REQUEST_TIMEOUT, format!("{found} of {accepted} were accepted in {timeout_ms} ms")))
}

pub(super) async fn latest(state: Sim, Path(name): Path<String>) -> ControlResult<Vec<Received>> {
    Ok(Json(find(&state, &name)?.latest()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

pub(super) async fn arrivals(
    state: Sim,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> ControlResult<Value> {
    let all = find(&state, &name)?.arrivals();
    let range = part(query.offset, query.limit);
    let next_offset = (range.end < all.len()).then_some(range.end);
    let arrivals: Vec<&SinkArrival> = all.iter().skip(range.start).take(range.len()).collect();
    Ok(Json(json!({ "total": all.len(), "nextOffset": next_offset, "arrivals": arrivals })))
}
