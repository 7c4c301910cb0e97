//! `LIFECYCLE`: the one place that talks to the vendor's API.
//!
//! Promises:
//! - the access token is kept here, survives the object's eviction, and is refreshed early and once for any number of callers;
//! - one reconciliation at a time, bounded in time and requests;
//! - its report, what it remembers of the vendor's lag, and why a run was refused are stored before it is answered;
//! - every action is audited.
//!
//! Out of scope: single calls (`calls`), what is declared and refused (`gateway_core::lifecycle`), what the vendor's API means
//! (`genesys_client`).

mod calls;
mod counted;

use super::{SchemaStep, Tables, json};
use crate::config::{Gateway, gateway, secret};
use crate::platform::fetch::WorkerRuntime;
use crate::platform::sql::{rows, run, text};
use crate::platform::{clock, log};
use crate::receive::counting;
use counted::Counted;
use gateway_core::audit::{Action, Draft};
use gateway_core::lifecycle::{
    Answered, LifecycleCall, LifecycleRefusal, RUN_MS, RUN_REQUESTS, Refused, all_desired, last_runs_json,
    remembered_refusal, vendor_draft,
};
use gateway_core::metrics::counters::{Metric, labels};
use genesys_client::auth::{CachedToken, OAuthTokens};
use genesys_client::client::{Client, RunBudget};
use genesys_client::reconcile::{AuditEvent, ReconcileOptions, ReconcileReport, ReconcileState, reconcile};
use genesys_client::secret::Secret;
use genesys_client::subscription::Marks;
use serde::{Serialize, de::DeserializeOwned};
use std::cell::{Cell, OnceCell};
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

const SCHEMA: [SchemaStep; 1] = ["CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"];

/// How long a management call to the vendor may take, in milliseconds.
const CALL_MS: u64 = 60_000;

/// How many requests a management call may send: 30 pages of a list and some retries.
const CALL_REQUESTS: u32 = 100;

type VendorTokens = OAuthTokens<Counted, WorkerRuntime>;
type VendorClient<'a> = Client<Counted, WorkerRuntime, &'a VendorTokens>;
type Called<T = Answered> = std::result::Result<T, Refused>;

#[durable_object(fetch)]
pub struct Lifecycle {
    tables: Tables,
    env: Env,
    tokens: OnceCell<VendorTokens>,
    running_until_ms: Cell<u64>,
}

impl DurableObject for Lifecycle {
    fn new(state: State, env: Env) -> Self {
        Self { tables: Tables::set_up(&state, &SCHEMA), env, tokens: OnceCell::new(), running_until_ms: Cell::new(0) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let answer = async |call, _: &SqlStorage| {
            let answered = self.answer(call).await.unwrap_or_else(|Refused(answered)| *answered);
            self.keep_token();
            counting::flush(&self.env).await;
            json(&answered)
        };
        self.tables.serve(request, answer).await
    }
}

impl Lifecycle {
    async fn answer(&self, call: LifecycleCall) -> Called {
        if call == LifecycleCall::Last {
            let kept = ["report", "last_success_at_ms", "refused"].map(|name| self.kept_text(name));
            let [report, success, refused] = kept.each_ref().map(Option::as_deref);
            return Ok(Answered::ok(last_runs_json(report, success, refused)));
        }
        let gateway = gateway(&self.env);
        let configured =
            gateway.as_deref().map_err(|problems| LifecycleRefusal::BadConfiguration.with(&problems.as_ref()));
        let LifecycleCall::Reconcile { dry_run, actor } = call else {
            let gateway = configured?;
            return self.call(gateway, &self.client(gateway, CALL_MS, CALL_REQUESTS)?, call).await;
        };
        let answered = match configured {
            Ok(gateway) => self.reconcile(gateway, dry_run, &actor).await,
            Err(refused) => Err(refused),
        };
        if let (false, Err(Refused(refused))) = (dry_run, &answered)
            && let Some(refusal) = refused.refusal
        {
            let config = gateway.as_ref().ok().map(|gateway| &gateway.config);
            let news = remembered_refusal(refusal, config, self.kept("refused").as_ref(), clock::now_ms());
            if let Some(runs) = news {
                self.keep("refused", &to_text(&runs));
            }
        }
        answered
    }

    fn kept_text(&self, name: &str) -> Option<String> {
        let found = rows(self.tables.sql().ok()?, "SELECT value FROM kept WHERE name = ?", vec![text(name)]).ok()?;
        found.first()?.text(0)
    }

    fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&self.kept_text(name)?).ok()
    }

    fn keep(&self, name: &str, value: &str) {
        self.write("INSERT OR REPLACE INTO kept (name, value) VALUES (?, ?)", &[name, value]);
    }

    fn forget(&self, name: &str) {
        self.write("DELETE FROM kept WHERE name = ?", &[name]);
    }

    fn write(&self, statement: &str, values: &[&str]) {
        let parameters = values.iter().map(|value| text(value)).collect();
        if let Err(error) = self.tables.sql().and_then(|sql| run(sql, statement, parameters)) {
            let name = values.first().copied().unwrap_or_default();
            log::error("not_kept", &[("name", name), ("error", &error.to_string())]);
        }
    }

    /// Lets the next reconciliation know what a management call did, while the vendor's lists may not show it.
    fn remember(&self, event: impl FnOnce(&mut ReconcileState, u64)) {
        let mut memory: ReconcileState = self.kept("memory").unwrap_or_default();
        event(&mut memory, clock::now_ms());
        self.keep("memory", &to_text(&memory));
    }

    fn keep_token(&self) {
        if let Some(token) = self.tokens.get().and_then(OAuthTokens::export)
            && self.kept::<CachedToken>("token").as_ref() != Some(&token)
        {
            self.keep("token", &to_text(&token));
        }
    }

    fn tokens(&self, gateway: &Gateway) -> Called<&VendorTokens> {
        if let Some(tokens) = self.tokens.get() {
            return Ok(tokens);
        }
        let no_region = || LifecycleRefusal::NoRegion.with(&"region, or login_url and api_url");
        let endpoints = gateway.config.endpoints.as_ref().ok_or_else(no_region)?;
        let required = |name: &str| secret(&self.env, name).ok_or_else(|| LifecycleRefusal::MissingSecret.with(&name));
        let (id, client_secret) = (required("GENESYS_CLIENT_ID")?, required("GENESYS_CLIENT_SECRET")?);
        let tokens = OAuthTokens::new(Counted, WorkerRuntime, &endpoints.login_url, &id, Secret::new(client_secret));
        if let Some(token) = self.kept::<CachedToken>("token") {
            tokens.import(token);
        }
        Ok(self.tokens.get_or_init(|| tokens))
    }

    /// The vendor's client, which ends after `ms` or `max_requests`.
    fn client(&self, gateway: &Gateway, ms: u64, max_requests: u32) -> Called<VendorClient<'_>> {
        let tokens = self.tokens(gateway)?;
        let api_url = gateway.config.endpoints.as_ref().map_or("", |endpoints| endpoints.api_url.as_str());
        let budget = RunBudget { deadline_ms: clock::now_ms().saturating_add(ms), max_requests };
        Ok(Client::new(Counted, WorkerRuntime, tokens, api_url).with_budget(budget))
    }

    fn secret(&self) -> impl Fn(&str) -> Option<String> {
        |name| secret(&self.env, name)
    }

    fn marks(&self, gateway: &Gateway) -> Marks {
        let fingerprint_key = Secret::new(secret(&self.env, "GENESYS_CLIENT_SECRET").unwrap_or_default());
        Marks { owner: gateway.config.owner.clone(), fingerprint_key }
    }

    /// Does `work` while no other run or call changes subscriptions. Work that was cut off, because its caller went away, ends
    /// with its deadline, and its lease with it; one that ran out and was followed by another's changes nothing.
    async fn alone<T>(&self, ms: u64, work: impl Future<Output = T>) -> Called<T> {
        let now_ms = clock::now_ms();
        if self.running_until_ms.get() > now_ms {
            return Err(LifecycleRefusal::AlreadyRunning.answered());
        }
        let until_ms = now_ms.saturating_add(ms);
        self.running_until_ms.set(until_ms);
        let done = work.await;
        if self.running_until_ms.get() == until_ms {
            self.running_until_ms.set(0);
        }
        Ok(done)
    }

    async fn reconcile(&self, gateway: &Gateway, dry_run: bool, actor: &str) -> Called {
        let desired = all_desired(&gateway.config, self.secret())?;
        let client = self.client(gateway, RUN_MS, RUN_REQUESTS)?;
        let options = ReconcileOptions {
            marks: self.marks(gateway),
            prune: vec![],
            allow_private: gateway.config.allow_private_addresses,
            probe: true,
            dry_run,
        };
        let mut events: Vec<AuditEvent> = vec![];
        let run = async {
            let mut memory: ReconcileState = self.kept("memory").unwrap_or_default();
            let report = reconcile(&client, &desired, &options, &mut memory, &mut events).await;
            self.keep("memory", &to_text(&memory));
            report
        };
        let report = self.alone(RUN_MS, run).await?;
        let report_text = to_text(&report);
        if !dry_run {
            self.keep("report", &report_text);
            self.forget("refused");
            if report.failed == 0 {
                self.keep("last_success_at_ms", &report.started_at_ms.to_string());
            }
            count_changes(&report);
        }
        let mut drafts: Vec<Draft> = events.into_iter().map(|event| vendor_draft(event, actor)).collect();
        let failures = format!("{} of {} items failed", report.failed, report.items.len());
        let error = (report.failed > 0).then_some(failures);
        drafts.push(Draft { error, ..Draft::new(Action::Reconcile, actor) });
        crate::audit::append(&self.env, drafts).await;
        Ok(Answered::ok(report_text))
    }
}

/// The JSON text of what is stored or answered: structures of strings and numbers, whose serialization cannot fail.
fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Counts what a run changed, or should have: what stays as declared is no news, and there is a run every five minutes.
fn count_changes(report: &ReconcileReport) {
    for item in report.items.iter().filter(|item| item.action.is_change()) {
        let source = item.source.as_deref().unwrap_or_default();
        let label = labels(&name(&item.action), &name(&item.outcome));
        counting::add(Metric::ReconcileItem, source, &label, 1);
    }
}

/// The name that serde gives a variant.
fn name(variant: &impl Serialize) -> String {
    to_text(variant).trim_matches('"').to_owned()
}
