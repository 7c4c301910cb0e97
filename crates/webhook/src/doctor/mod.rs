//! The signature doctor: why does this request verify, or what would have made it verify?
//!
//! Promises:
//! - [`explain`] gives the gateway's own verdict and looks for the one mistake behind it: another header, prefix or
//!   encoding together with at most one of a secret taken otherwise, another signed content, or a changed body.
//! - Work is bounded by a budget of bytes for everything that is hashed or rewritten; an explanation says so where the
//!   budget ended the search.
//! - Nothing that it returns contains a secret, a signature or content of the body.
//!
//! Out of scope: two mistakes at once (beyond those of the header), signatures other than HMAC-SHA256.

mod bodies;
mod explanation;
mod presented;
mod rewrite;
mod search;
mod secrets;

pub use explanation::{Expected, Explanation, Finding, FindingCode, SeenSignature};
pub use presented::SecretTexts;

use crate::headers::HeaderSource;
use crate::refusal::Refusal;
use crate::scheme::Scheme;
use crate::signature::{Verified, Verifier, VerifyError, seconds, skew_s};
use presented::Presented;
use search::{Diagnosis, Search, contents};

/// What [`explain`] may hash: about 100 ms in wasm. With one secret, bodies up to 200 KB are looked at under every transformation.
pub const EXPLAIN_BUDGET_BYTES: usize = 16 * 1024 * 1024;
/// What [`diagnose`] may hash: about 2 ms in wasm, because the sender of forgeries decides how often it runs.
pub const DIAGNOSE_BUDGET_BYTES: usize = 256 * 1024;

/// Explains a request.
///
/// `now_ms`: milliseconds since the epoch; for a dead letter the time of its receipt, else its timestamp is stale.
pub fn explain(verifier: &Verifier, headers: &(impl HeaderSource + ?Sized), body: &[u8], now_ms: u64) -> Explanation {
    let verdict = verifier.verify(headers, body, now_ms);
    // The verdict is asked for whatever it costs; what it cost is not there for the search any more.
    let active = verifier.secrets().iter().filter(|secret| secret.is_active(now_ms)).count();
    let budget_bytes = EXPLAIN_BUDGET_BYTES.saturating_sub(body.len().saturating_mul(active));
    explained_within(budget_bytes, verdict, verifier, headers, body, now_ms)
}

/// The explanation's one line for a request whose signature was refused, within a budget that suits the hot path: for
/// dead letters. The request is not verified again.
pub fn diagnose(verifier: &Verifier, headers: &(impl HeaderSource + ?Sized), body: &[u8], now_ms: u64) -> String {
    let refused = verifier.prepare(headers, now_ms).err().unwrap_or(Refusal::SignatureMismatch.into());
    explained_within(DIAGNOSE_BUDGET_BYTES, Err(refused), verifier, headers, body, now_ms).summary
}

fn explained_within(
    budget_bytes: usize,
    verdict: Result<Verified<'_>, VerifyError>,
    verifier: &Verifier,
    headers: &(impl HeaderSource + ?Sized),
    body: &[u8],
    now_ms: u64,
) -> Explanation {
    let scheme = verifier.scheme();
    let presented = presented::read(scheme, headers);
    let mut explanation = Explanation {
        verdict: "accepted",
        summary: String::new(),
        expected: expected(scheme),
        seen: presented.iter().map(|seen| seen.shown.clone()).collect(),
        secret_label: None,
        event_count: None,
        findings: Vec::new(),
        tried: 0,
        complete: true,
    };
    match verdict {
        Ok(holds) => {
            explanation.secret_label = Some(holds.label.to_owned());
            match scheme.inspect(body) {
                Ok(envelope) => explanation.event_count = Some(envelope.event_count),
                Err(refusal) => {
                    explanation.verdict = refusal.code().as_str();
                    let detail = format!("the body is refused: {}", refusal.detail());
                    explanation.find(FindingCode::InvalidEnvelope, detail);
                }
            }
        }
        Err(error) => {
            explanation.verdict = error.code();
            if error == VerifyError::NoActiveSecret {
                let detail = format!("{error}: give it one, the sender repeats until then");
                explanation.find(FindingCode::NoActiveSecret, detail);
            }
            let mut search = Search::new(budget_bytes, &presented);
            let diagnosis = search.run(verifier, &contents(scheme, headers), body);
            (explanation.tried, explanation.complete) = (search.tried, search.complete);
            match diagnosis {
                Some(diagnosis) => explanation.matched(scheme, &diagnosis, now_ms, &error),
                None => explanation.unmatched(verifier, headers, &presented, &error),
            }
            explanation.stale(scheme, headers, now_ms);
        }
    }
    explanation.summarize();
    explanation
}

