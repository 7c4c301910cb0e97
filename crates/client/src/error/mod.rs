//! What can go wrong between this program and the vendor, and whose fault it is.
//!
//! Promises:
//! - Every error that came from the vendor carries status, vendor code, message and correlation id.
//! - No error carries a secret. Texts of others are redacted where they enter.
//!
//! Out of scope: what an error means for one subscription, which the reconciler's report says.

mod api;
mod token;

pub use api::ApiError;
pub(crate) use api::correlation_id;
pub use token::{TokenError, TokenProblem};

use crate::address::AddressRefusal;
use crate::retry::AttemptFailure;
use crate::secret::Secret;
use crate::transport::{TransportError, TransportErrorKind};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no answer from the API: {0}")]
    NoAnswer(TransportError),
    #[error(transparent)]
    Token(Box<TokenError>),
    #[error(transparent)]
    Api(Box<ApiError>),
    #[error("the API's answer cannot be understood: {what}{}", api::correlation(correlation_id.as_deref()))]
    Unreadable { what: &'static str, correlation_id: Option<String> },
    /// A list did not end within the limit of pages, or pointed to another host.
    #[error("the list at {path} cannot be read to its end: {what}")]
    Paging { path: String, what: &'static str },
    #[error("not reached: the run's {0} is used up")]
    Exhausted(Exhausted),
    #[error(transparent)]
    Address(#[from] AddressRefusal),
    #[error(
        "the outcome of the create is unknown ({0}), and it is not listed yet; it will be looked for again before another is made"
    )]
    Uncertain(Box<Error>),
    /// A subscription with another owner is in the way. The text says which, and why it is not touched.
    #[error("{0}")]
    NotOurs(String),
    /// This API cannot do what was asked for. The text says why.
    #[error("{0}")]
    Invalid(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    #[error("time")]
    Time,
    #[error("number of requests")]
    Requests,
}

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorFault {
    /// This program, which sent a wrong request.
    Ours,
    /// The operator, by credentials, permissions, names or addresses.
    Configuration,
    /// The vendor, which failed or sent an answer that makes no sense.
    Vendor,
    /// The network, which brought no answer.
    Network,
    /// No party. The condition passes by itself.
    TryAgain,
}

impl Error {
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(error) => Some(error.status),
            Self::Token(error) => error.status,
            Self::Uncertain(cause) => cause.status(),
            _ => None,
        }
    }

    pub fn correlation_id(&self) -> Option<&str> {
        match self {
            Self::Api(error) => error.correlation_id.as_deref(),
            Self::Token(error) => error.correlation_id.as_deref(),
            Self::Unreadable { correlation_id, .. } => correlation_id.as_deref(),
            Self::Uncertain(cause) => cause.correlation_id(),
            _ => None,
        }
    }

    /// A stable name of the kind of error, in snake case. A vendor's own code is in [`ApiError::code`].
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
            Self::Uncertain(_) => "outcome_unknown",
            Self::NotOurs(_) => "not_owned",
            Self::Invalid(_) => "invalid",
        }
    }

    pub fn fault(&self) -> ErrorFault {
        match self {
            Self::NoAnswer(_) => ErrorFault::Network,
            Self::Token(error) => match error.problem {
                TokenProblem::RateLimited => ErrorFault::TryAgain,
                TokenProblem::VendorError => ErrorFault::Vendor,
                TokenProblem::NoAnswer => ErrorFault::Network,
                _ => ErrorFault::Configuration,
            },
            Self::Api(error) => match error.status {
                _ if error.is_version_mismatch() => ErrorFault::TryAgain,
                400 | 401 | 403 | 422 => ErrorFault::Configuration,
                429 => ErrorFault::TryAgain,
                500..=599 => ErrorFault::Vendor,
                _ => ErrorFault::Ours,
            },
            Self::Unreadable { .. } | Self::Paging { .. } => ErrorFault::Vendor,
            Self::Exhausted(_) | Self::Uncertain(_) => ErrorFault::TryAgain,
            Self::Address(_) | Self::NotOurs(_) | Self::Invalid(_) => ErrorFault::Configuration,
        }
    }

    /// Whether the vendor may have carried out the request all the same: no answer after sending, 5xx, 408, and also
    /// 429, with which a write can have been applied. A 409 to a create says that the name is taken, perhaps by an
    /// earlier attempt whose answer was lost.
    pub(crate) fn may_have_been_applied(&self) -> bool {
        match self {
            Self::NoAnswer(error) => error.kind != TransportErrorKind::Connect,
            Self::Api(error) => matches!(error.status, 408 | 409 | 429 | 500 | 502..=599),
            Self::Unreadable { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.api().is_some_and(|error| matches!(error.status, 404 | 410))
    }

    pub(crate) fn failure(&self) -> AttemptFailure {
        match self {
            Self::Api(error) => AttemptFailure::Status { status: error.status, retry_after_ms: error.retry_after_ms },
            // An unreadable success is as good as no answer. The other kinds are never tried again.
            Self::NoAnswer(_) | Self::Unreadable { .. } => AttemptFailure::NoAnswer,
            _ => AttemptFailure::Status { status: 0, retry_after_ms: None },
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
            Self::Uncertain(cause) => **cause = cause.as_ref().clone().without(secret),
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiError, Error, ErrorFault};
    use crate::secret::Secret;
    use crate::transport::{HttpResponse, TransportError};

    fn api(status: u16, body: &str) -> Error {
        let response = HttpResponse { status, headers: Vec::new(), body: body.as_bytes().to_vec() };
        Error::Api(Box::new(ApiError::read(&response, "webhook:write", 0)))
    }

    #[test]
    fn code_fault_and_whether_it_may_have_been_applied() {
        let lost = |error| Error::NoAnswer(error);
        for (error, code, fault, may_have_been_applied) in [
            (api(400, "{}"), "refused_by_vendor", ErrorFault::Configuration, false),
            (api(401, "{}"), "unauthorized", ErrorFault::Configuration, false),
            (api(403, "{}"), "missing_permission", ErrorFault::Configuration, false),
            (api(405, "{}"), "refused_by_vendor", ErrorFault::Ours, false),
            (api(409, "{}"), "version_mismatch", ErrorFault::TryAgain, true),
            (api(412, "{}"), "version_mismatch", ErrorFault::TryAgain, false),
            (api(429, "{}"), "rate_limited", ErrorFault::TryAgain, true),
            (api(500, "{}"), "vendor_error", ErrorFault::Vendor, true),
            (api(501, "{}"), "vendor_error", ErrorFault::Vendor, false),
            (lost(TransportError::connect("refused")), "no_answer", ErrorFault::Network, false),
            (lost(TransportError::timeout("slow")), "no_answer", ErrorFault::Network, true),
        ] {
            let found = (error.code(), error.fault(), error.may_have_been_applied());
            assert_eq!(found, (code, fault, may_have_been_applied), "{error}");
        }
    }

    #[test]
    fn a_vendor_that_repeats_the_secret_is_not_quoted() {
        for body in [
            r#"{"message":"secret hunter2-hunter2 is too short","code":"hunter2-hunter2"}"#,
            r#"{"message":"missing permission(s): [hunter2-hunter2]","contextId":"hunter2-hunter2"}"#,
            // The message is shortened in the middle of the secret.
            &format!(r#"{{"message":"{}hunter2-hunter2"}}"#, "x".repeat(290)),
        ] {
            let error = Error::Uncertain(Box::new(api(403, body))).without(&Secret::new("hunter2-hunter2"));
            assert!(error.to_string().contains("[secret]"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
