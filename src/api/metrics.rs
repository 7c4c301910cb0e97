//! `GET /metrics`: JSON, or OpenMetrics text for whoever asks for text.

use super::{Call, Handled};
use crate::VERSION;
use crate::config::gateway;
use crate::platform::http::{json, text};
use crate::platform::objects::{self, CallError};
use futures_util::future::{join_all, join3};
use gateway_core::accounting::{Collected, by_source};
use gateway_core::counters::{CountersCall, Totals, counter_shards};
use gateway_core::ledger::{LedgerCall, LedgerTotals, ledger_shards};
use gateway_core::letters::{LetterTotals, LettersCall, STORE_OBJECT};
use gateway_core::metrics::Snapshot;

/// The content type of OpenMetrics text (OpenMetrics 1.0, section "Content type").
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Collects from every object side by side; one that does not answer is named, not waited for again.
pub(super) async fn show(call: &Call<'_>) -> Handled {
    let env = call.env;
    let counter_names: Vec<String> = counter_shards().collect();
    let ledger_names: Vec<String> = ledger_shards().collect();
    let (read, totals) = (CountersCall::Read, LedgerCall::Totals);
    let counters =
        join_all(counter_names.iter().map(|name| objects::call::<Totals>(env, objects::COUNTERS, name, &read)));
    let ledgers = join_all(
        ledger_names.iter().map(|name| objects::call::<LedgerTotals>(env, objects::DELIVERY_LEDGER, name, &totals)),
    );
    let letters = objects::call::<LetterTotals>(env, objects::DEAD_LETTER_STORE, STORE_OBJECT, &LettersCall::Totals);
    // What the ledgers know was accepted before: read in this order, a delivery in between shows as queued, never as one
    // that was settled without having been accepted.
    let (ledgers, letters, reconcile) = join3(ledgers, letters, crate::reconcile::figures(env)).await;
    let counters = counters.await;
    let mut missing = vec![];
    let counters = answered(counters, &counter_names, &mut missing);
    let ledgers = answered(ledgers, &ledger_names, &mut missing);
    let letters = letters.map_err(|_| missing.push(STORE_OBJECT.into())).ok();
    let reconcile = reconcile.unwrap_or_else(|_| {
        missing.push("lifecycle".into());
        None
    });
    let configuration = match gateway(env) {
        Ok(gateway) => gateway.secret_problems(),
        Err(problems) => problems.to_vec(),
    };
    let sources = by_source(&Collected { counters, ledgers });
    let snapshot = Snapshot { version: VERSION, sources, letters, reconcile, missing, configuration };
    if wants_text(call) {
        return Ok(text(200, OPEN_METRICS, &snapshot.open_metrics()));
    }
    Ok(json(200, &snapshot.json()))
}

fn answered<T>(results: Vec<Result<T, CallError>>, names: &[String], missing: &mut Vec<String>) -> Vec<T> {
    results
        .into_iter()
        .zip(names)
        .filter_map(|(result, name)| result.map_err(|_| missing.push(name.clone())).ok())
        .collect()
}

fn wants_text(call: &Call<'_>) -> bool {
    match call.query.get("format").as_deref() {
        Some("prometheus" | "openmetrics") => true,
        Some(_) => false,
        None => {
            let accept = call.request.headers().get("accept").ok().flatten().unwrap_or_default();
            accept.contains("text/plain") || accept.contains("application/openmetrics-text")
        }
    }
}
