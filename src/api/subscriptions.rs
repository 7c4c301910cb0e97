//! `/api/subscriptions`: the vendor's subscriptions, one by one.
//!
//! What a subscription should be is configuration: creating and updating push what the source declares. The next reconciliation
//! takes back what was changed elsewhere.

use super::{Handled, ManagementCall, vendor};
use gateway_core::lifecycle::LifecycleCall;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSubscription {
    source: String,
}

/// All of them, or those that deliver to `?source=`.
pub(super) async fn list(call: &ManagementCall<'_>) -> Handled {
    vendor(call, LifecycleCall::List { source: call.query.text("source") }).await
}

/// Creates what `{"source"}` declares.
pub(super) async fn create(call: &ManagementCall<'_>, NewSubscription { source }: NewSubscription) -> Handled {
    vendor(call, LifecycleCall::Create { source }).await
}

/// One of them, with its version as `ETag`.
pub(super) async fn read(call: &ManagementCall<'_>, source: &str, id: &str) -> Handled {
    vendor(call, LifecycleCall::Get { source: source.into(), id: id.into() }).await
}

/// Makes it what its source declares; `If-Match` refuses where it was changed since.
pub(super) async fn update(call: &ManagementCall<'_>, source: &str, id: &str) -> Handled {
    let if_match = call.request.headers().get("if-match").ok().flatten();
    vendor(call, LifecycleCall::Update { source: source.into(), id: id.into(), if_match }).await
}

/// Deletes it, where the gateway owns it.
pub(super) async fn delete(call: &ManagementCall<'_>, source: &str, id: &str) -> Handled {
    vendor(call, LifecycleCall::Delete { source: source.into(), id: id.into() }).await
}
