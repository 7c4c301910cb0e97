//! The calls on subscriptions, against the vendor and its faults.

use crate::calls::{TestClient, client};
use crate::clock::block_on;
use crate::reconcile::{OWNER, integration, options, webhook};
use crate::vendor::{FakeVendor, INTEGRATIONS, InjectedFault, WEBHOOKS};
use genesys_client::subscription::{ApiKind, Desired, Provisioning, SecretStatus, Subscriptions, calls::Created};
use genesys_client::{Error, Secret};
use serde_json::json;

fn create(vendor: &FakeVendor, client: &TestClient, desired: &Desired) -> Result<Created, Error> {
    let options = options();
    let created = block_on(Subscriptions::new(client, desired.api.api(), &options.marks).create(desired, &[]));
    assert!(
        vendor.named(WEBHOOKS, &desired.name).len() + vendor.named(INTEGRATIONS, &desired.name).len() <= 1,
        "created twice"
    );
    created
}

#[test]
fn a_create_carries_secret_and_mark() {
    let vendor = FakeVendor::new();
    let created = create(&vendor, &client(&vendor), &webhook("a")).unwrap();
    assert_eq!((created.status, created.subscription.owner.as_deref()), (Some(201), Some(OWNER)));
    assert!(created.correlation_id.is_some());
    let fields = &vendor.named(WEBHOOKS, "a")[0].fields;
    assert_eq!(fields["customProperties"]["webhook.signature.secret"], "secret-of-a-0123456789");
    assert_eq!(fields["customProperties"]["webhook.created.by"], OWNER);
    assert_eq!(
        fields["eventFilters"],
        json!([{"eventType": "call:answered", "filter": "true"}, {"eventType": "call:created", "filter": "true"}])
    );
}

#[test]
fn a_create_whose_answer_is_lost_is_found_by_name_and_not_repeated() {
    for fault in [
        InjectedFault::LostAfter,
        InjectedFault::ErrorAfter(500),
        InjectedFault::ErrorAfter(503),
        InjectedFault::LimitedAfter(1),
        InjectedFault::ErrorAfter(409),
    ] {
        let vendor = FakeVendor::new();
        vendor.state().faults.push_back(fault);
        let created = create(&vendor, &client(&vendor), &webhook("a")).unwrap();
        assert_eq!((created.status, vendor.state().creates.len()), (None, 1), "{fault:?}");
    }
}

#[test]
fn a_create_that_did_not_happen_is_repeated_after_looking() {
    for fault in [
        InjectedFault::LostBefore,
        InjectedFault::ErrorBefore(503),
        InjectedFault::LimitedBefore(2),
        InjectedFault::NotJson,
    ] {
        let vendor = FakeVendor::new();
        vendor.state().faults.push_back(fault);
        create(&vendor, &client(&vendor), &webhook("a")).unwrap();
        let log = vendor.state().log.clone();
        let calls: Vec<&str> =
            log.iter().filter(|line| line.contains("webhooks")).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(calls, ["POST", "GET", "POST"], "{fault:?}");
    }
}

#[test]
fn a_create_without_connection_is_repeated_without_looking() {
    let vendor = FakeVendor::new();
    vendor.state().faults.push_back(InjectedFault::ConnectionRefused);
    let client = client(&vendor);
    create(&vendor, &client, &webhook("a")).unwrap();
    assert_eq!(client.requests_sent(), 2);
}

#[test]
fn a_refused_create_is_not_repeated_and_its_error_hides_the_secret() {
    let vendor = FakeVendor::new();
    vendor.state().faults.push_back(InjectedFault::ErrorBefore(400));
    let client = client(&vendor);
    assert_eq!(create(&vendor, &client, &webhook("a")).unwrap_err().status(), Some(400));
    assert_eq!(client.requests_sent(), 1);
}

