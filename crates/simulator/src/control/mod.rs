//! The control API: `/control/*`, JSON, without authentication (it is reached from this machine only). The table is in README.md.

mod sender;
mod sink;
pub(crate) mod subscriptions;

use crate::clock::now_ms;
use crate::config::{OauthClient, SimulatorSettings};
use crate::faults::Fault;
use crate::requests::RequestLog;
use crate::state::{Sim, SimulatorState};
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::ops::Range;
use std::sync::Arc;

const MAX_LIMIT: usize = 10_000;

/// An error of the control API: `{"error": …}`.
#[derive(Debug)]
pub(crate) struct ControlError(StatusCode, String);

impl ControlError {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

type ControlResult<T> = Result<Json<T>, ControlError>;
type Done = Result<StatusCode, ControlError>;

/// A JSON body, whatever its content type; nothing at all reads as `{}`.
struct Given<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = ControlError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ControlError> {
        let body = Bytes::from_request(request, state).await.map_err(|error| ControlError::bad(error.to_string()))?;
        let body = if body.trim_ascii().is_empty() { b"{}" } else { &body[..] };
        serde_json::from_slice(body).map(Self).map_err(|error| ControlError::bad(error.to_string()))
    }
}

/// The part of a list that is asked for; 1,000 entries without a limit.
fn part(offset: usize, limit: Option<usize>) -> Range<usize> {
    offset..offset.saturating_add(limit.unwrap_or(1_000).min(MAX_LIMIT))
}

pub(crate) fn router() -> Router<Arc<SimulatorState>> {
    Router::new()
        .route("/control/state", get(state))
        .route("/control/reset", post(reset))
        .route(
            "/control/settings",
            get(async |state: Sim| Json(SimulatorSettings::clone(&state.settings()))).patch(patch_settings),
        )
        .route("/control/requests", get(async |state: Sim| Json(state.requests.log())))
        .route("/control/oauth/revoke", post(async |state: Sim| Json(json!({ "revoked": state.oauth.revoke_all() }))))
        .route("/control/oauth/clients", put(put_client))
        .route(
            "/control/faults",
            get(async |state: Sim| Json(state.faults.list())).post(add_fault).delete(clear_faults),
        )
        .route(
            "/control/subscriptions",
            get(async |state: Sim| Json(subscriptions::views(&state))).post(subscriptions::post),
        )
        .route("/control/sender", get(async |state: Sim| Json(state.sender.state())))
        .route("/control/sender/start", post(sender::start))
        .route("/control/sender/stop", post(sender::stop))
        .route("/control/sender/burst", post(sender::burst))
        .route("/control/sender/deliveries", get(sender::deliveries))
        .route("/control/sink/{name}", get(sink::report).put(sink::configure))
        .route("/control/sink/{name}/behaviour", post(sink::behave).delete(sink::behave_well))
        .route("/control/sink/{name}/wait", post(sink::wait))
        .route("/control/sink/{name}/latest", get(sink::latest))
        .route("/control/sink/{name}/arrivals", get(sink::arrivals))
}

async fn state(state: Sim) -> Json<Value> {
    let RequestLog { total, by_route, .. } = state.requests.log();
    Json(json!({
        "baseUrl": state.base_url,
        "seed": state.seed,
        "oauth": state.oauth.report(now_ms()),
        "requests": { "total": total, "byRoute": by_route },
        "subscriptions": subscriptions::views(&state).len(),
        "faults": state.faults.list(),
        "sender": state.sender.state(),
        "sinks": state.sinks.reports(),
    }))
}

async fn reset(state: Sim) -> StatusCode {
    state.reset();
    StatusCode::NO_CONTENT
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

async fn patch_settings(state: Sim, Given(change): Given<Map<String, Value>>) -> ControlResult<SimulatorSettings> {
    let bad = |error: serde_json::Error| ControlError::bad(error.to_string());
    let mut value = serde_json::to_value(&*state.settings()).map_err(bad)?;
    merge(&mut value, Value::Object(change));
    let settings: SimulatorSettings = serde_json::from_value(value).map_err(bad)?;
    state.set_settings(settings.clone()).map_err(ControlError::bad)?;
    Ok(Json(settings))
}

async fn put_client(state: Sim, Given(client): Given<OauthClient>) -> StatusCode {
    state.oauth.put_client(client);
    StatusCode::NO_CONTENT
}

async fn add_fault(state: Sim, Given(fault): Given<Fault>) -> ControlResult<Value> {
    let id = state.faults.add(fault).map_err(ControlError::bad)?;
    Ok(Json(json!({ "id": id })))
}

async fn clear_faults(state: Sim) -> StatusCode {
    state.faults.clear();
    StatusCode::NO_CONTENT
}
