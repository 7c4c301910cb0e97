//! `LIFECYCLE`: the one place that talks to the vendor's API.
//!
//! Promises: the access token is kept here (and survives the object's eviction), refreshed early and once for any number
//! of callers; one reconciliation at a time, bounded in time and requests; its report and what it remembers of the vendor's
//! lag are stored before it is answered, and so is why a run was refused; every action is audited. Out of scope: single calls (`calls`), what the vendor's
//! API means (`genesys_client`).

mod calls;
mod counted;

use super::{Step, Tables};
use crate::config::{Gateway, gateway, secret};
use crate::platform::fetch::Surroundings;
use crate::platform::sql::{rows, run, text};
use crate::platform::{clock, log, objects};
use counted::Counted;
use gateway_core::audit::{Action, Draft};
use gateway_core::lifecycle::{Answered, LifecycleCall, RUN_MS, RUN_REQUESTS};
use gateway_core::metrics::RefusedRuns;
use gateway_core::metrics::counters::{Metric, labels};
use genesys_client::auth::{CachedToken, OAuthTokens};
use genesys_client::client::{Client, RunBudget};
use genesys_client::reconcile::{
    AuditAction, AuditEvent, ReconcileOptions, ReconcileReport, ReconcileState, reconcile,
};
use genesys_client::secret::Secret;
use genesys_client::subscription::{ApiKind, Desired, EventFilter, Marks};
use genesys_webhook::profile::Profile;
use serde::{Serialize, de::DeserializeOwned};
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

const SCHEMA: [Step; 1] = ["CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"];

/// How long a management call to the vendor may take, in milliseconds.
const CALL_MS: u64 = 60_000;

/// How many requests a management call may send: 30 pages of a list and some retries.
const CALL_REQUESTS: u32 = 100;

type Tokens = OAuthTokens<Counted, Surroundings>;
type Vendor<'a> = Client<Counted, Surroundings, &'a Tokens>;

/// The lifecycle object.
#[durable_object(fetch)]
pub struct Lifecycle {
    tables: Tables,
    env: Env,
    tokens: OnceCell<Tokens>,
    running_until_ms: Cell<u64>,
}

/// An answer that is an error; boxed, because answers are large and errors rare.
type Refusal = Box<Answered>;

