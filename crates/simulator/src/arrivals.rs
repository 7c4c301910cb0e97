//! `POST /sink/{name}`: what arrives at a sink, and how it behaves. Out of scope: what is kept (`crate::sink`).

use crate::clock::{http_date, now_ms};
use crate::server::Cutter;
use crate::shared::Shared;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::time::Duration;

/// `POST /sink/{name}`.
pub(crate) async fn receive(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Extension(cutter): Extension<Cutter>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let at_ms = now_ms();
    let Some(sink) = shared.sinks.get(&name) else { return StatusCode::INSUFFICIENT_STORAGE.into_response() };
    let behaviour = sink.behaviour().unwrap_or_default();
    if behaviour.cut {
        sink.record(&headers, &body, 0, at_ms);
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
        cutter.cut();
        return std::future::pending().await;
    }
    if behaviour.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
    }
    sink.record(&headers, &body, behaviour.status, at_ms);
    let status = StatusCode::from_u16(behaviour.status).unwrap_or(StatusCode::OK);
    let quoted = headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    let mut response = if behaviour.echo_headers {
        (status, quoted.collect::<String>()).into_response()
    } else {
        status.into_response()
    };
    if let Some(seconds) = behaviour.retry_after_s {
        let value = if behaviour.http_date {
            HeaderValue::from_str(&http_date(at_ms.saturating_add(seconds.saturating_add(1).saturating_mul(1_000))))
                .ok()
        } else {
            Some(HeaderValue::from(seconds))
        };
        response.headers_mut().extend(value.map(|value| (header::RETRY_AFTER, value)));
    }
    response
}
