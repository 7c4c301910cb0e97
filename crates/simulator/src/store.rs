//! The subscriptions of both APIs, with versions, asynchronous creation and the lag of eventual consistency.
//!
//! Pure over the time passed in. What a field must hold is decided in `api/`.

use crate::error::VendorError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VendorApi {
    /// `/api/v2/webhooks/webhooks`.
    Webhooks,
    /// `/api/v2/conversations/messaging/integrations/open`.
    OpenMessaging,
}

impl VendorApi {
    fn noun(self) -> &'static str {
        match self {
            Self::Webhooks => "webhook",
            Self::OpenMessaging => "integration",
        }
    }
}

/// Carries a webhook's signing secret, in `customProperties`.
pub(crate) const SECRET_PROPERTY: &str = "webhook.signature.secret";

#[derive(Clone, Debug)]
pub(crate) struct Entity {
    pub(crate) id: String,
    pub(crate) api: VendorApi,
    pub(crate) version: u64,
    pub(crate) created_ms: u64,
    pub(crate) modified_ms: u64,
    /// From when on reads find it.
    pub(crate) visible_at_ms: u64,
    /// From when on it is provisioned and delivers.
    pub(crate) ready_at_ms: u64,
    /// Why provisioning failed, if it was made to.
    pub(crate) create_error: Option<String>,
    /// Until when reads still find it, once it was deleted.
    pub(crate) gone_at_ms: Option<u64>,
    /// The fields that a caller may set, secrets of Open Messaging excepted.
    pub(crate) fields: Map<String, Value>,
    /// Open Messaging's secret, which is never given back.
    pub(crate) hidden_secret: Option<String>,
}

impl Entity {
    /// The first version. Reads find it `lag_ms` after its creation.
    pub(crate) fn new(id: String, api: VendorApi, fields: Map<String, Value>, now_ms: u64, lag_ms: u64) -> Self {
        Self {
            id,
            api,
            version: 1,
            created_ms: now_ms,
            modified_ms: now_ms,
            visible_at_ms: now_ms.saturating_add(lag_ms),
            ready_at_ms: now_ms,
            create_error: None,
            gone_at_ms: None,
            fields,
            hidden_secret: None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or("")
    }

    pub(crate) fn address(&self) -> &str {
        match self.api {
            VendorApi::Webhooks => self.text("address"),
            VendorApi::OpenMessaging => self.text("outboundNotificationWebhookUrl"),
        }
    }

    pub(crate) fn secret(&self) -> Option<&str> {
        match self.api {
            VendorApi::Webhooks => self.fields.get("customProperties")?.get(SECRET_PROPERTY)?.as_str(),
            VendorApi::OpenMessaging => self.hidden_secret.as_deref(),
        }
    }

    /// Whether Genesys would send to it.
    pub(crate) fn delivers(&self, now_ms: u64) -> bool {
        let is_enabled = self.fields.get("enabled").and_then(Value::as_bool).unwrap_or(true);
        is_enabled && self.gone_at_ms.is_none() && self.create_error.is_none() && self.ready_at_ms <= now_ms
    }

    pub(crate) fn touch(&mut self, now_ms: u64) {
        self.version += 1;
        self.modified_ms = now_ms;
    }

    /// The strong validator of this version, as the header carries it.
    pub(crate) fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// Another writer changes something that every well-behaved writer keeps.
    pub(crate) fn changed_by_another_writer(&mut self, now_ms: u64) {
        let (map, key) = match self.api {
            VendorApi::Webhooks => ("customProperties", "changed.by.somebody.else"),
            VendorApi::OpenMessaging => ("webhookHeaders", "X-Changed-By-Somebody-Else"),
        };
        let value = Value::from(format!("change {}", self.version));
        // A map of texts or nothing: `api` has checked it.
        if let Value::Object(properties) = self.fields.entry(map).or_insert_with(|| Map::new().into()) {
            properties.insert(key.to_owned(), value);
        }
        self.touch(now_ms);
    }
}

/// All subscriptions, in the order of their creation.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionStore {
    entities: Vec<Entity>,
}

impl SubscriptionStore {
    pub(crate) fn insert(&mut self, entity: Entity, now_ms: u64) {
        self.entities.retain(|known| known.gone_at_ms.is_none_or(|gone_ms| now_ms < gone_ms));
        self.entities.push(entity);
    }

    /// What a list shows.
    pub(crate) fn list(&self, api: VendorApi, now_ms: u64) -> impl Iterator<Item = &Entity> {
        self.all(now_ms).filter(move |entity| entity.api == api && entity.visible_at_ms <= now_ms)
    }

    /// What a read by id finds.
    pub(crate) fn get(&self, api: VendorApi, id: &str, now_ms: u64) -> Result<&Entity, VendorError> {
        self.list(api, now_ms).find(|entity| entity.id == id).ok_or_else(|| VendorError::not_found(api.noun(), id))
    }

    /// What a write by id finds: unlike a read, nothing that was deleted.
    pub(crate) fn get_mut(&mut self, api: VendorApi, id: &str, now_ms: u64) -> Result<&mut Entity, VendorError> {
        let is_found = |entity: &&mut Entity| {
            entity.api == api && entity.id == id && entity.visible_at_ms <= now_ms && entity.gone_at_ms.is_none()
        };
        self.entities.iter_mut().find(is_found).ok_or_else(|| VendorError::not_found(api.noun(), id))
    }

    /// Everything that is there, whatever the API shows at this moment.
    pub(crate) fn all(&self, now_ms: u64) -> impl Iterator<Item = &Entity> {
        self.entities.iter().filter(move |entity| entity.gone_at_ms.is_none_or(|gone_ms| now_ms < gone_ms))
    }

    pub(crate) fn clear(&mut self) {
        self.entities.clear();
    }
}
