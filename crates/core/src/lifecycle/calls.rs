//! The calls to the lifecycle object, and what it answers.
//!
//! Promises: everything that needs the access token happens in one object, so the token never leaves it, its refresh is shared by
//! all callers, and one reconciliation runs at a time; a refusal is a case of an enum. Out of scope: the calls themselves.

use serde::{Deserialize, Serialize};

/// Name of the object: one organisation, one object.
pub const LIFECYCLE_OBJECT: &str = "lifecycle";

/// A call to the lifecycle object; each answers an [`Answered`]. `source`: its name, which says which of the vendor's APIs.
/// - `Reconcile` plans, and applies unless it is a dry run; `Last` is the last report.
/// - `IpRanges` are the networks that webhooks come from.
/// - `List` shows only what delivers to `source`, where that is given.
/// - `Create` and `Update` make a subscription what its source declares. `if_match` is the version that the caller has seen;
///   the current one where there is none.
/// - `Delete` takes away only what the gateway owns.
/// - `Probe` asks an address whether it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleCall {
    Reconcile { dry_run: bool, actor: String },
    Last,
    EventTypes,
    IpRanges,
    List { source: Option<String> },
    Get { source: String, id: String },
    Create { source: String },
    Update { source: String, id: String, if_match: Option<String> },
    Delete { source: String, id: String },
    Probe { url: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleRefusal {
    BadConfiguration,
    NoRegion,
    MissingSecret,
    AlreadyRunning,
    UnknownSource,
    NoSubscription,
    NoSubscriptionApi,
    Exists,
    UnknownEventType,
    UnreachableAddress,
    OtherSource,
    /// The vendor's API refused or failed: the answer has its own code and status.
    Vendor,
}

impl LifecycleRefusal {
    /// HTTP status, code and text of the management API.
    const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadConfiguration => (503, "bad_configuration", "The configuration is not valid"),
            Self::NoRegion => (409, "no_region", "No region is configured"),
            Self::MissingSecret => (503, "missing_secret", "A Worker secret is not set"),
            Self::AlreadyRunning => (409, "already_running", "Subscriptions are being changed"),
            Self::UnknownSource => (404, "unknown_source", "Unknown source"),
            Self::NoSubscription => (409, "no_subscription", "The source declares no subscription"),
            Self::NoSubscriptionApi => (409, "no_subscription_api", "The source's profile has no subscription API"),
            Self::Exists => (409, "exists", "A subscription of that name exists"),
            Self::UnknownEventType => (400, "unknown_event_type", "Unknown event types"),
            Self::UnreachableAddress => (409, "unreachable_address", "The address does not answer"),
            Self::OtherSource => (409, "other_source", "The subscription belongs to another source"),
            Self::Vendor => (502, "vendor", "The vendor's API refused or failed"),
        }
    }

    pub const fn as_str(self) -> &'static str {
        self.parts().1
    }

    /// The answer, with what exactly is wrong.
    pub fn with(self, detail: &impl Serialize) -> Refused {
        let (status, code, _) = self.parts();
        self.answer(status, code, Some(detail))
    }

    pub fn answered(self) -> Refused {
        let (status, code, _) = self.parts();
        self.answer(status, code, None::<&str>)
    }

    pub(super) fn answer(self, status: u16, code: &str, detail: Option<impl Serialize>) -> Refused {
        // Details are structures of strings and numbers: serializing them cannot fail.
        let body = serde_json::to_string(&ErrorJson { error: self.parts().2, code, detail }).unwrap_or_default();
        Refused(Box::new(Answered { status, body, refusal: Some(self), etag: None }))
    }
}

/// What the management API passes on as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub status: u16,
    /// JSON text of the body: passed on, not looked into.
    pub body: String,
    /// Why nothing was done, where the answer is an error.
    pub refusal: Option<LifecycleRefusal>,
    /// Version of the subscription.
    pub etag: Option<String>,
}

/// An answer that is an error; boxed, because answers are large and errors rare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Box<Answered>);

#[derive(Serialize)]
struct ErrorJson<'a, D> {
    error: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<D>,
}

impl Answered {
    pub fn ok(body: String) -> Self {
        Self { status: 200, body, refusal: None, etag: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_calls_and_refusals_are_pinned() {
        let call = LifecycleCall::Reconcile { dry_run: true, actor: "cron".into() };
        assert_eq!(serde_json::to_string(&call).unwrap(), r#"{"reconcile":{"dry_run":true,"actor":"cron"}}"#);
        for refusal in [LifecycleRefusal::NoRegion, LifecycleRefusal::NoSubscriptionApi, LifecycleRefusal::Vendor] {
            assert_eq!(serde_json::to_string(&refusal).unwrap(), format!("\"{}\"", refusal.as_str()));
        }
        let Refused(answered) = LifecycleRefusal::MissingSecret.with(&"GENESYS_CLIENT_ID");
        let body = r#"{"error":"A Worker secret is not set","code":"missing_secret","detail":"GENESYS_CLIENT_ID"}"#;
        assert_eq!((answered.status, answered.body.as_str()), (503, body));
        let Refused(plain) = LifecycleRefusal::UnknownSource.answered();
        assert_eq!(plain.body, r#"{"error":"Unknown source","code":"unknown_source"}"#);
    }
}
