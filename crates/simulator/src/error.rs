//! Errors in the vendor's form: `{message, code, status, contextId, …}` of the API, `{error, description, …}` of the token endpoint.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error of the API. The gate writes its body, because only the gate knows the correlation id.
#[derive(Clone, Debug)]
pub(crate) struct VendorError {
    status: u16,
    code: String,
    pub(crate) message: String,
    params: Value,
    retry_after: Option<String>,
}

impl VendorError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), params: json!({}), retry_after: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad.request", message)
    }

    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        Self::new(404, "not.found", format!("The requested {what} with id {id} was not found."))
    }

    /// 403 in the words of the API: client-credentials clients lack permissions of their roles, or scopes (those of two words).
    pub(crate) fn missing(permission: &str) -> Self {
        let is_scope = permission.matches(':').count() == 1;
        let (code, what) =
            if is_scope { ("missing.scopes", "scope(s)") } else { ("missing.permissions", "permission(s)") };
        let message =
            format!("Unable to perform the requested action. You are missing the following {what}: {permission}");
        Self { params: json!({ "permissions": permission }), ..Self::new(403, code, message) }
    }

    pub(crate) fn too_many_requests(retry_after_s: u64, retry_after: String) -> Self {
        let message = format!("Rate limit exceeded the maximum. Retry the request in [{retry_after_s}] seconds");
        Self { retry_after: Some(retry_after), ..Self::new(429, "too.many.requests", message) }
    }

    /// A write that was based on an old version, in one of the three forms that the API has for it.
    pub(crate) fn version_mismatch(status: u16, given: &str, current: u64) -> Self {
        let message = format!("The version {given} does not match the current version {current}.");
        let code = match status {
            409 => "general.conflict",
            412 => "precondition.failed",
            _ => "bad.request",
        };
        Self::new(status, code, message)
    }

    /// Makes the error the body of `response`, whose other headers stay.
    pub(crate) fn render(self, response: &mut Response, correlation_id: &str) {
        let body = json!({
            "message": self.message,
            "code": self.code,
            "status": self.status,
            "messageParams": self.params,
            "contextId": correlation_id,
            "details": [],
            "errors": [],
        });
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.body_mut() = Body::from(body.to_string());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.retry_after.and_then(|value| value.parse().ok()).map(|value| (header::RETRY_AFTER, value)));
    }
}

impl IntoResponse for VendorError {
    /// Leaves the error for the gate, which renders it.
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// An error of the token endpoint: always 400, its rate limit too.
#[derive(Clone, Debug)]
pub(crate) struct OauthError {
    error: &'static str,
    description: String,
}

impl OauthError {
    pub(crate) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { error, description: description.into() }
    }

    pub(crate) fn rate_limit() -> Self {
        Self::new("invalid_request", "rate limit exceeded for token requests: retry later")
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let Self { error, description } = self;
        let body = json!({ "error": error, "description": description, "error_description": description });
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}
