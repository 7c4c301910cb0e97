//! Why a request is not accepted: its own fault, policy, or ours.
//!
//! Promises: one closed list with stable names, answers and statuses, so that a new reason is added here and nowhere else.
//! Out of scope: what is wrong with a signature or an envelope (`genesys_webhook::refusal`).

use super::answer::{RETRY_AFTER_S, ReceiveAnswer};
use genesys_webhook::refusal::Refusal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It cannot be verified, or what was verified cannot be read.
    Refused(Refusal),
    /// Its address is in none of the source's networks. Where its signature holds it is kept.
    AddressNotAllowed,
    /// Too many requests of its source and address could not be verified.
    RateLimited,
    UnknownSource,
}

impl Rejection {
    /// The stable name: answered, counted, stored and filtered by.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code().as_str(),
            Self::AddressNotAllowed => "address_not_allowed",
            Self::RateLimited => "rate_limited",
            Self::UnknownSource => "unknown_source",
        }
    }

    /// What and where, in words, for the letter that is kept.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => Some(refusal.detail()),
            Self::AddressNotAllowed => Some("the signature holds; the address is in none of allow_networks".into()),
            Self::RateLimited | Self::UnknownSource => None,
        }
    }

    pub fn answer(&self) -> ReceiveAnswer {
        match self {
            Self::Refused(refusal) => {
                let status = refusal.code().http_status();
                let answer = ReceiveAnswer::error(status, refusal.code().error(), self.code(), Some(&refusal.detail()));
                // RFC 9110, section 15.5.2: 401 names a scheme.
                if status == 401 { answer.with("www-authenticate", "Signature") } else { answer }
            }
            Self::AddressNotAllowed => ReceiveAnswer::error(403, "Forbidden", self.code(), None),
            Self::RateLimited => {
                ReceiveAnswer::error(429, "Too many requests", self.code(), None).with("retry-after", RETRY_AFTER_S)
            }
            Self::UnknownSource => ReceiveAnswer::error(404, "Unknown source", self.code(), None),
        }
    }
}

/// What failed that the sender cannot repair: it is answered 503, so that it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ReceiveFailure {
    BodyTimeout,
    BodyUnreadable,
    /// The isolate holds as many bytes of bodies as it may.
    #[strum(serialize = "too_much_in_flight")]
    NoRoom,
    CryptoFailed,
    StorageFailed,
    QueueFailed,
    /// The request was lost on the way, with the instance that worked on it.
    Interrupted,
}

impl ReceiveFailure {
    pub fn cause(self) -> &'static str {
        self.into()
    }
}
