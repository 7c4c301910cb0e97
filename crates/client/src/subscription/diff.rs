//! What differs between a subscription and its declaration.
//!
//! Promise: fields are named as the report shows them, and no difference shows a secret. Out of scope: what is done about
//! a difference.

use super::model::{ApiKind, Desired, Marks, Subscription};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One difference between what is and what should be. A secret shows as `set` or `changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Which field: `name`, `address`, `enabled`, `event_filters`, `secret` or `owner`.
    pub field: String,
    /// What it is. Left out when there is nothing, or a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What it should be.
    pub to: Value,
}

/// The differences between a subscription (`None` for a create) and what is wanted.
pub(super) fn differences(
    kind: ApiKind,
    desired: &Desired,
    actual: Option<&Subscription>,
    marks: &Marks,
) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let mut compare = |field: &str, from: Option<Value>, to: Value| {
        if from.as_ref() != Some(&to) {
            changes.push(FieldChange { field: field.to_owned(), from, to });
        }
    };
    compare("name", actual.map(|actual| actual.name.clone().into()), desired.name.clone().into());
    compare("address", actual.map(|actual| actual.address.clone().into()), desired.address.clone().into());
    if kind == ApiKind::Webhooks {
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
