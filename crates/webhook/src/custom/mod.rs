//! The `custom` profile: a scheme described in configuration.
//!
//! Promises:
//! - [`CustomScheme::resolve`] reports every error at once, each with the key that it belongs to.
//! - What it returns is as strict as a preset.
//!
//! Out of scope: signatures other than HMAC-SHA256.

use serde::Deserialize;

use crate::dedupe::DedupeRule;
use crate::encoding::Encoding;
use crate::envelope::EnvelopeKind;
use crate::headers;
use crate::pointer::JsonPointer;
use crate::profile::Profile;
use crate::scheme::{STANDARD_TOLERANCE_S, Scheme, SecretFormat, SignedContent, TimestampRule};

pub const MAX_PREFIX_BYTES: usize = 64;
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
    /// Header that makes two deliveries one. Unless the signed content holds it, who recorded a delivery can pass
    /// it off as a new one.
    pub dedupe_header: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {problem}")]
pub struct SchemeError {
    /// Of the scheme, which has to change.
    pub key: &'static str,
    problem: String,
}

#[derive(Default)]
struct Errors(Vec<SchemeError>);

impl Errors {
    fn add(&mut self, key: &'static str, problem: impl Into<String>) {
        self.0.push(SchemeError { key, problem: problem.into() });
    }

    fn required(&mut self, key: &'static str) {
        self.add(key, "is required");
    }

    fn needs(&mut self, key: &'static str, needed: &str) {
        self.add(key, format!("means nothing without `{needed}`"));
    }

    /// What a name stands for among `choices`; `default` where it is absent or, with an error, none of them.
    fn choose<T: Copy>(&mut self, key: &'static str, name: Option<&str>, default: T, choices: [(&str, T); 3]) -> T {
        let Some(name) = name else { return default };
        let found = choices.iter().find(|(choice, _)| *choice == name).map(|(_, meaning)| *meaning);
        found.unwrap_or_else(|| {
            let [first, second, third] = choices.map(|(choice, _)| choice);
            self.add(key, format!("expected {first:?}, {second:?} or {third:?}, found {:?}", start(name)));
            default
        })
    }
}

