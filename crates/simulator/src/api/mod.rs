//! The simulated API, one file a resource; here what they share: routes, paging, reading JSON.

pub(crate) mod event_types;
mod ip_ranges;
mod open_messaging;
mod token;
mod webhooks;

use crate::error::ApiError;
use crate::gate;
use crate::shared::Shared;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use open_messaging::create as create_integration;
pub(crate) use webhooks::create as create_webhook;

/// The largest page that the API gives.
const MAX_PAGE_SIZE: usize = 500;

/// `/api` and `/oauth`, behind the gate.
pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .route("/oauth/token", post(token::grant))
        .route("/api/v2/eventtypes", get(event_types::list))
        .route("/api/v2/notifications/availabletopics", get(event_types::topics))
        .route("/api/v2/ipranges", get(ip_ranges::list))
        .route("/api/v2/webhooks/webhooks", get(webhooks::list).post(webhooks::post))
        .route("/api/v2/webhooks/webhooks/{id}", get(webhooks::get).put(webhooks::put).delete(webhooks::delete))
        .route(
            "/api/v2/conversations/messaging/integrations/open",
            get(open_messaging::list).post(open_messaging::post),
        )
        .route(
            "/api/v2/conversations/messaging/integrations/open/{id}",
            get(open_messaging::get).patch(open_messaging::patch).delete(open_messaging::delete),
        )
        .fallback(gate::not_found)
        .method_not_allowed_fallback(gate::method_not_allowed)
        .layer(from_fn_with_state(shared.clone(), gate::gate))
}

/// One page of a list.
struct Page {
    entities: Vec<Value>,
    size: usize,
    number: usize,
    total: usize,
    count: usize,
}

/// Cuts the asked page out of `items`: `pageSize` and the parameter named `number_name`, counted from 1.
fn page(
    items: Vec<Value>,
    query: &HashMap<String, String>,
    number_name: &str,
    default_size: usize,
) -> Result<Page, ApiError> {
    let read = |name: &str, default: usize, max: usize| match query.get(name).map(|text| text.parse::<usize>()) {
        None => Ok(default),
        Some(Ok(value)) if (1..=max).contains(&value) => Ok(value),
        Some(_) => Err(ApiError::bad_request(format!("The value of {name} must be a number from 1 to {max}."))),
    };
    let size = read("pageSize", default_size, MAX_PAGE_SIZE)?;
    let number = read(number_name, 1, usize::MAX / MAX_PAGE_SIZE)?;
    let total = items.len();
    let entities = items.into_iter().skip((number - 1) * size).take(size).collect();
    Ok(Page { entities, size, number, total, count: total.div_ceil(size) })
}

/// The object in a request's body. The content type is not looked at.
fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("The request could not be understood: {error}")))
}

/// A field that a caller may set: its name, what is right, and what to say otherwise.
type Field = (&'static str, fn(&Value) -> bool, &'static str);

/// Takes the fields that a caller may set out of `body`, each checked by the function next to its name; other fields are ignored, as the
/// vendor ignores read-only ones that come back with an update.
fn writable(mut body: Map<String, Value>, fields: &[Field]) -> Result<Map<String, Value>, ApiError> {
    let mut taken = Map::new();
    for (name, is_right, expected) in fields {
        match body.remove(*name) {
            None => {}
            Some(value) if is_right(&value) => {
                taken.insert((*name).to_owned(), value);
            }
            Some(_) => {
                return Err(ApiError::bad_request(format!("The value of {name} is invalid: expected {expected}.")));
            }
        }
    }
    Ok(taken)
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
