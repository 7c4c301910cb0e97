//! The token endpoint and the tokens: Basic authentication, client credentials, expiry, revocation, errors in the vendor's form.

use crate::config::OauthClient;
use crate::config::Settings;
use crate::error::{ApiError, OauthError};
use crate::lock::lock;
use crate::rate::Window;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The window of the token endpoint's own rate limit.
const WINDOW_MS: u64 = 60_000;

/// Who makes a request: what the gate found out about its token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) token: String,
    permissions: Option<Arc<[String]>>,
}

impl Caller {
    /// 403 unless the caller holds `permission`.
    pub(crate) fn needs(&self, permission: &str) -> Result<(), ApiError> {
        match &self.permissions {
            Some(held) if !held.iter().any(|one| one == permission) => Err(ApiError::missing(permission)),
            _ => Ok(()),
        }
    }
}

/// Figures of the token endpoint.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OauthReport {
    /// Requests to the token endpoint that reached it, refused ones included.
    pub token_requests: u64,
    /// Tokens given out.
    pub issued: u64,
    /// Tokens that are valid now.
    pub active: usize,
}

/// Clients and their tokens.
#[derive(Debug)]
pub struct Oauth {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    clients: Vec<OauthClient>,
    tokens: HashMap<String, Token>,
    windows: HashMap<String, Window>,
    report: OauthReport,
}

#[derive(Debug)]
struct Token {
    client_id: String,
    expires_at_ms: u64,
}

impl Oauth {
    pub(crate) fn new(clients: Vec<OauthClient>) -> Self {
        let inner = Inner { clients, tokens: HashMap::new(), windows: HashMap::new(), report: OauthReport::default() };
        Self { inner: Mutex::new(inner) }
    }

    /// Adds a client, or replaces the one with the same id. Its tokens stay valid and get its new permissions.
    pub fn put_client(&self, client: OauthClient) {
        let mut inner = lock(&self.inner);
        inner.clients.retain(|known| known.id != client.id);
        inner.clients.push(client);
    }

    /// Makes every token invalid and returns how many there were.
    pub fn revoke_all(&self) -> usize {
        let mut inner = lock(&self.inner);
        let count = inner.tokens.len();
        inner.tokens.clear();
        count
    }

    pub(crate) fn revoke(&self, token: &str) {
        lock(&self.inner).tokens.remove(token);
    }

    /// The figures at `now_ms`.
    pub(crate) fn report(&self, now_ms: u64) -> OauthReport {
        let inner = lock(&self.inner);
        let active = inner.tokens.values().filter(|token| now_ms < token.expires_at_ms).count();
        OauthReport { active, ..inner.report.clone() }
    }

    pub(crate) fn reset(&self) {
        let mut inner = lock(&self.inner);
        inner.tokens.clear();
        inner.windows.clear();
        inner.report = OauthReport::default();
    }

    /// The caller of a request to the API, or the vendor's 401.
    pub(crate) fn caller(&self, headers: &HeaderMap, now_ms: u64) -> Result<Caller, ApiError> {
        let Some(token) = bearer(headers) else {
            return Err(ApiError::new(
                401,
                "authentication.required",
                "No authentication bearer token specified in authorization header.",
            ));
        };
        let inner = lock(&self.inner);
        let client = inner
            .tokens
            .get(token)
            .filter(|known| now_ms < known.expires_at_ms)
            .and_then(|known| inner.clients.iter().find(|client| client.id == known.client_id));
        match client {
            Some(client) => {
                Ok(Caller { token: token.to_owned(), permissions: client.permissions.clone().map(Into::into) })
            }
            None => Err(ApiError::new(401, "bad.credentials", "Invalid login credentials.")),
        }
    }

    /// Checks the request and gives out `token` with its lifetime in seconds.
    pub(crate) fn grant(
        &self,
        settings: &Settings,
        token: String,
        headers: &HeaderMap,
        form: &[u8],
        now_ms: u64,
    ) -> Result<(String, u64), OauthError> {
        let mut inner = lock(&self.inner);
        inner.report.token_requests += 1;
        let Some((id, secret)) = basic(headers) else {
            return Err(OauthError::new(
                "invalid_client",
                "client credentials are missing: expected an Authorization header of type Basic",
            ));
        };
        let window = inner.windows.entry(id.clone()).or_default();
        if window.count(settings.token_requests_per_minute, WINDOW_MS, now_ms).is_over() {
            return Err(OauthError::rate_limit());
        }
        let Some(client) = inner.clients.iter().find(|client| client.id == id) else {
            return Err(OauthError::new("invalid_client", format!("client not found: {id}")));
        };
        if client.secret != secret {
            return Err(OauthError::new("invalid_client", "authentication failed"));
        }
        if !form.split(|byte| *byte == b'&').any(|pair| pair == b"grant_type=client_credentials") {
            return Err(OauthError::new(
                "unsupported_grant_type",
                "expected grant_type=client_credentials as a form field",
            ));
        }
        inner.report.issued += 1;
        let expires_at_ms = now_ms.saturating_add(settings.token_lifetime_s.saturating_mul(1_000));
        inner.tokens.retain(|_, known| now_ms < known.expires_at_ms);
        inner.tokens.insert(token.clone(), Token { client_id: id, expires_at_ms });
        Ok((token, settings.token_lifetime_s))
    }
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(encoded.trim()))?.ok()?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}
