//! Access tokens: where they come from, and what a refusal of one means.
//!
//! Promises:
//! - [`TokenSource`] is what the client asks. [`OAuthTokens`] is the source that fetches tokens itself, by the OAuth
//!   grant "client credentials".
//! - A token is cached and replaced 60 s before it expires, by one request for all callers that wait.
//!
//! Out of scope: storing tokens over restarts, for which [`OAuthTokens::export`] and [`OAuthTokens::import`] exist.

mod flight;

use crate::error::{Error, TokenError, TokenProblem, correlation_id};
use crate::json;
use crate::retry::{AttemptFailure, Decision, RetryPolicy, retry_after_ms};
use crate::secret::Secret;
use crate::transport::{HttpRequest, HttpResponse, Method, Runtime, Transport};
use base64::Engine as _;
use flight::{Flight, FlightRole, Lead};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A token is replaced this long before it expires, so that it does not expire on its way.
const MARGIN_MS: u64 = 60_000;

const TIMEOUT_MS: u64 = 10_000;

/// A refresh that is neither finished nor renewed for this long was abandoned. One request, and a second to spare.
const LEASE_MS: u64 = TIMEOUT_MS + 1_000;

/// Longest token answer. The vendor's has a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 65_536;

/// Longest description that is kept, in characters.
const MAX_DETAIL_CHARS: usize = 200;

/// Lifetime of a token without `expires_in`. The vendor documents 86,400 s as the default, but a short lifetime only
/// costs a request.
const DEFAULT_LIFETIME_S: u64 = 300;

#[allow(async_fn_in_trait)]
pub trait TokenSource {
    /// A token to use now. `stale` is a token that was just answered with 401. A source that already has another one
    /// returns that, else it fetches a new one.
    async fn token(&self, stale: Option<&str>) -> Result<Secret, Error>;
}

impl<P: Deref<Target: TokenSource>> TokenSource for P {
    async fn token(&self, stale: Option<&str>) -> Result<Secret, Error> {
        (**self).token(stale).await
    }
}

/// A token and its end, as a caller stores it over restarts. Its `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedToken {
    /// The token itself. Keep it where secrets are kept.
    pub token: String,
    /// When it expires, in milliseconds since the epoch.
    pub expires_at_ms: u64,
}

impl fmt::Debug for CachedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CachedToken {{ expires_at_ms: {} }}", self.expires_at_ms)
    }
}

/// Fetches and caches tokens of one OAuth client.
pub struct OAuthTokens<T, R> {
    transport: T,
    runtime: R,
    login_url: String,
    client_id: String,
    client_secret: Secret,
    policy: RetryPolicy,
    cached: Mutex<Option<CachedToken>>,
    flight: Flight<Result<Secret, Error>>,
}

impl<T: Transport, R: Runtime> OAuthTokens<T, R> {
    /// A source for the client `client_id` at `login_url` (see [`crate::region::Endpoints`]).
    ///
    /// White space and line ends around id and secret are cut. A secret that was set from a file often has one, and the
    /// vendor would answer it with an error that blames the region.
    pub fn new(transport: T, runtime: R, login_url: &str, client_id: &str, client_secret: Secret) -> Self {
        Self {
            transport,
            runtime,
            login_url: login_url.trim_end_matches('/').to_owned(),
            client_id: client_id.trim().to_owned(),
            client_secret: client_secret.trimmed(),
            // Shorter than for calls, because callers wait for a token with a timeout of their own.
            policy: RetryPolicy { max_retry_after_ms: 30_000, max_total_ms: 60_000, ..RetryPolicy::default() },
            cached: Mutex::new(None),
            flight: Flight::new(),
        }
    }

    pub fn import(&self, token: CachedToken) {
        *self.cached() = Some(token);
    }

    pub fn export(&self) -> Option<CachedToken> {
        self.cached().clone()
    }

