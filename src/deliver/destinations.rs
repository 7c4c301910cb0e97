//! Destinations as consumers and the API use their objects: asking, settling, taking, closing, listing.
//!
//! Promises: a settlement is repeated until the object takes it, because it may be said again; every change of a breaker is in the
//! log and in the audit trail. Out of scope: what is decided (`gateway_core::deliver::dispatcher`).

use crate::audit;
use crate::config::{Configured, Gateway};
use crate::platform::objects::CallError;
use crate::platform::{clock, log, objects};
use futures_util::future::join_all;
use gateway_core::audit::{Action, Draft};
use gateway_core::config::{Destination, Source};
use gateway_core::deliver::dispatcher::calls::{
    Admission, AdmitItem, DestinationCall, DestinationPolicy, DestinationStatus, DispatchRow, GivenUp, EndedDispatch,
    Settlements, Taken,
};
use gateway_core::deliver::dispatcher::gate::{GateChange, GateSettings};
use gateway_core::deliver::dispatcher::rows::{DispatchState, object_name};
use gateway_core::deliver::dispatcher::status::{CircuitRow, shown_url};
use serde::de::DeserializeOwned;
use worker::Env;

/// Waits before a settlement is said again, in milliseconds.
const SETTLE_AGAIN_MS: [u64; 3] = [50, 500, 2_000];

/// How long people wait for an object, in milliseconds.
const ANSWER_MS: u64 = 2_000;

/// Objects that are read at once.
const READS: usize = 100;

/// The schedule of a delivery whose source is not configured any more: an hour, in which bringing the source back delivers
/// what waits.
pub(super) const UNCONFIGURED_SCHEDULE_S: [u32; 12] = [300; 12];

/// The schedule of a source's dispatches.
pub(super) fn schedule_s(configured: Option<Configured<'_>>) -> &[u32] {
    configured.map_or(&UNCONFIGURED_SCHEDULE_S, |configured| &configured.source.retry_schedule_s)
}

/// What an attempt may take, without what is around it.
pub(super) fn timeout_ms(configured: Option<Configured<'_>>) -> u64 {
    configured.map_or(Destination::Archive.timeout_ms(), |configured| configured.source.destination.timeout_ms())
}

fn policy(configured: Option<Configured<'_>>) -> DestinationPolicy {
    let gate = configured.map_or_else(GateSettings::default, |configured| configured.source.circuit);
    DestinationPolicy::new(gate, timeout_ms(configured), schedule_s(configured))
}

async fn call<T: DeserializeOwned>(env: &Env, source: &str, call: &DestinationCall) -> Result<T, CallError> {
    objects::call(env, objects::DISPATCHES, &object_name(source), call).await
}

/// The same for people, who do not wait for long.
async fn ask<T: DeserializeOwned>(env: &Env, source: &str, asked: &DestinationCall) -> Result<T, CallError> {
    let answer = clock::within(ANSWER_MS, call(env, source, asked)).await;
    answer.unwrap_or_else(|| Err(CallError::late(objects::DISPATCHES)))
}

/// What may be done with the dispatches of a batch: an answer for each.
pub(super) async fn admit(
    env: &Env,
    source: &str,
    configured: Option<Configured<'_>>,
    items: Vec<AdmitItem>,
) -> Result<Vec<Admission>, String> {
    let asked = items.len();
    let admit = DestinationCall::Admit { policy: policy(configured), items };
    let admissions: Vec<Admission> = call(env, source, &admit).await.map_err(|error| error.to_string())?;
    // A message that is in none of the answers would count as done.
    if admissions.len() == asked { Ok(admissions) } else { Err("not every dispatch was answered".into()) }
}

/// Dispatches that wait.
pub(super) async fn take(
    env: &Env,
    source: &str,
    configured: Option<Configured<'_>>,
    limit: u32,
    is_suspect: bool,
) -> Result<Vec<Taken>, String> {
    let take = DestinationCall::Take { policy: policy(configured), limit, is_suspect };
    call(env, source, &take).await.map_err(|error| error.to_string())
}

