//! Access tokens: where they come from, and what can be wrong with them.
//!
//! [`TokenSource`] is what the client asks. [`OAuthTokens`] is the source that fetches tokens itself (client
//! credentials); in a Worker one Durable Object owns it and the Worker's own source asks that object.

mod flight;
mod oauth;

pub use oauth::{CachedToken, OAuthTokens};

use crate::error::{Error, Fault};
use crate::secret::Secret;
use std::sync::Arc;

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Secret);

impl AccessToken {
    /// Takes the token into custody.
    pub fn new(token: impl Into<String>) -> Self {
        Self(Secret::new(token))
    }

    /// The token itself, for the header.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }
}

/// Gives access tokens.
#[allow(async_fn_in_trait)]
pub trait TokenSource {
    /// A token to use now. `stale` is the token that was just answered with 401: a source that already has another
    /// one returns that, else it fetches a new one.
    async fn token(&self, stale: Option<&str>) -> Result<AccessToken, Error>;
}

impl<S: TokenSource> TokenSource for &S {
    async fn token(&self, stale: Option<&str>) -> Result<AccessToken, Error> {
        (**self).token(stale).await
    }
}

impl<S: TokenSource> TokenSource for Arc<S> {
    async fn token(&self, stale: Option<&str>) -> Result<AccessToken, Error> {
        (**self).token(stale).await
    }
}

/// Why there is no access token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no access token from {login_host}: {problem}{}{}", detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default(), correlation_id.as_deref().map(|id| format!(" (correlation id {id})")).unwrap_or_default())]
pub struct TokenError {
    /// What is wrong.
    pub problem: TokenProblem,
    /// The host that was asked.
    pub login_host: String,
    /// The status code, if the host answered.
    pub status: Option<u16>,
    /// The vendor's description, or the transport's.
    pub detail: Option<String>,
    /// The vendor's correlation id.
    pub correlation_id: Option<String>,
}

/// Kinds of [`TokenError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// The client id is not known there.
    #[error("the client id is not known at this region's login host; check GENESYS_CLIENT_ID and the region")]
    UnknownClient,
    /// The client is known, its secret is another.
    #[error("the client secret is wrong; check GENESYS_CLIENT_SECRET")]
    WrongSecret,
    /// The client must not use client credentials.
    #[error("the OAuth client is not of the type \"Client Credentials\"")]
    WrongGrantType,
    /// Whatever answers there is no login host.
    #[error("this is not a Genesys Cloud login host; check the region or login_url")]
    NotALoginHost,
    /// The token endpoint's rate limit (which it answers as 400).
    #[error("the login host's rate limit is exceeded")]
    RateLimited,
    /// Some other refusal.
    #[error("the login host refused")]
    Refused,
    /// 5xx.
    #[error("the login host failed")]
    VendorError,
    /// No answer.
    #[error("the login host did not answer")]
    NoAnswer,
    /// The object that owns the tokens cannot be reached (for token sources outside this crate).
    #[error("the token source is not available")]
    SourceUnavailable,
}

impl TokenProblem {
    /// A stable name, in snake case.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownClient => "unknown_client",
            Self::WrongSecret => "wrong_client_secret",
            Self::WrongGrantType => "wrong_grant_type",
            Self::NotALoginHost => "not_a_login_host",
            Self::RateLimited => "token_rate_limited",
            Self::Refused => "token_refused",
            Self::VendorError => "token_vendor_error",
            Self::NoAnswer => "token_no_answer",
            Self::SourceUnavailable => "token_source_unavailable",
        }
    }

    /// The problem of a [`TokenProblem::code`], for a source that passes an error on; an unknown code is
    /// `SourceUnavailable`.
    pub fn from_code(code: &str) -> Self {
        [
            Self::UnknownClient,
            Self::WrongSecret,
            Self::WrongGrantType,
            Self::NotALoginHost,
            Self::RateLimited,
            Self::Refused,
            Self::VendorError,
            Self::NoAnswer,
        ]
        .into_iter()
        .find(|problem| problem.code() == code)
        .unwrap_or(Self::SourceUnavailable)
    }

    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::UnknownClient | Self::WrongSecret | Self::WrongGrantType | Self::NotALoginHost | Self::Refused => {
                Fault::Configuration
            }
            Self::RateLimited => Fault::TryAgain,
            Self::VendorError => Fault::Vendor,
            Self::NoAnswer => Fault::Network,
            Self::SourceUnavailable => Fault::Ours,
        }
    }
}
