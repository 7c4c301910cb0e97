//! The signature doctor: never panics, agrees with the verifier, and gives nothing away.
//!
//! Input: a request as text (`crate::request`). No explanation may contain a secret of the source in any of its
//! forms, a signature that would be accepted, or a signature that was presented.

use crate::request::Request;
use crate::{hex, hmac_sha256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use genesys_webhook::doctor::{Explanation, diagnose, explain};
use genesys_webhook::refusal::RefusalCode;

/// Shorter values than this are no signature, and would be found in plain words.
const MIN_SIGNATURE_CHARS: usize = 24;

/// Judges one input; `false` where it says nothing.
pub fn run(input: &[u8]) -> bool {
    let Some(request) = Request::read(input) else { return false };
    let Request { verifier, headers, body, now_ms, .. } = &request;
    let explanation = explain(verifier, headers.as_slice(), body, *now_ms);
    agrees(&request, &explanation);
    let json = serde_json::to_string(&explanation).expect("an explanation is JSON");
    let line = diagnose(verifier, headers.as_slice(), body, *now_ms);
    let shown = [explanation.summary.clone(), line, json, format!("{explanation:?} {verifier:?}")];
    for hidden in hidden(&request) {
        for text in &shown {
            assert!(!text.contains(&hidden), "{text:?} shows {hidden:?}");
        }
    }
    true
}

fn agrees(request: &Request, explanation: &Explanation) {
    let Request { verifier, headers, body, now_ms, .. } = request;
    let verdict = match verifier.verify(headers.as_slice(), body, *now_ms) {
        Ok(holds) => {
            assert_eq!(explanation.secret_label.as_deref(), Some(holds.label));
            match verifier.scheme().inspect(body) {
                Ok(envelope) => {
                    assert_eq!(explanation.event_count, Some(envelope.event_count));
                    "accepted"
                }
                Err(refusal) => refusal.code().as_str(),
            }
        }
        Err(error) => error.code(),
    };
    assert_eq!(explanation.verdict, verdict);
    let is_refused = verdict.parse::<RefusalCode>().is_ok();
    assert_eq!(explanation.findings.is_empty(), verdict == "accepted", "{explanation:?}");
    assert!(is_refused || matches!(verdict, "accepted" | "no_active_secret"));
    assert!(!explanation.summary.is_empty());
}

/// Everything that must not be shown, except what is shown of the source whatever is sent to it.
fn hidden(request: &Request) -> Vec<String> {
    let mut hidden = secret_forms(request);
    let scheme = request.verifier.scheme();
    let headers = scheme.headers().collect::<Vec<_>>().join(" ");
    let described = format!("{headers} {:?} {}", scheme.prefix(), scheme.signed_content());
    hidden.retain(|text| text.len() >= MIN_SIGNATURE_CHARS.min(16) && !described.contains(text.as_str()));

    // Any text can be presented as a signature. Only what has the letters of an encoding could be one, and only what is not
    // shown anyway (settings of the source, the name of a verdict) tells something by being shown.
    let nothing: [(&str, &str); 0] = [];
    let bare = explain(&request.verifier, nothing.as_slice(), b"", request.now_ms);
    let bare = format!("{described} {bare:?} {:?}", request.verifier);
    let tells = |part: &&str| {
        part.len() >= MIN_SIGNATURE_CHARS
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte))
            && part.parse::<RefusalCode>().is_err()
            && !bare.contains(part)
    };
    let signature = request.header(scheme.signature_header()).unwrap_or_default();
    hidden.extend(signature.split([' ', ',', '=', ';']).filter(tells).map(str::to_owned));
    hidden
}

/// The secrets, and the tags that this request, or its body alone, would be accepted with, in every form.
fn secret_forms(request: &Request) -> Vec<String> {
    let mut hidden = Vec::new();
    for secret in request.verifier.secrets() {
        let key = secret.key_bytes();
        hidden.extend([STANDARD.encode(key), STANDARD_NO_PAD.encode(key), hex(key), hex(key).to_ascii_uppercase()]);
        if let Ok(text) = std::str::from_utf8(key) {
            hidden.push(text.to_owned());
            hidden.push(text.trim().to_owned());
        }
        let mut tags = vec![hmac_sha256(key, &request.body)];
        if let Ok(prepared) = request.verifier.prepare(request.headers.as_slice(), request.now_ms) {
            let content = [prepared.before_body(), &request.body, prepared.after_body()].concat();
            tags.push(hmac_sha256(key, &content));
        }
        for tag in tags {
            hidden.extend([
                hex(&tag),
                hex(&tag).to_ascii_uppercase(),
                STANDARD_NO_PAD.encode(tag),
                URL_SAFE_NO_PAD.encode(tag),
            ]);
            hidden.push(URL_SAFE.encode(tag));
        }
    }
    hidden
}
