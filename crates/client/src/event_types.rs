//! The two catalogues of what can be subscribed to.
//!
//! Promise: all pages are read, and a missing field is empty. Out of scope: what an event contains.

use crate::auth::TokenSource;
use crate::client::Client;
use crate::error::Error;
use crate::json;
use crate::near;
use crate::pagination::PageStyle;
use crate::transport::{Runtime, Transport};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event type of the webhook API (`GET /api/v2/eventtypes`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventType {
    pub id: String,
    pub name: String,
    pub description: String,
}

/// A topic of the notifications API (`GET /api/v2/notifications/availabletopics`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub id: String,
    pub description: String,
    pub transports: Vec<String>,
}

/// The names that may be used in a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue(Vec<String>);

impl Catalogue {
    /// Event types can be named by name or by id.
    pub fn new(event_types: &[EventType]) -> Self {
        Self(event_types.iter().flat_map(|event_type| [event_type.name.clone(), event_type.id.clone()]).collect())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }

    /// Names that look like `name`, nearest first.
    pub fn near(&self, name: &str) -> Vec<String> {
        near::matches(name, self.0.iter().map(String::as_str))
    }
}

impl<T: Transport, R: Runtime, A: TokenSource> Client<T, R, A> {
    pub async fn event_types(&self) -> Result<Vec<EventType>, Error> {
        let entities = self.list(PageStyle::Page, "/api/v2/eventtypes", "eventtype:read").await?;
        Ok(entities
            .iter()
            .map(|entity| EventType {
                id: json::owned(entity, "id"),
                name: json::owned(entity, "name"),
                description: json::owned(entity, "description"),
            })
            .collect())
    }

    /// The notifications API's catalogue, which has one page.
    pub async fn topics(&self) -> Result<Vec<Topic>, Error> {
        let entities = self.list(PageStyle::NextUri, "/api/v2/notifications/availabletopics", "notifications").await?;
        Ok(entities
            .iter()
            .map(|entity| Topic {
                id: json::owned(entity, "id"),
                description: json::owned(entity, "description"),
                transports: entity
                    .get("transports")
                    .and_then(Value::as_array)
                    .map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                    .unwrap_or_default(),
            })
            .collect())
    }
}
