//! The control API: `/control/*`, JSON, without authentication (it is reached from this machine only). The table is in README.md.

pub(crate) mod check;
mod sender;
mod sink;
pub(crate) mod subscriptions;

use crate::clock::now_ms;
use crate::config::{OauthClient, Settings};
use crate::faults::Fault;
use crate::shared::Shared;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The largest page of records.
const MAX_LIMIT: usize = 10_000;

/// An error of the control API: `{"error": …}`.
#[derive(Debug)]
pub(crate) struct ControlError(StatusCode, String);

impl ControlError {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, message.into())
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

type Answer<T> = Result<Json<T>, ControlError>;

/// A JSON body, whatever its content type; nothing at all reads as `{}`.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ControlError> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ControlError::bad(error.to_string()))
}

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control/state", get(state))
        .route("/control/reset", post(reset))
        .route("/control/settings", get(settings))
        .route("/control/settings", patch(patch_settings))
        .route("/control/requests", get(requests))
        .route("/control/oauth/revoke", post(revoke))
        .route("/control/oauth/clients", put(put_client))
        .route("/control/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/control/faults/{id}", delete(remove_fault))
        .route("/control/subscriptions", get(subscriptions::list).post(subscriptions::post))
        .route("/control/sender", get(sender::state))
        .route("/control/sender/start", post(sender::start))
        .route("/control/sender/stop", post(sender::stop))
        .route("/control/sender/drain", post(sender::drain))
        .route("/control/sender/burst", post(sender::burst))
        .route("/control/sender/send", post(sender::send))
        .route("/control/sender/deliveries", get(sender::deliveries))
        .route("/control/sender/deliveries/{digest}", get(sender::by_digest))
        .route("/control/sink/{name}", get(sink::report).put(sink::configure))
        .route("/control/sink/{name}/behaviour", post(sink::behave).delete(sink::behave_well))
        .route("/control/sink/{name}/wait", post(sink::wait))
        .route("/control/sink/{name}/latest", get(sink::latest))
        .route("/control/sink/{name}/arrivals", get(sink::arrivals))
        .route("/control/sink/{name}/arrivals/{digest}", get(sink::arrival))
        .route("/control/check/{name}", get(check::get))
}

async fn state(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({
        "baseUrl": shared.base_url,
        "seed": shared.seed,
        "oauth": shared.oauth.report(now_ms()),
        "requests": { "total": shared.requests.total(), "byRoute": shared.requests.by_route() },
        "subscriptions": subscriptions::views(&shared).len(),
        "faults": shared.faults.list(),
        "sender": shared.sender.state(),
        "sinks": shared.sinks.reports(),
    }))
}

async fn reset(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.reset();
    StatusCode::NO_CONTENT
}

async fn settings(State(shared): State<Arc<Shared>>) -> Json<Settings> {
    Json(Settings::clone(&shared.settings()))
}

/// Lays `change` over `value`: objects by their fields, everything else whole.
fn merge(value: &mut Value, change: Value) {
    match (value, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(fields.entry(name).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change,
    }
}

async fn patch_settings(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer<Settings> {
    let change: Map<String, Value> = read(&body)?;
    let bad = |error: serde_json::Error| ControlError::bad(error.to_string());
    let mut value = serde_json::to_value(&*shared.settings()).map_err(bad)?;
    merge(&mut value, Value::Object(change));
    let settings: Settings = serde_json::from_value(value).map_err(bad)?;
    shared.set_settings(settings.clone()).map_err(ControlError::bad)?;
    Ok(Json(settings))
}

async fn requests(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let log = &shared.requests;
    Json(json!({ "total": log.total(), "byRoute": log.by_route(), "latest": log.latest() }))
}

async fn revoke(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "revoked": shared.oauth.revoke_all() }))
}

async fn put_client(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<StatusCode, ControlError> {
    shared.oauth.put_client(read::<OauthClient>(&body)?);
    Ok(StatusCode::NO_CONTENT)
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<impl Serialize> {
    Json(shared.faults.list())
}

async fn add_fault(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer<Value> {
    let id = shared.faults.add(read::<Fault>(&body)?).map_err(ControlError::bad)?;
    Ok(Json(json!({ "id": id })))
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove_fault(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Result<StatusCode, ControlError> {
    let removed = shared.faults.remove(id);
    removed.then_some(StatusCode::NO_CONTENT).ok_or_else(|| ControlError::not_found(format!("no fault {id}")))
}
