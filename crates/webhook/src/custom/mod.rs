//! The `custom` profile: a scheme described in configuration.
//!
//! Promises: [`CustomScheme::resolve`] reports every error at once, each with the key that it belongs to, and what it
//! returns is as strict as a preset. Out of scope: signatures other than HMAC-SHA256.

use serde::Deserialize;

use crate::dedupe::DedupeRule;
use crate::encoding::Encoding;
use crate::envelope::EnvelopeKind;
use crate::headers;
use crate::pointer::{JsonPointer, PointerFault};
use crate::profile::Profile;
use crate::scheme::{Part, STANDARD_TOLERANCE_S, Scheme, SecretFormat, SignedContent, TimestampRule};

/// Longest prefix of a tag.
pub const MAX_PREFIX_BYTES: usize = 64;
/// Longest signed-content template.
pub const MAX_TEMPLATE_BYTES: usize = 256;
/// Largest tolerance: a day. Beyond it a timestamp protects from nothing.
pub const MAX_TOLERANCE_S: u64 = 86_400;

/// A scheme as configuration describes it. Texts stay texts here, so that [`Self::resolve`] can name every error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CustomScheme {
    /// Name of the header that carries the signature. Required.
    pub header: Option<String>,
    /// Text before each tag, as in `sha256=`; none by default.
    pub prefix: Option<String>,
    /// `hex`, `base64` or `base64url`. Required.
    pub encoding: Option<String>,
    /// Whether base64 ends in `=`; by default yes for `base64`, no for `base64url`.
    pub padding: Option<bool>,
    /// Name of the header with the time of signing in whole seconds since 1970; `signed_content` must contain it.
    pub timestamp_header: Option<String>,
    /// Seconds that the timestamp may be away, both ways; 300 by default.
    pub tolerance_s: Option<u64>,
    /// Name of the header with the delivery's identifier; `signed_content` must contain it.
    pub id_header: Option<String>,
    /// What is signed, from `{id}`, `{timestamp}`, `{body}` and other text; `{body}` by default.
    pub signed_content: Option<String>,
    /// How a secret becomes a key: `text` (default), `base64` or `hex`.
    pub secret_format: Option<String>,
    /// `events`, `object` (default) or `any`.
    pub envelope: Option<String>,
    /// JSON pointer to what makes two deliveries one, in place of the signed `id_header`. Excludes `dedupe_header`.
    pub dedupe_pointer: Option<String>,
    /// Header that makes two deliveries one. Unless the signed content holds it, a repeated delivery can be passed off
    /// as a new one by whoever recorded it.
    pub dedupe_header: Option<String>,
}

/// An error of a custom scheme; [`Self::key`] says where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// A required key is absent.
    #[error("`{key}`: is required")]
    Required {
        /// The key.
        key: &'static str,
    },
    /// Not one of the values that the key has.
    #[error("`{key}`: expected {expected}, found {found:?}")]
    NotOneOf {
        /// The key.
        key: &'static str,
        /// The values.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Not a header name (RFC 9110, section 5.6.2).
    #[error("`{key}`: expected the name of a header, found {found:?}")]
    NotAHeaderName {
        /// The key.
        key: &'static str,
        /// What is there.
        found: String,
    },
    /// A header that carries credentials: it is removed from dead letters, whose replay verifies again.
    #[error("`{key}`: {found:?} carries credentials and is never kept, so a delivery could not be verified again")]
    CredentialHeader {
        /// The key.
        key: &'static str,
        /// What is there.
        found: String,
    },
    /// Two keys name one header.
    #[error("`{key}`: {found:?} is already the header of another key")]
    SameHeader {
        /// The key.
        key: &'static str,
        /// What is there.
        found: String,
    },
    /// The prefix could not be told from what surrounds it.
    #[error("`prefix`: expected at most 64 visible ASCII characters that do not begin with a comma")]
    Prefix,
    /// Out of range.
    #[error("`tolerance_s`: expected 1 to 86400, found {found}")]
    Tolerance {
        /// What is there.
        found: u64,
    },
    /// The template.
    #[error("`signed_content`: {0}")]
    SignedContent(#[from] TemplateFault),
    /// A key that means nothing without another.
    #[error("`{key}`: means nothing without `{needs}`")]
    Needs {
        /// The key.
        key: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// A header that is not part of what is signed proves nothing.
    #[error("`{key}`: `signed_content` does not contain {placeholder}, so anybody could change this header")]
    NotSigned {
        /// The key.
        key: &'static str,
        /// What the template lacks.
        placeholder: &'static str,
    },
    /// Not a usable JSON pointer.
    #[error("`dedupe_pointer`: {0}")]
    Pointer(#[from] PointerFault),
    /// Both rules at once.
    #[error("`dedupe_header`: excludes `dedupe_pointer`")]
    TwoDedupeRules,
}

/// What is wrong with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// `{body}` is missing or there twice.
    #[error("must contain {{body}} exactly once")]
    Body,
    /// A brace that does not belong to `{id}`, `{timestamp}` or `{body}`.
    #[error("braces stand only around id, timestamp and body")]
    Brace,
    /// Too long.
    #[error("has more than 256 bytes")]
    TooLong,
}

impl SchemeError {
    /// The key of the scheme that has to change.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Required { key }
            | Self::NotOneOf { key, .. }
            | Self::NotAHeaderName { key, .. }
            | Self::CredentialHeader { key, .. }
            | Self::SameHeader { key, .. }
            | Self::Needs { key, .. }
            | Self::NotSigned { key, .. } => key,
            Self::Prefix => "prefix",
            Self::Tolerance { .. } => "tolerance_s",
            Self::SignedContent(_) => "signed_content",
            Self::Pointer(_) => "dedupe_pointer",
            Self::TwoDedupeRules => "dedupe_header",
        }
    }
}

