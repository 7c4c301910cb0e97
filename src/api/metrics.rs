//! `GET /metrics`: JSON, or OpenMetrics text for whoever asks for text.

use super::{Call, Handled};
use crate::collect::collect;
use crate::platform::http::{json, text};

/// The content type of OpenMetrics text (OpenMetrics 1.0, section "Content type").
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What everything knows now.
pub(super) async fn show(call: &Call<'_>) -> Handled {
    let snapshot = collect(call.env).await;
    if wants_text(call) {
        return Ok(text(200, OPEN_METRICS, &snapshot.open_metrics()));
    }
    Ok(json(200, &snapshot.json()))
}

fn wants_text(call: &Call<'_>) -> bool {
    match call.query.get("format").as_deref() {
        Some("prometheus" | "openmetrics") => true,
        Some(_) => false,
        None => {
            let accept = call.request.headers().get("accept").ok().flatten().unwrap_or_default();
            accept.contains("text/plain") || accept.contains("application/openmetrics-text")
        }
    }
}
