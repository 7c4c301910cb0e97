//! One attempt over HTTP: to loopback and nowhere else, without proxies and without following redirects.

use super::forge::Prepared;
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

/// How much of an answer is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// How much of an answer is kept.
const EXCERPT_CHARS: usize = 200;

/// Knows `localhost` and nothing else. Addresses in digits do not come here; `target::loopback` has checked them.
#[derive(Clone)]
struct Loopback;

impl Service<Name> for Loopback {
    type Response = std::array::IntoIter<SocketAddr, 2>;
    type Error = std::io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        ready(if name.as_str().eq_ignore_ascii_case("localhost") {
            Ok([SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))].into_iter())
        } else {
            Err(std::io::Error::other("only loopback is sent to"))
        })
    }
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// A status, and the beginning of the answer.
    Status(u16, String),
    /// No answer in time.
    Timeout,
    /// No connection, or it broke.
    Connection(String),
}

pub(super) struct Transport {
    client: Client<HttpConnector<Loopback>, Full<Bytes>>,
}

impl Transport {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new_with_resolver(Loopback);
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Sends once and waits at most `timeout_ms` for the whole answer.
    pub(super) async fn send(&self, prepared: &Prepared, timeout_ms: u64) -> Answer {
        let mut request = hyper::Request::post(prepared.target.uri.clone());
        for (name, value) in &prepared.headers {
            request = request.header(name, value);
        }
        let request = match request.body(Full::new(prepared.body.clone())) {
            Ok(request) => request,
            Err(error) => return Answer::Connection(format!("not sendable: {error}")),
        };
        match tokio::time::timeout(Duration::from_millis(timeout_ms), self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Timeout,
        }
    }

    async fn exchange(&self, request: hyper::Request<Full<Bytes>>) -> Answer {
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Connection(chain(&error)),
        };
        let status = response.status().as_u16();
        // A longer answer costs its connection and nothing else: the status has come.
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Answer::Status(status, String::from_utf8_lossy(&body).chars().take(EXCERPT_CHARS).collect())
    }
}

/// An error with its causes: the outermost text alone says only "client error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
