//! The signature doctor: why does this request verify, or what would have made it verify?
//!
//! Promises: [`explain`] gives the gateway's own verdict and then looks for the one mistake behind it: another header,
//! prefix or encoding together with at most one of a secret taken otherwise, another signed content, or a body that
//! was changed after it was signed. Work is bounded by a budget of hashed bytes. Nothing that it returns contains a
//! secret, a signature or content of the body. Its JSON form is pinned by a test.
//! Out of scope: two mistakes at once (beyond those of the header), signatures other than HMAC-SHA256.

use alloc::borrow::Cow;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::refusal::{Refusal, Unavailable};
use crate::scheme::{Scheme, SignedContent};
use crate::signature::{HeaderSource, Verifier, VerifyError, seconds, skew_s};

mod bodies;
mod presented;
mod rewrite;
mod search;
mod secrets;

use presented::Presented;
use search::{Diagnosis, Search};

/// A mistake: its name, and words that follow "made this signature, but".
type Hypothesis = (FindingCode, &'static str);

/// What [`explain`] may hash: about 100 ms in wasm. Bodies up to 500 KB are looked at under every transformation.
pub const EXPLAIN_BUDGET_BYTES: usize = 16 * 1024 * 1024;
/// What [`diagnose`] may hash: about 2 ms in wasm, because whoever sends forgeries decides how often it runs.
pub const DIAGNOSE_BUDGET_BYTES: usize = 256 * 1024;

/// What the doctor found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `accepted`, the code of a refusal, or `no_active_secret`: what the gateway would do with this request.
    pub verdict: &'static str,
    /// Everything in one line.
    pub summary: String,
    /// What the source's scheme expects.
    pub expected: Expected,
    /// What looks like a signature in the request.
    pub seen: Vec<SeenSignature>,
    /// Label of the secret that made a signature of the request, as it is or after the findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_label: Option<String>,
    /// Events in the envelope, where it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_count: Option<u64>,
    /// What is wrong, most important first.
    pub findings: Vec<Finding>,
    /// How many combinations were computed.
    pub tried: u32,
    /// Whether every combination was computed; `false` where the budget ended the search.
    pub complete: bool,
}

/// What a scheme expects, in configuration's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Name of the profile.
    pub profile: &'static str,
    /// Name of the signature header, lower case.
    pub header: String,
    /// What stands before each tag.
    pub prefix: String,
    /// `hex`, `base64` or `base64url`.
    pub encoding: &'static str,
    /// As in `{id}.{timestamp}.{body}`.
    pub signed_content: String,
    /// Largest age of a signature in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_s: Option<u32>,
}

/// Something that looks like a signature; its value is not shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenSignature {
    /// Name of the header, lower case.
    pub header: String,
    /// A known prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Encoding in which it is 32 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<&'static str>,
    /// Characters after the prefix.
    pub chars: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name.
    pub code: FindingCode,
    /// In plain words, with what to do.
    pub detail: String,
}

/// Names of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the details say it in words
pub enum FindingCode {
    NoActiveSecret,
    NoSignature,
    SecretInHeader,
    OtherHash,
    NotDecodable,
    OtherHeader,
    OtherPrefix,
    OtherEncoding,
    SecretExpired,
    SecretWhitespace,
    SecretQuotes,
    SecretLineEnd,
    SecretWhsec,
    SecretBase64,
    SecretHex,
    OtherProfile,
    LineEndRemoved,
    LineEndAdded,
    ByteOrderMark,
    LineEndsChanged,
    WhitespaceTrimmed,
    JsonRewritten,
    EmptyBodySigned,
    StaleTimestamp,
    Header,
    Unexplained,
    InvalidEnvelope,
}

/// Explains a request.
///
/// `now_ms`: milliseconds since the epoch; for a dead letter the time of its receipt, else its timestamp is stale.
pub fn explain(verifier: &Verifier, headers: &(impl HeaderSource + ?Sized), body: &[u8], now_ms: u64) -> Explanation {
    explain_within(EXPLAIN_BUDGET_BYTES, verifier, headers, body, now_ms)
}

/// The explanation's one line, within a budget that suits the hot path: for dead letters of signature refusals.
pub fn diagnose(verifier: &Verifier, headers: &(impl HeaderSource + ?Sized), body: &[u8], now_ms: u64) -> String {
    explain_within(DIAGNOSE_BUDGET_BYTES, verifier, headers, body, now_ms).summary
}

/// Whether a header's value is one of the source's secrets, as a sender shows it who sends the secret in place of a
/// signature: such a value must not be kept. Compared in constant time.
pub fn carries_a_secret(verifier: &Verifier, value: &str) -> bool {
    presented::carries_a_secret(verifier, value)
}

