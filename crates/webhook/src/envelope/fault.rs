//! What is wrong with a body. Out of scope: where.

/// Most containers inside each other. Genesys' deepest events have about 10; a bit each is kept in one word.
pub const MAX_NESTING: u32 = 128;

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// No byte but whitespace.
    #[error("the body is empty")]
    Empty,
    /// The text ends too early.
    #[error("the text ends in the middle")]
    Truncated,
    /// A byte that cannot stand where a value begins.
    #[error("expected a value")]
    Value,
    /// Something else than a name, or `}` in an empty object.
    #[error("expected a member name in double quotes")]
    Name,
    /// No `:` after a member's name.
    #[error("expected \":\"")]
    Colon,
    /// Neither `,` nor `}` after a member.
    #[error("expected \",\" or \"}}\"")]
    ObjectEnd,
    /// Neither `,` nor `]` after an element.
    #[error("expected \",\" or \"]\"")]
    ArrayEnd,
    /// A number that the grammar does not have: leading zero, no digit where one belongs.
    #[error("malformed number")]
    Number,
    /// `\` and something that it does not escape.
    #[error("malformed escape in a string")]
    Escape,
    /// A raw byte below 0x20 inside a string.
    #[error("unescaped control character in a string")]
    Control,
    /// Bytes that are not UTF-8.
    #[error("bytes that are not UTF-8")]
    Utf8,
    /// More than [`MAX_NESTING`] containers inside each other.
    #[error("nested deeper than {MAX_NESTING} levels")]
    TooDeep,
    /// Something after the value.
    #[error("unexpected bytes after the end of the text")]
    Trailing,
}

/// Why a JSON text is not the envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// The whole text is something else than an object.
    #[error("expected an object")]
    NotAnObject,
    /// No member `events`; the position is that of the end of the object.
    #[error("expected an array \"events\", found no such member")]
    NoEvents,
    /// `events` is something else than an array.
    #[error("expected \"events\" to be an array")]
    EventsNotAnArray,
    /// A member that counts is there twice.
    #[error("duplicate member {name:?}")]
    Duplicate {
        /// Its name.
        name: String,
    },
}
