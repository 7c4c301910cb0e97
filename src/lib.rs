//! genesys-webhook-gateway: a Cloudflare Worker between Genesys Cloud and the systems of the people who use it.
//!
//! This file hands each event of the runtime to the module that does the work, and nothing else. `entry.js` wraps what is
//! exported here and rebuilds the instance after a crash. The decisions are in the pure crates (`genesys-webhook`,
//! `genesys-client`, `gateway-core`); what is here carries them out on the platform.

mod api;
mod audit;
mod config;
mod deliver;
mod jobs;
mod objects;
mod platform;
mod receive;

pub use objects::{AuditLog, Counters, DeadLetterStore, Dispatches, Lifecycle, Watch};
pub use receive::{
    Failure, Steps, is_webhook, receive_arrived, receive_failed, receive_flush, receive_grew, receive_key,
    receive_limits, receive_open, receive_overflowed, receive_rate_limited, receive_sent,
};

use platform::context::EventContext;
use platform::http::{Answer, Problem, json_text};
use platform::queue::QueueBatch;
use wasm_bindgen::prelude::*;
use worker::Env;

/// Version of the gateway, as `/healthz` and `/metrics` show it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An HTTP request that is not the receiver's.
///
/// # Errors
/// The exception that building the answer threw.
#[wasm_bindgen]
pub async fn fetch(request: web_sys::Request, env: Env, _context: EventContext) -> Result<web_sys::Response, JsValue> {
    let url = request.url();
    let (url, query) = gateway_core::query::split(&url);
    let path = receive::path_within(&env, url);
    match path {
        "/healthz" => healthz(&request),
        "/readyz" => api::readiness::answer(&request, &env).await,
        #[cfg(feature = "crash-test")]
        "/crash" => crash(),
        "/metrics" => api::answer(&request, path, query, &env).await,
        _ if path.starts_with("/api/") => api::answer(&request, path, query, &env).await,
        _ => Problem::new(404, "Not found", "not_found").answer(),
    }
}

/// What a defect would do.
#[cfg(feature = "crash-test")]
#[allow(clippy::panic)]
fn crash() -> Answer {
    panic!("asked to crash")
}

fn healthz(request: &web_sys::Request) -> Answer {
    match request.method().as_str() {
        "GET" | "HEAD" => json_text(200, &format!(r#"{{"status":"ok","version":"{VERSION}"}}"#), &[]),
        _ => Problem::new(405, "Method not allowed", "method_not_allowed").header("allow", "GET, HEAD").answer(),
    }
}

/// A batch of a queue. Never rejects: a rejection would have the whole batch delivered again.
#[wasm_bindgen]
pub async fn queue(batch: QueueBatch, env: Env, _context: EventContext) {
    deliver::consume(&batch, &env).await;
}

#[wasm_bindgen]
extern "C" {
    /// What the runtime passes to the `scheduled` handler.
    pub type CronEvent;
    #[wasm_bindgen(method, getter)]
    fn cron(this: &CronEvent) -> String;
}

/// A cron trigger of `wrangler.toml`.
#[wasm_bindgen]
pub async fn scheduled(event: CronEvent, env: Env, _context: EventContext) {
    match event.cron().as_str() {
        jobs::reconcile::CRON => {
            jobs::reconcile::run_by_cron(&env).await;
            jobs::monitor::run_by_cron(&env).await;
        }
        jobs::retention::CRON => {
            jobs::retention::run(&env, "cron").await;
        }
        other => platform::log::warn("unknown_cron", &[("cron", other)]),
    }
}
