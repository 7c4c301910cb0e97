//! `MONITOR`: which sources are silent, what is wrong, and which notices are sent.
//!
//! Promises:
//! - one evaluation at a time is judged and stored as one transaction;
//! - notices leave in order and one at a time, each until it was answered 2xx, under an identifier that stays;
//! - a destination that does not answer is asked again by the next evaluation.
//!
//! Out of scope: the judgement (`gateway_core::monitor`).

use super::{SchemaStep, Tables, json};
use crate::audit;
use crate::config::{Gateway, gateway};
use crate::platform::fetch::{self, FetchRequest, Read};
use crate::platform::sql::{rows, run, text, unreadable};
use crate::platform::{clock, log};
use crate::receive::counting;
use gateway_core::audit::{Draft, USER_AGENT};
use gateway_core::config::AlertDestination;
use gateway_core::metrics::counters::Metric;
use gateway_core::monitor::alerts::{Alerts, Notice};
use gateway_core::monitor::calls::{Health, MonitorCall, Observation};
use gateway_core::monitor::evaluation::{MonitorState, health};
use genesys_webhook::scheme::Scheme;
use genesys_webhook::sign::sign_with_all;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::collections::BTreeMap;
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

/// Both hold JSON: what was learned of each source; under `alerts` and `health` what was said last, under `retention` its last run.
const SCHEMA: [SchemaStep; 1] = ["
    CREATE TABLE histories (source TEXT PRIMARY KEY, history TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"];

/// Time that the alert destination may take, in milliseconds.
const SEND_MS: u64 = 10_000;

/// Notices that one evaluation sends: five minutes later is the next.
const MAX_SENT: u32 = 20;

/// Time that one evaluation may be sending, in milliseconds: [`MAX_SENT`] notices at [`SEND_MS`]. One that was cut off does not
/// block the next for longer.
const SENDING_MS: u64 = 200_000;

#[durable_object(fetch)]
pub struct Monitor {
    tables: Tables,
    env: Env,
    sending_until_ms: Cell<u64>,
}

impl DurableObject for Monitor {
    fn new(state: State, env: Env) -> Self {
        Self { tables: Tables::set_up(&state, &SCHEMA), env, sending_until_ms: Cell::new(0) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let answer = async |call, sql: &SqlStorage| {
            match call {
                MonitorCall::Evaluate(observation) => match gateway(&self.env) {
                    Ok(gateway) => self.evaluate(sql, &gateway, observation).await?,
                    // What is expected is not known: other alerts say so, and nothing is forgotten here.
                    Err(_) => log::warn("monitor_blind", &[("cause", "bad_configuration")]),
                },
                MonitorCall::Retained(run) => keep(sql, "retention", &Some(run))?,
                MonitorCall::Read => {}
            }
            json(&health(kept(sql, "health")?, &kept(sql, "alerts")?, kept(sql, "retention")?))
        };
        self.tables.serve(request, answer).await
    }
}

fn kept<T: DeserializeOwned + Default>(sql: &SqlStorage, name: &str) -> Result<T> {
    let found = rows(sql, "SELECT value FROM kept WHERE name = ?", vec![text(name)])?;
    let value = found.first().and_then(|row| row.text(0));
    Ok(value.map(|value| serde_json::from_str(&value)).transpose()?.unwrap_or_default())
}

fn keep(sql: &SqlStorage, name: &str, value: &impl serde::Serialize) -> Result<()> {
    run(sql, "INSERT OR REPLACE INTO kept (name, value) VALUES (?, ?)", vec![text(name), text(&json(value)?)])
}

/// What is remembered, and the histories as they are stored.
fn load(sql: &SqlStorage) -> Result<(MonitorState, BTreeMap<String, String>)> {
    let stored = rows(sql, "SELECT source, history FROM histories", vec![])?;
    let stored = stored.iter().map(|row| row.text(0).zip(row.text(1)).ok_or_else(|| unreadable("history")));
    let stored: BTreeMap<String, String> = stored.collect::<Result<_>>()?;
    let mut monitor = MonitorState {
        alerts: kept::<Alerts>(sql, "alerts")?,
        said: kept::<Health>(sql, "health")?,
        ..Default::default()
    };
    for (source, history) in &stored {
        monitor.histories.insert(source.clone(), serde_json::from_str(history)?);
    }
    Ok((monitor, stored))
}

/// Writes what has changed.
fn store(sql: &SqlStorage, monitor: &MonitorState, stored: &BTreeMap<String, String>) -> Result<()> {
    for (source, history) in &monitor.histories {
        let history = json(history)?;
        if stored.get(source) != Some(&history) {
            let parameters = vec![text(source), text(&history)];
            run(sql, "INSERT OR REPLACE INTO histories (source, history) VALUES (?, ?)", parameters)?;
        }
    }
    for source in stored.keys().filter(|source| !monitor.histories.contains_key(*source)) {
        run(sql, "DELETE FROM histories WHERE source = ?", vec![text(source)])?;
    }
    keep(sql, "alerts", &monitor.alerts)?;
    keep(sql, "health", &monitor.said)
}

impl Monitor {
    async fn evaluate(&self, sql: &SqlStorage, gateway: &Gateway, observation: Observation) -> Result<()> {
        let notices = self.tables.transaction(|sql| {
            let (mut monitor, stored) = load(sql)?;
            let notices = monitor.evaluate(&gateway.config, observation, clock::now_ms());
            store(sql, &monitor, &stored)?;
            Ok(notices)
        })?;
        for notice in &notices {
            let subject = notice.subject.as_deref().unwrap_or_default();
            log::warn(
                "alert",
                &[("kind", notice.kind.as_str()), ("change", notice.event.as_str()), ("source", subject)],
            );
        }
        audit::append(&self.env, notices.iter().map(Notice::draft).collect()).await;
        if let Some(to) = &gateway.config.alerts {
            self.send_all(sql, gateway, to).await?;
        }
        counting::flush(&self.env).await;
        Ok(())
    }

    /// Sends what waits, until the destination does not take one.
    async fn send_all(&self, sql: &SqlStorage, gateway: &Gateway, to: &AlertDestination) -> Result<()> {
        let now_ms = clock::now_ms();
        if self.sending_until_ms.get() > now_ms {
            return Ok(());
        }
        self.sending_until_ms.set(now_ms.saturating_add(SENDING_MS));
        let mut drafts = vec![];
        for _ in 0..MAX_SENT {
            // Read anew each time: another evaluation may have added to it during the last wait.
            let Some(notice) = kept::<Alerts>(sql, "alerts")?.next().cloned() else { break };
            match send(gateway, to, &notice).await {
                Ok(status) => {
                    let mut alerts: Alerts = kept(sql, "alerts")?;
                    alerts.delivered(&notice.id);
                    keep(sql, "alerts", &alerts)?;
                    counting::add(Metric::AlertSent, "", "delivered", 1);
                    let (target_url, status_code) = (Some(to.url.clone()), Some(status));
                    drafts.push(Draft { target_url, status_code, ..notice.draft() });
                }
                Err(error) => {
                    counting::add(Metric::AlertSent, "", "failed", 1);
                    log::error("alert_not_sent", &[("id", &notice.id), ("error", &error)]);
                    break;
                }
            }
        }
        self.sending_until_ms.set(0);
        audit::append(&self.env, drafts).await;
        Ok(())
    }
}

/// One attempt; the status where it was taken.
async fn send(gateway: &Gateway, to: &AlertDestination, notice: &Notice) -> std::result::Result<u16, String> {
    let secrets = match &gateway.alerts {
        Some(Ok(secrets)) => secrets,
        Some(Err(problem)) => return Err(problem.to_string()),
        None => return Err("no alert destination".into()),
    };
    let body = notice.payload(gateway.config.public_url.as_deref().unwrap_or_default());
    let timestamp_s = clock::now_ms().div_euclid(1000);
    let mut headers = vec![
        ("user-agent".to_owned(), USER_AGENT.to_owned()),
        ("content-type".to_owned(), "application/json".to_owned()),
    ];
    headers.extend(sign_with_all(&Scheme::standard_webhooks(), secrets, &notice.id, timestamp_s, body.as_bytes()));
    let outgoing = FetchRequest {
        method: "POST",
        url: &to.url,
        headers: &headers,
        body: Some(body.as_bytes()),
        timeout_ms: SEND_MS,
        read: Read::Excerpt { bytes: 0 },
    };
    let answer = fetch::send(outgoing).await.map_err(|error| error.to_string())?;
    if (200..300).contains(&answer.status) { Ok(answer.status) } else { Err(format!("HTTP {}", answer.status)) }
}
