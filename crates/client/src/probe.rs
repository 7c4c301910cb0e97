//! Asks whether an address answers, by `HEAD`, and after an answer without success by `GET`, with the probe header.
//!
//! Promise: only addresses that [`crate::address::check`] permits are called, redirects are not followed, and no body is
//! read. Out of scope: what the receiver does with a delivery.

use crate::address;
use crate::auth::TokenSource;
use crate::client::Client;
use crate::error::Error;
use crate::transport::{HttpRequest, Method, Runtime, Transport, TransportErrorKind};
use serde::{Deserialize, Serialize};

/// Marks a probe, so that a receiver does not take it for a delivery.
pub const PROBE_HEADER: &str = "x-genesys-gateway-probe";

/// Time for one request. A sender gives a receiver 10 s, and a probe of an idle address should not need half of that.
const TIMEOUT_MS: u64 = 5_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub url: String,
    /// Whether it answered with 2xx.
    pub reachable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The method that was answered with 2xx, else the last that was tried: `HEAD` or `GET`.
    pub method: String,
    /// The time from the first request to the last answer, in milliseconds.
    pub duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl<T: Transport, R: Runtime, A: TokenSource> Client<T, R, A> {
    /// Probes an address, with `allow_private` as in [`address::check`]. An address that must not be called and a used-up
    /// budget are errors. An address that does not answer is a finding.
    pub async fn probe(&self, url: &str, allow_private: bool) -> Result<Probe, Error> {
        address::check(url, allow_private)?;
        let started_ms = self.runtime.now_ms();
        let mut probe = Probe { url: url.to_owned(), ..Probe::default() };
        for method in [Method::HEAD, Method::GET] {
            method.as_str().clone_into(&mut probe.method);
            let answer = self.send_within_budget(request(method, url)).await;
            probe.duration_ms = self.runtime.now_ms().saturating_sub(started_ms);
            match answer {
                Ok(response) => {
                    probe.reachable = (200..300).contains(&response.status);
                    probe.status = Some(response.status);
                    probe.error = (!probe.reachable).then(|| format!("it answered {}", response.status));
                }
                Err(Error::NoAnswer(error)) => {
                    (probe.status, probe.error) = (None, Some(error.message));
                    if error.kind != TransportErrorKind::Other {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
            if probe.reachable {
                break;
            }
        }
        Ok(probe)
    }
}

fn request(method: Method, url: &str) -> HttpRequest {
    HttpRequest {
        method,
        url: url.to_owned(),
        headers: vec![(PROBE_HEADER, "1".to_owned())],
        body: None,
        timeout_ms: TIMEOUT_MS,
        max_response_bytes: 0,
    }
}
