//! The calls on subscriptions, the same for both APIs.
//!
//! Promises:
//! - A create is never repeated before looking for the first one by name.
//! - An update that meets a newer version reads, recomputes and tries again, at most three times.
//! - A subscription that is already gone counts as deleted.
//! - No error shows the secret.
//!
//! Out of scope: which subscriptions there should be, see [`crate::reconcile`].

use super::api::SubscriptionApi;
use super::model::{Desired, FieldChange, Marks, Provisioning, Subscription};
use crate::auth::TokenSource;
use crate::call::{ApiAnswer, ApiCall};
use crate::client::Client;
use crate::error::{ApiError, Error};
use crate::retry::Decision;
use crate::transport::{Method, Runtime, Transport};
use serde::Serialize;

/// Updates that meet a newer version are tried again this often.
const MAX_MISMATCHES: u32 = 3;

/// An asynchronous create is watched this long, with growing pauses. The vendor's own tools have the same limit.
const POLL_LIMIT_MS: u64 = 300_000;
const FIRST_POLL_MS: u64 = 1_000;
const MAX_POLL_MS: u64 = 15_000;

pub struct Subscriptions<'a, T, R, A> {
    client: &'a Client<T, R, A>,
    api: &'static dyn SubscriptionApi,
    marks: &'a Marks,
}

#[derive(Clone, Debug, Serialize)]
pub struct Created {
    /// What there is now. Its [`Provisioning`] says whether the vendor has finished.
    pub subscription: Subscription,
    /// The create's status. `None` when its answer was lost and the subscription was found by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Updated {
    /// What was changed. Empty when it was as wanted and nothing was sent.
    pub changes: Vec<FieldChange>,
    /// The update's status. `None` when nothing was sent, or when its answer was lost and a later read showed it done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Deleted {
    /// The delete's status. 404 and 410 mean that it was gone already.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

impl<'a, T: Transport, R: Runtime, A: TokenSource> Subscriptions<'a, T, R, A> {
    pub fn new(client: &'a Client<T, R, A>, api: &'static dyn SubscriptionApi, marks: &'a Marks) -> Self {
        Self { client, api, marks }
    }

    /// All subscriptions, owned or not.
    pub async fn list(&self) -> Result<Vec<Subscription>, Error> {
        let facts = self.api.facts();
        let objects = self.client.list(facts.paging, facts.path, facts.read_needs).await?;
        Ok(objects.into_iter().filter_map(|object| self.api.read(object)).collect())
    }

    /// One subscription, with its ETag where the API has one.
    pub async fn get(&self, id: &str) -> Result<Subscription, Error> {
        let answer = self.client.call(&ApiCall::get(self.path(id)?, self.api.facts().read_needs)).await?;
        self.read(&answer)
    }

    /// Creates a subscription and, where that takes the vendor time, watches until it is complete or the budget ends.
    ///
    /// After an unknown outcome the list is searched for the name, without the ids in `ignore`, which are known to be on
    /// their way out. An API whose list may lag behind is not asked to create again. That ends in
    /// [`Error::Uncertain`].
    pub async fn create(&self, desired: &Desired, ignore: &[String]) -> Result<Created, Error> {
        self.create_once(desired, ignore).await.map_err(|error| error.without(&desired.secret))
    }

