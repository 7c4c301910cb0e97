//! A text that must not be seen, such as a client secret, a signing secret or an access token.
//!
//! Promise: a [`Secret`] has no `Debug`, no `Display` and no serde implementation, so a structure that holds one cannot
//! print or store it by accident. The only way out is the explicit [`Secret::expose`].
//!
//! ```compile_fail,E0277
//! println!("{}", genesys_client::Secret::new("hidden"));
//! ```
//! ```compile_fail,E0277
//! println!("{:?}", genesys_client::Secret::new("hidden"));
//! ```
//! ```compile_fail,E0277
//! serde_json::to_string(&genesys_client::Secret::new("hidden"));
//! ```
//!
//! Out of scope: wiping memory (the platform's memory is not shared with other tenants, and JavaScript holds a copy
//! anyway).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// Says what a fingerprint was made for, so that the same key used elsewhere gives unrelated values.
const FINGERPRINT_DOMAIN: &[u8] = b"genesys-client secret fingerprint v1\0";

/// Digits of a fingerprint. 128 bits are far more than a comparison of two secrets needs, and short enough for a header.
const FINGERPRINT_CHARS: usize = 32;

/// HMAC-SHA256's block, which a key is padded to (RFC 2104).
const BLOCK_BYTES: usize = 64;

/// Fewer characters of a secret tell nothing, and many texts hold them by chance.
const TELLING_CHARS: usize = 4;

/// A text that cannot be printed or serialized.
///
/// Equality is not constant-time, because secrets are only compared with what the vendor's API returned.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn trimmed(self) -> Self {
        Self::new(self.0.trim())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A keyed fingerprint, equal for equal secrets under the same key and of no use without the key.
    ///
    /// It is stored next to a subscription whose secret cannot be read back, so that a changed secret is noticed.
    pub fn fingerprint(&self, key: &Secret) -> String {
        // The key is hashed into the first half of HMAC's block, so that any length is accepted and nothing can fail.
        let mut block = [0_u8; BLOCK_BYTES];
        for (slot, byte) in block.iter_mut().zip(Sha256::digest(key.0.as_bytes())) {
            *slot = byte;
        }
        let mac = Hmac::<Sha256>::new(&block.into()).chain_update(FINGERPRINT_DOMAIN).chain_update(&self.0);
        let mut digits = base16ct::lower::encode_string(&mac.finalize().into_bytes());
        digits.truncate(FINGERPRINT_CHARS);
        digits
    }

    /// `text` with every occurrence of this secret replaced, for messages that others wrote. Its beginning is replaced
    /// too where the text was shortened (ends with `…`) in the middle of it.
    pub fn redact(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let text = text.replace(&self.0, "[secret]");
        let shortened = text.strip_suffix('…').and_then(|cut| {
            let beginnings = self.0.char_indices().skip(TELLING_CHARS).filter_map(|(end, _)| self.0.get(..end));
            beginnings.filter_map(|beginning| cut.strip_suffix(beginning)).last()
        });
        shortened.map_or_else(|| text.clone(), |before| format!("{before}[secret]…"))
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_fingerprint_depends_on_the_secret_and_on_the_key_and_format_is_unchanged() {
        let key = Secret::new("key");
        let print = Secret::new("0123456789abcdef").fingerprint(&key);
        assert_eq!(print, Secret::new("0123456789abcdef").fingerprint(&key));
        assert_ne!(print, Secret::new("0123456789abcdeg").fingerprint(&key));
        assert_ne!(print, Secret::new("0123456789abcdef").fingerprint(&Secret::new("other")));
        // Stored at the vendor: a change of the format would update every subscription once.
        assert_eq!(print, "83dc1e86d05cabb440389fbac278c758");
    }

    #[test]
    fn a_message_that_repeats_the_secret_is_redacted() {
        assert_eq!(Secret::new("s3cret").redact("bad value s3cret!"), "bad value [secret]!");
        assert_eq!(Secret::new("").redact("text"), "text");
        assert_eq!(Secret::new("s3cret").redact("bad value s3cr…"), "bad value [secret]…");
        assert_eq!(Secret::new("s3cret").redact("bad value s3…"), "bad value s3…");
        assert_eq!(Secret::new("s3cret").redact("not shortened: s3cr"), "not shortened: s3cr");
    }
}
