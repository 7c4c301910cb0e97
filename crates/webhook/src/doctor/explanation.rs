//! What the signature doctor says, in the form that is answered.
//!
//! Promise: the JSON form is pinned by a test. Out of scope: how it is found.

use serde::Serialize;

/// A mistake: its name, and words that follow "made this signature, but".
pub(super) type Mistake = (FindingCode, &'static str);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `accepted`, the code of a refusal, or `no_active_secret`: what the gateway would do with this request.
    pub verdict: &'static str,
    pub summary: String,
    pub expected: Expected,
    pub seen: Vec<SeenSignature>,
    /// Label of the secret that made a signature of the request, as it is or after the findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_count: Option<u64>,
    /// What is wrong, most important first.
    pub findings: Vec<Finding>,
    pub tried: u32,
    /// Whether every combination was computed; `false` where the budget ended the search, as the summary says too.
    pub complete: bool,
}

/// What a scheme expects, in configuration's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    pub profile: &'static str,
    /// Name of the signature header, lower case.
    pub header: String,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Encoding in which it is 32 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<&'static str>,
    pub chars: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: FindingCode,
    /// In plain words, with what to do.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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

impl Explanation {
    pub(super) fn find(&mut self, code: FindingCode, detail: impl Into<String>) {
        self.findings.push(Finding { code, detail: detail.into() });
    }

    pub(super) fn summarize(&mut self) {
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
