//! `GET /api/event-types`: the vendor's catalogue, all pages.

use super::{Call, Handled, vendor};
use gateway_core::lifecycle::LifecycleCall;

/// The catalogue.
pub(super) async fn list(call: &Call<'_>) -> Handled {
    vendor(call, LifecycleCall::EventTypes).await
}
