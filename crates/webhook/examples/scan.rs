//! The scan of envelopes as a module of wasm that does nothing else, for `bench/envelope.mjs` and
//! `tests/wasm/envelope.test.mjs`.

use std::hint::black_box;
use std::sync::{Mutex, MutexGuard, PoisonError};

use genesys_webhook::envelope::{EnvelopeKind, inspect};
use genesys_webhook::refusal::Refusal;

static BODY: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn body() -> MutexGuard<'static, Vec<u8>> {
    BODY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a byte to the body.
#[unsafe(no_mangle)]
pub extern "C" fn push(byte: u8) {
    body().push(byte);
}

/// Forgets the body.
#[unsafe(no_mangle)]
pub extern "C" fn clear() {
    body().clear();
}

/// Scans the body so many times: how many events were found in all, and -1 where it is no envelope.
#[unsafe(no_mangle)]
pub extern "C" fn scan(times: u32) -> f64 {
    let body = body();
    let mut events = 0;
    for _ in 0..times {
        let Ok(envelope) = inspect(black_box(&body), EnvelopeKind::Events, &[]) else { return -1.0 };
        events += envelope.event_count;
    }
    events as f64
}

/// What the body is: `4 * events` for an object with `events`, `4 * byte + 1` where it is no JSON, and `4 * byte + 2` where it is
/// another JSON.
#[unsafe(no_mangle)]
pub extern "C" fn judge() -> f64 {
    let (number, code) = match inspect(&body(), EnvelopeKind::Events, &[]) {
        Ok(envelope) => (envelope.event_count, 0),
        Err(Refusal::InvalidJson { at_byte, .. }) => (at_byte as u64, 1),
        Err(Refusal::InvalidEnvelope { at_byte, .. }) => (at_byte as u64, 2),
        Err(_) => (0, 3),
    };
    (4 * number + code) as f64
}
