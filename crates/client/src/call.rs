//! One API call as data: what is sent, what it needs, and whether it may be repeated without looking.

use crate::error::Error;
use crate::json::{self, Object};
use crate::transport::Method;

/// Whether a call may be repeated after an outcome that is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Doing it twice is the same as doing it once.
    Freely,
    /// Only when it was certainly not carried out (creates): otherwise the error comes back, and the caller looks
    /// first.
    UnlessApplied,
}

/// One call.
#[derive(Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query, beginning with a slash.
    pub path: String,
    /// A JSON body.
    pub body: Option<Vec<u8>>,
    /// The value of `If-Match`.
    pub if_match: Option<String>,
    /// The scope or permission that the call needs, to be named by a 403.
    pub needs: &'static str,
    /// Whether it may be repeated.
    pub repeat: Repeat,
}

impl Call {
    /// A read of `path`.
    pub fn get(path: impl Into<String>, needs: &'static str) -> Self {
        Self { method: Method::Get, path: path.into(), body: None, if_match: None, needs, repeat: Repeat::Freely }
    }

    /// A write of `body` to `path`.
    pub fn write(method: Method, path: impl Into<String>, body: &Object, needs: &'static str) -> Self {
        let repeat = if method == Method::Post { Repeat::UnlessApplied } else { Repeat::Freely };
        // An object of JSON values always serializes.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { method, path: path.into(), body: Some(body), if_match: None, needs, repeat }
    }
}

/// A success.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The `ETag` header.
    pub etag: Option<String>,
    /// The vendor's correlation id.
    pub correlation_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as an object; `what` says what was expected.
    pub(crate) fn object(&self, what: &'static str) -> Result<Object, Error> {
        json::object(&self.body).ok_or_else(|| self.unreadable(what))
    }

    pub(crate) fn unreadable(&self, what: &'static str) -> Error {
        Error::Unreadable { what, correlation_id: self.correlation_id.clone() }
    }
}
