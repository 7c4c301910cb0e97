//! The management API: authentication, dispatch, and what its resources share.
//!
//! Promises:
//! - every management call needs the operator's token; without a configured one all of them are closed;
//! - only a caller with the token learns whether a path exists;
//! - errors are `{"error", "code", "detail"?}`;
//! - a query parameter, a field or a body that a call does not know is an error, never passed over.
//!
//! Out of scope: the calls (`routes` lists them) and the resources, one file each.

mod audit;
pub(crate) mod collect;
mod dead_letters;
mod deliveries;
mod destinations;
mod event_types;
mod explain;
mod health;
mod metrics;
mod probe;
mod readiness;
mod reconcile;
mod replays;
mod retention;
mod routes;
mod subscriptions;

use crate::config::{Gateway, gateway, secret};
use crate::objects::clients::LifecycleClient;
use crate::platform::body::{self, BodyError};
use crate::platform::http::{ApiProblem, HttpAnswer, empty, json_text, without_body};
use crate::platform::log;
use crate::platform::objects::CallError;
use gateway_core::auth::{Access, authorize};
use gateway_core::lifecycle::{Answered, LifecycleCall};
use gateway_core::query::Query;
use gateway_core::routes::{NoRoute, PathParameters, Route, find};
use gateway_core::time::parse_rfc3339;
use serde::de::DeserializeOwned;
use std::rc::Rc;
use web_sys::Request;
use worker::Env;

/// Entries of a list where the caller does not say.
const DEFAULT_LIMIT: u32 = 50;

/// The most entries of a list.
const MAX_LIMIT: u32 = 500;

/// The largest body of a management call: `POST /api/explain` carries a delivery of up to 5 MB in base 64.
const MAX_CALL_BYTES: u64 = 8_000_000;

struct ManagementCall<'a> {
    request: &'a Request,
    parameters: PathParameters<'a>,
    query: Query,
    env: &'a Env,
}

/// An answer or an error answer, on its way out of a handler.
type Handled = Result<HttpAnswer, ApiProblem>;

impl ManagementCall<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(own, _)| *own == name).map_or("", |(_, text)| *text)
    }
}

/// Answers every request that is not the receiver's.
pub(crate) async fn answer(request: &Request, path: &str, query: &str, env: &Env) -> HttpAnswer {
    let handled = if path == "/metrics" || path.starts_with("/api/") {
        manage(request, path, query, env).await
    } else {
        public(request, path, env).await
    };
    let answer = handled.unwrap_or_else(|problem| problem.answer())?;
    if request.method() == "HEAD" { without_body(&answer) } else { Ok(answer) }
}

/// Parameters are passed over: probes add some against caches.
async fn public(request: &Request, path: &str, env: &Env) -> Handled {
    let (route, parameters) = route(routes::PUBLIC, request, path)?;
    (route.handler)(&ManagementCall { request, parameters, query: Query::parse(""), env }).await
}

async fn manage(request: &Request, path: &str, query: &str, env: &Env) -> Handled {
    let header = request.headers().get("authorization").ok().flatten();
    match authorize(secret(env, "ADMIN_TOKEN").as_deref(), header.as_deref()) {
        Access::Granted => {}
        Access::Denied => {
            let problem = ApiProblem::new(401, "Unauthorized", "unauthorized");
            return Err(problem.header("www-authenticate", "Bearer"));
        }
        Access::NotConfigured => {
            return Err(ApiProblem::new(503, "ADMIN_TOKEN is not set or too short", "no_admin_token"));
        }
    }
    let (route, parameters) = route(routes::MANAGEMENT, request, path)?;
    let query = Query::parse(query);
    if let Some(problem) = query.problem(route.query) {
        return Err(invalid_parameter(problem));
    }
    let call = ManagementCall { request, parameters, query, env };
    // `{"dryRun": true}` to a call that takes no body would otherwise be carried out for real.
    if route.body.is_none() && !body_of(&call).await?.is_empty() {
        return Err(invalid_body("this call takes no body"));
    }
    (route.handler)(&call).await
}

fn route<'t, 'p, H>(
    table: &'t [Route<H>],
    request: &Request,
    path: &'p str,
) -> Result<(&'t Route<H>, PathParameters<'p>), ApiProblem> {
    find(table, &request.method(), path).map_err(|none| match none {
        NoRoute::NotFound => not_found("Not found"),
        NoRoute::MethodNotAllowed(allow) => {
            ApiProblem::new(405, "Method not allowed", "method_not_allowed").header("allow", allow)
        }
    })
}

/// The configuration; every problem of it where it is broken.
fn configured(env: &Env) -> Result<Rc<Gateway>, ApiProblem> {
    gateway(env).map_err(|problems| {
        let detail = serde_json::to_value(problems.as_ref()).unwrap_or_default();
        ApiProblem::new(503, "The configuration is not valid", "bad_configuration").detail(detail)
    })
}

