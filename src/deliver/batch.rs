//! `DELIVERIES`: circuits → claims → attempts → settlements.
//!
//! Promises:
//! - nothing is attempted without a claim in the ledger;
//! - nothing is acknowledged before the ledger knows what became of it: a crash in between repeats and never loses;
//! - a delivery that waits for its circuit goes back to the queue without a claim and without an attempt, and so does the rest of a batch
//!   whose destination asks to be left alone;
//! - the destinations of a batch share its connections and are settled each by itself, so that a slow one holds back no other;
//! - a message that cannot be read becomes a dead letter as it is.
//!
//! Out of scope: which claims are granted (`gateway_core::deliver::ledger`), what opens a circuit
//! (`gateway_core::deliver::circuit_breaker`), which delivery is next (`gateway_core::deliver::scheduler`).

use super::attempt::{STORAGE_DELAY_S, Settlement, Tried, Work, attempt};
use super::dead_letters::{self, facts};
use crate::config::{Configured, Gateway};
use crate::deliver::circuit_breakers;
use crate::deliver::letter::send_letter;
use crate::objects::clients::LedgerClient;
use crate::platform::body::RawBody;
use crate::platform::queue::{self, QueueMessage};
use crate::platform::{clock, log, r2};
use futures_util::future::{Either, join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use gateway_core::config::DestinationConfig;
use gateway_core::dead_letters::undecodable;
use gateway_core::deliver::circuit_breaker::{AttemptTally, Gate, PROBE_MARGIN_MS, wait_s};
use gateway_core::deliver::ledger::{Claimed, LEASE_MS, State, delivery_key, ledger_shard};
use gateway_core::deliver::scheduler::{BatchScheduler, CONNECTIONS, FetchBudget, FetchPermit, NextAttempt, Waiting};
use gateway_core::messages::{Message, decode};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use worker::Env;

/// The deliveries of a batch for one destination.
struct Lane<'g, 'm> {
    configured: Option<Configured<'g>>,
    gate: Gate,
    works: VecDeque<Work<'m>>,
    settlements: Vec<Settlement<'m>>,
    /// Stored bodies that nobody needs any more.
    leftovers: Vec<String>,
    tally: AttemptTally,
}

/// Works on one batch.
pub(super) async fn consume(gateway: &Gateway, messages: &[QueueMessage], env: &Env) {
    let mut sources: BTreeMap<String, VecDeque<Work<'_>>> = BTreeMap::new();
    let mut letters = vec![];
    for message in messages {
        match read(message) {
            Ok(Some(work)) => sources.entry(work.delivery.source.clone()).or_default().push_back(work),
            Ok(None) => letters.push(message),
            Err((bytes, error)) => bury_unreadable(message, bytes, &error, env).await,
        }
    }
    if !letters.is_empty() {
        dead_letters::consume(&letters, env).await;
    }
    let lanes = sources.into_iter().map(|(source, works)| open(gateway.source(&source), works, env));
    let mut lanes = join_all(lanes).await;
    // The leases begin later, if anything.
    let claimed_ms = clock::now_ms();
    claim(&mut lanes, env).await;
    attempt_all(lanes, claimed_ms, env).await;
}

/// A delivery; `None`: a letter.
fn read(message: &QueueMessage) -> Result<Option<Work<'_>>, (Vec<u8>, String)> {
    let bytes = message.bytes();
    let (delivery, inline) = match decode(&bytes) {
        Ok(Message::Delivery(delivery, inline)) => (delivery, inline.to_vec()),
        Ok(Message::DeadLetter(..)) => return Ok(None),
        Err(error) => {
            let error = error.to_string();
            return Err((bytes, error));
        }
    };
    let key = delivery_key(&delivery, &inline);
    Ok(Some(Work { message, shard: ledger_shard(&key), key, delivery, inline, attempt: 0, is_given_up: false }))
}

async fn bury_unreadable(message: &QueueMessage, bytes: Vec<u8>, error: &str, env: &Env) {
    let mut letter = undecodable("deliveries", &facts(message), bytes.len() as u64, error, clock::now_ms());
    match send_letter(env, &mut letter, &RawBody::Wasm(bytes)).await {
        Ok(()) => message.ack(),
        Err((cause, error)) => {
            log::error(cause, &[("message", &message.id()), ("error", &error)]);
            super::nack(message, queue::DELIVERIES, STORAGE_DELAY_S, env).await;
        }
    }
}

/// What an attempt may take, without what is around it.
fn timeout_ms(configured: Option<Configured<'_>>) -> u64 {
    configured.map_or(DestinationConfig::Archive.timeout_ms(), |configured| configured.source.destination.timeout_ms())
}

