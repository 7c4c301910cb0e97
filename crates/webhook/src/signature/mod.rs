//! Verification of signatures over raw bytes.
//!
//! Promises:
//! - Only the scheme's own headers, prefix, encoding and signed content count (no downgrade).
//! - Comparison takes the same time whatever differs and never fails on lengths. It goes through every active secret and
//!   every presented tag without an early exit.
//! - What is refused is refused by name.
//!
//! There is one way: [`Verifier::prepare`] reads the headers, the caller computes one tag for each active secret, and
//! [`PreparedCheck::check`] compares. [`Verifier::verify`] is these two with the tags computed here. A host that hashes
//! large bodies elsewhere (WebCrypto) takes the key bytes from [`PreparedCheck::secrets`] and does the middle itself.
//!
//! Out of scope: reading bodies, limiting their size, replay within the tolerance (deduplication sees to that).

use alloc::borrow::Cow;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::encoding::Tag;
use crate::headers::HeaderSource;
use crate::refusal::{Refusal, SignatureFault};
use crate::scheme::Scheme;
use crate::secret::SigningSecret;

/// Longest signature header. Sixteen signatures of 44 characters with prefixes need about 1 KB.
pub const MAX_SIGNATURE_HEADER_BYTES: usize = 4_096;
/// Most signatures in one header: a rotation sends two, sixteen leaves room and bounds the comparisons.
pub const MAX_SIGNATURES: usize = 16;
/// Longest delivery identifier that takes part in signed content.
pub const MAX_IDENTIFIER_BYTES: usize = 256;
/// Longest timestamp: twelve digits of seconds last until the year 33658.
const MAX_TIMESTAMP_DIGITS: usize = 12;

#[derive(Debug)]
pub struct Verifier {
    scheme: Scheme,
    secrets: Vec<SigningSecret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'v> {
    /// Label of the secret that made it; the first in configuration order where several hold the same key.
    pub label: &'v str,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// We are: the source has no secret, or every one of them has expired. The answer is 503, so that the sender repeats.
    #[error("the source has no active secret")]
    NoActiveSecret,
}

impl VerifyError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code().as_str(),
            Self::NoActiveSecret => "no_active_secret",
        }
    }
}

/// A request whose headers were read: what is presented, and what has to be computed.
#[derive(Debug)]
pub struct PreparedCheck<'v> {
    active: Vec<&'v SigningSecret>,
    presented: Vec<Tag>,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Verifier {
    /// A verifier for one source; `secrets` in the order of configuration, the current one first.
    pub fn new(scheme: Scheme, secrets: Vec<SigningSecret>) -> Self {
        Self { scheme, secrets }
    }

    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Every secret, expired ones too.
    pub fn secrets(&self) -> &[SigningSecret] {
        &self.secrets
    }

    /// Verifies a request at once.
    ///
    /// `now_ms`: milliseconds since the epoch. Errors: as [`Self::prepare`] and [`PreparedCheck::check`].
    pub fn verify(
        &self,
        headers: &(impl HeaderSource + ?Sized),
        body: &[u8],
        now_ms: u64,
    ) -> Result<Verified<'_>, VerifyError> {
        let prepared = self.prepare(headers, now_ms)?;
        Ok(prepared.check(&prepared.tags(body))?)
    }

    /// Reads the headers.
    ///
    /// Errors: [`VerifyError::NoActiveSecret`] before anything else; then, in this order,
    /// [`Refusal::MissingSignature`], [`Refusal::MalformedSignature`], [`Refusal::TimestampOutOfTolerance`].
    pub fn prepare(
        &self,
        headers: &(impl HeaderSource + ?Sized),
        now_ms: u64,
    ) -> Result<PreparedCheck<'_>, VerifyError> {
        let active: Vec<&SigningSecret> = self.secrets.iter().filter(|secret| secret.is_active(now_ms)).collect();
        if active.is_empty() {
            return Err(VerifyError::NoActiveSecret);
        }
        let scheme = &self.scheme;
        let signature = required(headers, &scheme.signature_header)?;
        let id = scheme.id_header.as_deref().map(|name| required(headers, name)).transpose()?;
        let timestamp = match &scheme.timestamp {
            Some(rule) => Some((rule, required(headers, &rule.header)?)),
            None => None,
        };
        let presented = presented(scheme, &signature).map_err(|fault| malformed(&scheme.signature_header, fault))?;
        if let (Some(name), Some(id)) = (&scheme.id_header, &id) {
            check_identifier(id).map_err(|fault| malformed(name, fault))?;
        }
        if let Some((rule, text)) = &timestamp {
            let signed_s = seconds(text).ok_or_else(|| malformed(&rule.header, SignatureFault::Timestamp))?;
            let skew_s = skew_s(signed_s, now_ms);
            if skew_s.unsigned_abs() > u64::from(rule.tolerance_s) {
                return Err(Refusal::TimestampOutOfTolerance { skew_s, tolerance_s: rule.tolerance_s }.into());
            }
        }
        let (before, after) =
            scheme.content.around(id.as_deref().unwrap_or_default(), timestamp.as_ref().map_or("", |(_, text)| text));
        Ok(PreparedCheck { active, presented, before, after })
    }
}

