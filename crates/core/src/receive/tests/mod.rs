//! What becomes of requests, in the order in which the driver calls.

mod histories;

use super::answer::{self, ReceiveAnswer};
use super::rejection::ReceiveFailure;
use super::testing::Fixture;
use super::*;
use crate::messages::keys::payload_key;
use crate::messages::{BodyRef, DeadLetter};
use crate::messages::{Message, decode};
use genesys_webhook::encoding::{Encoding, Tag, hex};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const NOW_MS: u64 = 1_764_000_000_000;
const BODY: &[u8] = br#"{"events":[{"id":"1"}]}"#;
const READ: ReadBody<'_> = ReadBody { bytes: BODY, tags: &[], sha256: None };

fn head(more: &[(&str, &str)]) -> String {
    more.iter().fold("POST https://gateway.example/webhook/hooks".into(), |head, (name, value)| {
        format!("{head}\n{name}\n{value}")
    })
}

fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(Fixture::SECRET.as_bytes()).unwrap();
    mac.update(body);
    Encoding::Hex.encode(&mac.finalize().into_bytes().into())
}

fn signed(body: &[u8], more: &[(&str, &str)]) -> String {
    let signature = signature(body);
    head(&[&[("x-genesys-signature", signature.as_str())], more].concat())
}

struct Driver {
    receiver: Receiver,
    fixture: Fixture,
    now_ms: u64,
}

impl Driver {
    /// `more`: further keys of the source.
    fn new(more: &str) -> Self {
        let source = format!(r#"{{"name":"hooks","profile":"webhooks","secrets":["S"]{more}}}"#);
        Self { receiver: Receiver::default(), fixture: Fixture::new(&source), now_ms: NOW_MS }
    }

    fn open(&mut self, head: String, declared_bytes: Option<u64>) -> NextStep {
        self.receiver.open(Some((7, self.fixture.policy())), head, declared_bytes, [1; 10], self.now_ms)
    }

    fn arrive(&mut self, id: u32, body: &[u8]) -> NextStep {
        self.receiver.arrived(id, self.fixture.policy(), ReadBody { bytes: body, ..READ })
    }

    /// Opens a request and brings its body.
    fn post(&mut self, head: String, body: &[u8]) -> NextStep {
        let NextStep::Read { id, limit_bytes } = self.open(head, Some(body.len() as u64)) else { panic!("not read") };
        assert_eq!(limit_bytes, self.fixture.policy().source.max_body_bytes);
        self.arrive(id, body)
    }

    fn sent(&mut self, next: NextStep) -> (OutgoingMessage, SettledRequest) {
        let NextStep::Send(outgoing) = next else { panic!("{next:?}") };
        let settled = self.receiver.sent(outgoing.id, self.now_ms + 5).expect("known");
        assert_eq!((settled.source, settled.latency_ms), (Some(7), 5));
        assert_eq!(self.receiver.sent(outgoing.id, self.now_ms), None, "settled once");
        (outgoing, settled)
    }

    /// The letter of a message, and whether it is counted as kept.
    fn kept(&mut self, next: NextStep, body: &[u8]) -> DeadLetter {
        let (outgoing, settled) = self.sent(next);
        assert_eq!(outgoing.queue, Queue::DeadLetters);
        let inline: &[u8] = if outgoing.body == BodyPlace::Message { body } else { b"" };
        let message = [outgoing.header.as_bytes(), inline].concat();
        let Ok(Message::DeadLetter(letter, _)) = decode(&message) else { panic!("no letter") };
        assert!(
            matches!(settled.outcome, ReceiveOutcome::Refused { code, is_over_budget: false } if code == letter.reason)
        );
        letter
    }
}

/// Status and code of an answer that ends a request, with what is counted.
fn answered(next: NextStep) -> (u16, String, Option<ReceiveOutcome>) {
    let NextStep::Answer { answer, settled } = next else { panic!("{next:?}") };
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status, body["code"].as_str().unwrap_or_default().into(), settled.map(|settled| settled.outcome))
}