/// Tells what became of dispatches; answers those that were dead and are delivered after all.
pub(super) async fn settle(
    env: &Env,
    source: &str,
    configured: Option<Configured<'_>>,
    items: Vec<EndedDispatch>,
) -> Result<Vec<String>, String> {
    // What the destination answered last is shown with it. It may quote a delivery: not into the log, and not into the trail, which
    // forgets nothing.
    let status = items.iter().rev().find_map(|item| item.record.as_ref()?.status);
    let settle = DestinationCall::Settle { policy: policy(configured), items };
    let mut waits = SETTLE_AGAIN_MS.iter();
    let settled = loop {
        match call::<Settlements>(env, source, &settle).await {
            Ok(settled) => break settled,
            Err(error) => match waits.next() {
                Some(wait_ms) => clock::sleep_ms(*wait_ms).await,
                None => return Err(error.to_string()),
            },
        }
    };
    for change in settled.changes {
        announce(env, source, configured.map(|configured| configured.source), change, "consumer", status).await;
    }
    Ok(settled.revived)
}

/// Tells of dispatches that have dead letters; answers what each of them is.
pub(super) async fn give_up(env: &Env, source: &str, items: Vec<GivenUp>) -> Result<Vec<DispatchState>, CallError> {
    call(env, source, &DestinationCall::GiveUp { items }).await
}

/// Closes the breaker of a source's destination by hand; whether it was open.
pub(crate) async fn close(env: &Env, source: &Source) -> Result<bool, CallError> {
    let was_open = ask(env, &source.name, &DestinationCall::Close).await?;
    if was_open {
        announce(env, &source.name, Some(source), GateChange::Closed, "admin", None).await;
    }
    Ok(was_open)
}

async fn announce(
    env: &Env,
    name: &str,
    source: Option<&Source>,
    change: GateChange,
    actor: &str,
    status: Option<u16>,
) {
    let shown = source.and_then(url);
    let address = shown.as_deref().unwrap_or("archive");
    let (action, error) = match change {
        GateChange::Opened => {
            let error = status.map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}"));
            log::warn("circuit_opened", &[("source", name), ("destination", address), ("error", &error)]);
            (Action::CircuitOpen, Some(error))
        }
        GateChange::Closed => {
            log::info("circuit_closed", &[("source", name), ("destination", address), ("actor", actor)]);
            (Action::CircuitClose, None)
        }
    };
    let source = Some(name.to_owned());
    let draft = Draft { source, target_url: shown, status_code: status, error, ..Draft::new(action, actor) };
    audit::append(env, vec![draft]).await;
}

fn url(source: &Source) -> Option<String> {
    source.destination.https().map(|https| shown_url(&https.url))
}

/// Where the destinations of `sources` stand, in their order; `None` of one whose object does not answer, or that has not been asked
/// by `until_ms`.
pub(crate) async fn statuses(env: &Env, sources: &[String], until_ms: u64) -> Vec<Option<DestinationStatus>> {
    let mut statuses = vec![];
    for sources in sources.chunks(READS) {
        if clock::now_ms() >= until_ms {
            statuses.extend(sources.iter().map(|_| None));
            continue;
        }
        let asked = sources.iter().map(|source| ask(env, source, &DestinationCall::Status));
        statuses.extend(join_all(asked).await.into_iter().map(Result::ok));
    }
    statuses
}

/// The breakers of all configured sources, in their order.
pub(crate) async fn circuits(env: &Env, gateway: &Gateway) -> Vec<CircuitRow> {
    let sources = &gateway.config.sources;
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    let statuses = statuses(env, &names, u64::MAX).await;
    sources.iter().zip(&statuses).map(|(source, status)| row(source, status.as_ref())).collect()
}

/// The breaker of a source's destination, for people.
pub(crate) fn row(source: &Source, status: Option<&DestinationStatus>) -> CircuitRow {
    CircuitRow::new(&source.name, url(source), status, clock::now_ms())
}

/// Dispatches of a source, the newest first.
pub(crate) async fn list(
    env: &Env,
    source: &str,
    state: Option<DispatchState>,
    before: Option<String>,
    limit: u32,
) -> Result<Vec<DispatchRow>, CallError> {
    ask(env, source, &DestinationCall::List { state, before, limit }).await
}

/// One dispatch of a source.
pub(crate) async fn get(env: &Env, source: &str, id: &str) -> Result<Option<DispatchRow>, CallError> {
    ask(env, source, &DestinationCall::Get { id: id.to_owned() }).await
}
