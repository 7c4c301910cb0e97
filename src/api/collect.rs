//! Collects what every object knows into one snapshot: for `/metrics`, for `/api/health`, for the watch.
//!
//! Promises: all objects are asked side by side; one that does not answer in time is named and not waited for any longer, so
//! that an answer is there well within the 10 s that Prometheus waits. The figures are not of one moment: an isolate keeps
//! what it counted for up to two seconds, and no object waits for another, so that a delivery may be settled some seconds
//! before it shows as accepted (`queued` is below zero for as long).
//! Out of scope: what the figures mean (`gateway_core::{accounting, metrics, watch}`).

use crate::VERSION;
use crate::config::gateway;
use crate::deliver::destinations;
use crate::platform::objects::{self, CallError};
use crate::platform::{clock, queue};
use futures_util::future::{join, join_all, join3, join4};
use gateway_core::dead_letters::{LetterTotals, LettersCall, STORE_OBJECT};
use gateway_core::deliver::dispatcher::status::CircuitRow;
use gateway_core::lifecycle::LIFECYCLE_OBJECT;
use gateway_core::metrics::accounting::{Collected, by_source, include, own};
use gateway_core::metrics::counters::{CountersCall, Totals, counter_shards};
use gateway_core::metrics::{Backlog, Snapshot};
use gateway_core::monitor::calls::{Health, WATCH_OBJECT, WatchCall};
use gateway_core::receive::UNKNOWN_SOURCE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use worker::Env;

/// How long an object may take, in milliseconds.
const ANSWER_MS: u64 = 3_000;

/// When the last destinations are asked, in milliseconds after the beginning; these take up to two seconds more.
const DESTINATIONS_MS: u64 = 5_000;

/// Asks all objects of a binding the same, side by side.
async fn ask_all<T: DeserializeOwned>(
    env: &Env,
    binding: &'static str,
    names: &[String],
    call: &impl Serialize,
) -> Vec<Option<T>> {
    join_all(names.iter().map(|name| in_time(objects::call::<T>(env, binding, name, call)))).await
}

async fn in_time<T>(call: impl Future<Output = Result<T, CallError>>) -> Option<T> {
    clock::within(ANSWER_MS, call).await.and_then(Result::ok)
}

/// What everything knows now.
pub(crate) async fn collect(env: &Env) -> Snapshot {
    let taken_at_ms = clock::now_ms();
    let counter_names: Vec<String> = counter_shards().collect();
    let store = objects::call::<LetterTotals>(env, objects::DEAD_LETTER_STORE, STORE_OBJECT, &LettersCall::Totals);
    let watch = objects::call::<Health>(env, objects::WATCH, WATCH_OBJECT, &WatchCall::Read);
    let counters = ask_all::<Totals>(env, objects::COUNTERS, &counter_names, &CountersCall::Read);
    let rest = join4(in_time(store), in_time(crate::jobs::reconcile::reconciled(env)), in_time(watch), queues(env));
    let (counters, (letters, reconcile, health, queues)) = join(counters, rest).await;
    let mut missing = vec![];
    let counters = answered(counters, &counter_names, &mut missing);
    for (name, absent) in
        [(STORE_OBJECT, letters.is_none()), (LIFECYCLE_OBJECT, reconcile.is_none()), (WATCH_OBJECT, health.is_none())]
    {
        if absent {
            missing.push(name.into());
        }
    }
    let own = own(&counters);
    let gateway = gateway(env);
    let configured = gateway.as_ref().map_or(&[][..], |gateway| &gateway.config.sources);
    let mut names: Vec<String> = configured.iter().map(|source| source.name.clone()).collect();
    // What is no longer configured may still have something that waits.
    let mut counted: Vec<&str> = counters.iter().flat_map(|totals| &totals.seen).map(|seen| &*seen.source).collect();
    counted.retain(|name| *name != UNKNOWN_SOURCE && !configured.iter().any(|source| source.name == *name));
    counted.sort_unstable();
    counted.dedup();
    names.extend(counted.into_iter().map(ToOwned::to_owned));
    let statuses = destinations::statuses(env, &names, taken_at_ms.saturating_add(DESTINATIONS_MS)).await;
    let circuits = configured.iter().zip(&statuses).map(|(source, status)| destinations::row(source, status.as_ref()));
    let circuits: Vec<CircuitRow> = circuits.collect();
    let mut at_destinations = vec![];
    for (name, status) in names.into_iter().zip(statuses) {
        match status {
            Some(status) => at_destinations.push((name, status)),
            None => missing.push(format!("destination {name}")),
        }
    }
    let mut sources = by_source(&Collected { counters, destinations: at_destinations });
    include(&mut sources, configured.iter().map(|source| source.name.as_str()));
    let (configuration, circuits, declared) = match &gateway {
        Ok(gateway) => {
            let declared = configured.iter().filter(|source| source.subscription.is_some());
            (gateway.secret_problems(), Some(circuits), Some(declared.map(|source| source.name.clone()).collect()))
        }
        Err(problems) => (problems.to_vec(), None, None),
    };
    Snapshot {
        version: VERSION,
        taken_at_ms,
        own,
        sources,
        queues,
        letters,
        reconcile,
        declared,
        health,
        circuits,
        missing,
        configuration,
    }
}

async fn queues(env: &Env) -> BTreeMap<String, Backlog> {
    let ask = |binding: &'static str| clock::within(ANSWER_MS, queue::backlog(env, binding));
    let (deliveries, releases, letters) =
        join3(ask(queue::DELIVERIES), ask(queue::RELEASES), ask(queue::DEAD_LETTERS)).await;
    let named =
        [("deliveries", deliveries.flatten()), ("releases", releases.flatten()), ("dead-letters", letters.flatten())];
    named.into_iter().filter_map(|(name, backlog)| Some((name.to_owned(), backlog?))).collect()
}

fn answered<T>(results: Vec<Option<T>>, names: &[String], missing: &mut Vec<String>) -> Vec<T> {
    for (result, name) in results.iter().zip(names) {
        if result.is_none() {
            missing.push(name.clone());
        }
    }
    results.into_iter().flatten().collect()
}
