//! The chain of hashes: what follows what, and the first thing that does not.
//!
//! Promises: each hash covers the previous one and the canonical entry, so that a changed, removed or swapped entry shows at
//! the first entry after it; the canonical form is the JSON of an entry without its two hashes, fields in the order of the
//! declaration, absent ones left out. What is stored has to be what was written, to the byte, because that is what is shown
//! and exported: a field that no hash covers is a change like any other. The end of the chain has nothing after it; it is
//! kept apart ([`Head`]) and compared, by the log with its own and by others with what they have noted.

use super::{Draft, Entry};
use crate::deliver::circuit_breaker::shown_url;
use genesys_webhook::encoding::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;

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

/// Why a chain does not hold, with the number of the first entry where it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// It is missing, or another is in its place.
    #[error("entry {0} is missing")]
    Missing(u64),
    /// It does not follow the entry before it.
    #[error("entry {0} does not follow the entry before it")]
    Unlinked(u64),
    /// It is not what was written.
    #[error("entry {0} was changed")]
    Changed(u64),
    /// The log did not append it.
    #[error("entry {0} was not recorded by the log")]
    Unrecorded(u64),
}

/// Where a chain, or a walk along it, has got to: number and hash of the last entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        let entry: Entry = serde_json::from_str(text).map_err(|_| Broken::Changed(seq))?;
        if entry.seq != seq {
            return Err(Broken::Missing(seq));
        }
        if entry.previous_hash != self.hash {
            return Err(Broken::Unlinked(seq));
        }
        let hash = chain_hash(&self.hash, seq, &entry.timestamp, &entry.draft);
        if hash != entry.hash || serde_json::to_string(&entry).ok().as_deref() != Some(text) {
            return Err(Broken::Changed(seq));
        }
        *self = Self { seq, hash };
        Ok(entry)
    }

    /// Goes on to the entries that were written as the lines of `text`, each with its newline.
    ///
    /// # Errors
    /// The first that does not follow, or is not as it was written.
    pub fn follow_lines(&mut self, text: &str) -> Result<(), Broken> {
        for line in text.split_inclusive('\n') {
            let seq = self.seq.saturating_add(1);
            self.follow(line.strip_suffix('\n').ok_or(Broken::Changed(seq))?)?;
        }
        Ok(())
    }

    /// Compares the end of a walk with the head that was kept when the last entry was appended.
    ///
    /// # Errors
    /// Entries are missing at the end, were changed there, or were put behind it.
    pub fn check_end(&self, kept: &Self) -> Result<(), Broken> {
        match self.seq.cmp(&kept.seq) {
            Ordering::Less => Err(Broken::Missing(self.seq.saturating_add(1))),
            Ordering::Greater => Err(Broken::Unrecorded(kept.seq.saturating_add(1))),
            Ordering::Equal if self.hash == kept.hash => Ok(()),
            Ordering::Equal => Err(Broken::Changed(self.seq)),
        }
    }
}
