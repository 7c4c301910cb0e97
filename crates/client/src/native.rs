//! The native transport and runtime, by reqwest and tokio (feature `reqwest`), for the simulator, tests and tools.
//!
//! Promise: the contract of [`Transport`]. Out of scope: TLS. A binary that talks to the vendor also enables reqwest's
//! `rustls` feature.

use crate::transport::{HttpRequest, HttpResponse, Runtime, Transport, TransportError};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, UNIX_EPOCH};

/// A transport over one reqwest client, which pools its connections.
#[derive(Clone, Debug)]
pub struct ReqwestTransport(reqwest::Client);

impl ReqwestTransport {
    pub fn new() -> Result<Self, TransportError> {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map(Self)
            .map_err(|error| TransportError::connect(error.to_string()))
    }
}

impl Transport for ReqwestTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let timeout = Duration::from_millis(request.timeout_ms);
        let mut builder = self.0.request(request.method, &request.url).timeout(timeout);
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let mut response = builder.send().await.map_err(|error| read_error(&error))?;
        let mut answer = HttpResponse {
            status: response.status().as_u16(),
            headers: response
                .headers()
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            body: Vec::new(),
        };
        if request.max_response_bytes > 0 {
            while let Some(chunk) = response.chunk().await.map_err(|error| read_error(&error))? {
                if answer.body.len().saturating_add(chunk.len()) > request.max_response_bytes {
                    return Err(TransportError::other("the answer is too long"));
                }
                answer.body.extend_from_slice(&chunk);
            }
        }
        Ok(answer)
    }
}

/// Without the URL, which a user may have given a secret.
fn read_error(error: &reqwest::Error) -> TransportError {
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    if error.is_timeout() {
        TransportError::timeout("the request timed out")
    } else if error.is_connect() || error.is_builder() {
        TransportError::connect(format!("no connection: {text}"))
    } else {
        TransportError::other(format!("the connection was lost: {text}"))
    }
}

/// The system's clock and tokio's timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioRuntime;

impl Runtime for TokioRuntime {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the native clock; it does not exist on wasm32-unknown-unknown"
    )]
    fn now_ms(&self) -> u64 {
        let since_epoch = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn random_u64(&self) -> u64 {
        // The keys of a new hasher come from the system's randomness, which is enough for jitter.
        RandomState::new().hash_one(0_u8)
    }
}
