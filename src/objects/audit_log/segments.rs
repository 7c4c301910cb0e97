//! Segments of the chain: writing them to files, and the removal of old entries.
//!
//! Promises: an entry is removed only with its whole segment, and only where the bucket has a file of the name that this
//! segment has; a segment that does not hold is not made good by a file, and is an error for as long as it stays.

use super::{EXPORTED, REMOVED, entry_at, kept_marks, set_mark, walk};
use crate::objects::Tables;
use crate::platform::body::RawBody;
use crate::platform::r2;
use crate::platform::sql::{number, run};
use gateway_core::audit::{Broken, Head, Marks, SEGMENT_ENTRIES, may_leave};
use gateway_core::messages::keys::audit_segment_key;
use worker::{Env, Error, Result, SqlStorage};

/// Segments that one call writes or removes: twenty thousand entries, each of them hashed within one event of the object.
const STEP_SEGMENTS: u32 = 20;

/// Repeats a step while it finds a segment; answers how many entries. What was done before a failure is answered first, and the
/// next call answers the failure.
pub(super) async fn repeat(step: impl AsyncFn() -> Result<bool>) -> Result<u64> {
    let mut done = 0u64;
    for _ in 0..STEP_SEGMENTS {
        match step().await {
            Ok(true) => done = done.saturating_add(SEGMENT_ENTRIES),
            Err(error) if done == 0 => return Err(error),
            _ => break,
        }
    }
    Ok(done)
}

#[allow(clippy::needless_pass_by_value)] // given to `map_err`
fn broken(broken: Broken) -> Error {
    Error::RustError(broken.to_string())
}

/// Writes the oldest segment without a file, once the chain has got beyond it: file first, then the mark, so that whatever is
/// cut off in between is repeated. Two exports at once write the same bytes under the same key.
pub(super) async fn export(sql: &SqlStorage, env: &Env) -> Result<bool> {
    let marks = kept_marks(sql)?;
    let to = marks.exported.seq.saturating_add(SEGMENT_ENTRIES);
    if marks.head.seq < to {
        return Ok(false);
    }
    let walked = walk(sql, marks.exported.clone(), SEGMENT_ENTRIES, &marks)?;
    if let Some(found) = walked.broken {
        return Err(broken(found));
    }
    if walked.end.seq < to {
        return Err(broken(Broken::Missing(walked.end.seq.saturating_add(1))));
    }
    let key = audit_segment_key(marks.exported.seq.saturating_add(1), &walked.end.hash);
    r2::put(env, &key, &RawBody::Wasm(walked.lines.into_bytes())).await.map_err(Error::RustError)?;
    set_mark(sql, EXPORTED, &walked.end)?;
    Ok(true)
}

/// Removes the oldest segment that is in a file and may leave.
pub(super) async fn expire(tables: &Tables, sql: &SqlStorage, env: &Env, before_ms: u64) -> Result<bool> {
    let Marks { head, exported, removed } = kept_marks(sql)?;
    let to = removed.seq.saturating_add(SEGMENT_ENTRIES);
    if to > exported.seq {
        return Ok(false);
    }
    let last = entry_at(sql, to)?.map_err(broken)?;
    if !may_leave(&last, head.seq, before_ms).map_err(broken)? {
        return Ok(false);
    }
    let key = audit_segment_key(removed.seq.saturating_add(1), &last.hash);
    if !r2::exists(env, &key).await.map_err(Error::RustError)? {
        return Err(Error::RustError(format!("no file {key}")));
    }
    tables.transaction(|sql| {
        run(sql, "DELETE FROM entries WHERE seq <= ?", vec![number(to)])?;
        set_mark(sql, REMOVED, &Head { seq: to, hash: last.hash })
    })?;
    Ok(true)
}
