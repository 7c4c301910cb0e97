//! What can go wrong between us and the vendor, and whose fault it is.
//!
//! Promise: every error that came from the vendor carries status, vendor code, message and correlation id; no error
//! carries a secret (texts of others are redacted where they enter). Out of scope: what an error means for one
//! subscription, which the reconciler's report says.

use crate::address::AddressRefusal;
use crate::auth::TokenError;
use crate::json;
use crate::retry::Failure;
use crate::secret::Secret;
use crate::transport::{HttpResponse, TransportError};
use serde::{Deserialize, Serialize};

/// Longest vendor text that is kept, in characters: enough to act on, small enough for a report of 200 items.
const MAX_MESSAGE_CHARS: usize = 300;

/// Who has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// This program sent something that it should not have.
    Ours,
    /// Whoever configures: credentials, permissions, names, addresses.
    Configuration,
    /// The vendor failed, or answered what cannot be understood.
    Vendor,
    /// No answer came through.
    Network,
    /// Nobody: it passes by itself.
    TryAgain,
}

/// An error of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("no answer from the API: {0}")]
    NoAnswer(TransportError),
    /// No access token.
    #[error(transparent)]
    Token(Box<TokenError>),
    /// The API answered with an error.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// The API answered with success and something that cannot be understood.
    #[error("the API's answer cannot be understood: {what}{}", correlation(correlation_id.as_deref()))]
    Unreadable {
        /// What was expected.
        what: &'static str,
        /// The answer's correlation id.
        correlation_id: Option<String>,
    },
    /// A list did not end within the limit of pages, or pointed somewhere else.
    #[error("the list at {path} cannot be read to its end: {what}")]
    Paging {
        /// The list.
        path: String,
        /// Why.
        what: &'static str,
    },
    /// The run's time or number of requests is used up; the call was not made.
    #[error("not reached: the run's {0} is used up")]
    Exhausted(Exhausted),
    /// The address must not be called.
    #[error(transparent)]
    Address(#[from] AddressRefusal),
    /// A create whose outcome is unknown, and which was not found afterwards.
    #[error(
        "the outcome of the create is unknown ({cause}), and it is not listed yet; it will be looked for again before another is made"
    )]
    Uncertain {
        /// What happened to the create.
        cause: Box<Error>,
    },
    /// Somebody else's subscription is in the way.
    #[error("{what}")]
    NotOurs {
        /// Which, and why it is not touched.
        what: String,
    },
    /// What was asked for cannot be asked of this API.
    #[error("{what}")]
    Invalid {
        /// Why.
        what: String,
    },
}

/// Which limit of a run was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// Its deadline.
    #[error("time")]
    Time,
    /// Its number of requests.
    #[error("number of requests")]
    Requests,
}

/// An error that the API answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}{}: {message}{}{}", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default(), missing(needs.as_deref()), correlation(correlation_id.as_deref()))]
pub struct ApiError {
    /// The status code.
    pub status: u16,
    /// The vendor's code, for example `missing.permissions`.
    pub code: Option<String>,
    /// The vendor's message, shortened; or the beginning of a body that is not JSON.
    pub message: String,
    /// `ININ-Correlation-Id`, or the body's `contextId`: what the vendor's support asks for.
    pub correlation_id: Option<String>,
    /// For a 403: the scope or permission that is missing, by the vendor's text or else by what the call needs.
    pub needs: Option<String>,
    /// What `Retry-After` asked for, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

fn correlation(id: Option<&str>) -> String {
    id.map(|id| format!(" (correlation id {id})")).unwrap_or_default()
}

fn missing(needs: Option<&str>) -> String {
    needs.map(|needs| format!(" (the OAuth client lacks {needs})")).unwrap_or_default()
}

impl ApiError {
    /// Reads an answer that is not a success. `needs` is the scope or permission of the call; `retry_after_ms` as
    /// read by the caller, who knows the time.
    pub(crate) fn read(response: &HttpResponse, needs: &str, retry_after_ms: Option<u64>) -> Self {
        let body = json::object(&response.body);
        let text = |name| body.as_ref().and_then(|body| json::text(body, name)).map(str::to_owned);
        let message = text("message").filter(|message| !message.is_empty()).unwrap_or_else(|| {
            let raw = String::from_utf8_lossy(&response.body);
            if raw.trim().is_empty() { "no message".to_owned() } else { raw.trim().to_owned() }
        });
        let needs = (response.status == 403).then(|| match message.split_once("permission(s):") {
            Some((_, named)) => json::shorten(named.trim().trim_matches(['[', ']', '.']), MAX_MESSAGE_CHARS),
            None => needs.to_owned(),
        });
        Self {
            status: response.status,
            code: text("code").map(|code| json::shorten(&code, MAX_MESSAGE_CHARS)),
            message: json::shorten(&message, MAX_MESSAGE_CHARS),
            correlation_id: correlation_id(response)
                .or_else(|| text("contextId").map(|id| json::shorten(&id, MAX_MESSAGE_CHARS))),
            needs,
            retry_after_ms,
        }
    }

