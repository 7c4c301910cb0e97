//! The client: one call with token, pacing, retries and a budget.
//!
//! Promises:
//! - A 401 leads to one new token and one repetition, never to a loop.
//! - Creates are never repeated blindly.
//! - Nothing is sent beyond the run's budget.
//!
//! Out of scope: what the calls mean, see [`crate::subscription`].

use crate::auth::TokenSource;
use crate::call::{ApiAnswer, ApiCall};
use crate::error::{ApiError, Error, Exhausted, correlation_id};
use crate::pace::Pace;
use crate::retry::{Decision, RetryPolicy};
use crate::secret::Secret;
use crate::transport::{HttpRequest, HttpResponse, Runtime, Transport};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Time for one API request. The vendor's own gateway ends requests after 30 s.
const TIMEOUT_MS: u64 = 30_000;

/// Less time than this before the deadline is not worth a request.
const MIN_TIMEOUT_MS: u64 = 200;

/// Longest answer. A page of 100 subscriptions is below 1 MB, the list of all topics below 4 MB.
const MAX_ANSWER_BYTES: usize = 8 * 1_024 * 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunBudget {
    /// Nothing is sent, or waited for, beyond this time (milliseconds since the epoch), a token included.
    pub deadline_ms: u64,
    /// Requests to the API and probes. Those of a [`TokenSource`] are its own and not counted.
    pub max_requests: u32,
}

impl RunBudget {
    pub const UNLIMITED: Self = Self { deadline_ms: u64::MAX, max_requests: u32::MAX };
}

/// Calls the API of one organisation. Cheap to make, one for each run or invocation with its own budget.
pub struct Client<T, R, A> {
    transport: T,
    pub(crate) runtime: R,
    tokens: A,
    api_url: String,
    pub(crate) policy: RetryPolicy,
    budget: RunBudget,
    requests: AtomicU32,
    pace: Mutex<Pace>,
}

impl<T: Transport, R: Runtime, A: TokenSource> Client<T, R, A> {
    /// A client of the API at `api_url` (see [`crate::region::Endpoints`]) without limits on its use.
    pub fn new(transport: T, runtime: R, tokens: A, api_url: &str) -> Self {
        Self {
            transport,
            runtime,
            tokens,
            api_url: api_url.trim_end_matches('/').to_owned(),
            policy: RetryPolicy::default(),
            budget: RunBudget::UNLIMITED,
            requests: AtomicU32::new(0),
            pace: Mutex::new(Pace::default()),
        }
    }