impl DurableObject for Lifecycle {
    fn new(state: State, env: Env) -> Self {
        Self { tables: Tables::set_up(&state, &SCHEMA), env, tokens: OnceCell::new(), running_until_ms: Cell::new(0) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        objects::serve(request, async |call: LifecycleCall| -> Result<String> {
            self.tables.sql()?;
            let answered = self.answer(call).await.unwrap_or_else(|refusal| *refusal);
            self.keep_token();
            crate::receive::counting::flush(&self.env).await;
            objects::json(&answered)
        })
        .await
    }
}

impl Lifecycle {
    async fn answer(&self, call: LifecycleCall) -> std::result::Result<Answered, Refusal> {
        if call == LifecycleCall::Last {
            let report = self.kept_text("report").unwrap_or_else(|| "null".into());
            let also = |name: &str, key: &str| self.kept_text(name).map(|kept| format!(r#","{key}":{kept}"#));
            let (success, refused) = (also("last_success_at_ms", "lastSuccessAtMs"), also("refused", "refused"));
            let (success, refused) = (success.unwrap_or_default(), refused.unwrap_or_default());
            return Ok(Answered::ok(format!(r#"{{"report":{report}{success}{refused}}}"#)));
        }
        let gateway = gateway(&self.env).map_err(|problems| {
            Refusal::from(Answered::error(
                503,
                "The configuration is not valid",
                "bad_configuration",
                Some(problems.as_ref()),
            ))
        });
        if let LifecycleCall::Reconcile { dry_run, actor } = call {
            let answered = match &gateway {
                Ok(gateway) => self.reconcile(gateway, dry_run, &actor).await,
                Err(refusal) => Err(refusal.clone()),
            };
            if let (false, Err(refusal)) = (dry_run, &answered) {
                self.keep_refusal(gateway.ok().as_deref(), refusal);
            }
            return answered;
        }
        let gateway = gateway?;
        let client = self.client(&gateway)?.with_budget(RunBudget {
            deadline_ms: clock::now_ms().saturating_add(CALL_MS),
            max_requests: CALL_REQUESTS,
        });
        self.call(&gateway, &client, call).await
    }

    fn kept_text(&self, name: &str) -> Option<String> {
        let found = rows(self.tables.sql().ok()?, "SELECT value FROM kept WHERE name = ?", vec![text(name)]).ok()?;
        found.first()?.text(0)
    }

    fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&self.kept_text(name)?).ok()
    }

    fn keep(&self, name: &str, value: &str) {
        let kept = self
            .tables
            .sql()
            .and_then(|sql| run(sql, "INSERT OR REPLACE INTO kept VALUES (?, ?)", vec![text(name), text(value)]));
        if let Err(error) = kept {
            log::error("not_kept", &[("name", name), ("error", &error.to_string())]);
        }
    }

    fn forget(&self, name: &str) {
        let gone = self.tables.sql().and_then(|sql| run(sql, "DELETE FROM kept WHERE name = ?", vec![text(name)]));
        if let Err(error) = gone {
            log::error("not_forgotten", &[("name", name), ("error", &error.to_string())]);
        }
    }

    /// Remembers that runs are refused, until one is not: what the last report says is no longer looked after.
    fn keep_refusal(&self, gateway: Option<&Gateway>, refusal: &Answered) {
        let Some(code) = refusal.code.as_deref() else { return };
        let declares = |gateway: &Gateway| gateway.config.sources.iter().any(|source| source.subscription.is_some());
        // Another run is at it; or there is nothing to look after.
        if code == "already_running" || gateway.is_some_and(|gateway| !declares(gateway)) {
            return;
        }
        if self.kept::<RefusedRuns>("refused").is_none_or(|known| known.code != code) {
            let since_ms = clock::now_ms();
            self.keep("refused", &to_text(&RefusedRuns { since_ms, code: code.into() }));
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

    fn tokens(&self, gateway: &Gateway) -> std::result::Result<&Tokens, Refusal> {
        if let Some(tokens) = self.tokens.get() {
            return Ok(tokens);
        }
        let endpoints = gateway.config.endpoints.as_ref().ok_or_else(|| {
            refusal(409, "No region is configured", "no_region", Some("region, or login_url and api_url"))
        })?;
        let required = |name: &str| {
            secret(&self.env, name)
                .ok_or_else(|| refusal(503, "A Worker secret is not set", "missing_secret", Some(name)))
        };
        let (id, client_secret) = (required("GENESYS_CLIENT_ID")?, required("GENESYS_CLIENT_SECRET")?);
        let tokens = OAuthTokens::new(Counted, Surroundings, &endpoints.login_url, &id, Secret::new(client_secret));
        if let Some(token) = self.kept::<CachedToken>("token") {
            tokens.import(token);
        }
        Ok(self.tokens.get_or_init(|| tokens))
    }

    fn client(&self, gateway: &Gateway) -> std::result::Result<Vendor<'_>, Refusal> {
        let tokens = self.tokens(gateway)?;
        let api_url = gateway.config.endpoints.as_ref().map_or("", |endpoints| endpoints.api_url.as_str());
        Ok(Client::new(Counted, Surroundings, tokens, api_url))
    }

    fn marks(&self, gateway: &Gateway) -> Marks {
        let fingerprint_key = Secret::new(secret(&self.env, "GENESYS_CLIENT_SECRET").unwrap_or_default());
        Marks { owner: gateway.config.owner.clone(), fingerprint_key }
    }

    /// Whoever changes subscriptions does it alone: a run, or one call. The object lives as long as the work does, and work
    /// that was cut off without a word (its caller went away) ends with its deadline, and its lease with it.
    fn lease(&self, ms: u64) -> std::result::Result<u64, Refusal> {
        let now_ms = clock::now_ms();
        if self.running_until_ms.get() > now_ms {
            return Err(refusal(409, "Subscriptions are being changed", "already_running", None).into());
        }
        let until_ms = now_ms.saturating_add(ms);
        self.running_until_ms.set(until_ms);
        Ok(until_ms)
    }

    /// Ends a lease; one that ran out and was followed by another's changes nothing.
    fn release(&self, until_ms: u64) {
        if self.running_until_ms.get() == until_ms {
            self.running_until_ms.set(0);
        }
    }

    async fn reconcile(
        &self,
        gateway: &Rc<Gateway>,
        dry_run: bool,
        actor: &str,
    ) -> std::result::Result<Answered, Refusal> {
        let desired = self.all_desired(gateway)?;
        let deadline_ms = clock::now_ms().saturating_add(RUN_MS);
        let client = self.client(gateway)?.with_budget(RunBudget { deadline_ms, max_requests: RUN_REQUESTS });
        let options = ReconcileOptions {
            marks: self.marks(gateway),
            prune: vec![],
            allow_private: gateway.config.allow_private_addresses,
            probe: true,
            dry_run,
        };
        let lease = self.lease(RUN_MS)?;
        let mut memory: ReconcileState = self.kept("memory").unwrap_or_default();
        let mut events: Vec<AuditEvent> = vec![];
        let report = reconcile(&client, &desired, &options, &mut memory, &mut events).await;
        self.keep("memory", &to_text(&memory));
        self.release(lease);
        let report_text = to_text(&report);
        if !dry_run {
            self.keep("report", &report_text);
            self.forget("refused");
            if report.failed == 0 {
                self.keep("last_success_at_ms", &report.started_at_ms.to_string());
            }
            count_changes(&report);
        }
        let mut drafts: Vec<Draft> = events.into_iter().map(|event| draft(event, actor)).collect();
        drafts.push(Draft { error: failures(&report), ..Draft::new(Action::Reconcile, actor) });
        crate::audit::append(&self.env, drafts).await;
        Ok(Answered::ok(report_text))
    }

    /// What all sources declare. A source without its secret stops the run: a subscription that seems undeclared might be pruned.
    fn all_desired(&self, gateway: &Gateway) -> std::result::Result<Vec<Desired>, Refusal> {
        let declaring = gateway.config.sources.iter().filter(|source| source.subscription.is_some());
        declaring.map(|source| self.desired(gateway, &source.name)).collect()
    }

    fn desired(&self, gateway: &Gateway, source: &str) -> std::result::Result<Desired, Refusal> {
        let unknown = || refusal(404, "Unknown source", "unknown_source", None);
        let source = gateway.config.source(source).ok_or_else(unknown)?;
        let declared = source.subscription.as_ref().ok_or_else(|| {
            refusal(409, "The source declares no subscription", "no_subscription", Some(&source.name))
        })?;
        let current = source.secrets.first().map(|secret| secret.name.as_str()).unwrap_or_default();
        let signing = secret(&self.env, current)
            .ok_or_else(|| refusal(503, "A Worker secret is not set", "missing_secret", Some(current)))?;
        let public_url = gateway.config.public_url.as_deref().unwrap_or_default();
        let filters = declared
            .event_types
            .iter()
            .map(|name| EventFilter { event_type: name.clone(), filter: declared.filter.clone() });
        Ok(Desired {
            source: source.name.clone(),
            api: api_kind(source.profile).ok_or_else(|| {
                refusal(409, "The source's profile has no subscription API", "no_subscription_api", None)
            })?,
            name: declared.name.clone(),
            address: format!("{public_url}/webhook/{}", source.name),
            enabled: declared.enabled,
            event_filters: filters.collect(),
            secret: Secret::new(signing),
            adopt: declared.adopt,
            prune: declared.prune,
        })
    }
}

fn api_kind(profile: Profile) -> Option<ApiKind> {
    match profile {
        Profile::Webhooks => Some(ApiKind::Webhooks),
        Profile::OpenMessaging => Some(ApiKind::OpenMessaging),
        Profile::StandardWebhooks | Profile::Custom => None,
    }
}

fn refusal(status: u16, error: &str, code: &str, detail: Option<&str>) -> Answered {
    Answered::error(status, error, code, detail.as_ref())
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
        crate::receive::counting::add(Metric::ReconcileItem, source, &label, 1);
    }
}

/// The name that serde gives a variant.
fn name(variant: &impl Serialize) -> String {
    to_text(variant).trim_matches('"').to_owned()
}

fn failures(report: &ReconcileReport) -> Option<String> {
    (report.failed > 0).then(|| format!("{} of {} items failed", report.failed, report.items.len()))
}

fn draft(event: AuditEvent, actor: &str) -> Draft {
    let action = match event.action {
        AuditAction::Create => Action::Create,
        AuditAction::Update => Action::Update,
        AuditAction::Delete => Action::Delete,
        AuditAction::Validate => Action::Validate,
        AuditAction::Probe => Action::Probe,
    };
    Draft {
        source: event.source,
        webhook_id: event.webhook_id,
        target_url: event.target_url,
        status_code: event.status_code,
        error: event.error,
        correlation_id: event.correlation_id,
        ..Draft::new(action, actor)
    }
}