    /// The object has changed since it was read: 412, 409, or 400 with the vendor's text.
    pub fn is_version_mismatch(&self) -> bool {
        matches!(self.status, 412 | 409)
            || (self.status == 400 && self.message.contains("does not match the current version"))
    }
}

/// The vendor's correlation id of an answer.
pub(crate) fn correlation_id(response: &HttpResponse) -> Option<String> {
    response.header("inin-correlation-id").map(|id| json::shorten(id, MAX_MESSAGE_CHARS))
}

impl Error {
    /// The status that was answered, if one was.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(error) => Some(error.status),
            Self::Token(error) => error.status,
            Self::Uncertain { cause } => cause.status(),
            _ => None,
        }
    }

    /// The vendor's correlation id, if there was one.
    pub fn correlation_id(&self) -> Option<&str> {
        match self {
            Self::Api(error) => error.correlation_id.as_deref(),
            Self::Token(error) => error.correlation_id.as_deref(),
            Self::Unreadable { correlation_id, .. } => correlation_id.as_deref(),
            Self::Uncertain { cause } => cause.correlation_id(),
            _ => None,
        }
    }

    /// A stable name of the kind of error, in snake case; a vendor's own code is in [`ApiError::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoAnswer(_) => "no_answer",
            Self::Token(error) => error.problem.code(),
            Self::Api(error) => match error.status {
                401 => "unauthorized",
                403 => "missing_permission",
                404 | 410 => "not_found",
                429 => "rate_limited",
                500..=599 => "vendor_error",
                _ if error.is_version_mismatch() => "version_mismatch",
                _ => "refused_by_vendor",
            },
            Self::Unreadable { .. } => "unreadable_answer",
            Self::Paging { .. } => "endless_list",
            Self::Exhausted(Exhausted::Time) => "out_of_time",
            Self::Exhausted(Exhausted::Requests) => "out_of_requests",
            Self::Address(_) => "address_refused",
            Self::Uncertain { .. } => "outcome_unknown",
            Self::NotOurs { .. } => "not_owned",
            Self::Invalid { .. } => "invalid",
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoAnswer(_) => Fault::Network,
            Self::Token(error) => error.problem.fault(),
            Self::Api(error) => match error.status {
                401 | 403 | 400 | 422 if !error.is_version_mismatch() => Fault::Configuration,
                429 => Fault::TryAgain,
                500..=599 => Fault::Vendor,
                _ if error.is_version_mismatch() => Fault::TryAgain,
                _ => Fault::Ours,
            },
            Self::Unreadable { .. } | Self::Paging { .. } => Fault::Vendor,
            Self::Exhausted(_) | Self::Uncertain { .. } => Fault::TryAgain,
            Self::Address(_) | Self::NotOurs { .. } | Self::Invalid { .. } => Fault::Configuration,
        }
    }

    /// Whether the vendor may have carried out the request all the same: no answer after sending, 5xx, 408, and also
    /// 429, with which a write can have been applied. 409 to a create says that something is there already, perhaps
    /// ours from an attempt whose answer was lost.
    pub(crate) fn may_have_been_applied(&self) -> bool {
        match self {
            Self::NoAnswer(error) => error.ambiguous,
            Self::Api(error) => matches!(error.status, 408 | 409 | 429 | 500 | 502..=599),
            Self::Unreadable { .. } => true,
            _ => false,
        }
    }

    /// The thing is not there (any more).
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.status(), Some(404 | 410)) && matches!(self, Self::Api(_))
    }

    /// As the retry policy sees it.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Api(error) => Failure::Status { status: error.status, retry_after_ms: error.retry_after_ms },
            // A success that could not be read is as good as no answer; the rest is never tried again.
            Self::NoAnswer(_) | Self::Unreadable { .. } => Failure::NoAnswer,
            _ => Failure::Status { status: 0, retry_after_ms: None },
        }
    }

    /// The same error with every occurrence of `secret` in others' texts replaced.
    #[must_use]
    pub(crate) fn without(mut self, secret: &Secret) -> Self {
        match &mut self {
            Self::Api(error) => {
                error.message = secret.redact(&error.message);
                for text in [&mut error.code, &mut error.needs, &mut error.correlation_id].into_iter().flatten() {
                    *text = secret.redact(text);
                }
            }
            Self::NoAnswer(error) => error.message = secret.redact(&error.message),
            Self::Unreadable { correlation_id: Some(id), .. } => *id = secret.redact(id),
            Self::Uncertain { cause } => {
                let inner = core::mem::replace(cause.as_mut(), Self::Exhausted(Exhausted::Time));
                **cause = inner.without(secret);
            }
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiError, Error, Fault};
    use crate::secret::Secret;
    use crate::transport::{HttpResponse, TransportError};

    fn answer(status: u16, body: &str) -> HttpResponse {
        HttpResponse {
            status,
            headers: vec![("ININ-Correlation-Id".to_owned(), "c-1".to_owned())],
            body: body.as_bytes().to_vec(),
        }
    }

    fn api(status: u16, body: &str) -> Error {
        Error::Api(Box::new(ApiError::read(&answer(status, body), "webhook:write", None)))
    }

    #[test]
    fn a_403_names_what_is_missing() {
        let by_call = api(403, r#"{"message":"Forbidden","code":"not.authorized"}"#);
        assert_eq!(
            by_call.to_string(),
            "403 not.authorized: Forbidden (the OAuth client lacks webhook:write) (correlation id c-1)"
        );
        let by_vendor = api(
            403,
            r#"{"message":"You are missing the following permission(s): messaging:integration:add","code":"missing.permissions"}"#,
        );
        assert!(matches!(&by_vendor, Error::Api(error) if error.needs.as_deref() == Some("messaging:integration:add")));
        assert_eq!((by_vendor.code(), by_vendor.fault()), ("missing_permission", Fault::Configuration));
    }

    #[test]
    fn bodies_that_are_missing_or_not_json_still_give_an_error() {
        assert!(api(502, "<html>Bad gateway</html>").to_string().starts_with("502: <html>Bad gateway</html>"));
        assert!(api(500, "").to_string().starts_with("500: no message"));
        assert!(api(500, &"é".repeat(5_000)).to_string().chars().count() < 400);
        assert!(matches!(api(500, "\u{0}"), Error::Api(_)));
    }

    #[test]
    fn a_version_mismatch_is_412_409_or_400_with_the_vendors_text() {
        for (status, body, expected) in [
            (412, "", true),
            (409, "{}", true),
            (400, r#"{"message":"version 3 does not match the current version 4"}"#, true),
            (400, r#"{"message":"bad filter"}"#, false),
        ] {
            let Error::Api(error) = api(status, body) else { panic!("not an API error") };
            assert_eq!(error.is_version_mismatch(), expected, "{status} {body}");
        }
    }

    #[test]
    fn faults_are_laid_where_they_belong() {
        for (error, fault) in [
            (api(400, "{}"), Fault::Configuration),
            (api(401, "{}"), Fault::Configuration),
            (api(405, "{}"), Fault::Ours),
            (api(412, "{}"), Fault::TryAgain),
            (api(429, "{}"), Fault::TryAgain),
            (api(503, "{}"), Fault::Vendor),
            (Error::NoAnswer(TransportError::timeout("slow")), Fault::Network),
        ] {
            assert_eq!(error.fault(), fault, "{error}");
        }
    }

    #[test]
    fn only_certainly_refused_creates_may_be_repeated_blindly() {
        for (error, expected) in [
            (api(400, "{}"), false),
            (api(501, "{}"), false),
            (api(429, "{}"), true),
            (api(500, "{}"), true),
            (api(409, "{}"), true),
            (Error::NoAnswer(TransportError::connect("refused")), false),
            (Error::NoAnswer(TransportError::timeout("slow")), true),
        ] {
            assert_eq!(error.may_have_been_applied(), expected, "{error}");
        }
    }

    #[test]
    fn a_vendor_that_repeats_the_secret_is_not_quoted() {
        let error = api(400, r#"{"message":"secret hunter2 is too short","code":"hunter2"}"#);
        let cleaned = Error::Uncertain { cause: Box::new(error) }.without(&Secret::new("hunter2"));
        assert!(!format!("{cleaned} {cleaned:?}").contains("hunter2"));
        let body = r#"{"message":"missing permission(s): [hunter2]","contextId":"hunter2"}"#;
        let response = HttpResponse { status: 403, headers: Vec::new(), body: body.as_bytes().to_vec() };
        let error = Error::Api(Box::new(ApiError::read(&response, "webhook:write", None)));
        let cleaned = error.without(&Secret::new("hunter2"));
        assert!(!format!("{cleaned} {cleaned:?}").contains("hunter2"));
    }

    #[test]
    fn a_secret_that_the_shortened_message_ends_in_is_not_quoted_either() {
        let error = api(400, &format!(r#"{{"message":"{}hunter2-hunter2"}}"#, "x".repeat(290)));
        let cleaned = error.without(&Secret::new("hunter2-hunter2"));
        assert!(cleaned.to_string().contains("x[secret]…"), "{cleaned}");
    }

    #[test]
    fn no_text_of_the_vendors_makes_an_error_long() {
        let long = "x".repeat(10_000);
        let body = format!(r#"{{"message":"missing permission(s): {long}","code":"{long}","contextId":"{long}"}}"#);
        let response = HttpResponse { status: 403, headers: Vec::new(), body: body.into_bytes() };
        let error = ApiError::read(&response, "webhook:write", None);
        assert!(error.to_string().chars().count() < 1_400, "{error}");
    }
}