impl<'v> PreparedCheck<'v> {
    /// The bytes of the signed content that come before the body; empty for most schemes.
    pub fn before_body(&self) -> &[u8] {
        &self.before
    }

    /// The bytes of the signed content that come after the body.
    pub fn after_body(&self) -> &[u8] {
        &self.after
    }

    /// The secrets to compute a tag with, in the order that [`Self::check`] takes the tags in.
    pub fn secrets(&self) -> &[&'v SigningSecret] {
        &self.active
    }

    /// The tags that [`Self::check`] takes, computed here.
    pub fn tags(&self, body: &[u8]) -> Vec<Tag> {
        self.active.iter().map(|secret| secret.mac().tag([&self.before, body, &self.after])).collect()
    }

    /// Compares what was presented with one finished tag per active secret, in the order of [`Self::secrets`].
    ///
    /// Errors: [`Refusal::SignatureMismatch`], also for a secret whose tag is missing.
    pub fn check(&self, tags: &[Tag]) -> Result<Verified<'v>, Refusal> {
        let mut any = Choice::from(0);
        let mut index = 0u64;
        for (candidate, tag) in (0u64..).zip(tags) {
            let mut matches = Choice::from(0);
            for presented in &self.presented {
                matches |= presented.as_slice().ct_eq(tag.as_slice());
            }
            index.conditional_assign(&candidate, matches & !any);
            any |= matches;
        }
        let matched = usize::try_from(index).ok().filter(|_| bool::from(any)).and_then(|index| self.active.get(index));
        matched.map(|secret| Verified { label: secret.label() }).ok_or(Refusal::SignatureMismatch)
    }
}

fn malformed(header: &str, fault: SignatureFault) -> Refusal {
    Refusal::MalformedSignature { header: header.to_owned(), fault }
}

fn required<'h>(headers: &'h (impl HeaderSource + ?Sized), name: &str) -> Result<Cow<'h, str>, Refusal> {
    let value = headers.get(name).filter(|value| !value.is_empty());
    value.ok_or_else(|| Refusal::MissingSignature(name.to_owned()))
}

/// The tags of a signature header, at least one. An entry that is malformed or of another version is passed over: it
/// only explains the refusal where no entry can be read.
fn presented(scheme: &Scheme, value: &str) -> Result<Vec<Tag>, SignatureFault> {
    if value.len() > MAX_SIGNATURE_HEADER_BYTES {
        return Err(SignatureFault::TooLong(MAX_SIGNATURE_HEADER_BYTES));
    }
    let mut tags = Vec::new();
    let mut first_fault = None;
    for (number, text) in entries(value, &scheme.prefix).enumerate() {
        if number >= MAX_SIGNATURES {
            return Err(SignatureFault::TooMany(MAX_SIGNATURES));
        }
        match scheme.encoding.decode(text) {
            Ok(tag) => tags.push(tag),
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    match first_fault {
        _ if !tags.is_empty() => Ok(tags),
        Some(fault) => Err(fault.into()),
        None => Err(SignatureFault::Prefix(scheme.prefix.clone())),
    }
}

/// The texts behind `prefix` in a header that holds one signature or a list of them.
///
/// Commas and white space separate entries, because they also stand where a header was sent twice or was folded. White
/// space may follow the prefix, as in `v1, <signature>`.
fn entries<'h>(value: &'h str, prefix: &'h str) -> impl Iterator<Item = &'h str> {
    let is_space = |char| matches!(char, ' ' | '\t' | '\r' | '\n');
    let separates = move |char| char == ',' || is_space(char);
    let until_separator = move |text: &'h str| text.split_once(separates).unwrap_or((text, ""));
    let mut rest = value;
    core::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(separates);
            if rest.is_empty() {
                return None;
            }
            let text = rest.strip_prefix(prefix);
            // On to the next word, not behind the entry: a prefix without a signature may stand before another one.
            rest = until_separator(rest).1;
            if let Some(text) = text {
                return Some(until_separator(text.trim_start_matches(is_space)).0);
            }
        }
    })
}

/// An identifier stands next to the body in what is signed. Without `{`, `"` and `\` in it, no part of a JSON body can
/// be passed off as part of the identifier.
fn check_identifier(id: &str) -> Result<(), SignatureFault> {
    let fits = id.len() <= MAX_IDENTIFIER_BYTES
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'"' | b'\\'));
    if fits { Ok(()) } else { Err(SignatureFault::Identifier(MAX_IDENTIFIER_BYTES)) }
}

/// Whole seconds since the epoch: digits and nothing else.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let digits = (1..=MAX_TIMESTAMP_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Age of a signature in whole seconds; negative where it lies in the future.
pub(crate) fn skew_s(signed_s: u64, now_ms: u64) -> i64 {
    // Both numbers are far below 2^63: twelve digits, and milliseconds divided by a thousand.
    now_ms.wrapping_div(1_000).cast_signed().saturating_sub(signed_s.cast_signed())
}

#[cfg(test)]
mod tests;
