//! `DEAD_LETTER_STORE`: dead letters, where they can be listed, read, deleted and replayed.
//!
//! Promises: a letter that arrives twice is one letter; lists are newest first with a cursor that new letters do not
//! disturb; a letter is replayed by one caller at a time, and a job of many goes on after a crash or an eviction where it
//! was, and past a letter with which it crashes again and again. Out of scope: bodies in R2 of letters that are removed (whoever has them removed deletes those too), what a replay
//! decides (`gateway_core::dead_letters::replay`).

mod jobs;
mod letters;

use super::Tables;
use crate::audit;
use crate::config::gateway;
use crate::deliver::replay;
use crate::platform::{clock, log, objects};
use futures_util::future::join_all;
use gateway_core::audit::{Action, Draft};
use gateway_core::dead_letters::replay::{
    Fate, Job, JobOrder, JobState, LEASE_MS, LastReplay, MAX_DRY_RUN, MAX_STALLS, Replayed, ReplayVerdict, at_once, skipped,
};
use gateway_core::dead_letters::{Caps, JobAction, LettersCall, LettersPut};
use letters::Claim;
use std::cell::Cell;
use std::time::Duration;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

/// Letters that a step replays side by side: an object may wait for six connections, a send to a queue takes part of one's time.
const SIDE_BY_SIDE: u32 = 10;

/// The time between two steps of a job, which makes its rate one of letters a second.
const STEP_MS: u64 = 1_000;

/// The wait after a step that failed for a reason of ours, and until a step that crashed is tried again.
const STALL_MS: u64 = 30_000;

/// The dead-letter store's object.
#[durable_object(alarm)]
pub struct DeadLetterStore {
    tables: Tables,
    state: State,
    env: Env,
    /// While a step runs, no other does; a time, because a step whose caller went away may never end.
    stepping_until_ms: Cell<u64>,
}

