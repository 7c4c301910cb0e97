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
        Err(VerifyError::Unavailable(reason)) => reason.code().to_owned(),
    }
}

fn hex_of(text: &str, body: &[u8]) -> String {
    let scheme = Scheme::webhooks();
    let secret = SigningSecret::new(&scheme, "x", text, None).unwrap();
    sign(&scheme, &secret, "", 0, body)[0].1.clone()
}

#[test]
fn no_active_secret_is_ours_and_comes_before_every_refusal() {
    let none = verifier(Scheme::webhooks(), &[]);
    let expired = verifier(Scheme::webhooks(), &[("old", SECRET, Some(99))]);
    for verifier in [none, expired] {
        assert_eq!(code(&verifier, &[], b"{}", 100), "no_active_secret");
    }
}

#[test]
fn the_label_of_the_secret_that_matched_is_told_and_expired_ones_do_not_count() {
    let both = verifier(Scheme::webhooks(), &[("current", SECRET, None), ("previous", OTHER, Some(1_000))]);
    let (new, old) = (hex_of(SECRET, b"b"), hex_of(OTHER, b"b"));
    let mismatch = "no active secret makes this signature over this body";
    assert_eq!(code(&both, &[("X-Genesys-Signature", &new)], b"b", 1_000), "current");
    assert_eq!(code(&both, &[("X-Genesys-Signature", &old)], b"b", 1_000), "previous");
    assert_eq!(code(&both, &[("X-Genesys-Signature", &old)], b"b", 1_001), mismatch);
    assert_eq!(code(&both, &[("X-Genesys-Signature", &new)], b"b", 1_001), "current");
}

#[test]
fn the_first_of_two_labels_with_one_key_is_told() {
    let same = verifier(Scheme::webhooks(), &[("a", OTHER, None), ("b", SECRET, None), ("c", SECRET, None)]);
    assert_eq!(code(&same, &[("x-genesys-signature", &hex_of(SECRET, b""))], b"", 0), "b");
}

#[test]
fn malformed_headers_are_told_with_what_is_wrong() {
    let verifier = verifier(Scheme::webhooks(), &[("current", SECRET, None)]);
    let good = hex_of(SECRET, b"{}");
    for (value, detail) in [
        (String::new(), "header x-genesys-signature is missing or empty"),
        (good[1..].to_owned(), "header x-genesys-signature has 63 characters where hex of 32 bytes has 64"),
        (format!(" {good}"), "current"),
        (format!("{good}, {good}"), "current"),
        (format!("{},{good}", "0".repeat(64)), "current"),
        (format!("\"{good}\""), "header x-genesys-signature has 66 characters where hex of 32 bytes has 64"),
        (format!("sha256={good}"), "header x-genesys-signature has 71 characters where hex of 32 bytes has 64"),
        (format!("{}\u{fffd}", &good[3..]), "header x-genesys-signature is not hex"),
        ("0".repeat(5_000), "header x-genesys-signature is longer than 4096 bytes"),
        (good.to_uppercase(), "current"),
    ] {
        assert_eq!(code(&verifier, &[("x-genesys-signature", &value)], b"{}", 0), detail);
    }
    for other in ["", "nonsense", &"0".repeat(64)] {
        let twice = [("x-genesys-signature", other), ("X-Genesys-Signature", good.as_str())];
        assert_eq!(code(&verifier, &twice, b"{}", 0), "current", "{other:?}");
    }
}

#[test]
fn prefixes_are_exact() {
    let verifier = verifier(Scheme::open_messaging(), &[("current", SECRET, None)]);
    let headers = sign(verifier.scheme(), &verifier.secrets()[0], "", 0, b"{}");
    let value = headers[0].1.strip_prefix("sha256=").unwrap();
    for prefix in ["", "SHA256=", "sha1=", "sha256:"] {
        let detail = code(&verifier, &[("x-hub-signature-256", &format!("{prefix}{value}"))], b"{}", 0);
        assert_eq!(detail, "header x-hub-signature-256 has no signature that begins with \"sha256=\"");
    }
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
fn a_folded_list_is_a_list() {
    let wrong = format!("v1,{}=", "A".repeat(43));
    let folded = format!("{wrong}\r\n {VECTOR}");
    assert_eq!(standard_code(&folded, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", SIGNED_MS), "current");
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
fn there_is_no_way_down_to_another_scheme() {
    let both = verifier(Scheme::open_messaging(), &[("current", SECRET, None)]);
    let hex = hex_of(SECRET, b"{}");
    assert_eq!(
        code(&both, &[("x-genesys-signature", &hex)], b"{}", 0),
        "header x-hub-signature-256 is missing or empty"
    );
    let told = code(&both, &[("x-hub-signature-256", &format!("sha256={hex}"))], b"{}", 0);
    assert_eq!(told, "header x-hub-signature-256 has 64 characters where base64 of 32 bytes has 44");
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

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?}", verifier(Scheme::webhooks(), &[("current", SECRET, None)]));
    assert!(!shown.contains(SECRET) && !shown.contains("48, 49, 50"), "{shown}");
}
