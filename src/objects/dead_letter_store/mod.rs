//! `DEAD_LETTER_STORE`: dead letters, where they can be listed, read, deleted and replayed.
//!
//! Promises:
//! - a letter that arrives twice is one letter;
//! - a verified letter goes by retention or by an operator's hand, never for want of room;
//! - lists are newest first, with a cursor that new letters do not disturb;
//! - a letter is replayed by one caller at a time;
//! - a job of many goes on after a crash or an eviction where it was, and past a letter with which it crashes again and again.
//!
//! Out of scope: bodies in R2 of letters that are removed (the caller deletes them), what a replay and a job decide
//! (`gateway_core::dead_letters::replay`).

mod jobs;
mod letters;
mod segments;

use super::{Tables, json};
use crate::audit;
use crate::config::gateway;
use crate::deliver::replay;
use crate::platform::{clock, log};
use futures_util::future::join_all;
use gateway_core::audit::{job_draft, replay_draft};
use gateway_core::dead_letters::caps::Caps;
use gateway_core::dead_letters::replay::{
    Job, JobAction, JobOrder, JobState, JobStep, LEASE_MS, LastReplay, LetterPosition, MAX_DRY_RUN, ReplayVerdict,
    Replayed, skipped,
};
use gateway_core::dead_letters::{LettersCall, LettersPut};
use letters::LetterClaim;
use std::cell::Cell;
use std::time::Duration;
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

/// Letters that a step replays side by side: an object may wait for six connections, a send to a queue takes part of one's time.
const SIDE_BY_SIDE: u32 = 10;

/// Time between two steps of a job, in milliseconds, which makes its rate one of letters a second.
const STEP_MS: u64 = 1_000;

/// Wait after a step that failed for a reason that may pass, and until a step that crashed is tried again, in milliseconds.
const STALL_MS: u64 = 30_000;

/// The dead-letter store's object.
#[durable_object(alarm)]
pub struct DeadLetterStore {
    tables: Tables,
    state: State,
    env: Env,
    /// While a step runs, no other does; a time, because a step whose caller went away may never end.
    stepping_until_ms: Cell<u64>,
    /// The same of bodies that move.
    moving_until_ms: Cell<u64>,
}

impl DurableObject for DeadLetterStore {
    fn new(state: State, env: Env) -> Self {
        let tables = Tables::set_up(&state, &letters::SCHEMA).prepared(letters::prepare);
        Self { tables, state, env, stepping_until_ms: Cell::new(0), moving_until_ms: Cell::new(0) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        self.tables.serve(request, async |call, sql: &SqlStorage| self.answer(call, sql).await).await
    }

    /// An error would have the alarm dropped after six of them.
    async fn alarm(&self) -> Result<Response> {
        // A step that crashes leaves this alarm behind.
        self.wake_in(STALL_MS).await;
        let delay_ms = self.step_any().await.unwrap_or_else(|error| {
            log::error("replay_step_failed", &[("error", &error.to_string())]);
            Some(STALL_MS)
        });
        if let Some(delay_ms) = delay_ms {
            self.wake_in(delay_ms).await;
        } else if let Err(error) = self.state.storage().delete_alarm().await {
            log::warn("alarm_not_deleted", &[("error", &error.to_string())]);
        }
        Response::empty()
    }
}

impl DeadLetterStore {
    async fn answer(&self, call: LettersCall, sql: &SqlStorage) -> Result<String> {
        let now_ms = clock::now_ms();
        match call {
            // As a whole: what a failure left behind would be known the next time, and what had gone for it untold.
            LettersCall::Put { letters } => {
                let stored = json(&self.tables.transaction(|sql| {
                    let mut stored = LettersPut::default();
                    for letter in &letters {
                        letters::put(sql, letter, self.caps(&letter.letter.source), &mut stored)?;
                    }
                    Ok(stored)
                })?)?;
                let verified = letters.iter().map(|letter| &letter.letter).filter(|letter| letter.verified);
                self.move_bodies(verified.map(|letter| letter.source.as_str()).collect()).await;
                Ok(stored)
            }
            LettersCall::List { filter, before, limit } => json(&letters::list(sql, &filter, before, limit, now_ms)?),
            LettersCall::Get { id } => json(&letters::get(sql, &id, now_ms)?),
            LettersCall::Delete { id } => json(&letters::remove(sql, &id)?),
            LettersCall::Expire { before_ms, received_before_ms, limit } => {
                jobs::expire(sql, before_ms)?;
                json(&letters::expire(sql, before_ms, received_before_ms, limit)?)
            }
            LettersCall::Totals => json(&letters::totals(sql)?),
            LettersCall::Replay { id, actor } => {
                let replayed = self.replay(&id, &actor, None).await?;
                audit::append(&self.env, replayed.iter().map(|replayed| replay_draft(replayed, &actor)).collect())
                    .await;
                json(&replayed)
            }
            LettersCall::ReplayMany { order } => json(&self.begin(order).await?),
            LettersCall::Jobs => json(&jobs::list(sql)?),
            LettersCall::Job { id, action } => json(&self.act(sql, &id, action, now_ms).await?),
            LettersCall::Outlived { letters } => {
                let marked: Vec<bool> = self.tables.transaction(|sql| {
                    letters.iter().map(|outlived| letters::outlive(sql, outlived, now_ms)).collect()
                })?;
                json(&marked.into_iter().filter(|marked| *marked).count())
            }
            LettersCall::Wake => {
                let running = jobs::running(sql)?.len();
                if running > 0 {
                    self.wake_in(0).await;
                }
                json(&running)
            }
        }
    }

