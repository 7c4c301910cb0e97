//! Headers in, verdict out: nothing panics, nothing forged is accepted, nothing genuine is refused.
//!
//! Input: a request as text (`crate::request`).

use crate::request::Request;
use crate::{hex, hmac_sha256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use genesys_webhook::dedupe::MAX_KEY_CHARS;
use genesys_webhook::encoding::Encoding;
use genesys_webhook::headers::{self, MAX_HEADERS, MAX_TOTAL_BYTES, is_credential_name};
use genesys_webhook::refusal::Refusal;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::sign::sign;
use genesys_webhook::signature::VerifyError;

/// Judges one input; `false` where it says nothing.
pub fn run(input: &[u8]) -> bool {
    let Some(request) = Request::read(input) else { return false };
    let verdict = verify(&request);
    really_signed(&request, &verdict);
    own_signatures_hold(&request);
    kept_headers_verify_again(&request, &verdict);
    keys_are_bounded(&request);
    decoding_is_exact(&request);
    true
}

type Verdict = Result<String, VerifyError>;

/// The verdict, which the two halves must give too.
fn verify(request: &Request) -> Verdict {
    let Request { verifier, headers, body, now_ms, .. } = request;
    let whole = verifier.verify(headers.as_slice(), body, *now_ms);
    let halves = verifier.prepare(headers.as_slice(), *now_ms).and_then(|prepared| {
        let content = [prepared.before_body(), body, prepared.after_body()].concat();
        let tags: Vec<_> = prepared.secrets().iter().map(|secret| hmac_sha256(secret.key_bytes(), &content)).collect();
        Ok(prepared.check(&tags)?)
    });
    assert_eq!(whole, halves, "verify is not prepare and check");
    let shown = format!("{whole:?} {}", whole.as_ref().err().map(ToString::to_string).unwrap_or_default());
    for secret in verifier.secrets() {
        let key = String::from_utf8_lossy(secret.key_bytes()).into_owned();
        assert!(verifier.scheme().prefix().contains(&key) || !shown.contains(&key), "the verdict shows a secret");
    }
    whole.map(|holds| holds.label.to_owned())
}

/// Judges a verdict from the template in words and an HMAC of our own.
fn really_signed(request: &Request, verdict: &Verdict) {
    let scheme = request.verifier.scheme();
    let value = |name: &Option<String>| name.as_deref().and_then(|name| request.header(name));
    let (id, timestamp) = (value(&request.id_header), value(&request.timestamp_header));
    let header = request.header(scheme.signature_header()).unwrap_or_default();
    let entries = entries(&header, scheme.prefix());
    let content = fill(&scheme.signed_content(), id.as_deref(), timestamp.as_deref(), &request.body);
    let active = request.verifier.secrets().iter().filter(|secret| secret.is_active(request.now_ms));
    let signer = active.into_iter().find(|secret| {
        let tag = hmac_sha256(secret.key_bytes(), &content);
        entries.iter().any(|entry| is_written_as(entry, scheme.encoding(), &tag))
    });
    match verdict {
        Ok(label) => {
            assert_eq!(Some(label.as_str()), signer.map(SigningSecret::label), "accepted, and not signed so");
            if let (Some(tolerance_s), Some(text)) = (scheme.tolerance_s(), timestamp) {
                assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} is no time");
                let signed_s: u64 = text.parse().expect("digits");
                assert!((request.now_ms / 1_000).abs_diff(signed_s) <= tolerance_s.into(), "accepted out of time");
            }
        }
        Err(VerifyError::Refused(Refusal::SignatureMismatch)) => {
            assert!(signer.is_none(), "refused, and signed by {signer:?}");
        }
        Err(VerifyError::NoActiveSecret) => {
            assert!(!request.verifier.secrets().iter().any(|secret| secret.is_active(request.now_ms)));
        }
        Err(_) => {}
    }
}

fn fill(template: &str, id: Option<&str>, timestamp: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let known: [(&str, &[u8]); 3] = [
            ("{id}", id.unwrap_or_default().as_bytes()),
            ("{timestamp}", timestamp.unwrap_or_default().as_bytes()),
            ("{body}", body),
        ];
        let next = known.into_iter().find_map(|(name, value)| Some((value, rest.strip_prefix(name)?)));
        let (value, after) = next.unwrap_or_else(|| {
            let (literal, after) = rest.split_at(rest.find('{').filter(|at| *at > 0).unwrap_or(rest.len()));
            (literal.as_bytes(), after)
        });
        content.extend_from_slice(value);
        rest = after;
    }
    content
}

