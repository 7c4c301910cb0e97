//! What a run did, action by action, for the audit trail.
//!
//! Promise: an event holds no secret. Out of scope: storing the trail, and who asked for the run.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuditAction {
    Create,
    Update,
    Delete,
    /// A declaration was checked for its event types, its address and what the API can do.
    Validate,
    Probe,
}

/// One action, successful when `error` is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    pub action: AuditAction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{AuditAction, AuditEvent};

    #[test]
    fn format_unchanged() {
        let event = AuditEvent {
            action: AuditAction::Create,
            source: Some("s".into()),
            webhook_id: Some("w".into()),
            target_url: Some("https://a.example/x".into()),
            status_code: Some(201),
            error: None,
            correlation_id: Some("c".into()),
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"action":"CREATE","source":"s","webhookId":"w","targetUrl":"https://a.example/x","statusCode":201,"correlationId":"c"}"#
        );
    }
}
