//! What looks like a signature in a request, read as leniently as a helpful reader would.
//!
//! Promises:
//! - Bounded in number and length.
//! - Used for explanations only, never to accept anything.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::explanation::SeenSignature;
use super::secrets;
use crate::encoding::{Encoding, Tag};
use crate::headers::HeaderSource;
use crate::scheme::Scheme;
use crate::signature::{MAX_SIGNATURE_HEADER_BYTES, MAX_SIGNATURES, Verifier};

/// Headers in which senders put signatures: those of the profiles, and names seen at other vendors.
const SIGNATURE_HEADERS: [&str; 8] = [
    "x-genesys-signature",
    "x-hub-signature-256",
    "webhook-signature",
    "x-hub-signature",
    "x-signature",
    "x-signature-256",
    "x-webhook-signature",
    "svix-signature",
];
const PREFIXES: [&str; 7] = ["sha256=", "sha1=", "sha512=", "v1,", "v1=", "v0=", "hmac-sha256="];
const OTHER_HASHES: [(usize, &str); 6] = [
    (40, "SHA-1 in hex"),
    (28, "SHA-1 in base64"),
    (128, "SHA-512 in hex"),
    (88, "SHA-512 in base64"),
    (96, "SHA-384 in hex"),
    (32, "MD5 in hex"),
];

pub(super) struct Presented {
    pub(super) shown: SeenSignature,
    pub(super) encoding: Option<Encoding>,
    pub(super) tag: Option<Tag>,
    pub(super) other_hash: Option<&'static str>,
}

/// Every value of the scheme's header, then of the others.
pub(super) fn read(scheme: &Scheme, headers: &(impl HeaderSource + ?Sized)) -> Vec<Presented> {
    let mut found = Vec::new();
    for name in header_names(scheme) {
        let Some(value) = headers.get(name).filter(|value| value.len() <= MAX_SIGNATURE_HEADER_BYTES) else { continue };
        for token in value.split([' ', '\t', ';']) {
            let mut rest = token;
            while !rest.is_empty() && found.len() < MAX_SIGNATURES {
                let (prefix, after) = strip_prefix(scheme, rest);
                let (item, next) = after.split_once(',').unwrap_or((after, ""));
                rest = next;
                let item = item.trim_matches(['"', '\'']);
                if !item.is_empty() {
                    found.push(one(scheme, name, prefix, item));
                }
            }
        }
    }
    found
}

/// Whether a signature header holds a secret of the source instead of a signature.
pub(super) fn shows_a_secret(verifier: &Verifier, headers: &(impl HeaderSource + ?Sized)) -> bool {
    let texts = SecretTexts::of(verifier);
    header_names(verifier.scheme()).filter_map(|name| headers.get(name)).any(|value| texts.are_carried_by(&value))
}

/// The texts that the secrets of a source may have been configured as, derived once. A sender may show one of them in
/// place of a signature, and such a value must not be kept. Wiped when dropped, and never shown.
pub struct SecretTexts {
    scheme: Scheme,
    texts: Vec<Zeroizing<Vec<u8>>>,
}

impl SecretTexts {
    pub fn of(verifier: &Verifier) -> Self {
        let scheme = verifier.scheme().clone();
        let texts = verifier.secrets().iter().flat_map(|secret| secrets::texts(&scheme, secret)).collect();
        Self { scheme, texts }
    }

    /// Whether a header's value is one of the texts, or has one behind a prefix or as an item of a list. Compared in
    /// constant time.
    pub fn are_carried_by(&self, value: &str) -> bool {
        let Some(shortest) = self.texts.iter().map(|known| known.len()).min() else { return false };
        // An item is never longer than its value, and what is behind a prefix is shorter still.
        if value.len() < shortest {
            return false;
        }
        let items = core::iter::once(value.trim()).chain(value.split([' ', ',', ';']));
        items
            .filter(|text| text.len() >= shortest)
            .flat_map(|text| [text, strip_prefix(&self.scheme, text).1])
            .any(|text| self.texts.iter().any(|known| bool::from(known.as_slice().ct_eq(text.as_bytes()))))
    }
}

fn header_names(scheme: &Scheme) -> impl Iterator<Item = &str> {
    let own = scheme.signature_header.as_str();
    core::iter::once(own).chain(SIGNATURE_HEADERS.into_iter().filter(move |name| *name != own))
}

fn strip_prefix<'t>(scheme: &Scheme, text: &'t str) -> (Option<String>, &'t str) {
    let own = Some(scheme.prefix.as_str()).filter(|prefix| !prefix.is_empty());
    own.into_iter()
        .chain(PREFIXES)
        .find_map(|prefix| {
            let (start, rest) = text.split_at_checked(prefix.len())?;
            start.eq_ignore_ascii_case(prefix).then(|| (Some(start.to_owned()), rest))
        })
        .unwrap_or((None, text))
}

fn one(scheme: &Scheme, header: &str, prefix: Option<String>, item: &str) -> Presented {
    let decoded = [
        scheme.encoding,
        Encoding::Hex,
        Encoding::Base64 { padded: true },
        Encoding::Base64 { padded: false },
        Encoding::Base64Url { padded: true },
        Encoding::Base64Url { padded: false },
    ]
    .into_iter()
    .find_map(|encoding| encoding.decode(item).ok().map(|tag| (encoding, tag)));
    let is_text = item.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte));
    let other_hash = OTHER_HASHES.iter().find(|(chars, _)| is_text && *chars == item.len()).map(|(_, name)| *name);
    let (encoding, tag) = decoded.unzip();
    let shown = SeenSignature {
        header: header.to_owned(),
        prefix,
        encoding: encoding.map(Encoding::as_str),
        chars: item.chars().count(),
    };
    Presented { shown, encoding, tag, other_hash }
}
