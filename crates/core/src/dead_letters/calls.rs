//! The calls to the dead-letter store's object, and what it answers.
//!
//! Promise: one set of types for both sides of a call, whose forms the tests pin. Out of scope: what is decided ([`super`]).

use super::{Letter, Purged, Status};
use crate::dead_letters::replay::{JobOrder, LastReplay, Replayed};
use crate::deliver::dispatcher::rows::DispatchState;
use crate::messages::DeadLetter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Only letters that died before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Only letters that got so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Only these letters; all where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
}

/// A call to the dead-letter store's object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LettersCall {
    /// Stores letters, as `decide_arrival` says. Answers `Stored`.
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
    /// Deletes a letter; answers it without its body, and the key of its stored body where nothing else refers to that, as
    /// `Option<(DeadLetter, Option<String>)>`.
    Delete {
        /// Identifier of the letter.
        id: String,
    },
    /// Removes the oldest letters that died before a time; answers [`Expired`].
    Expire {
        /// Letters that died before this time.
        before_ms: u64,
        /// Letters that were replayed and whose request arrived before this time, whenever they died last: their bodies
        /// go now ([`crate::dead_letters::retention::Retention::received_before_ms`]).
        #[serde(default)]
        received_before_ms: u64,
        /// At most so many.
        limit: u32,
    },
    /// Answers [`LetterTotals`].
    Totals,
    /// Replays one letter; answers `Option<Replayed>`.
    Replay {
        /// Identifier of the letter.
        id: String,
        /// Who wants it.
        actor: String,
    },
    /// Begins to replay many; answers [`crate::dead_letters::replay::Job`], after its first step.
    ReplayMany {
        /// Which ones, and how.
        order: JobOrder,
    },
    /// Answers the latest [`crate::dead_letters::replay::Job`]s.
    Jobs,
    /// Does something with a job; answers `Option<Job>`.
    Job {
        /// Identifier of the job.
        id: String,
        /// What to do.
        action: JobAction,
    },
    /// Marks letters whose deliveries stand otherwise than dead, so that nobody replays them; answers how many of them it
    /// marked.
    Outlived {
        /// Those that their destinations named.
        letters: Vec<Outlived>,
    },
    /// Starts again what should be running and is not; answers how many jobs are running.
    Wake,
}

/// A letter whose delivery was not dead when its destination was told that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlived {
    /// Identifier of the letter.
    pub id: String,
    /// The number that the letter carries: one that died in a later replay is another.
    pub replay: u32,
    /// How its delivery stands.
    pub state: DispatchState,
}

/// What can be done with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobAction {
    /// Only tell how far it got.
    Show,
    /// Stop it before its next letters.
    Cancel,
    /// Go on where it stopped.
    Resume,
}

/// The answer to [`LettersCall::Replay`].
pub type ReplayAnswer = Option<Replayed>;

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
    /// How often it was replayed before it died.
    pub replay: u32,
    /// How far it got.
    #[serde(default)]
    pub status: Status,
    /// What its latest replay came to, beside what it died of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replay: Option<LastReplay>,
}

impl Summary {
    /// A letter with what became of it since.
    pub fn new(letter: &DeadLetter, status: Status, last_replay: Option<LastReplay>) -> Self {
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
            status,
            last_replay,
        }
    }
}

/// How many letters there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LetterTotals {
    /// Those that wait for somebody.
    pub stored: u64,
    /// The same by reason.
    pub by_reason: BTreeMap<String, u64>,
    /// Those that went on their way again, and are kept until their retention ends.
    #[serde(default)]
    pub replayed: u64,
    /// Those that were removed because their source had too many, by source, since the store exists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub purged: BTreeMap<String, Purged>,
    /// When the oldest one died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_dead_at_ms: Option<u64>,
}
