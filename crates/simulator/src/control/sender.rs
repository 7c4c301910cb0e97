//! The control calls of the sender.

use super::{ControlError, ControlResult, Given, digest, part};
use crate::config::DeliveryKind;
use crate::sender::{Burst, BurstReport, CustomDelivery, DeliveryRecord, SendOutcome, SenderError, SenderState};
use crate::state::Sim;
use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl From<SenderError> for ControlError {
    fn from(error: SenderError) -> Self {
        let status = match error {
            SenderError::Invalid(_) => StatusCode::BAD_REQUEST,
            SenderError::NoSubscription | SenderError::Aborted => StatusCode::CONFLICT,
        };
        Self(status, error.to_string())
    }
}

pub(super) async fn state(state: Sim) -> Json<SenderState> {
    Json(state.sender.state())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    rate: f64,
}

pub(super) async fn start(state: Sim, Given(start): Given<Start>) -> ControlResult<SenderState> {
    state.sender.start(start.rate)?;
    Ok(Json(state.sender.state()))
}

/// Runs to its end even when the caller leaves: a task of its own.
async fn detached<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<T, ControlError> {
    tokio::spawn(future).await.map_err(|error| ControlError(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

pub(super) async fn stop(state: Sim) -> ControlResult<SenderState> {
    detached(async move { state.sender.stop().await }).await.map(Json)
}

pub(super) async fn drain(state: Sim) -> Json<SenderState> {
    state.sender.drain().await;
    Json(state.sender.state())
}

pub(super) async fn burst(state: Sim, Given(burst): Given<Burst>) -> ControlResult<BurstReport> {
    Ok(detached(async move { state.sender.burst(burst).await }).await?.map(Json)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CustomBody {
    subscription: String,
    body: Option<String>,
    body_base64: Option<String>,
    #[serde(default = "yes")]
    sign: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

pub(super) async fn send(state: Sim, Given(custom): Given<CustomBody>) -> ControlResult<DeliveryRecord> {
    let CustomBody { subscription, body, body_base64, sign, headers } = custom;
    let body = match (body, body_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(encoded)) => {
            STANDARD.decode(encoded).map_err(|error| ControlError::bad(format!("bodyBase64: {error}")))?
        }
        _ => return Err(ControlError::bad("expected either body or bodyBase64")),
    };
    let custom = CustomDelivery { subscription, body, sign, headers: headers.into_iter().collect() };
    Ok(detached(async move { state.sender.send(custom).await }).await?.map(Json)?)
}

/// Which records are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordFilter {
    outcome: Option<SendOutcome>,
    kind: Option<DeliveryKind>,
    status: Option<u16>,
    subscription: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

impl RecordFilter {
    fn takes(&self, record: &DeliveryRecord) -> bool {
        self.outcome.is_none_or(|outcome| outcome == record.outcome)
            && self.kind.is_none_or(|kind| kind == record.kind)
            && self.status.is_none_or(|status| Some(status) == record.status)
            && self.subscription.as_ref().is_none_or(|id| *id == record.subscription)
            && self.from.is_none_or(|from| record.number >= from)
            && self.to.is_none_or(|to| record.number <= to)
    }
}

pub(super) async fn deliveries(state: Sim, Query(filter): Query<RecordFilter>) -> Json<Value> {
    let (mut total, range) = (0, part(filter.offset, filter.limit));
    let deliveries = state.sender.records(|record| {
        let index = filter.takes(record).then_some(total)?;
        total += 1;
        range.contains(&index).then(|| record.clone())
    });
    let next_offset = (range.end < total).then_some(range.end);
    Json(json!({ "total": total, "nextOffset": next_offset, "deliveries": deliveries }))
}

pub(super) async fn by_digest(state: Sim, Path(hex): Path<String>) -> ControlResult<Vec<DeliveryRecord>> {
    let digest = digest(&hex)?;
    Ok(Json(state.sender.records(|record| (record.digest == digest).then(|| record.clone()))))
}
