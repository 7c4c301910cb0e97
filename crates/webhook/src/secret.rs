//! Signing secrets.
//!
//! Promises:
//! - A secret is read as the reference libraries read it, without the white space around it.
//! - It is never empty or short, and is wiped when it is dropped.
//! - `Debug` shows its label and nothing of the key; `Display` and `Serialize` are not implemented.
//!
//! Out of scope: where secrets are kept.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use zeroize::Zeroizing;

use crate::encoding::unhex;
use crate::mac::KeyedMac;
use crate::scheme::{Scheme, SecretFormat};

/// Shortest key. Genesys takes tokens "longer than 15 characters", and 128 bits is the least that FIPS 198-1 with SP 800-107
/// considers for HMAC.
pub const MIN_KEY_BYTES: usize = 16;

/// What Standard Webhooks writes before the base64 of a key.
pub(crate) const WHSEC: &str = "whsec_";

pub struct SigningSecret {
    label: String,
    key: Zeroizing<Vec<u8>>,
    mac: KeyedMac,
    not_after_ms: Option<u64>,
}

/// Why the text of the secret with this label is not a usable one. Never shows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("secret {0:?} is empty")]
    Empty(String),
    #[error("secret {0:?} has fewer than {MIN_KEY_BYTES} bytes")]
    TooShort(String),
    /// Not in the form that the scheme's secrets have.
    #[error("secret {label:?} is not {expected}")]
    Format { label: String, expected: &'static str },
}

impl SigningSecret {
    /// Takes the text of a secret as the scheme writes secrets.
    ///
    /// `label`: what names it in metrics and errors. `not_after_ms`: last millisecond since the epoch at which it is
    /// active; `None` for ever.
    pub fn new(scheme: &Scheme, label: &str, text: &str, not_after_ms: Option<u64>) -> Result<Self, SecretError> {
        let label = label.to_owned();
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty(label));
        }
        let key = match scheme.secret_format {
            SecretFormat::Text => Some(text.as_bytes().to_vec()),
            SecretFormat::Base64 => decode_base64(text.strip_prefix(WHSEC).unwrap_or(text)),
            SecretFormat::Hex => unhex(text),
        };
        let Some(key) = key.map(Zeroizing::new) else {
            return Err(SecretError::Format { label, expected: scheme.secret_format.described() });
        };
        if key.len() < MIN_KEY_BYTES {
            return Err(SecretError::TooShort(label));
        }
        Ok(Self { label, mac: KeyedMac::new(&key), key, not_after_ms })
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn is_active(&self, now_ms: u64) -> bool {
        self.not_after_ms.is_none_or(|last_ms| now_ms <= last_ms)
    }

    /// The key, for a host that hashes elsewhere (WebCrypto's `importKey`). It must not be logged or stored.
    pub fn key_bytes(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn mac(&self) -> &KeyedMac {
        &self.mac
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningSecret")
            .field("label", &self.label)
            .field("not_after_ms", &self.not_after_ms)
            .finish_non_exhaustive()
    }
}

/// The bytes of a base64 text of either alphabet, padded or not.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_PAD_INDIFFERENT.decode(text).or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_short_and_unreadable_secrets_are_refused_by_label() {
        let standard = Scheme::standard_webhooks();
        let text = Scheme::webhooks();
        for (scheme, secret, expected) in [
            (&text, "", "secret \"current\" is empty"),
            (&text, " \n", "secret \"current\" is empty"),
            (&text, "fifteen-bytes-x", "secret \"current\" has fewer than 16 bytes"),
            (&standard, "whsec_c2hvcnQ=", "secret \"current\" has fewer than 16 bytes"),
            (
                &standard,
                "whsec_not base64 at all",
                "secret \"current\" is not base64, with or without \"whsec_\" before it",
            ),
        ] {
            let error = SigningSecret::new(scheme, "current", secret, None).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn debug_shows_the_label_and_no_key() {
        let secret = SigningSecret::new(&Scheme::webhooks(), "current", "a-very-secret-text", Some(7)).unwrap();
        assert_eq!(format!("{secret:?}"), "SigningSecret { label: \"current\", not_after_ms: Some(7), .. }");
    }
}
