//! The webhook API: PUT with If-Match of the whole object, ownership and secret in `customProperties`.
//!
//! Promise: what others have put into the object goes back as it came. Out of scope: the calls.

use super::api::{ApiFacts, SubscriptionApi};
use super::model::{ApiKind, Desired, EventFilter, HiddenParts, Marks, Provisioning, SecretStatus, Subscription};
use crate::json::{self, Object};
use crate::pagination::PageStyle;
use crate::secret::Secret;
use crate::transport::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub const SECRET_PROPERTY: &str = "webhook.signature.secret";

pub const OWNER_PROPERTY: &str = "webhook.created.by";

/// Carries the secret's keyed fingerprint, for an API that does not give the secret back.
pub const FINGERPRINT_PROPERTY: &str = "webhook.signature.fingerprint";

pub struct Webhooks;

impl SubscriptionApi for Webhooks {
    fn facts(&self) -> &'static ApiFacts {
        static FACTS: ApiFacts = ApiFacts {
            kind: ApiKind::Webhooks,
            path: "/api/v2/webhooks/webhooks",
            paging: PageStyle::Page,
            update_method: Method::PUT,
            has_etags: true,
            // The list shows at once what was written.
            create_lag_ms: 0,
            delete_lag_ms: 0,
            read_needs: "webhook:read",
            create_needs: "webhook:write",
            update_needs: "webhook:write",
            delete_needs: "webhook:write",
        };
        &FACTS
    }

    fn cannot(&self, desired: &Desired) -> Option<String> {
        if desired.event_filters.is_empty() {
            return Some("a webhook needs at least one event type".to_owned());
        }
        desired.secret.is_empty().then(|| "a webhook needs a signing secret".to_owned())
    }

    fn read(&self, mut object: Object) -> Option<Subscription> {
        let id = json::text(&object, "id").filter(|id| !id.is_empty())?.to_owned();
        let mut held = HiddenParts::default();
        let mut owner = None;
        if let Some(Value::Object(properties)) = object.get_mut("customProperties") {
            held.secret = match properties.remove(SECRET_PROPERTY) {
                Some(Value::String(secret)) => Some(Secret::new(secret)),
                _ => None,
            };
            held.fingerprint = json::text(properties, FINGERPRINT_PROPERTY).map(str::to_owned);
            owner = json::text(properties, OWNER_PROPERTY).map(str::to_owned);
        }
        let secret = match &held.secret {
            // A blanked-out or empty value says that there is one, and is not it.
            Some(secret) if secret.expose().chars().all(|c| matches!(c, '*' | '•')) => {
                held.secret = None;
                SecretStatus::Hidden
            }
            Some(_) => SecretStatus::Set,
            None if held.fingerprint.is_some() => SecretStatus::Hidden,
            None => SecretStatus::Absent,
        };
        let event_filters = match object.get("eventFilters") {
            Some(Value::Array(filters)) => {
                let sorted: BTreeSet<_> = filters.iter().filter_map(read_filter).collect();
                sorted.into_iter().collect()
            }
            _ => Vec::new(),
        };
        Some(Subscription {
            id,
            name: json::owned(&object, "name"),
            address: json::owned(&object, "address"),
            enabled: object.get("enabled").and_then(Value::as_bool).unwrap_or(true),
            event_filters,
            owner,
            secret,
            provisioning: Provisioning::Ready,
            etag: None,
            held: HiddenParts { object, ..held },
        })
    }

    fn create_body(&self, desired: &Desired, marks: &Marks) -> Object {
        write(desired, Object::new(), marks)
    }

    fn update_body(&self, desired: &Desired, actual: &Subscription, marks: &Marks) -> Object {
        write(desired, actual.held.object.clone(), marks)
    }
}

fn read_filter(value: &Value) -> Option<EventFilter> {
    let object = value.as_object()?;
    let filter = json::text(object, "filter").unwrap_or("true").to_owned();
    Some(EventFilter { event_type: json::text(object, "eventType")?.to_owned(), filter })
}

fn write(desired: &Desired, mut object: Object, marks: &Marks) -> Object {
    let mut properties = match object.remove("customProperties") {
        Some(Value::Object(properties)) => properties,
        _ => Object::new(),
    };
    properties.insert(SECRET_PROPERTY.to_owned(), desired.secret.expose().into());
    properties.insert(FINGERPRINT_PROPERTY.to_owned(), desired.secret.fingerprint(&marks.fingerprint_key).into());
    properties.insert(OWNER_PROPERTY.to_owned(), marks.owner.clone().into());
    object.insert("name".to_owned(), desired.name.clone().into());
    object.insert("address".to_owned(), desired.address.clone().into());
    object.insert("enabled".to_owned(), desired.enabled.into());
    object.insert("eventFilters".to_owned(), json!(desired.sorted_filters()));
    object.insert("customProperties".to_owned(), Value::Object(properties));
    object
}
