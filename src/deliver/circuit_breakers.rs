//! The circuits as consumers and the API use them: asking, reporting, closing, listing.
//!
//! Promises: an object that does not answer is taken for a closed circuit, because a delivery that is tried in vain is
//! repeated and one that waits for nothing is late; a healthy destination costs one call in some seconds and isolate;
//! every change is in the log and in the audit trail. Out of scope: what opens and closes (`gateway_core::deliver::circuit_breaker`).

use crate::audit;
use crate::config::Gateway;
use crate::objects::clients::CircuitClient;
use crate::platform::objects::CallError;
use crate::platform::{clock, log};
use futures_util::future::join_all;
use gateway_core::audit::{Action, Draft};
use gateway_core::config::Source;
use gateway_core::deliver::circuit_breaker::{Change, CircuitRow, Gate, Settings, Tally, object_name, shown_url};
use std::cell::RefCell;
use std::collections::BTreeMap;
use worker::Env;

/// Objects that are read at once.
const READS: usize = 16;

thread_local! {
    /// Circuits that were closed when last heard of: whether failures were being counted, and until when that is believed.
    static CLOSED: RefCell<BTreeMap<String, (bool, u64)>> = const { RefCell::new(BTreeMap::new()) };
}

fn name(source: &Source) -> String {
    object_name(&source.name, source.destination.kind())
}

fn url(source: &Source) -> Option<String> {
    source.destination.https().map(|https| shown_url(&https.url))
}

fn remember(name: &str, settings: &Settings, failing: Option<bool>) {
    let until_ms = clock::now_ms().saturating_add(settings.memory_ms());
    // Nothing holds it across an await, so it is never borrowed here already.
    let _ = CLOSED.with(|cell| {
        cell.try_borrow_mut().map(|mut closed| match failing {
            Some(failing) => closed.insert(name.to_owned(), (failing, until_ms)),
            None => closed.remove(name),
        })
    });
}

/// What a batch may do with the deliveries of `source`. `lease_ms`: how long a probe may take.
pub(crate) async fn ask(env: &Env, source: &Source, lease_ms: u64) -> Gate {
    let name = name(source);
    let remembered = CLOSED.with(|cell| cell.try_borrow().ok().and_then(|closed| closed.get(&name).copied()));
    if let Some((failing, _)) = remembered.filter(|(_, until_ms)| clock::now_ms() < *until_ms) {
        return Gate::Closed { failing };
    }
    match CircuitClient::new(env, &name).ask(lease_ms).await {
        Ok(gate) => {
            let failing = if let Gate::Closed { failing } = gate { Some(failing) } else { None };
            remember(&name, &source.circuit, failing);
            gate
        }
        Err(error) => {
            log::warn("circuit_unknown", &[("source", &source.name), ("error", &error.to_string())]);
            Gate::Closed { failing: true }
        }
    }
}

/// Tells what a batch came to, where that is news.
pub(crate) async fn report(env: &Env, source: &Source, gate: &Gate, tally: Tally) {
    if !tally.is_news(gate) {
        return;
    }
    let name = name(source);
    let probe = if let Gate::Probe { number, .. } = gate { Some(*number) } else { None };
    let (status, error) = (tally.status, tally.error.clone());
    match CircuitClient::new(env, &name).report(probe, tally, source.circuit).await {
        Ok(reported) => {
            remember(&name, &source.circuit, reported.failing);
            if let Some(change) = reported.change {
                announce(env, source, change, "consumer", status, error).await;
            }
        }
        Err(error) => log::warn("circuit_not_told", &[("source", &source.name), ("error", &error.to_string())]),
    }
}

/// Closes the circuit of `source` by hand; whether it was open.
pub(crate) async fn close(env: &Env, source: &Source) -> Result<bool, CallError> {
    let name = name(source);
    let change = CircuitClient::new(env, &name).close().await?;
    remember(&name, &source.circuit, Some(false));
    if let Some(change) = change {
        announce(env, source, change, "admin", None, None).await;
    }
    Ok(change.is_some())
}

async fn announce(env: &Env, source: &Source, change: Change, actor: &str, status: Option<u16>, error: Option<String>) {
    let shown = url(source);
    let address = shown.as_deref().unwrap_or("archive");
    // What the destination answered is shown with its circuit. It may quote a delivery: not into the log, and not into the
    // trail, which forgets nothing.
    let error = error.map(|_| status.map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}")));
    let action = match change {
        Change::Opened => {
            let error = error.as_deref().unwrap_or_default();
            log::warn("circuit_opened", &[("source", &source.name), ("destination", address), ("error", error)]);
            Action::CircuitOpen
        }
        Change::Closed => {
            log::info("circuit_closed", &[("source", &source.name), ("destination", address), ("actor", actor)]);
            Action::CircuitClose
        }
    };
    let draft = Draft {
        source: Some(source.name.clone()),
        target_url: shown,
        status_code: status,
        error,
        ..Draft::new(action, actor)
    };
    audit::append(env, vec![draft]).await;
}

/// The circuits of all configured sources, in their order; one whose object does not answer is `unknown`.
pub(crate) async fn circuits(env: &Env, gateway: &Gateway) -> Vec<CircuitRow> {
    circuits_of(env, &gateway.config.sources.iter().collect::<Vec<_>>(), u64::MAX).await
}

/// The circuits of `sources`, in their order; those that have not been asked by `until_ms` are `unknown`.
pub(crate) async fn circuits_of(env: &Env, sources: &[&Source], until_ms: u64) -> Vec<CircuitRow> {
    let mut rows = vec![];
    for sources in sources.chunks(READS) {
        if clock::now_ms() >= until_ms {
            let late = CircuitClient::new(env, "").late().to_string();
            rows.extend(sources.iter().map(|source| CircuitRow::unknown(&source.name, url(source), late.clone())));
            continue;
        }
        rows.extend(join_all(sources.iter().map(|source| circuit(env, source))).await);
    }
    rows
}

async fn circuit(env: &Env, source: &Source) -> CircuitRow {
    match CircuitClient::new(env, &name(source)).read().await {
        Ok(circuit) => circuit.row(&source.name, url(source), clock::now_ms()),
        Err(error) => CircuitRow::unknown(&source.name, url(source), error.to_string()),
    }
}
