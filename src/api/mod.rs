//! The management API: authentication, routing, and what all of its resources share.
//!
//! Promises: every call needs the operator's token, and without a configured one nobody gets in; an unknown path is only
//! told to be unknown to whoever may know; errors are `{"error", "code", "detail"?}`. Out of scope: the resources, one file each.

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
pub(crate) mod readiness;
mod reconcile;
mod replays;
mod retention;
mod subscriptions;

use crate::config::{Gateway, gateway, secret};
use crate::objects::clients::LifecycleClient;
use crate::platform::body::{self, BodyError};
use crate::platform::http::{Answer, Problem, empty, json_text, without_body};
use crate::platform::log;
use crate::platform::objects::CallError;
use gateway_core::auth::{Access, authorize};
use gateway_core::dead_letters::replay::JobAction;
use gateway_core::lifecycle::{Answered, LifecycleCall};
use gateway_core::query::Query;
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

/// One management call.
pub(crate) struct Call<'a> {
    pub(crate) method: String,
    pub(crate) request: &'a Request,
    pub(crate) query: Query<'a>,
    pub(crate) env: &'a Env,
}

/// An error answer on its way out of a handler.
pub(crate) type Handled = Result<Answer, Box<Problem>>;

/// Authenticates and answers a management call.
pub(crate) async fn answer(request: &Request, path: &str, query: Query<'_>, env: &Env) -> Answer {
    let header = request.headers().get("authorization").ok().flatten();
    match authorize(secret(env, "ADMIN_TOKEN").as_deref(), header.as_deref()) {
        Access::Granted => {}
        Access::Denied => {
            return Problem::new(401, "Unauthorized", "unauthorized").header("www-authenticate", "Bearer").answer();
        }
        Access::NotConfigured => {
            return Problem::new(503, "ADMIN_TOKEN is not set or too short", "no_admin_token").answer();
        }
    }
    let method = request.method();
    let is_head = method == "HEAD";
    let method = if is_head { "GET".to_owned() } else { method };
    let call = Call { method, request, query, env };
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let answer = match route(&call, &segments).await {
        Ok(answer) => answer,
        Err(problem) => problem.answer(),
    }?;
    if is_head { without_body(&answer) } else { Ok(answer) }
}

async fn route(call: &Call<'_>, segments: &[&str]) -> Handled {
    match (call.method.as_str(), segments) {
        ("GET", ["metrics"]) => metrics::show(call).await,
        ("GET", ["api", "health"]) => health::show(call).await,
        ("POST", ["api", "health"]) => health::evaluate(call).await,
        ("GET", ["api", "event-types"]) => event_types::list(call).await,
        ("GET", ["api", "ip-ranges"]) => event_types::ip_ranges(call).await,
        ("GET", ["api", "subscriptions"]) => subscriptions::list(call).await,
        ("POST", ["api", "subscriptions"]) => subscriptions::create(call).await,
        ("GET", ["api", "subscriptions", source, id]) => subscriptions::read(call, source, id).await,
        ("PUT", ["api", "subscriptions", source, id]) => subscriptions::update(call, source, id).await,
        ("DELETE", ["api", "subscriptions", source, id]) => subscriptions::delete(call, source, id).await,
        ("POST", ["api", "probe"]) => probe::probe(call).await,
        ("GET", ["api", "reconcile"]) => reconcile::last(call).await,
        ("POST", ["api", "reconcile"]) => reconcile::run(call).await,
        ("POST", ["api", "retention"]) => retention::run(call).await,
        ("GET", ["api", "deliveries"]) => deliveries::list(call).await,
        ("GET", ["api", "deliveries", id]) => deliveries::read(call, id).await,
        ("GET", ["api", "dead-letters"]) => dead_letters::list(call).await,
        ("POST", ["api", "dead-letters", "replay"]) => replays::many(call).await,
        ("GET", ["api", "dead-letters", "replays"]) => replays::list(call).await,
        ("GET", ["api", "dead-letters", "replays", id]) => replays::job(call, id, JobAction::Show).await,
        ("DELETE", ["api", "dead-letters", "replays", id]) => replays::job(call, id, JobAction::Cancel).await,
        ("POST", ["api", "dead-letters", "replays", id, "resume"]) => replays::job(call, id, JobAction::Resume).await,
        ("POST", ["api", "dead-letters", id, "replay"]) => replays::one(call, id).await,
        ("GET", ["api", "dead-letters", id]) => dead_letters::read(call, id).await,
        ("DELETE", ["api", "dead-letters", id]) => dead_letters::delete(call, id).await,
        ("GET", ["api", "destinations"]) => destinations::list(call).await,
        ("POST", ["api", "destinations", source, "close"]) => destinations::close(call, source).await,
        ("GET", ["api", "audit"]) => audit::list(call).await,
        ("GET", ["api", "audit", "verify"]) => audit::verify(call).await,
        ("GET", ["api", "audit", "export"]) => audit::export(call).await,
        ("POST", ["api", "explain"]) => explain::explain(call).await,
        (_, path) => Err(Box::new(match allowed(path) {
            "" => Problem::new(404, "Not found", "not_found"),
            methods => Problem::new(405, "Method not allowed", "method_not_allowed").header("allow", methods),
        })),
    }
}

