use super::*;
use crate::encoding::Encoding;
use crate::sign::sign;

const SECRET: &str = "0123456789abcdef0123";
const OTHER: &str = "another-secret-of-20";

fn verifier(scheme: Scheme, secrets: &[(&str, &str, Option<u64>)]) -> Verifier {
    let secrets =
        secrets.iter().map(|(label, text, end)| SigningSecret::new(&scheme, label, text, *end).unwrap()).collect();
    Verifier::new(scheme, secrets)
}

fn code(verifier: &Verifier, headers: &[(&str, &str)], body: &[u8], now_ms: u64) -> String {
    match verifier.verify(headers, body, now_ms) {
        Ok(holds) => holds.label.to_owned(),
        Err(VerifyError::Refused(refusal)) => refusal.detail(),
        Err(VerifyError::NoActiveSecret) => "no_active_secret".to_owned(),
    }
}

fn hex_of(text: &str, body: &[u8]) -> String {
    let scheme = Scheme::webhooks();
    let secret = SigningSecret::new(&scheme, "x", text, None).unwrap();
    sign(&scheme, &secret, "", 0, body)[0].1.clone()
}

#[test]
fn the_first_of_two_labels_with_one_key_is_told() {
    let same = verifier(Scheme::webhooks(), &[("a", OTHER, None), ("b", SECRET, None), ("c", SECRET, None)]);
    assert_eq!(code(&same, &[("x-genesys-signature", &hex_of(SECRET, b""))], b"", 0), "b");
}

fn standard() -> Verifier {
    verifier(Scheme::standard_webhooks(), &[("current", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None)])
}

const VECTOR: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const SIGNED_MS: u64 = 1_614_265_330_000;

fn standard_code(signature: &str, id: &str, timestamp: &str, now_ms: u64) -> String {
    let headers = [("webhook-signature", signature), ("webhook-id", id), ("webhook-timestamp", timestamp)];
    code(&standard(), &headers, br#"{"test": 2432232314}"#, now_ms)
}

#[test]
fn the_tolerance_counts_whole_seconds_both_ways() {
    let at = |now_ms| standard_code(VECTOR, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", now_ms);
    assert_eq!(at(SIGNED_MS + 300_999), "current");
    assert_eq!(at(SIGNED_MS + 301_000), "signed 301 s ago, allowed are 300 s");
    assert_eq!(at(SIGNED_MS - 300_000), "current");
    assert_eq!(at(SIGNED_MS - 300_001), "signed 301 s in the future, allowed are 300 s");
    assert_eq!(at(0), "signed 1614265330 s in the future, allowed are 300 s");
    assert!(at(u64::MAX).ends_with("ago, allowed are 300 s"));
}

#[test]
fn timestamps_and_identifiers_are_strict() {
    for timestamp in ["", "+1614265330", "1614265330.0", " 1614265330", "-1", "0x10", "9999999999999", "١٦"] {
        let told = standard_code(VECTOR, "id", timestamp, SIGNED_MS);
        assert!(told.starts_with("header webhook-timestamp is"), "{timestamp:?}: {told}");
    }
    for id in ["", "a b", "a\"b", "a{b", "a\\b", "é", &"a".repeat(257)] {
        let told = standard_code(VECTOR, id, "1614265330", SIGNED_MS);
        assert!(told.starts_with("header webhook-id is"), "{id:?}: {told}");
    }
}

#[test]
fn no_part_of_a_body_can_be_passed_off_as_identifier_or_timestamp() {
    // A chat text may contain anything: here what would be timestamp and body of another split of the same bytes.
    let body = r#"{"text":".1614265330.{}"#;
    let secret = &standard().secrets;
    let headers = sign(&Scheme::standard_webhooks(), &secret[0], "m1", 1_614_265_330, body.as_bytes());
    let forged_id = format!("m1.1614265330.{}", r#"{"text":""#);
    let forged =
        [("webhook-signature", headers[0].1.as_str()), ("webhook-id", &forged_id), ("webhook-timestamp", "1614265330")];
    assert!(code(&standard(), &forged, b"{}", SIGNED_MS).starts_with("header webhook-id is not an identifier"));
}

#[test]
fn a_tag_that_is_missing_from_the_check_never_matches() {
    let verifier = verifier(Scheme::webhooks(), &[("current", SECRET, None)]);
    let value = hex_of(SECRET, b"{}");
    let prepared = verifier.prepare([("x-genesys-signature", value.as_str())].as_slice(), 0).unwrap();
    assert_eq!(prepared.check(&[]), Err(Refusal::SignatureMismatch));
    let good = Encoding::Hex.decode(&value).unwrap();
    assert_eq!(prepared.check(&[good]).unwrap().label, "current");
    assert_eq!(prepared.check(&[[0; 32], good]), Err(Refusal::SignatureMismatch), "a tag without a secret");
}
