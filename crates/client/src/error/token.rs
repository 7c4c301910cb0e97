//! Why there is no access token.
//!
//! Promise: the message names what the operator has to check. Out of scope: which answer of the login host means what,
//! see [`crate::auth`].

use super::api::correlation;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no access token from {login_host}: {problem}{}{}", detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default(), correlation(correlation_id.as_deref()))]
pub struct TokenError {
    pub problem: TokenProblem,
    pub login_host: String,
    pub status: Option<u16>,
    /// The vendor's description, or the transport's.
    pub detail: Option<String>,
    pub correlation_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    #[error("the client id is not known at this region's login host; check GENESYS_CLIENT_ID and the region")]
    UnknownClient,
    #[error("the client secret is wrong; check GENESYS_CLIENT_SECRET")]
    WrongSecret,
    #[error("the OAuth client is not of the type \"Client Credentials\"")]
    WrongGrantType,
    #[error("this is not a Genesys Cloud login host; check the region or login_url")]
    NotALoginHost,
    /// The token endpoint's rate limit, which it answers as 400.
    #[error("the login host's rate limit is exceeded")]
    RateLimited,
    #[error("the login host refused")]
    Refused,
    #[error("the login host failed")]
    VendorError,
    #[error("the login host did not answer")]
    NoAnswer,
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
        }
    }
}