/// What stands behind the prefix wherever a word begins, commas and white space being between words.
fn entries<'h>(header: &'h str, prefix: &str) -> Vec<&'h str> {
    let separates = |char: char| char == ',' || " \t\r\n".contains(char);
    let begins = |at: usize| !header[..at].ends_with(|char| !separates(char));
    let starts = header.char_indices().map(|(at, _)| at).filter(|at| begins(*at));
    let behind = starts.filter_map(|at| header[at..].strip_prefix(prefix));
    behind.filter_map(|text| text.trim_start_matches([' ', '\t', '\r', '\n']).split(separates).next()).collect()
}

fn is_written_as(text: &str, encoding: Encoding, tag: &[u8; 32]) -> bool {
    match encoding {
        Encoding::Hex => text.eq_ignore_ascii_case(&hex(tag)),
        Encoding::Base64 { padded: true } => text == STANDARD.encode(tag),
        Encoding::Base64 { padded: false } => text == STANDARD_NO_PAD.encode(tag),
        Encoding::Base64Url { padded: true } => text == URL_SAFE.encode(tag),
        Encoding::Base64Url { padded: false } => text == URL_SAFE_NO_PAD.encode(tag),
    }
}

/// What `sign` makes is accepted; with one bit of the body changed it is not.
fn own_signatures_hold(request: &Request) {
    let Request { verifier, body, now_ms, .. } = request;
    let now_s = now_ms / 1_000;
    if now_s > 999_999_999_999 {
        return;
    }
    for secret in verifier.secrets().iter().filter(|secret| secret.is_active(*now_ms)) {
        let headers = sign(verifier.scheme(), secret, "msg_1", now_s, body);
        let holds = verifier.verify(headers.as_slice(), body, *now_ms).expect("an own signature holds");
        let first = verifier.secrets().iter().find(|other| {
            other.is_active(*now_ms) && hmac_sha256(other.key_bytes(), b"") == hmac_sha256(secret.key_bytes(), b"")
        });
        assert_eq!(Some(holds.label), first.map(SigningSecret::label));
        if !body.is_empty() {
            let mut changed = body.clone();
            let at = body.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
            changed[at % body.len()] ^= 1 << (at % 8);
            let refused = verifier.verify(headers.as_slice(), &changed, *now_ms);
            assert_eq!(refused, Err(VerifyError::Refused(Refusal::SignatureMismatch)));
        }
    }
}

/// A dead letter keeps what a replay needs, and no credentials.
fn kept_headers_verify_again(request: &Request, verdict: &Verdict) {
    let scheme = request.verifier.scheme();
    let pairs = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let kept = headers::keep_first(scheme, &[], pairs);
    let bytes: usize = kept.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(kept.headers.len() <= MAX_HEADERS && bytes <= MAX_TOTAL_BYTES);
    assert_eq!(kept.headers.len() + kept.dropped + kept.credentials_removed, request.headers.len());
    for (name, _) in &kept.headers {
        assert!(!is_credential_name(name), "{name} was kept");
    }
    if kept.dropped == 0 {
        let again = request.verifier.verify(kept.headers.as_slice(), &request.body, request.now_ms);
        assert_eq!(*verdict, again.map(|holds| holds.label.to_owned()), "a replay gets another verdict");
    }
}

fn keys_are_bounded(request: &Request) {
    let scheme = request.verifier.scheme();
    if let Ok(envelope) = scheme.inspect(&request.body)
        && let Some(key) = scheme.idempotency_key(request.headers.as_slice(), &envelope)
    {
        assert!(key.len() <= MAX_KEY_CHARS && key.bytes().all(|byte| byte.is_ascii_graphic()), "{key:?}");
    }
}

/// A tag has one text in each encoding (two cases in hexadecimal).
fn decoding_is_exact(request: &Request) {
    for (_, value) in &request.headers {
        for encoding in [
            Encoding::Hex,
            Encoding::Base64 { padded: true },
            Encoding::Base64 { padded: false },
            Encoding::Base64Url { padded: true },
            Encoding::Base64Url { padded: false },
        ] {
            if let Ok(tag) = encoding.decode(value) {
                assert!(is_written_as(value, encoding, &tag), "{value:?} is read as {encoding:?}");
                assert_eq!(encoding.decode(&encoding.encode(&tag)), Ok(tag));
            }
        }
    }
}