/// The methods of a path, for `Allow`; empty where there is no such path.
fn allowed(path: &[&str]) -> &'static str {
    match path {
        ["api", "subscriptions", _, _] => "GET, HEAD, PUT, DELETE",
        ["api", "subscriptions" | "reconcile" | "health"] => "GET, HEAD, POST",
        ["api", "probe" | "explain" | "retention"]
        | ["api", "destinations", _, "close"]
        | ["api", "dead-letters", "replay"]
        | ["api", "dead-letters", "replays", _, "resume"]
        | ["api", "dead-letters", _, "replay"] => "POST",
        ["metrics"]
        | ["api", "dead-letters", "replays"]
        | ["api", "event-types" | "ip-ranges" | "deliveries" | "dead-letters" | "destinations" | "audit"]
        | ["api", "deliveries", _]
        | ["api", "audit", "verify" | "export"] => "GET, HEAD",
        ["api", "dead-letters", "replays", _] | ["api", "dead-letters", _] => "GET, HEAD, DELETE",
        _ => "",
    }
}

/// The configuration; every problem of it where it is broken.
pub(crate) fn configured(env: &Env) -> Result<Rc<Gateway>, Box<Problem>> {
    gateway(env).map_err(|problems| {
        let detail = serde_json::to_value(problems.as_ref()).unwrap_or_default();
        Box::new(Problem::new(503, "The configuration is not valid", "bad_configuration").detail(detail))
    })
}

/// 400 for a parameter that is not what it should be.
fn bad_parameter(name: &str, expected: &str) -> Problem {
    Problem::new(400, "Invalid parameter", "invalid_parameter").detail(format!("{name}: expected {expected}"))
}

fn limit(call: &Call<'_>) -> Result<u32, Box<Problem>> {
    call.query
        .count("limit", DEFAULT_LIMIT, MAX_LIMIT)
        .map_err(|_| bad_parameter("limit", &format!("a number from 1 to {MAX_LIMIT}")).into())
}

/// A cursor is `time-id` of the last entry that was seen; nobody needs to know more of it.
fn cursor(call: &Call<'_>) -> Result<Option<(u64, String)>, Box<Problem>> {
    let Some(text) = call.query.get("cursor") else { return Ok(None) };
    let parsed = text.split_once('-').and_then(|(time, id)| Some((time.parse().ok()?, id.to_owned())));
    parsed.map(Some).ok_or_else(|| bad_parameter("cursor", "the nextCursor of an earlier answer").into())
}

impl From<CallError> for Box<Problem> {
    fn from(error: CallError) -> Self {
        log::error("object_failed", &[("error", &error.to_string())]);
        Self::new(Problem::new(503, "Storage is not available", "storage_unavailable").detail(error.to_string()))
    }
}

/// Has the lifecycle object call the vendor, and passes on what it answers.
async fn vendor(call: &Call<'_>, request: LifecycleCall) -> Handled {
    let Answered { status, body, etag, .. } = LifecycleClient::new(call.env).call(&request).await?;
    if status == 204 {
        return Ok(empty(204, &[]));
    }
    let etag = etag.as_deref().map(|etag| ("etag", etag));
    Ok(json_text(status, &body, etag.as_slice()))
}

fn not_found(what: &'static str) -> Problem {
    Problem::new(404, what, "not_found")
}

/// The JSON body of a call.
async fn json_body<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, Box<Problem>> {
    match body::read(call.request, MAX_CALL_BYTES).await {
        Ok(body) => serde_json::from_slice(&body)
            .map_err(|error| Problem::new(400, "Invalid body", "invalid_body").detail(error.to_string()).into()),
        Err(BodyError::TooLarge) => Err(Box::new(Problem::new(413, "Body too large", "body_too_large"))),
        Err(BodyError::Unreadable(error)) => {
            Err(Box::new(Problem::new(400, "Invalid body", "invalid_body").detail(error)))
        }
    }
}
