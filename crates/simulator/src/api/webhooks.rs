//! `/api/v2/webhooks/webhooks`: the whole object by PUT, guarded by `ETag` and `If-Match`.

use super::{Page, is_text, is_text_map, is_url, object, page, writable};
use crate::clock::{iso8601, now_ms};
use crate::error::ApiError;
use crate::gate::Interference;
use crate::lock::lock;
use crate::oauth::Caller;
use crate::shared::Shared;
use crate::store::{Api, Entity, SECRET_PROPERTY};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const API: Api = Api::Webhooks;
const WHAT: &str = "webhook";

fn fields(shared: &Shared, body: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let mut fields = writable(
        body,
        &[
            ("name", is_text, "a text"),
            ("address", is_url, "an http or https URL"),
            ("enabled", Value::is_boolean, "true or false"),
            ("eventFilters", |value| value.as_array().is_some_and(|list| !list.is_empty()), "a list that is not empty"),
            ("customProperties", is_text_map, "a map of texts"),
        ],
    )?;
    for name in ["name", "address", "eventFilters"] {
        if !fields.contains_key(name) {
            return Err(ApiError::bad_request(format!("The field {name} is required.")));
        }
    }
    for filter in fields.get("eventFilters").and_then(Value::as_array).into_iter().flatten() {
        let text = |name| filter.get(name).and_then(Value::as_str);
        let event_type = text("eventType")
            .ok_or_else(|| ApiError::bad_request("The field eventFilters[].eventType is required."))?;
        if text("filter").is_none() {
            return Err(ApiError::bad_request("The field eventFilters[].filter is required."));
        }
        if !shared.event_types.iter().any(|known| known == event_type) {
            return Err(ApiError::new(
                400,
                "invalid.event.type",
                format!("The event type {event_type} does not exist."),
            ));
        }
    }
    fields.entry("enabled").or_insert(Value::Bool(true));
    fields.entry("customProperties").or_insert_with(|| json!({}));
    Ok(fields)
}

fn show(entity: &Entity, secret_readable: bool) -> Value {
    let mut shown = entity.fields.clone();
    if !secret_readable
        && let Some(secret) = shown.get_mut("customProperties").and_then(|map| map.get_mut(SECRET_PROPERTY))
    {
        *secret = Value::from("********");
    }
    shown.insert("id".to_owned(), entity.id.clone().into());
    shown.insert("dateCreated".to_owned(), iso8601(entity.created_ms).into());
    shown.insert("dateModified".to_owned(), iso8601(entity.modified_ms).into());
    shown.insert("selfUri".to_owned(), format!("/api/v2/webhooks/webhooks/{}", entity.id).into());
    Value::Object(shown)
}

fn answer(shared: &Shared, status: StatusCode, entity: &Entity) -> Response {
    let body = Json(show(entity, shared.settings().webhook_secret_readable));
    (status, [(header::ETAG, entity.etag())], body).into_response()
}

/// Creates a webhook; also what the control API uses.
pub(crate) fn create(shared: &Shared, body: Map<String, Value>) -> Result<Entity, ApiError> {
    let fields = fields(shared, body)?;
    let now_ms = now_ms();
    let entity = Entity {
        id: shared.uuid(),
        api: API,
        version: 1,
        created_ms: now_ms,
        modified_ms: now_ms,
        visible_at_ms: now_ms.saturating_add(shared.settings().webhooks_lag_ms),
        ready_at_ms: now_ms,
        create_error: None,
        gone_at_ms: None,
        fields,
        hidden_secret: None,
    };
    lock(&shared.store).insert(entity.clone(), now_ms);
    Ok(entity)
}

/// `GET` of the list.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("webhook:read")?;
    let readable = shared.settings().webhook_secret_readable;
    let items = lock(&shared.store).list(API, now_ms()).map(|entity| show(entity, readable)).collect();
    let Page { entities, size, number, total, count } = page(items, &query, "page", 25)?;
    Ok(Json(json!({ "entities": entities, "pageSize": size, "page": number, "total": total, "totalPageCount": count })))
}

/// `POST`.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Response, ApiError> {
    caller.needs("webhook:write")?;
    let entity = create(&shared, object(&body)?)?;
    Ok(answer(&shared, StatusCode::CREATED, &entity))
}

/// `GET` of one, with its `ETag`.
pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs("webhook:read")?;
    let store = lock(&shared.store);
    let entity = store.get(API, &id, now_ms()).ok_or_else(|| ApiError::not_found(WHAT, &id))?;
    Ok(answer(&shared, StatusCode::OK, entity))
}

/// Whether `If-Match` (RFC 9110 §13.1.1: a list of quoted tags, or `*`) names the current version.
fn check(shared: &Shared, headers: &HeaderMap, entity: &Entity, interference: Interference) -> Result<(), ApiError> {
    let Some(given) = headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or("")) else { return Ok(()) };
    if given.split(',').map(str::trim).any(|tag| tag == "*" || tag == entity.etag()) {
        return Ok(());
    }
    let status = interference
        .concurrent_writer
        .and_then(|writer| writer.status)
        .unwrap_or(shared.settings().version_mismatch_status);
    Err(ApiError::version_mismatch(status, given, entity.version))
}

/// `PUT`: replaces everything that a caller may set.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Extension(interference): Extension<Interference>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    caller.needs("webhook:write")?;
    let fields = fields(&shared, object(&body)?)?;
    let now_ms = now_ms();
    let mut store = lock(&shared.store);
    let entity = store.get_mut(API, &id, now_ms).ok_or_else(|| ApiError::not_found(WHAT, &id))?;
    if interference.concurrent_writer.is_some() {
        entity.changed_by_somebody_else(now_ms);
    }
    if !headers.contains_key(header::IF_MATCH) {
        return Err(ApiError::new(428, "precondition.required", "The If-Match header is required."));
    }
    check(&shared, &headers, entity, interference)?;
    entity.fields = fields;
    entity.touch(now_ms);
    Ok(answer(&shared, StatusCode::OK, entity))
}

/// `DELETE`: `If-Match` is optional.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Extension(interference): Extension<Interference>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    caller.needs("webhook:write")?;
    let now_ms = now_ms();
    let mut store = lock(&shared.store);
    let entity = store.get_mut(API, &id, now_ms).ok_or_else(|| ApiError::not_found(WHAT, &id))?;
    if interference.concurrent_writer.is_some() {
        entity.changed_by_somebody_else(now_ms);
    }
    check(&shared, &headers, entity, interference)?;
    entity.gone_at_ms = Some(now_ms.saturating_add(shared.settings().webhooks_lag_ms));
    Ok(StatusCode::NO_CONTENT)
}
