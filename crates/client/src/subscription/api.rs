//! The trait that one subscription API implements.
//!
//! Promise: an implementation is pure, it makes bodies and reads objects. Out of scope: the calls.

use super::model::{ApiKind, Desired, FieldChange, Marks, Subscription};
use crate::json::Object;
use crate::pagination::PageStyle;
use crate::transport::Method;
use serde_json::{Value, json};

pub struct ApiFacts {
    pub kind: ApiKind,
    /// The path of the collection. Objects are below it by id.
    pub path: &'static str,
    pub paging: PageStyle,
    pub update_method: Method,
    /// Whether an update is guarded by ETag and If-Match.
    pub has_etags: bool,
    /// How long a created subscription may be missing from the list, in milliseconds.
    pub create_lag_ms: u64,
    /// How long a deleted subscription may still be listed, in milliseconds.
    pub delete_lag_ms: u64,
    /// The scope or permission of a list or read.
    pub read_needs: &'static str,
    pub create_needs: &'static str,
    pub update_needs: &'static str,
    pub delete_needs: &'static str,
}

pub trait SubscriptionApi: Send + Sync {
    fn facts(&self) -> &'static ApiFacts;
    /// What this API cannot do of what is wanted. `None` when it can do all of it.
    fn cannot(&self, desired: &Desired) -> Option<String>;
    /// Reads an object. `None` when it has no id.
    fn read(&self, object: Object) -> Option<Subscription>;
    /// The body of a create. It holds the secret.
    fn create_body(&self, desired: &Desired, marks: &Marks) -> Object;
    /// The body of an update of `actual`. It may hold the secret.
    fn update_body(&self, desired: &Desired, actual: &Subscription, marks: &Marks) -> Object;

    /// The differences between `actual` (`None` for a create) and what is wanted. None of them shows a secret.
    fn diff(&self, desired: &Desired, actual: Option<&Subscription>, marks: &Marks) -> Vec<FieldChange> {
        let mut changes = Vec::new();
        let mut compare = |field: &str, from: Option<Value>, to: Value| {
            if from.as_ref() != Some(&to) {
                changes.push(FieldChange { field: field.to_owned(), from, to });
            }
        };
        compare("name", actual.map(|actual| actual.name.clone().into()), desired.name.clone().into());
        compare("address", actual.map(|actual| actual.address.clone().into()), desired.address.clone().into());
        if self.facts().kind == ApiKind::Webhooks {
            compare("enabled", actual.map(|actual| actual.enabled.into()), desired.enabled.into());
            let filters = actual.map(|actual| json!(actual.event_filters));
            compare("event_filters", filters, json!(desired.sorted_filters()));
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
}
