//! Has the monitor judge what holds, every five minutes.
//!
//! Promise: what could not be read is unknown, so that an object that does not answer neither raises nor clears an alert.
//! Out of scope: the judgement (`gateway_core::monitor`).

use crate::api::collect::collect;
use crate::objects::clients::MonitorClient;
use crate::platform::log;
use worker::Env;

/// What the cron does.
pub(crate) async fn run_by_cron(env: &Env) {
    if let Err(error) = MonitorClient::new(env).evaluate(collect(env).await.observation()).await {
        log::error("monitor_failed", &[("error", &error.to_string())]);
    }
}