/// Asks the circuit of a source what may be done with its deliveries, and puts off those that have to wait for it.
async fn open<'g, 'm>(configured: Option<Configured<'g>>, works: VecDeque<Work<'m>>, env: &Env) -> Lane<'g, 'm> {
    let gate = match configured {
        Some(Configured { source, .. }) => {
            circuit_breakers::ask(env, source, timeout_ms(configured).saturating_add(PROBE_MARGIN_MS)).await
        }
        None => Gate::Closed,
    };
    let mut lane = Lane {
        configured,
        works: VecDeque::new(),
        settlements: vec![],
        leftovers: vec![],
        tally: AttemptTally::default(),
        gate,
    };
    let (until_ms, mut has_probe) = match gate {
        Gate::Closed => {
            lane.works = works;
            return lane;
        }
        Gate::Wait { until_ms } => (until_ms, false),
        Gate::Probe { until_ms } => (until_ms, true),
    };
    let now_ms = clock::now_ms();
    let mut waiting = vec![];
    for mut work in works {
        if std::mem::take(&mut has_probe) {
            lane.works.push_back(work);
        } else if work.has_waited_too_long(configured) {
            work.is_given_up = true;
            lane.works.push_back(work);
        } else {
            waiting.push(work);
        }
    }
    join_all(waiting.iter().map(|work| work.nack(wait_s(until_ms, now_ms, clock::jitter()), env))).await;
    lane
}

/// Claims what is to be handed on: one call a shard.
async fn claim(lanes: &mut [Lane<'_, '_>], env: &Env) {
    let mut shards: BTreeMap<String, Vec<(usize, Work<'_>)>> = BTreeMap::new();
    for (index, lane) in lanes.iter_mut().enumerate() {
        for work in std::mem::take(&mut lane.works) {
            shards.entry(work.shard.clone()).or_default().push((index, work));
        }
    }
    let calls = shards.into_iter().map(|(shard, works)| async move {
        let items = works.iter().map(|(_, work)| work.claim_item()).collect();
        let claims = LedgerClient::new(env, &shard).claim(items).await;
        let claims = claims.map_err(|error| error.to_string()).and_then(|claims| {
            // A message that nobody settles would count as done.
            if claims.len() == works.len() { Ok(claims) } else { Err("not every claim was answered".to_owned()) }
        });
        (shard, works, claims)
    });
    for (shard, works, claims) in join_all(calls).await {
        match claims {
            Err(error) => {
                log::error("claim_failed", &[("shard", &shard), ("error", &error)]);
                join_all(works.iter().map(|(_, work)| work.nack(STORAGE_DELAY_S, env))).await;
            }
            Ok(claims) => {
                for ((index, work), claimed) in works.into_iter().zip(claims) {
                    if let Some(lane) = lanes.get_mut(index) {
                        lane.take_in_claim(work, claimed, env).await;
                    }
                }
            }
        }
    }
}

impl<'m> Lane<'_, 'm> {
    async fn take_in_claim(&mut self, mut work: Work<'m>, claimed: Claimed, env: &Env) {
        match claimed {
            Claimed::Proceed { attempt } => {
                work.attempt = attempt;
                self.works.push_back(work);
            }
            Claimed::Busy { until_ms } => {
                let wait_ms = until_ms.saturating_sub(clock::now_ms());
                let delay_s = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).clamp(1, 300);
                work.nack(delay_s, env).await;
            }
            // Its letter refers to the stored body.
            Claimed::Settled { state: State::Dead } => work.message.ack(),
            Claimed::Settled { .. } | Claimed::Duplicate { .. } => {
                self.leftovers.extend(work.stored_key());
                work.message.ack();
            }
        }
    }

    /// What is to be tried, for claims that were asked for at `claimed_ms`.
    fn waiting(&self, claimed_ms: u64) -> Waiting {
        let timeout_ms = timeout_ms(self.configured).saturating_add(PROBE_MARGIN_MS);
        Waiting {
            fetched_bytes: self.works.iter().map(Work::fetched_bytes).collect(),
            until_ms: claimed_ms.saturating_add(LEASE_MS).saturating_sub(timeout_ms),
        }
    }

    fn take_in(&mut self, tried: Tried<'m>) {
        if let Some(until_ms) = tried.held_until_ms {
            self.tally.hold(until_ms, tried.status, tried.error.as_deref());
        }
        self.tally.add(tried.call, tried.status, tried.error.as_deref());
        self.settlements.extend(tried.settlement);
    }
}

/// How often a batch looks whether another one has released budget, in milliseconds. It cannot be told: what wakes up work of
/// another event has it run as part of its own.
const BUDGET_STEP_MS: u64 = 100;

thread_local! {
    /// Of all batches of this isolate.
    static FETCH_BUDGET: RefCell<FetchBudget> = RefCell::default();
}

/// Nothing holds it across an await, so it is never borrowed here already.
fn with_budget<T>(f: impl FnOnce(&mut FetchBudget) -> T) -> Option<T> {
    FETCH_BUDGET.with(|cell| cell.try_borrow_mut().ok().map(|mut budget| f(&mut budget)))
}

fn release(permit: Option<FetchPermit>) {
    if let Some(permit) = permit {
        with_budget(|budget| budget.release(permit));
    }
}

