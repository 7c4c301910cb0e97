//! `GET /api/v2/ipranges`: where webhooks come from. The addresses are those reserved for documentation (RFC 5737, RFC 3849).

use axum::Json;
use serde_json::{Value, json};

pub(super) async fn list() -> Json<Value> {
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
