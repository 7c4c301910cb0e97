//! The vendor-side objects: what is declared, what is refused before the vendor is asked, and how its requests are counted.
//!
//! Out of scope: the vendor's API and the reconciliation (`genesys_client`), carrying them out (the `LIFECYCLE` object).

mod calls;
mod checks;
mod declared;
mod last;

pub use calls::{Answered, LIFECYCLE_OBJECT, LifecycleCall, LifecycleRefusal, Refused};
pub use checks::{answers, has_known_events, is_free, is_of_source};
pub use declared::{all_desired, api_kind, desired, listed, remembered_refusal, vendor_draft};
pub use last::{last_runs_json, read_last_runs};

/// How long a run may take, in milliseconds: the cron fires every five minutes and must find it ended.
pub const RUN_MS: u64 = 240_000;

/// How many requests a run may send: 300 a minute (the vendor's limit for a token) for the time of a run, and far below
/// the 10,000 subrequests of an invocation (Workers, limits).
pub const RUN_REQUESTS: u32 = 1_200;

/// Age of a report that says nothing of today's subscriptions any more, in milliseconds: six runs of the cron were refused, cut
/// off or never began.
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
