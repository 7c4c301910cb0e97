//! Carries out a plan, item by item, within the client's budget.
//!
//! Promises:
//! - Every item ends with an outcome, and an item that is not reached is `skipped`.
//! - An error that cannot get better within this run (no token, rate limit) ends the run, instead of failing every other
//!   item the same way.
//! - Subscriptions are read again before they are changed or deleted, so a plan may be old.
//!
//! Out of scope: what there is to do, see `plan`.

use super::audit::{AuditAction, AuditEvent};
use super::plan::{PlanItem, ReconcileOptions};
use super::report::{ItemError, ItemOutcome, PlanAction, ReportItem};
use super::state::ReconcileState;
use crate::auth::TokenSource;
use crate::client::Client;
use crate::error::{Error, ErrorFault, Exhausted};
use crate::subscription::{Desired, Provisioning, Subscriptions};
use crate::transport::{Runtime, Transport};
use std::collections::BTreeMap;

/// An item is not begun with fewer requests left. It may take two probes, a write, and a look after an unknown outcome.
const MIN_REQUESTS: u32 = 4;

/// Nor with less time left.
const MIN_TIME_MS: u64 = 1_000;

/// How one item ended.
struct End {
    outcome: ItemOutcome,
    id: Option<String>,
    error: Option<ItemError>,
    correlation_id: Option<String>,
}

impl End {
    fn of(outcome: ItemOutcome, correlation_id: Option<String>) -> Self {
        Self { outcome, id: None, error: None, correlation_id }
    }

    fn with_error(outcome: ItemOutcome, error: ItemError) -> Self {
        Self { error: Some(error), ..Self::of(outcome, None) }
    }
}

struct Applier<'a, T, R, A> {
    client: &'a Client<T, R, A>,
    options: &'a ReconcileOptions,
    state: &'a mut ReconcileState,
    audit: &'a mut Vec<AuditEvent>,
    /// Addresses that were probed in this run, each with why it did not answer.
    probed: BTreeMap<String, Option<String>>,
}

/// Applies a plan that was made from `desired` with the same `options`.
pub(super) async fn apply<T: Transport, R: Runtime, A: TokenSource>(
    client: &Client<T, R, A>,
    plan: Vec<PlanItem>,
    desired: &[Desired],
    options: &ReconcileOptions,
    state: &mut ReconcileState,
    audit: &mut Vec<AuditEvent>,
) -> Vec<ReportItem> {
    let mut applier = Applier { client, options, state, audit, probed: BTreeMap::new() };
    let mut halted: Option<ItemError> = None;
    let mut items = Vec::with_capacity(plan.len());
    for mut planned in plan {
        if planned.item.outcome == ItemOutcome::Planned {
            let before = client.requests_sent();
            let wanted = planned.declared.and_then(|index| desired.get(index));
            let end = match applier.out_of_budget().or_else(|| halted.clone()) {
                Some(error) => End::with_error(ItemOutcome::Skipped, error),
                None => applier.carry_out(&planned, wanted).await,
            };
            if end.outcome == ItemOutcome::Failed && end.error.as_ref().is_some_and(ends_the_run) {
                halted.clone_from(&end.error);
            }
            let item = &mut planned.item;
            item.attempts = client.requests_sent().saturating_sub(before);
            item.webhook_id = end.id.or(item.webhook_id.take());
            (item.outcome, item.error, item.correlation_id) = (end.outcome, end.error, end.correlation_id);
        } else if let Some(ItemError { status, message, .. }) = planned.item.error.clone() {
            let correlation_id = planned.item.correlation_id.clone();
            applier.record(&planned, AuditAction::Validate, status, Some(message), correlation_id);
        }
        items.push(planned.item);
    }
    items
}

/// Errors that the next item would meet as well.
fn ends_the_run(error: &ItemError) -> bool {
    error.code == "rate_limited"
        || error.code.starts_with("token_")
        || matches!(
            error.code.as_str(),
            "unauthorized" | "unknown_client" | "wrong_client_secret" | "wrong_grant_type" | "not_a_login_host"
        )
}

