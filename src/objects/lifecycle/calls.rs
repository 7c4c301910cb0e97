//! Management calls to the vendor, one by one.
//!
//! Promise: every call that changes something is audited with the vendor's correlation id, whether it succeeded or not.

use super::{CALL_MS, Lifecycle, Refusal, Vendor, api_kind, refusal, to_text};
use crate::config::Gateway;
use gateway_core::audit::{Action, Draft};
use gateway_core::config::Source;
use gateway_core::lifecycle::{Answered, LifecycleCall};
use genesys_client::error::{Error, ErrorFault};
use genesys_client::event_types::Catalogue;
use genesys_client::probe::Probe;
use genesys_client::subscription::{ApiKind, FieldChange, Marks, Subscription, Subscriptions};
use serde::Serialize;

type Called = Result<Answered, Refusal>;
type Api<'a> = Subscriptions<'a, super::Counted, crate::platform::fetch::WorkerRuntime, &'a super::Tokens>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated<'a> {
    id: &'a str,
    changes: &'a [FieldChange],
    correlation_id: Option<&'a str>,
}

/// What the vendor said, as the management API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VendorDetail {
    message: String,
    fault: ErrorFault,
    status: Option<u16>,
    correlation_id: Option<String>,
}

/// An event type that the catalogue does not have.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unknown<'a> {
    event_type: &'a str,
    near: Vec<String>,
}

/// A management action that is audited.
struct Event<'a> {
    action: Action,
    source: &'a str,
    id: Option<&'a str>,
    target: Option<&'a str>,
}

fn api<'a>(gateway: &Gateway, client: &'a Vendor<'a>, marks: &'a Marks, source: &str) -> Result<Api<'a>, Refusal> {
    Ok(Subscriptions::new(client, kind(gateway, source)?.api(), marks))
}

fn kind(gateway: &Gateway, source: &str) -> Result<ApiKind, Refusal> {
    let source = gateway.config.source(source).ok_or_else(|| refusal(404, "Unknown source", "unknown_source", None))?;
    let none = || refusal(409, "The source's profile has no subscription API", "no_subscription_api", None);
    Ok(api_kind(source.profile).ok_or_else(none)?)
}

