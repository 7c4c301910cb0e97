//! The control calls of the sinks.

use super::{Answer, ControlError, MAX_LIMIT, read};
use crate::shared::Shared;
use crate::signature::digest_from_hex;
use crate::sink::{Arrival, Behaviour, Received, Sink, SinkReport};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn find(shared: &Shared, name: &str) -> Result<Arc<Sink>, ControlError> {
    shared.sinks.get(name).ok_or_else(|| ControlError::bad("too many sinks"))
}

pub(super) async fn report(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Answer<SinkReport> {
    Ok(Json(find(&shared, &name)?.report()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configure {
    secret: Option<String>,
}

pub(super) async fn configure(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ControlError> {
    find(&shared, &name)?.set_secret(read::<Configure>(&body)?.secret);
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn behave(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ControlError> {
    find(&shared, &name)?.behave(read::<Behaviour>(&body)?).map_err(ControlError::bad)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn behave_well(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ControlError> {
    find(&shared, &name)?.behave_well();
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wait {
    accepted: u64,
    #[serde(default = "half_a_minute")]
    timeout_ms: u64,
}

fn half_a_minute() -> u64 {
    30_000
}

/// Answers the report as soon as so many were accepted, or 408 with an error after the timeout.
pub(super) async fn wait(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer<SinkReport> {
    let Wait { accepted, timeout_ms } = read(&body)?;
    let sink = find(&shared, &name)?;
    if tokio::time::timeout(Duration::from_millis(timeout_ms), sink.wait_for_accepted(accepted)).await.is_ok() {
        return Ok(Json(sink.report()));
    }
    let found = sink.report().accepted;
    Err(ControlError(StatusCode::REQUEST_TIMEOUT, format!("{found} of {accepted} were accepted in {timeout_ms} ms")))
}

pub(super) async fn latest(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Answer<Vec<Received>> {
    Ok(Json(find(&shared, &name)?.latest()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

pub(super) async fn arrivals(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Answer<Value> {
    let all = find(&shared, &name)?.arrivals();
    let limit = part.limit.unwrap_or(1_000).min(MAX_LIMIT);
    let end = part.offset.saturating_add(limit);
    let next_offset = (end < all.len()).then_some(end);
    let arrivals: Vec<&Arrival> = all.iter().skip(part.offset).take(limit).collect();
    Ok(Json(json!({ "total": all.len(), "nextOffset": next_offset, "arrivals": arrivals })))
}

pub(super) async fn arrival(
    State(shared): State<Arc<Shared>>,
    Path((name, digest)): Path<(String, String)>,
) -> Answer<Arrival> {
    let digest = digest_from_hex(&digest).ok_or_else(|| ControlError::bad("expected 64 hex digits"))?;
    let arrival = find(&shared, &name)?.arrival(&digest);
    arrival.map(Json).ok_or_else(|| ControlError::not_found("no such body has arrived"))
}
