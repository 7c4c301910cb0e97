//! No trap leaves the module. A panic, or memory that is used up, becomes an error of the one call that met it.
//!
//! Promise: every promise settles, and a Node process does not end. The crates below deny everything that can panic, so
//! this is the second line. Everything exported runs inside [`run`] or [`promise`].
//!
//! The work is called through JavaScript (`js/host.js`), which catches. The frames between are gone without having been
//! unwound, so their memory is lost and nothing of them may be touched again, not even to drop it.
//!
//! Out of scope: freeing that memory.

use crate::error::JsFailure;
use js_sys::Promise;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::task::Poll;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

#[wasm_bindgen(module = "/js/host.js")]
extern "C" {
    fn attempt(work: &mut dyn FnMut()) -> JsValue;
}

thread_local! {
    /// Where the last panic was. The message is not kept, because it could quote a secret.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the place of a panic, for the error that it becomes.
pub(crate) fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at: &Location<'_>| format!("{}:{}", at.file(), at.line()));
        PANICKED_AT.with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                *kept = place;
            }
        });
    }));
}

fn crashed(cause: &JsValue) -> JsFailure {
    let place = PANICKED_AT.with(|kept| kept.try_borrow_mut().ok().and_then(|mut kept| kept.take()));
    let failure = JsFailure::internal(match place {
        Some(place) => format!("internal error at {place}"),
        None => "internal error: no memory left, or the host failed".to_owned(),
    });
    failure.caused_by(cause)
}

/// Runs `work` to its end, or gives an error where it was cut off.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, JsFailure> {
    let mut work = Some(work);
    let mut result = None;
    let cause = attempt(&mut || result = work.take().map(|work| work()));
    match result {
        Some(result) if cause.is_undefined() => Ok(result),
        result => {
            mem::forget(result);
            Err(crashed(&cause))
        }
    }
}

pub(crate) fn run<T>(work: impl FnOnce() -> Result<T, JsFailure>) -> Result<T, JsValue> {
    contained(work).and_then(|result| result).map_err(JsFailure::into_js)
}

/// An asynchronous call. Starts at once, and always settles.
pub(crate) fn promise(work: impl Future<Output = Result<JsValue, JsFailure>> + 'static) -> Promise {
    let mut work: Option<Pin<Box<dyn Future<Output = _>>>> = Some(Box::pin(work));
    future_to_promise(poll_fn(move |context| {
        let Some(mut current) = work.take() else { return Poll::Pending };
        match contained(|| current.as_mut().poll(context)) {
            Ok(Poll::Pending) => {
                work = Some(current);
                Poll::Pending
            }
            Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(JsFailure::into_js)),
            Err(failure) => {
                // Cut off in the middle, its state is not a valid one.
                mem::forget(current);
                Poll::Ready(Err(failure.into_js()))
            }
        }
    }))
}
