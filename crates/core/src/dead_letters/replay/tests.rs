use super::*;
use crate::dead_letters::LetterFilter;
use crate::messages::{HeaderPair, dead_letter_header, delivery_header, frame};
use genesys_webhook::envelope::EnvelopeKind;
use genesys_webhook::scheme::Scheme;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::sign::sign;

const RECEIVED_MS: u64 = 1_795_000_000_000;
const LIMIT_BYTES: u64 = 1_000;
const BODY: &[u8] = br#"{"events":[{"a":1},{"a":2}]}"#;

fn secret(scheme: &Scheme, label: &str, text: &str, not_after_ms: Option<u64>) -> SigningSecret {
    SigningSecret::new(scheme, label, text, not_after_ms).unwrap()
}

fn verifier(label: &str, text: &str, not_after_ms: Option<u64>) -> Verifier {
    let scheme = Scheme::webhooks();
    let secret = secret(&scheme, label, text, not_after_ms);
    Verifier::new(scheme, vec![secret])
}

/// The headers that a sender with the secret `text` makes over `body`.
fn signed(text: &str, body: &[u8]) -> Vec<HeaderPair> {
    let scheme = Scheme::webhooks();
    let secret = secret(&scheme, "sender", text, None);
    let headers = sign(&scheme, &secret, "1", RECEIVED_MS / 1000, body);
    headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

fn letter(stage: Stage, headers: Vec<HeaderPair>, size_bytes: usize) -> DeadLetter {
    let body = BodyRef::Inline { size_bytes: size_bytes as u64 };
    let delivered = stage == Stage::Deliver;
    DeadLetter {
        source: "s".into(),
        verified: stage != Stage::Receive,
        event_count: delivered.then_some(2),
        secret_label: delivered.then(|| "then".into()),
        dedupe_key: delivered.then(|| "key".into()),
        headers,
        replay: 3,
        ..DeadLetter::of("01ARYZ6S410000000000000000".into(), stage, "signature_mismatch", body, RECEIVED_MS)
    }
}

fn refused() -> DeadLetter {
    letter(Stage::Receive, signed("the right secret", BODY), BODY.len())
}

fn sent(parcel: Result<Parcel, ReplayVerdict>) -> Delivery {
    match parcel {
        Ok(Parcel::Delivery(delivery)) => *delivery,
        other => panic!("{other:?}"),
    }
}

fn code(parcel: Result<Parcel, ReplayVerdict>) -> (Fate, String) {
    let verdict = parcel.expect_err("sent");
    (verdict.outcome, verdict.code.unwrap())
}

#[test]
fn a_letter_refused_because_of_a_wrong_secret_flows_after_the_fix() {
    let wrong = verifier("current", "another secret, quite wrong", None);
    let verdict = decide(&refused(), Some((&wrong, LIMIT_BYTES)), BODY).expect_err("sent");
    assert_eq!((verdict.outcome, verdict.code.as_deref()), (Fate::StillRefused, Some("signature_mismatch")));
    assert!(verdict.detail.is_some() && verdict.diagnosis.is_some());

    let right = verifier("fixed", "the right secret", None);
    let delivery = sent(decide(&refused(), Some((&right, LIMIT_BYTES)), BODY));
    assert_eq!((delivery.id.as_str(), delivery.source.as_str()), ("01ARYZ6S410000000000000000", "s"));
    assert_eq!((delivery.replay, delivery.origin), (4, Some(Origin::Refused)));
    assert_eq!((delivery.event_count, delivery.secret_label.as_str()), (2, "fixed"));
    assert_eq!(delivery.received_at_ms, RECEIVED_MS);
    assert_eq!(delivery.body, refused().body);
}

#[test]
fn a_secret_counts_by_the_time_of_receipt() {
    for (not_after_ms, outcome) in [(RECEIVED_MS, None), (RECEIVED_MS - 1, Some("no_active_secret"))] {
        let rotated = verifier("previous", "the right secret", Some(not_after_ms));
        let parcel = decide(&refused(), Some((&rotated, LIMIT_BYTES)), BODY);
        assert_eq!(parcel.err().and_then(|verdict| verdict.code).as_deref(), outcome);
    }
}

#[test]
fn what_is_verified_is_validated_by_todays_configuration_too() {
    let right = verifier("current", "the right secret", None);
    for (body, limit_bytes, expected) in [
        (b"{\"events\":[".as_slice(), LIMIT_BYTES, "invalid_json"),
        (b"[1]", LIMIT_BYTES, "invalid_envelope"),
        (BODY, BODY.len() as u64 - 1, "body_too_large"),
    ] {
        let letter = letter(Stage::Receive, signed("the right secret", body), body.len());
        let still = code(decide(&letter, Some((&right, limit_bytes)), body));
        assert_eq!(still, (Fate::StillRefused, expected.to_owned()));
    }
    let gone = code(decide(&refused(), None, BODY));
    assert_eq!(gone, (Fate::StillRefused, refused::SOURCE_NOT_CONFIGURED.to_owned()));
}

#[test]
fn a_letter_refused_for_its_envelope_flows_under_another_one() {
    let secret = |scheme: &Scheme| secret(scheme, "current", "the right secret", None);
    for body in [b"a=1&b=2".as_slice(), b"\x1f\x8b\x08", b"[{},{}]", b""] {
        let letter = letter(Stage::Receive, signed("the right secret", body), body.len());
        let strict = Verifier::new(Scheme::webhooks(), vec![secret(&Scheme::webhooks())]);
        let refused = code(decide(&letter, Some((&strict, LIMIT_BYTES)), body)).1;
        assert!(["invalid_json", "invalid_envelope"].contains(&refused.as_str()), "{refused}");
        let scheme = Scheme::webhooks().with_envelope(EnvelopeKind::Any);
        let secret = secret(&scheme);
        let delivery = sent(decide(&letter, Some((&Verifier::new(scheme, vec![secret]), LIMIT_BYTES)), body));
        assert_eq!((delivery.event_count, delivery.dedupe_key), (1, None));
    }
}

#[test]
fn a_header_that_shows_a_secret_of_today_does_not_go_on() {
    let mut letter = refused();
    letter.headers.push(("x-comment".into(), "the right secret".into()));
    let right = verifier("current", "the right secret", None);
    let delivery = sent(decide(&letter, Some((&right, LIMIT_BYTES)), BODY));
    assert_eq!(delivery.headers, refused().headers);
}

#[test]
fn what_was_accepted_is_sent_as_it_is() {
    // Its body is in R2, its source need not verify anything any more.
    let stored = BodyRef::Stored { key: "k".into(), size_bytes: 9, sha256: "ab".into() };
    let letter = DeadLetter { body: stored.clone(), ..letter(Stage::Deliver, vec![("a".into(), "b".into())], 0) };
    let delivery = sent(decide(&letter, None, b""));
    assert_eq!((delivery.replay, delivery.origin, &delivery.body), (4, Some(Origin::Dead), &stored));
    assert_eq!((delivery.event_count, delivery.dedupe_key.as_deref()), (2, Some("key")));
    assert_eq!((delivery.secret_label, delivery.headers), ("then".into(), letter.headers));
}

#[test]
fn what_could_not_be_read_goes_where_it_belongs_once_it_can() {
    let letter = letter(Stage::Queue, vec![], 0);
    let delivery = sent(decide(&super::tests::letter(Stage::Deliver, vec![], 2), None, b"{}"));
    let raw = frame(&delivery_header(&delivery), b"{}");
    assert_eq!(decide(&letter, None, &raw), Ok(Parcel::RawDelivery));
    let raw = frame(&dead_letter_header(&super::tests::letter(Stage::Receive, vec![], 2)), b"{}");
    assert_eq!(decide(&letter, None, &raw), Ok(Parcel::RawLetter));
    let still = code(decide(&letter, None, b"garbage"));
    assert_eq!(still, (Fate::StillRefused, refused::UNDECODABLE_MESSAGE.to_owned()));
}

#[test]
fn a_body_that_was_not_kept_is_no_refusal() {
    for stage in [Stage::Receive, Stage::Deliver, Stage::Queue] {
        let letter = DeadLetter { body: BodyRef::Omitted { size_bytes: 9 }, ..letter(stage, vec![], 0) };
        assert_eq!(code(decide(&letter, None, b"")), (Fate::Skipped, skipped::BODY_NOT_KEPT.to_owned()));
    }
}

#[test]
fn only_what_is_ours_to_repair_is_tried_again() {
    for (verdict, transient) in [
        (ReplayVerdict::replayed(), false),
        (ReplayVerdict::refused("signature_mismatch", String::new(), None), false),
        (ReplayVerdict::skipped(skipped::BODY_LOST, None), false),
        (ReplayVerdict::skipped(skipped::BEING_REPLAYED, None), false),
        (ReplayVerdict::skipped(skipped::QUEUE_FAILED, None), true),
        (ReplayVerdict::skipped(skipped::BODY_UNAVAILABLE, None), true),
        (ReplayVerdict::skipped(skipped::BAD_CONFIGURATION, None), true),
    ] {
        assert_eq!(verdict.is_transient(), transient, "{verdict:?}");
    }
}

#[test]
fn the_forms_of_jobs_and_verdicts_are_pinned() {
    let order = JobOrder {
        id: "1".into(),
        actor: "admin".into(),
        filter: LetterFilter { source: Some("s".into()), ..LetterFilter::default() },
        dry_run: false,
        rate_per_s: 1_000_000,
    };
    let mut job = Job::new(order, 7);
    job.count(&ReplayVerdict::replayed());
    job.count(&ReplayVerdict::skipped(skipped::BODY_LOST, Some("no object k".into())));
    job.after = Some((5, "x".into()));
    assert_eq!(
        serde_json::to_string(&job).unwrap(),
        concat!(
            r#"{"id":"1","state":"running","dryRun":false,"cut":false,"actor":"admin","#,
            r#""filter":{"source":"s","reason":null,"since_ms":null,"until_ms":null,"status":null,"ids":[]},"ratePerS":200,"startedAtMs":7,"updatedAtMs":7,"#,
            r#""after":[5,"x"],"matched":2,"replayed":1,"stillRefused":0,"skipped":1,"stalls":0,"byCode":{"body_lost":1}}"#
        )
    );
    let last = LastReplay {
        at_ms: 1,
        actor: "admin".into(),
        verdict: ReplayVerdict::refused("invalid_json", "d".into(), None),
    };
    assert_eq!(
        serde_json::to_string(&last).unwrap(),
        r#"{"atMs":1,"actor":"admin","verdict":{"outcome":"still_refused","code":"invalid_json","detail":"d"}}"#
    );
}
