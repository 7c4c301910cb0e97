//! `GET /api/health`: who delivers, who should and does not, and what has been raised. `POST`: judges it now, as the cron does.

use super::{ApiCall, Handled, configured, object_failed};
use crate::api::collect::collect;
use crate::jobs::monitor;
use crate::platform::http::json;
use gateway_core::metrics::HealthJson;

/// What the last evaluation said, beside what is known now.
pub(super) async fn show(call: &ApiCall<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let snapshot = collect(call.env).await;
    Ok(json(200, &HealthJson::new(&snapshot, &gateway.config)))
}

/// Evaluates first.
pub(super) async fn evaluate(call: &ApiCall<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let mut snapshot = collect(call.env).await;
    let health = monitor::evaluate(call.env, &snapshot).await.map_err(|error| object_failed(&error))?;
    snapshot.health = Some(health);
    Ok(json(200, &HealthJson::new(&snapshot, &gateway.config)))
}