#[test]
fn a_conflict_without_anything_of_ours_is_the_vendors_answer() {
    let vendor = FakeVendor::new();
    vendor.state().faults.push_back(InjectedFault::ErrorBefore(409));
    assert_eq!(create(&vendor, &client(&vendor), &webhook("a")).unwrap_err().status(), Some(409));
}

#[test]
fn something_of_the_same_name_that_is_not_ours_is_not_taken_for_ours() {
    let vendor = FakeVendor::new();
    vendor.put(
        WEBHOOKS,
        json!({"name": "a", "address": webhook("a").address, "customProperties": {"webhook.created.by": "others"}}),
    );
    vendor.state().faults.push_back(InjectedFault::LostBefore);
    let desired = webhook("a");
    let options = options();
    let client = client(&vendor);
    let error =
        block_on(Subscriptions::new(&client, desired.api.api(), &options.marks).create(&desired, &[])).unwrap_err();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
}

#[test]
fn an_asynchronous_create_is_watched_until_it_is_complete() {
    let vendor = FakeVendor::new();
    vendor.state().lag_ms = 20_000;
    let created = create(&vendor, &client(&vendor), &integration("a")).unwrap();
    assert_eq!(created.subscription.provisioning, Provisioning::Ready);
    assert_eq!(created.status, Some(202));
}

#[test]
fn an_asynchronous_create_that_fails_says_why() {
    let vendor = FakeVendor::new();
    vendor.state().lag_ms = 20_000;
    vendor.state().failing_creates = 1;
    let created = create(&vendor, &client(&vendor), &integration("a")).unwrap();
    assert_eq!(created.subscription.provisioning, Provisioning::Failed("the platform refused".into()));
}

#[test]
fn a_create_that_takes_too_long_stays_pending() {
    let vendor = FakeVendor::new();
    vendor.state().lag_ms = 600_000;
    let client = client(&vendor);
    let created = create(&vendor, &client, &integration("a")).unwrap();
    assert_eq!(created.subscription.provisioning, Provisioning::Pending);
    assert!(client.requests_sent() < 30);
}

#[test]
fn where_lists_lag_an_unknown_outcome_stays_unknown() {
    let vendor = FakeVendor::new();
    vendor.state().lag_ms = 200_000;
    vendor.state().faults.push_back(InjectedFault::LostAfter);
    let error = create(&vendor, &client(&vendor), &integration("a")).unwrap_err();
    assert!(matches!(error, Error::Uncertain { .. }), "{error}");
    assert_eq!(vendor.state().creates.len(), 1);
}

#[test]
fn an_update_that_meets_a_newer_version_keeps_what_the_other_wrote() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    let created = create(&vendor, &client, &webhook("a")).unwrap();
    let mut desired = webhook("a");
    desired.enabled = false;
    // One fault for each request. The other writer overtakes the second one, which is the write.
    vendor.state().faults.extend([InjectedFault::None, InjectedFault::OtherWriter]);
    let options = options();
    let updated = block_on(Subscriptions::new(&client, desired.api.api(), &options.marks).update(
        &created.subscription.id,
        &desired,
        None,
    ))
    .unwrap();
    assert_eq!(updated.changes.iter().map(|change| change.field.as_str()).collect::<Vec<_>>(), ["enabled"]);
    let fields = &vendor.named(WEBHOOKS, "a")[0].fields;
    assert_eq!((&fields["enabled"], &fields["touchedBy"]), (&json!(false), &json!("another writer")));
}

#[test]
fn an_update_gives_up_after_three_newer_versions() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    let created = create(&vendor, &client, &webhook("a")).unwrap();
    let mut desired = webhook("a");
    desired.enabled = false;
    vendor.state().faults.extend([InjectedFault::None, InjectedFault::OtherWriter].repeat(9));
    let before = client.requests_sent();
    let options = options();
    let error = block_on(Subscriptions::new(&client, desired.api.api(), &options.marks).update(
        &created.subscription.id,
        &desired,
        None,
    ))
    .unwrap_err();
    assert_eq!((error.code(), client.requests_sent() - before), ("version_mismatch", 8));
}

