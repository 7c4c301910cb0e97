//! One piece of work shared by any number of callers. The first leads, the others follow and get its result.
//!
//! Promises:
//! - A leader that is dropped hands over at once.
//! - A leader that is neither polled nor dropped any more hands over when its lease ends. The future of a cancelled
//!   request leaks in a Worker.
//! - No lock is held across an await.
//!
//! Out of scope: what the work is, and caching its result.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

pub(super) enum FlightRole<'a, V: Clone> {
    /// Do the work, then [`Lead::land`].
    Lead(Lead<'a, V>),
    /// Wait for [`Flight::landed`], at most this long, then ask again.
    Follow { number: u64, at_most_ms: u64 },
}

struct FlightState<V> {
    /// Number of the current flight, or of the last one.
    number: u64,
    /// When the current flight's lease ends. `None` without a flight in the air.
    lease_until_ms: Option<u64>,
    /// The number and result of the last flight that landed.
    result: Option<(u64, V)>,
    waiting: Vec<Waker>,
}

pub(super) struct Flight<V>(Mutex<FlightState<V>>);

impl<V: Clone> Flight<V> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(FlightState { number: 0, lease_until_ms: None, result: None, waiting: Vec::new() }))
    }

    fn state(&self) -> MutexGuard<'_, FlightState<V>> {
        // Nothing in here can panic half way, so a poisoned lock is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight in the air, or starts one with a lease of `lease_ms`.
    pub(super) fn join(&self, now_ms: u64, lease_ms: u64) -> FlightRole<'_, V> {
        let mut state = self.state();
        if let Some(until_ms) = state.lease_until_ms.filter(|until_ms| *until_ms > now_ms) {
            return FlightRole::Follow { number: state.number, at_most_ms: until_ms.saturating_sub(now_ms) };
        }
        state.number = state.number.wrapping_add(1);
        state.lease_until_ms = Some(now_ms.saturating_add(lease_ms));
        FlightRole::Lead(Lead { flight: self, number: state.number })
    }

    /// Waits until flight `number` is over or `timeout` ends, and gives its result, if there is one.
    pub(super) async fn landed(&self, number: u64, timeout: impl Future<Output = ()>) -> Option<V> {
        let mut timeout = pin!(timeout);
        std::future::poll_fn(|context| {
            {
                let mut state = self.state();
                if state.number != number || state.lease_until_ms.is_none() {
                    let result = state.result.as_ref().filter(|(landed, _)| *landed == number);
                    return Poll::Ready(result.map(|(_, value)| value.clone()));
                }
                if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.waiting.push(context.waker().clone());
                }
            }
            timeout.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// Ends flight `number`, unless another has been started since, and wakes its followers.
    fn end(&self, number: u64, value: Option<V>) {
        let waiting = {
            let mut state = self.state();
            if state.number != number {
                return;
            }
            state.lease_until_ms = None;
            if let Some(value) = value {
                state.result = Some((number, value));
            }
            core::mem::take(&mut state.waiting)
        };
        for waker in waiting {
            waker.wake();
        }
    }
}

/// The leader's part. Dropping it without landing hands over.
pub(super) struct Lead<'a, V: Clone> {
    flight: &'a Flight<V>,
    number: u64,
}

impl<V: Clone> Lead<'_, V> {
    /// Extends the lease to `lease_ms` from now, unless another caller has taken over.
    pub(super) fn renew(&self, now_ms: u64, lease_ms: u64) {
        let mut state = self.flight.state();
        if state.number == self.number {
            state.lease_until_ms = Some(now_ms.saturating_add(lease_ms));
        }
    }

    pub(super) fn land(self, value: V) {
        self.flight.end(self.number, Some(value));
        // The drop that follows finds the flight ended and does nothing more.
    }
}

impl<V: Clone> Drop for Lead<'_, V> {
    fn drop(&mut self) {
        self.flight.end(self.number, None);
    }
}
