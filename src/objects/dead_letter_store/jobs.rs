//! The rows of replay jobs.
//!
//! Promise: a job is read, changed and written between two awaits, so that a step, a cancellation and a count never undo
//! one another.

use crate::platform::sql::{Row, number, rows, run, text, unreadable};
use gateway_core::dead_letters::replay::{Job, JobState};
use worker::{Result, SqlStorage};

/// The most jobs that are shown.
const SHOWN: u32 = 100;

fn read(row: &Row) -> Result<Job> {
    Ok(serde_json::from_str(&row.text(0).ok_or_else(|| unreadable("job"))?)?)
}

/// Writes a job.
pub(super) fn save(sql: &SqlStorage, job: &Job) -> Result<()> {
    run(
        sql,
        "INSERT INTO jobs (id, running, job) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET running = excluded.running, job = excluded.job",
        vec![text(&job.id), number(u64::from(job.state == JobState::Running)), text(&serde_json::to_string(job)?)],
    )
}

/// Reads a job.
pub(super) fn get(sql: &SqlStorage, id: &str) -> Result<Option<Job>> {
    rows(sql, "SELECT job FROM jobs WHERE id = ?", vec![text(id)])?.first().map(read).transpose()
}

/// Changes a job as it stands now; `None` where there is none.
pub(super) fn change(sql: &SqlStorage, id: &str, now_ms: u64, change: impl FnOnce(&mut Job)) -> Result<Option<Job>> {
    let Some(mut job) = get(sql, id)? else { return Ok(None) };
    change(&mut job);
    job.updated_at_ms = now_ms;
    save(sql, &job)?;
    Ok(Some(job))
}

/// The latest jobs, newest first: identifiers begin with the time.
pub(super) fn list(sql: &SqlStorage) -> Result<Vec<Job>> {
    rows(sql, "SELECT job FROM jobs ORDER BY id DESC LIMIT ?", vec![number(SHOWN.into())])?.iter().map(read).collect()
}

/// Identifiers of the jobs that are running, oldest first.
pub(super) fn running(sql: &SqlStorage) -> Result<Vec<String>> {
    let found = rows(sql, "SELECT id FROM jobs WHERE running = 1 ORDER BY id", vec![])?;
    Ok(found.iter().filter_map(|row| row.text(0)).collect())
}

/// Forgets jobs that ended before a time.
pub(super) fn expire(sql: &SqlStorage, before_ms: u64) -> Result<()> {
    run(sql, "DELETE FROM jobs WHERE running = 0 AND json_extract(job, '$.updatedAtMs') < ?", vec![number(before_ms)])
}
