//! `/api/v2/webhooks/webhooks`: the whole object by PUT, guarded by `ETag` and `If-Match`.

use super::{ListPage, ListQuery, VendorCall, is_text, is_text_map, is_url, object, required, writable};
use crate::clock::{iso8601, now_ms};
use crate::error::VendorError;
use crate::gate::Interference;
use crate::state::SimulatorState;
use crate::store::{Entity, SECRET_PROPERTY, VendorApi};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

const API: VendorApi = VendorApi::Webhooks;

fn fields(state: &SimulatorState, body: Map<String, Value>) -> Result<Map<String, Value>, VendorError> {
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
    required(&fields, &["name", "address", "eventFilters"])?;
    for filter in fields.get("eventFilters").and_then(Value::as_array).into_iter().flatten() {
        let text = |name| filter.get(name).and_then(Value::as_str);
        let event_type = text("eventType")
            .ok_or_else(|| VendorError::bad_request("The field eventFilters[].eventType is required."))?;
        if text("filter").is_none() {
            return Err(VendorError::bad_request("The field eventFilters[].filter is required."));
        }
        if !state.event_types.iter().any(|known| known == event_type) {
            let problem = format!("The event type {event_type} does not exist.");
            return Err(VendorError::new(400, "invalid.event.type", problem));
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

fn answer(state: &SimulatorState, status: StatusCode, entity: &Entity) -> Response {
    let body = Json(show(entity, state.settings().webhook_secret_readable));
    (status, [(header::ETAG, entity.etag())], body).into_response()
}

/// Creates a webhook; also what the control API uses.
pub(crate) fn create(state: &SimulatorState, body: Map<String, Value>) -> Result<Entity, VendorError> {
    let fields = fields(state, body)?;
    let now_ms = now_ms();
    let entity = Entity::new(state.uuid(), API, fields, now_ms, state.settings().webhooks_lag_ms);
    state.store.lock().insert(entity.clone(), now_ms);
    Ok(entity)
}

pub(super) async fn list(call: VendorCall, Query(query): ListQuery) -> Result<Json<Value>, VendorError> {
    call.caller.needs("webhook:read")?;
    let readable = call.state.settings().webhook_secret_readable;
    let items = call.state.store.lock().list(API, now_ms()).map(|entity| show(entity, readable)).collect();
    Ok(ListPage::of(items, &query, "page")?.into_json())
}

pub(super) async fn post(call: VendorCall, body: Bytes) -> Result<Response, VendorError> {
    call.caller.needs("webhook:write")?;
    let entity = create(&call.state, object(&body)?)?;
    Ok(answer(&call.state, StatusCode::CREATED, &entity))
}

/// `GET` of one, with its `ETag`.
pub(super) async fn get(call: VendorCall, Path(id): Path<String>) -> Result<Response, VendorError> {
    call.caller.needs("webhook:read")?;
    Ok(answer(&call.state, StatusCode::OK, call.state.store.lock().get(API, &id, now_ms())?))
}

/// Whether `If-Match` (RFC 9110 §13.1.1: a list of quoted tags, or `*`) names the current version. Another writer may come first.
fn check(call: &VendorCall, headers: &HeaderMap, entity: &mut Entity, now_ms: u64) -> Result<(), VendorError> {
    let Interference { other_writer, mismatch_status, .. } = call.interference;
    if other_writer {
        entity.changed_by_another_writer(now_ms);
    }
    let Some(given) = headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or("")) else { return Ok(()) };
    if given.split(',').map(str::trim).any(|tag| tag == "*" || tag == entity.etag()) {
        return Ok(());
    }
    Err(VendorError::version_mismatch(mismatch_status.unwrap_or(412), given, entity.version))
}

/// `PUT`: replaces everything that a caller may set.
pub(super) async fn put(
    call: VendorCall,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, VendorError> {
    call.caller.needs("webhook:write")?;
    let fields = fields(&call.state, object(&body)?)?;
    let now_ms = now_ms();
    let mut store = call.state.store.lock();
    let entity = store.get_mut(API, &id, now_ms)?;
    check(&call, &headers, entity, now_ms)?;
    if !headers.contains_key(header::IF_MATCH) {
        return Err(VendorError::new(428, "precondition.required", "The If-Match header is required."));
    }
    entity.fields = fields;
    entity.touch(now_ms);
    Ok(answer(&call.state, StatusCode::OK, entity))
}

/// `DELETE`: `If-Match` is optional.
pub(super) async fn delete(
    call: VendorCall,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, VendorError> {
    call.caller.needs("webhook:write")?;
    let now_ms = now_ms();
    let mut store = call.state.store.lock();
    let entity = store.get_mut(API, &id, now_ms)?;
    check(&call, &headers, entity, now_ms)?;
    entity.gone_at_ms = Some(now_ms.saturating_add(call.state.settings().webhooks_lag_ms));
    Ok(StatusCode::NO_CONTENT)
}