impl CustomScheme {
    /// Checks the description as a whole.
    ///
    /// Errors: all of them, in the order of the keys.
    pub fn resolve(&self) -> Result<Scheme, Vec<SchemeError>> {
        let mut errors = Vec::new();
        let mut taken: Vec<String> = Vec::new();
        let header = header_name("header", self.header.as_deref(), &mut taken, &mut errors);
        if self.header.is_none() {
            errors.push(SchemeError::Required { key: "header" });
        }
        let prefix = self.prefix.clone().unwrap_or_default();
        if prefix.len() > MAX_PREFIX_BYTES
            || !prefix.bytes().all(|byte| byte.is_ascii_graphic())
            || prefix.starts_with(',')
        {
            errors.push(SchemeError::Prefix);
        }
        let encoding = self.resolve_encoding(&mut errors);
        let timestamp_header =
            header_name("timestamp_header", self.timestamp_header.as_deref(), &mut taken, &mut errors);
        let tolerance_s = self.resolve_tolerance(&mut errors);
        let id_header = header_name("id_header", self.id_header.as_deref(), &mut taken, &mut errors);
        let content = self.resolve_content(&mut errors);
        let secret_format = match self.secret_format.as_deref() {
            None | Some("text") => SecretFormat::Text,
            Some("base64") => SecretFormat::Base64,
            Some("hex") => SecretFormat::Hex,
            Some(found) => {
                errors.push(not_one_of("secret_format", "\"text\", \"base64\" or \"hex\"", found));
                SecretFormat::Text
            }
        };
        let envelope = self.envelope.as_deref().unwrap_or(EnvelopeKind::Object.as_str());
        let envelope = EnvelopeKind::from_name(envelope).unwrap_or_else(|| {
            errors.push(not_one_of("envelope", "\"events\", \"object\" or \"any\"", envelope));
            EnvelopeKind::Object
        });
        let dedupe = self.resolve_dedupe(&mut errors);
        match (header, encoding) {
            (Some(signature_header), Some(encoding)) if errors.is_empty() => Ok(Scheme {
                profile: Profile::Custom,
                signature_header,
                prefix,
                encoding,
                timestamp: timestamp_header.map(|header| TimestampRule { header, tolerance_s }),
                id_header,
                content,
                secret_format,
                envelope,
                dedupe,
            }),
            _ => Err(errors),
        }
    }

    fn resolve_encoding(&self, errors: &mut Vec<SchemeError>) -> Option<Encoding> {
        match (self.encoding.as_deref(), self.padding) {
            (Some("hex"), None) => Some(Encoding::Hex),
            (Some("hex"), Some(_)) => {
                errors.push(SchemeError::Needs { key: "padding", needs: "encoding = \"base64\" or \"base64url\"" });
                None
            }
            (Some("base64"), padding) => Some(Encoding::Base64 { padded: padding.unwrap_or(true) }),
            (Some("base64url"), padding) => Some(Encoding::Base64Url { padded: padding.unwrap_or(false) }),
            (Some(found), _) => {
                errors.push(not_one_of("encoding", "\"hex\", \"base64\" or \"base64url\"", found));
                None
            }
            (None, _) => {
                errors.push(SchemeError::Required { key: "encoding" });
                None
            }
        }
    }

