//! Which request headers are kept with a delivery or a dead letter.
//!
//! Promises:
//! - Headers that carry credentials are removed. Those that the scheme reads stay, because a replay verifies again.
//! - The scheme's headers come first, then those that the destination is to get, so that no flood displaces them.
//! - What is kept is bounded in number and size. A value is kept whole, because a cut one would be false.
//! - A value that holds U+FFFD is dropped. The runtime reads headers as UTF-8 and puts U+FFFD in place of other bytes.
//!
//! Out of scope: where they are kept.

use alloc::borrow::Cow;

use super::{HeaderPair, MAX_NAME_BYTES, is_credential_name};
use crate::scheme::Scheme;
use crate::signature::MAX_SIGNATURE_HEADER_BYTES;

/// Most headers that are kept. Genesys sends about a dozen, Cloudflare adds about as many.
pub const MAX_HEADERS: usize = 64;
/// Longest value that is kept: that of the longest signature header.
pub const MAX_VALUE_BYTES: usize = MAX_SIGNATURE_HEADER_BYTES;
/// Names and values together. A queue message of 128 KB keeps most of its room for the body.
pub const MAX_TOTAL_BYTES: usize = 16_384;

/// Schemes of RFC 9110's `Authorization`: such a value is a credential under any name.
const CREDENTIAL_SCHEMES: [&str; 3] = ["bearer ", "basic ", "digest "];

/// A header that is kept, of a request that is still there: name in lower case, value.
pub type KeptHeader<'h> = (Cow<'h, str>, &'h str);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptHeaders<'h> {
    /// The scheme's headers first, then the others in the order of arrival.
    pub headers: Vec<KeptHeader<'h>>,
    pub credentials_removed: usize,
    /// How many did not fit, or had arrived mangled.
    pub dropped: usize,
}

/// Chooses what to keep of a request's headers; those of the names `first` (lower case) come before the others, so that
/// no flood of headers displaces them.
pub fn keep_first<'h>(
    scheme: &Scheme,
    first: &[String],
    headers: impl Iterator<Item = (&'h str, &'h str)>,
) -> KeptHeaders<'h> {
    let mut kept = KeptHeaders::default();
    let scheme_headers = scheme.headers().collect::<Vec<_>>();
    let (mut own, mut wanted, mut others) = (Vec::new(), Vec::new(), Vec::with_capacity(MAX_HEADERS));
    for (name, value) in headers {
        // As the runtime gives them, names are in lower case already.
        let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        let name = if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) };
        if scheme_headers.contains(&&*name) {
            own.push((name, value));
        } else if is_credential_name(&name) || is_credential_value(value) {
            kept.credentials_removed = kept.credentials_removed.saturating_add(1);
        } else if first.iter().any(|wanted| *wanted == name) {
            wanted.push((name, value));
        } else {
            others.push((name, value));
        }
    }
    kept.headers.reserve(MAX_HEADERS);
    let mut total_bytes = 0usize;
    for (name, value) in own.into_iter().chain(wanted).chain(others) {
        let grown = total_bytes.saturating_add(name.len()).saturating_add(value.len());
        let fits = !value.contains(char::REPLACEMENT_CHARACTER)
            && kept.headers.len() < MAX_HEADERS
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

fn is_credential_value(value: &str) -> bool {
    CREDENTIAL_SCHEMES
        .iter()
        .any(|scheme| value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
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
        let kept = keep_first(&Scheme::webhooks(), &[], request.into_iter());
        assert_eq!(names(&kept), ["x-genesys-signature", "content-type", "inin-correlation-id"]);
        assert_eq!((kept.credentials_removed, kept.dropped), (8, 0));
    }

    #[test]
    fn no_flood_displaces_the_headers_of_the_scheme_and_of_the_destination() {
        let flood: Vec<(String, String)> = (0..100).map(|n| (format!("x-{n}"), "y".repeat(1_000))).collect();
        let request = flood.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([
            ("X-Tenant", "7"),
            ("X-Auth", "Bearer abc"),
            ("webhook-signature", "v1,x"),
            ("webhook-id", "1"),
        ]);
        let first = ["x-tenant".to_owned(), "x-auth".to_owned()];
        let kept = keep_first(&Scheme::standard_webhooks(), &first, request);
        assert_eq!(names(&kept)[..4], ["webhook-signature", "webhook-id", "x-tenant", "x-0"]);
        let total: usize = kept.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        assert!(total <= MAX_TOTAL_BYTES && kept.headers.len() <= MAX_HEADERS);
        assert_eq!((kept.headers.len() + kept.dropped, kept.credentials_removed), (103, 1));
    }

    #[test]
    fn values_are_kept_whole_or_not_at_all() {
        let long = "é".repeat(MAX_VALUE_BYTES);
        let kept = keep_first(&Scheme::webhooks(), &[], [("a", long.as_str()), ("b", "é")].into_iter());
        assert_eq!((names(&kept), kept.dropped), (vec!["b"], 1));
    }

    #[test]
    fn a_value_that_arrived_mangled_is_dropped() {
        let request = [("x-city", "Z\u{fffd}rich"), ("x-genesys-signature", "\u{fffd}"), ("x-name", "Zürich")];
        let kept = keep_first(&Scheme::webhooks(), &["x-city".to_owned()], request.into_iter());
        assert_eq!((names(&kept), kept.dropped), (vec!["x-name"], 2));
    }
}
