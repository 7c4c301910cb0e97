//! `POST /api/probe` `{"url"}`: whether an address answers, and how.

use super::{Call, Handled, json_body, vendor};
use gateway_core::lifecycle::LifecycleCall;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    url: String,
}

/// Probes the address.
pub(super) async fn probe(call: &Call<'_>) -> Handled {
    let Body { url } = json_body(call).await?;
    vendor(call, LifecycleCall::Probe { url }).await
}
