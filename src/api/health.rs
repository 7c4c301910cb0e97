//! `GET /api/health`: who delivers, who should and does not, and what has been raised. `POST`: judges it now, as the cron does.

use super::{Handled, ManagementCall, configured};
use crate::api::collect::collect;
use crate::objects::clients::MonitorClient;
use crate::platform::http::json;
use gateway_core::metrics::HealthJson;

/// What the last evaluation said, beside what is known now.
pub(super) async fn show(call: &ManagementCall<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let snapshot = collect(call.env).await;
    Ok(json(200, &HealthJson::new(&snapshot, &gateway.config)))
}

pub(super) async fn evaluate(call: &ManagementCall<'_>) -> Handled {
    let gateway = configured(call.env)?;
    let mut snapshot = collect(call.env).await;
    snapshot.health = Some(MonitorClient::new(call.env).evaluate(snapshot.observation()).await?);
    Ok(json(200, &HealthJson::new(&snapshot, &gateway.config)))
}
