//! Counts what happens to requests, in memory, and sends it to the counter objects outside of the answer.
//!
//! Promises: counting never waits and never fails a request; at most one request at a time drives the sending, and goes on
//! until nothing is left; a driver that vanished (its request was cut off) is succeeded after its lease.

use crate::objects::clients::CountersClient;
use crate::platform::context::EventContext;
use crate::platform::{clock, log};
use gateway_core::metrics::counters::{CounterBuffer, FLUSH_LEASE_MS, Metric, counter_shard, latency_bucket};
use gateway_core::receive::SettledRequest;
use std::cell::RefCell;
use worker::Env;

/// How long a driver gathers before it sends, at most: one call then carries what all requests of that time added. What an
/// isolate that is lost takes with it is what was added since its last flush began: at most this long, or
/// [`GATHER_REQUESTS`] and those of one more step.
const GATHER_MS: u64 = 2_000;

/// So many requests are sent without gathering longer.
const GATHER_REQUESTS: u64 = 500;

/// How often a driver looks whether that many have come, and how long it waits after a failed flush.
const GATHER_STEP_MS: u64 = 100;

/// How often a failed flush is sent again by the same driver; the next request goes on after that.
const TRIES: u32 = 3;

struct Counting {
    buffer: CounterBuffer,
    shard: String,
    driven_until_ms: u64,
}

thread_local! {
    static COUNTING: RefCell<Option<Counting>> = const { RefCell::new(None) };
}

/// Lends the isolate's buffer, made at the first use, because randomness is not to be had before the first event.
fn with<T>(f: impl FnOnce(&mut Counting) -> T) -> Option<T> {
    COUNTING.with(|cell| {
        let mut counting = cell.try_borrow_mut().ok()?;
        if counting.is_none() {
            let isolate = format!("{:016x}", u64::from_le_bytes(clock::random().ok()?));
            let shard = counter_shard(&isolate);
            *counting = Some(Counting { buffer: CounterBuffer::new(isolate), shard, driven_until_ms: 0 });
        }
        counting.as_mut().map(f)
    })
}

/// Adds a request, with metric, label and number of what it came to; whether its caller is to [`drive`] the sending.
pub(crate) fn add_request(
    source: &str,
    settled: &SettledRequest,
    outcome: &[(Metric, &str, u64)],
    now_ms: u64,
) -> bool {
    let drive = with(|counting| {
        let buffer = &mut counting.buffer;
        buffer.add(Metric::Received, source, "", 1);
        buffer.add(Metric::Bytes, source, "", settled.size_bytes);
        buffer.add(Metric::LatencyMs, source, "", settled.latency_ms);
        buffer.add(Metric::LatencyBucket, source, latency_bucket(settled.latency_ms), 1);
        for (metric, label, n) in outcome {
            buffer.add(*metric, source, label, *n);
        }
        let drive = counting.driven_until_ms <= now_ms;
        if drive {
            counting.driven_until_ms = now_ms.saturating_add(FLUSH_LEASE_MS);
        }
        drive
    });
    drive == Some(true)
}

/// Sends what was added and what is added meanwhile, outside of the answer.
pub(crate) fn drive(env: &Env, context: &EventContext) {
    let env = env.clone();
    context.wait_until(async move {
        gather().await;
        flush(&env).await;
        with(|counting| counting.driven_until_ms = 0);
    });
}

/// Adds to what belongs to no request; sent by [`flush`] or by the next request.
pub(crate) fn add(metric: Metric, source: &str, label: &str, n: u64) {
    with(|counting| counting.buffer.add(metric, source, label, n));
}

async fn gather() {
    for _ in 0..GATHER_MS.div_euclid(GATHER_STEP_MS) {
        clock::sleep_ms(GATHER_STEP_MS).await;
        if with(|counting| counting.buffer.pending_requests()).is_none_or(|n| n >= GATHER_REQUESTS) {
            return;
        }
    }
}

/// Sends what was added until nothing is left, or until it has failed too often: the next request goes on then.
pub(crate) async fn flush(env: &Env) {
    let mut failures = 0u32;
    while let Some(Some((flush, shard))) =
        with(|counting| counting.buffer.begin_flush(clock::now_ms()).map(|flush| (flush, counting.shard.clone())))
    {
        let seq = flush.seq;
        match CountersClient::new(env, &shard).add(flush).await {
            Ok(()) => {
                with(|counting| counting.buffer.flushed(seq));
            }
            Err(error) => {
                with(|counting| {
                    counting.buffer.failed(seq);
                    counting.buffer.add(Metric::FlushFailed, "", "", 1);
                });
                failures = failures.saturating_add(1);
                log::warn("flush_failed", &[("error", &error.to_string())]);
                if failures >= TRIES {
                    return;
                }
                clock::sleep_ms(GATHER_STEP_MS.saturating_mul(failures.into())).await;
            }
        }
    }
}
