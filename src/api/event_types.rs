//! `GET /api/event-types`, `GET /api/ip-ranges`: what the vendor offers, and where it sends from.

use super::{Handled, ManagementCall, vendor};
use gateway_core::lifecycle::LifecycleCall;

/// The networks that webhooks come from: what `allow_networks` of a source may be filled with.
pub(super) async fn ip_ranges(call: &ManagementCall<'_>) -> Handled {
    vendor(call, LifecycleCall::IpRanges).await
}

/// The catalogue, all pages.
pub(super) async fn list(call: &ManagementCall<'_>) -> Handled {
    vendor(call, LifecycleCall::EventTypes).await
}
