//! Idempotency keys: what makes two deliveries one.
//!
//! Promises:
//! - A key is deterministic and has at most [`MAX_KEY_CHARS`] visible ASCII characters.
//! - Keys of different kinds never collide, because each begins with its kind. Long or unusual values are replaced by a hash
//!   under another kind.
//! - Where a delivery names no key, its body's SHA-256 is the key ([`body_key`]). It holds for a short time only, because two
//!   deliveries may have equal bodies.
//!
//! Out of scope: remembering keys, and what belongs to which source (a key is compared within one source).

use sha2::{Digest, Sha256};

use crate::encoding::hex;
use crate::envelope::Envelope;
use crate::headers::HeaderSource;
use crate::pointer::JsonPointer;

/// Longest key: `members-sha256:` and 64 digits fit, and so do three identifiers of 36 characters with a time.
pub const MAX_KEY_CHARS: usize = 200;

/// Where the idempotency key of a delivery comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DedupeRule {
    Body,
    /// Strings or numbers in the body.
    Members {
        pointers: Vec<JsonPointer>,
        /// How many of them, from the first on, must be there; the others belong to the key where they are.
        required: usize,
    },
    Header(String),
}

impl DedupeRule {
    pub(crate) fn of_members(paths: &[&[&'static str]], required: usize) -> Self {
        Self::Members { pointers: paths.iter().map(|path| JsonPointer::of_keys(path)).collect(), required }
    }

    /// What the envelope scan has to capture.
    pub(crate) fn pointers(&self) -> &[JsonPointer] {
        match self {
            Self::Members { pointers, .. } => pointers,
            Self::Body | Self::Header(_) => &[],
        }
    }

    pub(crate) fn key(&self, headers: &(impl HeaderSource + ?Sized), envelope: &Envelope) -> Option<String> {
        match self {
            Self::Body => None,
            Self::Header(name) => header_key(headers, name),
            Self::Members { required, .. } => {
                let mut values = Vec::new();
                for (place, value) in envelope.captures.iter().enumerate() {
                    match value.as_deref().filter(|text| !text.is_empty()) {
                        Some(text) => values.push(text),
                        None if place < *required => return None,
                        None => {}
                    }
                }
                Some(bounded("members", &values))
            }
        }
    }
}

pub(crate) fn header_key(headers: &(impl HeaderSource + ?Sized), name: &str) -> Option<String> {
    let value = headers.get(name).filter(|value| !value.is_empty())?;
    Some(bounded("header", &[&value]))
}

/// The key of a delivery that has nothing better: the SHA-256 of its body.
pub fn body_key(sha256: &[u8; 32]) -> String {
    format!("body-sha256:{}", hex(sha256))
}

/// `kind:a|b|c` where that is short and unambiguous, else `kind-sha256:` over the values with their lengths.
fn bounded(kind: &str, values: &[&str]) -> String {
    let plain = values.iter().all(|value| value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'|'));
    let key = format!("{kind}:{}", values.join("|"));
    if plain && key.len() <= MAX_KEY_CHARS {
        return key;
    }
    let mut hash = Sha256::new();
    for value in values {
        hash.update(u64::try_from(value.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(value.as_bytes());
    }
    format!("{kind}-sha256:{}", hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Scheme;

    const NONE: &[(&str, &str)] = &[];

    fn open_messaging(body: &str) -> Option<String> {
        let scheme = Scheme::open_messaging();
        scheme.idempotency_key(NONE, &scheme.inspect(body.as_bytes()).unwrap())
    }

    #[test]
    fn without_all_of_its_parts_there_is_no_key() {
        for body in [
            r#"{"type":"Text","channel":{"time":"t"}}"#,
            r#"{"id":null,"type":"Text","channel":{"time":"t"}}"#,
            r#"{"id":"","type":"Text","channel":{"time":"t"}}"#,
            r#"{"id":{"a":1},"type":"Text","channel":{"time":"t"}}"#,
            r#"{"id":"m1","type":"Text","channel":{}}"#,
            r#"{"id":"m1","type":"Text","channel":[{"time":"t"}]}"#,
        ] {
            assert_eq!(open_messaging(body), None, "{body}");
        }
    }

    #[test]
    fn values_that_could_be_confused_are_hashed_with_their_lengths() {
        let one = bounded("members", &["a|b", "c"]);
        let other = bounded("members", &["a", "b|c"]);
        assert_ne!(one, other);
        assert!(one.starts_with("members-sha256:"), "{one}");
        let long = bounded("header", &[&"x".repeat(5_000)]);
        assert!(long.len() <= MAX_KEY_CHARS, "{long}");
    }
}