fn invalid_parameter(detail: String) -> ApiProblem {
    ApiProblem::new(400, "Invalid parameter", "invalid_parameter").detail(detail)
}

/// 400 for a parameter that is not what it should be.
fn bad_parameter(name: &str, expected: &str) -> ApiProblem {
    invalid_parameter(format!("{name}: expected {expected}"))
}

/// A parameter that is a number from 1 to `most`; `default` where it is left out.
fn number<N: TryFrom<u64>>(call: &ManagementCall<'_>, name: &str, default: N, most: u64) -> Result<N, ApiProblem> {
    let Some(text) = call.query.get(name) else { return Ok(default) };
    let number = text.parse().ok().filter(|n| (1..=most).contains(n)).and_then(|n| N::try_from(n).ok());
    number.ok_or_else(|| match most {
        u64::MAX => bad_parameter(name, "a number from 1 on"),
        most => bad_parameter(name, &format!("a number from 1 to {most}")),
    })
}

fn limit(call: &ManagementCall<'_>) -> Result<u32, ApiProblem> {
    number(call, "limit", DEFAULT_LIMIT, MAX_LIMIT.into())
}

/// One of a closed list, by the name that it is shown with.
fn one_of<T: Copy>(
    name: &str,
    text: Option<&str>,
    all: &[T],
    shown: fn(T) -> &'static str,
) -> Result<Option<T>, ApiProblem> {
    let Some(text) = text else { return Ok(None) };
    let found = all.iter().copied().find(|one| shown(*one) == text);
    let names = || all.iter().map(|one| shown(*one)).collect::<Vec<_>>().join(", ");
    found.map(Some).ok_or_else(|| bad_parameter(name, &format!("one of {}", names())))
}

/// A time as people and programs write it, in milliseconds since the epoch.
fn time(name: &str, text: Option<&str>) -> Result<Option<u64>, ApiProblem> {
    let Some(text) = text else { return Ok(None) };
    let time = text.parse().ok().or_else(|| parse_rfc3339(text));
    time.map(Some).ok_or_else(|| bad_parameter(name, "a time as 2026-12-01T00:00:00Z, or milliseconds since 1970"))
}

fn bad_cursor() -> ApiProblem {
    bad_parameter("cursor", "the nextCursor of an earlier answer")
}

/// A cursor is `time-id` of the last entry that was seen; callers need to know no more of it.
fn cursor(call: &ManagementCall<'_>) -> Result<Option<(u64, String)>, ApiProblem> {
    let Some(text) = call.query.get("cursor") else { return Ok(None) };
    let parsed = text.split_once('-').and_then(|(time, id)| Some((time.parse().ok()?, id.to_owned())));
    parsed.map(Some).ok_or_else(bad_cursor)
}

/// The cursor behind the last entry of a page; `None` where the page is not full, so that there are no more.
fn next_cursor<T>(page: &[T], limit: u32, last: impl Fn(&T) -> (u64, &str)) -> Option<String> {
    let full = page.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    page.last().filter(|_| full).map(last).map(|(time_ms, id)| format!("{time_ms}-{id}"))
}

impl From<CallError> for ApiProblem {
    fn from(error: CallError) -> Self {
        log::error("object_failed", &[("error", &error.to_string())]);
        Self::new(503, "Storage is not available", "storage_unavailable").detail(error.to_string())
    }
}

/// Has the lifecycle object call the vendor, and passes on what it answers.
async fn vendor(call: &ManagementCall<'_>, request: LifecycleCall) -> Handled {
    let Answered { status, body, etag, .. } = LifecycleClient::new(call.env).call(&request).await?;
    if status == 204 {
        return Ok(empty(204));
    }
    let etag = etag.as_deref().map(|etag| ("etag", etag));
    Ok(json_text(status, &body, etag.as_slice()))
}

fn not_found(what: &'static str) -> ApiProblem {
    ApiProblem::new(404, what, "not_found")
}

fn invalid_body(detail: impl Into<serde_json::Value>) -> ApiProblem {
    ApiProblem::new(400, "Invalid body", "invalid_body").detail(detail)
}

async fn body_of(call: &ManagementCall<'_>) -> Result<Vec<u8>, ApiProblem> {
    body::read(call.request, MAX_CALL_BYTES).await.map_err(|error| match error {
        BodyError::TooLarge => ApiProblem::new(413, "Body too large", "body_too_large"),
        BodyError::Unreadable(error) => invalid_body(error),
    })
}

async fn json_body<T: DeserializeOwned>(call: &ManagementCall<'_>) -> Result<T, ApiProblem> {
    serde_json::from_slice(&body_of(call).await?).map_err(|error| invalid_body(error.to_string()))
}