#[test]
fn an_accepted_delivery_is_a_message_and_is_counted_when_it_was_sent() {
    let mut driver = Driver::new("");
    let next = driver.post(signed(BODY, &[("content-type", "application/json")]), BODY);
    let (outgoing, settled) = driver.sent(next);
    assert_eq!((outgoing.queue, &outgoing.body), (Queue::Deliveries, &BodyPlace::Message));
    let message = [outgoing.header.as_bytes(), BODY].concat();
    let Ok(Message::Delivery(delivery, body)) = decode(&message) else { panic!("no delivery") };
    assert_eq!((delivery.source.as_str(), delivery.received_at_ms, body), ("hooks", NOW_MS, BODY));
    assert_eq!(outgoing.answer, ReceiveAnswer::accepted(&delivery.id, 1));
    assert_eq!(settled.outcome, ReceiveOutcome::Accepted { event_count: 1, secret_label: "current".into() });
    assert_eq!(settled.size_bytes, BODY.len() as u64);
    assert_eq!(driver.receiver.held_bytes(), 0);
}

#[test]
fn a_large_body_is_stored_under_the_key_that_its_message_names() {
    let mut driver = Driver::new("");
    for size in [STORED_FROM_BYTES - 1, STORED_FROM_BYTES] {
        let body = [br#"{"events":[""#, "x".repeat(size - 14).as_bytes(), br#""]}"#].concat();
        let tags = [signature(&body)].map(|hex| -> Tag { Encoding::Hex.decode(&hex).unwrap() });
        let NextStep::Read { id, .. } = driver.open(signed(&body, &[]), None) else { panic!("not read") };
        let sha256 = Some([9; 32]);
        let next = driver.receiver.arrived(id, driver.fixture.policy(), ReadBody { bytes: &body, tags: &tags, sha256 });
        let (outgoing, _) = driver.sent(next);
        if body.len() < STORED_FROM_BYTES {
            assert_eq!(outgoing.body, BodyPlace::Message);
            continue;
        }
        let BodyPlace::Bucket(expected) = outgoing.body else { panic!("not stored") };
        let Ok(Message::Delivery(delivery, b"")) = decode(outgoing.header.as_bytes()) else { panic!("no delivery") };
        assert_eq!(expected, payload_key("hooks", &delivery.id, NOW_MS));
        let size_bytes = body.len() as u64;
        assert_eq!(delivery.body, BodyRef::Stored { key: expected, size_bytes, sha256: hex(&[9; 32]) });
    }
}

#[test]
fn tags_that_were_computed_elsewhere_decide_as_those_computed_here() {
    let mut driver = Driver::new("");
    for (tag, is_accepted) in [(signature(BODY), true), (signature(b"other"), false)] {
        let NextStep::Read { id, .. } = driver.open(signed(BODY, &[]), None) else { panic!("not read") };
        let plan = driver.receiver.hash_plan(id, driver.fixture.policy()).expect("signed");
        assert_eq!((plan.secrets().len(), plan.before_body(), plan.after_body()), (1, &b""[..], &b""[..]));
        let tags: [Tag; 1] = [Encoding::Hex.decode(&tag).unwrap()];
        let body = ReadBody { tags: &tags, ..READ };
        let NextStep::Send(outgoing) = driver.receiver.arrived(id, driver.fixture.policy(), body) else {
            panic!("not sent")
        };
        assert_eq!(outgoing.queue == Queue::Deliveries, is_accepted);
    }
    let NextStep::Read { id, .. } = driver.open(head(&[]), None) else { panic!("not read") };
    assert!(driver.receiver.hash_plan(id, driver.fixture.policy()).is_none(), "nothing is hashed without a signature");
}

#[test]
fn what_is_refused_is_kept_with_its_reason_and_says_it() {
    let mut driver = Driver::new("");
    for (head, body, status, code, is_verified) in [
        (head(&[]), BODY, 401, "missing_signature", false),
        (signed(b"other", &[]), BODY, 401, "signature_mismatch", false),
        (signed(b"[", &[]), b"[", 400, "invalid_json", true),
        (signed(b"{}", &[]), b"{}", 400, "invalid_envelope", true),
    ] {
        let next = driver.post(head, body);
        let NextStep::Send(outgoing) = &next else { panic!("{code}: {next:?}") };
        let answer = outgoing.answer.clone();
        assert_eq!((answer.status, answer.body.contains(code)), (status, true), "{code}");
        assert_eq!(answer.headers.iter().any(|(name, _)| *name == "www-authenticate"), status == 401);
        assert!(answer.headers.iter().all(|(name, _)| *name != "retry-after"));
        let letter = driver.kept(next, body);
        assert_eq!((letter.reason.as_str(), letter.verified), (code, is_verified));
        assert_eq!(letter.secret_label.as_deref(), is_verified.then_some("current"));
        assert_eq!(letter.diagnosis.is_some(), !is_verified, "{code}");
    }
}

#[test]
fn a_body_over_the_limit_is_told_and_not_held() {
    let mut driver = Driver::new(r#","max_body_bytes":10"#);
    let next = driver.open(signed(BODY, &[]), Some(11));
    let NextStep::Send(OutgoingMessage { id, .. }) = next else { panic!("{next:?}") };
    assert_eq!(
        driver.receiver.sent(id, NOW_MS).map(|settled| settled.size_bytes),
        Some(0),
        "nothing of it was received"
    );
    let next = driver.open(signed(BODY, &[]), Some(11));
    let letter = driver.kept(next, b"");
    assert_eq!((letter.reason.as_str(), &letter.body), ("body_too_large", &BodyRef::Omitted { size_bytes: 11 }));
    // Without a length it shows as it arrives.
    let NextStep::Read { id, limit_bytes: 10 } = driver.open(signed(BODY, &[]), None) else { panic!("not read") };
    assert_eq!(driver.receiver.grow(id, 10), Growth::Fits);
    assert_eq!(driver.receiver.grow(id, 12), Growth::TooLarge);
    let next = driver.receiver.overflowed(id, driver.fixture.policy(), 12);
    assert_eq!(driver.receiver.held_bytes(), 0);
    assert_eq!(driver.kept(next, b"").body, BodyRef::Omitted { size_bytes: 12 });
    // One that was read at once.
    let NextStep::Read { id, .. } = driver.open(signed(BODY, &[]), None) else { panic!("not read") };
    let next = driver.arrive(id, BODY);
    assert_eq!(driver.kept(next, b"").reason, "body_too_large");
}

#[test]
fn genuine_beats_an_address() {
    let mut driver = Driver::new(r#","allow_networks":["203.0.113.0/24"]"#);
    let inside = [("cf-connecting-ip", "203.0.113.7")];
    let outside = [("cf-connecting-ip", "198.51.100.1")];
    let next = driver.post(signed(BODY, &inside), BODY);
    assert!(matches!(driver.sent(next).1.outcome, ReceiveOutcome::Accepted { .. }));
    for addresses in [&outside[..], &[]] {
        let next = driver.post(signed(BODY, addresses), BODY);
        let NextStep::Send(outgoing) = &next else { panic!("not kept") };
        assert_eq!(outgoing.answer.status, 403);
        assert!(outgoing.answer.headers.is_empty(), "403 is final");
        let letter = driver.kept(next, BODY);
        assert_eq!((letter.reason.as_str(), letter.verified), ("address_not_allowed", true));
        // What proves nothing is not kept.
        let refused = ReceiveOutcome::Refused { code: "address_not_allowed", is_over_budget: false };
        let next = driver.post(head(addresses), BODY);
        assert_eq!(answered(next), (403, "address_not_allowed".into(), Some(refused)));
    }
}

#[test]
fn only_what_cannot_be_verified_is_rate_limited_by_source_and_address() {
    let mut driver = Driver::new(r#","rate_limit":"LIMIT""#);
    let address = [("cf-connecting-ip", "198.51.100.1")];
    let next = driver.post(signed(BODY, &address), BODY);
    assert!(matches!(driver.sent(next).1.outcome, ReceiveOutcome::Accepted { .. }), "the limiter is not asked");
    for is_within in [false, true] {
        let next = driver.post(head(&address), BODY);
        let NextStep::AskRateLimit { id, binding, key } = next else { panic!("not asked") };
        assert_eq!((binding.as_str(), key.as_str()), ("LIMIT", "hooks|198.51.100.1"));
        let next = driver.receiver.rate_limited(id, driver.fixture.policy(), Some(READ), is_within);
        if is_within {
            assert_eq!(driver.kept(next, BODY).reason, "missing_signature");
        } else {
            let NextStep::Answer { answer, .. } = &next else { panic!("{next:?}") };
            assert_eq!(answer.headers, [("retry-after", answer::RETRY_AFTER_S.to_owned())]);
            let limited = ReceiveOutcome::Refused { code: "rate_limited", is_over_budget: false };
            assert_eq!(answered(next), (429, "rate_limited".into(), Some(limited)));
        }
    }
    assert_eq!(driver.receiver.held_bytes(), 0);
}

#[test]
fn forgeries_are_kept_within_a_budget_and_answered_alike_beyond_it() {
    let mut driver = Driver::new(r#","quarantine":{"letters_per_minute":4}"#);
    let forged = || head(&[("cf-connecting-ip", "198.51.100.1"), ("x-genesys-signature", "00")]);
    let next = driver.post(forged(), BODY);
    let reason = driver.kept(next, BODY).reason;
    let next = driver.post(forged(), BODY);
    let (status, code, outcome) = answered(next);
    assert_eq!((status, code.as_str()), (401, reason.as_str()));
    assert!(matches!(outcome, Some(ReceiveOutcome::Refused { is_over_budget: true, .. })));
    // Another sender's mistake is still kept, and so is everything that is genuine.
    let next = driver.post(head(&[("cf-connecting-ip", "203.0.113.7")]), BODY);
    driver.kept(next, BODY);
    for _ in 0..100 {
        let next = driver.post(signed(b"{}", &[("cf-connecting-ip", "198.51.100.1")]), b"{}");
        driver.kept(next, b"{}");
    }
}

#[test]
fn requests_to_no_source_are_counted_and_logged_a_few_times() {
    let mut receiver = Receiver::default();
    let mut logged = 0;
    for n in 0..100u64 {
        let head = "POST https://g/webhook/nobody?token=x\ncf-connecting-ip\n192.0.2.1".into();
        let next = receiver.open(None, head, Some(n), [0; 10], NOW_MS + n);
        let NextStep::Answer { answer, settled: Some(settled) } = next else { panic!("not counted") };
        assert_eq!((answer.status, settled.source, settled.size_bytes), (404, None, 0));
        assert!(matches!(settled.outcome, ReceiveOutcome::Refused { is_over_budget: false, .. }));
        if let Some(UnknownRequest { path, address }) = settled.unknown {
            assert_eq!((path.as_str(), address.as_str()), ("/webhook/nobody", "192.0.2.1"));
            logged += 1;
        }
    }
    assert_eq!(logged, UNKNOWN_LOGGED_PER_MINUTE);
    let later = receiver.open(None, "POST https://g/webhook/".into(), None, [0; 10], NOW_MS + 60_000);
    assert!(matches!(later, NextStep::Answer { settled: Some(SettledRequest { unknown: Some(_), .. }), .. }));
    let read = receiver.open(None, "GET https://g/webhook/nobody".into(), None, [0; 10], NOW_MS);
    assert_eq!(answered(read), (404, "unknown_source".into(), None));
}

#[test]
fn other_methods_are_answered_and_not_counted() {
    let mut driver = Driver::new(r#","webhook_origins":["events.example"]"#);
    let origin = "\nwebhook-request-origin\n";
    for (method, more, status) in [
        ("GET", "", 204),
        ("HEAD", "", 204),
        ("OPTIONS", "", 405),
        ("OPTIONS", &format!("{origin}other.example"), 405),
        ("OPTIONS", &format!("{origin}events.example"), 200),
        ("PUT", "", 405),
        ("DELETE", "", 405),
    ] {
        let next = driver.open(format!("{method} https://g/webhook/hooks{more}"), None);
        let NextStep::Answer { answer, settled: None } = next else { panic!("{method} was counted") };
        assert_eq!(answer.status, status, "{method}{more}");
        let header = |name| answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        assert_eq!(header("webhook-allowed-origin"), (status == 200).then_some("events.example"));
        assert_eq!(header("allow").is_some(), status == 405 || status == 200);
    }
    let mut any = Driver::new(r#","webhook_origins":["*"]"#);
    let next = any.open(format!("OPTIONS https://g/webhook/hooks{origin}x.example"), None);
    assert!(matches!(next, NextStep::Answer { answer: ReceiveAnswer { status: 200, .. }, .. }));
}

#[test]
fn what_fails_is_answered_503_and_counted_with_its_cause() {
    let failures = [
        (ReceiveFailure::BodyTimeout, "body_timeout"),
        (ReceiveFailure::BodyUnreadable, "body_unreadable"),
        (ReceiveFailure::NoRoom, "too_much_in_flight"),
        (ReceiveFailure::CryptoFailed, "crypto_failed"),
        (ReceiveFailure::StorageFailed, "storage_failed"),
        (ReceiveFailure::QueueFailed, "queue_failed"),
    ];
    for (failure, cause) in failures {
        let mut driver = Driver::new("");
        let next = driver.post(signed(BODY, &[]), BODY);
        let NextStep::Send(OutgoingMessage { id, .. }) = next else { panic!("{next:?}") };
        let (answer, settled) = driver.receiver.failed(id, failure, NOW_MS + 9);
        assert_eq!(answer, ReceiveAnswer::unavailable(cause));
        let settled = settled.expect("known");
        assert_eq!(settled.outcome, ReceiveOutcome::Unavailable { cause });
        assert_eq!((settled.latency_ms, driver.receiver.held_bytes()), (9, 0));
        assert_eq!(driver.receiver.failed(id, failure, NOW_MS).1, None, "counted once");
    }
}

#[test]
fn a_source_whose_secrets_have_all_expired_has_its_deliveries_repeated() {
    let mut driver = Driver::new("");
    let scheme = driver.fixture.policy().source.scheme.clone();
    driver.fixture.replace_verifier(genesys_webhook::signature::Verifier::new(scheme, vec![]));
    let next = driver.post(signed(BODY, &[]), BODY);
    let cause = ReceiveOutcome::Unavailable { cause: "no_active_secret" };
    assert_eq!(answered(next), (503, "no_active_secret".into(), Some(cause)));
}

#[test]
fn who_announces_and_does_not_send_holds_nothing_and_who_vanishes_is_forgotten() {
    let mut driver = Driver::new("");
    for _ in 0..10_000 {
        assert!(matches!(driver.open(signed(BODY, &[]), Some(5_000_000)), NextStep::Read { .. }));
    }
    assert_eq!(driver.receiver.held_bytes(), 0);
    let NextStep::Read { id, .. } = driver.open(signed(BODY, &[]), None) else { panic!("not read") };
    assert_eq!(driver.receiver.grow(id, 1_000_000), Growth::Fits);
    assert_eq!(driver.receiver.held_bytes(), 1_000_000);
    driver.now_ms += LEASE_MS;
    let next = driver.post(signed(BODY, &[]), BODY);
    driver.sent(next);
    assert_eq!((driver.receiver.held_bytes(), driver.receiver.len()), (0, 0));
    assert_eq!(driver.receiver.grow(id, 1), Growth::NoRoom, "what nobody counts must not grow");
    assert_eq!(answered(driver.arrive(id, BODY)), (503, "interrupted".into(), None));
    assert_eq!(driver.receiver.sent(id, NOW_MS), None);
}

#[test]
fn too_many_bytes_in_flight_are_told_to_wait() {
    let mut driver = Driver::new(r#","max_body_bytes":25000000"#);
    let NextStep::Read { id: first, .. } = driver.open(signed(BODY, &[]), None) else { panic!("not read") };
    assert_eq!(driver.receiver.grow(first, 20_000_000), Growth::Fits);
    let NextStep::Read { id: second, .. } = driver.open(signed(BODY, &[]), None) else { panic!("not read") };
    assert_eq!(driver.receiver.grow(second, 5_000_000), Growth::NoRoom);
    let next = driver.post(signed(BODY, &[]), BODY);
    assert!(matches!(driver.sent(next).1.outcome, ReceiveOutcome::Accepted { .. }), "small ones are served");
}
