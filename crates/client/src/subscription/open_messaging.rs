//! Open Messaging integrations: PATCH of what changed, asynchronous create, a secret that cannot be read back.
//!
//! Promise: headers of others stay as they are. The API has no custom properties, so ownership mark and fingerprint live
//! in `webhookHeaders`, a map that the vendor sends with every webhook. Both are harmless there, as the fingerprint is
//! keyed. Out of scope: the calls.

use super::api::{ApiFacts, SubscriptionApi};
use super::model::{ApiKind, Desired, HiddenParts, Marks, Provisioning, SecretStatus, Subscription};
use crate::address;
use crate::json::{self, Object};
use crate::pagination::PageStyle;
use crate::transport::Method;
use serde_json::Value;

pub const OWNER_HEADER: &str = "X-Gateway-Owner";

pub const FINGERPRINT_HEADER: &str = "X-Gateway-Secret-Fingerprint";

/// The vendor demands a secret longer than 15 characters.
const MIN_SECRET_CHARS: usize = 16;

pub struct OpenMessaging;

impl SubscriptionApi for OpenMessaging {
    fn facts(&self) -> &'static ApiFacts {
        static FACTS: ApiFacts = ApiFacts {
            kind: ApiKind::OpenMessaging,
            path: "/api/v2/conversations/messaging/integrations/open",
            paging: PageStyle::PageNumber,
            update_method: Method::PATCH,
            has_etags: false,
            // The vendor's own tools wait up to 5 minutes after a create and 180 s after a delete.
            create_lag_ms: 300_000,
            delete_lag_ms: 180_000,
            read_needs: "messaging:integration:view",
            create_needs: "messaging:integration:add",
            update_needs: "messaging:integration:edit",
            delete_needs: "messaging:integration:delete",
        };
        &FACTS
    }

    fn cannot(&self, desired: &Desired) -> Option<String> {
        if !desired.event_filters.is_empty() {
            return Some("Open Messaging sends every outbound message: event_types must be empty".to_owned());
        }
        if !desired.enabled {
            return Some(
                "an Open Messaging integration cannot be disabled: leave enabled out, or the subscription".to_owned(),
            );
        }
        if desired.secret.expose().chars().count() < MIN_SECRET_CHARS {
            return Some("Open Messaging demands a signing secret of at least 16 characters".to_owned());
        }
        // Local development over http is exempt, because the vendor's stand-in sends anywhere.
        match address::check(&desired.address, true) {
            Ok(found) if found.https && found.port != 443 => Some("Open Messaging only sends to port 443".to_owned()),
            _ => None,
        }
    }

    fn read(&self, object: Object) -> Option<Subscription> {
        let id = json::text(&object, "id").filter(|id| !id.is_empty())?.to_owned();
        let header = |name: &str| {
            let headers = object.get("webhookHeaders").and_then(Value::as_object)?;
            json::text(headers, &find_key(headers, name)?).map(str::to_owned)
        };
        let (owner, fingerprint) = (header(OWNER_HEADER), header(FINGERPRINT_HEADER));
        let provisioning = match json::text(&object, "createStatus") {
            Some("Initiated") => Provisioning::Pending,
            Some("Error") => Provisioning::Failed(create_error(&object)),
            _ => Provisioning::Ready,
        };
        Some(Subscription {
            id,
            name: json::owned(&object, "name"),
            address: json::owned(&object, "outboundNotificationWebhookUrl"),
            enabled: true,
            event_filters: Vec::new(),
            owner,
            secret: SecretStatus::Hidden,
            provisioning,
            etag: None,
            held: HiddenParts { secret: None, fingerprint, object },
        })
    }

    fn create_body(&self, desired: &Desired, marks: &Marks) -> Object {
        let mut body = Object::new();
        body.insert("name".to_owned(), desired.name.clone().into());
        body.insert("outboundNotificationWebhookUrl".to_owned(), desired.address.clone().into());
        write_secret_and_owner(&mut body, Object::new(), true, desired, marks);
        body
    }

    fn update_body(&self, desired: &Desired, actual: &Subscription, marks: &Marks) -> Object {
        let mut body = Object::new();
        if desired.name != actual.name {
            body.insert("name".to_owned(), desired.name.clone().into());
        }
        if desired.address != actual.address {
            body.insert("outboundNotificationWebhookUrl".to_owned(), desired.address.clone().into());
        }
        let new_secret = !actual.has_secret(&desired.secret, marks);
        if new_secret || !actual.is_owned_by(marks) {
            let headers = match actual.held.object.get("webhookHeaders") {
                Some(Value::Object(headers)) => headers.clone(),
                _ => Object::new(),
            };
            write_secret_and_owner(&mut body, headers, new_secret, desired, marks);
        }
        body
    }
}

/// A name under which a map holds one of our headers, in any case, because some systems change the case of header names.
fn find_key(object: &Object, name: &str) -> Option<String> {
    object.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

/// Puts our headers among those of others. The fingerprint goes with the secret, in one write, so that they cannot part.
fn write_secret_and_owner(body: &mut Object, mut headers: Object, secret: bool, desired: &Desired, marks: &Marks) {
    let mut set = |name: &str, value: String| {
        if let Some(old) = find_key(&headers, name) {
            headers.remove(&old);
        }
        headers.insert(name.to_owned(), value.into());
    };
    set(OWNER_HEADER, marks.owner.clone());
    if secret {
        set(FINGERPRINT_HEADER, desired.secret.fingerprint(&marks.fingerprint_key));
        body.insert("outboundNotificationWebhookSignatureSecretToken".to_owned(), desired.secret.expose().into());
    }
    body.insert("webhookHeaders".to_owned(), Value::Object(headers));
}

/// The vendor's reason, which is a text or an error object.
fn create_error(object: &Object) -> String {
    let reason = match object.get("createError") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(error)) => json::owned(error, "message"),
        _ => String::new(),
    };
    if reason.is_empty() { "no reason given".to_owned() } else { json::shorten(&reason, 300) }
}
