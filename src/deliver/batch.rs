//! `DELIVERIES` and `RELEASES`: admit or take → attempt → settle.
//!
//! Promises: no message waits in a queue: each dispatch ends, or is in its destination's object when its message is acknowledged;
//! nothing is tried that its destination's object did not give; the destinations of a batch share its connections and are settled each
//! by itself; a message that was given to a consumer before that did not end it is worked on alone, after the others; a message that
//! cannot be read goes to the dead letters as it is. Out of scope: what may be tried (`gateway_core::deliver::dispatcher`), whose turn
//! it is (`gateway_core::deliver::scheduler`).

use super::attempt::{Tried, Work, attempt};
use super::dead_letters::{self, unreadable};
use super::destinations;
use crate::config::{Configured, Gateway};
use crate::deliver::letter::send_letter;
use crate::platform::body::Body;
use crate::platform::queue::QueueMessage;
use crate::platform::{clock, log, r2};
use futures_util::future::{Either, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use gateway_core::deliver::dispatcher::calls::{Admission, AdmitItem, DispatchOutcome, EndedDispatch, Taken};
use gateway_core::deliver::dispatcher::rows::{Dispatch, DispatchState};
use gateway_core::deliver::scheduler::{CONNECTIONS, Memory, Place, Turn, Turns, Waiting};
use gateway_core::messages::{Delivery, Message, Release, decode, reason};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use worker::Env;

/// How long a message waits in its queue whose destination's object, or whose letter's queue, cannot be reached, in seconds.
const STORAGE_DELAY_S: u32 = 10;

/// How long after it was given an attempt may begin, in milliseconds: its timeout and this are less than its lease.
const BEGIN_WITHIN_MS: u64 = 60_000;

/// The dispatches of a batch for one destination.
#[derive(Default)]
struct Lane<'g, 'm> {
    source: String,
    configured: Option<Configured<'g>>,
    works: VecDeque<Work<'m>>,
    ended: Vec<(Work<'m>, EndedDispatch)>,
    /// To be acknowledged when everything is settled: they asked for what was taken.
    releases: Vec<&'m QueueMessage>,
}

/// What a batch holds.
#[derive(Default)]
struct Sorted<'m> {
    deliveries: BTreeMap<String, Vec<Read<'m>>>,
    releases: Vec<(&'m QueueMessage, Release)>,
    letters: Vec<&'m QueueMessage>,
}

/// A delivery that was read.
struct Read<'m> {
    message: &'m QueueMessage,
    delivery: Delivery,
    inline: Vec<u8>,
}

/// Works on one batch: first on what is new, together; then on what came before, one by one.
pub(super) async fn consume(gateway: &Gateway, messages: &[QueueMessage], env: &Env) {
    let (fresh, suspects): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.attempts() <= 1);
    consume_together(gateway, &fresh, false, env).await;
    for message in suspects {
        consume_together(gateway, &[message], true, env).await;
    }
}

async fn consume_together<'m>(gateway: &Gateway, messages: &[&'m QueueMessage], is_suspect: bool, env: &Env) {
    let mut sorted = Sorted::default();
    for message in messages {
        if let Err((bytes, error)) = sorted.sort(message) {
            bury_unreadable(message, bytes, &error, env).await;
        }
    }
    if !sorted.letters.is_empty() {
        dead_letters::consume(&sorted.letters, env).await;
    }
    let admitted = sorted.deliveries.into_iter().map(|(source, read)| admit(gateway, source, read, is_suspect, env));
    let taken = sorted.releases.into_iter().map(|(message, release)| take(gateway, message, release, is_suspect, env));
    let (admitted, taken) = futures_util::future::join(join_all(admitted), join_all(taken)).await;
    let lanes: Vec<Lane<'_, 'm>> = admitted.into_iter().chain(taken).collect();
    attempt_all(lanes, clock::now_ms(), env).await;
}

impl<'m> Sorted<'m> {
    fn sort(&mut self, message: &'m QueueMessage) -> Result<(), (Vec<u8>, String)> {
        let bytes = message.bytes();
        match decode(&bytes) {
            Ok(Message::Delivery(delivery, inline)) => {
                let inline = inline.to_vec();
                let of_source = self.deliveries.entry(delivery.source.clone()).or_default();
                of_source.push(Read { message, delivery, inline });
            }
            Ok(Message::DeadLetter(..)) => self.letters.push(message),
            Ok(Message::Release(release)) => self.releases.push((message, release)),
            Err(error) => {
                let error = error.to_string();
                return Err((bytes, error));
            }
        }
        Ok(())
    }
}

