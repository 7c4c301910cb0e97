//! Time and randomness of the platform.
//!
//! Promise: milliseconds since the epoch; the clock stands still between two inputs or outputs (Workers, security model).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

pub(crate) fn now_ms() -> u64 {
    whole_ms(js_sys::Date::now())
}

/// What JavaScript's clock says, without the object that `worker::Date` makes for every look at it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole milliseconds, far below 2^53; negative times saturate to 0
pub(crate) fn whole_ms(ms: f64) -> u64 {
    ms as u64
}

/// How many random bytes are asked for at once: one call of the platform for some fifty identifiers (bench/README.md, "One way
/// against two").
const POOL_BYTES: usize = 512;

thread_local! {
    /// Random bytes that were not given out yet.
    static POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// `N` random bytes; an error where the platform has none to give (the global scope).
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    POOL.with(|cell| {
        // Nothing holds it across a call, so it is never borrowed here already.
        let mut pool = cell.try_borrow_mut().map_err(|_| getrandom::Error::UNEXPECTED)?;
        if pool.len() < N {
            let mut fresh = [0; POOL_BYTES];
            getrandom::fill(&mut fresh)?;
            *pool = fresh.to_vec();
        }
        let bytes = pool.last_chunk().copied().ok_or(getrandom::Error::UNEXPECTED)?;
        let left = pool.len().saturating_sub(N);
        pool.truncate(left);
        Ok(bytes)
    })
}

/// 64 random bits for jitter, where the lack of them must not stop anything.
pub(crate) fn jitter() -> u64 {
    random().map_or(0, u64::from_le_bytes)
}

/// What `work` comes to; `None` where it takes longer than `ms`, in which case it is dropped.
pub(crate) async fn within<T>(ms: u64, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut late) = (pin!(work), pin!(sleep_ms(ms)));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => late.as_mut().poll(context).map(|()| None),
    })
    .await
}

pub(crate) async fn sleep_ms(ms: u64) {
    worker::Delay::from(std::time::Duration::from_millis(ms)).await;
}
