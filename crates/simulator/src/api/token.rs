//! `POST /oauth/token`. Out of scope: who gets one (`crate::oauth`).

use crate::state::Sim;
use axum::Json;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

pub(super) async fn grant(state: Sim, headers: HeaderMap, body: Bytes) -> Response {
    let token = format!("sim-{}", state.uuid());
    match state.oauth.grant(&state.settings(), token, &headers, &body, crate::clock::now_ms()) {
        Ok((token, expires_in)) => {
            Json(json!({ "access_token": token, "token_type": "bearer", "expires_in": expires_in })).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}
