//! The context of an event: work that goes on after the answer.

use std::future::Future;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// What the runtime passes as the third argument of every handler.
    pub type EventContext;

    #[wasm_bindgen(method, js_name = waitUntil)]
    fn wait_until_promise(this: &EventContext, promise: &js_sys::Promise);
}

impl EventContext {
    /// Keeps the event alive until `work` is done, at most 30 s after the answer.
    pub(crate) fn wait_until(&self, work: impl Future<Output = ()> + 'static) {
        self.wait_until_promise(&wasm_bindgen_futures::future_to_promise(async {
            work.await;
            Ok(JsValue::UNDEFINED)
        }));
    }
}
