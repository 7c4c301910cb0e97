//! Refusals: why a delivery was not accepted.
//!
//! Promises:
//! - One closed enum with stable codes. A refusal blames the request.
//! - Details say what and where, never a secret, a signature or content of the body.
//!
//! Out of scope: what is ours to repair, see [`crate::signature::VerifyError::NoActiveSecret`].

use crate::encoding::EncodingFault;

/// Its discriminants are the stable names: what is answered, counted, stored and filtered by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, strum::EnumDiscriminants)]
#[strum_discriminants(name(RefusalCode), derive(strum::EnumString, strum::IntoStaticStr, strum::VariantArray))]
#[strum_discriminants(strum(serialize_all = "snake_case", const_into_str))]
pub enum Refusal {
    /// The header of this name (lower case), which the scheme needs, is absent or empty.
    #[error("header {0} is missing or empty")]
    MissingSignature(String),
    #[error("header {header} {fault}")]
    MalformedSignature { header: String, fault: SignatureFault },
    #[error("no active secret makes this signature over this body")]
    SignatureMismatch,
    /// `skew_s`: the signature's age, negative where it lies in the future. `tolerance_s`: what is allowed, both ways.
    #[error("signed {} s {}, allowed are {tolerance_s} s", .skew_s.unsigned_abs(), if *.skew_s < 0 { "in the future" } else { "ago" })]
    TimestampOutOfTolerance { skew_s: i64, tolerance_s: u32 },
    /// The body is not one JSON text (RFC 8259): `at_byte` is the first that cannot stand where it stands.
    #[error("{fault} at byte {at_byte}")]
    InvalidJson { fault: JsonFault, at_byte: usize },
    /// JSON, and not the envelope that the source's profile has: at `at_byte` begins the value or member name that is wrong.
    #[error("{fault} at byte {at_byte}")]
    InvalidEnvelope { fault: EnvelopeFault, at_byte: usize },
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

impl RefusalCode {
    pub const fn as_str(self) -> &'static str {
        self.into_str()
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

    pub const fn error(self) -> &'static str {
        match self.http_status() {
            401 => "Invalid signature",
            400 => "Invalid payload structure",
            _ => "Payload too large",
        }
    }
}

impl Refusal {
    pub fn code(&self) -> RefusalCode {
        self.into()
    }

    /// What and where, in words; safe to answer, store and log.
    pub fn detail(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray as _;

    #[test]
    fn each_code_has_its_status_and_its_error() {
        let answers: Vec<_> =
            RefusalCode::VARIANTS.iter().map(|code| (code.as_str(), code.http_status(), code.error())).collect();
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
        for code in RefusalCode::VARIANTS {
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
        assert!("SignatureMismatch".parse::<RefusalCode>().is_err());
    }
}
