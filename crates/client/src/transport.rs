//! What the client asks of its host: one HTTP exchange, the time, a pause, and randomness.
//!
//! Promise: everything else in this crate is a function of these. Out of scope: how a transport connects. The native one
//! is in `native` (feature `reqwest`), the Worker and JavaScript bring their own.

pub use http::Method;

use std::fmt;
use std::ops::Deref;

/// One request. Its `Debug` shows neither headers nor body, because both carry secrets.
#[derive(Clone)]
pub struct HttpRequest {
    pub method: Method,
    pub url: String,
    /// Names (lower case) and values.
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Vec<u8>>,
    /// The whole exchange, headers and body, must end within this many milliseconds.
    pub timeout_ms: u64,
    /// At most this many bytes of the answer's body are wanted. With 0 it need not be read at all, and a longer body must
    /// end in [`TransportErrorKind::Other`].
    pub max_response_bytes: usize,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// One answer. Its `Debug` shows the status only, because a token endpoint's body is a secret.
#[derive(Clone, Default)]
pub struct HttpResponse {
    pub status: u16,
    /// Names (any case) and values.
    pub headers: Vec<(String, String)>,
    /// The body, or what was wanted of it.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The first value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.status, self.body.len())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportErrorKind {
    Timeout,
    /// No connection came about. Only after this is it certain that the other side did not carry out the request.
    Connect,
    /// Any other reason, such as a reset or an answer that is too long.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    pub kind: TransportErrorKind,
    pub message: String,
}

impl TransportError {
    pub fn timeout(message: impl Into<String>) -> Self {
        Self { kind: TransportErrorKind::Timeout, message: message.into() }
    }

    pub fn connect(message: impl Into<String>) -> Self {
        Self { kind: TransportErrorKind::Connect, message: message.into() }
    }

    pub fn other(message: impl Into<String>) -> Self {
        Self { kind: TransportErrorKind::Other, message: message.into() }
    }
}

/// Sends one request and brings the answer.
///
/// Contract: redirects are **not** followed, `timeout_ms` and `max_response_bytes` are kept, and nothing is repeated. A
/// redirect would carry the token, or a probe, to an unchecked address.
///
/// The future has no `Send` bound, because that of a Worker's `fetch` cannot be `Send`. Where the transport's own future
/// is `Send`, the futures of this crate are too.
#[allow(async_fn_in_trait)]
pub trait Transport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError>;
}

#[allow(async_fn_in_trait)]
pub trait Runtime {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
    async fn sleep_ms(&self, ms: u64);
    /// Uniformly distributed bits, for jitter (not for secrets).
    fn random_u64(&self) -> u64;
}

impl<P: Deref<Target: Transport>> Transport for P {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        (**self).send(request).await
    }
}

impl<P: Deref<Target: Runtime>> Runtime for P {
    fn now_ms(&self) -> u64 {
        (**self).now_ms()
    }
    async fn sleep_ms(&self, ms: u64) {
        (**self).sleep_ms(ms).await;
    }
    fn random_u64(&self) -> u64 {
        (**self).random_u64()
    }
}
