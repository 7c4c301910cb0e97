//! Signature schemes, resolved: every question that verification asks has one answer here.
//!
//! Promises:
//! - A `Scheme` is consistent, because it comes from a preset or from a checked [`crate::custom::CustomScheme`].
//! - Nothing falls back from one scheme to another. Only the header, prefix, encoding and signed content of the source's
//!   own scheme are tried.
//!
//! Out of scope: verification itself, see [`crate::signature`].

use crate::dedupe::{self, DedupeRule};
use crate::encoding::Encoding;
use crate::envelope::{self, Envelope, EnvelopeKind};
use crate::headers::HeaderSource;
use crate::profile::Profile;
use crate::refusal::Refusal;

/// Tolerance of Standard Webhooks' reference implementations, both ways, in seconds.
pub const STANDARD_TOLERANCE_S: u32 = 300;

/// What a source's deliveries look like and how they are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub(crate) profile: Profile,
    /// Lower case, as are all header names here.
    pub(crate) signature_header: String,
    /// Stands before each encoded tag, case and all; may be empty.
    pub(crate) prefix: String,
    pub(crate) encoding: Encoding,
    pub(crate) timestamp: Option<TimestampRule>,
    pub(crate) id_header: Option<String>,
    pub(crate) content: SignedContent,
    pub(crate) secret_format: SecretFormat,
    pub(crate) envelope: EnvelopeKind,
    pub(crate) dedupe: DedupeRule,
}

/// How the text of a secret becomes its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFormat {
    /// The text's UTF-8 bytes are the key.
    Text,
    /// Base64 of the key in either alphabet, padded or not, `whsec_` before it or not.
    Base64,
    /// Hexadecimal of the key.
    Hex,
}

impl SecretFormat {
    pub(crate) const fn described(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Base64 => "base64, with or without \"whsec_\" before it",
            Self::Hex => "an even number of hexadecimal digits",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimestampRule {
    pub(crate) header: String,
    pub(crate) tolerance_s: u32,
}

/// What is signed: a text before the body, the raw body, a text after it. Braces stand in these texts only in `{id}` and
/// `{timestamp}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignedContent {
    pub(crate) before: String,
    pub(crate) after: String,
}

impl Scheme {
    /// The scheme of a profile; `None` for [`Profile::Custom`], which has to be described.
    pub fn preset(profile: Profile) -> Option<Self> {
        match profile {
            Profile::Webhooks => Some(Self::webhooks()),
            Profile::OpenMessaging => Some(Self::open_messaging()),
            Profile::StandardWebhooks => Some(Self::standard_webhooks()),
            Profile::Custom => None,
        }
    }

    /// `X-Genesys-Signature: <hex>` over the raw body; `{"events":[…]}`.
    pub fn webhooks() -> Self {
        Self {
            profile: Profile::Webhooks,
            signature_header: "x-genesys-signature".to_owned(),
            prefix: String::new(),
            encoding: Encoding::Hex,
            timestamp: None,
            id_header: None,
            content: SignedContent::default(),
            secret_format: SecretFormat::Text,
            envelope: EnvelopeKind::Events,
            dedupe: DedupeRule::Body,
        }
    }

    /// `X-Hub-Signature-256: sha256=<base64>` over the raw body; one object, known again by `id`, `type`,
    /// `channel.time` and, where it has one, `status`. A receipt carries the `id` of its message, and the receipts of one
    /// message can carry one time.
    pub fn open_messaging() -> Self {
        Self {
            profile: Profile::OpenMessaging,
            signature_header: "x-hub-signature-256".to_owned(),
            prefix: "sha256=".to_owned(),
            encoding: Encoding::Base64 { padded: true },
            envelope: EnvelopeKind::Object,
            dedupe: DedupeRule::of_members(&[&["id"], &["type"], &["channel", "time"], &["status"]], 3),
            ..Self::webhooks()
        }
    }

