//! The calls to the audit log's object, and what it answers.

use super::{Action, Broken, Draft, Head};
use serde::{Deserialize, Serialize};

/// Name of the object: there is one chain.
pub const AUDIT_OBJECT: &str = "audit";

/// A call to the audit log's object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditCall {
    /// Appends drafts in order; answers the last number.
    Append {
        /// At most a batch.
        drafts: Vec<Draft>,
        /// A random name of the batch: one that was appended before is not appended again. `None`: appended every time.
        batch: Option<String>,
    },
    /// Answers the newest entries before the cursor, as the API shows them.
    List {
        /// Which ones.
        filter: EntryFilter,
        /// Only entries before this number.
        before_seq: Option<u64>,
        /// At most so many.
        limit: u32,
    },
    /// Walks the chain from `from_seq`; answers a [`Verification`].
    Verify {
        /// First number to check, from 1.
        from_seq: u64,
        /// At most so many entries.
        limit: u32,
    },
    /// Answers the entries from `from_seq` on as [`Lines`]; `None` where that entry is only in a file.
    Lines {
        /// First number, from 1.
        from_seq: u64,
        /// At most so many.
        limit: u32,
    },
    /// Writes the oldest complete segments that have no file yet; answers how many entries.
    Export,
    /// Removes the oldest segments that [may leave](super::may_leave) and have their files; answers how many entries.
    Expire {
        /// Segments whose last entry was recorded before this time.
        before_ms: u64,
    },
    /// Answers the [`Marks`].
    Marks,
    /// Answers [`LogTotals`].
    Totals,
}

/// What metrics say of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTotals {
    /// The last entry.
    pub head: Head,
    /// Size of the object, in bytes.
    pub storage_bytes: u64,
}

/// What the log knows of its chain without looking at an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The last entry.
    pub head: Head,
    /// The last entry that is in a file.
    pub exported: Head,
    /// The last entry that is only in a file.
    pub removed: Head,
}

impl Marks {
    /// Compares a walk that has got to `end` with the marks that stand there.
    ///
    /// # Errors
    /// The entry is not the one that the log recorded, whatever hash it gives itself.
    pub fn check(&self, end: &Head) -> Result<(), Broken> {
        let mut here = [&self.head, &self.exported, &self.removed].into_iter().filter(|mark| mark.seq == end.seq);
        here.try_for_each(|mark| end.check_end(mark))
    }
}

/// Which entries a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFilter {
    /// Only this action.
    pub action: Option<Action>,
    /// Only of this source.
    pub source: Option<String>,
    /// Only from this time on, RFC 3339 as entries have it.
    pub since: Option<String>,
    /// Only before this time, in the same form.
    pub until: Option<String>,
}

/// Entries as JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// A line an entry, each with its newline; as they are stored.
    pub lines: String,
    /// Where the next call goes on; absent at the end.
    pub next_seq: Option<u64>,
}

/// What a walk along the chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Whether everything checked holds.
    pub intact: bool,
    /// Entries checked.
    pub checked: u64,
    /// The last entry that is only in a file: the walk began behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_files: Option<u64>,
    /// Where the next walk goes on; absent when the end was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_seq: Option<u64>,
    /// The first break.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
}