    #[must_use]
    pub fn with_budget(mut self, budget: RunBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Requests sent so far, which are calls, their repetitions, and probes.
    pub fn requests_sent(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// Requests that are left, and milliseconds until the deadline.
    pub(crate) fn left(&self) -> (u32, u64) {
        let requests = self.budget.max_requests.saturating_sub(self.requests_sent());
        (requests, self.budget.deadline_ms.saturating_sub(self.runtime.now_ms()))
    }

    pub(crate) async fn pause(&self, ms: u64) -> Result<(), Error> {
        if ms == 0 {
            return Ok(());
        }
        if self.runtime.now_ms().saturating_add(ms) >= self.budget.deadline_ms {
            return Err(Error::Exhausted(Exhausted::Time));
        }
        self.runtime.sleep_ms(ms).await;
        Ok(())
    }

    /// Sends one request within the budget. Its timeout ends with the budget.
    pub(crate) async fn send_within_budget(&self, mut request: HttpRequest) -> Result<HttpResponse, Error> {
        let (requests, time_ms) = self.left();
        if requests == 0 {
            return Err(Error::Exhausted(Exhausted::Requests));
        }
        if time_ms < MIN_TIMEOUT_MS {
            return Err(Error::Exhausted(Exhausted::Time));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        request.timeout_ms = request.timeout_ms.min(time_ms);
        self.transport.send(request).await.map_err(Error::NoAnswer)
    }

    /// A token, within the budget's time. A source that fetches one may take longer than that.
    async fn token(&self, stale: Option<&Secret>) -> Result<Secret, Error> {
        let token = self.tokens.token(stale.map(Secret::expose));
        if self.budget.deadline_ms == u64::MAX {
            return token.await;
        }
        // Polled second, so that a token at hand starts no timer.
        let deadline = self.runtime.sleep_ms(self.left().1);
        match select(pin!(token), pin!(deadline)).await {
            Either::Left((token, _)) => token,
            Either::Right(_) => Err(Error::Exhausted(Exhausted::Time)),
        }
    }

    /// Makes one call: with a token, at the vendor's pace, repeated as the policy and the call allow.
    pub async fn call(&self, call: &ApiCall) -> Result<ApiAnswer, Error> {
        let started_ms = self.runtime.now_ms();
        let mut stale: Option<Secret> = None;
        let mut attempt = 0_u32;
        let mut before: Option<Error> = None;
        loop {
            let token = self.token(stale.as_ref()).await?;
            let error = match self.send_paced(self.request(call, &token)).await {
                // The budget ended between two attempts. The failure before says more than that.
                Err(exhausted @ Error::Exhausted(_)) => return Err(before.unwrap_or(exhausted)),
                Err(error) => error,
                Ok(response) => {
                    self.observe(&response);
                    if (200..300).contains(&response.status) {
                        return Ok(answer(response, &token));
                    }
                    if response.status == 401 && stale.is_none() {
                        // No attempt of the retry policy, because a 401 is answered before anything is done.
                        stale = Some(token);
                        continue;
                    }
                    Error::Api(Box::new(ApiError::read(&response, call.needs, self.runtime.now_ms())))
                }
            };
            let error = error.without(&token);
            if !call.is_idempotent() && error.may_have_been_applied() {
                return Err(error);
            }
            match self.decide(attempt, &error, started_ms) {
                Decision::WaitMs(wait_ms) if self.pause(wait_ms).await.is_ok() => before = Some(error),
                _ => return Err(error),
            }
            attempt = attempt.saturating_add(1);
        }
    }

    pub(crate) fn decide(&self, attempt: u32, error: &Error, started_ms: u64) -> Decision {
        let elapsed_ms = self.runtime.now_ms().saturating_sub(started_ms);
        self.policy.decide(attempt, error.failure(), elapsed_ms, self.runtime.random_u64())
    }

    async fn send_paced(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let now_ms = self.runtime.now_ms();
        let wait_ms = self.pace.lock().unwrap_or_else(PoisonError::into_inner).next_wait_ms(now_ms);
        self.pause(wait_ms).await?;
        self.send_within_budget(request).await
    }

    fn observe(&self, response: &HttpResponse) {
        let now_ms = self.runtime.now_ms();
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).observe(response, now_ms);
    }

    fn request(&self, call: &ApiCall, token: &Secret) -> HttpRequest {
        let mut headers =
            vec![("authorization", format!("Bearer {}", token.expose())), ("accept", "application/json".to_owned())];
        if call.body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        if let Some(etag) = &call.if_match {
            headers.push(("if-match", etag.clone()));
        }
        HttpRequest {
            method: call.method.clone(),
            url: format!("{}{}", self.api_url, call.path),
            headers,
            body: call.body.clone(),
            timeout_ms: TIMEOUT_MS,
            max_response_bytes: MAX_ANSWER_BYTES,
        }
    }
}

/// An answer whose correlation id shows no token, because it stands in the error when the body cannot be read.
fn answer(response: HttpResponse, token: &Secret) -> ApiAnswer {
    ApiAnswer {
        status: response.status,
        etag: response.header("etag").map(str::to_owned),
        correlation_id: correlation_id(&response).map(|id| token.redact(&id)),
        body: response.body,
    }
}
