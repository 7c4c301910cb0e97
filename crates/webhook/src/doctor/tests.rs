use super::*;
use crate::encoding::Encoding;
use crate::secret::SigningSecret;
use crate::sign::sign;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const SECRET: &str = "0123456789abcdef0123";
const NOW_MS: u64 = 1_700_000_000_000;

fn verifier(scheme: Scheme, secrets: &[(&str, &str, Option<u64>)]) -> Verifier {
    let secrets = secrets.iter().map(|(label, text, end)| SigningSecret::new(&scheme, label, text, *end).unwrap());
    let secrets = secrets.collect();
    Verifier::new(scheme, secrets)
}

fn webhooks(secret: &str) -> Verifier {
    verifier(Scheme::webhooks(), &[("current", secret, None)])
}

/// A tag over `body` under a key of any length.
fn tag(key: &[u8], body: &[u8]) -> crate::encoding::Tag {
    crate::mac::KeyedMac::new(key).tag([body, b"", b""])
}

fn hex(key: &[u8], body: &[u8]) -> String {
    Encoding::Hex.encode(&tag(key, body))
}

fn codes(explanation: &Explanation) -> Vec<FindingCode> {
    explanation.findings.iter().map(|finding| finding.code).collect()
}

fn explained(verifier: &Verifier, header: (&str, &str), body: &[u8]) -> Explanation {
    let explanation = explain(verifier, [header].as_slice(), body, NOW_MS);
    let shown = serde_json::to_string(&explanation).unwrap();
    for secret in verifier.secrets() {
        assert!(!shown.contains(core::str::from_utf8(secret.key_bytes()).unwrap()), "shows a secret: {shown}");
        for encoding in [Encoding::Hex, Encoding::Base64 { padded: true }] {
            let valid = encoding.encode(&tag(secret.key_bytes(), body));
            assert!(!shown.contains(&valid[..12]), "shows a valid signature: {shown}");
        }
    }
    explanation
}

#[test]
fn the_form_is_pinned() {
    let body = br#"{"events":[1]}"#;
    let value = Encoding::Base64 { padded: true }.encode(&tag(SECRET.as_bytes(), body));
    let explanation = explained(&webhooks(SECRET), ("X-Hub-Signature-256", &format!("sha256={value}")), body);
    assert_eq!(
        serde_json::to_value(&explanation).unwrap(),
        serde_json::json!({
            "verdict": "missing_signature",
            "summary": "secret \"current\" made this signature, but the signature is in x-hub-signature-256, this source \
                        reads x-genesys-signature; the signature stands after \"sha256=\", this source expects \"\" \
                        before it; the signature is sent as base64, this source expects hex",
            "expected": {
                "profile": "webhooks", "header": "x-genesys-signature", "prefix": "", "encoding": "hex",
                "signed_content": "{body}"
            },
            "seen": [{"header": "x-hub-signature-256", "prefix": "sha256=", "encoding": "base64", "chars": 44}],
            "secret_label": "current",
            "findings": [
                {"code": "other_header", "detail": "the signature is in x-hub-signature-256, this source reads x-genesys-signature"},
                {"code": "other_prefix", "detail": "the signature stands after \"sha256=\", this source expects \"\" before it"},
                {"code": "other_encoding", "detail": "the signature is sent as base64, this source expects hex"}
            ],
            "tried": 1,
            "complete": true
        })
    );
}

