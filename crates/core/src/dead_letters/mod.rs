//! What the dead-letter store keeps, and the calls to it.
//!
//! Promises:
//! - a letter is stored under its delivery's identifier, so storing it twice changes nothing;
//! - small bodies are kept with it, larger ones in R2; over a cap small ones move to R2 too ([`caps`]);
//! - a letter keeps its row when it is replayed, so that an operator sees what became of it.
//!
//! Out of scope: SQL (the `DEAD_LETTER_STORE` object), what a replay decides ([`replay`]).

mod arrival;
mod calls;
pub mod caps;
pub mod replay;
pub mod retention;

pub use arrival::{
    ArrivedLetter, DeathReport, LetterArrival, MessageFacts, by_shard, decide_arrival, outlived, undecodable,
};
pub use calls::{Expired, LetterTotals, LettersCall, Outlived, Summary};

use crate::dead_letters::caps::BodyRange;
use crate::dead_letters::replay::{Fate, LastReplay, skipped};
use crate::messages::DeadLetter;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bodies up to this size are kept in the store's rows, larger ones in R2. A row may have 2 MB; a batch of 50 letters has
/// to fit into one call, and a store of 10 GB should hold some 300,000 of them.
pub const INLINE_MAX_BYTES: usize = 32_768;

/// Name of the store's object.
pub const STORE_OBJECT: &str = "dead-letters";

/// A body as JSON can carry it: text where it is UTF-8, base 64 otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BodyText {
    /// It is UTF-8.
    Body(String),
    /// It is not; standard alphabet with padding.
    BodyBase64(String),
}

impl BodyText {
    /// Writes `bytes` so that they can be read again exactly.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Body(text.into()),
            Err(_) => Self::BodyBase64(STANDARD.encode(bytes)),
        }
    }

    /// The bytes; `None` where the base 64 is broken.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Body(text) => Some(text.clone().into_bytes()),
            Self::BodyBase64(text) => STANDARD.decode(text).ok(),
        }
    }
}

/// A dead letter on its way into the store or out of it, with its inline body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDeadLetter {
    /// Everything but the body.
    pub letter: DeadLetter,
    /// The body, where `letter.body` says that it is inline.
    pub inline: Option<BodyText>,
    /// Where the inline body is instead, once it has moved; on its way out of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<BodyRange>,
    /// How far it got, on its way out of the store.
    #[serde(default)]
    pub status: LetterStatus,
    /// What its latest replay came to, on its way out of the store.
    pub last_replay: Option<LastReplay>,
}

/// How far a letter got. The numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterStatus {
    /// It waits for an operator.
    #[default]
    Stored,
    /// A replay holds it.
    Replaying,
    /// It went on its way again.
    Replayed,
}

impl LetterStatus {
    /// All of them, in the order of their stored numbers.
    pub const ALL: [Self; 3] = [Self::Stored, Self::Replaying, Self::Replayed];

    /// The stored number.
    pub const fn number(self) -> u64 {
        match self {
            Self::Stored => 0,
            Self::Replaying => 1,
            Self::Replayed => 2,
        }
    }

    /// The status of a stored number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.number() == number)
    }

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Replaying => "replaying",
            Self::Replayed => "replayed",
        }
    }

    /// Why a letter that got so far is not replayed now, as one of [`skipped`]; `None` where it is.
    pub const fn skip_code(self) -> Option<&'static str> {
        match self {
            Self::Stored => None,
            Self::Replaying => Some(skipped::BEING_REPLAYED),
            Self::Replayed => Some(skipped::ALREADY_REPLAYED),
        }
    }

    /// How far a letter got with which a replay came to `fate`.
    pub const fn after(fate: Fate) -> Self {
        match fate {
            Fate::Replayed => Self::Replayed,
            Fate::StillRefused | Fate::Skipped => Self::Stored,
        }
    }

    /// The status of an API name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Which letters are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LetterFilter {
    /// Only this source.
    pub source: Option<String>,
    /// Only this reason.
    pub reason: Option<String>,
    /// Only letters that died at or after this time.
    pub since_ms: Option<u64>,
    /// Only letters that died before this time.
    pub until_ms: Option<u64>,
    /// Only letters that got so far.
    pub status: Option<LetterStatus>,
    /// Only these letters; all where there are none.
    pub ids: Vec<String>,
}

/// The answer to [`LettersCall::Put`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LettersPut {
    /// Letters that were not there before.
    pub new: u64,
    /// Unverified letters that had to go because their source had too many, by source, for the audit.
    pub purged: BTreeMap<String, u64>,
    /// Keys of bodies that nothing refers to any more, which the caller deletes.
    pub keys: Vec<String>,
    /// Those that were there already: nothing happened to them.
    pub known: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_calls_are_pinned() {
        let filter = LetterFilter { reason: Some("r".into()), ..LetterFilter::default() };
        let list = LettersCall::List { filter, before: Some((5, "x".into())), limit: 9 };
        let json = r#"{"list":{"filter":{"source":null,"reason":"r","since_ms":null,"until_ms":null,"status":null,"ids":[]},"before":[5,"x"],"limit":9}}"#;
        assert_eq!(serde_json::to_string(&list).unwrap(), json);
        assert_eq!(serde_json::from_str::<LettersCall>(json).unwrap(), list);
        assert_eq!(serde_json::to_string(&BodyText::from_bytes(b"a\xff")).unwrap(), r#"{"bodyBase64":"Yf8="}"#);
        assert_eq!(serde_json::to_string(&BodyText::from_bytes(b"a")).unwrap(), r#"{"body":"a"}"#);
    }

    #[test]
    fn names_and_numbers_of_statuses_stay() {
        for (number, status, name, skip_code) in [
            (0, LetterStatus::Stored, "stored", None),
            (1, LetterStatus::Replaying, "replaying", Some("being_replayed")),
            (2, LetterStatus::Replayed, "replayed", Some("already_replayed")),
        ] {
            assert_eq!((status.number(), status.as_str(), status.skip_code()), (number, name, skip_code));
            assert_eq!(
                (LetterStatus::from_number(number), LetterStatus::from_name(name)),
                (Some(status), Some(status))
            );
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{name}\""));
        }
        assert_eq!((LetterStatus::from_number(3), LetterStatus::from_name("Stored")), (None, None));
        let after = [Fate::Replayed, Fate::StillRefused, Fate::Skipped].map(LetterStatus::after);
        assert_eq!(after, [LetterStatus::Replayed, LetterStatus::Stored, LetterStatus::Stored]);
    }

    proptest! {
        #[test]
        fn any_body_survives_as_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(BodyText::from_bytes(&bytes).to_bytes(), Some(bytes));
        }
    }
}
