//! An error that the API answered.
//!
//! Promise: it carries status, vendor code, message and correlation id, each shortened. Out of scope: secrets that the
//! vendor repeats, which the caller redacts.

use crate::json;
use crate::retry::retry_after_ms;
use crate::transport::HttpResponse;

/// Longest vendor text that is kept, in characters. It is enough to act on, and a report of 200 items stays small.
const MAX_MESSAGE_CHARS: usize = 300;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}{}: {message}{}{}", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default(), missing(needs.as_deref()), correlation(correlation_id.as_deref()))]
pub struct ApiError {
    pub status: u16,
    /// The vendor's code, for example `missing.permissions`.
    pub code: Option<String>,
    /// The vendor's message, or the beginning of a body that is not JSON.
    pub message: String,
    /// `ININ-Correlation-Id` or the body's `contextId`, which the vendor's support asks for.
    pub correlation_id: Option<String>,
    /// For a 403, the scope or permission that is missing, by the vendor's text or else by what the call needs.
    pub needs: Option<String>,
    /// What `Retry-After` asked for, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// The end of a message that has a correlation id.
pub(super) fn correlation(id: Option<&str>) -> String {
    id.map(|id| format!(" (correlation id {id})")).unwrap_or_default()
}

fn missing(needs: Option<&str>) -> String {
    needs.map(|needs| format!(" (the OAuth client lacks {needs})")).unwrap_or_default()
}

fn shorten(text: &str) -> String {
    json::shorten(text, MAX_MESSAGE_CHARS)
}

pub(crate) fn correlation_id(response: &HttpResponse) -> Option<String> {
    response.header("inin-correlation-id").map(shorten)
}

impl ApiError {
    /// Reads an answer that is not a success. `needs` is the scope or permission of the call.
    pub(crate) fn read(response: &HttpResponse, needs: &str, now_ms: u64) -> Self {
        let body = json::object(&response.body);
        let text = |name| body.as_ref().and_then(|body| json::text(body, name)).filter(|text| !text.is_empty());
        let raw = String::from_utf8_lossy(&response.body);
        let raw = if raw.trim().is_empty() { "no message" } else { raw.trim() };
        let message = text("message").unwrap_or(raw);
        let needs = (response.status == 403).then(|| match message.split_once("permission(s):") {
            Some((_, named)) => shorten(named.trim().trim_matches(['[', ']', '.'])),
            None => needs.to_owned(),
        });
        Self {
            status: response.status,
            code: text("code").map(shorten),
            message: shorten(message),
            correlation_id: correlation_id(response).or_else(|| text("contextId").map(shorten)),
            needs,
            retry_after_ms: response.header("retry-after").and_then(|value| retry_after_ms(value, now_ms)),
        }
    }

    /// The object has changed since it was read, by status 412, 409, or 400 with the vendor's text.
    pub fn is_version_mismatch(&self) -> bool {
        matches!(self.status, 412 | 409)
            || (self.status == 400 && self.message.contains("does not match the current version"))
    }
}

#[cfg(test)]
mod tests {
    use super::ApiError;
    use crate::transport::HttpResponse;

    fn read(status: u16, body: &str) -> ApiError {
        let headers = vec![("ININ-Correlation-Id".to_owned(), "c-1".to_owned())];
        ApiError::read(&HttpResponse { status, headers, body: body.as_bytes().to_vec() }, "webhook:write", 0)
    }

    #[test]
    fn a_403_names_what_is_missing() {
        assert_eq!(
            read(403, r#"{"message":"Forbidden","code":"not.authorized"}"#).to_string(),
            "403 not.authorized: Forbidden (the OAuth client lacks webhook:write) (correlation id c-1)"
        );
        let by_vendor = read(
            403,
            r#"{"message":"You are missing the following permission(s): messaging:integration:add","code":"missing.permissions"}"#,
        );
        assert_eq!(by_vendor.needs.as_deref(), Some("messaging:integration:add"));
    }

    #[test]
    fn bodies_that_are_missing_or_not_json_still_give_an_error() {
        for (body, expected) in [
            ("<html>Bad gateway</html>", "502: <html>Bad gateway</html>"),
            ("", "502: no message"),
            (" \n", "502: no message"),
            ("{}", "502: {}"),
            (r#"{"message":"","code":7}"#, r#"502: {"message":"","code":7}"#),
            ("\u{0}", "502: \u{0}"),
        ] {
            assert_eq!(read(502, body).to_string(), format!("{expected} (correlation id c-1)"));
        }
    }

    #[test]
    fn a_version_mismatch_is_412_409_or_400_with_the_vendors_text() {
        for (status, body, expected) in [
            (412, "", true),
            (409, "{}", true),
            (400, r#"{"message":"version 3 does not match the current version 4"}"#, true),
            (400, r#"{"message":"bad filter"}"#, false),
        ] {
            assert_eq!(read(status, body).is_version_mismatch(), expected, "{status} {body}");
        }
    }

    #[test]
    fn no_text_of_the_vendors_makes_an_error_long() {
        let long = "x".repeat(10_000);
        let body = format!(r#"{{"message":"missing permission(s): {long}","code":"{long}","contextId":"{long}"}}"#);
        for body in [&body, &long] {
            let error = read(403, body);
            assert!(error.to_string().chars().count() < 1_400, "{error}");
        }
    }
}
