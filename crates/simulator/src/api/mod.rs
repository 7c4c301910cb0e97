//! The simulated API, one file a resource. In this one: routes, paging, reading JSON.

mod catalogues;
mod open_messaging;
mod token;
mod webhooks;

use crate::error::VendorError;
use crate::gate::{self, Interference};
use crate::oauth::Caller;
use crate::state::SimulatorState;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use open_messaging::create as create_integration;
pub(crate) use webhooks::create as create_webhook;

const MAX_PAGE_SIZE: usize = 500;

/// `/api` and `/oauth`, behind the gate.
pub(crate) fn router(state: &Arc<SimulatorState>) -> Router<Arc<SimulatorState>> {
    Router::new()
        .route("/oauth/token", post(token::grant))
        .route("/api/v2/eventtypes", get(catalogues::event_types))
        .route("/api/v2/notifications/availabletopics", get(catalogues::topics))
        .route("/api/v2/ipranges", get(catalogues::ip_ranges))
        .route("/api/v2/webhooks/webhooks", get(webhooks::list).post(webhooks::post))
        .route("/api/v2/webhooks/webhooks/{id}", get(webhooks::get).put(webhooks::put).delete(webhooks::delete))
        .route(open_messaging::PATH, get(open_messaging::list).post(open_messaging::post))
        .route(
            &format!("{}/{{id}}", open_messaging::PATH),
            get(open_messaging::get).patch(open_messaging::patch).delete(open_messaging::delete),
        )
        .fallback(gate::not_found)
        .method_not_allowed_fallback(gate::method_not_allowed)
        .layer(from_fn_with_state(state.clone(), gate::gate))
}

/// What the handler of a resource takes: the state, the caller, and what faults ask for.
struct VendorCall {
    state: Arc<SimulatorState>,
    caller: Caller,
    interference: Interference,
}

impl FromRequestParts<Arc<SimulatorState>> for VendorCall {
    type Rejection = VendorError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<SimulatorState>) -> Result<Self, VendorError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller =
            caller.ok_or_else(|| VendorError::new(500, "internal.server.error", "The gate was not passed."))?;
        let interference = parts.extensions.get::<Interference>().copied().unwrap_or_default();
        Ok(Self { state: state.clone(), caller, interference })
    }
}

/// `pageSize`, and the number of the page.
type ListQuery = Query<HashMap<String, String>>;

struct ListPage {
    entities: Vec<Value>,
    size: usize,
    number: usize,
    total: usize,
    count: usize,
}

impl ListPage {
    /// Cuts the asked page out of `items`: `pageSize` (25 by default) and the parameter named `number_name`, counted from 1.
    fn of(items: Vec<Value>, query: &HashMap<String, String>, number_name: &str) -> Result<Self, VendorError> {
        let read = |name: &str, default: usize, max: usize| match query.get(name).map(|text| text.parse::<usize>()) {
            None => Ok(default),
            Some(Ok(value)) if (1..=max).contains(&value) => Ok(value),
            Some(_) => Err(VendorError::bad_request(format!("The value of {name} must be a number from 1 to {max}."))),
        };
        let size = read("pageSize", 25, MAX_PAGE_SIZE)?;
        let number = read(number_name, 1, usize::MAX / MAX_PAGE_SIZE)?;
        let total = items.len();
        let entities = items.into_iter().skip((number - 1) * size).take(size).collect();
        Ok(Self { entities, size, number, total, count: total.div_ceil(size) })
    }

    /// The form of lists whose pages are called `page`.
    fn into_json(self) -> Json<Value> {
        let Self { entities, size, number, total, count } = self;
        Json(json!({ "entities": entities, "pageSize": size, "page": number, "total": total, "totalPageCount": count }))
    }
}

/// The object in a request's body. The content type is not looked at.
fn object(body: &[u8]) -> Result<Map<String, Value>, VendorError> {
    serde_json::from_slice(body)
        .map_err(|error| VendorError::bad_request(format!("The request could not be understood: {error}")))
}

/// A field that a caller may set: its name, what is right, and what to say otherwise.
type Field = (&'static str, fn(&Value) -> bool, &'static str);

/// Takes the fields that a caller may set out of `body`, each checked by the function next to its name; other fields are ignored, as the
/// vendor ignores read-only ones that come back with an update.
fn writable(mut body: Map<String, Value>, fields: &[Field]) -> Result<Map<String, Value>, VendorError> {
    let mut taken = Map::new();
    for (name, is_right, expected) in fields {
        match body.remove(*name) {
            None => {}
            Some(value) if is_right(&value) => {
                taken.insert((*name).to_owned(), value);
            }
            Some(_) => {
                return Err(VendorError::bad_request(format!("The value of {name} is invalid: expected {expected}.")));
            }
        }
    }
    Ok(taken)
}

fn required(fields: &Map<String, Value>, names: &[&str]) -> Result<(), VendorError> {
    let absent = names.iter().find(|name| !fields.contains_key(**name));
    absent.map_or(Ok(()), |name| Err(VendorError::bad_request(format!("The field {name} is required."))))
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

fn is_url(value: &Value) -> bool {
    let uri = value.as_str().and_then(|text| text.parse::<axum::http::Uri>().ok());
    uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn is_text_map(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(Value::is_string))
}
