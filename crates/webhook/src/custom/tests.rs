use super::*;

fn parse(json: &str) -> CustomScheme {
    serde_json::from_str(json).unwrap()
}

fn errors(json: &str) -> Vec<String> {
    parse(json).resolve().unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_description_signs_the_raw_body() {
    let scheme = parse(r#"{"header":"X-Signature","encoding":"hex"}"#).resolve().unwrap();
    assert_eq!(scheme.signature_header, "x-signature");
    assert_eq!(scheme.signed_content(), "{body}");
    assert_eq!(scheme.envelope(), EnvelopeKind::Object);
    assert_eq!(scheme.dedupe, DedupeRule::Body);
    assert_eq!(scheme.timestamp, None);
}

#[test]
fn a_description_of_standard_webhooks_equals_the_preset() {
    let mut scheme = parse(
        r#"{"header":"webhook-signature","prefix":"v1,","encoding":"base64",
            "timestamp_header":"webhook-timestamp","id_header":"webhook-id",
            "signed_content":"{id}.{timestamp}.{body}","secret_format":"base64"}"#,
    )
    .resolve()
    .unwrap();
    scheme.profile = Profile::StandardWebhooks;
    assert_eq!(scheme, Scheme::standard_webhooks());
}

#[test]
fn every_error_is_reported_at_once_and_names_its_key() {
    let found = parse(
        r#"{"header":"bad name","prefix":"a b","encoding":"hax","timestamp_header":"Cookie",
            "tolerance_s":0,"id_header":"x:y","signed_content":"{id}","secret_format":"rot13","envelope":"batch",
            "dedupe_pointer":"id","dedupe_header":"a b"}"#,
    )
    .resolve()
    .unwrap_err();
    let keys: Vec<_> = found.iter().map(|error| error.key).collect();
    assert_eq!(
        keys.join(" "),
        "header prefix encoding timestamp_header tolerance_s id_header signed_content secret_format envelope dedupe_header \
         dedupe_header dedupe_pointer"
    );
    for error in found {
        assert!(error.to_string().starts_with(&format!("`{}`: ", error.key)), "{error}");
    }
}

#[test]
fn an_empty_description_names_what_is_required() {
    assert_eq!(errors("{}"), ["`header`: is required", "`encoding`: is required"]);
}

#[test]
fn unknown_keys_are_refused() {
    let error = serde_json::from_str::<CustomScheme>(r#"{"headr":"x"}"#).unwrap_err();
    assert!(error.to_string().contains("headr"), "{error}");
}

#[test]
fn headers_that_are_not_signed_or_not_named_are_refused() {
    let base = r#""header":"s","encoding":"hex""#;
    for (rest, expected) in [
        (
            r#""timestamp_header":"t""#,
            "`timestamp_header`: `signed_content` does not contain {timestamp}, so anybody could change this header",
        ),
        (
            r#""id_header":"i","signed_content":"{body}""#,
            "`id_header`: `signed_content` does not contain {id}, so anybody could change this header",
        ),
        (r#""signed_content":"{timestamp}{body}""#, "`signed_content`: means nothing without `timestamp_header`"),
        (r#""signed_content":"{id}{body}""#, "`signed_content`: means nothing without `id_header`"),
        (r#""tolerance_s":5"#, "`tolerance_s`: means nothing without `timestamp_header`"),
        (r#""padding":true"#, "`padding`: means nothing without `encoding = \"base64\" or \"base64url\"`"),
        (r#""id_header":"S","signed_content":"{id}{body}""#, "`id_header`: \"S\" is already the header of another key"),
        (r#""signed_content":"{body}{body}""#, "`signed_content`: must contain {body} exactly once"),
        (r#""signed_content":"{body}{nonce}""#, "`signed_content`: braces stand only around id, timestamp and body"),
        (r#""signed_content":"}{body}""#, "`signed_content`: braces stand only around id, timestamp and body"),
    ] {
        assert_eq!(errors(&format!("{{{base},{rest}}}")), [expected]);
    }
}

#[test]
fn a_credential_header_cannot_carry_the_signature() {
    for name in ["Authorization", "proxy-authorization", "COOKIE", "x-api-key", "x-auth-token"] {
        let why = "carries credentials and is never kept, so a delivery could not be verified again";
        let found = errors(&format!(r#"{{"header":"{name}","encoding":"hex"}}"#));
        assert_eq!(found, [format!("`header`: {name:?} {why}")]);
    }
}

#[test]
fn a_prefix_may_hold_a_comma_but_not_begin_with_one() {
    assert_eq!(
        errors(r#"{"header":"s","encoding":"hex","prefix":",v1"}"#),
        ["`prefix`: expected visible ASCII characters that do not begin with a comma, at most 64"]
    );
    assert!(parse(r#"{"header":"s","encoding":"hex","prefix":"v1,"}"#).resolve().is_ok());
}