impl DurableObject for DeadLetterStore {
    fn new(state: State, env: Env) -> Self {
        let tables = Tables::set_up(&state, &letters::SCHEMA).prepared(letters::prepare);
        Self { tables, state, env, stepping_until_ms: Cell::new(0) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        objects::serve(request, async |call: LettersCall| self.answer(call).await).await
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
    async fn answer(&self, call: LettersCall) -> Result<String> {
        let sql = self.tables.sql()?;
        let now_ms = clock::now_ms();
        Ok(match call {
            LettersCall::Put { letters } => {
                // As a whole: what a failure left behind would be known the next time, and what had gone for it untold.
                let stored = self.tables.transaction(|sql| {
                    let mut stored = LettersPut::default();
                    for letter in &letters {
                        letters::put(sql, letter, self.caps(&letter.letter.source), &mut stored)?;
                    }
                    Ok(stored)
                })?;
                objects::json(&stored)?
            }
            LettersCall::List { filter, before, limit } => {
                objects::json(&letters::list(sql, &filter, before, limit, now_ms)?)?
            }
            LettersCall::Get { id } => objects::json(&letters::get(sql, &id, now_ms)?)?,
            LettersCall::Delete { id } => objects::json(&letters::remove(sql, &id)?)?,
            LettersCall::Expire { before_ms, received_before_ms, limit } => {
                jobs::expire(sql, before_ms)?;
                objects::json(&letters::expire(sql, before_ms, received_before_ms, limit)?)?
            }
            LettersCall::Totals => objects::json(&letters::totals(sql)?)?,
            LettersCall::Replay { id, actor } => {
                let replayed = self.replay(&id, &actor, None).await?;
                if let Some(replayed) = &replayed {
                    audit::append(&self.env, vec![draft(replayed, &actor)]).await;
                }
                objects::json(&replayed)?
            }
            LettersCall::ReplayMany { order } => objects::json(&self.begin(order).await?)?,
            LettersCall::Jobs => objects::json(&jobs::list(sql)?)?,
            LettersCall::Job { id, action } => {
                let before = jobs::get(sql, &id)?;
                let job = jobs::act(sql, &id, action, now_ms)?;
                if action == JobAction::Resume && job.as_ref().is_some_and(|job| job.state == JobState::Running) {
                    self.wake_in(0).await;
                }
                if let Some(job) = job.as_ref().filter(|job| job.state == JobState::Cancelled)
                    && before.is_some_and(|before| before.state == JobState::Running)
                {
                    audit::append(&self.env, vec![end_of(job)]).await;
                }
                objects::json(&job)?
            }
            LettersCall::Outlived { letters } => {
                let marked: Vec<bool> = self.tables.transaction(|sql| {
                    letters.iter().map(|outlived| letters::outlive(sql, outlived, now_ms)).collect()
                })?;
                marked.into_iter().filter(|marked| *marked).count().to_string()
            }
            LettersCall::Wake => {
                let running = jobs::running(sql)?.len();
                if running > 0 {
                    self.wake_in(0).await;
                }
                running.to_string()
            }
        })
    }

    /// What the source of a letter may have here: the default where it is not configured. `None`: nobody knows, because the
    /// configuration cannot be read, and nothing is removed for a guess.
    fn caps(&self, source: &str) -> Option<Caps> {
        let gateway = gateway(&self.env).ok()?;
        Some(gateway.source(source).map(|configured| configured.source.dead_letters).unwrap_or_default())
    }

    async fn wake_in(&self, delay_ms: u64) {
        if let Err(error) = self.state.storage().set_alarm(Duration::from_millis(delay_ms)).await {
            log::error("alarm_not_set", &[("error", &error.to_string())]);
        }
    }

    /// Replays one letter; `None` where there is none. `job`: the job that it belongs to, and whether that has the patience
    /// to wait for what is ours to repair: such a letter is put back and neither counted nor done with.
    async fn replay(&self, id: &str, actor: &str, job: Option<(&str, bool)>) -> Result<Option<Replayed>> {
        let sql = self.tables.sql()?;
        let now_ms = clock::now_ms();
        let (source, held, verdict) = match letters::claim(sql, id, now_ms)? {
            Claim::Unknown => return Ok(None),
            Claim::Not(source, code) => (source, None, ReplayVerdict::skipped(code, None)),
            Claim::Held(letter, until_ms) => {
                let verdict = replay::carry_out(&self.env, &letter).await;
                (letter.letter.source.clone(), Some(until_ms), verdict)
            }
        };
        let at_ms = clock::now_ms();
        let counted = job.filter(|(_, patient)| !(*patient && verdict.is_transient())).map(|(job, _)| job);
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
            // Read again each time: somebody may have cancelled it.
            let Some(job) = jobs::get(sql, id)?.filter(|job| job.state == JobState::Running) else { break };
            let mut places = letters::next_of(sql, &job, left.min(SIDE_BY_SIDE), clock::now_ms())?;
            places.truncate(at_once(places.iter().map(|(_, size_bytes)| *size_bytes), job.stalls));
            if places.is_empty() {
                let done = jobs::change(sql, id, clock::now_ms(), |job| job.state = JobState::Done)?;
                audit::append(&self.env, done.iter().map(end_of).collect()).await;
                break;
            }
            left = left.saturating_sub(u32::try_from(places.len()).unwrap_or(left));
            if job.stalls > MAX_STALLS {
                self.skip(&job, places).await?;
                continue;
            }
            let patient = job.stalls < MAX_STALLS;
            // Written before anything leaves this object: a step that takes it down has to be known as one that did.
            jobs::change(sql, id, clock::now_ms(), |job| job.stalls = job.stalls.saturating_add(1))?;
            let replays = places.iter().map(|((_, letter), _)| self.replay(letter, &job.actor, Some((id, patient))));
            let mut stalled: Option<Result<()>> = None;
            let mut after = None;
            let mut drafts = vec![];
            for ((place, _), replayed) in places.iter().zip(join_all(replays).await) {
                match replayed {
                    Err(error) => stalled = Some(Err(error)),
                    Ok(Some(replayed)) if patient && replayed.verdict.is_transient() => {
                        stalled.get_or_insert(Ok(()));
                    }
                    Ok(replayed) => {
                        drafts.extend(replayed.iter().map(|replayed| draft(replayed, &job.actor)));
                        if stalled.is_none() {
                            after = Some(place.clone());
                        }
                    }
                }
            }
            jobs::change(sql, id, clock::now_ms(), |job| {
                job.after = after.or(job.after.take());
                if stalled.is_none() {
                    job.stalls = 0;
                }
            })?;
            audit::append(&self.env, drafts).await;
            if let Some(stalled) = stalled {
                return stalled.map(|()| false);
            }
        }
        Ok(true)
    }
}

impl DeadLetterStore {
    /// Goes past letters with which no step has ended.
    async fn skip(&self, job: &Job, places: Vec<((u64, String), u64)>) -> Result<()> {
        let now_ms = clock::now_ms();
        let mut drafts = vec![];
        for (place, _) in places {
            let source = letters::get(self.tables.sql()?, &place.1, now_ms)?.map(|letter| letter.letter.source);
            let verdict = ReplayVerdict::skipped(skipped::CRASHED, None);
            let skipped = Replayed { id: place.1.clone(), source: source.unwrap_or_default(), verdict };
            log::error("replay_crashed", &[("job", &job.id), ("letter", &place.1)]);
            jobs::change(self.tables.sql()?, &job.id, now_ms, |job| {
                job.count(&skipped.verdict);
                (job.after, job.stalls) = (Some(place), 0);
            })?;
            drafts.push(draft(&skipped, &job.actor));
        }
        audit::append(&self.env, drafts).await;
        Ok(())
    }
}

fn draft(replayed: &Replayed, actor: &str) -> Draft {
    let Replayed { id, source, verdict } = replayed;
    Draft {
        source: Some(source.clone()).filter(|source| !source.is_empty()),
        error: verdict.code.clone().filter(|_| verdict.outcome != Fate::Replayed),
        correlation_id: Some(id.clone()),
        ..Draft::new(Action::Replay, actor)
    }
}

/// The entry of a job that ended: how many it replayed, and whether that was all.
fn end_of(job: &Job) -> Draft {
    let left = job.matched.saturating_sub(job.replayed);
    let error = match job.state {
        JobState::Cancelled => Some("cancelled".into()),
        _ if left > 0 => Some(format!("{left} of {} not replayed", job.matched)),
        _ => None,
    };
    Draft {
        source: job.filter.source.clone(),
        error,
        correlation_id: Some(job.id.clone()),
        count: Some(job.replayed),
        ..Draft::new(Action::Replay, &job.actor)
    }
}
