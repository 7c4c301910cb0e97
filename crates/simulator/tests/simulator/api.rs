//! Tokens, the catalogue, webhooks, permissions and limits.

use crate::support::{WEBHOOKS, fields, read, start, start_with, webhook};
use genesys_simulator::{OauthClient, VendorApi};
use serde_json::json;
use std::collections::HashSet;

#[tokio::test]
async fn the_token_endpoint_refuses_in_the_vendors_form() {
    let running = start_with(|config| config.settings.token_requests_per_minute = 5).await;
    for (id, secret, error) in [
        ("simulator-client", "wrong", "authentication failed"),
        ("nobody", "simulator-secret", "client not found: nobody"),
    ] {
        let answer = running.ask_for_token(id, secret).await;
        assert_eq!((answer.status, &answer.body["error"]), (400, &json!("invalid_client")));
        assert_eq!((&answer.body["error_description"], &answer.body["description"]), (&json!(error), &json!(error)));
    }
    let other_grant = running.request("POST", "/oauth/token").basic_auth("simulator-client", Some("simulator-secret"));
    let answer = read(other_grant.form(&[("grant_type", "password")]).send().await.unwrap()).await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("unsupported_grant_type")));
    let answer = read(running.request("POST", "/oauth/token").send().await.unwrap()).await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("invalid_client")));
    assert!(!answer.header("inin-correlation-id").is_empty());

    // Three of five were used: the start, the wrong secret, the wrong grant.
    for _ in 0..2 {
        let answer = running.ask_for_token("simulator-client", "simulator-secret").await;
        assert_eq!(
            (answer.status, &answer.body["token_type"], &answer.body["expires_in"]),
            (200, &json!("bearer"), &json!(86_400))
        );
    }
    let limited = running.ask_for_token("simulator-client", "simulator-secret").await;
    assert_eq!((limited.status, &limited.body["error"]), (400, &json!("invalid_request")));
    assert!(limited.body["error_description"].as_str().unwrap().starts_with("rate limit exceeded"));
    assert_eq!(running.simulator.oauth_report().issued, 3);
}

#[tokio::test]
async fn a_token_ends_by_expiry_and_by_revocation() {
    let running = start().await;
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 200);
    assert_eq!(running.simulator.oauth().revoke_all(), 1);
    let answer = running.call("GET", WEBHOOKS, None).await;
    assert_eq!((answer.status, &answer.body["code"]), (401, &json!("bad.credentials")));
    assert_eq!(answer.header("inin-correlation-id"), answer.body["contextId"]);

    let running = start_with(|config| config.settings.token_lifetime_s = 0).await;
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 401);
    let none = read(running.request("GET", WEBHOOKS).send().await.unwrap()).await;
    assert_eq!((none.status, &none.body["code"]), (401, &json!("authentication.required")));
}

