//! Which request headers are kept with a delivery or a dead letter.
//!
//! Promises: headers that carry credentials are removed, those that the scheme reads are kept first (a replay verifies
//! again, so their values are needed; a signature opens nothing but the body it stands next to), then those that the
//! destination is to get, and what is kept is bounded in number and size. What does not fit is dropped whole: a cut value would be a false one.

use alloc::borrow::Cow;

use crate::scheme::Scheme;

/// Most headers that are kept. Genesys sends about a dozen, Cloudflare adds about as many.
pub const MAX_HEADERS: usize = 64;
/// Longest name that is kept.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest value that is kept: that of the longest signature header.
pub const MAX_VALUE_BYTES: usize = crate::signature::MAX_SIGNATURE_HEADER_BYTES;
/// Names and values together. A queue message of 128 KB keeps most of its room for the body.
pub const MAX_TOTAL_BYTES: usize = 16_384;

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
/// Schemes of RFC 9110's `Authorization`: such a value is a credential under any name.
const CREDENTIAL_SCHEMES: [&str; 3] = ["bearer ", "basic ", "digest "];

/// A header by its name in lower case and its value.
pub type HeaderPair = (String, String);

/// A header that is kept, of a request that is still there: name in lower case, value.
pub type KeptHeader<'h> = (Cow<'h, str>, &'h str);

/// What is kept of a request's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptHeaders<'h> {
    /// The scheme's headers first, then the others in the order of arrival.
    pub headers: Vec<KeptHeader<'h>>,
    /// How many were removed as credentials.
    pub credentials_removed: usize,
    /// How many did not fit.
    pub dropped: usize,
}

/// Chooses what to keep of a request's headers.
pub fn keep<'h>(scheme: &Scheme, headers: impl Iterator<Item = (&'h str, &'h str)>) -> KeptHeaders<'h> {
    keep_first(scheme, &[], headers)
}

/// Chooses what to keep of a request's headers; those of the names `first` (lower case) come before the others, so that
/// no flood of headers displaces them.
pub fn keep_first<'h>(
    scheme: &Scheme,
    first: &[String],
    headers: impl Iterator<Item = (&'h str, &'h str)>,
) -> KeptHeaders<'h> {
    let mut kept = KeptHeaders::default();
    let (mut own, mut wanted, mut others) = (Vec::new(), Vec::new(), Vec::with_capacity(MAX_HEADERS));
    let scheme_headers = scheme.headers().collect::<Vec<_>>();
    for (name, value) in headers {
        // As the runtime gives them, names are in lower case already.
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        if scheme_headers.iter().any(|header| *header == name) {
            own.push((name, value));
        } else if is_credential_name(&name) || is_credential_value(value) {
            kept.credentials_removed = kept.credentials_removed.saturating_add(1);
        } else if first.iter().any(|wanted| *wanted == name) {
            wanted.push((name, value));
        } else {
            others.push((name, value));
        }
    }
    kept.headers.reserve(own.len().saturating_add(wanted.len()).saturating_add(others.len()));
    let mut total_bytes = 0usize;
    for (name, value) in own.into_iter().chain(wanted).chain(others) {
        let grown = total_bytes.saturating_add(name.len()).saturating_add(value.len());
        let fits = kept.headers.len() < MAX_HEADERS
            && name.len() <= MAX_NAME_BYTES
            && value.len() <= MAX_VALUE_BYTES
            && grown <= MAX_TOTAL_BYTES;
        if fits {
            total_bytes = grown;
            kept.headers.push((name, value));
        } else {
            kept.dropped = kept.dropped.saturating_add(1);
        }
    }
    kept
}

/// The headers for a message that outlives the request.
pub fn owned(headers: Vec<KeptHeader<'_>>) -> Vec<HeaderPair> {
    headers.into_iter().map(|(name, value)| (name.into_owned(), value.to_owned())).collect()
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

fn is_credential_value(value: &str) -> bool {
    CREDENTIAL_SCHEMES
        .iter()
        .any(|scheme| value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// Whether a text can be the name of a header: `token` of RFC 9110, section 5.6.2, within [`MAX_NAME_BYTES`].
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'k>(kept: &'k KeptHeaders<'_>) -> Vec<&'k str> {
        kept.headers.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn credentials_are_removed_and_the_schemes_headers_come_first() {
        let request = [
            ("Content-Type", "application/json"),
            ("Authorization", "Bearer x"),
            ("Cookie", "a=b"),
            ("Cf-Access-Jwt-Assertion", "x"),
            ("CF-Access-Client-Id", "x"),
            ("CF-Access-Client-Secret", "x"),
            ("X-Api-Key", "x"),
            ("X-Genesys-Token", "x"),
            ("X-Innocent", "bEaReR abc"),
            ("X-Genesys-Signature", "00ff"),
            ("ININ-Correlation-Id", "c"),
        ];
        let kept = keep(&Scheme::webhooks(), request.into_iter());
        assert_eq!(names(&kept), ["x-genesys-signature", "content-type", "inin-correlation-id"]);
        assert_eq!((kept.credentials_removed, kept.dropped), (8, 0));
    }

    #[test]
    fn no_flood_of_headers_displaces_the_schemes() {
        let flood: Vec<(String, String)> = (0..100).map(|n| (format!("x-{n}"), "y".repeat(1_000))).collect();
        let request = flood
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .chain([("webhook-signature", "v1,x"), ("webhook-id", "1")]);
        let kept = keep(&Scheme::standard_webhooks(), request);
        assert_eq!(names(&kept)[..2], ["webhook-signature", "webhook-id"]);
        let total: usize = kept.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        assert!(total <= MAX_TOTAL_BYTES && kept.headers.len() <= MAX_HEADERS);
        assert_eq!(kept.headers.len() + kept.dropped, 102);
    }

    #[test]
    fn what_the_destination_gets_comes_before_the_rest_and_is_no_way_for_credentials() {
        let flood: Vec<(String, String)> = (0..100).map(|n| (format!("x-{n}"), "y".repeat(1_000))).collect();
        let request = flood.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([
            ("X-Tenant", "7"),
            ("X-Auth", "Bearer abc"),
            ("webhook-id", "1"),
        ]);
        let first = ["x-tenant".to_owned(), "x-auth".to_owned()];
        let kept = keep_first(&Scheme::standard_webhooks(), &first, request);
        assert_eq!(names(&kept)[..3], ["webhook-id", "x-tenant", "x-0"]);
        assert_eq!(kept.credentials_removed, 1);
    }

    #[test]
    fn values_are_kept_whole_or_not_at_all() {
        let long = "é".repeat(MAX_VALUE_BYTES);
        let kept = keep(&Scheme::webhooks(), [("a", long.as_str()), ("b", "é")].into_iter());
        assert_eq!((names(&kept), kept.dropped), (vec!["b"], 1));
    }

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
