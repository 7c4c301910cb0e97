//! Calls to the lifecycle object, which alone talks to the vendor's API.
//!
//! Promise: everything that needs the access token happens in one object, so the token never leaves it, its refresh is
//! shared by all callers, and one reconciliation runs at a time. Out of scope: the calls themselves.

use serde::{Deserialize, Serialize};

/// Name of the object: one organisation, one object.
pub const LIFECYCLE_OBJECT: &str = "lifecycle";

/// How long a run may take, in milliseconds: the cron fires every five minutes and must find it ended.
pub const RUN_MS: u64 = 240_000;

/// How many requests a run may send: 300 a minute (the vendor's limit for a token) for the time of a run, and far below
/// the 10,000 subrequests of an invocation (Workers, limits).
pub const RUN_REQUESTS: u32 = 1_200;

/// A report that is older than this says nothing of today's subscriptions, in milliseconds: six runs of the cron were
/// refused, cut off or never began.
pub const STALE_MS: u64 = 1_800_000;

/// What metrics call requests for access tokens.
pub const TOKEN_API: &str = "oauth";

/// What metrics call the API that `url` belongs to; `address` is one that is probed.
pub fn vendor_api(url: &str) -> &'static str {
    let apis = [
        ("/oauth/token", TOKEN_API),
        ("/api/v2/webhooks/webhooks", "webhooks"),
        ("/api/v2/conversations/messaging/integrations/open", "open_messaging"),
        ("/api/v2/eventtypes", "event_types"),
        ("/api/v2/notifications/availabletopics", "event_types"),
        ("/api/v2/ipranges", "ip_ranges"),
    ];
    apis.iter().find(|(path, _)| url.contains(path)).map_or("address", |(_, api)| api)
}

/// What metrics call the answer to a request: 429 apart from the other refusals, because it means something else.
/// `status`: `None` where there was no answer.
pub const fn status_class(status: Option<u16>) -> &'static str {
    match status {
        None => "none",
        Some(429) => "429",
        Some(status) => match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}

/// A call to the lifecycle object; each answers an [`Answered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleCall {
    /// Plans, and applies unless it is a dry run.
    Reconcile {
        /// Plan only.
        dry_run: bool,
        /// Who wants it.
        actor: String,
    },
    /// The last report.
    Last,
    /// The catalogue.
    EventTypes,
    /// The networks that webhooks come from.
    IpRanges,
    /// The subscriptions that the vendor has.
    List {
        /// Only those of this source's API that deliver to it.
        source: Option<String>,
    },
    /// One subscription.
    Get {
        /// Name of the source, which says which API.
        source: String,
        /// The vendor's identifier.
        id: String,
    },
    /// Creates what a source declares.
    Create {
        /// Name of the source.
        source: String,
    },
    /// Makes a subscription what its source declares.
    Update {
        /// Name of the source.
        source: String,
        /// The vendor's identifier.
        id: String,
        /// The version that the caller has seen; the current one where there is none.
        if_match: Option<String>,
    },
    /// Deletes a subscription that the gateway owns.
    Delete {
        /// Name of the source, which says which API.
        source: String,
        /// The vendor's identifier.
        id: String,
    },
    /// Asks an address whether it answers.
    Probe {
        /// The address.
        url: String,
    },
}

/// What the management API passes on as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// JSON text of the body: passed on, not looked into.
    pub body: String,
    /// The code, where the answer is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Version of the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

#[derive(Serialize)]
struct ErrorBody<'a, D> {
    error: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a D>,
}

impl Answered {
    /// 200 with a body.
    pub fn ok(body: String) -> Self {
        Self { status: 200, body, code: None, etag: None }
    }

    /// An error in the form of the management API.
    pub fn error(status: u16, error: &str, code: &str, detail: Option<&impl Serialize>) -> Self {
        // Details are structures of strings and numbers: serializing them cannot fail.
        let body = serde_json::to_string(&ErrorBody { error, code, detail }).unwrap_or_default();
        Self { status, body, code: Some(code.into()), etag: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_api_and_status() {
        for (url, api) in [
            ("https://login.mypurecloud.ie/oauth/token", "oauth"),
            ("https://api.mypurecloud.ie/api/v2/webhooks/webhooks/1?x=2", "webhooks"),
            ("https://api.mypurecloud.ie/api/v2/conversations/messaging/integrations/open/1", "open_messaging"),
            ("https://api.mypurecloud.ie/api/v2/notifications/availabletopics", "event_types"),
            ("https://api.mypurecloud.ie/api/v2/eventtypes?pageNumber=2", "event_types"),
            ("https://hooks.example.com/webhook/contact-center", "address"),
        ] {
            assert_eq!(vendor_api(url), api, "{url}");
        }
        let classes = [None, Some(204), Some(404), Some(429), Some(503), Some(999)].map(status_class);
        assert_eq!(classes, ["none", "2xx", "4xx", "429", "5xx", "5xx"]);
    }
}