    fn resolve_tolerance(&self, errors: &mut Vec<SchemeError>) -> u32 {
        let Some(found) = self.tolerance_s else { return STANDARD_TOLERANCE_S };
        if self.timestamp_header.is_none() {
            errors.push(SchemeError::Needs { key: "tolerance_s", needs: "timestamp_header" });
        }
        match u32::try_from(found) {
            Ok(tolerance_s) if (1..=MAX_TOLERANCE_S).contains(&found) => tolerance_s,
            _ => {
                errors.push(SchemeError::Tolerance { found });
                STANDARD_TOLERANCE_S
            }
        }
    }

    fn resolve_content(&self, errors: &mut Vec<SchemeError>) -> SignedContent {
        let content = match self.signed_content.as_deref().map(parse_template) {
            None => SignedContent::default(),
            Some(Ok(content)) => content,
            Some(Err(fault)) => {
                errors.push(fault.into());
                return SignedContent::default();
            }
        };
        for (part, placeholder, key, named) in [
            (Part::Timestamp, "{timestamp}", "timestamp_header", self.timestamp_header.is_some()),
            (Part::Id, "{id}", "id_header", self.id_header.is_some()),
        ] {
            match (content.contains(&part), named) {
                (true, false) => errors.push(SchemeError::Needs { key: "signed_content", needs: key }),
                (false, true) => errors.push(SchemeError::NotSigned { key, placeholder }),
                (true, true) | (false, false) => {}
            }
        }
        content
    }

    fn resolve_dedupe(&self, errors: &mut Vec<SchemeError>) -> DedupeRule {
        if self.dedupe_pointer.is_some() && self.dedupe_header.is_some() {
            errors.push(SchemeError::TwoDedupeRules);
        }
        if let Some(text) = &self.dedupe_pointer {
            return match JsonPointer::parse(text) {
                Ok(pointer) => DedupeRule::Members { pointers: vec![pointer], required: 1 },
                Err(fault) => {
                    errors.push(fault.into());
                    DedupeRule::Body
                }
            };
        }
        // It may be the identifier's header, so it is compared with nothing.
        header_name("dedupe_header", self.dedupe_header.as_deref(), &mut Vec::new(), errors)
            .or_else(|| self.id_header.as_deref().map(str::to_ascii_lowercase))
            .map_or(DedupeRule::Body, DedupeRule::Header)
    }
}

fn not_one_of(key: &'static str, expected: &'static str, found: &str) -> SchemeError {
    SchemeError::NotOneOf { key, expected, found: found.chars().take(40).collect() }
}

/// The name in lower case; nothing where it is absent or wrong.
fn header_name(
    key: &'static str,
    name: Option<&str>,
    taken: &mut Vec<String>,
    errors: &mut Vec<SchemeError>,
) -> Option<String> {
    let name = name?;
    let found = || name.chars().take(80).collect();
    if !headers::is_name(name) {
        errors.push(SchemeError::NotAHeaderName { key, found: found() });
        return None;
    }
    let lower = name.to_ascii_lowercase();
    if headers::is_credential_name(&lower) {
        errors.push(SchemeError::CredentialHeader { key, found: found() });
        return None;
    }
    if taken.contains(&lower) {
        errors.push(SchemeError::SameHeader { key, found: found() });
        return None;
    }
    taken.push(lower.clone());
    Some(lower)
}

fn parse_template(template: &str) -> Result<SignedContent, TemplateFault> {
    if template.len() > MAX_TEMPLATE_BYTES {
        return Err(TemplateFault::TooLong);
    }
    let mut sides = template.split("{body}");
    match (sides.next(), sides.next(), sides.next()) {
        (Some(before), Some(after), None) => {
            Ok(SignedContent { before: parse_parts(before)?, after: parse_parts(after)? })
        }
        _ => Err(TemplateFault::Body),
    }
}

fn parse_parts(mut text: &str) -> Result<Vec<Part>, TemplateFault> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        if let Some(rest) = text.strip_prefix("{id}") {
            parts.push(Part::Id);
            text = rest;
        } else if let Some(rest) = text.strip_prefix("{timestamp}") {
            parts.push(Part::Timestamp);
            text = rest;
        } else {
            let end = text.find(['{', '}']).unwrap_or(text.len());
            match text.split_at_checked(end) {
                Some((literal, rest)) if !literal.is_empty() => {
                    parts.push(Part::Literal(literal.to_owned()));
                    text = rest;
                }
                _ => return Err(TemplateFault::Brace),
            }
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