#[tokio::test]
async fn the_catalogue_is_whole_over_its_pages() {
    let running = start_with(|config| config.extra_event_types = vec!["custom:thing".to_owned()]).await;
    let mut ids = HashSet::new();
    let (mut page, mut pages, mut total) = (1, 1, 0);
    while page <= pages {
        let answer = running.call("GET", &format!("/api/v2/eventtypes?pageSize=100&page={page}"), None).await;
        pages = answer.body["totalPageCount"].as_u64().unwrap();
        total = answer.body["total"].as_u64().unwrap();
        ids.extend(
            answer.body["entities"].as_array().unwrap().iter().map(|entity| entity["id"].as_str().unwrap().to_owned()),
        );
        page += 1;
    }
    assert_eq!((pages, ids.len() as u64), (2, total));
    assert!(["call:created", "call:answered", "custom:thing"].iter().all(|name| ids.contains(*name)));
    for query in ["pageSize=0", "pageSize=501", "pageSize=x", "page=0", "page=-1"] {
        assert_eq!(running.call("GET", &format!("/api/v2/eventtypes?{query}"), None).await.status, 400, "{query}");
    }
    let beyond = running.call("GET", "/api/v2/eventtypes?page=9999999", None).await;
    assert_eq!((beyond.status, &beyond.body["entities"]), (200, &json!([])));
    for path in ["/api/v2/notifications/availabletopics", "/api/v2/ipranges"] {
        assert!(!running.call("GET", path, None).await.body["entities"].as_array().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_webhook_lives_by_its_etag() {
    let running = start().await;
    let body = webhook("one", "https://hooks.example.com/webhook/a");
    let created = running.call("POST", WEBHOOKS, Some(body.clone())).await;
    assert_eq!((created.status, &created.body["customProperties"]), (201, &body["customProperties"]));
    let path = format!("{WEBHOOKS}/{}", created.id());
    let first = running.call("GET", &path, None).await;
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'));

    assert_eq!(running.call("PUT", &path, Some(body.clone())).await.status, 428);
    // What came back goes out again: read-only fields do no harm.
    let mut changed = first.body.clone();
    changed["enabled"] = json!(false);
    let updated = running.put(&path, &etag, &changed).await;
    assert_eq!((updated.status, &updated.body["enabled"], updated.id()), (200, &json!(false), created.id()));
    assert_ne!(updated.header("etag"), etag);

    let stale = running.put(&path, &etag, &changed).await;
    assert_eq!(stale.status, 412);
    assert!(stale.body["message"].as_str().unwrap().contains("does not match the current version"));
    assert_eq!(running.put(&path, "*", &changed).await.status, 200);

    assert_eq!(running.call("DELETE", &path, None).await.status, 204);
    for method in ["GET", "DELETE"] {
        assert_eq!(running.call(method, &path, None).await.status, 404);
    }
}

#[tokio::test]
async fn bad_webhooks_are_refused_by_field() {
    let running = start().await;
    let good = webhook("one", "https://hooks.example.com/");
    for (field, value, named) in [
        ("name", json!(" "), "name"),
        ("name", json!(null), "name"),
        ("address", json!("ftp://x/"), "address"),
        ("address", json!("/relative"), "address"),
        ("eventFilters", json!([]), "eventFilters"),
        ("eventFilters", json!([{ "filter": "true" }]), "eventType"),
        ("eventFilters", json!([{ "eventType": "call:created" }]), "filter"),
        ("eventFilters", json!([{ "eventType": "call:creatd", "filter": "true" }]), "call:creatd"),
        ("customProperties", json!({ "a": 1 }), "customProperties"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let answer = running.call("POST", WEBHOOKS, Some(body)).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body["message"].as_str().unwrap().contains(named), "{}", answer.body);
    }
    let not_json = running.request("POST", WEBHOOKS).bearer_auth(&running.token).body("{").send().await.unwrap();
    assert_eq!(not_json.status(), 400);
    assert!(running.names().is_empty());
}

#[tokio::test]
async fn lists_come_in_pages_in_the_order_of_creation() {
    let running = start().await;
    for number in 0..5 {
        let body = webhook(&format!("w{number}"), "https://hooks.example.com/");
        running.simulator.create_subscription(VendorApi::Webhooks, fields(&body)).unwrap();
    }
    let last = running.call("GET", &format!("{WEBHOOKS}?pageSize=2&page=3"), None).await;
    assert_eq!((&last.body["totalPageCount"], last.body["entities"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!(last.body["entities"][0]["name"], "w4");
}

#[tokio::test]
async fn a_missing_scope_is_403_and_named() {
    let running = start().await;
    let permissions = Some(vec!["webhook:read".to_owned()]);
    let limited = OauthClient { id: "limited".to_owned(), secret: "s".to_owned(), permissions };
    running.simulator.oauth().put_client(limited);
    let token = running.ask_for_token("limited", "s").await.body["access_token"].as_str().unwrap().to_owned();
    let running = crate::support::TestSimulator { token, ..running };
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 200);
    for (method, path, missing) in [
        ("POST", WEBHOOKS, "webhook:write"),
        ("GET", "/api/v2/eventtypes", "eventtype:read"),
        ("POST", crate::support::OPEN, "messaging:integration:add"),
    ] {
        let answer =
            running.call(method, path, (method == "POST").then(|| webhook("a", "https://a.example.com"))).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body["message"].as_str().unwrap().ends_with(missing), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_secret_can_be_made_unreadable() {
    let running = start_with(|config| config.settings.webhook_secret_readable = false).await;
    let created = running.call("POST", WEBHOOKS, Some(webhook("one", "https://hooks.example.com/"))).await;
    let shown = running.call("GET", &format!("{WEBHOOKS}/{}", created.id()), None).await;
    assert_eq!(shown.body["customProperties"]["webhook.signature.secret"], "********");
}

#[tokio::test]
async fn the_rate_limit_counts_down_and_says_when_to_come_back() {
    let running = start_with(|config| config.settings.rate_limit.requests = 3).await;
    for count in ["1", "2", "3"] {
        let answer = running.call("GET", WEBHOOKS, None).await;
        assert_eq!(
            (answer.status, answer.header("inin-ratelimit-count"), answer.header("inin-ratelimit-allowed")),
            (200, count, "3")
        );
    }
    let limited = running.call("GET", WEBHOOKS, None).await;
    assert_eq!((limited.status, &limited.body["code"]), (429, &json!("too.many.requests")));
    let retry_after_s: u64 = limited.header("retry-after").parse().unwrap();
    assert!(
        (1..=60).contains(&retry_after_s) && limited.header("inin-ratelimit-reset") == limited.header("retry-after")
    );

    let other_token = running.new_token().await;
    let running = crate::support::TestSimulator { token: other_token, ..running };
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 200, "the limit is by token");

    let mut settings = (*running.simulator.settings()).clone();
    (settings.rate_limit.requests, settings.rate_limit.http_date) = (1, true);
    running.simulator.set_settings(settings).unwrap();
    assert!(running.call("GET", WEBHOOKS, None).await.header("retry-after").ends_with(" GMT"));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_the_vendors_form() {
    let running = start().await;
    let unknown = running.call("GET", "/api/v2/nothing", None).await;
    assert_eq!((unknown.status, &unknown.body["code"]), (404, &json!("not.found")));
    let method = running.call("PATCH", WEBHOOKS, None).await;
    assert_eq!((method.status, &method.body["status"]), (405, &json!(405)));
}

#[tokio::test]
async fn browsers_may_call_only_when_told_so() {
    let running = start().await;
    assert_eq!(running.call("GET", WEBHOOKS, None).await.header("access-control-allow-origin"), "");
    let running = start_with(|config| config.settings.cors = true).await;
    let preflight = read(running.request("OPTIONS", WEBHOOKS).send().await.unwrap()).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, "*"));
    let answer = running.call("GET", "/api/v2/nothing", None).await;
    assert!(answer.header("access-control-expose-headers").contains("ININ-Correlation-Id"));
}
