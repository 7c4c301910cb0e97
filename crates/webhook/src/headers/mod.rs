//! Request headers: where they come from, what their names may be, and which names are credentials.
//!
//! Out of scope: which of them are kept ([`keep_first`]).

mod kept;

pub use kept::{KeptHeader, KeptHeaders, MAX_HEADERS, MAX_TOTAL_BYTES, MAX_VALUE_BYTES, keep_first, owned};

use alloc::borrow::Cow;

pub const MAX_NAME_BYTES: usize = 128;

/// Names that are credentials whatever they are part of: sessions, keys, tokens of proxies and of Cloudflare Access.
const CREDENTIAL_NAMES: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "authentication",
    "x-forwarded-authorization",
    "x-original-authorization",
    "cf-access-client-id",
];

/// A header by its name in lower case and its value.
pub type HeaderPair = (String, String);

pub trait HeaderSource {
    /// The value of a header, by its name in lower case; `None` where it is absent.
    ///
    /// A header that was sent several times is one value, joined with ", " (as in JavaScript's `Headers`); bytes that
    /// are not UTF-8 may arrive as U+FFFD, which no signature contains.
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// Pairs of name and value in the order of arrival; names of any case.
impl<N: AsRef<str>, V: AsRef<str>> HeaderSource for [(N, V)] {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values =
            self.iter().filter(|(key, _)| key.as_ref().eq_ignore_ascii_case(name)).map(|(_, v)| v.as_ref());
        let first = Cow::Borrowed(values.next()?);
        Some(values.fold(first, |joined, value| Cow::Owned(format!("{joined}, {value}"))))
    }
}

/// Whether a header of this name (lower case) is removed from what is kept.
pub fn is_credential_name(name: &str) -> bool {
    CREDENTIAL_NAMES.contains(&name) || has_credential_part(name.as_bytes())
}

/// Parts of names that say "credential" in the field's usage, `cf-access-jwt-assertion`, `cf-access-client-secret`,
/// `x-amz-security-token`, `x-api-key` and the static tokens of Web Services data actions among them.
///
/// `str::contains` for each part prepares a search that costs more than the name is long, and this is on the way of every
/// header of every delivery: hence by the first letter.
fn has_credential_part(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, after @ ..] = rest {
        let parts: &[&str] = match first {
            b'a' => &["api-key", "apikey", "access-key"],
            b'c' => &["credential"],
            b'j' => &["jwt"],
            b'p' => &["password", "passwd"],
            b's' => &["secret", "session"],
            b't' => &["token"],
            _ => &[],
        };
        if parts.iter().any(|part| rest.starts_with(part.as_bytes())) {
            return true;
        }
        rest = after;
    }
    false
}

/// Whether a text can be the name of a header: `token` of RFC 9110, section 5.6.2, within [`MAX_NAME_BYTES`].
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn parts_are_found_wherever_they_stand(name in "[a-z-]{0,8}(token|secret|passwo?|api-?key|jwt|session|credentia|ses)?[a-zé-]{0,8}") {
            let parts =
                ["token", "secret", "password", "passwd", "api-key", "apikey", "access-key", "credential", "jwt", "session"];
            let simple = parts.iter().any(|part| name.contains(part));
            proptest::prop_assert_eq!(has_credential_part(name.as_bytes()), simple);
        }
    }

    #[test]
    fn names_are_tokens() {
        assert!(is_name("X-Genesys-Signature"));
        for text in ["", "a b", "a:b", "é", "a\r\nb", &"a".repeat(129)] {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
