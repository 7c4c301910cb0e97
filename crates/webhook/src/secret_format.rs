//! How secrets are written. Out of scope: reading them.

/// How the text of a secret becomes its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFormat {
    /// The text's UTF-8 bytes are the key.
    Text,
    /// Base64 of the key in either alphabet, padded or not, `whsec_` before it or not.
    Base64,
    /// Hexadecimal of the key.
    Hex,
}

impl SecretFormat {
    /// The form in words.
    pub(crate) const fn described(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Base64 => "base64, with or without \"whsec_\" before it",
            Self::Hex => "an even number of hexadecimal digits",
        }
    }
}