#[test]
fn a_version_mismatch_as_409_is_met_the_same_way() {
    // 409 comes before the write, so the write has to be made again.
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    let created = create(&vendor, &client, &webhook("a")).unwrap();
    let mut desired = webhook("a");
    desired.enabled = false;
    vendor.state().faults.extend([InjectedFault::None, InjectedFault::ErrorBefore(409)]);
    let options = options();
    block_on(Subscriptions::new(&client, desired.api.api(), &options.marks).update(
        &created.subscription.id,
        &desired,
        None,
    ))
    .unwrap();
    assert_eq!(vendor.named(WEBHOOKS, "a")[0].fields["enabled"], false);
}

#[test]
fn a_callers_own_version_is_not_overruled() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    let created = create(&vendor, &client, &webhook("a")).unwrap();
    let mut desired = webhook("a");
    desired.enabled = false;
    let options = options();
    let subscriptions = Subscriptions::new(&client, desired.api.api(), &options.marks);
    let error = block_on(subscriptions.update(&created.subscription.id, &desired, Some("\"0\""))).unwrap_err();
    assert_eq!(error.status(), Some(412));
    let etag = block_on(subscriptions.get(&created.subscription.id)).unwrap().etag.unwrap();
    block_on(subscriptions.update(&created.subscription.id, &desired, Some(&etag))).unwrap();
}

#[test]
fn an_update_whose_answer_is_lost_is_seen_to_be_done() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    let created = create(&vendor, &client, &webhook("a")).unwrap();
    let mut desired = webhook("a");
    desired.enabled = false;
    vendor.state().faults.extend([InjectedFault::None, InjectedFault::LostAfter]);
    let options = options();
    let updated = block_on(Subscriptions::new(&client, desired.api.api(), &options.marks).update(
        &created.subscription.id,
        &desired,
        None,
    ))
    .unwrap();
    assert_eq!((updated.changes.len(), updated.status), (1, None));
}

#[test]
fn a_patch_holds_what_changed_and_keeps_others_headers() {
    let vendor = FakeVendor::new();
    let id = vendor.put(
        INTEGRATIONS,
        json!({
            "name": "a", "outboundNotificationWebhookUrl": "https://old.example.com/", "supportedContent": {"id": "x"},
            "webhookHeaders": {"authorization": "Bearer theirs", "x-gateway-owner": OWNER},
        }),
    );
    let desired = integration("a");
    let options = options();
    let client = client(&vendor);
    let subscriptions = Subscriptions::new(&client, ApiKind::OpenMessaging.api(), &options.marks);
    block_on(subscriptions.update(&id, &desired, None)).unwrap();
    let fields = vendor.named(INTEGRATIONS, "a")[0].fields.clone();
    assert_eq!(fields["outboundNotificationWebhookUrl"], desired.address.as_str());
    assert_eq!(fields["outboundNotificationWebhookSignatureSecretToken"], desired.secret.expose());
    assert_eq!(fields["supportedContent"], json!({"id": "x"}));
    assert_eq!(fields["webhookHeaders"].as_object().unwrap().len(), 3, "{fields:?}");
    assert_eq!(fields["webhookHeaders"]["authorization"], "Bearer theirs");
    // A second time there is nothing to do, because the secret is recognised by its fingerprint.
    assert!(block_on(subscriptions.update(&id, &desired, None)).unwrap().changes.is_empty());
    let mut rotated = desired.clone();
    rotated.secret = Secret::new("another-secret-0123456789");
    let updated = block_on(subscriptions.update(&id, &rotated, None)).unwrap();
    assert_eq!(serde_json::to_string(&updated.changes).unwrap(), r#"[{"field":"secret","to":"changed"}]"#);
}

#[test]
fn a_webhook_api_that_hides_secrets_is_handled_by_fingerprint() {
    let vendor = FakeVendor::new();
    vendor.state().hides_secrets = true;
    let client = client(&vendor);
    let created = create(&vendor, &client, &webhook("a")).unwrap();
    assert_eq!(created.subscription.secret, SecretStatus::Hidden);
    let options = options();
    let subscriptions = Subscriptions::new(&client, ApiKind::Webhooks.api(), &options.marks);
    assert!(block_on(subscriptions.update(&created.subscription.id, &webhook("a"), None)).unwrap().changes.is_empty());
}

#[test]
fn what_is_gone_counts_as_deleted() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    let options = options();
    let subscriptions = Subscriptions::new(&client, ApiKind::Webhooks.api(), &options.marks);
    assert_eq!(block_on(subscriptions.delete("id-9999")).unwrap().status, 404);
    assert_eq!(block_on(subscriptions.delete_owned("id-9999")).unwrap().status, 404);
    vendor.state().faults.push_back(InjectedFault::ErrorBefore(410));
    assert_eq!(block_on(subscriptions.delete("id-9999")).unwrap().status, 410);
}

