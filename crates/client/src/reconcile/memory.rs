//! What the last runs did and the vendor's lists may not show yet.
//!
//! Promise: within the vendor's lag a create is not made twice and a deleted subscription is not taken for a live
//! one, also across runs. Stored between runs by the caller; losing it costs that protection for five minutes,
//! nothing else.

use crate::subscription::ApiKind;
use serde::{Deserialize, Serialize};

/// Kept between runs, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The version of this format.
    pub version: u32,
    /// What happened, oldest first.
    pub recent: Vec<Recent>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { version: 1, recent: Vec::new() }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// What.
    pub event: Event,
    /// In which API.
    pub api: ApiKind,
    /// The subscription's name.
    pub name: String,
    /// Its id; none after a create whose outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
}

/// Kinds of [`Recent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Created, or perhaps created.
    Created,
    /// Deleted.
    Deleted,
}

impl Memory {
    /// Drops what the lists must show by now.
    pub fn forget(&mut self, now_ms: u64) {
        self.recent.retain(|recent| {
            let api = recent.api.api();
            let lag_ms = match recent.event {
                Event::Created => api.create_lag_ms(),
                Event::Deleted => api.delete_lag_ms(),
            };
            now_ms.saturating_sub(recent.at_ms) < lag_ms
        });
    }

    /// Remembers a create; `id` is none when its outcome is unknown.
    pub fn created(&mut self, api: ApiKind, name: &str, id: Option<&str>, at_ms: u64) {
        self.remember(Event::Created, api, name, id, at_ms);
    }

    /// Remembers a delete.
    pub fn deleted(&mut self, api: ApiKind, name: &str, id: &str, at_ms: u64) {
        self.recent.retain(|recent| recent.id.as_deref() != Some(id));
        self.remember(Event::Deleted, api, name, Some(id), at_ms);
    }

    fn remember(&mut self, event: Event, api: ApiKind, name: &str, id: Option<&str>, at_ms: u64) {
        self.recent.push(Recent { event, api, name: name.to_owned(), id: id.map(str::to_owned), at_ms });
        self.forget(at_ms);
    }

    pub(crate) fn was_deleted(&self, api: ApiKind, id: &str) -> bool {
        self.of(Event::Deleted, api).any(|recent| recent.id.as_deref() == Some(id))
    }

    /// The entry of a create of this name that is not settled.
    pub(crate) fn creating(&self, api: ApiKind, name: &str) -> Option<&Recent> {
        self.of(Event::Created, api).find(|recent| recent.name == name)
    }

    pub(crate) fn created_ids(&self, api: ApiKind) -> Vec<String> {
        self.of(Event::Created, api).filter_map(|recent| recent.id.clone()).collect()
    }

    pub(crate) fn deleted_ids(&self, api: ApiKind) -> Vec<String> {
        self.of(Event::Deleted, api).filter_map(|recent| recent.id.clone()).collect()
    }

    fn of(&self, event: Event, api: ApiKind) -> impl Iterator<Item = &Recent> {
        self.recent.iter().filter(move |recent| recent.event == event && recent.api == api)
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;
    use crate::subscription::ApiKind::{OpenMessaging, Webhooks};

    #[test]
    fn entries_live_as_long_as_the_api_lags() {
        let mut memory = Memory::default();
        memory.created(Webhooks, "a", Some("1"), 0);
        assert!(memory.recent.is_empty(), "the webhook API does not lag");
        memory.created(OpenMessaging, "b", Some("2"), 0);
        memory.deleted(OpenMessaging, "c", "3", 0);
        memory.forget(179_999);
        assert!(memory.was_deleted(OpenMessaging, "3") && memory.creating(OpenMessaging, "b").is_some());
        memory.forget(180_000);
        assert!(!memory.was_deleted(OpenMessaging, "3"));
        memory.forget(300_000);
        assert!(memory.recent.is_empty());
    }

    #[test]
    fn what_is_deleted_is_no_longer_being_created() {
        let mut memory = Memory::default();
        memory.created(OpenMessaging, "b", Some("2"), 0);
        memory.deleted(OpenMessaging, "b", "2", 1);
        assert!(memory.creating(OpenMessaging, "b").is_none());
    }

    #[test]
    fn format_unchanged() {
        let mut memory = Memory::default();
        memory.created(OpenMessaging, "b", None, 7);
        memory.deleted(OpenMessaging, "c", "3", 8);
        let json = r#"{"version":1,"recent":[{"event":"created","api":"open-messaging","name":"b","at_ms":7},{"event":"deleted","api":"open-messaging","name":"c","id":"3","at_ms":8}]}"#;
        assert_eq!(serde_json::to_string(&memory).unwrap(), json);
        assert_eq!(serde_json::from_str::<Memory>(json).unwrap(), memory);
    }
}
