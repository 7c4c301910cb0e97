//! Open Messaging integrations: asynchronous, eventually consistent, without versions, with a secret that nobody gets back.

use crate::support::{OPEN, SECRET, fields, integration, start, start_with};
use genesys_simulator::VendorApi;
use serde_json::json;

#[tokio::test]
async fn a_create_goes_from_initiated_to_completed() {
    let running = start_with(|config| {
        config.settings.create_completes_after_ms = 20;
        // A quick machine asks more often than the vendor allows.
        config.settings.rate_limit.requests = u64::MAX;
    })
    .await;
    let created = running.call("POST", OPEN, Some(integration("one", "https://hooks.example.com/"))).await;
    assert_eq!((created.status, &created.body["createStatus"]), (202, &json!("Initiated")));
    let path = format!("{OPEN}/{}", created.id());
    while running.call("GET", &path, None).await.body["createStatus"] == "Initiated" {}
    assert_eq!(running.call("GET", &path, None).await.body["createStatus"], "Completed");

    let running = start().await;
    let created = running.call("POST", OPEN, Some(integration("one", "https://hooks.example.com/"))).await;
    assert_eq!((created.status, &created.body["createStatus"]), (200, &json!("Completed")));
}

#[tokio::test]
async fn reads_lag_behind_creates_and_deletes() {
    let running = start_with(|config| config.settings.open_messaging_lag_ms = 600_000).await;
    let created = running.call("POST", OPEN, Some(integration("one", "https://hooks.example.com/"))).await;
    let path = format!("{OPEN}/{}", created.id());
    for method in ["GET", "DELETE"] {
        assert_eq!(running.call(method, &path, None).await.status, 404, "{method}: not visible yet");
    }
    assert_eq!(running.call("GET", OPEN, None).await.body["total"], 0);

    let mut settings = (*running.simulator.settings()).clone();
    settings.open_messaging_lag_ms = 0;
    running.simulator.set_settings(settings.clone()).unwrap();
    let second = running.call("POST", OPEN, Some(integration("two", "https://hooks.example.com/"))).await;
    settings.open_messaging_lag_ms = 600_000;
    running.simulator.set_settings(settings).unwrap();
    let path = format!("{OPEN}/{}", second.id());
    assert_eq!(running.call("DELETE", &path, None).await.status, 204);
    assert_eq!(running.call("GET", &path, None).await.status, 200, "still shown");
    assert_eq!(running.call("GET", OPEN, None).await.body["entities"][0]["id"], second.body["id"]);
    for method in ["PATCH", "DELETE"] {
        assert_eq!(running.call(method, &path, Some(json!({}))).await.status, 404, "{method}: gone for writers");
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_the_secret_stays_hidden() {
    let running = start().await;
    let created = running.call("POST", OPEN, Some(integration("one", "https://hooks.example.com/"))).await;
    let path = format!("{OPEN}/{}", created.id());
    let secret_before = running.simulator.subscriptions()[0].secret_sha256.clone();
    let changes =
        json!({ "name": "renamed", "outboundNotificationWebhookSignatureSecretToken": "another secret of it" });
    let patched = running.call("PATCH", &path, Some(changes)).await;
    assert_eq!((patched.status, &patched.body["name"]), (200, &json!("renamed")));
    assert_eq!(patched.body["webhookHeaders"], json!({ "X-Gateway-Owner": "tests" }));
    assert_eq!(patched.header("etag"), "");
    assert_ne!(running.simulator.subscriptions()[0].secret_sha256, secret_before);
    for answer in [created, patched, running.call("GET", OPEN, None).await] {
        let text = answer.body.to_string();
        assert!(!text.contains(SECRET) && !text.contains("another secret of it") && !text.contains("SecretToken"));
    }
}

#[tokio::test]
async fn bad_integrations_are_refused_by_field() {
    let running = start().await;
    let good = integration("one", "https://hooks.example.com/");
    for (field, value) in [
        ("name", json!("")),
        ("outboundNotificationWebhookUrl", json!("nowhere")),
        ("outboundNotificationWebhookSignatureSecretToken", json!("15 characters..")),
        ("webhookHeaders", json!(["a"])),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let answer = running.call("POST", OPEN, Some(body)).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body["message"].as_str().unwrap().contains(field), "{}", answer.body);
    }
}

#[tokio::test]
async fn the_list_leads_from_page_to_page() {
    let running = start().await;
    for number in 0..3 {
        let body = integration(&format!("i{number}"), "https://hooks.example.com/");
        running.simulator.create_subscription(VendorApi::OpenMessaging, fields(&body)).unwrap();
    }
    let mut path = Some(format!("{OPEN}?pageSize=2"));
    let mut names = Vec::new();
    while let Some(next) = path {
        let answer = running.call("GET", &next, None).await;
        assert_eq!((&answer.body["pageCount"], &answer.body["total"]), (&json!(2), &json!(3)));
        names.extend(answer.body["entities"].as_array().unwrap().iter().map(|entity| entity["name"].clone()));
        path = answer.body["nextUri"].as_str().map(str::to_owned);
    }
    assert_eq!(names, ["i0", "i1", "i2"]);
}
