//! The same secret, taken otherwise: what happens between a vendor's page, a shell and a configuration.
//!
//! Promise: every variant is wiped when it is dropped, and none is shown. The text that a key was configured as is not kept,
//! but is one of the few that follow from the key.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::explanation::{FindingCode, Mistake};
use crate::encoding::{hex, unhex};
use crate::scheme::{Scheme, SecretFormat};
use crate::secret::{SigningSecret, WHSEC, decode_base64};

type Key = Zeroizing<Vec<u8>>;

/// A key, and what would be wrong if the sender signed with it.
pub(super) type KeyVariant = (Option<Mistake>, Key);

pub(super) fn as_it_is(_: &Scheme, secret: &SigningSecret) -> Vec<KeyVariant> {
    vec![(None, Zeroizing::new(secret.key_bytes().to_vec()))]
}

/// Keys that the other side may have made from the same secret.
pub(super) fn variants(scheme: &Scheme, secret: &SigningSecret) -> Vec<KeyVariant> {
    let mut found = Vec::new();
    let mut add = |code, detail, key: Option<Vec<u8>>| {
        if let Some(key) = key.map(Zeroizing::new)
            && key.as_slice() != secret.key_bytes()
        {
            found.push((Some((code, detail)), key));
        }
    };
    for text in texts(scheme, secret) {
        let Ok(text) = core::str::from_utf8(&text) else { continue };
        if scheme.secret_format != SecretFormat::Text {
            let detail = "the sender takes the text of the secret as its key, this source decodes it first";
            let code = if scheme.secret_format == SecretFormat::Hex {
                FindingCode::SecretHex
            } else {
                FindingCode::SecretBase64
            };
            add(code, detail, Some(text.as_bytes().to_vec()));
            continue;
        }
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        add(
            FindingCode::SecretQuotes,
            "the configured secret has quotes around it that the sender's has not",
            bytes(text.trim_matches(['"', '\''])),
        );
        add(
            FindingCode::SecretLineEnd,
            "the sender's secret ends in a line feed that the configured one has not",
            bytes(&format!("{text}\n")),
        );
        let bare = text.strip_prefix(WHSEC);
        add(
            FindingCode::SecretWhsec,
            "\"whsec_\" before the secret belongs to the key on one side only",
            bare.map_or_else(|| bytes(&format!("{WHSEC}{text}")), bytes),
        );
        let detail = "the sender decodes the secret from base64 before it signs, this source takes its text as the key";
        add(FindingCode::SecretBase64, detail, decode_base64(bare.unwrap_or(text)));
        let detail =
            "the sender decodes the secret from hexadecimal before it signs, this source takes its text as the key";
        add(FindingCode::SecretHex, detail, unhex(text));
    }
    found
}

/// Keys that the sender may have where the secret was pasted there with something around it that cannot be seen.
pub(super) fn pasted(scheme: &Scheme, secret: &SigningSecret) -> Vec<KeyVariant> {
    if scheme.secret_format != SecretFormat::Text {
        return Vec::new();
    }
    let key = secret.key_bytes();
    let line_end = "the sender's secret ends in a carriage return and a line feed that the configured one has not";
    let whitespace = "the sender's secret has whitespace around it that the configured one has not";
    [("", "\r\n"), ("", " "), (" ", ""), (" ", " "), ("", "\t"), ("\t", ""), ("\n", "")]
        .into_iter()
        .map(|(before, after)| {
            let mistake = match after {
                "\r\n" => (FindingCode::SecretLineEnd, line_end),
                _ => (FindingCode::SecretWhitespace, whitespace),
            };
            (Some(mistake), Zeroizing::new([before.as_bytes(), key, after.as_bytes()].concat()))
        })
        .collect()
}

/// The texts that the secret may have been configured as.
pub(super) fn texts(scheme: &Scheme, secret: &SigningSecret) -> Vec<Key> {
    let key = secret.key_bytes();
    let mut texts: Vec<Key> = match scheme.secret_format {
        SecretFormat::Text => vec![Zeroizing::new(key.to_vec())],
        SecretFormat::Base64 => [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
            .iter()
            .map(|alphabet| Zeroizing::new(alphabet.encode(key)))
            .flat_map(|text| {
                [Zeroizing::new(text.as_bytes().to_vec()), Zeroizing::new([WHSEC.as_bytes(), text.as_bytes()].concat())]
            })
            .collect(),
        SecretFormat::Hex => {
            let text = Zeroizing::new(hex(key));
            vec![Zeroizing::new(text.as_bytes().to_vec()), Zeroizing::new(text.to_ascii_uppercase().into_bytes())]
        }
    };
    texts.sort_by(|one, other| one.as_slice().cmp(other.as_slice()));
    texts.dedup();
    texts
}
