//! `GET /metrics`: JSON, or text for a caller that asks for text: OpenMetrics, or Prometheus' older format where it reads no other.

use super::{Handled, ManagementCall, bad_parameter};
use crate::api::collect::collect;
use crate::platform::http::{ApiProblem, json, text};

/// The content type of OpenMetrics text (OpenMetrics 1.0, section "Content type").
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn show(call: &ManagementCall<'_>) -> Handled {
    let wanted = wanted(call)?;
    let snapshot = collect(call.env).await;
    Ok(match wanted {
        Some(OPEN_METRICS) => text(200, OPEN_METRICS, &snapshot.open_metrics(), &[]),
        Some(other) => text(200, other, &snapshot.prometheus_text(), &[]),
        None => json(200, &snapshot.json()),
    })
}

/// The content type of the text that is wanted; `None`: JSON.
fn wanted(call: &ManagementCall<'_>) -> Result<Option<&'static str>, ApiProblem> {
    match call.query.get("format") {
        Some("prometheus" | "openmetrics") => Ok(Some(OPEN_METRICS)),
        Some("json") => Ok(None),
        Some(_) => Err(bad_parameter("format", "one of json, prometheus, openmetrics")),
        None => {
            let accept = call.request.headers().get("accept").ok().flatten().unwrap_or_default();
            let read = [("application/openmetrics-text", OPEN_METRICS), ("text/plain", PROMETHEUS)];
            Ok(read.into_iter().find(|(name, _)| accept.contains(name)).map(|(_, content_type)| content_type))
        }
    }
}
