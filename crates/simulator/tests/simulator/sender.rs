//! The sender: what it sends, to whom, how often, and that its books are true.

use crate::support::{SECRET, TestSimulator, WEBHOOKS, eventually, fields, integration, start, start_with, webhook};
use base64::Engine as _;
use genesys_simulator::{Behaviour, Burst, DeliveryKind, SendOutcome, SenderError, SenderFigures, VendorApi};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use std::collections::{BTreeMap, HashMap};

fn mac(body: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn of(kind: DeliveryKind, count: u64) -> Burst {
    Burst { counts: BTreeMap::from([(kind, count)]), ..Burst::default() }
}

fn assert_balanced(figures: &SenderFigures) {
    let over = figures.accepted + figures.refused + figures.exhausted + figures.unreachable + figures.aborted;
    assert_eq!(figures.deliveries, over + figures.in_flight);
    let answered: u64 = figures.answers.values().sum();
    assert_eq!(figures.attempts, answered + figures.timeouts + figures.connection_errors);
    assert_eq!(figures.latency_ms.count, answered);
}

#[tokio::test]
async fn genuine_deliveries_carry_the_signature_of_their_profile() {
    let running = start().await;
    running.subscribe("webhooks");
    let sent = running.simulator.sender().burst(of(DeliveryKind::Valid, 10)).await.unwrap();
    assert_eq!((sent.report.total.accepted, sent.last_number - sent.first_number), (10, 9));
    for received in running.simulator.sink("webhooks").unwrap().latest() {
        assert_eq!(received.headers["x-genesys-signature"], hex(&mac(&received.body)));
        let value: Value = serde_json::from_str(&received.body).unwrap();
        assert!(
            value["events"]
                .as_array()
                .unwrap()
                .iter()
                .all(|event| { ["call:created", "call:answered"].contains(&event["eventType"].as_str().unwrap()) })
        );
    }

    let running = start().await;
    let body = integration("open", &running.sink_url("open"));
    let id = running.simulator.create_subscription(VendorApi::OpenMessaging, fields(&body)).unwrap();
    running.simulator.sender().burst(of(DeliveryKind::Valid, 10)).await.unwrap();
    for received in running.simulator.sink("open").unwrap().latest() {
        let base64 = base64::engine::general_purpose::STANDARD.encode(mac(&received.body));
        assert_eq!(received.headers["x-hub-signature-256"], format!("sha256={base64}"));
        assert_eq!(received.headers["x-gateway-owner"], "tests");
        assert_eq!(serde_json::from_str::<Value>(&received.body).unwrap()["channel"]["id"], *id);
    }
}

#[tokio::test]
async fn a_burst_sends_exactly_what_it_was_told() {
    let running = start().await;
    running.subscribe("a");
    let counts = BTreeMap::from([
        (DeliveryKind::Valid, 40),
        (DeliveryKind::Tampered, 5),
        (DeliveryKind::Unsigned, 5),
        (DeliveryKind::MalformedJson, 5),
        (DeliveryKind::MissingEvents, 5),
        (DeliveryKind::Duplicate, 20),
    ]);
    let sent = running.simulator.sender().burst(Burst { counts: counts.clone(), ..Burst::default() }).await.unwrap();
    let found: BTreeMap<DeliveryKind, u64> =
        sent.report.by_kind.iter().map(|(kind, figures)| (*kind, figures.deliveries)).collect();
    assert_eq!((found, sent.report.substituted), (counts, 0));
    sent.report.by_kind.values().for_each(assert_balanced);
    assert_balanced(&running.simulator.sender().state().report.total);

    let sink = running.simulator.sink("a").unwrap();
    assert_eq!((sink.report().received, sink.report().distinct_digests, sink.report().without_id), (80, 60, 80));
    let records = running.simulator.sender().records(|record| Some(record.clone()));
    let mut valid = HashMap::new();
    for record in records.iter().filter(|record| record.kind == DeliveryKind::Valid) {
        valid.insert(record.digest, record.bytes);
    }
    assert!(
        records
            .iter()
            .filter(|one| one.kind == DeliveryKind::Duplicate)
            .all(|one| valid.get(&one.digest) == Some(&one.bytes))
    );
    assert!(records.iter().all(|record| sink.arrival(&record.digest).is_some()));
    assert_eq!((running.accepted_digests().len(), running.missing("a")), (60, 0));
}

#[tokio::test]
async fn the_policy_repeats_timeouts_429_and_5xx_and_nothing_else() {
    let status = |status| Behaviour { status, ..Behaviour::default() };
    for (behaviour, attempts, outcome) in [
        (Behaviour::fail(503, 2), 3, SendOutcome::Accepted),
        (Behaviour::fail(429, 5), 6, SendOutcome::Accepted),
        (Behaviour { delay_ms: 600_000, ..Behaviour::fail(200, 2) }, 3, SendOutcome::Accepted),
        (status(500), 6, SendOutcome::Exhausted),
        (status(400), 1, SendOutcome::Refused),
        (status(401), 1, SendOutcome::Refused),
        (status(410), 1, SendOutcome::Refused),
        (status(302), 1, SendOutcome::Refused),
        (Behaviour { cut: true, ..status(200) }, 1, SendOutcome::Unreachable),
    ] {
        let running = start_with(|config| config.settings.policy.timeout_ms = 1_000).await;
        running.subscribe("a");
        running.simulator.sink("a").unwrap().behave(behaviour.clone()).unwrap();
        running.simulator.sender().send_exactly_valid(1).await;
        let record = running.simulator.sender().records(|record| Some(record.clone())).remove(0);
        assert_eq!((record.attempts, record.outcome), (attempts, outcome), "{behaviour:?}");
        assert_balanced(&running.simulator.sender().state().report.total);
    }
}

#[tokio::test]
async fn only_subscriptions_that_deliver_at_loopback_are_sent_to() {
    let running = start().await;
    let mut disabled = webhook("disabled", &running.sink_url("disabled"));
    disabled["enabled"] = false.into();
    for body in [webhook("far", "https://hooks.example.com/"), webhook("near", "http://10.0.0.1/"), disabled] {
        running.simulator.create_subscription(VendorApi::Webhooks, fields(&body)).unwrap();
    }
    let sender = running.simulator.sender();
    assert_eq!(sender.send_exactly(1).await.unwrap_err(), SenderError::NoSubscription);
    running.subscribe("a");
    running.subscribe("b");
    sender.send_exactly_valid(10).await;
    let received = |name| running.simulator.sink(name).unwrap().report().received;
    assert_eq!((received("a"), received("b"), received("disabled")), (5, 5, 0), "they take turns");
}

#[tokio::test]
async fn the_same_seed_sends_the_same() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let running = start_with(|config| config.seed = 42).await;
        running.subscribe("a");
        running.simulator.sender().send_exactly(200).await.unwrap();
        let mut sent = running.simulator.sender().records(|record| {
            // Which earlier delivery a duplicate repeats depends on which had been answered.
            let size = (record.kind != DeliveryKind::Duplicate).then_some((record.bytes, record.events));
            Some((record.number, record.kind, size))
        });
        sent.sort_by_key(|(number, ..)| *number);
        runs.push(sent);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].iter().any(|(_, kind, _)| *kind != DeliveryKind::Valid));
}

