//! The Worker's entry points.

use worker::wasm_bindgen;
use worker::wasm_bindgen::prelude::*;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

#[wasm_bindgen]
pub async fn fetch(
    _request: web_sys::Request,
    _env: Env,
    _context: worker::worker_sys::Context,
) -> std::result::Result<web_sys::Response, JsValue> {
    web_sys::Response::new_with_opt_str(Some("ok"))
}

#[wasm_bindgen]
pub async fn queue(
    _batch: worker::worker_sys::MessageBatch,
    _env: Env,
    _context: worker::worker_sys::Context,
) -> std::result::Result<JsValue, JsValue> {
    Ok(JsValue::UNDEFINED)
}

#[wasm_bindgen]
pub async fn scheduled(
    _event: worker::worker_sys::ScheduledEvent,
    _env: Env,
    _context: worker::worker_sys::ScheduleContext,
) -> std::result::Result<JsValue, JsValue> {
    Ok(JsValue::UNDEFINED)
}

macro_rules! stub {
    ($name:ident) => {
        #[durable_object(fetch)]
        pub struct $name {}
        impl DurableObject for $name {
            fn new(_state: State, _env: Env) -> Self {
                Self {}
            }
            async fn fetch(&self, _req: Request) -> Result<Response> {
                Response::ok("ok")
            }
        }
    };
}
stub!(Counters);
stub!(DeliveryLedger);
stub!(DeadLetterStore);
stub!(AuditLog);
stub!(Lifecycle);