impl Lifecycle {
    pub(super) async fn call(&self, gateway: &Gateway, client: &Vendor<'_>, call: LifecycleCall) -> Called {
        let marks = self.marks(gateway);
        match call {
            LifecycleCall::Reconcile { .. } | LifecycleCall::Last => {
                Err(refusal(500, "Internal error", "misrouted", None).into())
            }
            LifecycleCall::EventTypes => {
                let types = client.event_types().await.map_err(|error| vendor_error(&error))?;
                Ok(Answered::ok(format!(r#"{{"eventTypes":{}}}"#, to_text(&types))))
            }
            LifecycleCall::IpRanges => {
                let ranges = client.webhook_ip_ranges().await.map_err(|error| vendor_error(&error))?;
                Ok(Answered::ok(format!(r#"{{"ipRanges":{}}}"#, to_text(&ranges))))
            }
            LifecycleCall::List { source } => list(gateway, client, &marks, source.as_deref()).await,
            LifecycleCall::Get { source, id } => {
                let found =
                    api(gateway, client, &marks, &source)?.get(&id).await.map_err(|error| vendor_error(&error))?;
                Ok(Answered { etag: found.etag.clone(), ..Answered::ok(to_text(&found)) })
            }
            LifecycleCall::Create { source } => {
                let lease = self.lease(CALL_MS)?;
                let created = self.create(gateway, client, &marks, &source).await;
                self.release(lease);
                created
            }
            LifecycleCall::Update { source, id, if_match } => {
                let desired = self.desired(gateway, &source)?;
                let api = api(gateway, client, &marks, &source)?;
                belongs(gateway, &api, &source, &id).await?;
                let done = api.update(&id, &desired, if_match.as_deref()).await;
                let event =
                    Event { action: Action::Update, source: &source, id: Some(&id), target: Some(&desired.address) };
                self.audited(event, done.as_ref().map(|done| (done.status, done.correlation_id.clone()))).await;
                let done = done.map_err(|error| vendor_error(&error))?;
                let correlation_id = done.correlation_id.as_deref();
                Ok(Answered::ok(to_text(&Updated { id: &id, changes: &done.changes, correlation_id })))
            }
            LifecycleCall::Delete { source, id } => {
                let lease = self.lease(CALL_MS)?;
                let done = self.delete(gateway, client, &marks, (&source, &id)).await;
                self.release(lease);
                done
            }
            LifecycleCall::Probe { url } => self.probe(gateway, client, url).await,
        }
    }

    async fn delete(
        &self,
        gateway: &Gateway,
        client: &Vendor<'_>,
        marks: &Marks,
        (source, id): (&str, &str),
    ) -> Called {
        let api = api(gateway, client, marks, source)?;
        belongs(gateway, &api, source, id).await?;
        let done = api.delete_owned(id).await;
        let event = Event { action: Action::Delete, source, id: Some(id), target: None };
        self.audited(event, done.as_ref().map(|done| (Some(done.status), done.correlation_id.clone()))).await;
        done.map_err(|error| vendor_error(&error))?;
        let kind = kind(gateway, source)?;
        self.remember(|memory, now_ms| memory.deleted(kind, "", id, now_ms));
        Ok(Answered { status: 204, ..Answered::ok(String::new()) })
    }

    /// What a run checks before it creates is checked here too: the name is free, the event types exist, the address answers.
    async fn create(&self, gateway: &Gateway, client: &Vendor<'_>, marks: &Marks, source: &str) -> Called {
        let desired = self.desired(gateway, source)?;
        let api = api(gateway, client, marks, source)?;
        let mut named = api.list().await.map_err(|error| vendor_error(&error))?;
        named.retain(|found| found.name == desired.name);
        if let Some(found) = named.first() {
            return Err(refusal(409, "A subscription of that name exists", "exists", Some(&found.id)).into());
        }
        if !desired.event_filters.is_empty() {
            let catalogue = Catalogue::new(&client.event_types().await.map_err(|error| vendor_error(&error))?);
            let unknown: Vec<Unknown> = desired
                .event_filters
                .iter()
                .filter(|wanted| !catalogue.contains(&wanted.event_type))
                .map(|wanted| Unknown { event_type: &wanted.event_type, near: catalogue.near(&wanted.event_type) })
                .collect();
            if !unknown.is_empty() {
                return Err(Answered::error(400, "Unknown event types", "unknown_event_type", Some(&unknown)).into());
            }
        }
        let probe = self.probed(gateway, client, &desired.address).await?;
        if !probe.reachable {
            return Err(Answered::error(409, "The address does not answer", "unreachable_address", Some(&probe)).into());
        }
        let made = api.create(&desired, &[]).await;
        let id = made.as_ref().ok().map(|made| made.subscription.id.as_str());
        let event = Event { action: Action::Create, source, id, target: Some(&desired.address) };
        self.audited(event, made.as_ref().map(|made| (made.status, made.correlation_id.clone()))).await;
        let made = made.map_err(|error| vendor_error(&error))?;
        self.remember(|memory, now_ms| memory.created(desired.api, &desired.name, Some(&made.subscription.id), now_ms));
        Ok(Answered { status: 201, ..Answered::ok(to_text(&made.subscription)) })
    }

    async fn probe(&self, gateway: &Gateway, client: &Vendor<'_>, url: String) -> Called {
        Ok(Answered::ok(to_text(&self.probed(gateway, client, &url).await?)))
    }

    async fn probed(&self, gateway: &Gateway, client: &Vendor<'_>, url: &str) -> Result<Probe, Refusal> {
        let probe = client.probe(url, gateway.config.allow_private_addresses).await;
        let mut draft = Draft { target_url: Some(url.into()), ..Draft::new(Action::Probe, "admin") };
        match &probe {
            Ok(probe) => (draft.status_code, draft.error) = (probe.status, probe.error.clone()),
            Err(error) => draft.error = Some(error.code().into()),
        }
        crate::audit::append(&self.env, vec![draft]).await;
        Ok(probe.map_err(|error| vendor_error(&error))?)
    }

    async fn audited(&self, event: Event<'_>, outcome: Result<(Option<u16>, Option<String>), &Error>) {
        let mut draft = Draft {
            source: Some(event.source.into()),
            webhook_id: event.id.map(Into::into),
            target_url: event.target.map(Into::into),
            ..Draft::new(event.action, "admin")
        };
        match outcome {
            Ok((status, correlation_id)) => (draft.status_code, draft.correlation_id) = (status, correlation_id),
            Err(error) => {
                draft.status_code = error.status();
                draft.error = Some(error.code().into());
                draft.correlation_id = error.correlation_id().map(Into::into);
            }
        }
        crate::audit::append(&self.env, vec![draft]).await;
    }
}

/// Refuses an identifier that is another declared source's subscription: it would be made a second one of this source's.
async fn belongs(gateway: &Gateway, api: &Api<'_>, source: &str, id: &str) -> Result<(), Refusal> {
    let name = |source: &Source| source.subscription.as_ref().map(|subscription| subscription.name.clone());
    // What cannot be read is told by the call that follows.
    let Ok(found) = api.get(id).await else { return Ok(()) };
    let declares = |other: &&Source| name(other).as_deref() == Some(found.name.as_str());
    let of: Vec<&str> = gateway.config.sources.iter().filter(declares).map(|other| other.name.as_str()).collect();
    match of.first() {
        Some(other) if !of.contains(&source) => {
            Err(refusal(409, "The subscription belongs to another source", "other_source", Some(other)).into())
        }
        _ => Ok(()),
    }
}

/// What the vendor has: of one source, what delivers to it; otherwise everything of the APIs that are in use.
async fn list(gateway: &Gateway, client: &Vendor<'_>, marks: &Marks, source: Option<&str>) -> Called {
    let used = |kind: &ApiKind| gateway.config.sources.iter().any(|source| api_kind(source.profile) == Some(*kind));
    let kinds = match source {
        Some(name) => vec![kind(gateway, name)?],
        None => ApiKind::ALL.into_iter().filter(used).collect(),
    };
    let public_url = gateway.config.public_url.as_deref().unwrap_or_default();
    let address = source.map(|name| format!("{public_url}/webhook/{name}"));
    let mut found: Vec<Subscription> = vec![];
    for kind in kinds {
        found.extend(Subscriptions::new(client, kind.api(), marks).list().await.map_err(|error| vendor_error(&error))?);
    }
    found.retain(|subscription| address.as_ref().is_none_or(|address| subscription.address == *address));
    Ok(Answered::ok(format!(r#"{{"subscriptions":{}}}"#, to_text(&found))))
}

/// The vendor's error as the management API shows it: what the caller can act on keeps its status, the rest is a bad gateway.
fn vendor_error(error: &Error) -> Answered {
    let status = match error {
        Error::Address(_) | Error::Invalid { .. } => 400,
        Error::NotOurs { .. } => 409,
        _ => error.status().filter(|status| matches!(status, 404 | 409 | 410 | 412 | 429)).unwrap_or(502),
    };
    let detail = VendorDetail {
        message: error.to_string(),
        fault: error.fault(),
        status: error.status(),
        correlation_id: error.correlation_id().map(Into::into),
    };
    Answered::error(status, "The vendor's API refused or failed", error.code(), Some(&detail))
}
