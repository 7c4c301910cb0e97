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
use super::state::{ChangeKind, ReconcileState};
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

/// An item did not succeed. It holds its error.
struct ItemFailed;

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
            if let Some(error) = applier.out_of_budget().or_else(|| halted.clone()) {
                (planned.item.outcome, planned.item.error) = (ItemOutcome::Skipped, Some(error));
            } else {
                let before = client.requests_sent();
                let wanted = planned.declared.and_then(|index| desired.get(index));
                // What went wrong is in the item.
                let _ = applier.carry_out(&mut planned, wanted).await;
                planned.item.attempts = client.requests_sent().saturating_sub(before);
                if planned.item.outcome == ItemOutcome::Failed {
                    halted = planned.item.error.clone().filter(ends_the_run);
                }
            }
        } else if let Some(error) = &planned.item.error {
            applier.record(&planned, AuditAction::Validate, error.status);
        }
        items.push(planned.item);
    }
    items
}

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

    async fn carry_out(&mut self, planned: &mut PlanItem, wanted: Option<&Desired>) -> Result<(), ItemFailed> {
        let id = planned.item.webhook_id.clone();
        match (planned.item.action, wanted, id) {
            (PlanAction::Create, Some(wanted), failed) => self.create(planned, wanted, failed).await,
            (PlanAction::Update | PlanAction::Adopt, Some(wanted), Some(id)) => self.update(planned, wanted, &id).await,
            (PlanAction::Delete, _, Some(id)) => self.delete(planned, &id).await,
            _ => {
                planned.item.fail_with(&Error::Invalid("the plan does not fit what was declared".to_owned()));
                Err(ItemFailed)
            }
        }
    }

    /// `failed` is the id of one that the vendor failed to complete.
    async fn create(
        &mut self,
        planned: &mut PlanItem,
        wanted: &Desired,
        failed: Option<String>,
    ) -> Result<(), ItemFailed> {
        self.record(planned, AuditAction::Validate, None);
        self.probe(planned, wanted).await?;
        if let Some(failed) = &failed {
            self.delete(planned, failed).await?;
        }
        let api = planned.item.api;
        let mut ignore = self.state.ids(ChangeKind::Deleted, api);
        ignore.extend(failed);
        match Subscriptions::new(self.client, api.api(), &self.options.marks).create(wanted, &ignore).await {
            Ok(created) => {
                self.state.created(
                    api,
                    &planned.item.name,
                    Some(&created.subscription.id),
                    self.client.runtime.now_ms(),
                );
                let item = &mut planned.item;
                item.webhook_id = Some(created.subscription.id);
                item.correlation_id = created.correlation_id;
                match created.subscription.provisioning {
                    Provisioning::Ready => item.outcome = ItemOutcome::Applied,
                    Provisioning::Pending => item.outcome = ItemOutcome::Pending,
                    Provisioning::Failed(reason) => {
                        let reason = wanted.secret.redact(&reason);
                        let message =
                            format!("the vendor could not complete the create: {reason}; the next run creates it anew");
                        item.fail(ItemError::new("create_failed", ErrorFault::Vendor, message));
                    }
                }
                self.record(planned, AuditAction::Create, created.status);
                Ok(())
            }
            Err(error) => {
                if matches!(error, Error::Uncertain(_)) {
                    self.state.created(api, &planned.item.name, None, self.client.runtime.now_ms());
                }
                Err(self.failed(planned, AuditAction::Create, &error))
            }
        }
    }

    async fn update(&mut self, planned: &mut PlanItem, wanted: &Desired, id: &str) -> Result<(), ItemFailed> {
        if planned.item.diff.iter().any(|change| change.field == "event_filters") {
            self.record(planned, AuditAction::Validate, None);
        }
        if planned.item.diff.iter().any(|change| change.field == "address") {
            self.probe(planned, wanted).await?;
        }
        let subscriptions = Subscriptions::new(self.client, planned.item.api.api(), &self.options.marks);
        match subscriptions.update(id, wanted, None).await {
            Ok(updated) if updated.changes.is_empty() => planned.item.outcome = ItemOutcome::Unchanged,
            Ok(updated) => {
                (planned.item.outcome, planned.item.correlation_id) = (ItemOutcome::Applied, updated.correlation_id);
                self.record(planned, AuditAction::Update, updated.status);
            }
            Err(error) => return Err(self.failed(planned, AuditAction::Update, &error)),
        }
        Ok(())
    }

    async fn delete(&mut self, planned: &mut PlanItem, id: &str) -> Result<(), ItemFailed> {
        let subscriptions = Subscriptions::new(self.client, planned.item.api.api(), &self.options.marks);
        match subscriptions.delete_owned(id).await {
            Ok(deleted) => {
                self.state.deleted(planned.item.api, &planned.item.name, id, self.client.runtime.now_ms());
                (planned.item.outcome, planned.item.correlation_id) = (ItemOutcome::Applied, deleted.correlation_id);
                self.record(planned, AuditAction::Delete, Some(deleted.status));
                Ok(())
            }
            Err(error) => Err(self.failed(planned, AuditAction::Delete, &error)),
        }
    }

    /// Asks an address once a run whether it answers.
    async fn probe(&mut self, planned: &mut PlanItem, wanted: &Desired) -> Result<(), ItemFailed> {
        if !self.options.probe {
            return Ok(());
        }
        let problem = match self.probed.get(&wanted.address) {
            Some(known) => known.clone(),
            None => match self.client.probe(&wanted.address, self.options.allow_private).await {
                Ok(probe) => {
                    let event = event_of(planned, AuditAction::Probe, probe.status);
                    self.audit.push(AuditEvent { error: probe.error.clone(), ..event });
                    self.probed.insert(wanted.address.clone(), probe.error.clone());
                    probe.error
                }
                Err(error) => return Err(self.failed(planned, AuditAction::Probe, &error)),
            },
        };
        let Some(problem) = problem else { return Ok(()) };
        let message = format!("{} cannot be reached: {problem}", wanted.address);
        planned.item.fail(ItemError::new("unreachable_address", ErrorFault::Configuration, message));
        Err(ItemFailed)
    }

    /// Ends an item with an error. It is audited, unless the budget was used up and nothing was done.
    fn failed(&mut self, planned: &mut PlanItem, action: AuditAction, error: &Error) -> ItemFailed {
        planned.item.fail_with(error);
        if !matches!(error, Error::Exhausted(_)) {
            self.record(planned, action, error.status());
        }
        ItemFailed
    }

    fn record(&mut self, planned: &PlanItem, action: AuditAction, status_code: Option<u16>) {
        self.audit.push(event_of(planned, action, status_code));
    }
}

/// An event with the error and the correlation id that the item has by now.
fn event_of(PlanItem { item, address, .. }: &PlanItem, action: AuditAction, status_code: Option<u16>) -> AuditEvent {
    AuditEvent {
        action,
        source: item.source.clone(),
        webhook_id: item.webhook_id.clone(),
        target_url: Some(address.clone()),
        status_code,
        error: item.error.as_ref().map(|error| error.message.clone()),
        correlation_id: item.correlation_id.clone(),
    }
}