    /// Does what an operator wants done with a job.
    async fn act(&self, sql: &SqlStorage, id: &str, action: JobAction, now_ms: u64) -> Result<Option<Job>> {
        let Some(before) = jobs::get(sql, id)?.filter(|_| action != JobAction::Show) else { return jobs::get(sql, id) };
        let job = jobs::change(sql, id, now_ms, |job| job.act(action))?;
        match job.as_ref().map(|job| job.state) {
            Some(JobState::Running) if action == JobAction::Resume => self.wake_in(0).await,
            Some(JobState::Cancelled) if before.state == JobState::Running => {
                audit::append(&self.env, job.iter().map(job_draft).collect()).await;
            }
            _ => {}
        }
        Ok(job)
    }

    /// What the source of a letter may have here: the default where it is not configured. `None`: the configuration cannot be
    /// read, and nothing is removed for a guess.
    fn caps(&self, source: &str) -> Option<Caps> {
        let gateway = gateway(&self.env).ok()?;
        Some(gateway.source(source).map(|configured| configured.source.dead_letters).unwrap_or_default())
    }

    async fn wake_in(&self, delay_ms: u64) {
        if let Err(error) = self.state.storage().set_alarm(Duration::from_millis(delay_ms)).await {
            log::error("alarm_not_set", &[("error", &error.to_string())]);
        }
    }

    /// Replays one letter; `None` where there is none. `job`: the job that it belongs to, and whether that waits for what may
    /// pass: such a letter is put back, and neither counted nor done with.
    async fn replay(&self, id: &str, actor: &str, job: Option<(&str, bool)>) -> Result<Option<Replayed>> {
        let (source, held, verdict) = match letters::claim(self.tables.sql()?, id, clock::now_ms())? {
            LetterClaim::Unknown => return Ok(None),
            LetterClaim::Not { source, code } => (source, None, ReplayVerdict::skipped(code, None)),
            LetterClaim::Held { letter, until_ms } => {
                let verdict = replay::carry_out(&self.env, &letter).await;
                (letter.letter.source.clone(), Some(until_ms), verdict)
            }
        };
        let at_ms = clock::now_ms();
        let counted = job.filter(|(_, waits)| !(*waits && verdict.is_transient())).map(|(job, _)| job);
        self.tables.transaction(|sql| {
            if let Some(until_ms) = held {
                let last = LastReplay { at_ms, actor: actor.into(), verdict: verdict.clone() };
                letters::finish(sql, id, until_ms, &last, counted)?;
            }
            if let Some(job) = counted {
                jobs::change(sql, job, at_ms, |job| job.count(&verdict))?;
            }
            Ok(())
        })?;
        Ok(Some(Replayed { id: id.into(), source, verdict }))
    }

    /// Begins a job and does its first step; a dry run is over then.
    async fn begin(&self, order: JobOrder) -> Result<Job> {
        let sql = self.tables.sql()?;
        let job = Job::new(order, clock::now_ms());
        if job.dry_run {
            return self.rehearse(job).await;
        }
        jobs::save(sql, &job)?;
        self.wake_in(STALL_MS).await;
        let delay_ms = self.step(&job.id).await?;
        self.wake_in(delay_ms).await;
        Ok(jobs::get(sql, &job.id)?.unwrap_or(job))
    }

