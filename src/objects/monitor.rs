//! `WATCH`: who has gone quiet, what is wrong, and who was told.
//!
//! Promises: one evaluation at a time is judged and stored as one transaction; notices leave in order and one at a time,
//! each until it was answered 2xx, under an identifier that stays; a destination that does not answer is asked again by
//! the next evaluation. Out of scope: the judgements (`gateway_core::{silence, alerts}`).

use super::{Step, Tables};
use crate::audit;
use crate::config::{Gateway, gateway};
use crate::platform::fetch::{self, Outgoing, Read};
use crate::platform::sql::{rows, run, text};
use crate::platform::{clock, log, objects};
use crate::receive::counting;
use gateway_core::audit::{Action, Draft, USER_AGENT};
use gateway_core::config::AlertDestination;
use gateway_core::metrics::counters::Metric;
use gateway_core::monitor::alerts::{Alerts, Conditions, Notice};
use gateway_core::monitor::calls::{Health, Observation, SourceHealth, WatchCall};
use gateway_core::monitor::silence::{History, SilenceVerdict};
use genesys_webhook::scheme::Scheme;
use genesys_webhook::sign::sign_with_all;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

/// Both hold JSON of versioned forms: what was learned of each source, and under `alerts` and `health` what was said last.
const SCHEMA: [Step; 1] = ["
    CREATE TABLE histories (source TEXT PRIMARY KEY, history TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"];

/// How long the alert destination may take, in milliseconds.
const SEND_MS: u64 = 10_000;

/// Notices that one evaluation sends: five minutes later is the next.
const MAX_SENT: u32 = 20;

/// How long one evaluation may be sending: [`MAX_SENT`] notices at [`SEND_MS`]. Whoever was cut off blocks no longer.
const SENDING_MS: u64 = 200_000;

/// The watch's object.
#[durable_object(fetch)]
pub struct Watch {
    tables: Tables,
    env: Env,
    sending_until_ms: Cell<u64>,
}

impl DurableObject for Watch {
    fn new(state: State, env: Env) -> Self {
        Self { tables: Tables::set_up(&state, &SCHEMA), env, sending_until_ms: Cell::new(0) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        objects::serve(request, async |call: WatchCall| -> Result<String> {
            let sql = self.tables.sql()?;
            match call {
                WatchCall::Read => objects::json(&health(sql)?),
                WatchCall::Evaluate(observation) => {
                    match gateway(&self.env) {
                        Ok(gateway) => self.evaluate(sql, &gateway, observation).await?,
                        // Nobody knows any more what is expected: that is said elsewhere, and nothing is forgotten here.
                        Err(_) => log::warn("watch_blind", &[("cause", "bad_configuration")]),
                    }
                    objects::json(&health(sql)?)
                }
            }
        })
        .await
    }
}

fn kept<T: DeserializeOwned + Default>(sql: &SqlStorage, name: &str) -> Result<T> {
    let found = rows(sql, "SELECT value FROM kept WHERE name = ?", vec![text(name)])?;
    Ok(found
        .first()
        .and_then(|row| row.text(0))
        .map(|text| serde_json::from_str(&text))
        .transpose()?
        .unwrap_or_default())
}

fn keep(sql: &SqlStorage, name: &str, value: &impl serde::Serialize) -> Result<()> {
    let value = serde_json::to_string(value)?;
    run(sql, "INSERT OR REPLACE INTO kept VALUES (?, ?)", vec![text(name), text(&value)])
}

/// What was said last, with the alerts as they are now.
fn health(sql: &SqlStorage) -> Result<Health> {
    let alerts: Alerts = kept(sql, "alerts")?;
    let said: Health = kept(sql, "health")?;
    Ok(Health { alerts: alerts.open(), notices_waiting: alerts.waiting() as u64, ..said })
}

impl Watch {
    async fn evaluate(&self, sql: &SqlStorage, gateway: &Gateway, observation: Observation) -> Result<()> {
        let now_ms = clock::now_ms();
        let mut said = Health { evaluated_at_ms: Some(now_ms), ..Health::default() };
        let mut before = kept::<Health>(sql, "health")?.sources;
        for source in &gateway.config.sources {
            let last_ms = observation.deliveries.get(&source.name).copied();
            let limit_ms = source.silence_after_s.map(|s| s.saturating_mul(1000));
            // The delivery that is missing may be known to the object that did not answer: what was said stands.
            let own = match before.remove(&source.name) {
                Some(own) if observation.incomplete => own,
                None if observation.incomplete => continue,
                _ => judge(sql, &source.name, now_ms, last_ms, limit_ms)?,
            };
            said.sources.insert(source.name.clone(), own);
        }
        let mut silent = None;
        if !observation.incomplete {
            forget_others(sql, &said)?;
            let quiet = said.sources.iter().filter(|(_, own)| own.activity == SilenceVerdict::Silent);
            silent = Some(quiet.map(|(source, _)| source.clone()).collect());
        }
        let conditions = Conditions { silent, ..observation.conditions };
        let mut alerts: Alerts = kept(sql, "alerts")?;
        let rules = AlertDestination::rules(gateway.config.alerts.as_ref());
        let notices = alerts.evaluate(now_ms, &conditions, rules);
        keep(sql, "alerts", &alerts)?;
        keep(sql, "health", &said)?;
        // Everything up to here is one transaction; only then the first wait.
        for notice in &notices {
            let subject = notice.subject.as_deref().unwrap_or_default();
            log::warn(
                "alert",
                &[("kind", notice.kind.as_str()), ("change", notice.event.as_str()), ("source", subject)],
            );
        }
        audit::append(&self.env, notices.iter().map(draft).collect()).await;
        if let Some(to) = &gateway.config.alerts {
            self.send_all(sql, gateway, to).await?;
        }
        counting::flush(&self.env).await;
        Ok(())
    }

    /// Sends what waits, as long as it is taken.
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
                    drafts.push(Draft { target_url, status_code, ..draft(&notice) });
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

fn judge(
    sql: &SqlStorage,
    source: &str,
    now_ms: u64,
    last_ms: Option<u64>,
    limit_ms: Option<u64>,
) -> Result<SourceHealth> {
    let found = rows(sql, "SELECT history FROM histories WHERE source = ?", vec![text(source)])?;
    let before = found.first().and_then(|row| row.text(0));
    let mut history: History = before.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default();
    let activity = history.evaluate(now_ms, last_ms, limit_ms);
    let after = serde_json::to_string(&history)?;
    if before.as_deref() != Some(after.as_str()) {
        run(sql, "INSERT OR REPLACE INTO histories VALUES (?, ?)", vec![text(source), text(&after)])?;
    }
    Ok(SourceHealth { activity, expected: history.expected(now_ms) })
}

/// Forgets sources that are not configured any more: one of the same name later is another.
fn forget_others(sql: &SqlStorage, said: &Health) -> Result<()> {
    for row in rows(sql, "SELECT source FROM histories", vec![])? {
        if let Some(source) = row.text(0).filter(|source| !said.sources.contains_key(source)) {
            run(sql, "DELETE FROM histories WHERE source = ?", vec![text(&source)])?;
        }
    }
    Ok(())
}

/// The audit entry of a notice.
fn draft(notice: &Notice) -> Draft {
    Draft {
        source: notice.subject.clone(),
        error: Some(format!("{} {}", notice.kind.as_str(), notice.event.as_str())),
        correlation_id: Some(notice.id.clone()),
        ..Draft::new(Action::Alert, "watch")
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
    let outgoing = Outgoing {
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
