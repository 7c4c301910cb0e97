//! What every request to `/api` and `/oauth` passes: correlation id, faults, the token, the rate limit, the log.

use crate::clock::{now_ms, retry_after};
use crate::error::{OauthError, VendorError};
use crate::faults::{Fault, FaultKind};
use crate::oauth::bearer;
use crate::rate::Standing;
use crate::requests::RequestRecord;
use crate::server::ConnectionCutter;
use crate::state::{Sim, SimulatorState};
use axum::Extension;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::time::Duration;

/// What faults ask of a handler.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interference {
    /// Another writer changes the object before this request does.
    pub(crate) other_writer: bool,
    /// How the mismatch is answered: 412 when absent.
    pub(crate) mismatch_status: Option<u16>,
    pub(crate) create_fails: bool,
}

const EXPOSED: &str =
    "ETag, Retry-After, ININ-Correlation-Id, inin-ratelimit-count, inin-ratelimit-allowed, inin-ratelimit-reset";

/// Puts the request into the log when it goes: also when the caller leaves before the answer, and the handler is dropped.
struct Logged<'a> {
    state: &'a SimulatorState,
    route: String,
    record: RequestRecord,
}

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        self.state.requests.add(&self.route, self.record.clone());
    }
}

pub(crate) async fn gate(
    state: Sim,
    Extension(cutter): Extension<ConnectionCutter>,
    request: Request,
    next: Next,
) -> Response {
    let settings = state.settings();
    let at_ms = now_ms();
    let correlation_id = state.uuid();
    let method = request.method().clone();
    let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let preflight = settings.cors && method == Method::OPTIONS;
    let record =
        RequestRecord { at_ms, method: method.to_string(), target, status: 0, correlation_id, faults: Vec::new() };
    let mut logged = Logged { state: &state, route, record };
    let (outcome, faults) = if preflight {
        (Some(StatusCode::NO_CONTENT.into_response()), Vec::new())
    } else {
        pass(&state, request, next).await
    };
    logged.record.faults = faults;
    let Some(mut response) = outcome else {
        drop(logged);
        return cutter.cut().await;
    };
    if let Some(error) = response.extensions_mut().remove::<VendorError>() {
        error.render(&mut response, &logged.record.correlation_id);
    }
    if let Ok(value) = HeaderValue::from_str(&logged.record.correlation_id) {
        response.headers_mut().insert("inin-correlation-id", value);
    }
    if settings.cors {
        allow_origin(response.headers_mut());
    }
    logged.record.status = response.status().as_u16();
    drop(logged);
    response
}

fn allow_origin(headers: &mut HeaderMap) {
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "Authorization, Content-Type, If-Match"),
        ("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE"),
        ("access-control-expose-headers", EXPOSED),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The answer, or `None` when the connection is to be cut; with the faults that applied.
async fn pass(state: &SimulatorState, mut request: Request, next: Next) -> (Option<Response>, Vec<u64>) {
    let path = request.uri().path().to_owned();
    let taken = state.faults.take(request.method().as_str(), &path);
    let mut ids: Vec<u64> = taken.iter().map(|(id, _)| *id).collect();
    let mut interference = Interference::default();
    let mut after = Vec::new();
    for (id, fault) in taken {
        match fault.kind {
            _ if fault.applied => after.push((id, fault)),
            FaultKind::Slow => tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await,
            FaultKind::TokenRevoked => {
                if let Some(token) = bearer(request.headers()) {
                    state.oauth.revoke(token);
                }
            }
            FaultKind::ConcurrentWriter => {
                (interference.other_writer, interference.mismatch_status) = (true, fault.status);
            }
            FaultKind::CreateFails => interference.create_fails = true,
            FaultKind::RateLimited | FaultKind::Error | FaultKind::NotJson | FaultKind::Cut => {
                return (spoiled(&fault, &path), ids);
            }
        }
    }
    request.extensions_mut().insert(interference);
    let response = if path.starts_with("/api/") { admit(state, request, next).await } else { next.run(request).await };
    let succeeded = response.status().is_success();
    let mut outcome = Some(response);
    for (id, fault) in after {
        if !succeeded {
            state.faults.give_back(id);
            ids.retain(|taken| *taken != id);
        } else if fault.kind == FaultKind::Slow {
            tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
        } else {
            outcome = spoiled(&fault, &path);
        }
    }
    (outcome, ids)
}

/// Token and rate limit, then the handler.
async fn admit(state: &SimulatorState, mut request: Request, next: Next) -> Response {
    let limit = state.settings().rate_limit.clone();
    let caller = match state.oauth.caller(request.headers(), now_ms()) {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    let standing = {
        let mut windows = state.windows.lock();
        windows.entry(caller.token.clone()).or_default().count(limit.requests, limit.window_ms, now_ms())
    };
    let mut response = if standing.is_over() {
        VendorError::too_many_requests(standing.reset_s, retry_after(standing.reset_s, limit.http_date)).into_response()
    } else {
        request.extensions_mut().insert(caller);
        next.run(request).await
    };
    if limit.headers {
        let Standing { count, allowed, reset_s } = standing;
        for (name, value) in
            [("inin-ratelimit-count", count), ("inin-ratelimit-allowed", allowed), ("inin-ratelimit-reset", reset_s)]
        {
            response.headers_mut().insert(name, HeaderValue::from(value));
        }
    }
    response
}

/// What a fault answers; `None` cuts the connection.
fn spoiled(fault: &Fault, path: &str) -> Option<Response> {
    let code = |status: Option<u16>, default: StatusCode| {
        status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(default)
    };
    match fault.kind {
        FaultKind::Cut => None,
        FaultKind::NotJson => {
            let page = "<html><head><title>502 Bad Gateway</title></head><body><center>upstream</center></body></html>";
            let body = fault.body.clone().unwrap_or_else(|| page.to_owned());
            Some((code(fault.status, StatusCode::BAD_GATEWAY), [("content-type", "text/html")], body).into_response())
        }
        FaultKind::RateLimited if path.starts_with("/oauth/") => Some(OauthError::rate_limit().into_response()),
        FaultKind::RateLimited => {
            let value = retry_after(fault.retry_after_s, fault.http_date);
            Some(VendorError::too_many_requests(fault.retry_after_s, value).into_response())
        }
        _ => {
            let status = code(fault.status, StatusCode::INTERNAL_SERVER_ERROR).as_u16();
            let name = match status {
                503 => "service.unavailable",
                504 => "gateway.timeout",
                _ => "internal.server.error",
            };
            Some(VendorError::new(status, name, "The server encountered an unexpected condition.").into_response())
        }
    }
}

pub(crate) async fn not_found(request: Request) -> VendorError {
    VendorError::new(404, "not.found", format!("HTTP 404 Not Found: {}", request.uri().path()))
}

pub(crate) async fn method_not_allowed() -> VendorError {
    VendorError::new(405, "method.not.allowed", "HTTP 405 Method Not Allowed")
}
