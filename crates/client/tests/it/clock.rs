//! Time that moves only when a future sleeps, and an executor for futures that never really wait.

use genesys_client::Runtime;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

/// 2026-01-01, so that dates look like dates.
pub(crate) const START_MS: u64 = 1_767_225_600_000;

pub(crate) struct Clock {
    now_ms: AtomicU64,
    random: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { now_ms: AtomicU64::new(START_MS), random: AtomicU64::new(1) }
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Runtime for Clock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    async fn sleep_ms(&self, ms: u64) {
        self.advance(ms);
    }

    fn random_u64(&self) -> u64 {
        // Knuth's MMIX generator, the high bits of which are well mixed.
        let next = self
            .random
            .load(Ordering::SeqCst)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.random.store(next, Ordering::SeqCst);
        next >> 11
    }
}

/// Runs a future whose every await is ready at once.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits for something that this executor does not know"),
    }
}
