//! What holds for every scheme, secret and body, and not just for the vectors.

use genesys_webhook::custom::CustomScheme;
use genesys_webhook::doctor;
use genesys_webhook::encoding::{Encoding, Tag};
use genesys_webhook::headers;
use genesys_webhook::profile::Profile;
use genesys_webhook::refusal::{Refusal, RefusalCode};
use genesys_webhook::scheme::Scheme;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::sign::sign;
use genesys_webhook::signature::{Verifier, VerifyError};
use hmac::{Hmac, KeyInit, Mac};
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::Sha256;

const NOW_S: u64 = 1_700_000_000;
const NOW_MS: u64 = NOW_S * 1_000;

type SignedHeaders = Vec<(String, String)>;

fn schemes() -> impl Strategy<Value = Scheme> {
    let custom = [
        r#"{"header":"x-s","encoding":"hex","prefix":"v0=","timestamp_header":"x-t","signed_content":"v0:{timestamp}:{body}"}"#,
        r#"{"header":"x-s","encoding":"base64url","id_header":"x-i","signed_content":"{body}.{id}"}"#,
        r#"{"header":"x-s","encoding":"base64","padding":false,"secret_format":"hex"}"#,
    ];
    let custom = custom.map(|json| serde_json::from_str::<CustomScheme>(json).unwrap().resolve().unwrap());
    let all: Vec<Scheme> = Profile::ALL.into_iter().filter_map(Scheme::preset).chain(custom).collect();
    proptest::sample::select(all)
}

/// 16 to 80 hexadecimal digits, an even number and a multiple of four: a secret in each of the formats.
fn secret_texts() -> impl Strategy<Value = String> {
    "([0-9a-f]{4}){8,20}"
}

fn verifier(scheme: &Scheme, texts: &[&str]) -> Verifier {
    let secrets = texts.iter().zip(["current", "previous"]);
    let secrets = secrets.map(|(text, label)| SigningSecret::new(scheme, label, text, None).unwrap()).collect();
    Verifier::new(scheme.clone(), secrets)
}

fn signed(verifier: &Verifier, which: usize, body: &[u8]) -> SignedHeaders {
    sign(verifier.scheme(), &verifier.secrets()[which], "msg_1", NOW_S, body)
}

fn verdict(verifier: &Verifier, headers: &SignedHeaders, body: &[u8]) -> Result<String, RefusalCode> {
    match verifier.verify(headers.as_slice(), body, NOW_MS) {
        Ok(holds) => Ok(holds.label.to_owned()),
        Err(VerifyError::Refused(refusal)) => Err(refusal.code()),
        Err(error @ VerifyError::NoActiveSecret) => panic!("{error}"),
    }
}

/// A tag as another implementation would make it: the key bytes, the bytes before and after, nothing of `verify`.
fn tag_elsewhere(key: &[u8], before: &[u8], body: &[u8], after: &[u8]) -> Tag {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&[before, body, after].concat());
    mac.finalize().into_bytes().into()
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

