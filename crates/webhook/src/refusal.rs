//! Refusals: why a delivery was not accepted.
//!
//! Promises:
//! - One closed enum with stable codes. A refusal blames the request.
//! - Details say what and where, never a secret, a signature or content of the body.
//!
//! Out of scope: what is ours to repair, see [`crate::signature::VerifyError::NoActiveSecret`].

use serde::{Deserialize, Serialize};

use crate::encoding::EncodingFault;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The header of this name (lower case), which the scheme needs, is absent or empty.
    #[error("header {0} is missing or empty")]
    MissingSignature(String),
    /// A header that the scheme needs cannot be read as the scheme writes it.
    #[error("header {header} {fault}")]
    MalformedSignature {
        /// Name of the header, lower case.
        header: String,
        fault: SignatureFault,
    },
    /// Well formed, and not made with any active secret over these bytes.
    #[error("no active secret makes this signature over this body")]
    SignatureMismatch,
    /// Signed too long ago, or in the future.
    #[error("signed {} s {}, allowed are {tolerance_s} s", .skew_s.unsigned_abs(), if *.skew_s < 0 { "in the future" } else { "ago" })]
    TimestampOutOfTolerance {
        /// Age of the signature in seconds; negative where it lies in the future.
        skew_s: i64,
        /// What the scheme allows, in seconds, both ways.
        tolerance_s: u32,
    },
    /// The body is not one JSON text (RFC 8259).
    #[error("{fault} at byte {at_byte}")]
    InvalidJson {
        fault: JsonFault,
        /// Offset of the first byte that cannot stand where it stands.
        at_byte: usize,
    },
    /// JSON, and not the envelope that the source's profile has.
    #[error("{fault} at byte {at_byte}")]
    InvalidEnvelope {
        fault: EnvelopeFault,
        /// Offset of the value or member name that is wrong.
        at_byte: usize,
    },
    #[error("the body is larger than {limit_bytes} bytes")]
    BodyTooLarge { limit_bytes: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    #[error("has more than {0} signatures")]
    TooMany(usize),
    #[error("has no signature that begins with {0:?}")]
    Prefix(String),
    #[error("{0}")]
    Encoding(#[from] EncodingFault),
    #[error("is not an identifier of at most {0} visible characters")]
    Identifier(usize),
    #[error("is not a time in whole seconds since 1970")]
    Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    #[error("the body is empty")]
    Empty,
    #[error("the text ends in the middle")]
    Truncated,
    #[error("expected a value")]
    Value,
    #[error("expected a member name in double quotes")]
    Name,
    #[error("expected \":\"")]
    Colon,
    #[error("expected \",\" or \"}}\"")]
    ObjectEnd,
    #[error("expected \",\" or \"]\"")]
    ArrayEnd,
    #[error("malformed number")]
    Number,
    #[error("malformed escape in a string")]
    Escape,
    #[error("unescaped control character in a string")]
    Control,
    #[error("bytes that are not UTF-8")]
    Utf8,
    #[error("nested deeper than {0} levels")]
    TooDeep(u32),
    #[error("unexpected bytes after the end of the text")]
    Trailing,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    #[error("expected an object")]
    NotAnObject,
    #[error("expected an array \"events\", found no such member")]
    NoEvents,
    #[error("expected \"events\" to be an array")]
    EventsNotAnArray,
    #[error("duplicate member {0:?}")]
    Duplicate(String),
}

/// Stable name of a refusal: what is answered, counted, stored and filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    MissingSignature,
    MalformedSignature,
    SignatureMismatch,
    TimestampOutOfTolerance,
    InvalidJson,
    InvalidEnvelope,
    BodyTooLarge,
}

impl RefusalCode {
    pub const ALL: [Self; 7] = [
        Self::MissingSignature,
        Self::MalformedSignature,
        Self::SignatureMismatch,
        Self::TimestampOutOfTolerance,
        Self::InvalidJson,
        Self::InvalidEnvelope,
        Self::BodyTooLarge,
    ];

    /// The name as it is answered and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingSignature => "missing_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::SignatureMismatch => "signature_mismatch",
            Self::TimestampOutOfTolerance => "timestamp_out_of_tolerance",
            Self::InvalidJson => "invalid_json",
            Self::InvalidEnvelope => "invalid_envelope",
            Self::BodyTooLarge => "body_too_large",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    pub const fn http_status(self) -> u16 {
        match self {
            Self::MissingSignature
            | Self::MalformedSignature
            | Self::SignatureMismatch
            | Self::TimestampOutOfTolerance => 401,
            Self::InvalidJson | Self::InvalidEnvelope => 400,
            Self::BodyTooLarge => 413,
        }
    }

    /// The answer's `error`.
    pub const fn error(self) -> &'static str {
        match self.http_status() {
            401 => "Invalid signature",
            400 => "Invalid payload structure",
            _ => "Payload too large",
        }
    }
}

impl Refusal {
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::MissingSignature(_) => RefusalCode::MissingSignature,
            Self::MalformedSignature { .. } => RefusalCode::MalformedSignature,
            Self::SignatureMismatch => RefusalCode::SignatureMismatch,
            Self::TimestampOutOfTolerance { .. } => RefusalCode::TimestampOutOfTolerance,
            Self::InvalidJson { .. } => RefusalCode::InvalidJson,
            Self::InvalidEnvelope { .. } => RefusalCode::InvalidEnvelope,
            Self::BodyTooLarge { .. } => RefusalCode::BodyTooLarge,
        }
    }

    /// What and where, in words; safe to answer, store and log.
    pub fn detail(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_one_name_everywhere() {
        for code in RefusalCode::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.as_str()));
            assert_eq!(RefusalCode::from_name(code.as_str()), Some(code));
        }
        assert_eq!(RefusalCode::from_name("SignatureMismatch"), None);
    }

    #[test]
    fn each_code_has_its_status_and_its_error() {
        let answers: Vec<_> =
            RefusalCode::ALL.iter().map(|code| (code.as_str(), code.http_status(), code.error())).collect();
        assert_eq!(
            answers,
            [
                ("missing_signature", 401, "Invalid signature"),
                ("malformed_signature", 401, "Invalid signature"),
                ("signature_mismatch", 401, "Invalid signature"),
                ("timestamp_out_of_tolerance", 401, "Invalid signature"),
                ("invalid_json", 400, "Invalid payload structure"),
                ("invalid_envelope", 400, "Invalid payload structure"),
                ("body_too_large", 413, "Payload too large"),
            ]
        );
    }
}