    async fn rehearse(&self, mut job: Job) -> Result<Job> {
        let sql = self.tables.sql()?;
        let now_ms = clock::now_ms();
        let places = letters::next_of(sql, &job, MAX_DRY_RUN.saturating_add(1), now_ms)?;
        let most = usize::try_from(MAX_DRY_RUN).unwrap_or(usize::MAX);
        job.cut = places.len() > most;
        for (place, _) in places.into_iter().take(most) {
            if let Some(letter) = letters::get(sql, &place.1, now_ms)? {
                job.count(&replay::rehearse(&self.env, &letter).await);
            }
            job.after = Some(place);
        }
        job.state = JobState::Done;
        Ok(job)
    }

    /// A step of the oldest running job; answers when the next one is due, `None` where no job is running.
    async fn step_any(&self) -> Result<Option<u64>> {
        let sql = self.tables.sql()?;
        let Some(id) = jobs::running(sql)?.into_iter().next() else { return Ok(None) };
        let delay_ms = self.step(&id).await?;
        Ok((!jobs::running(sql)?.is_empty()).then_some(delay_ms))
    }

    /// A step of a job; answers when the next one is due, in milliseconds.
    async fn step(&self, id: &str) -> Result<u64> {
        let begun_ms = clock::now_ms();
        if self.stepping_until_ms.get() > begun_ms {
            return Ok(STEP_MS);
        }
        self.stepping_until_ms.set(begun_ms.saturating_add(LEASE_MS));
        let stepped = self.step_alone(id).await;
        self.stepping_until_ms.set(0);
        let taken_ms = clock::now_ms().saturating_sub(begun_ms);
        Ok(if stepped? { STEP_MS.saturating_sub(taken_ms) } else { STALL_MS })
    }

    /// Whether nothing was in its way.
    async fn step_alone(&self, id: &str) -> Result<bool> {
        let sql = self.tables.sql()?;
        let mut left = jobs::get(sql, id)?.map_or(0, |job| job.rate_per_s);
        while left > 0 {
            // Read again each time: an operator may have cancelled it.
            let Some(job) = jobs::get(sql, id)?.filter(|job| job.state == JobState::Running) else { break };
            let mut next = letters::next_of(sql, &job, left.min(SIDE_BY_SIDE), clock::now_ms())?;
            let (letters, waits) = match job.next_step(next.iter().map(|(_, size_bytes)| *size_bytes)) {
                JobStep::Finish => {
                    let done = jobs::change(sql, id, clock::now_ms(), |job| job.state = JobState::Done)?;
                    audit::append(&self.env, done.iter().map(job_draft).collect()).await;
                    break;
                }
                JobStep::Skip => {
                    left = left.saturating_sub(1);
                    for (position, _) in next.into_iter().take(1) {
                        self.skip(&job, position).await?;
                    }
                    continue;
                }
                JobStep::Replay { letters, waits } => (letters, waits),
            };
            next.truncate(letters);
            left = left.saturating_sub(u32::try_from(letters).unwrap_or(left));
            jobs::change(sql, id, clock::now_ms(), Job::step_begins)?;
            let replays = next.iter().map(|((_, letter), _)| self.replay(letter, &job.actor, Some((id, waits))));
            let replays = join_all(replays).await;
            let (mut outcomes, mut drafts, mut failed) = (vec![], vec![], None);
            for ((position, _), replayed) in next.into_iter().zip(replays) {
                let is_through = match replayed {
                    Ok(Some(replayed)) if waits && replayed.verdict.is_transient() => false,
                    Ok(replayed) => {
                        drafts.extend(replayed.iter().map(|replayed| replay_draft(replayed, &job.actor)));
                        true
                    }
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                };
                outcomes.push((position, is_through));
            }
            let is_through = outcomes.iter().all(|(_, is_through)| *is_through);
            jobs::change(sql, id, clock::now_ms(), |job| job.step_ends(outcomes))?;
            audit::append(&self.env, drafts).await;
            if let Some(error) = failed {
                return Err(error);
            }
            if !is_through {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes past a letter with which no step has ended.
    async fn skip(&self, job: &Job, position: LetterPosition) -> Result<()> {
        let (sql, now_ms) = (self.tables.sql()?, clock::now_ms());
        let id = position.1.clone();
        log::error("replay_crashed", &[("job", &job.id), ("letter", &id)]);
        let verdict = ReplayVerdict::skipped(skipped::CRASHED, None);
        jobs::change(sql, &job.id, now_ms, |job| job.skip(position, &verdict))?;
        let source = letters::get(sql, &id, now_ms)?.map(|letter| letter.letter.source).unwrap_or_default();
        audit::append(&self.env, vec![replay_draft(&Replayed { id, source, verdict }, &job.actor)]).await;
        Ok(())
    }
}