async fn bury_unreadable(message: &QueueMessage, bytes: Vec<u8>, error: &str, env: &Env) {
    let mut letter = unreadable(message, "deliveries", bytes.len() as u64, error);
    match send_letter(env, &mut letter, &Body::Small(bytes)).await {
        Ok(()) => message.ack(),
        Err((cause, error)) => {
            log::error(cause, &[("message", &message.id()), ("error", &error)]);
            message.nack(STORAGE_DELAY_S);
        }
    }
}

/// Asks a destination's object what may be done with the deliveries of a batch.
async fn admit<'g, 'm>(
    gateway: &'g Gateway,
    source: String,
    read: Vec<Read<'m>>,
    is_suspect: bool,
    env: &Env,
) -> Lane<'g, 'm> {
    let configured = gateway.source(&source);
    let mut lane = Lane { source, configured, ..Lane::default() };
    let dispatches: Vec<Dispatch> =
        read.iter().map(|read| Dispatch::of_delivery(&read.delivery, &read.inline)).collect();
    let item = |dispatch: &Dispatch| AdmitItem { dispatch: dispatch.clone(), is_wanted: true, is_suspect };
    let items = dispatches.iter().map(item).collect();
    let admissions = match destinations::admit(env, &lane.source, configured, items).await {
        Ok(admissions) => admissions,
        Err(error) => {
            log::error("admit_failed", &[("source", &lane.source), ("error", &error)]);
            for read in read {
                read.message.nack(STORAGE_DELAY_S);
            }
            return lane;
        }
    };
    let mut leftovers = vec![];
    for ((Read { message, delivery, inline }, dispatch), admission) in read.into_iter().zip(dispatches).zip(admissions)
    {
        let work = Work { message: Some(message), dispatch, delivery, inline, attempt: 0, give_up: None };
        match admission {
            Admission::Go { attempt } => lane.works.push_back(Work { attempt, ..work }),
            Admission::Crashed => lane.works.push_back(Work { give_up: Some(reason::CRASHED.into()), ..work }),
            Admission::Park => {
                let settlement = work.settlement(DispatchOutcome::Parked);
                lane.ended.push((work, settlement));
            }
            Admission::Busy { until_ms } => {
                let wait_ms = until_ms.saturating_sub(clock::now_ms());
                message.nack(u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).clamp(1, 300));
            }
            Admission::Done { state } => {
                // What waits, and a dead letter, refer to the stored body.
                if !matches!(state, DispatchState::Waiting | DispatchState::Dead) {
                    leftovers.extend(work.stored_key());
                }
                message.ack();
            }
        }
    }
    discard(leftovers, env).await;
    lane
}

/// Comes to a destination's object for what waits.
async fn take<'g, 'm>(
    gateway: &'g Gateway,
    message: &'m QueueMessage,
    release: Release,
    is_suspect: bool,
    env: &Env,
) -> Lane<'g, 'm> {
    let configured = gateway.source(&release.source);
    let mut lane = Lane { source: release.source, configured, releases: vec![message], ..Lane::default() };
    match destinations::take(env, &lane.source, configured, release.count, is_suspect).await {
        Ok(taken) => {
            for Taken { dispatch, attempt, give_up, frame, .. } in taken {
                let bytes = frame.to_bytes().unwrap_or_default();
                match decode(&bytes) {
                    Ok(Message::Delivery(delivery, inline)) => {
                        let inline = inline.to_vec();
                        lane.works.push_back(Work { message: None, dispatch, delivery, inline, attempt, give_up });
                    }
                    // It was read before it was stored: only another version wrote it. Its lease ends, and that version finds it.
                    _ => log::error("waiting_unreadable", &[("source", &lane.source), ("delivery", &dispatch.id)]),
                }
            }
        }
        // Its object releases it again.
        Err(error) => log::error("take_failed", &[("source", &lane.source), ("error", &error)]),
    }
    lane
}

impl<'m> Lane<'_, 'm> {
    /// What is to be tried, for what was given at `given_ms`.
    fn waiting(&self, given_ms: u64) -> Waiting {
        Waiting {
            fetched_bytes: self.works.iter().map(Work::fetched_bytes).collect(),
            until_ms: given_ms.saturating_add(BEGIN_WITHIN_MS),
        }
    }

    fn end(&mut self, (work, settlement): Tried<'m>) {
        match (settlement, work.message) {
            (Some(settlement), _) => self.ended.push((work, settlement)),
            // Its letter is tried again when it comes again.
            (None, Some(message)) => message.nack(STORAGE_DELAY_S),
            (None, None) => {}
        }
    }
}

/// How often a batch looks whether another one has given memory back, in milliseconds. It cannot be told: what wakes up work of
/// another event has it run as part of its own.
const MEMORY_STEP_MS: u64 = 100;

