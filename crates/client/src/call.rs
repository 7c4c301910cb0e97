//! One API call as data: what is sent, what it needs, and whether it may be repeated without looking.
//!
//! Promise: plain values. Out of scope: sending, see [`crate::client`].

use crate::error::Error;
use crate::json::{self, Object};
use crate::transport::Method;

#[derive(Clone)]
pub struct ApiCall {
    pub method: Method,
    /// Path and query, beginning with a slash.
    pub path: String,
    pub body: Option<Vec<u8>>,
    pub if_match: Option<String>,
    /// The scope or permission that the call needs, to be named by a 403.
    pub needs: &'static str,
}

impl ApiCall {
    pub fn get(path: impl Into<String>, needs: &'static str) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, if_match: None, needs }
    }

    pub fn write(method: Method, path: impl Into<String>, body: &Object, needs: &'static str) -> Self {
        // An object of JSON values always serializes.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { method, path: path.into(), body: Some(body), if_match: None, needs }
    }

    /// Whether two of these calls do what one does. A create is only repeated when it was certainly not carried out. Else
    /// the error comes back, and the caller looks first.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method != Method::POST
    }
}

#[derive(Clone, Debug)]
pub struct ApiAnswer {
    pub status: u16,
    pub etag: Option<String>,
    pub correlation_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl ApiAnswer {
    /// The body as an object; `what` says what was expected.
    pub(crate) fn object(&self, what: &'static str) -> Result<Object, Error> {
        json::object(&self.body).ok_or_else(|| self.unreadable(what))
    }

    pub(crate) fn unreadable(&self, what: &'static str) -> Error {
        Error::Unreadable { what, correlation_id: self.correlation_id.clone() }
    }
}