    /// `webhook-signature: v1,<base64> …` over `id.timestamp.body`; one object, known again by `webhook-id`.
    pub fn standard_webhooks() -> Self {
        Self {
            profile: Profile::StandardWebhooks,
            signature_header: "webhook-signature".to_owned(),
            prefix: "v1,".to_owned(),
            encoding: Encoding::Base64 { padded: true },
            timestamp: Some(TimestampRule {
                header: "webhook-timestamp".to_owned(),
                tolerance_s: STANDARD_TOLERANCE_S,
            }),
            id_header: Some("webhook-id".to_owned()),
            content: SignedContent { before: "{id}.{timestamp}.".to_owned(), after: String::new() },
            secret_format: SecretFormat::Base64,
            envelope: EnvelopeKind::Object,
            dedupe: DedupeRule::Header("webhook-id".to_owned()),
        }
    }

    #[must_use]
    pub fn with_envelope(self, envelope: EnvelopeKind) -> Self {
        Self { envelope, ..self }
    }

    pub fn signature_header(&self) -> &str {
        &self.signature_header
    }

    /// Largest age of a signature in seconds, both ways; `None` where signatures are not dated.
    pub fn tolerance_s(&self) -> Option<u32> {
        self.timestamp.as_ref().map(|rule| rule.tolerance_s)
    }

    /// What stands before each tag; may be empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub fn envelope(&self) -> EnvelopeKind {
        self.envelope
    }

    /// The headers that verification and deduplication read, lower case: what a delivery or a dead letter has to keep.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let timestamp = self.timestamp.as_ref().map(|rule| rule.header.as_str());
        let dedupe = match &self.dedupe {
            DedupeRule::Header(name) if Some(name) != self.id_header.as_ref() => Some(name.as_str()),
            _ => None,
        };
        [Some(self.signature_header.as_str()), self.id_header.as_deref(), timestamp, dedupe].into_iter().flatten()
    }

    /// The signed content in configuration's words, as in `{id}.{timestamp}.{body}`.
    pub fn signed_content(&self) -> String {
        format!("{}{{body}}{}", self.content.before, self.content.after)
    }

    /// Validates the body's envelope and counts its events. Call it on verified bytes only.
    ///
    /// Errors: [`Refusal::InvalidJson`], [`Refusal::InvalidEnvelope`].
    pub fn inspect(&self, body: &[u8]) -> Result<Envelope, Refusal> {
        envelope::inspect(body, self.envelope, self.dedupe.pointers())
    }

    /// The idempotency key that the sender gives: by the rule of the scheme, else by its signed identifier.
    ///
    /// `None` where there is nothing but the body. The body's hash is the key then ([`crate::dedupe::body_key`]), for as
    /// long as the sender repeats; deliveries with different signed identifiers are never taken for one.
    pub fn idempotency_key(&self, headers: &(impl HeaderSource + ?Sized), envelope: &Envelope) -> Option<String> {
        let signed_id = || dedupe::header_key(headers, self.id_header.as_deref()?);
        self.dedupe.key(headers, envelope).or_else(signed_id)
    }
}

impl SignedContent {
    pub(crate) fn around(&self, id: &str, timestamp: &str) -> (Vec<u8>, Vec<u8>) {
        // The identifier comes last, so that nothing is looked for in it.
        let side = |text: &str| text.replace("{timestamp}", timestamp).replace("{id}", id).into_bytes();
        (side(&self.before), side(&self.after))
    }

    pub(crate) fn contains(&self, placeholder: &str) -> bool {
        self.before.contains(placeholder) || self.after.contains(placeholder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_say_what_they_sign_and_read() {
        let told: Vec<_> = Profile::ALL
            .into_iter()
            .filter_map(Scheme::preset)
            .map(|scheme| (scheme.signed_content(), scheme.headers().map(str::to_owned).collect::<Vec<_>>().join(" ")))
            .collect();
        assert_eq!(
            told,
            [
                ("{body}".to_owned(), "x-genesys-signature".to_owned()),
                ("{body}".to_owned(), "x-hub-signature-256".to_owned()),
                ("{id}.{timestamp}.{body}".to_owned(), "webhook-signature webhook-id webhook-timestamp".to_owned()),
            ]
        );
    }
}
