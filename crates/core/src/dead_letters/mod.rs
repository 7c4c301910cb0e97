//! What the dead-letter store keeps, and the calls to it.
//!
//! Promises: a letter is stored under its delivery's identifier, so storing it twice changes nothing; small bodies are
//! kept with it, larger ones stay in R2. A letter keeps its row when it is replayed, so that one can see what became of it.
//! Out of scope: SQL (the `DEAD_LETTER_STORE` object), what a replay decides ([`crate::dead_letters::replay`]).

mod calls;
pub mod replay;
pub mod retention;

pub use calls::{Expired, Filter, JobAction, LetterTotals, LettersCall, Outlived, ReplayAnswer, Summary};

use crate::dead_letters::replay::LastReplay;
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

/// A letter on its way into the store or out of it: what the queue carried, and the inline body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Everything but the body.
    pub letter: DeadLetter,
    /// The body, where `letter.body` says that it is inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<BodyText>,
    /// How far it got, on its way out of the store.
    #[serde(default)]
    pub status: Status,
    /// What its latest replay came to, on its way out of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replay: Option<LastReplay>,
}

/// How far a letter got. The numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for somebody.
    #[default]
    Stored,
    /// A replay holds it.
    Replaying,
    /// It went on its way again.
    Replayed,
}

impl Status {
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

    /// The status of an API name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// What to do with a letter that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nobody has it: store it.
    New,
    /// Its delivery was replayed and died again: it takes the place of the older one and waits again.
    DiedAgain,
    /// It is there already, or a replay has gone past it.
    Known,
}

/// Decides about a letter that arrives; the numbers are the replays that the letters carry.
///
/// A queue may repeat a message at any time: a repetition never opens again what was replayed since.
pub fn decide_arrival(stored_replay: Option<u32>, arriving_replay: u32) -> Arrival {
    match stored_replay {
        None => Arrival::New,
        Some(stored) if arriving_replay > stored => Arrival::DiedAgain,
        Some(_) => Arrival::Known,
    }
}

/// How much of one source the store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Letters.
    pub max_letters: u64,
    /// Bytes of their bodies, in rows and in R2.
    pub max_bytes: u64,
}

impl Default for Caps {
    /// 100,000 letters and 1 GB: a tenth of what an object may store (10 GB: Durable Objects, limits), so that several
    /// sources can fail at once; a destination that is away for a night at one delivery a second stays well within it.
    fn default() -> Self {
        Self { max_letters: 100_000, max_bytes: 1_000_000_000 }
    }
}

impl Caps {
    /// Whether so much is more than may be kept.
    pub fn exceeded(&self, letters: u64, bytes: u64) -> bool {
        letters > self.max_letters || bytes > self.max_bytes
    }
}

/// Letters that were removed because their source had too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Of them, those whose signature had been verified.
    #[serde(default)]
    pub verified: u64,
    /// Those that had not.
    #[serde(default)]
    pub unverified: u64,
}

impl Purged {
    /// Counts one more.
    pub fn add(&mut self, verified: bool) {
        let slot = if verified { &mut self.verified } else { &mut self.unverified };
        *slot = slot.saturating_add(1);
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.verified.saturating_add(self.unverified)
    }
}

/// The answer to [`LettersCall::Put`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Letters that were not there before.
    pub new: u64,
    /// Letters that had to go for them, by source, for the audit.
    #[serde(default)]
    pub purged: BTreeMap<String, Purged>,
    /// Keys of bodies that nothing refers to any more, for whoever deletes them.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Those that were there already: nothing happened to them.
    #[serde(default)]
    pub known: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_calls_are_pinned() {
        let list = LettersCall::List {
            filter: Filter { reason: Some("r".into()), ..Filter::default() },
            before: Some((5, "x".into())),
            limit: 9,
        };
        let json = r#"{"list":{"filter":{"source":null,"reason":"r","since_ms":null},"before":[5,"x"],"limit":9}}"#;
        assert_eq!(serde_json::to_string(&list).unwrap(), json);
        assert_eq!(serde_json::to_string(&BodyText::from_bytes(b"a\xff")).unwrap(), r#"{"bodyBase64":"Yf8="}"#);
        assert_eq!(serde_json::to_string(&BodyText::from_bytes(b"a")).unwrap(), r#"{"body":"a"}"#);
    }

    #[test]
    fn names_and_numbers_of_statuses_stay() {
        for (number, status, name) in
            [(0, Status::Stored, "stored"), (1, Status::Replaying, "replaying"), (2, Status::Replayed, "replayed")]
        {
            assert_eq!((status.number(), status.as_str()), (number, name));
            assert_eq!((Status::from_number(number), Status::from_name(name)), (Some(status), Some(status)));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{name}\""));
        }
        assert_eq!((Status::from_number(3), Status::from_name("Stored")), (None, None));
    }

    #[test]
    fn a_repetition_never_opens_again_what_was_replayed() {
        for (stored, arriving, arrival) in [
            (None, 0, Arrival::New),
            (None, 3, Arrival::New),
            (Some(0), 0, Arrival::Known),
            (Some(0), 1, Arrival::DiedAgain),
            (Some(2), 1, Arrival::Known),
            (Some(2), 2, Arrival::Known),
        ] {
            assert_eq!(decide_arrival(stored, arriving), arrival, "{stored:?} {arriving}");
        }
    }

    #[test]
    fn calls_of_older_versions_are_read() {
        let list = r#"{"list":{"filter":{"source":null,"reason":"r","since_ms":null},"before":null,"limit":9}}"#;
        let LettersCall::List { filter, .. } = serde_json::from_str(list).unwrap() else { panic!("another call") };
        assert_eq!(filter, Filter { reason: Some("r".into()), ..Filter::default() });
        let expire: LettersCall = serde_json::from_str(r#"{"expire":{"before_ms":5,"limit":1}}"#).unwrap();
        assert_eq!(expire, LettersCall::Expire { before_ms: 5, received_before_ms: 0, limit: 1 });
        let totals: LetterTotals = serde_json::from_str(r#"{"stored":1,"byReason":{"r":1}}"#).unwrap();
        assert_eq!((totals.stored, totals.replayed), (1, 0));
    }

    proptest! {
        #[test]
        fn any_body_survives_as_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(BodyText::from_bytes(&bytes).to_bytes(), Some(bytes));
        }
    }
}