impl Explanation {
    fn matched(&mut self, scheme: &Scheme, diagnosis: &Diagnosis<'_>, now_ms: u64, cause: &VerifyError) {
        let secret = diagnosis.secret;
        self.secret_label = Some(secret.label().to_owned());
        if let Some((code, detail)) = diagnosis.mistake {
            self.find(code, detail);
        }
        if !secret.is_active(now_ms) {
            let detail = format!("secret {:?} made this signature and has expired", secret.label());
            self.find(FindingCode::SecretExpired, detail);
        }
        let seen = &diagnosis.presented.shown;
        if seen.header != scheme.signature_header {
            let detail = format!("the signature is in {}, this source reads {}", seen.header, scheme.signature_header);
            self.find(FindingCode::OtherHeader, detail);
        }
        let prefix = seen.prefix.as_deref().unwrap_or_default();
        if prefix != scheme.prefix {
            let expected = &scheme.prefix;
            let detail = format!("the signature stands after {prefix:?}, this source expects {expected:?} before it");
            self.find(FindingCode::OtherPrefix, detail);
        }
        if let Some(encoding) = diagnosis.presented.encoding
            && encoding != scheme.encoding
        {
            let (sent, expected) = (encoding.as_str(), scheme.encoding.as_str());
            let detail = if sent == expected {
                format!("the {sent} of the signature has other padding than this source expects")
            } else {
                format!("the signature is sent as {sent}, this source expects {expected}")
            };
            self.find(FindingCode::OtherEncoding, detail);
        }
        if self.findings.is_empty() {
            self.unreadable(cause);
        }
    }

    /// What the verifier could not read, where it could not.
    fn unreadable(&mut self, cause: &VerifyError) {
        if let VerifyError::Refused(refusal @ (Refusal::MissingSignature(_) | Refusal::MalformedSignature { .. })) =
            cause
        {
            self.find(FindingCode::Header, refusal.detail());
        }
    }

    fn unmatched(
        &mut self,
        verifier: &Verifier,
        headers: &(impl HeaderSource + ?Sized),
        presented: &[Presented],
        cause: &VerifyError,
    ) {
        if presented.is_empty() {
            let header = &verifier.scheme().signature_header;
            let detail = format!("no header that carries signatures is there; this source reads {header}");
            return self.find(FindingCode::NoSignature, detail);
        }
        if presented::shows_a_secret(verifier, headers) {
            let detail = "the header carries the secret itself, not a signature made with it: sign the body, and replace \
                          this secret, which has been sent in the clear";
            return self.find(FindingCode::SecretInHeader, detail);
        }
        if let Some(hash) = presented.iter().find_map(|seen| seen.other_hash) {
            let detail = format!("the signature has the length of {hash}; HMAC-SHA256 is expected");
            return self.find(FindingCode::OtherHash, detail);
        }
        self.unreadable(cause);
        if presented.iter().all(|seen| seen.tag.is_none()) {
            self.find(FindingCode::NotDecodable, "no value is 32 bytes in hex, base64 or base64url");
        } else if !verifier.secrets().is_empty() {
            let detail = "no secret of this source makes this signature, under any transformation that was tried: the \
                          sender has another secret, or the body was changed after it was signed";
            self.find(FindingCode::Unexplained, detail);
        }
    }

    fn stale(&mut self, scheme: &Scheme, headers: &(impl HeaderSource + ?Sized), now_ms: u64) {
        let Some(rule) = &scheme.timestamp else { return };
        let Some(signed_s) = headers.get(&rule.header).and_then(|text| seconds(&text)) else { return };
        let (skew_s, tolerance_s) = (skew_s(signed_s, now_ms), rule.tolerance_s);
        if skew_s.unsigned_abs() > u64::from(tolerance_s) {
            let detail = Refusal::TimestampOutOfTolerance { skew_s, tolerance_s }.detail();
            let advice = "check the sender's clock, or sign each repetition anew";
            self.find(FindingCode::StaleTimestamp, format!("{detail}: {advice}"));
        }
    }
}

fn expected(scheme: &Scheme) -> Expected {
    Expected {
        profile: scheme.profile.as_str(),
        header: scheme.signature_header.clone(),
        prefix: scheme.prefix.clone(),
        encoding: scheme.encoding.as_str(),
        signed_content: scheme.signed_content(),
        tolerance_s: scheme.tolerance_s(),
    }
}

#[cfg(test)]
mod tests;