thread_local! {
    /// Of all batches of this isolate.
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// Nothing holds it across an await, so it is never borrowed here already.
fn with_memory<T>(f: impl FnOnce(&mut Memory) -> T) -> Option<T> {
    MEMORY.with(|cell| cell.try_borrow_mut().ok().map(|mut memory| f(&mut memory)))
}

/// What a batch waits for.
#[allow(clippy::large_enum_variant)] // moved once, and not kept
enum Ended<'m> {
    Attempt { lane: usize, place: Option<Place>, tried: Tried<'m> },
    Lane,
    Step,
}

/// Tries what was given; each lane is settled when it is through.
async fn attempt_all(lanes: Vec<Lane<'_, '_>>, given_ms: u64, env: &Env) {
    let waiting: Vec<Waiting> = lanes.iter().map(|lane| lane.waiting(given_ms)).collect();
    let mut turns = Turns::new(waiting, CONNECTIONS);
    let mut lanes: Vec<_> = lanes.into_iter().map(Some).collect();
    let mut running = FuturesUnordered::new();
    let mut steps = false;
    loop {
        while let Some(turn) = with_memory(|memory| turns.next(memory, clock::now_ms())).flatten() {
            let (index, start) = match turn {
                Turn::Start(index, place) => (index, Some(place)),
                Turn::GiveBack(index) => (index, None),
            };
            let Some(lane) = lanes.get_mut(index).and_then(Option::as_mut) else { continue };
            let Some(work) = lane.works.pop_front() else { continue };
            let Some(place) = start else {
                let settlement = work.settlement(DispatchOutcome::Parked);
                lane.ended.push((work, settlement));
                continue;
            };
            let configured = lane.configured;
            running.push(Either::Left(async move {
                Ended::Attempt { lane: index, place, tried: attempt(configured, work, env).await }
            }));
        }
        for (index, slot) in lanes.iter_mut().enumerate() {
            if turns.is_finished(index)
                && let Some(lane) = slot.take()
            {
                running.push(Either::Right(Either::Left(async move {
                    settle(lane, env).await;
                    Ended::Lane
                })));
            }
        }
        if turns.waits_for_memory() && !steps {
            steps = true;
            running.push(Either::Right(Either::Right(async {
                clock::sleep_ms(MEMORY_STEP_MS).await;
                Ended::Step
            })));
        }
        match running.next().await {
            None => return,
            Some(Ended::Lane) => {}
            Some(Ended::Step) => steps = false,
            Some(Ended::Attempt { lane, place, tried }) => {
                turns.done(lane);
                if let Some(place) = place {
                    with_memory(|memory| memory.give_back(place));
                }
                if let Some(lane) = lanes.get_mut(lane).and_then(Option::as_mut) {
                    lane.end(tried);
                }
            }
        }
    }
}

/// Tells the object what became of a lane, and then the queue.
async fn settle(lane: Lane<'_, '_>, env: &Env) {
    let Lane { source, configured, ended, releases, .. } = lane;
    let (works, items): (Vec<Work<'_>>, Vec<EndedDispatch>) = ended.into_iter().unzip();
    let outcomes: Vec<DispatchOutcome> = items.iter().map(|item| item.outcome.clone()).collect();
    let settled =
        if items.is_empty() { Ok(vec![]) } else { destinations::settle(env, &source, configured, items).await };
    // What was taken and not settled is released again when its lease ends.
    for release in releases {
        release.ack();
    }
    let revived = match settled {
        Ok(revived) => revived,
        Err(error) => {
            log::error("settle_failed", &[("source", &source), ("error", &error)]);
            for (work, outcome) in works.iter().zip(outcomes) {
                match (work.message, outcome) {
                    // It is not tried again: its letter is on its way, and whoever stores that tells the object.
                    (Some(message), DispatchOutcome::Dead { .. }) => message.ack(),
                    (Some(message), _) => message.nack(STORAGE_DELAY_S),
                    (None, _) => {}
                }
            }
            return;
        }
    };
    let mut leftovers = vec![];
    for (work, outcome) in works.iter().zip(outcomes) {
        if revived.contains(&work.dispatch.id) {
            work.tell_its_letter(env).await;
        } else if outcome == DispatchOutcome::Delivered {
            leftovers.extend(work.stored_key());
        }
        if let Some(message) = work.message {
            message.ack();
        }
    }
    discard(leftovers, env).await;
}

/// Deletes stored bodies that nothing needs any more. What cannot be deleted now is left to retention.
async fn discard(keys: Vec<String>, env: &Env) {
    if let Err(error) = r2::delete(env, keys).await {
        log::warn("payload_delete_failed", &[("error", &error)]);
    }
}