#[tokio::test]
async fn stopping_drains_what_is_in_flight_and_its_retries() {
    let running = start_with(|config| config.settings.mix = BTreeMap::from([(DeliveryKind::Valid, 1)])).await;
    let sender = running.simulator.sender();
    sender.start(2_000.0).unwrap();
    running.subscribe("a");
    let sink = running.simulator.sink("a").unwrap();
    sink.behave(Behaviour { probability: 0.2, ..Behaviour::fail(503, 1_000_000) }).unwrap();
    sink.wait_for_accepted(100).await;
    let state = sender.stop().await;
    let total = &state.report.total;
    assert_eq!((state.rate, total.in_flight), (None, 0));
    assert_balanced(total);
    assert!(total.answers[&503] > 0);
    assert_eq!((sink.report().received, sink.report().accepted), (total.attempts, total.accepted));
    assert_eq!(sender.state().report.total.deliveries, total.deliveries, "nothing is sent any more");
    assert_eq!(running.missing("a"), 0);
}

#[tokio::test]
async fn at_most_so_many_wait_for_an_answer() {
    let running = start_with(|config| config.settings.max_in_flight = 3).await;
    running.subscribe("a");
    let sink = running.simulator.sink("a").unwrap();
    sink.behave(Behaviour { delay_ms: 600_000, ..Behaviour::default() }).unwrap();
    let sender = running.simulator.sender().clone();
    let burst = tokio::spawn(async move { sender.send_exactly(10).await });
    eventually(|| running.simulator.sender().state().report.total.deliveries == 3).await;
    running.simulator.reset();
    assert_eq!(burst.await.unwrap().unwrap_err(), SenderError::Aborted);
    assert_eq!(running.simulator.sender().state().report.total.deliveries, 0);
}

#[tokio::test]
async fn a_retry_repeats_the_old_signature_although_the_secret_has_changed() {
    let running = start_with(|config| config.settings.policy.retry_pause_ms = 300).await;
    let path = format!("{WEBHOOKS}/{}", running.subscribe("a"));
    let sink = running.simulator.sink("a").unwrap();
    sink.behave(Behaviour::fail(503, 1)).unwrap();
    let sender = running.simulator.sender().clone();
    let sending = tokio::spawn(async move { sender.send_exactly_valid(1).await });
    eventually(|| sink.report().received == 1).await;
    let mut rotated = webhook("a", &running.sink_url("a"));
    rotated["customProperties"]["webhook.signature.secret"] = "rotated".into();
    assert_eq!(running.put(&path, "*", &rotated).await.status, 200);
    sending.await.unwrap();
    running.simulator.sender().send_exactly_valid(1).await;
    let signed_as_before: Vec<bool> = sink
        .latest()
        .iter()
        .map(|received| received.headers["x-genesys-signature"] == hex(&mac(&received.body)))
        .collect();
    assert_eq!(signed_as_before, [true, true, false]);
}

#[tokio::test]
async fn figures_go_on_when_there_is_no_room_for_records() {
    let running = start_with(|config| config.max_records = 5).await;
    running.subscribe("a");
    running.simulator.sender().send_exactly_valid(8).await;
    let state = running.simulator.sender().state();
    assert_eq!((state.report.total.accepted, state.records_dropped), (8, 3));
}

/// What these tests mean most often.
trait SendValid {
    async fn send_exactly_valid(&self, count: u64);
}

impl SendValid for genesys_simulator::Sender {
    async fn send_exactly_valid(&self, count: u64) {
        self.burst(of(DeliveryKind::Valid, count)).await.unwrap();
    }
}

#[tokio::test]
async fn impossible_wishes_are_refused() {
    let running: TestSimulator = start().await;
    let sender = running.simulator.sender();
    for rate in [0.0, 1e-300, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(matches!(sender.start(rate), Err(SenderError::Invalid(_))), "{rate}");
    }
    assert!(matches!(sender.send_exactly(0).await, Err(SenderError::Invalid(_))));
    assert!(matches!(sender.send_exactly(u64::MAX).await, Err(SenderError::Invalid(_))));
}
