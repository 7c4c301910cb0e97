//! Management calls to the vendor, one by one.
//!
//! Promise: every call that changes something is audited with the vendor's correlation id, whether it succeeded or not.
//! Out of scope: what is refused before (`gateway_core::lifecycle`).

use super::{CALL_MS, Called, Counted, Lifecycle, VendorClient, VendorTokens, to_text};
use crate::config::Gateway;
use crate::platform::fetch::WorkerRuntime;
use gateway_core::audit::{Action, Draft};
use gateway_core::lifecycle::{
    Answered, LifecycleCall, answers, api_kind, desired, has_known_events, is_free, is_of_source, listed,
};
use genesys_client::error::Error;
use genesys_client::event_types::Catalogue;
use genesys_client::probe::Probe;
use genesys_client::subscription::{FieldChange, Marks, Subscription, Subscriptions};
use serde::Serialize;

type VendorSubscriptions<'a> = Subscriptions<'a, Counted, WorkerRuntime, &'a VendorTokens>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdatedSubscription<'a> {
    id: &'a str,
    changes: &'a [FieldChange],
    correlation_id: Option<&'a str>,
}

/// One call, with everything that it needs.
pub(super) struct VendorCall<'a> {
    object: &'a Lifecycle,
    gateway: &'a Gateway,
    client: &'a VendorClient<'a>,
    marks: Marks,
}

impl Lifecycle {
    pub(super) async fn call(&self, gateway: &Gateway, client: &VendorClient<'_>, call: LifecycleCall) -> Called {
        let vendor = VendorCall { object: self, gateway, client, marks: self.marks(gateway) };
        match call {
            LifecycleCall::EventTypes => {
                let types = client.event_types().await?;
                Ok(Answered::ok(format!(r#"{{"eventTypes":{}}}"#, to_text(&types))))
            }
            LifecycleCall::IpRanges => {
                let ranges = client.webhook_ip_ranges().await?;
                Ok(Answered::ok(format!(r#"{{"ipRanges":{}}}"#, to_text(&ranges))))
            }
            LifecycleCall::List { source } => vendor.list(source.as_deref()).await,
            LifecycleCall::Get { source, id } => {
                let found = vendor.subscriptions(&source)?.get(&id).await?;
                Ok(Answered { etag: found.etag.clone(), ..Answered::ok(to_text(&found)) })
            }
            LifecycleCall::Create { source } => self.alone(CALL_MS, vendor.create(&source)).await?,
            LifecycleCall::Update { source, id, if_match } => vendor.update(&source, &id, if_match.as_deref()).await,
            LifecycleCall::Delete { source, id } => self.alone(CALL_MS, vendor.delete(&source, &id)).await?,
            LifecycleCall::Probe { url } => Ok(Answered::ok(to_text(&vendor.probe(&url).await?))),
            // Answered before there is a client.
            LifecycleCall::Reconcile { .. } | LifecycleCall::Last => Ok(Answered::ok("null".into())),
        }
    }
}

impl VendorCall<'_> {
    fn subscriptions(&self, source: &str) -> Called<VendorSubscriptions<'_>> {
        Ok(Subscriptions::new(self.client, api_kind(&self.gateway.config, source)?.api(), &self.marks))
    }

    async fn list(&self, source: Option<&str>) -> Called {
        let (kinds, address) = listed(&self.gateway.config, source)?;
        let mut found: Vec<Subscription> = vec![];
        for kind in kinds {
            found.extend(Subscriptions::new(self.client, kind.api(), &self.marks).list().await?);
        }
        found.retain(|subscription| address.as_ref().is_none_or(|address| subscription.address == *address));
        Ok(Answered::ok(format!(r#"{{"subscriptions":{}}}"#, to_text(&found))))
    }

    async fn create(&self, source: &str) -> Called {
        let desired = desired(&self.gateway.config, source, self.object.secret())?;
        let api = self.subscriptions(source)?;
        let found = api.list().await?;
        is_free(&desired.name, found.iter().map(|found| (found.name.as_str(), found.id.as_str())))?;
        if !desired.event_filters.is_empty() {
            has_known_events(&desired, &Catalogue::new(&self.client.event_types().await?))?;
        }
        answers(&self.probe(&desired.address).await?)?;
        let made = api.create(&desired, &[]).await;
        let id = made.as_ref().ok().map(|made| made.subscription.id.clone());
        let draft =
            Draft { webhook_id: id, target_url: Some(desired.address.clone()), ..draft(Action::Create, source) };
        self.audit(draft, made.as_ref().map(|made| (made.status, made.correlation_id.clone()))).await;
        let made = made?;
        let id = &made.subscription.id;
        self.object.remember(|memory, now_ms| memory.created(desired.api, &desired.name, Some(id), now_ms));
        Ok(Answered { status: 201, ..Answered::ok(to_text(&made.subscription)) })
    }

    async fn update(&self, source: &str, id: &str, if_match: Option<&str>) -> Called {
        let desired = desired(&self.gateway.config, source, self.object.secret())?;
        let api = self.subscriptions(source)?;
        // What cannot be read is told by the call that follows.
        if let Ok(found) = api.get(id).await {
            is_of_source(&self.gateway.config, source, &found.name)?;
        }
        let done = api.update(id, &desired, if_match).await;
        let (webhook_id, target_url) = (Some(id.to_owned()), Some(desired.address.clone()));
        let draft = Draft { webhook_id, target_url, ..draft(Action::Update, source) };
        self.audit(draft, done.as_ref().map(|done| (done.status, done.correlation_id.clone()))).await;
        let done = done?;
        let correlation_id = done.correlation_id.as_deref();
        Ok(Answered::ok(to_text(&UpdatedSubscription { id, changes: &done.changes, correlation_id })))
    }

    async fn delete(&self, source: &str, id: &str) -> Called {
        let kind = api_kind(&self.gateway.config, source)?;
        let done = self.subscriptions(source)?.delete_owned(id).await;
        let draft = Draft { webhook_id: Some(id.into()), ..draft(Action::Delete, source) };
        self.audit(draft, done.as_ref().map(|done| (Some(done.status), done.correlation_id.clone()))).await;
        done?;
        self.object.remember(|memory, now_ms| memory.deleted(kind, "", id, now_ms));
        Ok(Answered { status: 204, ..Answered::ok(String::new()) })
    }

    async fn probe(&self, url: &str) -> Called<Probe> {
        let probe = self.client.probe(url, self.gateway.config.allow_private_addresses).await;
        let mut draft = Draft { target_url: Some(url.into()), ..Draft::new(Action::Probe, "admin") };
        match &probe {
            Ok(probe) => (draft.status_code, draft.error) = (probe.status, probe.error.clone()),
            Err(error) => draft.error = Some(error.code().into()),
        }
        crate::audit::append(&self.object.env, vec![draft]).await;
        Ok(probe?)
    }

    /// Records what was done, with what the vendor answered.
    async fn audit(&self, mut draft: Draft, outcome: Result<(Option<u16>, Option<String>), &Error>) {
        match outcome {
            Ok((status, correlation_id)) => (draft.status_code, draft.correlation_id) = (status, correlation_id),
            Err(error) => {
                draft.status_code = error.status();
                draft.error = Some(error.code().into());
                draft.correlation_id = error.correlation_id().map(Into::into);
            }
        }
        crate::audit::append(&self.object.env, vec![draft]).await;
    }
}

fn draft(action: Action, source: &str) -> Draft {
    Draft { source: Some(source.into()), ..Draft::new(action, "admin") }
}
