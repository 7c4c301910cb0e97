//! `/api/v2/conversations/messaging/integrations/open`: PATCH, no version, created asynchronously, eventually consistent, and a
//! secret that is never given back.

use super::{ListPage, ListQuery, VendorCall, is_text, is_text_map, is_url, object, required, writable};
use crate::clock::{iso8601, now_ms};
use crate::error::VendorError;
use crate::state::SimulatorState;
use crate::store::{Entity, VendorApi};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

const API: VendorApi = VendorApi::OpenMessaging;
pub(super) const PATH: &str = "/api/v2/conversations/messaging/integrations/open";

const SECRET: &str = "outboundNotificationWebhookSignatureSecretToken";

/// The vendor demands a secret of more than 15 characters.
const MIN_SECRET_CHARS: usize = 16;

/// The fields of a create or of a PATCH, and the secret apart.
fn fields(body: Map<String, Value>) -> Result<(Map<String, Value>, Option<String>), VendorError> {
    let mut fields = writable(
        body,
        &[
            ("name", is_text, "a text"),
            ("supportedContent", Value::is_object, "an object"),
            ("messagingSetting", Value::is_object, "an object"),
            ("outboundNotificationWebhookUrl", is_url, "an http or https URL"),
            (
                SECRET,
                |value| value.as_str().is_some_and(|text| text.chars().count() >= MIN_SECRET_CHARS),
                "more than 15 characters",
            ),
            ("webhookHeaders", is_text_map, "a map of texts"),
        ],
    )?;
    let secret = match fields.remove(SECRET) {
        Some(Value::String(secret)) => Some(secret),
        _ => None,
    };
    Ok((fields, secret))
}

fn show(entity: &Entity, now_ms: u64) -> Value {
    let mut shown = entity.fields.clone();
    let status = match &entity.create_error {
        _ if now_ms < entity.ready_at_ms => "Initiated",
        Some(_) => "Error",
        None => "Completed",
    };
    let user = json!({ "id": "5f1a4c0e-0000-4000-8000-000000000001" });
    for (name, value) in [
        ("id", json!(entity.id)),
        ("status", json!("Active")),
        ("recipient", json!({ "id": entity.id })),
        ("dateCreated", json!(iso8601(entity.created_ms))),
        ("dateModified", json!(iso8601(entity.modified_ms))),
        ("createdBy", user.clone()),
        ("modifiedBy", user),
        ("createStatus", json!(status)),
        ("selfUri", json!(format!("{PATH}/{}", entity.id))),
    ] {
        shown.insert(name.to_owned(), value);
    }
    if let (Some(error), "Error") = (&entity.create_error, status) {
        let error = json!({ "message": error, "code": "integration.create.failed", "status": 400, "errors": [], "details": [] });
        shown.insert("createError".to_owned(), error);
    }
    Value::Object(shown)
}

/// Creates an integration; also what the control API uses.
pub(crate) fn create(state: &SimulatorState, body: Map<String, Value>, fails: bool) -> Result<Entity, VendorError> {
    let (fields, hidden_secret) = fields(body)?;
    required(&fields, &["name", "outboundNotificationWebhookUrl"])?;
    if hidden_secret.is_none() {
        return Err(VendorError::bad_request(format!("The field {SECRET} is required.")));
    }
    let now_ms = now_ms();
    let settings = state.settings();
    let entity = Entity {
        ready_at_ms: now_ms.saturating_add(settings.create_completes_after_ms),
        create_error: fails.then(|| "The integration could not be provisioned.".to_owned()),
        hidden_secret,
        ..Entity::new(state.uuid(), API, fields, now_ms, settings.open_messaging_lag_ms)
    };
    state.store.lock().insert(entity.clone(), now_ms);
    Ok(entity)
}

pub(super) async fn list(call: VendorCall, Query(query): ListQuery) -> Result<Json<Value>, VendorError> {
    call.caller.needs("messaging:integration:view")?;
    let now_ms = now_ms();
    let items = call.state.store.lock().list(API, now_ms).map(|entity| show(entity, now_ms)).collect();
    let ListPage { entities, size, number, total, count } = ListPage::of(items, &query, "pageNumber")?;
    let uri = |number: usize| format!("{PATH}?pageSize={size}&pageNumber={number}");
    let mut list = json!({
        "entities": entities, "pageSize": size, "pageNumber": number, "total": total, "pageCount": count,
        "firstUri": uri(1), "lastUri": uri(count.max(1)), "selfUri": uri(number),
    });
    if number < count {
        list["nextUri"] = uri(number + 1).into();
    }
    Ok(Json(list))
}

/// `POST`: 202 while it is being provisioned, 200 when that takes no time.
pub(super) async fn post(call: VendorCall, body: Bytes) -> Result<Response, VendorError> {
    call.caller.needs("messaging:integration:add")?;
    let entity = create(&call.state, object(&body)?, call.interference.create_fails)?;
    let now_ms = entity.created_ms;
    let status = if now_ms < entity.ready_at_ms { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(show(&entity, now_ms))).into_response())
}

pub(super) async fn get(call: VendorCall, Path(id): Path<String>) -> Result<Json<Value>, VendorError> {
    call.caller.needs("messaging:integration:view")?;
    let now_ms = now_ms();
    Ok(Json(show(call.state.store.lock().get(API, &id, now_ms)?, now_ms)))
}

/// `PATCH`: the fields that are named. Without versions the last writer wins, unless a fault gives the status of a mismatch.
pub(super) async fn patch(call: VendorCall, Path(id): Path<String>, body: Bytes) -> Result<Json<Value>, VendorError> {
    call.caller.needs("messaging:integration:edit")?;
    let (changed, secret) = fields(object(&body)?)?;
    let now_ms = now_ms();
    let mut store = call.state.store.lock();
    let entity = store.get_mut(API, &id, now_ms)?;
    if call.interference.other_writer {
        let given = entity.version;
        entity.changed_by_another_writer(now_ms);
        if let Some(status) = call.interference.mismatch_status {
            return Err(VendorError::version_mismatch(status, &given.to_string(), entity.version));
        }
    }
    entity.fields.extend(changed);
    entity.hidden_secret = secret.or(entity.hidden_secret.take());
    entity.touch(now_ms);
    Ok(Json(show(entity, now_ms)))
}

/// `DELETE`: reads find it for a while after.
pub(super) async fn delete(call: VendorCall, Path(id): Path<String>) -> Result<StatusCode, VendorError> {
    call.caller.needs("messaging:integration:delete")?;
    let now_ms = now_ms();
    let mut store = call.state.store.lock();
    let entity = store.get_mut(API, &id, now_ms)?;
    entity.gone_at_ms = Some(now_ms.saturating_add(call.state.settings().open_messaging_lag_ms));
    Ok(StatusCode::NO_CONTENT)
}
