//! The vendor's two subscription APIs behind one trait.
//!
//! Promise: [`SubscriptionApi`] is pure. It says how one API writes, reads and compares a subscription; the calls
//! themselves are the same for both and are in [`calls`]. Adding an API means one more implementation, not another
//! client.

pub mod calls;
pub mod open_messaging;
pub mod webhooks;

pub use calls::Subscriptions;
pub use open_messaging::OpenMessaging;
pub use webhooks::Webhooks;

use crate::json::Object;
use crate::pagination::Style;
use crate::secret::Secret;
use crate::transport::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Which API a subscription belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiKind {
    /// `/api/v2/webhooks/webhooks`: ETag, If-Match, PUT.
    Webhooks,
    /// `/api/v2/conversations/messaging/integrations/open`: PATCH, asynchronous create.
    OpenMessaging,
}

impl ApiKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Webhooks, Self::OpenMessaging];

    /// The API of this kind.
    pub fn api(self) -> &'static dyn SubscriptionApi {
        match self {
            Self::Webhooks => &Webhooks,
            Self::OpenMessaging => &OpenMessaging,
        }
    }
}

/// One event type and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventFilter {
    /// The event type's name, such as `call:created`.
    #[serde(rename = "eventType")]
    pub event_type: String,
    /// `true` takes every event; anything else is a filter expression.
    pub filter: String,
}

/// A subscription as configuration declares it. It holds the signing secret and can therefore not be printed.
#[derive(Clone)]
pub struct Desired {
    /// The configured source that it feeds.
    pub source: String,
    /// The API that it belongs to.
    pub api: ApiKind,
    /// Its name, by which it is found.
    pub name: String,
    /// Where deliveries go.
    pub address: String,
    /// Whether deliveries are wanted. Open Messaging cannot switch them off.
    pub enabled: bool,
    /// What is wanted. Open Messaging sends everything, so it must be empty there.
    pub event_filters: Vec<EventFilter>,
    /// Signs the deliveries.
    pub secret: Secret,
    /// Take over a subscription of this name that somebody else made.
    pub adopt: bool,
    /// Delete owned subscriptions that point to `address` and that nothing declares.
    pub prune: bool,
}

impl Desired {
    /// The event filters sorted, each once: their order means nothing.
    pub fn sorted_filters(&self) -> Vec<EventFilter> {
        sorted(self.event_filters.clone())
    }
}

/// Each once, in order.
pub(crate) fn sorted<T: Ord>(items: Vec<T>) -> Vec<T> {
    // There are a dozen, or some hundred: insertion is enough, and far smaller in wasm than the library's sort.
    let mut sorted = Vec::with_capacity(items.len());
    for item in items {
        if let Err(place) = sorted.binary_search(&item) {
            sorted.insert(place, item);
        }
    }
    sorted
}

/// What the gateway writes next to a subscription, to know it again.
#[derive(Clone)]
pub struct Marks {
    /// The ownership mark. Two deployments in one organisation need different ones, else one prunes what the other
    /// declares.
    pub owner: String,
    /// The key of secrets' fingerprints. A new key makes the fingerprinted secrets look changed once.
    pub fingerprint_key: Secret,
}

/// What is known of a subscription's secret at the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretStatus {
    /// There is none, as far as one can see.
    Absent,
    /// There is one, which the API does not give back.
    Hidden,
    /// There is one, and it was read.
    Set,
}

/// Whether a subscription works yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provisioning {
    /// It does.
    Ready,
    /// The vendor is still at it.
    Pending,
    /// The vendor gave up, for this reason.
    Failed(String),
}

/// A subscription as the vendor holds it. Neither its `Debug` nor its JSON shows secrets, nor fields that may carry
/// other people's.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The vendor's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where deliveries go.
    pub address: String,
    /// Whether it delivers.
    pub enabled: bool,
    /// What it delivers, sorted; empty where the API knows no event types.
    pub event_filters: Vec<EventFilter>,
    /// The ownership mark, whoever's it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What is known of its secret.
    pub secret: SecretStatus,
    /// Whether it works yet.
    pub provisioning: Provisioning,
    /// Its version for If-Match; only from a single read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(skip)]
    pub(crate) held: Held,
}

/// The parts of a read subscription that are not shown.
#[derive(Clone, Default)]
pub(crate) struct Held {
    /// The secret, where it can be read.
    pub(crate) secret: Option<Secret>,
    /// The fingerprint that was stored with it.
    pub(crate) fingerprint: Option<String>,
    /// The object as it was read, to be written back with everything in it that is not ours.
    pub(crate) object: Object,
}