/// What a batch waits for.
#[allow(clippy::large_enum_variant)] // moved once, and not kept
enum Ended<'m> {
    Attempt { lane: usize, permit: Option<FetchPermit>, tried: Tried<'m> },
    Lane,
    Step,
}

/// Hands on what was claimed; each lane is settled when it is through.
async fn attempt_all(lanes: Vec<Lane<'_, '_>>, claimed_ms: u64, env: &Env) {
    let waiting: Vec<Waiting> = lanes.iter().map(|lane| lane.waiting(claimed_ms)).collect();
    let mut scheduler = BatchScheduler::new(waiting, CONNECTIONS);
    let mut lanes: Vec<_> = lanes.into_iter().map(Some).collect();
    let mut running = FuturesUnordered::new();
    let mut steps = false;
    loop {
        while let Some(next) = with_budget(|budget| scheduler.next(budget, clock::now_ms())).flatten() {
            let (index, start) = match next {
                NextAttempt::Start(index, permit) => (index, Some(permit)),
                NextAttempt::Release(index) => (index, None),
            };
            let Some(lane) = lanes.get_mut(index).and_then(Option::as_mut) else { continue };
            let Some(mut work) = lane.works.pop_front() else { continue };
            let Some(permit) = start else {
                lane.settlements.push(Settlement::released(work));
                continue;
            };
            let configured = lane.configured;
            if let Some(until_ms) = lane.tally.held_until_ms {
                work.is_given_up = work.is_given_up || work.has_waited_too_long(configured);
                if !work.is_given_up {
                    lane.settlements.push(Settlement::held(work, until_ms, None, None));
                    scheduler.done(index);
                    release(permit);
                    continue;
                }
            }
            running.push(Either::Left(async move {
                Ended::Attempt { lane: index, permit, tried: attempt(configured, work, env).await }
            }));
        }
        for (index, slot) in lanes.iter_mut().enumerate() {
            if scheduler.is_finished(index)
                && let Some(lane) = slot.take()
            {
                running.push(Either::Right(Either::Left(async move {
                    finish(lane, env).await;
                    Ended::Lane
                })));
            }
        }
        if scheduler.waits_for_budget() && !steps {
            steps = true;
            running.push(Either::Right(Either::Right(async {
                clock::sleep_ms(BUDGET_STEP_MS).await;
                Ended::Step
            })));
        }
        match running.next().await {
            None => return,
            Some(Ended::Lane) => {}
            Some(Ended::Step) => steps = false,
            Some(Ended::Attempt { lane, permit, tried }) => {
                scheduler.done(lane);
                release(permit);
                if let Some(lane) = lanes.get_mut(lane).and_then(Option::as_mut) {
                    lane.take_in(tried);
                }
            }
        }
    }
}

/// Tells the ledger and the circuit what became of a lane, and then the queue.
async fn finish(lane: Lane<'_, '_>, env: &Env) {
    let Lane { configured, gate, settlements, mut leftovers, tally, .. } = lane;
    let report = async {
        if let Some(Configured { source, .. }) = configured {
            circuit_breakers::report(env, source, &gate, tally).await;
        }
    };
    let mut shards: BTreeMap<String, Vec<Settlement<'_>>> = BTreeMap::new();
    for settlement in settlements {
        shards.entry(settlement.work.shard.clone()).or_default().push(settlement);
    }
    let settle = join_all(shards.into_iter().map(|(shard, settlements)| settle(shard, settlements, env)));
    let ((), settled) = join(report, settle).await;
    leftovers.extend(settled.into_iter().flatten());
    // What cannot be deleted now is left to retention.
    if let Err(error) = r2::delete(env, leftovers).await {
        log::warn("payload_delete_failed", &[("error", &error)]);
    }
}

/// Settles what one shard and lane had in common; answers the stored bodies that nobody needs any more.
async fn settle(shard: String, settlements: Vec<Settlement<'_>>, env: &Env) -> Vec<String> {
    let items = settlements.iter().map(Settlement::item).collect();
    let settled = match LedgerClient::new(env, &shard).settle(items).await {
        Ok(settled) => settled,
        Err(error) => {
            log::error("settle_failed", &[("shard", &shard), ("error", &error.to_string())]);
            for settlement in settlements {
                if settlement.is_dead() {
                    // It is not tried again: its letter is on its way, and whoever stores that tells the ledger.
                    settlement.work.message.ack();
                } else {
                    // The claim's lease runs out, and the delivery is handed on again: at least once.
                    settlement.work.nack(STORAGE_DELAY_S, env).await;
                }
            }
            return vec![];
        }
    };
    let mut leftovers = vec![];
    for settlement in settlements {
        if let Some(delay_s) = settlement.delay_s {
            settlement.work.nack(delay_s, env).await;
        } else if settled.revived.contains(&settlement.work.delivery.id) {
            settlement.work.tell_its_letter(env).await;
            settlement.work.message.ack();
        } else {
            leftovers.extend(settlement.leftover());
            settlement.work.message.ack();
        }
    }
    leftovers
}
