//! Collects what every object knows into one snapshot: for `/metrics`, for `/api/health`, for the monitor.
//!
//! Promises:
//! - all objects are asked side by side;
//! - one that does not answer in time is named and not waited for: Prometheus waits 10 s for an answer.
//!
//! The figures are not of one moment: an isolate keeps what it counted for up to two seconds, and no object waits for
//! another. A delivery may be settled some seconds before it shows as accepted, and `queued` is below zero for as long.
//! Out of scope: what the figures mean (`gateway_core::{metrics, monitor}`).

use crate::VERSION;
use crate::config::{Gateway, gateway};
use crate::deliver::circuit_breakers::circuits_of;
use crate::objects::clients::{AuditLogClient, CountersClient, DeadLetterClient, LedgerClient, MonitorClient};
use crate::platform::objects::CallError;
use crate::platform::{clock, queue};
use futures_util::future::{join, join_all, join3, join5};
use gateway_core::audit::AUDIT_OBJECT;
use gateway_core::config::Source;
use gateway_core::dead_letters::STORE_OBJECT;
use gateway_core::deliver::circuit_breaker::CircuitRow;
use gateway_core::deliver::ledger::ledger_shards;
use gateway_core::lifecycle::LIFECYCLE_OBJECT;
use gateway_core::metrics::accounting::{Accounts, SourceAccount};
use gateway_core::metrics::counters::counter_shards;
use gateway_core::metrics::{Backlog, MetricsSnapshot};
use gateway_core::monitor::calls::MONITOR_OBJECT;
use std::collections::BTreeMap;
use worker::Env;

const ANSWER_MS: u64 = 3_000;

/// When the last circuits are asked, in milliseconds after the beginning; these take up to two seconds more.
const CIRCUITS_MS: u64 = 5_000;

async fn in_time<T>(call: impl Future<Output = Result<T, CallError>>) -> Option<T> {
    clock::within(ANSWER_MS, call).await.and_then(Result::ok)
}

pub(crate) async fn collect(env: &Env) -> MetricsSnapshot {
    let taken_at_ms = clock::now_ms();
    let counter_names: Vec<String> = counter_shards().collect();
    let ledger_names: Vec<String> = ledger_shards().collect();
    let ledgers = join_all(ledger_names.iter().map(|name| in_time(LedgerClient::new(env, name).totals())));
    let counters = join_all(counter_names.iter().map(|name| in_time(CountersClient::new(env, name).read())));
    let (store, monitor) = (DeadLetterClient::new(env).totals(), MonitorClient::new(env).read());
    let (audit, reconcile) = (AuditLogClient::new(env).totals(), crate::jobs::reconcile::reconciled(env));
    let rest = join5(in_time(store), in_time(reconcile), in_time(monitor), in_time(audit), queues(env));
    let (counters, ledgers, (letters, reconcile, health, audit, queues)) = join3(counters, ledgers, rest).await;
    let mut missing = vec![];
    let sizes = ledgers.iter().map(|totals| totals.as_ref().map(|totals| totals.storage_bytes));
    let others =
        [letters.as_ref().map(|totals| totals.storage_bytes), audit.as_ref().map(|totals| totals.storage_bytes)];
    let names = ledger_names.iter().map(String::as_str).chain([STORE_OBJECT, AUDIT_OBJECT]);
    let storage = names.zip(sizes.chain(others)).filter_map(|(name, bytes)| Some((name.to_owned(), bytes?))).collect();
    let counters = answered(counters, &counter_names, &mut missing);
    let ledgers = answered(ledgers, &ledger_names, &mut missing);
    for (name, absent) in [
        (STORE_OBJECT, letters.is_none()),
        (LIFECYCLE_OBJECT, reconcile.is_none()),
        (MONITOR_OBJECT, health.is_none()),
        (AUDIT_OBJECT, audit.is_none()),
    ] {
        if absent {
            missing.push(name.into());
        }
    }
    let mut accounts = Accounts::new(&counters, &ledgers);
    let gateway = gateway(env);
    let (configuration, circuits, declared) = match &gateway {
        Ok(gateway) => {
            let configured = &gateway.config.sources;
            accounts.include(configured.iter().map(|source| source.name.as_str()));
            let circuits = circuits(env, gateway, &accounts.sources, taken_at_ms.saturating_add(CIRCUITS_MS)).await;
            let declared = configured.iter().filter(|source| source.subscription.is_some());
            (gateway.secret_problems(), Some(circuits), Some(declared.map(|source| source.name.clone()).collect()))
        }
        Err(problems) => (problems.to_vec(), None, None),
    };
    MetricsSnapshot {
        version: VERSION,
        taken_at_ms,
        accounts,
        queues,
        letters,
        storage,
        reconcile,
        declared,
        audit_head: audit.map(|totals| totals.head),
        health,
        circuits,
        missing,
        configuration,
    }
}

/// Only a destination with failed attempts can have an open circuit, and only one with deliveries under way has any that wait: of
/// sources that are quiet and healthy nothing is asked.
async fn circuits(
    env: &Env,
    gateway: &Gateway,
    accounts: &BTreeMap<String, SourceAccount>,
    until_ms: u64,
) -> Vec<CircuitRow> {
    let is_of_interest = |source: &&Source| {
        accounts.get(&source.name).is_some_and(|account| {
            account.retries > 0 || account.dead > 0 || account.revived > 0 || account.pending > 0
        })
    };
    let sources: Vec<&Source> = gateway.config.sources.iter().filter(is_of_interest).collect();
    circuits_of(env, &sources, until_ms).await
}

async fn queues(env: &Env) -> BTreeMap<String, Backlog> {
    let ask = |binding: &'static str| clock::within(ANSWER_MS, queue::backlog(env, binding));
    let (deliveries, letters) = join(ask(queue::DELIVERIES), ask(queue::DEAD_LETTERS)).await;
    let named = [("deliveries", deliveries.flatten()), ("dead-letters", letters.flatten())];
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
