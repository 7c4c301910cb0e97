//! `POST /oauth/token`. Out of scope: who gets one (`crate::oauth`).

use crate::shared::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::sync::Arc;

/// Gives out an access token.
pub(super) async fn grant(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let token = format!("sim-{}", shared.uuid());
    match shared.oauth.grant(&shared.settings(), token, &headers, &body, crate::clock::now_ms()) {
        Ok((token, expires_in)) => {
            Json(json!({ "access_token": token, "token_type": "bearer", "expires_in": expires_in })).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}
