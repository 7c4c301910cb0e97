//! The circuits as consumers and the API use them: asking, reporting, orders by hand, listing.
//!
//! Promises: an object that does not answer is taken for a closed circuit, because a delivery that is tried in vain is
//! repeated and one that waits for nothing is late; a healthy destination costs one call per isolate every few seconds, which
//! also tells its good calls; every change is in the log and in the audit trail. Out of scope: what opens and closes (`gateway_core::deliver::circuit_breaker`).

use crate::audit;
use crate::config::Gateway;
use crate::objects::clients::CircuitClient;
use crate::platform::objects::CallError;
use crate::platform::{clock, log};
use futures_util::future::join_all;
use gateway_core::audit::{Action, Draft};
use gateway_core::config::Source;
use gateway_core::deliver::circuit_breaker::{
    AttemptTally, Change, CircuitRow, EndedAttempt, Gate, MEMORY_MS, WINDOW_CALLS, object_name, shown_url,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use worker::Env;

/// Objects that are read at once.
const READS: usize = 16;

/// What an isolate knows of a circuit.
#[derive(Default)]
struct Known {
    /// Until when it is taken for closed.
    closed_until_ms: u64,
    /// Good calls that its object has not heard of.
    untold: Vec<EndedAttempt>,
}

thread_local! {
    static KNOWN: RefCell<BTreeMap<String, Known>> = const { RefCell::new(BTreeMap::new()) };
}

/// Nothing holds it across an await, so it is never borrowed here already.
fn with_known<T: Default>(name: &str, f: impl FnOnce(&mut Known) -> T) -> T {
    let known = |cell: &RefCell<BTreeMap<_, Known>>| {
        cell.try_borrow_mut().map(|mut known| f(known.entry(name.to_owned()).or_default())).ok()
    };
    KNOWN.with(known).unwrap_or_default()
}

fn remember(name: &str, is_closed: bool) {
    let until_ms = if is_closed { clock::now_ms().saturating_add(MEMORY_MS) } else { 0 };
    with_known(name, |known| known.closed_until_ms = until_ms);
}

fn untold(name: &str) -> Vec<EndedAttempt> {
    with_known(name, |known| std::mem::take(&mut known.untold))
}

fn name(source: &Source) -> String {
    object_name(&source.name, source.destination.kind())
}

fn url(source: &Source) -> Option<String> {
    source.destination.https().map(|https| shown_url(&https.url))
}

/// What a batch may do with the deliveries of `source`. `lease_ms`: how long a probe may take.
pub(crate) async fn ask(env: &Env, source: &Source, lease_ms: u64) -> Gate {
    let name = name(source);
    if with_known(&name, |known| clock::now_ms() < known.closed_until_ms) {
        return Gate::Closed;
    }
    match CircuitClient::new(env, &name).ask(lease_ms, untold(&name), source.circuit).await {
        Ok(gate) => {
            remember(&name, gate == Gate::Closed);
            gate
        }
        Err(error) => {
            log::warn("circuit_unknown", &[("source", &source.name), ("error", &error.to_string())]);
            Gate::Closed
        }
    }
}

/// Tells what a batch came to, at once where that is news.
pub(crate) async fn report(env: &Env, source: &Source, gate: &Gate, mut tally: AttemptTally) {
    let name = name(source);
    if !tally.is_news(gate, &source.circuit) {
        return with_known(&name, |known| {
            known.untold.append(&mut tally.calls);
            known.untold.drain(..known.untold.len().saturating_sub(WINDOW_CALLS));
        });
    }
    let probe = if let Gate::Probe { until_ms } = gate { Some(*until_ms) } else { None };
    if probe.is_none() {
        tally.calls.splice(..0, untold(&name));
    }
    let (status, error) = (tally.status, tally.error.clone());
    match CircuitClient::new(env, &name).report(probe, tally, source.circuit).await {
        Ok(reported) => {
            remember(&name, reported.is_closed);
            match reported.change {
                Some(Change::Opened) => announce(env, source, Action::CircuitOpen, "consumer", status, error).await,
                Some(Change::Closed) => announce(env, source, Action::CircuitClose, "consumer", None, None).await,
                None => {}
            }
        }
        Err(error) => log::warn("circuit_not_told", &[("source", &source.name), ("error", &error.to_string())]),
    }
}

/// What a person may ask for.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    Close,
    Pause,
    Resume,
    Probe,
}

/// Does what a person asks for; answers whether the circuit was open, paused or waiting. What changed nothing is not audited.
pub(crate) async fn by_hand(env: &Env, source: &Source, order: Order) -> Result<bool, CallError> {
    let name = name(source);
    let client = CircuitClient::new(env, &name);
    let (before, action) = match order {
        Order::Close => (client.close().await?, Action::CircuitClose),
        Order::Pause => (client.pause(true).await?, Action::CircuitPause),
        Order::Resume => (client.pause(false).await?, Action::CircuitResume),
        Order::Probe => (client.probe().await?, Action::CircuitProbe),
    };
    remember(&name, false);
    if matches!(order, Order::Close) {
        // They are of before.
        drop(untold(&name));
    }
    if before != matches!(order, Order::Pause) {
        announce(env, source, action, "admin", None, None).await;
    }
    Ok(before)
}

async fn announce(env: &Env, source: &Source, action: Action, actor: &str, status: Option<u16>, error: Option<String>) {
    let shown = url(source);
    let address = shown.as_deref().unwrap_or("archive");
    // What the destination answered is shown with its circuit. It may quote a delivery: not into the log, and not into the
    // trail, which forgets nothing.
    let error = error.map(|_| status.map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}")));
    let told = [("source", source.name.as_str()), ("destination", address), ("actor", actor)];
    match action {
        Action::CircuitOpen => {
            let error = error.as_deref().unwrap_or_default();
            log::warn("circuit_opened", &[("source", &source.name), ("destination", address), ("error", error)]);
        }
        Action::CircuitPause => log::info("circuit_paused", &told),
        Action::CircuitResume => log::info("circuit_resumed", &told),
        Action::CircuitProbe => log::info("circuit_probed", &told),
        _ => log::info("circuit_closed", &told),
    }
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
        Ok(circuit) => circuit.row(&source.name, url(source), &source.circuit, clock::now_ms()),
        Err(error) => CircuitRow::unknown(&source.name, url(source), error.to_string()),
    }
}
