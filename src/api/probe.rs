//! `POST /api/probe` `{"url"}`: whether an address answers, and how.

use super::{Handled, ManagementCall, vendor};
use gateway_core::lifecycle::LifecycleCall;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbedAddress {
    url: String,
}

pub(super) async fn probe(call: &ManagementCall<'_>, ProbedAddress { url }: ProbedAddress) -> Handled {
    vendor(call, LifecycleCall::Probe { url }).await
}
