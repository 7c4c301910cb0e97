//! What the dead-letter store keeps, and the calls to it.
//!
//! Promises: a letter is stored under its delivery's identifier, so storing it twice changes nothing; small bodies are
//! kept with it, larger ones stay in R2. Out of scope: SQL (the `DEAD_LETTER_STORE` object), replaying.

use base64::{Engine, engine::general_purpose::STANDARD};
use genesys_webhook::message::DeadLetter;
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
}

/// Which letters are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Only this source.
    #[serde(default)]
    pub source: Option<String>,
    /// Only this reason.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only letters that died at or after this time.
    #[serde(default)]
    pub since_ms: Option<u64>,
}

/// A call to the dead-letter store's object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LettersCall {
    /// Stores letters; one that is there already is replaced. Answers how many were new.
    Put {
        /// At most a batch.
        letters: Vec<Letter>,
    },
    /// Answers the newest [`Summary`]s before the cursor.
    List {
        /// Which ones.
        filter: Filter,
        /// Only what sorts before this time of death and identifier.
        before: Option<(u64, String)>,
        /// At most so many.
        limit: u32,
    },
    /// Answers `Option<Letter>`.
    Get {
        /// Identifier of the letter.
        id: String,
    },
    /// Deletes a letter; answers it without its body as `Option<DeadLetter>`, so that a stored body can be deleted too.
    Delete {
        /// Identifier of the letter.
        id: String,
    },
    /// Removes the oldest letters that died before a time; answers [`Expired`].
    Expire {
        /// Letters that died before this time.
        before_ms: u64,
        /// At most so many.
        limit: u32,
    },
    /// Answers [`LetterTotals`].
    Totals,
}

/// What one step of retention removed from the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Letters removed.
    pub removed: u64,
    /// Keys of their stored bodies, for whoever deletes them.
    pub keys: Vec<String>,
}

/// A letter in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Identifier of the letter.
    pub id: String,
    /// Name of the source.
    pub source: String,
    /// Where it died.
    pub stage: String,
    /// Stable code.
    pub reason: String,
    /// What and where, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// One line of the signature doctor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
    /// Whether its signature had been verified.
    pub verified: bool,
    /// Attempts to hand it on.
    pub attempts: u32,
    /// HTTP status of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// When the request arrived.
    pub received_at_ms: u64,
    /// When it was given up.
    pub dead_at_ms: u64,
    /// Size of the body.
    pub size_bytes: u64,
    /// How often it was replayed.
    pub replay: u32,
}

impl From<&DeadLetter> for Summary {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            id: letter.id.clone(),
            source: letter.source.clone(),
            stage: letter.stage.as_str().into(),
            reason: letter.reason.clone(),
            detail: letter.detail.clone(),
            diagnosis: letter.diagnosis.clone(),
            verified: letter.verified,
            attempts: letter.attempts,
            last_status: letter.last_status,
            received_at_ms: letter.received_at_ms,
            dead_at_ms: letter.dead_at_ms,
            size_bytes: letter.body.size_bytes(),
            replay: letter.replay,
        }
    }
}

/// How many letters there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LetterTotals {
    /// All of them.
    pub stored: u64,
    /// By reason.
    pub by_reason: BTreeMap<String, u64>,
    /// When the oldest one died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_dead_at_ms: Option<u64>,
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

    proptest! {
        #[test]
        fn any_body_survives_as_text(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(BodyText::from_bytes(&bytes).to_bytes(), Some(bytes));
        }
    }
}