impl Subscription {
    /// Whether it carries this ownership mark.
    pub fn is_owned_by(&self, marks: &Marks) -> bool {
        self.owner.as_deref() == Some(marks.owner.as_str())
    }

    /// Whether its secret is the wanted one: by comparison where it can be read, else by fingerprint.
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

/// One difference between what is and what should be. A secret is never in it: it shows as `set` or `changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Which field: `name`, `address`, `enabled`, `event_filters`, `secret` or `owner`.
    pub field: String,
    /// What it is; left out when there is nothing, or a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What it should be.
    pub to: Value,
}

/// Collects the differences between a subscription, or nothing, and what is wanted. `actual` is none for a create.
pub(crate) fn differences(
    desired: &Desired,
    actual: Option<&Subscription>,
    marks: &Marks,
    fields_of_webhooks: bool,
) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let mut compare = |field: &str, from: Option<Value>, to: Value| {
        if from.as_ref() != Some(&to) {
            changes.push(FieldChange { field: field.to_owned(), from, to });
        }
    };
    compare("name", actual.map(|actual| actual.name.clone().into()), desired.name.clone().into());
    compare("address", actual.map(|actual| actual.address.clone().into()), desired.address.clone().into());
    if fields_of_webhooks {
        compare("enabled", actual.map(|actual| actual.enabled.into()), desired.enabled.into());
        compare(
            "event_filters",
            actual.map(|actual| filters_json(&actual.event_filters)),
            filters_json(&desired.sorted_filters()),
        );
    }
    compare("owner", actual.and_then(|actual| actual.owner.clone()).map(Value::from), marks.owner.clone().into());
    let secret = match actual {
        None => Some("set"),
        Some(actual) if actual.has_secret(&desired.secret, marks) => None,
        Some(_) => Some("changed"),
    };
    changes.extend(secret.map(|to| FieldChange { field: "secret".to_owned(), from: None, to: to.into() }));
    changes
}

/// Event filters as the webhook API writes them.
pub(crate) fn filters_json(filters: &[EventFilter]) -> Value {
    let filter = |filter: &EventFilter| {
        let mut object = Object::new();
        object.insert("eventType".to_owned(), filter.event_type.clone().into());
        object.insert("filter".to_owned(), filter.filter.clone().into());
        Value::Object(object)
    };
    Value::Array(filters.iter().map(filter).collect())
}

/// A name under which a map holds something of ours, in any case: some systems change the case of header names.
pub(crate) fn find_key(object: &Object, name: &str) -> Option<String> {
    object.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

/// What kind of permission a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// List or read.
    Read,
    /// Create.
    Create,
    /// Change.
    Update,
    /// Delete.
    Delete,
}

/// How one API writes, reads and compares subscriptions. Pure; implemented by [`Webhooks`] and [`OpenMessaging`].
pub trait SubscriptionApi: Send + Sync {
    /// Which API this is.
    fn kind(&self) -> ApiKind;
    /// The path of the collection; things are below it by id.
    fn path(&self) -> &'static str;
    /// How its list is paged.
    fn paging(&self) -> Style;
    /// The method of an update.
    fn update_method(&self) -> Method;
    /// Whether an update is guarded by ETag and If-Match.
    fn has_etags(&self) -> bool;
    /// The scope or permission of an operation.
    fn needs(&self, operation: Operation) -> &'static str;
    /// How long something just created may be missing from the list, in milliseconds.
    fn create_lag_ms(&self) -> u64;
    /// How long something just deleted may still be listed, in milliseconds.
    fn delete_lag_ms(&self) -> u64;
    /// What this API cannot do of what is wanted; none when it can do all of it.
    fn cannot(&self, desired: &Desired) -> Option<String>;
    /// Reads an object; none when it has no id.
    fn read(&self, object: Object) -> Option<Subscription>;
    /// The differences between what is (none for a create) and what is wanted.
    fn diff(&self, desired: &Desired, actual: Option<&Subscription>, marks: &Marks) -> Vec<FieldChange>;
    /// The body of a create. It holds the secret.
    fn create_body(&self, desired: &Desired, marks: &Marks) -> Object;
    /// The body of an update of `actual`. It may hold the secret.
    fn update_body(&self, desired: &Desired, actual: &Subscription, marks: &Marks) -> Object;
}