impl<T: Transport, R: Runtime, A: TokenSource> Applier<'_, T, R, A> {
    fn out_of_budget(&self) -> Option<ItemError> {
        let (requests, time_ms) = self.client.left();
        let error = if requests < MIN_REQUESTS {
            Error::Exhausted(Exhausted::Requests)
        } else if time_ms < MIN_TIME_MS {
            Error::Exhausted(Exhausted::Time)
        } else {
            return None;
        };
        Some((&error).into())
    }

    async fn carry_out(&mut self, planned: &PlanItem, wanted: Option<&Desired>) -> End {
        let result = match (planned.item.action, wanted, &planned.item.webhook_id) {
            (PlanAction::Create, Some(wanted), _) => self.create(planned, wanted).await,
            (PlanAction::Update | PlanAction::Adopt, Some(wanted), Some(id)) => self.update(planned, wanted, id).await,
            (PlanAction::Delete, _, Some(id)) => self.delete(planned, id).await,
            _ => {
                let error = Error::Invalid("the plan does not fit what was declared".to_owned());
                Err(End::with_error(ItemOutcome::Failed, (&error).into()))
            }
        };
        result.unwrap_or_else(|end| end)
    }

    async fn create(&mut self, planned: &PlanItem, wanted: &Desired) -> Result<End, End> {
        self.record(planned, AuditAction::Validate, None, None, None);
        self.probe(planned, wanted).await?;
        let subscriptions = Subscriptions::new(self.client, planned.item.api.api(), &self.options.marks);
        if let Some(failed) = &planned.item.webhook_id {
            self.delete(planned, failed).await?;
        }
        let mut ignore = self.state.deleted_ids(planned.item.api);
        ignore.extend(planned.item.webhook_id.clone());
        match subscriptions.create(wanted, &ignore).await {
            Ok(created) => {
                let id = created.subscription.id.clone();
                self.state.created(planned.item.api, &planned.item.name, Some(&id), self.client.runtime.now_ms());
                let (outcome, error) = match created.subscription.provisioning {
                    Provisioning::Ready => (ItemOutcome::Applied, None),
                    Provisioning::Pending => (ItemOutcome::Pending, None),
                    Provisioning::Failed(reason) => {
                        let reason = wanted.secret.redact(&reason);
                        let message =
                            format!("the vendor could not complete the create: {reason}; the next run creates it anew");
                        (ItemOutcome::Failed, Some(ItemError::new("create_failed", ErrorFault::Vendor, message)))
                    }
                };
                self.audit.push(AuditEvent {
                    webhook_id: Some(id.clone()),
                    status_code: created.status,
                    error: error.as_ref().map(|error| error.message.clone()),
                    correlation_id: created.correlation_id.clone(),
                    ..event_of(planned, AuditAction::Create)
                });
                Ok(End { outcome, id: Some(id), error, correlation_id: created.correlation_id })
            }
            Err(error) => {
                if matches!(error, Error::Uncertain { .. }) {
                    self.state.created(planned.item.api, &planned.item.name, None, self.client.runtime.now_ms());
                }
                Err(self.failed(planned, AuditAction::Create, &error))
            }
        }
    }

    async fn update(&mut self, planned: &PlanItem, wanted: &Desired, id: &str) -> Result<End, End> {
        if planned.item.diff.iter().any(|change| change.field == "event_filters") {
            self.record(planned, AuditAction::Validate, None, None, None);
        }
        if planned.item.diff.iter().any(|change| change.field == "address") {
            self.probe(planned, wanted).await?;
        }
        let subscriptions = Subscriptions::new(self.client, planned.item.api.api(), &self.options.marks);
        match subscriptions.update(id, wanted, None).await {
            Ok(updated) if updated.changes.is_empty() => Ok(End::of(ItemOutcome::Unchanged, None)),
            Ok(updated) => {
                self.record(planned, AuditAction::Update, updated.status, None, updated.correlation_id.clone());
                Ok(End::of(ItemOutcome::Applied, updated.correlation_id))
            }
            Err(error) => Err(self.failed(planned, AuditAction::Update, &error)),
        }
    }

    async fn delete(&mut self, planned: &PlanItem, id: &str) -> Result<End, End> {
        let subscriptions = Subscriptions::new(self.client, planned.item.api.api(), &self.options.marks);
        match subscriptions.delete_owned(id).await {
            Ok(deleted) => {
                self.state.deleted(planned.item.api, &planned.item.name, id, self.client.runtime.now_ms());
                self.record(planned, AuditAction::Delete, Some(deleted.status), None, deleted.correlation_id.clone());
                Ok(End::of(ItemOutcome::Applied, deleted.correlation_id))
            }
            Err(error) => Err(self.failed(planned, AuditAction::Delete, &error)),
        }
    }

    /// Asks an address once a run whether it answers.
    async fn probe(&mut self, planned: &PlanItem, wanted: &Desired) -> Result<(), End> {
        if !self.options.probe {
            return Ok(());
        }
        let problem = match self.probed.get(&wanted.address) {
            Some(known) => known.clone(),
            None => match self.client.probe(&wanted.address, self.options.allow_private).await {
                Ok(probe) => {
                    self.record(planned, AuditAction::Probe, probe.status, probe.error.clone(), None);
                    self.probed.insert(wanted.address.clone(), probe.error.clone());
                    probe.error
                }
                Err(error) => return Err(self.failed(planned, AuditAction::Probe, &error)),
            },
        };
        problem.map_or(Ok(()), |problem| {
            let message = format!("{} cannot be reached: {problem}", wanted.address);
            let error = ItemError::new("unreachable_address", ErrorFault::Configuration, message);
            Err(End::with_error(ItemOutcome::Failed, error))
        })
    }

    /// The end of an item that met an error. It is audited, unless the budget was used up and nothing was done.
    fn failed(&mut self, planned: &PlanItem, action: AuditAction, error: &Error) -> End {
        let correlation_id = error.correlation_id().map(str::to_owned);
        let outcome = if matches!(error, Error::Exhausted(_)) {
            ItemOutcome::Skipped
        } else {
            self.record(planned, action, error.status(), Some(error.to_string()), correlation_id.clone());
            ItemOutcome::Failed
        };
        End { outcome, id: None, error: Some(error.into()), correlation_id }
    }

    fn record(
        &mut self,
        planned: &PlanItem,
        action: AuditAction,
        status_code: Option<u16>,
        error: Option<String>,
        correlation_id: Option<String>,
    ) {
        self.audit.push(AuditEvent { status_code, error, correlation_id, ..event_of(planned, action) });
    }
}

fn event_of(planned: &PlanItem, action: AuditAction) -> AuditEvent {
    AuditEvent {
        action,
        source: planned.item.source.clone(),
        webhook_id: planned.item.webhook_id.clone(),
        target_url: Some(planned.address.clone()),
        status_code: None,
        error: None,
        correlation_id: None,
    }
}
