//! Moves inline bodies of verified letters to segments in the bucket.
//!
//! Promises:
//! - the oldest bodies move first, and only while the caps of their source or the size of the object ask for it;
//! - a row refers to a segment once that is stored, and only where it still is the row that was read;
//! - a segment is deleted when its last letter is gone. What a crash leaves behind goes with retention.
//!
//! Out of scope: when bodies move, what a segment is (`gateway_core::dead_letters::caps`), deleting a segment (the caller does).

use super::{DeadLetterStore, letters};
use crate::objects::json;
use crate::platform::body::RawBody;
use crate::platform::sql::{Row, number, rows, run, text};
use crate::platform::{clock, log, r2};
use gateway_core::dead_letters::BodyText;
use gateway_core::dead_letters::caps::{BodyRange, SEGMENT_BYTES, SEGMENT_LETTERS, Segment, bodies_move};
use gateway_core::messages::id::delivery_id;
use gateway_core::messages::keys::body_segment_key;
use std::collections::BTreeSet;
use worker::{Error, Result, SqlStorage};

/// Segments of a source that one call writes: a cap that was lowered is reached over several.
const MAX_SEGMENTS: u32 = 4;

/// Time that one call may be moving bodies, in milliseconds: its caller waits, and letters are stored whether they move or not.
const MOVING_MS: u64 = 10_000;

/// A letter whose body moves: identifier, time of death, where the body goes.
type Move = (String, u64, BodyRange);

impl DeadLetterStore {
    /// Moves bodies of `sources`, where they have to. A failure leaves them to the next call.
    pub(super) async fn move_bodies(&self, sources: BTreeSet<&str>) {
        let begun_ms = clock::now_ms();
        if self.moving_until_ms.get() > begun_ms {
            return;
        }
        self.moving_until_ms.set(begun_ms.saturating_add(MOVING_MS));
        let moved = clock::within(MOVING_MS, async {
            for source in sources {
                let mut segments = 0..MAX_SEGMENTS;
                while segments.next().is_some() && self.move_segment(source).await? {}
            }
            Ok(())
        });
        if let Err(error) = moved.await.unwrap_or_else(|| Err(Error::RustError("no answer in time".into()))) {
            log::warn("bodies_not_moved", &[("error", &error.to_string())]);
        }
        self.moving_until_ms.set(0);
    }

    /// Whether bodies moved.
    async fn move_segment(&self, source: &str) -> Result<bool> {
        let sql = self.tables.sql()?;
        let inline = letters::amount(sql, "SUM(inline_n), SUM(inline_bytes)", source, true)?;
        if !bodies_move(inline, self.caps(source), sql.database_size() as u64) {
            return Ok(false);
        }
        let now_ms = clock::now_ms();
        let random = clock::random().map_err(|error| Error::RustError(error.to_string()))?;
        let key = body_segment_key(&delivery_id(now_ms, random), now_ms);
        let mut segment = Segment::new(key.clone());
        let moves = oldest(sql, source, &mut segment)?;
        if moves.is_empty() {
            return Ok(false);
        }
        r2::put(&self.env, &key, &RawBody::Wasm(segment.into_bytes())).await.map_err(Error::RustError)?;
        let pointing = self.tables.transaction(|sql| point(sql, &key, &moves))?;
        if pointing == 0 {
            // All of them went meanwhile.
            r2::delete(&self.env, vec![key]).await.map_err(Error::RustError)?;
        }
        Ok(pointing > 0)
    }
}

/// Fills a segment with the oldest bodies of a source.
fn oldest(sql: &SqlStorage, source: &str, segment: &mut Segment) -> Result<Vec<Move>> {
    let found = rows(
        sql,
        "SELECT l.id, l.dead_at_ms, l.body FROM
            (SELECT id, SUM(size_bytes) OVER (ORDER BY dead_at_ms, id) AS bytes FROM
                (SELECT id, dead_at_ms, size_bytes FROM letters WHERE source = ?1 AND verified = 1 AND body IS NOT NULL
                    ORDER BY dead_at_ms, id LIMIT ?2)) oldest
            JOIN letters l ON l.id = oldest.id WHERE oldest.bytes <= ?3",
        vec![text(source), number(SEGMENT_LETTERS), number(SEGMENT_BYTES)],
    )?;
    let mut read = |row: &Row| {
        let body: BodyText = serde_json::from_str(&row.text(2)?).ok()?;
        Some((row.text(0)?, row.number(1)?, segment.push(&body.to_bytes()?)))
    };
    Ok(found.iter().filter_map(&mut read).collect())
}

/// Has the rows refer to a stored segment; answers how many do.
fn point(sql: &SqlStorage, key: &str, moves: &[Move]) -> Result<u64> {
    let mut pointing = 0u64;
    for (id, dead_at_ms, range) in moves {
        // One that died again since is another row with the same body: it moves another time.
        let pointed = rows(
            sql,
            "UPDATE letters SET body = NULL, moved = ? WHERE id = ? AND dead_at_ms = ? AND body IS NOT NULL RETURNING id",
            vec![text(&json(range)?), text(id), number(*dead_at_ms)],
        )?;
        pointing = pointing.saturating_add(pointed.len() as u64);
    }
    if pointing > 0 {
        run(sql, "INSERT INTO segments (key, n) VALUES (?, ?)", vec![text(key), number(pointing)])?;
    }
    Ok(pointing)
}
