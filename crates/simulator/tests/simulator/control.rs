//! The control API: everything that the library can do, over HTTP.

use crate::support::{OPEN, Reply, SECRET, TestSimulator, WEBHOOKS, read, start, webhook};
use serde_json::{Value, json};

async fn control(running: &TestSimulator, method: &str, path: &str, body: Value) -> Reply {
    let request = running.request(method, &format!("/control/{path}"));
    let request = if body.is_null() { request } else { request.json(&body) };
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_whole_run_by_control_calls_alone() {
    let running = start().await;
    let body = webhook("one", &running.sink_url("a"));
    let created = control(&running, "POST", "subscriptions", json!({ "api": "webhooks", "body": body })).await;
    assert_eq!(created.status, 200);
    let listed = control(&running, "GET", "subscriptions", Value::Null).await;
    assert_eq!((&listed.body[0]["id"], &listed.body[0]["delivers"]), (&created.body["id"], &json!(true)));
    assert!(!listed.body.to_string().contains(SECRET));

    assert_eq!(control(&running, "PUT", "sink/a", json!({ "secret": "s" })).await.status, 204);
    assert_eq!(control(&running, "POST", "sink/a/behaviour", json!({ "status": 503, "times": 1 })).await.status, 204);
    let burst =
        control(&running, "POST", "sender/burst", json!({ "count": 5, "counts": { "valid": 5, "unsigned": 2 } })).await;
    assert_eq!(
        (burst.status, &burst.body["total"]["deliveries"], &burst.body["total"]["inFlight"]),
        (200, &json!(12), &json!(0))
    );
    assert_eq!(
        (
            &burst.body["total"]["answers"]["503"],
            &burst.body["byKind"]["unsigned"]["accepted"].as_u64().map(|n| n >= 2)
        ),
        (&json!(1), &Some(true))
    );
    let waited = control(&running, "POST", "sink/a/wait", json!({ "accepted": 12 })).await;
    assert_eq!((waited.status, &waited.body["received"], &waited.body["unsigned"]), (200, &json!(13), &json!(13)));
    assert_eq!(control(&running, "POST", "sink/a/wait", json!({ "accepted": 13, "timeoutMs": 1 })).await.status, 408);

    let page = control(&running, "GET", "sender/deliveries?outcome=accepted&limit=10", Value::Null).await;
    assert_eq!((&page.body["total"], &page.body["nextOffset"]), (&json!(12), &json!(10)));
    let rest = control(&running, "GET", "sender/deliveries?outcome=accepted&limit=10&offset=10", Value::Null).await;
    assert_eq!((rest.body["deliveries"].as_array().unwrap().len(), &rest.body["nextOffset"]), (2, &Value::Null));
    let digest = page.body["deliveries"][0]["digest"].as_str().unwrap();
    let arrivals = control(&running, "GET", "sink/a/arrivals", Value::Null).await;
    let listed = arrivals.body["arrivals"].as_array().unwrap();
    assert!(listed.iter().any(|arrival| arrival["digest"] == digest && arrival["accepted"].as_u64() > Some(0)));

    let started = control(&running, "POST", "sender/start", json!({ "rate": 500 })).await;
    assert_eq!(started.body["rate"], 500.0);
    control(&running, "POST", "sink/a/wait", json!({ "accepted": 30 })).await;
    let stopped = control(&running, "POST", "sender/stop", Value::Null).await;
    assert_eq!((&stopped.body["rate"], &stopped.body["total"]["inFlight"]), (&Value::Null, &json!(0)));

    let state = control(&running, "GET", "state", Value::Null).await;
    assert_eq!((&state.body["subscriptions"], &state.body["sinks"]["a"]["badSignatures"]), (&json!(1), &json!(0)));
    assert_eq!(control(&running, "POST", "reset", Value::Null).await.status, 204);
    let state = control(&running, "GET", "state", Value::Null).await;
    assert_eq!((&state.body["subscriptions"], &state.body["sender"]["total"]["deliveries"]), (&json!(0), &json!(0)));
    assert_eq!((&state.body["sinks"]["a"]["received"], &state.body["oauth"]["tokenRequests"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn settings_are_merged_and_checked() {
    let running = start().await;
    let changed =
        control(&running, "PATCH", "settings", json!({ "policy": { "retries": 2 }, "mix": { "valid": 7 } })).await;
    assert_eq!(
        (changed.status, &changed.body["policy"]["retries"], &changed.body["mix"]["valid"]),
        (200, &json!(2), &json!(7))
    );
    assert_eq!((&changed.body["policy"]["timeoutMs"], &changed.body["mix"]["tampered"]), (&json!(10_000), &json!(2)));
    for wrong in [
        json!({ "polycy": {} }),
        json!({ "policy": { "retries": -1 } }),
        json!({ "sizes": [] }),
        json!({ "sizes": [{ "bytes": 100_000_000, "weight": 1 }] }),
        json!({ "rateLimit": { "windowMs": 0 } }),
        json!({ "mix": { "valid": 0, "tampered": 0, "unsigned": 0, "malformed_json": 0, "missing_events": 0, "duplicate": 0 } }),
    ] {
        let refused = control(&running, "PATCH", "settings", wrong.clone()).await;
        assert!(refused.status == 400 && refused.body["error"].is_string(), "{wrong}");
    }
    let kept = control(&running, "GET", "settings", Value::Null).await;
    assert_eq!(kept.body, changed.body);
    control(&running, "POST", "reset", Value::Null).await;
    assert_eq!(control(&running, "GET", "settings", Value::Null).await.body["policy"]["retries"], 5);
}

#[tokio::test]
async fn faults_are_added_listed_and_cleared() {
    let running = start().await;
    let added = control(
        &running,
        "POST",
        "faults",
        json!({ "kind": "rate_limited", "times": 2, "applied": true, "method": "POST" }),
    )
    .await;
    assert_eq!((added.status, &added.body["id"]), (200, &json!(1)));
    assert_eq!(running.call("POST", WEBHOOKS, Some(webhook("w", "https://a.example.com"))).await.status, 429);
    let listed = control(&running, "GET", "faults", Value::Null).await;
    assert_eq!((&listed.body[0]["appliedCount"], &listed.body[0]["fault"]["times"]), (&json!(1), &json!(1)));
    for wrong in [
        json!({ "kind": "nonsense" }),
        json!({}),
        json!({ "kind": "error", "status": 200 }),
        json!({ "kind": "cut", "x": 1 }),
    ] {
        assert_eq!(control(&running, "POST", "faults", wrong).await.status, 400);
    }
    control(&running, "POST", "faults", json!({ "kind": "cut" })).await;
    assert_eq!(control(&running, "DELETE", "faults", Value::Null).await.status, 204);
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_clients_can_be_changed() {
    let running = start().await;
    running.call("GET", &format!("{OPEN}/nothing"), None).await;
    let log = control(&running, "GET", "requests", Value::Null).await;
    assert_eq!(log.body["byRoute"][format!("GET {OPEN}/{{id}}")]["404"], 1);
    assert_eq!(log.body["latest"][1]["target"], format!("{OPEN}/nothing"));
    let client = json!({ "id": "simulator-client", "secret": "new", "permissions": [] });
    assert_eq!(control(&running, "PUT", "oauth/clients", client).await.status, 204);
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 403);
    assert_eq!(running.ask_for_token("simulator-client", "simulator-secret").await.status, 400);
    assert_eq!(control(&running, "POST", "oauth/revoke", Value::Null).await.body["revoked"], 1);
    assert_eq!(running.call("GET", WEBHOOKS, None).await.status, 401);
}

#[tokio::test]
async fn nobody_to_send_to_is_a_conflict_and_garbage_a_bad_request() {
    let running = start().await;
    assert_eq!(control(&running, "POST", "sender/burst", json!({ "count": 1 })).await.status, 409);
    for (path, body) in [
        ("sender/start", json!({ "rate": 0 })),
        ("sender/start", json!({})),
        ("sender/burst", json!({ "counts": { "nonsense": 1 } })),
        ("sender/burst", json!({ "counts": { "valid": 1 }, "rate": -1 })),
        ("subscriptions", json!({ "api": "webhooks", "body": {} })),
        ("sink/a/behaviour", json!({ "status": 42 })),
    ] {
        let refused = control(&running, "POST", path, body).await;
        assert!(refused.status == 400 && refused.body["error"].is_string(), "{path}");
    }
}
