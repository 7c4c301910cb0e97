//! Hands one delivery to its destination: an HTTPS endpoint, or the archive.
//!
//! Promises: the bytes are those that arrived; they are signed anew by Standard Webhooks and carry the headers that the
//! configuration gives; redirects are not followed; the answer is read only as far as an error message needs, and what it
//! quotes of secret headers is removed. Out of scope: what an answer means (`gateway_core::deliver::retry_policy`).

use crate::config::Configured;
use crate::platform::body::Body;
use crate::platform::fetch::{self, Outgoing, Read};
use crate::platform::{clock, r2};
use gateway_core::audit::USER_AGENT;
use gateway_core::config::Destination;
use gateway_core::deliver::retry_policy::{Attempted, scrub};
use gateway_core::messages::Delivery;
use gateway_core::messages::keys::archive_key;
use genesys_client::retry::retry_after_ms;
use genesys_client::transport::TransportErrorKind;
use genesys_webhook::scheme::Scheme;
use genesys_webhook::sign::sign_with_all;

/// How much of a destination's answer is read: enough for an error message.
const EXCERPT_BYTES: usize = 1_024;

/// What one attempt came to, for the ledger and for people.
pub(super) struct Attempt {
    pub(super) attempted: Attempted,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    /// Stable code of what went wrong.
    pub(super) code: Option<&'static str>,
    /// The same for the log: what the destination answered may quote the delivery.
    pub(super) cause: Option<String>,
}

impl Attempt {
    /// An attempt that failed on our side of the connection, in words of ours or of the platform.
    fn without_answer(attempted: Attempted, code: &'static str, error: String) -> Self {
        Self { attempted, status: None, code: Some(code), cause: Some(error.clone()), error: Some(error) }
    }

    /// An attempt that was not made, for a reason of ours.
    pub(super) fn not_sent(error: String) -> Self {
        Self::without_answer(Attempted::NotSent, "not_sent", error)
    }

    pub(super) fn body_unavailable(error: String) -> Self {
        Self::without_answer(Attempted::BodyUnavailable, "body_unavailable", error)
    }
}

/// One attempt.
pub(super) async fn hand_on(
    configured: Configured<'_>,
    env: &worker::Env,
    delivery: &Delivery,
    body: &Body,
) -> Attempt {
    let destination = match &configured.source.destination {
        Destination::Archive => return archive(env, delivery, body).await,
        Destination::Https(https) => https,
    };
    let mut headers = vec![("user-agent".to_owned(), USER_AGENT.to_owned())];
    let content_type = delivery.headers.iter().find(|(name, _)| name == "content-type");
    headers.push((
        "content-type".into(),
        content_type.map_or_else(|| "application/json".into(), |(_, value)| value.clone()),
    ));
    headers.push(("x-genesys-gateway-source".into(), delivery.source.clone()));
    let forwarded = delivery.headers.iter().filter(|(name, _)| destination.forward_headers.contains(name));
    headers.extend(forwarded.chain(&destination.headers).cloned());
    let secret_headers = match &configured.secrets.headers {
        Err(problem) => return Attempt::not_sent(problem.clone()),
        Ok(secret_headers) => secret_headers,
    };
    headers.extend(secret_headers.iter().cloned());
    match &configured.secrets.destination {
        Err(problem) => return Attempt::not_sent(problem.clone()),
        Ok(secrets) if secrets.is_empty() => headers.push(("webhook-id".into(), delivery.id.clone())),
        Ok(secrets) => {
            let timestamp_s = clock::now_ms().div_euclid(1000);
            let scheme = Scheme::standard_webhooks();
            headers.extend(body.with_bytes(|bytes| sign_with_all(&scheme, secrets, &delivery.id, timestamp_s, bytes)));
        }
    }
    let outgoing = Outgoing {
        method: "POST",
        url: &destination.url,
        headers: &headers,
        body: None,
        timeout_ms: destination.timeout_ms,
        read: Read::Excerpt { bytes: EXCERPT_BYTES },
    };
    let hide = |text: &str| scrub(text, secret_headers.iter().map(|(_, value)| value.as_str()));
    match fetch::send_body(outgoing, Some(body.to_js())).await {
        Err(error) => {
            let (code, cause) = match error.kind {
                TransportErrorKind::Timeout => ("timeout", "no answer in time"),
                TransportErrorKind::Connect => ("connect", "not sent"),
                TransportErrorKind::Other => ("reset", "connection refused or lost"),
            };
            let error = hide(&error.message);
            let (error, cause) = (Some(error), Some(cause.into()));
            Attempt { attempted: Attempted::Failed, status: None, code: Some(code), error, cause }
        }
        Ok(answer) => {
            let error = (!(200..300).contains(&answer.status)).then(|| {
                let excerpt: String = hide(&String::from_utf8_lossy(&answer.body))
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .take(200)
                    .collect();
                format!("HTTP {}: {excerpt}", answer.status)
            });
            let retry_after_s = answer
                .header("retry-after")
                .and_then(|text| retry_after_ms(text, clock::now_ms()))
                .map(|ms| ms.div_ceil(1000));
            Attempt {
                attempted: Attempted::Answered { status: answer.status, retry_after_s },
                status: Some(answer.status),
                code: error.is_some().then_some("http"),
                cause: error.is_some().then(|| format!("HTTP {}", answer.status)),
                error,
            }
        }
    }
}

async fn archive(env: &worker::Env, delivery: &Delivery, body: &Body) -> Attempt {
    let key = archive_key(&delivery.source, &delivery.id, delivery.received_at_ms);
    match r2::put(env, &key, body).await {
        Ok(()) => {
            let attempted = Attempted::Answered { status: 200, retry_after_s: None };
            Attempt { attempted, status: None, code: None, error: None, cause: None }
        }
        Err(error) => Attempt::without_answer(Attempted::Failed, "storage", error),
    }
}