proptest! {
    #[test]
    fn what_is_signed_verifies_and_tells_its_secret(
        scheme in schemes(), a in secret_texts(), b in secret_texts(), body in vec(any::<u8>(), 0..400), which in 0usize..2,
    ) {
        prop_assume!(a != b);
        let verifier = verifier(&scheme, &[&a, &b]);
        let expected = ["current", "previous"][which].to_owned();
        prop_assert_eq!(verdict(&verifier, &signed(&verifier, which, &body), &body), Ok(expected));
    }

    #[test]
    fn a_valid_signature_is_found_anywhere_among_other_entries_and_others_alone_are_refused(
        scheme in schemes(), text in secret_texts(), body in vec(any::<u8>(), 0..50),
        junk in vec("v1,|v1|v1a,|v2,[a-z]{3}|sha256=|v0=|[a-zA-Z0-9+/=_-]{1,60}|v1,[a-zA-Z0-9+/=]{40,48}|[!-+.-~é\u{fffd}]{1,12}", 0..7),
        separators in vec(prop_oneof![Just(" "), Just(","), Just(", "), Just("\t"), Just("  "), Just(" ,"), Just(",,"), Just("\r\n ")], 16),
        at in any::<prop::sample::Index>(), spaced in any::<bool>(),
    ) {
        let verifier = verifier(&scheme, &[&text]);
        let mut headers = signed(&verifier, 0, &body);
        let valid = headers[0].1.clone();
        let valid = match valid.split_at(scheme.prefix().len()) {
            (prefix, tag) if spaced && !prefix.is_empty() => format!("{prefix} {tag}"),
            _ => valid,
        };
        let written = |items: &[String]| -> String {
            items.iter().zip(&separators).flat_map(|(item, separator)| [item.as_str(), separator]).collect()
        };
        headers[0].1 = written(&junk);
        let refused = verdict(&verifier, &headers, &body).expect_err("nothing in it was signed");
        let is_named =
            matches!(refused, RefusalCode::MissingSignature | RefusalCode::MalformedSignature | RefusalCode::SignatureMismatch);
        prop_assert!(is_named, "{:?}", refused);
        let mut items = junk;
        items.insert(at.index(items.len() + 1), valid);
        headers[0].1 = written(&items);
        prop_assert_eq!(verdict(&verifier, &headers, &body), Ok("current".to_owned()), "{:?}", &headers[0].1);
    }

    #[test]
    fn any_changed_bit_of_the_body_refuses(
        scheme in schemes(), text in secret_texts(), body in vec(any::<u8>(), 1..200), bit in any::<usize>(),
    ) {
        let verifier = verifier(&scheme, &[&text]);
        let headers = signed(&verifier, 0, &body);
        prop_assert_eq!(verdict(&verifier, &headers, &flipped(&body, bit)), Err(RefusalCode::SignatureMismatch));
    }

    #[test]
    fn any_changed_bit_of_the_secret_refuses(text in secret_texts(), body in vec(any::<u8>(), 0..100), bit in any::<usize>()) {
        // Hexadecimal: each bit of the key can be changed by itself.
        let json = r#"{"header":"x-s","encoding":"hex","secret_format":"hex"}"#;
        let scheme = serde_json::from_str::<CustomScheme>(json).unwrap().resolve().unwrap();
        let theirs = verifier(&scheme, &[&text]);
        let key = flipped(theirs.secrets()[0].key_bytes(), bit);
        let ours = verifier(&scheme, &[&genesys_webhook::encoding::hex(&key)]);
        prop_assert_eq!(verdict(&ours, &signed(&theirs, 0, &body), &body), Err(RefusalCode::SignatureMismatch));
    }

    #[test]
    fn any_changed_bit_of_the_tag_refuses(
        scheme in schemes(), text in secret_texts(), body in vec(any::<u8>(), 0..100), bit in any::<usize>(),
    ) {
        let verifier = verifier(&scheme, &[&text]);
        let mut headers = signed(&verifier, 0, &body);
        let written = headers[0].1.strip_prefix(scheme.prefix()).unwrap();
        let tag = flipped(&scheme.encoding().decode(written).unwrap(), bit);
        headers[0].1 = format!("{}{}", scheme.prefix(), scheme.encoding().encode(&tag.try_into().unwrap()));
        prop_assert_eq!(verdict(&verifier, &headers, &body), Err(RefusalCode::SignatureMismatch));
    }

    #[test]
    fn any_changed_bit_of_the_header_refuses_but_the_case_of_hexadecimal_digits(
        scheme in schemes(), text in secret_texts(), body in vec(any::<u8>(), 0..100), bit in any::<usize>(),
    ) {
        let verifier = verifier(&scheme, &[&text]);
        let mut headers = signed(&verifier, 0, &body);
        let changed = String::from_utf8_lossy(&flipped(headers[0].1.as_bytes(), bit)).into_owned();
        let prefix = scheme.prefix().len();
        let only_case = scheme.encoding() == Encoding::Hex
            && changed.get(..prefix) == headers[0].1.get(..prefix)
            && changed.eq_ignore_ascii_case(&headers[0].1);
        headers[0].1 = changed;
        let found = verdict(&verifier, &headers, &body);
        if only_case {
            prop_assert_eq!(found, Ok("current".to_owned()));
        } else {
            let refused = matches!(found, Err(RefusalCode::MalformedSignature | RefusalCode::SignatureMismatch));
            prop_assert!(refused, "{:?}", found);
        }
    }

    #[test]
    fn hashing_elsewhere_gives_the_same_verdict(
        scheme in schemes(), a in secret_texts(), b in secret_texts(), body in vec(any::<u8>(), 0..300), which in 0usize..2,
        change in proptest::option::of(any::<usize>()),
    ) {
        let verifier = verifier(&scheme, &[&a, &b]);
        let headers = signed(&verifier, which, &body);
        let received = match change {
            Some(bit) if !body.is_empty() => flipped(&body, bit),
            _ => body,
        };
        let prepared = verifier.prepare(headers.as_slice(), NOW_MS).unwrap();
        let tags: Vec<Tag> = prepared
            .secrets()
            .iter()
            .map(|secret| tag_elsewhere(secret.key_bytes(), prepared.before_body(), &received, prepared.after_body()))
            .collect();
        let elsewhere = prepared.check(&tags).map(|verified| verified.label.to_owned()).map_err(|refusal| refusal.code());
        prop_assert_eq!(elsewhere, verdict(&verifier, &headers, &received));
    }

    #[test]
    fn no_header_makes_verification_or_explanation_fail(
        scheme in schemes(), text in secret_texts(), body in vec(any::<u8>(), 0..60), now_ms in any::<u64>(),
        values in vec("(v1,|sha256=|v0=)?[0-9a-zA-Z+/=_,; \"\u{fffd}é-]{0,70}", 3), genuine in any::<bool>(),
    ) {
        let verifier = verifier(&scheme, &[&text]);
        let names: Vec<String> = scheme.headers().map(str::to_owned).collect();
        let headers: SignedHeaders = if genuine { signed(&verifier, 0, &body) } else { names.into_iter().zip(values).collect() };
        let verified = verifier.verify(headers.as_slice(), &body, now_ms).is_ok();
        let explanation = doctor::explain(&verifier, headers.as_slice(), &body, now_ms);
        prop_assert_eq!(verified, matches!(explanation.verdict, "accepted" | "invalid_json" | "invalid_envelope"));
        prop_assert!(!explanation.summary.is_empty());
        prop_assert!(verified || !explanation.findings.is_empty());
        prop_assert!(!explanation.summary.contains(&text));
    }

    #[test]
    fn what_is_kept_of_a_request_verifies_again(scheme in schemes(), text in secret_texts(), body in vec(any::<u8>(), 0..60)) {
        let verifier = verifier(&scheme, &[&text]);
        let mut request = signed(&verifier, 0, &body);
        request.insert(0, ("Authorization".to_owned(), "Bearer x".to_owned()));
        let kept = headers::keep_first(&scheme, &[], request.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        prop_assert_eq!(kept.credentials_removed, 1);
        prop_assert_eq!(verdict(&verifier, &genesys_webhook::headers::owned(kept.headers), &body), Ok("current".to_owned()));
    }

    #[test]
    fn keys_are_deterministic_bounded_and_visible(id in "\\PC{0,300}", kind in "\\PC{0,20}", time in "[0-9TZ:.-]{0,30}") {
        let scheme = Scheme::open_messaging();
        let body = serde_json::json!({"id": id, "type": kind, "channel": {"time": time}}).to_string();
        let envelope = scheme.inspect(body.as_bytes()).unwrap();
        let none: &[(&str, &str)] = &[];
        let key = scheme.idempotency_key(none, &envelope);
        prop_assert_eq!(key.is_some(), !id.is_empty() && !kind.is_empty() && !time.is_empty());
        if let Some(key) = key {
            prop_assert!(key.len() <= genesys_webhook::dedupe::MAX_KEY_CHARS && key.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}

#[test]
fn a_body_over_the_limit_is_named() {
    let refusal = Refusal::BodyTooLarge { limit_bytes: 5_000_000 };
    assert_eq!(
        (refusal.code().http_status(), refusal.detail().as_str()),
        (413, "the body is larger than 5000000 bytes")
    );
}
