//! What a sender is answered.
//!
//! Promises: every answer is JSON or empty; an error has a text for people (`error`) and a stable name for programs
//! (`code`); nothing of a body, a signature or a secret is in it. Out of scope: answers of the management API.

use serde::Serialize;

/// What `Retry-After` says with 429 and 503, in seconds: Genesys repeats after 5 s on its own.
pub const RETRY_AFTER_S: &str = "5";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveAnswer {
    pub status: u16,
    /// JSON, or nothing.
    pub body: String,
    /// Headers beside `Content-Type` and `Cache-Control`.
    pub headers: Vec<(&'static str, String)>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl ReceiveAnswer {
    pub fn accepted(id: &str, event_count: u64) -> Self {
        // An identifier and a number need no escaping.
        let body = [r#"{"received":true,"eventCount":"#, &event_count.to_string(), r#","id":""#, id, r#""}"#].concat();
        Self { status: 200, body, headers: vec![] }
    }

    /// An error. `error`: for people; `code`: for programs.
    pub fn error(status: u16, error: &str, code: &str, detail: Option<&str>) -> Self {
        let body = serde_json::to_string(&ErrorBody { error, code, detail }).unwrap_or_default();
        Self { status, body, headers: vec![] }
    }

    /// Ours to repair: the sender repeats.
    pub fn unavailable(cause: &str) -> Self {
        Self::error(503, "Service unavailable", cause, None).with("retry-after", RETRY_AFTER_S)
    }

    pub fn empty(status: u16) -> Self {
        Self { status, body: String::new(), headers: vec![] }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
