//! The token endpoint and the tokens: Basic authentication, client credentials, expiry, revocation, errors in the vendor's form.

use crate::config::{OauthClient, SimulatorSettings};
use crate::error::{OauthError, VendorError};
use crate::rate::RateWindow;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

const WINDOW_MS: u64 = 60_000;

/// Who makes a request: what the gate found out about its token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) token: String,
    permissions: Option<Arc<[String]>>,
}

impl Caller {
    pub(crate) fn needs(&self, permission: &str) -> Result<(), VendorError> {
        match &self.permissions {
            Some(held) if !held.iter().any(|one| one == permission) => Err(VendorError::missing(permission)),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OauthReport {
    /// Requests to the token endpoint that reached it, refused ones included.
    pub token_requests: u64,
    pub issued: u64,
    pub active: usize,
}

#[derive(Debug)]
pub struct Oauth(Mutex<OauthState>);

#[derive(Debug, Default)]
struct OauthState {
    clients: Vec<OauthClient>,
    tokens: HashMap<String, IssuedToken>,
    windows: HashMap<String, RateWindow>,
    report: OauthReport,
}

#[derive(Debug)]
struct IssuedToken {
    client_id: String,
    expires_at_ms: u64,
}

impl Oauth {
    pub(crate) fn new(clients: Vec<OauthClient>) -> Self {
        Self(Mutex::new(OauthState { clients, ..OauthState::default() }))
    }

    /// Adds a client, or replaces the one with the same id. Its tokens stay valid and get its new permissions.
    pub fn put_client(&self, client: OauthClient) {
        let mut state = self.0.lock();
        state.clients.retain(|known| known.id != client.id);
        state.clients.push(client);
    }

    /// Makes every token invalid and returns how many there were.
    pub fn revoke_all(&self) -> usize {
        std::mem::take(&mut self.0.lock().tokens).len()
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.0.lock().tokens.remove(token);
    }

    pub(crate) fn report(&self, now_ms: u64) -> OauthReport {
        let state = self.0.lock();
        let active = state.tokens.values().filter(|token| now_ms < token.expires_at_ms).count();
        OauthReport { active, ..state.report.clone() }
    }

    pub(crate) fn reset(&self) {
        let mut state = self.0.lock();
        let clients = std::mem::take(&mut state.clients);
        *state = OauthState { clients, ..OauthState::default() };
    }

    /// The caller of a request to the API, or the vendor's 401.
    pub(crate) fn caller(&self, headers: &HeaderMap, now_ms: u64) -> Result<Caller, VendorError> {
        let absent = "No authentication bearer token specified in authorization header.";
        let token = bearer(headers).ok_or_else(|| VendorError::new(401, "authentication.required", absent))?;
        let state = self.0.lock();
        let client = state
            .tokens
            .get(token)
            .filter(|known| now_ms < known.expires_at_ms)
            .and_then(|known| state.clients.iter().find(|client| client.id == known.client_id));
        let client = client.ok_or_else(|| VendorError::new(401, "bad.credentials", "Invalid login credentials."))?;
        Ok(Caller { token: token.to_owned(), permissions: client.permissions.clone().map(Into::into) })
    }

    /// Checks the request and gives out `token` with its lifetime in seconds.
    pub(crate) fn grant(
        &self,
        settings: &SimulatorSettings,
        token: String,
        headers: &HeaderMap,
        form: &[u8],
        now_ms: u64,
    ) -> Result<(String, u64), OauthError> {
        let mut state = self.0.lock();
        state.report.token_requests += 1;
        let absent = "client credentials are missing: expected an Authorization header of type Basic";
        let (id, secret) = basic(headers).ok_or_else(|| OauthError::new("invalid_client", absent))?;
        let window = state.windows.entry(id.clone()).or_default();
        if window.count(settings.token_requests_per_minute, WINDOW_MS, now_ms).is_over() {
            return Err(OauthError::rate_limit());
        }
        let Some(client) = state.clients.iter().find(|client| client.id == id) else {
            return Err(OauthError::new("invalid_client", format!("client not found: {id}")));
        };
        if client.secret != secret {
            return Err(OauthError::new("invalid_client", "authentication failed"));
        }
        if !form.split(|byte| *byte == b'&').any(|pair| pair == b"grant_type=client_credentials") {
            let problem = "expected grant_type=client_credentials as a form field";
            return Err(OauthError::new("unsupported_grant_type", problem));
        }
        state.report.issued += 1;
        let expires_at_ms = now_ms.saturating_add(settings.token_lifetime_s.saturating_mul(1_000));
        state.tokens.retain(|_, known| now_ms < known.expires_at_ms);
        state.tokens.insert(token.clone(), IssuedToken { client_id: id, expires_at_ms });
        Ok((token, settings.token_lifetime_s))
    }
}

/// The credentials of a request that come with `scheme`.
fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let (given, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = STANDARD.decode(credentials(headers, "basic")?).ok()?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}
