//! The catalogues: event types in pages; topics and address ranges in one piece.

use super::{ListPage, ListQuery, VendorCall};
use crate::error::VendorError;
use axum::Json;
use axum::extract::Query;
use serde_json::{Value, json};

/// The topics of `/api/v2/notifications/availabletopics`.
const TOPICS: [(&str, &str); 12] = [
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
pub(super) async fn event_types(call: VendorCall, Query(query): ListQuery) -> Result<Json<Value>, VendorError> {
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

/// `GET /api/v2/ipranges`: where webhooks come from. The addresses are reserved for documentation (RFC 5737, RFC 3849).
pub(super) async fn ip_ranges() -> Json<Value> {
    let entities = [
        ("192.0.2.0/26", "open-messaging", "outbound"),
        ("192.0.2.64/26", "data-actions", "outbound"),
        ("198.51.100.0/25", "open-messaging", "both"),
        ("2001:db8:17::/48", "data-actions", "both"),
        ("198.51.100.128/25", "smtp", "outbound"),
        ("203.0.113.0/24", "open-messaging", "inbound"),
    ]
    .map(|(cidr, service, direction)| json!({ "cidr": cidr, "service": service, "region": "us-east-1", "direction": direction }));
    Json(json!({ "entities": entities }))
}