    async fn create_once(&self, desired: &Desired, ignore: &[String]) -> Result<Created, Error> {
        let body = self.api.create_body(desired, self.marks);
        let facts = self.api.facts();
        let call = ApiCall::write(Method::POST, facts.path, &body, facts.create_needs);
        let started_ms = self.client.runtime.now_ms();
        let mut attempt = 0_u32;
        let mut unknown: Option<Error> = None;
        loop {
            let error = match unknown.take() {
                Some(error) if facts.create_lag_ms > 0 => error,
                _ => match self.client.call(&call).await {
                    Ok(answer) => match self.read(&answer) {
                        Ok(subscription) => {
                            let subscription = self.watch(subscription).await;
                            return Ok(Created {
                                subscription,
                                status: Some(answer.status),
                                correlation_id: answer.correlation_id,
                            });
                        }
                        Err(error) => error,
                    },
                    Err(error) if error.may_have_been_applied() => error,
                    Err(error) => return Err(error),
                },
            };
            let again = match self.client.decide(attempt, &error, started_ms) {
                Decision::WaitMs(wait_ms) => self.client.pause(wait_ms).await.is_ok(),
                Decision::GiveUp => false,
            };
            match self.find(desired, ignore).await {
                Ok(Some(subscription)) => {
                    let subscription = self.watch(subscription).await;
                    let correlation_id = error.correlation_id().map(str::to_owned);
                    return Ok(Created { subscription, status: None, correlation_id });
                }
                Ok(None) if again => unknown = Some(error),
                // Not in a list that does not lag, so it was not carried out.
                Ok(None) if facts.create_lag_ms == 0 => return Err(error),
                Err(error @ Error::NotOurs { .. }) => return Err(error),
                Ok(None) | Err(_) => return Err(Error::Uncertain(Box::new(error))),
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Looks for what a create may have left, which is one subscription of this name with our mark and address.
    async fn find(&self, desired: &Desired, ignore: &[String]) -> Result<Option<Subscription>, Error> {
        let mut named: Vec<Subscription> = self.list().await?;
        named.retain(|found| found.name == desired.name && !ignore.contains(&found.id));
        match named.pop() {
            None => Ok(None),
            Some(found) if named.is_empty() && found.is_owned_by(self.marks) && found.address == desired.address => {
                Ok(Some(found))
            }
            Some(Subscription { name, id, .. }) => {
                Err(Error::NotOurs(format!("a subscription named {name:?} that this run did not make appeared: {id}")))
            }
        }
    }

    /// Watches an asynchronous create. When a read fails meanwhile, the last state that was seen holds.
    async fn watch(&self, created: Subscription) -> Subscription {
        let started_ms = self.client.runtime.now_ms();
        let mut current = created;
        let mut wait_ms = FIRST_POLL_MS;
        while current.provisioning == Provisioning::Pending {
            let ends_ms = self.client.runtime.now_ms().saturating_add(wait_ms);
            if ends_ms.saturating_sub(started_ms) > POLL_LIMIT_MS || self.client.pause(wait_ms).await.is_err() {
                break;
            }
            match self.get(&current.id).await {
                Ok(found) => current = found,
                // Not there yet.
                Err(error) if error.is_gone() => {}
                Err(_) => break,
            }
            wait_ms = wait_ms.saturating_mul(2).min(MAX_POLL_MS);
        }
        current
    }

    /// Brings a subscription to what is wanted. Reads it, compares, and writes what differs.
    ///
    /// With `if_match` (a version that the caller saw) a newer version is an error. Without, it is read, compared and
    /// written again, at most three times. A subscription of another owner is only touched with `desired.adopt`.
    pub async fn update(&self, id: &str, desired: &Desired, if_match: Option<&str>) -> Result<Updated, Error> {
        self.update_once(id, desired, if_match).await.map_err(|error| error.without(&desired.secret))
    }

    async fn update_once(&self, id: &str, desired: &Desired, if_match: Option<&str>) -> Result<Updated, Error> {
        let (facts, path) = (self.api.facts(), self.path(id)?);
        let mut changes: Option<Vec<FieldChange>> = None;
        let mut mismatches = 0_u32;
        let mut mismatch: Option<Error> = None;
        loop {
            // Once a write was sent, its own error says what happened, not that of a later read.
            let current = self.get(id).await.map_err(|error| mismatch.take().unwrap_or(error))?;
            if !desired.adopt && !current.is_owned_by(self.marks) {
                return Err(Error::NotOurs(current.not_ours()));
            }
            let open = self.api.diff(desired, Some(&current), self.marks);
            let done = open.is_empty();
            let changes = changes.get_or_insert(open);
            if done {
                return Ok(Updated { changes: core::mem::take(changes), status: None, correlation_id: None });
            }
            let body = self.api.update_body(desired, &current, self.marks);
            let mut call = ApiCall::write(facts.update_method.clone(), path.clone(), &body, facts.update_needs);
            if facts.has_etags {
                call.if_match = if_match.map(str::to_owned).or(current.etag);
            }
            match self.client.call(&call).await {
                Ok(answer) => {
                    return Ok(Updated {
                        changes: core::mem::take(changes),
                        status: Some(answer.status),
                        correlation_id: answer.correlation_id,
                    });
                }
                Err(error)
                    if if_match.is_none()
                        && mismatches < MAX_MISMATCHES
                        && error.api().is_some_and(ApiError::is_version_mismatch) =>
                {
                    mismatches = mismatches.saturating_add(1);
                    mismatch = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes a subscription of any owner.
    pub async fn delete(&self, id: &str) -> Result<Deleted, Error> {
        let call = ApiCall { method: Method::DELETE, ..ApiCall::get(self.path(id)?, self.api.facts().delete_needs) };
        match self.client.call(&call).await {
            Ok(answer) => Ok(Deleted { status: answer.status, correlation_id: answer.correlation_id }),
            Err(error) => already_gone(error),
        }
    }

    /// Reads a subscription and deletes it only if it carries our mark.
    pub async fn delete_owned(&self, id: &str) -> Result<Deleted, Error> {
        match self.get(id).await {
            Ok(current) if current.is_owned_by(self.marks) => self.delete(id).await,
            Ok(current) => Err(Error::NotOurs(current.not_ours())),
            Err(error) => already_gone(error),
        }
    }

    fn read(&self, answer: &ApiAnswer) -> Result<Subscription, Error> {
        let what = "a subscription with an id";
        let mut subscription = self.api.read(answer.object(what)?).ok_or_else(|| answer.unreadable(what))?;
        subscription.etag.clone_from(&answer.etag);
        Ok(subscription)
    }

    /// The path of one subscription. Users give ids too, and an id must not lead to another path.
    fn path(&self, id: &str) -> Result<String, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || !id.bytes().all(plain) {
            return Err(Error::Invalid("an id consists of letters, digits, hyphens and underscores".to_owned()));
        }
        Ok(format!("{}/{id}", self.api.facts().path))
    }
}

fn already_gone(error: Error) -> Result<Deleted, Error> {
    match error.api() {
        Some(api) if error.is_gone() => Ok(Deleted { status: api.status, correlation_id: api.correlation_id.clone() }),
        _ => Err(error),
    }
}
