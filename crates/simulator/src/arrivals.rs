//! `POST /sink/{name}`: what arrives at a sink, and how it behaves. Out of scope: what is kept (`crate::sink`).

use crate::clock::{now_ms, retry_after};
use crate::server::ConnectionCutter;
use crate::state::Sim;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use std::time::Duration;

pub(crate) async fn receive(
    state: Sim,
    Path(name): Path<String>,
    Extension(cutter): Extension<ConnectionCutter>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let at_ms = now_ms();
    let Some(sink) = state.sinks.get(&name) else { return StatusCode::INSUFFICIENT_STORAGE.into_response() };
    let behaviour = sink.behaviour().unwrap_or_default();
    let delay = tokio::time::sleep(Duration::from_millis(behaviour.delay_ms));
    if behaviour.cut {
        sink.record(&headers, &body, 0, at_ms);
        delay.await;
        return cutter.cut().await;
    }
    if behaviour.delay_ms > 0 {
        delay.await;
    }
    sink.record(&headers, &body, behaviour.status, at_ms);
    let status = StatusCode::from_u16(behaviour.status).unwrap_or(StatusCode::OK);
    let quoted = headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    let mut response = if behaviour.echo_headers {
        (status, quoted.collect::<String>()).into_response()
    } else {
        status.into_response()
    };
    let value = behaviour.retry_after_s.map(|seconds| retry_after(seconds, behaviour.http_date));
    let value = value.and_then(|value| HeaderValue::try_from(value).ok());
    response.headers_mut().extend(value.map(|value| (header::RETRY_AFTER, value)));
    response
}