#[test]
fn an_owned_delete_spares_what_is_not_owned() {
    let vendor = FakeVendor::new();
    let id = vendor.put(WEBHOOKS, json!({"name": "theirs", "address": "https://theirs.example.com"}));
    let client = client(&vendor);
    let options = options();
    let subscriptions = Subscriptions::new(&client, ApiKind::Webhooks.api(), &options.marks);
    assert!(matches!(block_on(subscriptions.delete_owned(&id)), Err(Error::NotOurs { .. })));
    assert_eq!(vendor.named(WEBHOOKS, "theirs").len(), 1);
    block_on(subscriptions.delete(&id)).unwrap();
    assert!(vendor.named(WEBHOOKS, "theirs").is_empty());
}

#[test]
fn an_id_cannot_lead_elsewhere() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    let options = options();
    let subscriptions = Subscriptions::new(&client, ApiKind::Webhooks.api(), &options.marks);
    for id in ["", "..", "../../users/me", "a/b", "a?b", "a#b", "a%2Fb", "ä"] {
        assert!(matches!(block_on(subscriptions.delete(id)), Err(Error::Invalid { .. })), "{id}");
    }
    assert!(vendor.state().log.is_empty());
}

#[test]
fn a_subscription_shows_no_secret() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    create(&vendor, &client, &webhook("a")).unwrap();
    let options = options();
    let all = block_on(Subscriptions::new(&client, ApiKind::Webhooks.api(), &options.marks).list()).unwrap();
    let json = serde_json::to_string(&all).unwrap();
    assert_eq!(
        json,
        format!(
            r#"[{{"id":"id-0001","name":"a","address":"https://hooks.example.com/webhook/a","enabled":true,"eventFilters":[{{"eventType":"call:answered","filter":"true"}},{{"eventType":"call:created","filter":"true"}}],"owner":"{OWNER}","secret":"set","provisioning":"ready"}}]"#
        )
    );
    assert!(!format!("{all:?}").contains("secret-of"));
}

#[test]
fn an_update_spares_what_another_owner_has_taken_over_since_the_plan() {
    let vendor = FakeVendor::new();
    let client = client(&vendor);
    let created = create(&vendor, &client, &webhook("a")).unwrap();
    let id = created.subscription.id;
    vendor.state().webhooks.get_mut(&id).unwrap().fields["customProperties"]["webhook.created.by"] = "another".into();
    let mut desired = webhook("a");
    desired.enabled = false;
    let options = options();
    let subscriptions = Subscriptions::new(&client, ApiKind::Webhooks.api(), &options.marks);
    assert!(matches!(block_on(subscriptions.update(&id, &desired, None)), Err(Error::NotOurs { .. })));
    assert_eq!(vendor.named(WEBHOOKS, "a")[0].fields["enabled"], true);
    desired.adopt = true;
    block_on(subscriptions.update(&id, &desired, None)).unwrap();
    assert_eq!(vendor.named(WEBHOOKS, "a")[0].fields["enabled"], false);
}