#[test]
fn a_good_signature_says_which_secret_and_how_many_events_or_where_the_envelope_is_wrong() {
    let bad = "secret \"current\" made this signature, but the body is refused: expected \"events\" to be an array at byte 10";
    for (body, verdict, event_count, summary) in [
        (r#"{"events":[1,2]}"#, "accepted", Some(2), "accepted: secret \"current\" made this signature"),
        (r#"{"events":{}}"#, "invalid_envelope", None, bad),
    ] {
        let value = hex(SECRET.as_bytes(), body.as_bytes());
        let headers = [("x-genesys-signature", value)];
        let explanation = explain(&webhooks(SECRET), headers.as_slice(), body.as_bytes(), NOW_MS);
        assert_eq!((explanation.verdict, explanation.event_count), (verdict, event_count));
        assert_eq!(explanation.summary, summary);
    }
}

#[test]
fn a_changed_body_is_named_by_what_changed_it() {
    let pretty = "{\n  \"a\": 1.0,\n  \"events\": [\n    \"é\"\n  ]\n}";
    for (received, signed, code) in [
        (pretty, "{\"a\":1,\"events\":[\"é\"]}", FindingCode::JsonRewritten),
        (pretty, "{\"a\":1.0,\"events\":[\"é\"]}", FindingCode::JsonRewritten),
        (pretty, "{\"a\": 1.0, \"events\": [\"\\u00e9\"]}", FindingCode::JsonRewritten),
        (pretty, "{\"a\": 1.0, \"events\": [\"é\"]}", FindingCode::JsonRewritten),
        (
            "{\"z\":1,\"events\":[\"\u{1f600}\"]}",
            "{\"z\":1,\"events\":[\"\\ud83d\\ude00\"]}",
            FindingCode::JsonRewritten,
        ),
        ("{\"events\":[1]}", "{\n  \"events\": [\n    1\n  ]\n}", FindingCode::JsonRewritten),
        ("{\"z\":1,\"events\":[]}", "{\"events\":[],\"z\":1}", FindingCode::JsonRewritten),
        ("{\"events\":[]}", "{\"events\":[]}\n", FindingCode::LineEndRemoved),
        ("{\"events\":[]}", "{\"events\":[]}\r\n", FindingCode::LineEndRemoved),
        ("not json\n", "not json", FindingCode::LineEndAdded),
        ("{\"events\":[]}\n", "{\"events\":[]}", FindingCode::LineEndAdded),
        ("\u{feff}{\"events\":[]}", "{\"events\":[]}", FindingCode::ByteOrderMark),
        (" {\"events\":[]} ", "{\"events\":[]}", FindingCode::WhitespaceTrimmed),
        ("not json\r\n", "not json", FindingCode::LineEndAdded),
        ("\u{feff}{}", "{}", FindingCode::ByteOrderMark),
        ("{}", "\u{feff}{}", FindingCode::ByteOrderMark),
        ("a\r\nb", "a\nb", FindingCode::LineEndsChanged),
        ("a\nb\r\nc", "a\r\nb\r\nc", FindingCode::LineEndsChanged),
        ("  a ", "a", FindingCode::WhitespaceTrimmed),
        ("{\"events\":[]}", "", FindingCode::EmptyBodySigned),
    ] {
        let value = hex(SECRET.as_bytes(), signed.as_bytes());
        let explanation = explained(&webhooks(SECRET), ("x-genesys-signature", &value), received.as_bytes());
        assert_eq!(codes(&explanation), [code], "{signed:?}: {}", explanation.summary);
        assert_eq!(explanation.verdict, "signature_mismatch");
    }
}

#[test]
fn a_secret_taken_otherwise_is_named() {
    let body = b"{}";
    let raw = [0xa7u8; 24];
    let base64 = STANDARD.encode(raw);
    let hexadecimal = crate::encoding::hex(&raw);
    for (configured, used, code) in [
        (format!("\"{SECRET}\""), SECRET.as_bytes(), FindingCode::SecretQuotes),
        (SECRET.to_owned(), &*format!("{SECRET}\n").into_bytes(), FindingCode::SecretLineEnd),
        (SECRET.to_owned(), &*format!("{SECRET}\r\n").into_bytes(), FindingCode::SecretLineEnd),
        (SECRET.to_owned(), &*format!(" {SECRET}").into_bytes(), FindingCode::SecretWhitespace),
        (SECRET.to_owned(), &*format!("{SECRET} ").into_bytes(), FindingCode::SecretWhitespace),
        (SECRET.to_owned(), &*format!(" {SECRET} ").into_bytes(), FindingCode::SecretWhitespace),
        (SECRET.to_owned(), &*format!("\t{SECRET}").into_bytes(), FindingCode::SecretWhitespace),
        (SECRET.to_owned(), &*format!("{SECRET}\t").into_bytes(), FindingCode::SecretWhitespace),
        (SECRET.to_owned(), &*format!("\n{SECRET}").into_bytes(), FindingCode::SecretWhitespace),
        (format!("{SECRET}\n"), &*format!("{SECRET} ").into_bytes(), FindingCode::SecretWhitespace),
        (format!("{SECRET}\n"), &*format!("{SECRET}\n").into_bytes(), FindingCode::SecretLineEnd),
        (format!("whsec_{SECRET}"), SECRET.as_bytes(), FindingCode::SecretWhsec),
        (SECRET.to_owned(), &*format!("whsec_{SECRET}").into_bytes(), FindingCode::SecretWhsec),
        (base64.clone(), &raw, FindingCode::SecretBase64),
        (format!("whsec_{base64}"), &raw, FindingCode::SecretBase64),
        (hexadecimal, &raw, FindingCode::SecretHex),
    ] {
        let explanation = explained(&webhooks(&configured), ("x-genesys-signature", &hex(used, body)), body);
        assert_eq!(codes(&explanation), [code], "{configured:?}");
    }
}

#[test]
fn a_secret_that_should_not_have_been_decoded_is_named() {
    let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let verifier = verifier(Scheme::standard_webhooks(), &[("current", text, None)]);
    for key in [text, &text[6..]] {
        let content = format!("m1.{}.{{}}", NOW_MS / 1000);
        let value =
            format!("v1,{}", Encoding::Base64 { padded: true }.encode(&tag(key.as_bytes(), content.as_bytes())));
        let timestamp = (NOW_MS / 1000).to_string();
        let headers = [("webhook-signature", value.as_str()), ("webhook-id", "m1"), ("webhook-timestamp", &timestamp)];
        let explanation = explain(&verifier, headers.as_slice(), b"{}", NOW_MS);
        assert_eq!(codes(&explanation), [FindingCode::SecretBase64]);
    }
}

#[test]
fn another_profile_is_named() {
    let body = b"{}";
    let standard =
        verifier(Scheme::standard_webhooks(), &[("current", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None)]);
    let value = hex(standard.secrets()[0].key_bytes(), body);
    let explanation = explain(&standard, [("x-genesys-signature", value.as_str())].as_slice(), body, NOW_MS);
    assert_eq!(explanation.verdict, "missing_signature");
    assert_eq!(codes(&explanation)[..2], [FindingCode::OtherProfile, FindingCode::OtherHeader]);

    let headers = sign(standard.scheme(), &standard.secrets()[0], "m1", NOW_MS / 1000, body);
    let as_text = STANDARD.encode(standard.secrets()[0].key_bytes());
    let explanation = explain(&webhooks(&as_text), headers.as_slice(), body, NOW_MS);
    assert_eq!(codes(&explanation)[..2], [FindingCode::OtherProfile, FindingCode::OtherHeader]);
}

#[test]
fn a_stale_timestamp_is_told_apart_from_a_wrong_signature() {
    let verifier =
        verifier(Scheme::standard_webhooks(), &[("current", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None)]);
    let headers = sign(verifier.scheme(), &verifier.secrets()[0], "m1", NOW_MS / 1000 - 400, b"{}");
    let explanation = explain(&verifier, headers.as_slice(), b"{}", NOW_MS);
    assert_eq!(explanation.verdict, "timestamp_out_of_tolerance");
    assert_eq!(
        explanation.summary,
        "secret \"current\" made this signature, but signed 400 s ago, allowed are 300 s: check the sender's clock, or sign \
         each repetition anew"
    );
}

#[test]
fn an_expired_secret_is_named_also_where_none_is_active() {
    let body = br#"{"events":[]}"#;
    let value = hex(SECRET.as_bytes(), body);
    let old = ("previous", SECRET, Some(NOW_MS - 1));
    let with_another = verifier(Scheme::webhooks(), &[("current", "another-secret-of-20", None), old]);
    let explanation = explained(&with_another, ("x-genesys-signature", &value), b"x");
    assert_eq!(codes(&explanation), [FindingCode::Unexplained]);
    let headers = [("x-genesys-signature", value.as_str())];
    let explanation = explain(&with_another, headers.as_slice(), body, NOW_MS);
    assert_eq!((explanation.verdict, codes(&explanation)), ("signature_mismatch", vec![FindingCode::SecretExpired]));
    let alone = verifier(Scheme::webhooks(), &[old]);
    let explanation = explain(&alone, headers.as_slice(), body, NOW_MS);
    assert_eq!(explanation.verdict, "no_active_secret");
    assert_eq!(codes(&explanation), [FindingCode::NoActiveSecret, FindingCode::SecretExpired]);
}

#[test]
fn what_is_no_signature_is_named() {
    let body = b"{}";
    for (header, value, expected) in [
        ("content-type", "application/json".to_owned(), vec![FindingCode::NoSignature]),
        ("x-genesys-signature", SECRET.to_owned(), vec![FindingCode::SecretInHeader]),
        ("x-hub-signature", format!("sha1={}", "0".repeat(40)), vec![FindingCode::OtherHash]),
        ("x-genesys-signature", "0".repeat(128), vec![FindingCode::OtherHash]),
        ("x-genesys-signature", "\u{fffd}garbage".to_owned(), vec![FindingCode::Header, FindingCode::NotDecodable]),
        ("x-genesys-signature", "0".repeat(64), vec![FindingCode::Unexplained]),
        ("x-genesys-signature", format!("\"{}\"", hex(SECRET.as_bytes(), body)), vec![FindingCode::Header]),
    ] {
        let explanation = explain(&webhooks(SECRET), [(header, value.as_str())].as_slice(), body, NOW_MS);
        assert_eq!(codes(&explanation), expected, "{value}");
        assert!(!explanation.summary.is_empty());
    }
}

#[test]
fn a_secret_is_found_in_a_header_in_each_of_its_forms() {
    let standard = verifier(Scheme::standard_webhooks(), &[("current", "whsec_/z3w4Pv/7w4Pv/7w4Pv/7w==", None)]);
    for (verifier, value, is_carried) in [
        (&webhooks(SECRET), SECRET, true),
        (&webhooks(SECRET), "sha256=0123456789abcdef0123", true),
        (&webhooks(SECRET), "a, 0123456789abcdef0123;b", true),
        (&webhooks(SECRET), "0123456789abcdef012", false),
        (&webhooks(SECRET), "0123456789abcdef01234", false),
        (&webhooks(SECRET), "", false),
        (&standard, "whsec_/z3w4Pv/7w4Pv/7w4Pv/7w==", true),
        (&standard, "/z3w4Pv/7w4Pv/7w4Pv/7w", true),
        (&standard, "whsec__z3w4Pv_7w4Pv_7w4Pv_7w", true),
        (&standard, "_z3w4Pv_7w4Pv_7w4Pv_7w==", true),
        (&verifier(Scheme::webhooks(), &[]), SECRET, false),
    ] {
        assert_eq!(SecretTexts::of(verifier).are_carried_by(value), is_carried, "{value}");
    }
}

#[test]
fn the_search_ends_within_its_budget_and_says_so() {
    let headers = [("x-genesys-signature", "0".repeat(64))];
    let verifier = webhooks(SECRET);
    for (size, complete) in [(100_000, true), (5_000_000, false)] {
        let explanation = explain(&verifier, headers.as_slice(), &vec![b' '; size], NOW_MS);
        assert_eq!((explanation.verdict, explanation.complete), ("signature_mismatch", complete));
        assert_eq!(explanation.summary.ends_with("(the search ended at its limit)"), !complete);
    }
    // In front of the hot path a body over the budget is not hashed at all.
    for (size, tries) in [(100_000, 1..3), (5_000_000, 0..1)] {
        let body = vec![b' '; size];
        let explanation = explained_within(
            DIAGNOSE_BUDGET_BYTES,
            Err(Refusal::SignatureMismatch.into()),
            &verifier,
            headers.as_slice(),
            &body,
            NOW_MS,
        );
        assert!(!explanation.complete && tries.contains(&explanation.tried), "{size}: {}", explanation.tried);
        assert_eq!(diagnose(&verifier, headers.as_slice(), &body, NOW_MS), explanation.summary);
    }
}
