//! The control calls of the sender.

use super::{ControlError, ControlResult, Given, part};
use crate::sender::{Burst, BurstReport, DeliveryRecord, SendOutcome, SenderError, SenderState};
use crate::state::Sim;
use axum::Json;
use axum::extract::Query;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

impl From<SenderError> for ControlError {
    fn from(error: SenderError) -> Self {
        let status = match error {
            SenderError::Invalid(_) => StatusCode::BAD_REQUEST,
            SenderError::NoSubscription | SenderError::Aborted => StatusCode::CONFLICT,
        };
        Self(status, error.to_string())
    }
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

pub(super) async fn burst(state: Sim, Given(burst): Given<Burst>) -> ControlResult<BurstReport> {
    Ok(detached(async move { state.sender.burst(burst).await }).await?.map(Json)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordFilter {
    outcome: Option<SendOutcome>,
    subscription: Option<String>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

impl RecordFilter {
    fn takes(&self, record: &DeliveryRecord) -> bool {
        self.outcome.is_none_or(|outcome| outcome == record.outcome)
            && self.subscription.as_ref().is_none_or(|id| *id == record.subscription)
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
