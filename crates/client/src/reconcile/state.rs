//! What the last runs did and the vendor's lists may not show yet.
//!
//! Promise: within the vendor's lag a create is not made twice and a deleted subscription is not taken for a live one,
//! also across runs. Losing the state costs only that, for five minutes. Out of scope: storing it, which the caller does.

use crate::subscription::ApiKind;
use serde::{Deserialize, Serialize};

/// What is stored between runs, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileState {
    pub version: u32,
    pub recent: Vec<RecentChange>,
}

impl Default for ReconcileState {
    fn default() -> Self {
        Self { version: 1, recent: Vec::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentChange {
    pub event: ChangeKind,
    pub api: ApiKind,
    pub name: String,
    /// Its id. `None` after a create whose outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Created, or perhaps created.
    Created,
    Deleted,
}

impl ReconcileState {
    /// Drops the changes that the lists must show by now.
    pub fn forget(&mut self, now_ms: u64) {
        self.recent.retain(|recent| {
            let facts = recent.api.api().facts();
            let lag_ms = match recent.event {
                ChangeKind::Created => facts.create_lag_ms,
                ChangeKind::Deleted => facts.delete_lag_ms,
            };
            now_ms.saturating_sub(recent.at_ms) < lag_ms
        });
    }

    /// Remembers a create. `id` is `None` when its outcome is unknown.
    pub fn created(&mut self, api: ApiKind, name: &str, id: Option<&str>, at_ms: u64) {
        self.remember(ChangeKind::Created, api, name, id, at_ms);
    }

    pub fn deleted(&mut self, api: ApiKind, name: &str, id: &str, at_ms: u64) {
        self.recent.retain(|recent| recent.id.as_deref() != Some(id));
        self.remember(ChangeKind::Deleted, api, name, Some(id), at_ms);
    }

    fn remember(&mut self, event: ChangeKind, api: ApiKind, name: &str, id: Option<&str>, at_ms: u64) {
        self.recent.push(RecentChange { event, api, name: name.to_owned(), id: id.map(str::to_owned), at_ms });
        self.forget(at_ms);
    }

    pub(crate) fn was_deleted(&self, api: ApiKind, id: &str) -> bool {
        self.of(ChangeKind::Deleted, api).any(|recent| recent.id.as_deref() == Some(id))
    }

    /// The entry of a create of this name that is not settled.
    pub(crate) fn creating(&self, api: ApiKind, name: &str) -> Option<&RecentChange> {
        self.of(ChangeKind::Created, api).find(|recent| recent.name == name)
    }

    pub(crate) fn ids(&self, event: ChangeKind, api: ApiKind) -> Vec<String> {
        self.of(event, api).filter_map(|recent| recent.id.clone()).collect()
    }

    fn of(&self, event: ChangeKind, api: ApiKind) -> impl Iterator<Item = &RecentChange> {
        self.recent.iter().filter(move |recent| recent.event == event && recent.api == api)
    }
}

#[cfg(test)]
mod tests {
    use super::ReconcileState;
    use crate::subscription::ApiKind::{OpenMessaging, Webhooks};

    #[test]
    fn entries_live_as_long_as_the_api_lags() {
        let mut state = ReconcileState::default();
        state.created(Webhooks, "a", Some("1"), 0);
        assert!(state.recent.is_empty(), "the webhook API does not lag");
        state.created(OpenMessaging, "b", Some("2"), 0);
        state.deleted(OpenMessaging, "c", "3", 0);
        state.forget(179_999);
        assert!(state.was_deleted(OpenMessaging, "3") && state.creating(OpenMessaging, "b").is_some());
        state.forget(180_000);
        assert!(!state.was_deleted(OpenMessaging, "3"));
        state.forget(300_000);
        assert!(state.recent.is_empty());
    }

    #[test]
    fn what_is_deleted_is_no_longer_being_created() {
        let mut state = ReconcileState::default();
        state.created(OpenMessaging, "b", Some("2"), 0);
        state.deleted(OpenMessaging, "b", "2", 1);
        assert!(state.creating(OpenMessaging, "b").is_none());
    }

    #[test]
    fn format_unchanged() {
        let mut state = ReconcileState::default();
        state.created(OpenMessaging, "b", None, 7);
        state.deleted(OpenMessaging, "c", "3", 8);
        let json = r#"{"version":1,"recent":[{"event":"created","api":"open-messaging","name":"b","at_ms":7},{"event":"deleted","api":"open-messaging","name":"c","id":"3","at_ms":8}]}"#;
        assert_eq!(serde_json::to_string(&state).unwrap(), json);
        assert_eq!(serde_json::from_str::<ReconcileState>(json).unwrap(), state);
    }
}
