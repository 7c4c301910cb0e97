//! The rows of letters, and what is counted of them.
//!
//! Promise: caps and totals need no scan, because `held` is kept by triggers within the statement that changes a row. Out of scope:
//! moving bodies (`segments`).

use crate::objects::{SchemaStep, json};
use crate::platform::sql::{Row, number, optional, rows, run, text, unreadable};
use gateway_core::dead_letters::caps::{Amount, Caps};
use gateway_core::dead_letters::replay::{Job, LEASE_MS, LastReplay, LetterPosition, ReplayVerdict};
use gateway_core::dead_letters::{
    Expired, LetterArrival, LetterFilter, LetterStatus, LetterTotals, LettersPut, Outlived, StoredDeadLetter, Summary,
    decide_arrival,
};
use gateway_core::messages::{BodyRef, DeadLetter};
use worker::{Result, SqlStorage, SqlStorageValue};

/// The letter itself is JSON, the columns beside it are what lists filter and sort by. `size_bytes` is what is kept of the body.
/// `moved` is where the body is instead of `body`, in one of the `segments` with `n` bodies. `states` has a row for each letter that
/// was replayed. `inline_n` and `inline_bytes` are those of `held` whose bodies are in rows.
pub(super) const SCHEMA: [SchemaStep; 1] = ["
    CREATE TABLE letters (
        id TEXT PRIMARY KEY, source TEXT NOT NULL, reason TEXT NOT NULL, dead_at_ms INTEGER NOT NULL, verified INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL, letter TEXT NOT NULL, body TEXT, moved TEXT) WITHOUT ROWID;
    CREATE INDEX by_time ON letters (dead_at_ms, id);
    CREATE INDEX by_source ON letters (source, dead_at_ms, id);
    CREATE INDEX purgeable ON letters (source, dead_at_ms, id) WHERE verified = 0;
    CREATE INDEX movable ON letters (source, dead_at_ms, id) WHERE verified = 1 AND body IS NOT NULL;
    CREATE TABLE segments (key TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE states (
        id TEXT PRIMARY KEY, status INTEGER NOT NULL, lease_until_ms INTEGER NOT NULL, received_at_ms INTEGER NOT NULL,
        job TEXT, last TEXT) WITHOUT ROWID;
    CREATE INDEX by_receipt ON states (received_at_ms);
    CREATE TABLE held (
        source TEXT, verified INTEGER, reason TEXT, n INTEGER NOT NULL, bytes INTEGER NOT NULL, inline_n INTEGER NOT NULL,
        inline_bytes INTEGER NOT NULL, replayed INTEGER NOT NULL, PRIMARY KEY (source, verified, reason)) WITHOUT ROWID;
    CREATE TABLE purged (source TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE jobs (id TEXT PRIMARY KEY, running INTEGER NOT NULL, job TEXT NOT NULL) WITHOUT ROWID;
    CREATE TRIGGER letter_comes AFTER INSERT ON letters BEGIN
        INSERT INTO held (source, verified, reason, n, bytes, inline_n, inline_bytes, replayed)
            VALUES (new.source, new.verified, new.reason, 1, new.size_bytes, new.body IS NOT NULL,
                IIF(new.body IS NULL, 0, new.size_bytes), 0)
            ON CONFLICT DO UPDATE SET n = n + 1, bytes = bytes + excluded.bytes, inline_n = inline_n + excluded.inline_n,
                inline_bytes = inline_bytes + excluded.inline_bytes;
    END;
    CREATE TRIGGER body_moves AFTER UPDATE OF body ON letters WHEN old.body IS NOT NULL AND new.body IS NULL BEGIN
        UPDATE held SET inline_n = inline_n - 1, inline_bytes = inline_bytes - old.size_bytes
            WHERE source = old.source AND verified = old.verified AND reason = old.reason;
    END;
    CREATE TRIGGER letter_goes AFTER DELETE ON letters BEGIN
        UPDATE held SET n = n - 1, bytes = bytes - old.size_bytes, inline_n = inline_n - (old.body IS NOT NULL),
            inline_bytes = inline_bytes - IIF(old.body IS NULL, 0, old.size_bytes),
            replayed = replayed - (SELECT COUNT(*) FROM states WHERE id = old.id AND status = 2)
            WHERE source = old.source AND verified = old.verified AND reason = old.reason;
        DELETE FROM states WHERE id = old.id;
    END;
    CREATE TRIGGER letter_replayed AFTER UPDATE OF status ON states WHEN new.status = 2 AND old.status < 2 BEGIN
        UPDATE held SET replayed = replayed + 1
            WHERE (source, verified, reason) = (SELECT source, verified, reason FROM letters WHERE id = new.id);
    END;
    CREATE TRIGGER letter_outlived AFTER INSERT ON states WHEN new.status = 2 BEGIN
        UPDATE held SET replayed = replayed + 1
            WHERE (source, verified, reason) = (SELECT source, verified, reason FROM letters WHERE id = new.id);
    END;"];

/// A letter whose holder's lease has run out is not being replayed. `?1` is the time.
const STATUS: &str = "CASE WHEN s.status IS NULL OR (s.status = 1 AND s.lease_until_ms <= ?1) THEN 0 ELSE s.status END";

const FROM: &str = "FROM letters l LEFT JOIN states s ON s.id = l.id";

/// The letters of a filter; its parameters are those of [`filter_parameters`].
const FILTER: &str =
    "(?2 IS NULL OR l.source = ?2) AND (?3 IS NULL OR l.reason = ?3) AND l.dead_at_ms >= ?4 AND l.dead_at_ms < ?5
    AND (?7 IS NULL OR l.id IN (SELECT value FROM json_each(?7)))";

/// The most letters that one arriving letter displaces: only a cap that was lowered asks for more than one or two.
const MAX_DISPLACED: u32 = 500;

/// Ends the leases of an earlier instance of this object: what it may have sent carries the same replay number as what is sent
/// next.
pub(super) fn prepare(sql: &SqlStorage) -> Result<()> {
    run(sql, "UPDATE states SET lease_until_ms = 0 WHERE status = 1", vec![])
}

fn filter_parameters(filter: &LetterFilter, now_ms: u64) -> Result<Vec<SqlStorageValue>> {
    let ids = (!filter.ids.is_empty()).then(|| json(&filter.ids)).transpose()?;
    Ok(vec![
        number(now_ms),
        optional(filter.source.as_deref()),
        optional(filter.reason.as_deref()),
        number(filter.since_ms.unwrap_or(0)),
        number(filter.until_ms.unwrap_or(u64::MAX)),
        filter.status.map_or(SqlStorageValue::Null, |status| number(status.number())),
        optional(ids.as_deref()),
    ])
}

/// Stores one letter, and makes room for it where `caps` are known. Answers through `stored`.
pub(super) fn put(
    sql: &SqlStorage,
    StoredDeadLetter { letter, inline, .. }: &StoredDeadLetter,
    caps: Option<Caps>,
    stored: &mut LettersPut,
) -> Result<()> {
    let known = rows(
        sql,
        "SELECT json_extract(l.letter, '$.replay'), s.last FROM letters l LEFT JOIN states s ON s.id = l.id WHERE l.id = ?",
        vec![text(&letter.id)],
    )?;
    let known = known.first();
    let known_replay = known.map(|row| row.number(0).and_then(|n| u32::try_from(n).ok()).unwrap_or(0));
    match decide_arrival(known_replay, letter.replay) {
        LetterArrival::Known => {
            stored.known.push(letter.id.clone());
            return Ok(());
        }
        LetterArrival::New => stored.new = stored.new.saturating_add(1),
        // A body in the bucket is that of the new letter too.
        LetterArrival::DiedAgain => {
            if let Some((_, segment)) = take(sql, &letter.id)? {
                stored.keys.extend(segment);
            }
        }
    }
    let body = inline.as_ref().map(json).transpose()?;
    run(
        sql,
        "INSERT INTO letters (id, source, reason, dead_at_ms, verified, size_bytes, letter, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        vec![
            text(&letter.id),
            text(&letter.source),
            text(&letter.reason),
            number(letter.dead_at_ms),
            number(u64::from(letter.verified)),
            number(kept_bytes(&letter.body)),
            text(&json(letter)?),
            optional(body.as_deref()),
        ],
    )?;
    if letter.replay > 0 {
        let last = known.and_then(|row| row.text(1));
        run(
            sql,
            "INSERT INTO states (id, status, lease_until_ms, received_at_ms, last) VALUES (?, 0, 0, ?, ?)",
            vec![text(&letter.id), number(letter.received_at_ms), optional(last.as_deref())],
        )?;
    }
    match caps.filter(|_| !letter.verified) {
        Some(caps) => make_room(sql, letter, caps, stored),
        None => Ok(()),
    }
}

fn kept_bytes(body: &BodyRef) -> u64 {
    if let BodyRef::Omitted { .. } = body { 0 } else { body.size_bytes() }
}

/// What a source has, of two sums over `held`.
pub(super) fn amount(sql: &SqlStorage, sums: &str, source: &str, verified: bool) -> Result<Amount> {
    let statement = format!("SELECT {sums} FROM held WHERE source = ? AND verified = ?");
    let held = rows(sql, &statement, vec![text(source), number(u64::from(verified))])?;
    let sum = |column| held.first().and_then(|row| row.number(column)).unwrap_or(0);
    Ok(Amount { letters: sum(0), bytes: sum(1) })
}

/// Removes the oldest unverified letters of a source until the caps hold; the arriving one only where it is more than the caps by
/// itself.
fn make_room(sql: &SqlStorage, arriving: &DeadLetter, caps: Caps, stored: &mut LettersPut) -> Result<()> {
    let source = &arriving.source;
    for _ in 0..MAX_DISPLACED {
        if !caps.exceeded(amount(sql, "SUM(n), SUM(bytes)", source, false)?) {
            return Ok(());
        }
        let oldest = rows(
            sql,
            "SELECT id FROM letters WHERE source = ? AND verified = 0 AND id <> ? ORDER BY dead_at_ms, id LIMIT 1",
            vec![text(source), text(&arriving.id)],
        )?;
        let id = oldest.first().and_then(|row| row.text(0)).unwrap_or_else(|| arriving.id.clone());
        if let Some((_, key)) = remove(sql, &id)? {
            stored.keys.extend(key);
        }
        let removed = stored.purged.entry(source.clone()).or_default();
        *removed = removed.saturating_add(1);
        run(
            sql,
            "INSERT INTO purged (source, n) VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
            vec![text(source)],
        )?;
    }
    Ok(())
}

/// Removes a letter's row; the key of its body's segment where that was the last one in it.
fn take(sql: &SqlStorage, id: &str) -> Result<Option<(DeadLetter, Option<String>)>> {
    let gone =
        rows(sql, "DELETE FROM letters WHERE id = ? RETURNING letter, json_extract(moved, '$.key')", vec![text(id)])?;
    let Some(row) = gone.first() else { return Ok(None) };
    let letter = serde_json::from_str(&row.text(0).ok_or_else(|| unreadable("letter"))?)?;
    let segment = row.text(1).map(|key| release(sql, key)).transpose()?.flatten();
    Ok(Some((letter, segment)))
}

/// One letter less refers to a segment, whose key is answered where it was the last one.
fn release(sql: &SqlStorage, key: String) -> Result<Option<String>> {
    run(sql, "UPDATE segments SET n = n - 1 WHERE key = ?", vec![text(&key)])?;
    let empty = rows(sql, "DELETE FROM segments WHERE key = ? AND n <= 0 RETURNING key", vec![text(&key)])?;
    Ok(empty.first().map(|_| key))
}

/// Removes a letter; the key of the object that nothing else can need: a replayed delivery names the same stored body.
pub(super) fn remove(sql: &SqlStorage, id: &str) -> Result<Option<(DeadLetter, Option<String>)>> {
    let state = rows(sql, "SELECT status FROM states WHERE id = ?", vec![text(id)])?;
    let untouched = state.first().and_then(|row| row.number(0)).unwrap_or(0) == LetterStatus::Stored.number();
    let Some((letter, segment)) = take(sql, id)? else { return Ok(None) };
    let key = match &letter.body {
        BodyRef::Stored { key, .. } if untouched => Some(key.clone()),
        BodyRef::Stored { .. } | BodyRef::Inline { .. } | BodyRef::Omitted { .. } => segment,
    };
    Ok(Some((letter, key)))
}

/// A letter with its inline body, or where that is.
pub(super) fn get(sql: &SqlStorage, id: &str, now_ms: u64) -> Result<Option<StoredDeadLetter>> {
    let statement = format!("SELECT l.letter, l.body, {STATUS}, s.last, l.moved {FROM} WHERE l.id = ?2");
    let found = rows(sql, &statement, vec![number(now_ms), text(id)])?;
    let Some(row) = found.first() else { return Ok(None) };
    let letter = serde_json::from_str(&row.text(0).ok_or_else(|| unreadable("letter"))?)?;
    let inline = row.text(1).map(|body| serde_json::from_str(&body)).transpose()?;
    let moved = row.text(4).map(|moved| serde_json::from_str(&moved)).transpose()?;
    Ok(Some(StoredDeadLetter { letter, inline, moved, status: status(row, 2)?, last_replay: last_replay(row, 3)? }))
}

fn status(row: &Row, column: usize) -> Result<LetterStatus> {
    row.number(column).and_then(LetterStatus::from_number).ok_or_else(|| unreadable("status"))
}

fn last_replay(row: &Row, column: usize) -> Result<Option<LastReplay>> {
    Ok(row.text(column).map(|last| serde_json::from_str(&last)).transpose()?)
}

/// The newest letters before a cursor.
pub(super) fn list(
    sql: &SqlStorage,
    filter: &LetterFilter,
    before: Option<(u64, String)>,
    limit: u32,
    now_ms: u64,
) -> Result<Vec<Summary>> {
    let (before_ms, before_id) = before.unwrap_or((u64::MAX, String::new()));
    let mut parameters = filter_parameters(filter, now_ms)?;
    parameters.extend([number(before_ms), text(&before_id), number(limit.into())]);
    let statement = format!(
        "SELECT l.letter, {STATUS}, s.last {FROM} WHERE {FILTER} AND (?6 IS NULL OR {STATUS} = ?6)
            AND (l.dead_at_ms, l.id) < (?8, ?9) ORDER BY l.dead_at_ms DESC, l.id DESC LIMIT ?10"
    );
    let summary = |row: &Row| -> Result<Summary> {
        let letter: DeadLetter = serde_json::from_str(&row.text(0).ok_or_else(|| unreadable("letter"))?)?;
        Ok(Summary::new(&letter, status(row, 1)?, last_replay(row, 2)?))
    };
    rows(sql, &statement, parameters)?.iter().map(summary).collect()
}

/// The oldest letters that a job has not come to: time of death and identifier, and what is kept of the body.
pub(super) fn next_of(sql: &SqlStorage, job: &Job, limit: u32, now_ms: u64) -> Result<Vec<(LetterPosition, u64)>> {
    let (after_ms, after_id) = job.after.clone().unwrap_or_default();
    let mut parameters = filter_parameters(&job.filter, now_ms)?;
    parameters.extend([
        number(after_ms),
        text(&after_id),
        number(limit.into()),
        number(job.started_at_ms),
        text(&job.id),
    ]);
    let statement = format!(
        "SELECT l.dead_at_ms, l.id, l.size_bytes {FROM} WHERE {FILTER} AND (({STATUS} < 2 AND ?6 IS NULL) OR {STATUS} = ?6)
            AND (l.dead_at_ms, l.id) > (?8, ?9) AND l.dead_at_ms <= ?11 AND s.job IS NOT ?12
            ORDER BY l.dead_at_ms, l.id LIMIT ?10"
    );
    let position = |row: &Row| Some(((row.number(0)?, row.text(1)?), row.number(2)?));
    rows(sql, &statement, parameters)?.iter().map(|row| position(row).ok_or_else(|| unreadable("letter"))).collect()
}

/// The answer to a claim of a letter.
pub(super) enum LetterClaim {
    Unknown,
    /// Not now, or not any more.
    Not {
        source: String,
        code: &'static str,
    },
    /// It is the caller's until that time.
    Held {
        letter: Box<StoredDeadLetter>,
        until_ms: u64,
    },
}

/// Takes a letter for replaying it.
pub(super) fn claim(sql: &SqlStorage, id: &str, now_ms: u64) -> Result<LetterClaim> {
    let Some(letter) = get(sql, id, now_ms)? else { return Ok(LetterClaim::Unknown) };
    if let Some(code) = letter.status.skip_code() {
        return Ok(LetterClaim::Not { source: letter.letter.source, code });
    }
    let until_ms = now_ms.saturating_add(LEASE_MS);
    run(
        sql,
        "INSERT INTO states (id, status, lease_until_ms, received_at_ms) VALUES (?1, 1, ?2, ?3) ON CONFLICT DO UPDATE SET status = 1, lease_until_ms = excluded.lease_until_ms",
        vec![text(id), number(until_ms), number(letter.letter.received_at_ms)],
    )?;
    Ok(LetterClaim::Held { letter: Box::new(letter), until_ms })
}

/// Puts a letter back or marks it as replayed, unless something happened to it since it was claimed until `until_ms`.
/// `job`: the job that is through with it.
pub(super) fn finish(sql: &SqlStorage, id: &str, until_ms: u64, last: &LastReplay, job: Option<&str>) -> Result<()> {
    let status = LetterStatus::after(last.verdict.outcome);
    run(
        sql,
        "UPDATE states SET status = ?1, lease_until_ms = 0, last = ?2, job = COALESCE(?3, job)
            WHERE id = ?4 AND status = 1 AND lease_until_ms = ?5",
        vec![number(status.number()), text(&json(last)?), optional(job), text(id), number(until_ms)],
    )
}

/// Marks a letter whose delivery stands otherwise than dead, unless it went on its way already or died again since.
pub(super) fn outlive(sql: &SqlStorage, outlived: &Outlived, now_ms: u64) -> Result<bool> {
    let Some(verdict) = ReplayVerdict::outlived(outlived.state) else { return Ok(false) };
    let last = LastReplay { at_ms: now_ms, actor: "consumer".into(), verdict };
    let marked = rows(
        sql,
        "INSERT INTO states (id, status, lease_until_ms, received_at_ms, job, last)
            SELECT id, 2, 0, json_extract(letter, '$.received_at_ms'), NULL, ?1 FROM letters
            WHERE id = ?2 AND COALESCE(json_extract(letter, '$.replay'), 0) <= ?3
            ON CONFLICT (id) DO UPDATE SET status = 2, lease_until_ms = 0, last = excluded.last WHERE status < 2 RETURNING id",
        vec![text(&json(&last)?), text(&outlived.id), number(outlived.replay.into())],
    )?;
    Ok(!marked.is_empty())
}

/// Removes what is old.
pub(super) fn expire(sql: &SqlStorage, before_ms: u64, received_before_ms: u64, limit: u32) -> Result<Expired> {
    let old = rows(
        sql,
        "SELECT id FROM letters WHERE dead_at_ms < ?1 UNION ALL
            SELECT s.id FROM states s JOIN letters l ON l.id = s.id WHERE s.received_at_ms < ?2 AND l.dead_at_ms >= ?1 LIMIT ?3",
        vec![number(before_ms), number(received_before_ms), number(limit.into())],
    )?;
    let mut expired = Expired::default();
    for id in old.iter().filter_map(|row| row.text(0)) {
        if let Some((_, key)) = remove(sql, &id)? {
            expired.removed = expired.removed.saturating_add(1);
            expired.keys.extend(key);
        }
    }
    Ok(expired)
}

/// What is there, without a scan.
pub(super) fn totals(sql: &SqlStorage) -> Result<LetterTotals> {
    let mut totals = LetterTotals::default();
    for row in rows(sql, "SELECT reason, SUM(n - replayed), SUM(replayed) FROM held GROUP BY reason", vec![])? {
        let (Some(reason), Some(n), Some(replayed)) = (row.text(0), row.number(1), row.number(2)) else {
            return Err(unreadable("totals"));
        };
        totals.stored = totals.stored.saturating_add(n);
        totals.replayed = totals.replayed.saturating_add(replayed);
        if n > 0 {
            totals.by_reason.insert(reason, n);
        }
    }
    let oldest = rows(
        sql,
        "SELECT dead_at_ms FROM letters l WHERE NOT EXISTS (SELECT 1 FROM states s WHERE s.id = l.id AND s.status = 2)
            ORDER BY dead_at_ms, id LIMIT 1",
        vec![],
    )?;
    totals.oldest_dead_at_ms = oldest.first().and_then(|row| row.number(0));
    for row in rows(sql, "SELECT source, n FROM purged", vec![])? {
        let (Some(source), Some(n)) = (row.text(0), row.number(1)) else { return Err(unreadable("totals")) };
        totals.purged.insert(source, n);
    }
    totals.moved = rows(sql, "SELECT SUM(n) FROM segments", vec![])?.first().and_then(|row| row.number(0)).unwrap_or(0);
    totals.storage_bytes = sql.database_size() as u64;
    Ok(totals)
}