    fn cached(&self) -> MutexGuard<'_, Option<CachedToken>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self, stale: Option<&str>) -> Option<Secret> {
        let cached = self.cached();
        let fresh = cached.as_ref().filter(|cached| {
            cached.expires_at_ms > self.runtime.now_ms().saturating_add(MARGIN_MS)
                && stale != Some(cached.token.as_str())
        });
        fresh.map(|cached| Secret::new(cached.token.clone()))
    }

    /// Requests a token, with the retry policy. Every wait renews the lease.
    async fn fetch(&self, lead: &Lead<'_, Result<Secret, Error>>) -> Result<Secret, Error> {
        let started_ms = self.runtime.now_ms();
        let mut attempt = 0_u32;
        loop {
            let answer = self.transport.send(self.request()).await;
            let now_ms = self.runtime.now_ms();
            let (error, failure) = match answer {
                Ok(response) => match read_token(&response) {
                    Some((token, lifetime_s)) => {
                        let expires_at_ms = now_ms.saturating_add(lifetime_s.saturating_mul(1_000));
                        *self.cached() = Some(CachedToken { token: token.clone(), expires_at_ms });
                        return Ok(Secret::new(token));
                    }
                    None => self.refused(&response, now_ms),
                },
                Err(error) => {
                    (self.error(TokenProblem::NoAnswer, None, &error.message, None), AttemptFailure::NoAnswer)
                }
            };
            let elapsed_ms = now_ms.saturating_sub(started_ms);
            match self.policy.decide(attempt, failure, elapsed_ms, self.runtime.random_u64()) {
                Decision::GiveUp => return Err(Error::Token(Box::new(error))),
                Decision::WaitMs(wait_ms) => {
                    lead.renew(now_ms, wait_ms.saturating_add(LEASE_MS));
                    self.runtime.sleep_ms(wait_ms).await;
                }
            }
            attempt = attempt.saturating_add(1);
        }
    }

    fn request(&self) -> HttpRequest {
        let credentials = format!("{}:{}", self.client_id, self.client_secret.expose());
        let basic = base64::engine::general_purpose::STANDARD.encode(credentials);
        HttpRequest {
            method: Method::POST,
            url: format!("{}/oauth/token", self.login_url),
            headers: vec![
                ("authorization", format!("Basic {basic}")),
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ("accept", "application/json".to_owned()),
            ],
            body: Some(b"grant_type=client_credentials".to_vec()),
            timeout_ms: TIMEOUT_MS,
            max_response_bytes: MAX_ANSWER_BYTES,
        }
    }

    fn error(&self, problem: TokenProblem, status: Option<u16>, detail: &str, id: Option<String>) -> TokenError {
        let host = self.login_url.split_once("://").map_or(self.login_url.as_str(), |(_, host)| host);
        let detail = json::shorten(&self.client_secret.redact(detail), MAX_DETAIL_CHARS);
        TokenError {
            problem,
            login_host: host.to_owned(),
            status,
            detail: (!detail.is_empty()).then_some(detail),
            correlation_id: id.map(|id| self.client_secret.redact(&id)),
        }
    }

    fn refused(&self, response: &HttpResponse, now_ms: u64) -> (TokenError, AttemptFailure) {
        let body = json::object(&response.body);
        let text = |name| body.as_ref().and_then(|body| json::text(body, name)).unwrap_or_default();
        let description = Some(text("error_description")).filter(|text| !text.is_empty());
        let description = description.unwrap_or_else(|| text("description"));
        let problem = problem(response.status, body.is_some(), text("error"), description);
        let asked_ms = response.header("retry-after").and_then(|value| retry_after_ms(value, now_ms));
        let status = if problem == TokenProblem::RateLimited { 429 } else { response.status };
        let error = self.error(problem, Some(status), description, correlation_id(response));
        (error, AttemptFailure::Status { status, retry_after_ms: asked_ms })
    }
}

impl<T: Transport, R: Runtime> TokenSource for OAuthTokens<T, R> {
    async fn token(&self, stale: Option<&str>) -> Result<Secret, Error> {
        loop {
            if let Some(token) = self.usable(stale) {
                return Ok(token);
            }
            match self.flight.join(self.runtime.now_ms(), LEASE_MS) {
                FlightRole::Lead(lead) => {
                    let result = self.fetch(&lead).await;
                    lead.land(result.clone());
                    return result;
                }
                FlightRole::Follow { number, at_most_ms } => {
                    if let Some(result) = self.flight.landed(number, self.runtime.sleep_ms(at_most_ms)).await {
                        return result;
                    }
                    // The leader is gone. Another caller takes over, perhaps this one.
                }
            }
        }
    }
}

fn read_token(response: &HttpResponse) -> Option<(String, u64)> {
    if !(200..300).contains(&response.status) {
        return None;
    }
    let body = json::object(&response.body)?;
    let token = json::text(&body, "access_token").filter(|token| !token.is_empty())?.to_owned();
    Some((token, body.get("expires_in").and_then(serde_json::Value::as_u64).unwrap_or(DEFAULT_LIFETIME_S)))
}

/// What a refusal means. The texts are the vendor's. Where they do not decide, the more general problem is named.
fn problem(status: u16, is_json: bool, error: &str, description: &str) -> TokenProblem {
    let description = description.to_ascii_lowercase();
    match status {
        // Its rate limit is a 400 with this description.
        429 => TokenProblem::RateLimited,
        400 if description.starts_with("rate limit exceeded") => TokenProblem::RateLimited,
        500..=599 => TokenProblem::VendorError,
        _ if !is_json || matches!(status, 200..=399 | 404 | 405) => TokenProblem::NotALoginHost,
        _ => match error {
            "invalid_client" if description.contains("not found") => TokenProblem::UnknownClient,
            "invalid_client" => TokenProblem::WrongSecret,
            "unauthorized_client" | "unsupported_grant_type" => TokenProblem::WrongGrantType,
            _ => TokenProblem::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::problem;
    use crate::error::TokenProblem;

    #[test]
    fn refusals_of_the_token_endpoint_are_told_apart() {
        for (status, is_json, error, description, expected) in [
            (400, true, "invalid_client", "client not found: invalid client", TokenProblem::UnknownClient),
            (400, true, "invalid_client", "authentication failed", TokenProblem::WrongSecret),
            (401, true, "invalid_client", "", TokenProblem::WrongSecret),
            (400, true, "unauthorized_client", "", TokenProblem::WrongGrantType),
            (400, true, "invalid_request", "Rate limit exceeded the maximum [300] requests", TokenProblem::RateLimited),
            (429, false, "", "", TokenProblem::RateLimited),
            (400, true, "invalid_request", "no grant", TokenProblem::Refused),
            (503, false, "", "", TokenProblem::VendorError),
            (404, false, "", "", TokenProblem::NotALoginHost),
            (404, true, "", "", TokenProblem::NotALoginHost),
            (302, false, "", "", TokenProblem::NotALoginHost),
            (200, false, "", "", TokenProblem::NotALoginHost),
            (403, false, "", "", TokenProblem::NotALoginHost),
        ] {
            assert_eq!(problem(status, is_json, error, description), expected, "{status} {error} {description}");
        }
    }
}
