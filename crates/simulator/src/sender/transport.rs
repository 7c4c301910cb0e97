//! One attempt over HTTP: to the address in the delivery, without proxies, without following redirects, with a name for loopback only.

use super::forge::PreparedDelivery;
use reqwest::redirect;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const ANSWER_BYTES: usize = 64 * 1024;

const EXCERPT_CHARS: usize = 200;

#[derive(Debug)]
pub(super) enum SendAttempt {
    /// A status, and the beginning of the answer.
    Status(u16, String),
    Timeout,
    Connection(String),
}

/// A client that looks no name up: `target::loopback` lets addresses and `localhost` through.
pub(super) fn client() -> reqwest::Client {
    let localhost = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
    let client = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none());
    client.resolve_to_addrs("localhost", &localhost).build().expect("without TLS nothing can be missing")
}

/// Sends once and waits at most `timeout_ms` for the whole answer.
pub(super) async fn attempt(client: &reqwest::Client, prepared: &PreparedDelivery, timeout_ms: u64) -> SendAttempt {
    let mut request = client.post(prepared.target.url.clone()).timeout(Duration::from_millis(timeout_ms));
    for (name, value) in &prepared.headers {
        request = request.header(name, value);
    }
    match exchange(request.body(prepared.body.clone())).await {
        Ok((status, body)) => {
            SendAttempt::Status(status, String::from_utf8_lossy(&body).chars().take(EXCERPT_CHARS).collect())
        }
        Err(error) if error.is_timeout() => SendAttempt::Timeout,
        Err(error) => SendAttempt::Connection(chain(&error)),
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> reqwest::Result<(u16, Vec<u8>)> {
    let mut response = request.send().await?;
    let mut body = Vec::new();
    // A longer answer costs its connection and nothing else: the status has come.
    while body.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) if error.is_timeout() => return Err(error),
            Ok(None) | Err(_) => break,
        }
    }
    Ok((response.status().as_u16(), body))
}

/// An error with its causes: the outermost text alone says only that the request failed.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