/// The texts that the secrets of a source may have been configured as, derived once: for whoever asks
/// [`carries_a_secret`] of every header of every delivery. Wiped when dropped, and never shown.
pub struct SecretTexts {
    scheme: Scheme,
    texts: Vec<Zeroizing<Vec<u8>>>,
}

impl SecretTexts {
    /// Those of a source.
    pub fn of(verifier: &Verifier) -> Self {
        Self { scheme: verifier.scheme().clone(), texts: presented::texts(verifier) }
    }

    /// As [`carries_a_secret`].
    pub fn are_carried_by(&self, value: &str) -> bool {
        presented::carries_one_of(&self.scheme, &self.texts, value)
    }
}

fn explain_within(
    budget_bytes: usize,
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
        seen: presented.iter().map(Presented::shown).collect(),
        secret_label: None,
        event_count: None,
        findings: Vec::new(),
        tried: 0,
        complete: true,
    };
    match verifier.verify(headers, body, now_ms) {
        Ok(holds) => {
            explanation.secret_label = Some(holds.label.to_owned());
            match scheme.inspect(body) {
                Ok(envelope) => explanation.event_count = Some(envelope.event_count),
                Err(refusal) => {
                    explanation.verdict = refusal.code().as_str();
                    explanation
                        .find(FindingCode::InvalidEnvelope, format!("the body is refused: {}", refusal.detail()));
                }
            }
        }
        Err(VerifyError::Unavailable(reason)) => {
            explanation.verdict = reason.code();
            explanation.search(budget_bytes, verifier, headers, body, now_ms, &presented, &Cause::Ours(reason));
        }
        Err(VerifyError::Refused(refusal)) => {
            explanation.verdict = refusal.code().as_str();
            explanation.search(budget_bytes, verifier, headers, body, now_ms, &presented, &Cause::Theirs(refusal));
        }
    }
    explanation.summarize();
    explanation
}

/// Why the verifier did not verify.
enum Cause {
    Ours(Unavailable),
    Theirs(Refusal),
}

impl Explanation {
    #[allow(clippy::too_many_arguments)] // the request, the source and what is known so far
    fn search(
        &mut self,
        budget_bytes: usize,
        verifier: &Verifier,
        headers: &(impl HeaderSource + ?Sized),
        body: &[u8],
        now_ms: u64,
        presented: &[Presented],
        cause: &Cause,
    ) {
        let scheme = verifier.scheme();
        if let Cause::Ours(reason) = cause {
            self.find(FindingCode::NoActiveSecret, format!("{reason}: give it one, the sender repeats until then"));
        }
        let stale = Self::stale(scheme, headers, now_ms);
        let mut search = Search::new(budget_bytes, presented);
        let diagnosis = search.run(verifier, &contents(scheme, headers), body);
        (self.tried, self.complete) = (search.tried, search.complete);
        match diagnosis {
            Some(diagnosis) => self.matched(scheme, &diagnosis, now_ms, cause),
            None => self.unmatched(verifier, headers, presented, cause),
        }
        self.findings.extend(stale);
    }

    fn matched(&mut self, scheme: &Scheme, diagnosis: &Diagnosis<'_>, now_ms: u64, cause: &Cause) {
        let secret = diagnosis.secret;
        self.secret_label = Some(secret.label().to_owned());
        if let Some((code, detail)) = diagnosis.fault {
            self.find(code, detail.to_owned());
        }
        if !secret.is_active(now_ms) {
            self.find(
                FindingCode::SecretExpired,
                format!("secret {:?} made this signature and has expired", secret.label()),
            );
        }
        let seen = diagnosis.presented;
        if seen.header != scheme.signature_header {
            let detail = format!("the signature is in {}, this source reads {}", seen.header, scheme.signature_header);
            self.find(FindingCode::OtherHeader, detail);
        }
        if seen.prefix.as_deref().unwrap_or_default() != scheme.prefix {
            let detail = format!(
                "the signature stands after {:?}, this source expects {:?} before it",
                seen.prefix.as_deref().unwrap_or_default(),
                scheme.prefix
            );
            self.find(FindingCode::OtherPrefix, detail);
        }
        if let Some(encoding) = seen.encoding
            && encoding != scheme.encoding
        {
            let detail = if encoding.as_str() == scheme.encoding.as_str() {
                format!("the {} of the signature has other padding than this source expects", encoding.as_str())
            } else {
                format!(
                    "the signature is sent as {}, this source expects {}",
                    encoding.as_str(),
                    scheme.encoding.as_str()
                )
            };
            self.find(FindingCode::OtherEncoding, detail);
        }
        if self.findings.is_empty() {
            self.unreadable(cause);
        }
    }

    /// What the verifier could not read, where it could not.
    fn unreadable(&mut self, cause: &Cause) {
        if let Cause::Theirs(refusal @ (Refusal::MissingSignature { .. } | Refusal::MalformedSignature { .. })) = cause
        {
            self.find(FindingCode::Header, refusal.detail());
        }
    }

