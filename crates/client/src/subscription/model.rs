//! Subscriptions as they are declared and as the vendor holds them.
//!
//! Promise: neither `Debug` nor JSON of these types shows a secret. Out of scope: how an API writes them.

use crate::json::Object;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiKind {
    /// `/api/v2/webhooks/webhooks`, with ETag, If-Match and PUT.
    Webhooks,
    /// `/api/v2/conversations/messaging/integrations/open`, with PATCH and an asynchronous create.
    OpenMessaging,
}

impl ApiKind {
    pub const ALL: [Self; 2] = [Self::Webhooks, Self::OpenMessaging];
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventFilter {
    #[serde(rename = "eventType")]
    pub event_type: String,
    /// `true` takes every event. Any other text is a filter expression.
    pub filter: String,
}

/// A subscription as configuration declares it. It holds the signing secret and can therefore not be printed.
#[derive(Clone)]
pub struct Desired {
    pub source: String,
    pub api: ApiKind,
    /// Its name, by which it is found.
    pub name: String,
    pub address: String,
    /// Whether deliveries are wanted. Open Messaging cannot switch them off.
    pub enabled: bool,
    /// Which events are wanted. Empty for Open Messaging, which sends all of them.
    pub event_filters: Vec<EventFilter>,
    pub secret: Secret,
    /// Take over a subscription of this name that has another owner.
    pub adopt: bool,
    /// Delete owned subscriptions that point to `address` and that nothing declares.
    pub prune: bool,
}

impl Desired {
    /// The event filters sorted, each once, because their order means nothing.
    pub fn sorted_filters(&self) -> Vec<EventFilter> {
        self.event_filters.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// What the gateway writes next to a subscription, to recognise it.
#[derive(Clone)]
pub struct Marks {
    /// The ownership mark. Two deployments in one organisation need different ones, else one prunes what the other
    /// declares.
    pub owner: String,
    /// The key of secrets' fingerprints. A new key makes the fingerprinted secrets look changed once.
    pub fingerprint_key: Secret,
}

/// One difference between what is and what should be. A secret shows as `set` or `changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Which field: `name`, `address`, `enabled`, `event_filters`, `secret` or `owner`.
    pub field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    pub to: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretStatus {
    Absent,
    /// There is one that the API does not give back.
    Hidden,
    Set,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provisioning {
    Ready,
    /// The vendor has not finished its create.
    Pending,
    Failed(String),
}

/// A subscription as the vendor holds it. Neither its `Debug` nor its JSON shows secrets, nor fields that may carry
/// those of others.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    pub id: String,
    pub name: String,
    pub address: String,
    pub enabled: bool,
    /// What it delivers, sorted. Empty where the API knows no event types.
    pub event_filters: Vec<EventFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub secret: SecretStatus,
    pub provisioning: Provisioning,
    /// Its version for If-Match. Only a single read has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(skip)]
    pub(crate) held: HiddenParts,
}

/// The parts of a read subscription that are not shown.
#[derive(Clone, Default)]
pub(crate) struct HiddenParts {
    pub(crate) secret: Option<Secret>,
    pub(crate) fingerprint: Option<String>,
    /// The object as it was read, to be written back with all fields of others.
    pub(crate) object: Object,
}

impl Subscription {
    pub fn is_owned_by(&self, marks: &Marks) -> bool {
        self.owner.as_deref() == Some(marks.owner.as_str())
    }

    /// Why a subscription without our mark is not touched.
    pub(crate) fn not_ours(&self) -> String {
        let mark = self.owner.as_deref().map_or("no ownership mark".to_owned(), |owner| format!("the mark {owner:?}"));
        let (name, id) = (&self.name, &self.id);
        format!("{name:?} ({id}) carries {mark} instead of this gateway's; set adopt = true to take it over")
    }

    /// Whether its secret is the wanted one, by comparison where it can be read and else by fingerprint.
    pub(crate) fn has_secret(&self, secret: &Secret, marks: &Marks) -> bool {
        match &self.held.secret {
            Some(held) => held == secret,
            None => self.held.fingerprint.as_deref() == Some(secret.fingerprint(&marks.fingerprint_key).as_str()),
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Subscription {{ id: {:?}, name: {:?}, address: {:?}, owner: {:?} }}",
            self.id, self.name, self.address, self.owner
        )
    }
}