fn start(text: &str) -> &str {
    text.char_indices().nth(80).map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

impl CustomScheme {
    /// Errors: all of them, in the order of the keys.
    pub fn resolve(&self) -> Result<Scheme, Vec<SchemeError>> {
        let mut errors = Errors::default();
        let mut taken: Vec<String> = Vec::new();
        let header = header_name("header", self.header.as_deref(), &mut taken, &mut errors);
        if self.header.is_none() {
            errors.required("header");
        }
        let prefix = self.prefix.clone().unwrap_or_default();
        let is_visible = prefix.bytes().all(|byte| byte.is_ascii_graphic());
        if prefix.len() > MAX_PREFIX_BYTES || !is_visible || prefix.starts_with(',') {
            let problem = "expected visible ASCII characters that do not begin with a comma";
            errors.add("prefix", format!("{problem}, at most {MAX_PREFIX_BYTES}"));
        }
        let encoding = self.resolve_encoding(&mut errors);
        let timestamp_header =
            header_name("timestamp_header", self.timestamp_header.as_deref(), &mut taken, &mut errors);
        let tolerance_s = self.resolve_tolerance(&mut errors);
        let id_header = header_name("id_header", self.id_header.as_deref(), &mut taken, &mut errors);
        let content = self.resolve_content(&mut errors);
        let secret_formats =
            [("text", SecretFormat::Text), ("base64", SecretFormat::Base64), ("hex", SecretFormat::Hex)];
        let secret_format =
            errors.choose("secret_format", self.secret_format.as_deref(), SecretFormat::Text, secret_formats);
        let envelopes = EnvelopeKind::ALL.map(|kind| (kind.as_str(), kind));
        let envelope = errors.choose("envelope", self.envelope.as_deref(), EnvelopeKind::Object, envelopes);
        let dedupe = self.resolve_dedupe(id_header.as_deref(), &mut errors);
        let Some(signature_header) = header.filter(|_| errors.0.is_empty()) else { return Err(errors.0) };
        Ok(Scheme {
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
        })
    }

    fn resolve_encoding(&self, errors: &mut Errors) -> Encoding {
        if self.encoding.is_none() {
            errors.required("encoding");
        }
        let base64 = Encoding::Base64 { padded: self.padding.unwrap_or(true) };
        let base64_url = Encoding::Base64Url { padded: self.padding.unwrap_or(false) };
        let encodings = [("hex", Encoding::Hex), ("base64", base64), ("base64url", base64_url)];
        // The default is of no scheme: without a name there is an error.
        let encoding = errors.choose("encoding", self.encoding.as_deref(), base64, encodings);
        if self.padding.is_some() && encoding == Encoding::Hex {
            errors.needs("padding", "encoding = \"base64\" or \"base64url\"");
        }
        encoding
    }

    fn resolve_tolerance(&self, errors: &mut Errors) -> u32 {
        let Some(found) = self.tolerance_s else { return STANDARD_TOLERANCE_S };
        if self.timestamp_header.is_none() {
            errors.needs("tolerance_s", "timestamp_header");
        }
        let tolerance_s = u32::try_from(found).ok().filter(|_| (1..=MAX_TOLERANCE_S).contains(&found));
        tolerance_s.unwrap_or_else(|| {
            errors.add("tolerance_s", format!("expected 1 to {MAX_TOLERANCE_S}, found {found}"));
            STANDARD_TOLERANCE_S
        })
    }

    fn resolve_content(&self, errors: &mut Errors) -> SignedContent {
        let content = match self.signed_content.as_deref().map(parse_template) {
            None => SignedContent::default(),
            Some(Ok(content)) => content,
            Some(Err(problem)) => {
                errors.add("signed_content", problem);
                return SignedContent::default();
            }
        };
        for (placeholder, key, named) in [
            ("{timestamp}", "timestamp_header", self.timestamp_header.is_some()),
            ("{id}", "id_header", self.id_header.is_some()),
        ] {
            match (content.contains(placeholder), named) {
                (true, false) => errors.needs("signed_content", key),
                (false, true) => {
                    let why = "so anybody could change this header";
                    errors.add(key, format!("`signed_content` does not contain {placeholder}, {why}"));
                }
                (true, true) | (false, false) => {}
            }
        }
        content
    }

    fn resolve_dedupe(&self, id_header: Option<&str>, errors: &mut Errors) -> DedupeRule {
        // It may be the identifier's header, so it is compared with nothing.
        let header = header_name("dedupe_header", self.dedupe_header.as_deref(), &mut Vec::new(), errors);
        let Some(pointer) = &self.dedupe_pointer else {
            return header.or_else(|| id_header.map(str::to_owned)).map_or(DedupeRule::Body, DedupeRule::Header);
        };
        if self.dedupe_header.is_some() {
            errors.add("dedupe_header", "excludes `dedupe_pointer`");
        }
        JsonPointer::parse(pointer).map_or_else(
            |fault| {
                errors.add("dedupe_pointer", fault.to_string());
                DedupeRule::Body
            },
            |pointer| DedupeRule::Members { pointers: vec![pointer], required: 1 },
        )
    }
}

/// The name in lower case; nothing where it is absent or wrong.
fn header_name(key: &'static str, name: Option<&str>, taken: &mut Vec<String>, errors: &mut Errors) -> Option<String> {
    let name = name?;
    let lower = name.to_ascii_lowercase();
    let found = start(name);
    if !headers::is_name(name) {
        errors.add(key, format!("expected the name of a header, found {found:?}"));
    } else if headers::is_credential_name(&lower) {
        // It would be removed from a dead letter, whose replay verifies again.
        let why = "carries credentials and is never kept, so a delivery could not be verified again";
        errors.add(key, format!("{found:?} {why}"));
    } else if taken.contains(&lower) {
        errors.add(key, format!("{found:?} is already the header of another key"));
    } else {
        taken.push(lower.clone());
        return Some(lower);
    }
    None
}

fn parse_template(template: &str) -> Result<SignedContent, String> {
    if template.len() > MAX_TEMPLATE_BYTES {
        return Err(format!("has more than {MAX_TEMPLATE_BYTES} bytes"));
    }
    let Some((before, after)) = template.split_once("{body}").filter(|(_, after)| !after.contains("{body}")) else {
        return Err("must contain {body} exactly once".to_owned());
    };
    // Something stays in their place, so that what is left and right of them makes no placeholder.
    let others = [before, after].map(|side| side.replace("{id}", "-").replace("{timestamp}", "-"));
    if others.iter().any(|text| text.contains(['{', '}'])) {
        return Err("braces stand only around id, timestamp and body".to_owned());
    }
    Ok(SignedContent { before: before.to_owned(), after: after.to_owned() })
}

#[cfg(test)]
mod tests;