    fn unmatched(
        &mut self,
        verifier: &Verifier,
        headers: &(impl HeaderSource + ?Sized),
        presented: &[Presented],
        cause: &Cause,
    ) {
        if presented.is_empty() {
            let detail = format!(
                "no header that carries signatures is there; this source reads {}",
                verifier.scheme().signature_header
            );
            self.find(FindingCode::NoSignature, detail);
            return;
        }
        if presented::shows_a_secret(verifier, headers) {
            let detail = "the header carries the secret itself, not a signature made with it: sign the body, and replace \
                          this secret, which has been sent in the clear";
            self.find(FindingCode::SecretInHeader, detail.to_owned());
            return;
        }
        if let Some(hash) = presented.iter().find_map(|seen| seen.other_hash) {
            self.find(
                FindingCode::OtherHash,
                format!("the signature has the length of {hash}; HMAC-SHA256 is expected"),
            );
            return;
        }
        self.unreadable(cause);
        if presented.iter().all(|seen| seen.tag.is_none()) {
            self.find(FindingCode::NotDecodable, "no value is 32 bytes in hex, base64 or base64url".to_owned());
        } else if !verifier.secrets().is_empty() {
            let detail = "no secret of this source makes this signature, under any transformation that was tried: the \
                          sender has another secret, or the body was changed after it was signed";
            self.find(FindingCode::Unexplained, detail.to_owned());
        }
    }

    fn stale(scheme: &Scheme, headers: &(impl HeaderSource + ?Sized), now_ms: u64) -> Option<Finding> {
        let rule = scheme.timestamp.as_ref()?;
        let skew_s = skew_s(seconds(&headers.get(&rule.header)?)?, now_ms);
        if skew_s.unsigned_abs() <= u64::from(rule.tolerance_s) {
            return None;
        }
        let detail = Refusal::TimestampOutOfTolerance { skew_s, tolerance_s: rule.tolerance_s }.detail();
        let advice = "check the sender's clock, or sign each repetition anew";
        Some(Finding { code: FindingCode::StaleTimestamp, detail: format!("{detail}: {advice}") })
    }

    fn find(&mut self, code: FindingCode, detail: String) {
        self.findings.push(Finding { code, detail });
    }

    fn summarize(&mut self) {
        let details: Vec<&str> = self.findings.iter().map(|finding| finding.detail.as_str()).collect();
        let mut summary = match (&self.secret_label, details.is_empty()) {
            (Some(label), true) => format!("accepted: secret {label:?} made this signature"),
            (Some(label), false) => format!("secret {label:?} made this signature, but {}", details.join("; ")),
            (None, _) => details.join("; "),
        };
        if !self.complete {
            summary.push_str(" (the search ended at its limit)");
        }
        self.summary = summary;
    }
}

fn expected(scheme: &Scheme) -> Expected {
    Expected {
        profile: scheme.profile().as_str(),
        header: scheme.signature_header().to_owned(),
        prefix: scheme.prefix().to_owned(),
        encoding: scheme.encoding().as_str(),
        signed_content: scheme.signed_content(),
        tolerance_s: scheme.tolerance_s(),
    }
}

/// Something that may have been signed around the body.
struct Content {
    before: Vec<u8>,
    after: Vec<u8>,
    fault: Option<Hypothesis>,
}

/// The source's own content first, then those of the other profiles, as far as the request has what they need.
fn contents(scheme: &Scheme, headers: &(impl HeaderSource + ?Sized)) -> Vec<Content> {
    let own_names = (scheme.id_header.as_deref(), scheme.timestamp.as_ref().map(|rule| rule.header.as_str()));
    let mut contents = Vec::new();
    let mut add = |content: &SignedContent, (id, timestamp): (Option<&str>, Option<&str>), fault| {
        let value =
            |name: Option<&str>| name.map_or(Some(String::new()), |name| headers.get(name).map(Cow::into_owned));
        if let (Some(id), Some(timestamp)) = (value(id), value(timestamp)) {
            let (before, after) = content.around(&id, &timestamp);
            contents.push(Content { before, after, fault });
        }
    };
    add(&scheme.content, own_names, None);
    let raw = SignedContent::default();
    if scheme.content != raw {
        let detail = "over the body alone, as the profiles webhooks and open-messaging sign; this source expects the \
                      identifier or timestamp in what is signed";
        add(&raw, (None, None), Some((FindingCode::OtherProfile, detail)));
    }
    let standard = Scheme::standard_webhooks();
    if scheme.content != standard.content {
        let detail = "over identifier, timestamp and body, as the profile standard-webhooks signs; this source expects \
                      another signed content";
        let names = (Some("webhook-id"), Some("webhook-timestamp"));
        add(&standard.content, names, Some((FindingCode::OtherProfile, detail)));
    }
    contents
}

#[cfg(test)]
mod tests;
