//! Tells the watch what holds, every five minutes.
//!
//! Promises: what could not be read is told as unknown, so that an object that does not answer neither raises nor clears
//! anything. Out of scope: the judgement (the `WATCH` object).

use crate::api::collect::collect;
use crate::platform::log;
use crate::platform::objects::{self, CallError};
use gateway_core::metrics::MetricsSnapshot;
use gateway_core::monitor::calls::{Health, WATCH_OBJECT, WatchCall};
use worker::Env;

/// What the cron does.
pub(crate) async fn run_by_cron(env: &Env) {
    if let Err(error) = evaluate(env, &collect(env).await).await {
        log::error("watch_failed", &[("error", &error.to_string())]);
    }
}

/// Has the watch judge a snapshot.
pub(crate) async fn evaluate(env: &Env, snapshot: &MetricsSnapshot) -> Result<Health, CallError> {
    objects::call(env, objects::WATCH, WATCH_OBJECT, &WatchCall::Evaluate(snapshot.observation())).await
}
