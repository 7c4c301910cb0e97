//! The catalogues: `/api/v2/eventtypes` in pages, and the published API's topics in one piece.

use super::{ApiCall, ListPage, ListQuery};
use crate::error::VendorError;
use axum::Json;
use axum::extract::Query;
use serde_json::{Value, json};

/// The topics of `/api/v2/notifications/availabletopics`.
pub(crate) const TOPICS: [(&str, &str); 12] = [
    ("v2.detail.events.conversation.{id}.customer.start", "A customer joined the conversation"),
    ("v2.detail.events.conversation.{id}.customer.end", "A customer left the conversation"),
    ("v2.detail.events.conversation.{id}.acd.start", "The conversation entered a queue"),
    ("v2.detail.events.conversation.{id}.acd.end", "The conversation left a queue"),
    ("v2.detail.events.conversation.{id}.user.start", "An agent joined the conversation"),
    ("v2.detail.events.conversation.{id}.user.end", "An agent left the conversation"),
    ("v2.detail.events.conversation.{id}.wrapup", "A wrap-up was set"),
    ("v2.routing.queues.{id}.conversations", "Conversations of a queue"),
    ("v2.users.{id}.activity", "Activity of a user"),
    ("v2.users.{id}.conversations", "Conversations of a user"),
    ("v2.users.{id}.presence", "Presence of a user"),
    ("v2.users.{id}.routingStatus", "Routing status of a user"),
];

/// `GET /api/v2/eventtypes?pageSize&page`.
pub(super) async fn list(call: ApiCall, Query(query): ListQuery) -> Result<Json<Value>, VendorError> {
    call.caller.needs("eventtype:read")?;
    let entities = call.state.event_types.iter().map(|name| {
        let (subject, happening) = name.split_once(':').unwrap_or((name, "occurred"));
        json!({ "id": name, "name": name, "description": format!("Sent when a {subject} is {happening}.") })
    });
    Ok(ListPage::of(entities.collect(), &query, "page")?.into_json())
}

/// `GET /api/v2/notifications/availabletopics`: no pages.
pub(super) async fn topics() -> Json<Value> {
    let entities = TOPICS.map(|(id, description)| {
        json!({ "id": id, "description": description, "visibility": "Public", "transports": ["All"], "enforced": true })
    });
    Json(json!({ "entities": entities }))
}
