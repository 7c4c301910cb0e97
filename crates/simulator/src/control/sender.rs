//! The control calls of the sender.

use super::{Answer, ControlError, MAX_LIMIT, read};
use crate::config::Kind;
use crate::sender::{Burst, BurstReport, Custom, DeliveryRecord, Outcome, SenderError, SenderState};
use crate::shared::Shared;
use crate::signature::digest_from_hex;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

impl From<SenderError> for ControlError {
    fn from(error: SenderError) -> Self {
        let status = match error {
            SenderError::Invalid(_) => StatusCode::BAD_REQUEST,
            SenderError::NoSubscription | SenderError::Aborted => StatusCode::CONFLICT,
        };
        Self(status, error.to_string())
    }
}

pub(super) async fn state(State(shared): State<Arc<Shared>>) -> Json<SenderState> {
    Json(shared.sender.state())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    rate: f64,
}

pub(super) async fn start(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer<SenderState> {
    shared.sender.start(read::<Start>(&body)?.rate)?;
    Ok(Json(shared.sender.state()))
}

/// Runs to its end even when the caller leaves: a task of its own.
async fn detached<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<T, ControlError> {
    tokio::spawn(future).await.map_err(|error| ControlError(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

pub(super) async fn stop(State(shared): State<Arc<Shared>>) -> Answer<SenderState> {
    detached(async move { shared.sender.stop().await }).await.map(Json)
}

pub(super) async fn drain(State(shared): State<Arc<Shared>>) -> Json<SenderState> {
    shared.sender.drain().await;
    Json(shared.sender.state())
}

pub(super) async fn burst(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer<BurstReport> {
    let burst: Burst = read(&body)?;
    Ok(detached(async move { shared.sender.burst(burst).await }).await?.map(Json)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendBody {
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

pub(super) async fn send(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer<DeliveryRecord> {
    let SendBody { subscription, body, body_base64, sign, headers } = read(&body)?;
    let body = match (body, body_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(encoded)) => {
            STANDARD.decode(encoded).map_err(|error| ControlError::bad(format!("bodyBase64: {error}")))?
        }
        _ => return Err(ControlError::bad("expected either body or bodyBase64")),
    };
    let custom = Custom { subscription, body, sign, headers: headers.into_iter().collect() };
    Ok(detached(async move { shared.sender.send(custom).await }).await?.map(Json)?)
}

/// Which records are asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Filter {
    outcome: Option<Outcome>,
    kind: Option<Kind>,
    status: Option<u16>,
    subscription: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

impl Filter {
    fn takes(&self, record: &DeliveryRecord) -> bool {
        self.outcome.is_none_or(|outcome| outcome == record.outcome)
            && self.kind.is_none_or(|kind| kind == record.kind)
            && self.status.is_none_or(|status| Some(status) == record.status)
            && self.subscription.as_ref().is_none_or(|id| *id == record.subscription)
            && self.from.is_none_or(|from| record.number >= from)
            && self.to.is_none_or(|to| record.number <= to)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Records {
    total: usize,
    next_offset: Option<usize>,
    deliveries: Vec<DeliveryRecord>,
}

pub(super) async fn deliveries(State(shared): State<Arc<Shared>>, Query(filter): Query<Filter>) -> Json<Records> {
    let (mut total, limit) = (0, filter.limit.unwrap_or(1_000).min(MAX_LIMIT));
    let page = filter.offset..filter.offset.saturating_add(limit);
    let deliveries = shared.sender.records(|record| {
        let index = filter.takes(record).then(|| {
            total += 1;
            total - 1
        })?;
        page.contains(&index).then(|| record.clone())
    });
    Json(Records { next_offset: (page.end < total).then_some(page.end), total, deliveries })
}

pub(super) async fn by_digest(
    State(shared): State<Arc<Shared>>,
    Path(digest): Path<String>,
) -> Answer<Vec<DeliveryRecord>> {
    let digest = digest_from_hex(&digest).ok_or_else(|| ControlError::bad("expected 64 hex digits"))?;
    Ok(Json(shared.sender.records(|record| (record.digest == digest).then(|| record.clone()))))
}
