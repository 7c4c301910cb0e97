//! How a signature is written in a header: hexadecimal, base64, base64url.
//!
//! Promises:
//! - Decoding is strict. It takes one length, no white space, padding as the encoding says, and no unused bits that are set.
//! - Hexadecimal digits may have either case.
//!
//! Out of scope: tags of other hash functions.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

pub type Tag = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 64 hexadecimal digits of either case.
    Hex,
    /// The standard alphabet of RFC 4648, section 4. Where it is padded, `=` fills the last group: 44 characters, else 43.
    Base64 { padded: bool },
    /// The URL-safe alphabet of RFC 4648, section 5, padded in the same way.
    Base64Url { padded: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingFault {
    #[error("has {found} characters where {encoding} of 32 bytes has {expected}")]
    Length { found: usize, expected: usize, encoding: &'static str },
    #[error("is not {0}")]
    Alphabet(&'static str),
}

impl Encoding {
    /// The name in configuration and in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 { .. } => "base64",
            Self::Base64Url { .. } => "base64url",
        }
    }

    const fn tag_chars(self) -> usize {
        match self {
            Self::Hex => 64,
            Self::Base64 { padded: true } | Self::Base64Url { padded: true } => 44,
            Self::Base64 { padded: false } | Self::Base64Url { padded: false } => 43,
        }
    }

    /// Writes a tag; hexadecimal in lower case.
    pub fn encode(self, tag: &Tag) -> String {
        self.engine().map_or_else(|| hex(tag), |engine| engine.encode(tag))
    }

    pub fn decode(self, text: &str) -> Result<Tag, EncodingFault> {
        let encoding = self.as_str();
        let expected = self.tag_chars();
        if text.len() != expected {
            return Err(EncodingFault::Length { found: text.len(), expected, encoding });
        }
        let tag = match self.engine() {
            None => unhex(text).and_then(|bytes| bytes.try_into().ok()),
            Some(engine) => engine.decode(text).ok().and_then(|bytes| bytes.try_into().ok()),
        };
        tag.ok_or(EncodingFault::Alphabet(encoding))
    }

    const fn engine(self) -> Option<&'static GeneralPurpose> {
        match self {
            Self::Hex => None,
            Self::Base64 { padded: true } => Some(&STANDARD),
            Self::Base64 { padded: false } => Some(&STANDARD_NO_PAD),
            Self::Base64Url { padded: true } => Some(&URL_SAFE),
            Self::Base64Url { padded: false } => Some(&URL_SAFE_NO_PAD),
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Hexadecimal of either case; `None` for an odd length or any other character.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    base16ct::mixed::decode_vec(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = [0xfb; 32];

    #[test]
    fn each_encoding_reads_what_it_writes_and_has_the_stated_length() {
        for encoding in [
            Encoding::Hex,
            Encoding::Base64 { padded: true },
            Encoding::Base64 { padded: false },
            Encoding::Base64Url { padded: true },
            Encoding::Base64Url { padded: false },
        ] {
            let text = encoding.encode(&TAG);
            assert_eq!(text.len(), encoding.tag_chars());
            assert_eq!(encoding.decode(&text), Ok(TAG));
        }
    }

    #[test]
    fn both_hexadecimal_cases_are_read() {
        assert_eq!(Encoding::Hex.decode(&"fB".repeat(32)), Ok(TAG));
    }

    #[test]
    fn nothing_but_the_exact_form_is_read() {
        let padded = Encoding::Base64 { padded: true };
        let text = padded.encode(&TAG);
        assert!(Encoding::Base64 { padded: false }.decode(&text).is_err(), "padding where none belongs");
        assert!(padded.decode(&text[..43]).is_err(), "padding missing");
        assert!(Encoding::Base64Url { padded: true }.decode(&text).is_err(), "the other alphabet");
        assert!(padded.decode(&format!("{} ", &text[..43])).is_err(), "whitespace");
        assert!(padded.decode(&format!("{}=", "A".repeat(42) + "B")).is_err(), "unused bits are set");
        assert!(Encoding::Hex.decode(&format!("{}g", "0".repeat(63))).is_err(), "not a digit");
        assert!(Encoding::Hex.decode(&format!("+{}", "0".repeat(63))).is_err(), "a sign is not a digit");
        assert!(Encoding::Hex.decode(&"é".repeat(32)).is_err(), "not ASCII");
        assert!(Encoding::Hex.decode("").is_err());
    }
}
