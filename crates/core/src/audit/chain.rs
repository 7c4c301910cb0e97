//! The chain of hashes: what follows what, and the first thing that does not.
//!
//! Promises: each hash covers the previous one and the canonical entry, so that a changed, removed or swapped entry shows at
//! the first entry after it; the canonical form is the JSON of an entry without its two hashes, fields in the order of the
//! declaration, absent ones left out. What is stored has to be what was written, to the byte, because that is what is shown
//! and exported: a field that no hash covers is a change like any other. The end of the chain has nothing after it; it is
//! kept apart ([`Head`]) and compared.

use super::{Draft, Entry};
use crate::deliver::dispatcher::status::shown_url;
use genesys_webhook::encoding::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The `previousHash` of the first entry.
pub const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Serialize)]
struct Canonical<'a> {
    seq: u64,
    timestamp: &'a str,
    #[serde(flatten)]
    draft: &'a Draft,
}

fn chain_hash(previous_hash: &str, seq: u64, timestamp: &str, draft: &Draft) -> String {
    // Strings and numbers only: serializing them cannot fail.
    let canonical = serde_json::to_string(&Canonical { seq, timestamp, draft }).unwrap_or_default();
    hex(&Sha256::new().chain_update(previous_hash).chain_update("\n").chain_update(canonical).finalize())
}

/// Why a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// A number is missing or out of order.
    #[error("entry {expected} is missing")]
    Gap {
        /// The number that should have come.
        expected: u64,
    },
    /// The entry does not follow the one before it.
    #[error("entry {seq} does not follow the entry before it")]
    Unlinked {
        /// Its number.
        seq: u64,
    },
    /// The entry is not what was written.
    #[error("entry {seq} was changed")]
    Changed {
        /// Its number.
        seq: u64,
    },
    /// The log did not append the entry.
    #[error("entry {seq} was not recorded by the log")]
    Unrecorded {
        /// Its number.
        seq: u64,
    },
}

/// Where a chain, or a walk along it, has got to: number and hash of the last entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry, 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: GENESIS_HASH.into() }
    }
}

impl Head {
    /// Chains what is to be recorded; of an address what may be shown, because nothing is ever taken back from the trail.
    pub fn append(&mut self, mut draft: Draft, now_ms: u64) -> Entry {
        draft.target_url = draft.target_url.as_deref().map(shown_url);
        let seq = self.seq.saturating_add(1);
        let timestamp = crate::time::rfc3339(now_ms);
        let hash = chain_hash(&self.hash, seq, &timestamp, &draft);
        let before = std::mem::replace(self, Self { seq, hash: hash.clone() });
        Entry { seq, timestamp, draft, previous_hash: before.hash, hash }
    }

    /// Goes on to the entry that was written as `text`.
    ///
    /// # Errors
    /// It is not the one that follows, or not as it was written.
    pub fn follow(&mut self, text: &str) -> Result<Entry, Broken> {
        let seq = self.seq.saturating_add(1);
        let entry = Entry::from_json(text).map_err(|_| Broken::Changed { seq })?;
        if entry.seq != seq {
            return Err(Broken::Gap { expected: seq });
        }
        if entry.previous_hash != self.hash {
            return Err(Broken::Unlinked { seq });
        }
        let hash = chain_hash(&self.hash, seq, &entry.timestamp, &entry.draft);
        let is_as_written = || serde_json::to_string(&entry).is_ok_and(|written| written == text);
        if hash != entry.hash || !is_as_written() {
            return Err(Broken::Changed { seq });
        }
        *self = Self { seq, hash };
        Ok(entry)
    }

    /// Goes on to a row: as [`Self::follow`], and the columns beside the text, by which rows are found, say the same.
    ///
    /// # Errors
    /// It is not the one that follows, or not as it was written.
    pub fn follow_row(&mut self, seq: u64, action: &str, text: &str) -> Result<(), Broken> {
        let expected = self.seq.saturating_add(1);
        if seq != expected {
            return Err(Broken::Gap { expected });
        }
        let entry = self.follow(text)?;
        if entry.draft.action.as_str() == action { Ok(()) } else { Err(Broken::Changed { seq }) }
    }

    /// Goes on to the entries that were written as the lines of `text`; answers the last of them.
    ///
    /// # Errors
    /// The first that does not follow, or is not as it was written.
    pub fn follow_lines(&mut self, text: &str) -> Result<Option<Entry>, Broken> {
        let mut last = None;
        for line in text.lines() {
            last = Some(self.follow(line)?);
        }
        Ok(last)
    }

    /// Compares the end of a walk with the head that was kept when the last entry was appended.
    ///
    /// # Errors
    /// Entries are missing at the end, were changed there, or were put behind it.
    pub fn check_end(&self, kept: &Self) -> Result<(), Broken> {
        if self.seq < kept.seq {
            return Err(Broken::Gap { expected: self.seq.saturating_add(1) });
        }
        if self.seq > kept.seq {
            return Err(Broken::Unrecorded { seq: kept.seq.saturating_add(1) });
        }
        if self.hash == kept.hash { Ok(()) } else { Err(Broken::Changed { seq: self.seq }) }
    }
}
