//! Queues: sending framed messages as bytes, receiving batches with their attempts.
//!
//! Promises: a message is sent as the bytes that it is (`contentType: "bytes"`); every message of a batch is acknowledged
//! or put off by itself, whatever it contains. Written on the runtime's own objects, because the `worker` crate neither
//! sends bytes nor tells attempts, and panics where a queue handler returns an error.

use super::body::Body;
use super::js_error;
use gateway_core::metrics::Backlog;
use js_sys::{Array, ArrayBuffer, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use worker::Env;

/// Binding of the queue of accepted deliveries.
pub(crate) const DELIVERIES: &str = "DELIVERIES";
/// Binding of the queue that has consumers come for what waits.
pub(crate) const RELEASES: &str = "RELEASES";
/// Binding of the dead-letter queue.
pub(crate) const DEAD_LETTERS: &str = "DEAD_LETTERS";

#[wasm_bindgen]
extern "C" {
    type Producer;
    #[wasm_bindgen(method, catch)]
    fn send(this: &Producer, body: &JsValue, options: &JsValue) -> Result<Promise, JsValue>;

    /// A batch as the runtime passes it to the `queue` handler.
    pub type QueueBatch;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn queue(this: &QueueBatch) -> String;
    #[wasm_bindgen(method, getter)]
    fn messages(this: &QueueBatch) -> Array;

    /// One message of a batch.
    #[derive(Clone)]
    pub(crate) type QueueMessage;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn id(this: &QueueMessage) -> String;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn attempts(this: &QueueMessage) -> u32;
    #[wasm_bindgen(method, getter)]
    fn timestamp(this: &QueueMessage) -> JsValue;
    #[wasm_bindgen(method, getter)]
    fn body(this: &QueueMessage) -> JsValue;
    #[wasm_bindgen(method, catch, js_name = ack)]
    fn js_ack(this: &QueueMessage) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = retry)]
    fn js_retry(this: &QueueMessage, options: &JsValue) -> Result<(), JsValue>;
}

/// Sends one framed message: `header` with its newline, then `body`.
pub(crate) async fn send(env: &Env, binding: &str, header: &str, body: &Body) -> Result<(), String> {
    send_later(env, binding, header, body, 0).await
}

/// The same, to be delivered after `delay_s`.
pub(crate) async fn send_later(
    env: &Env,
    binding: &str,
    header: &str,
    body: &Body,
    delay_s: u32,
) -> Result<(), String> {
    let producer = Reflect::get(env, &JsValue::from_str(binding)).map_err(|error| js_error(&error))?;
    if !producer.is_object() {
        return Err(format!("no queue is bound as {binding}"));
    }
    let size = header.len().saturating_add(body.len());
    let message = Uint8Array::new_with_length(u32::try_from(size).map_err(|error| error.to_string())?);
    let split = u32::try_from(header.len()).map_err(|error| error.to_string())?;
    message.subarray(0, split).copy_from(header.as_bytes());
    match body {
        Body::Small(bytes) => message.subarray(split, message.length()).copy_from(bytes),
        Body::Large(array) => message.set(array, split),
    }
    let options = object("contentType", &JsValue::from_str("bytes"));
    if delay_s > 0 {
        set(&options, "delaySeconds", &JsValue::from(delay_s));
    }
    let sent = producer.unchecked_ref::<Producer>().send(&message, &options).map_err(|error| js_error(&error))?;
    JsFuture::from(sent).await.map(|_| ()).map_err(|error| js_error(&error))
}

/// What the platform says of the queue behind a producer binding; `None` where it says nothing (an older runtime, or a
/// binding that is missing): absent is not empty.
pub(crate) async fn backlog(env: &Env, binding: &str) -> Option<Backlog> {
    let producer = Reflect::get(env, &JsValue::from_str(binding)).ok().filter(JsValue::is_object)?;
    let ask = Reflect::get(&producer, &JsValue::from_str("metrics")).ok()?.dyn_into::<js_sys::Function>().ok()?;
    let asked = ask.call0(&producer).ok()?.dyn_into::<Promise>().ok()?;
    let told = JsFuture::from(asked).await.ok()?;
    let number = |key: &str| Reflect::get(&told, &JsValue::from_str(key)).ok().and_then(|value| whole(&value));
    Some(Backlog {
        messages: number("backlogCount")?,
        bytes: number("backlogBytes")?,
        oldest_at_ms: number("oldestMessageTimestamp").filter(|ms| *ms > 0),
    })
}

/// A number, or the time of a `Date`, that is not below zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts and times are far below 2^53
fn whole(value: &JsValue) -> Option<u64> {
    let number = value.as_f64().or_else(|| value.dyn_ref::<js_sys::Date>().map(js_sys::Date::get_time))?;
    (number.is_finite() && number >= 0.0).then_some(number as u64)
}

/// Whether a queue is bound.
pub(crate) fn is_bound(env: &Env, binding: &str) -> bool {
    Reflect::get(env, &JsValue::from_str(binding)).is_ok_and(|producer| producer.is_object())
}

fn object(key: &str, value: &JsValue) -> JsValue {
    let object = js_sys::Object::new().into();
    set(&object, key, value);
    object
}

fn set(object: &JsValue, key: &str, value: &JsValue) {
    // A plain object takes any property.
    let _ = Reflect::set(object, &JsValue::from_str(key), value);
}

impl QueueBatch {
    /// The messages.
    pub(crate) fn to_vec(&self) -> Vec<QueueMessage> {
        self.messages().iter().map(JsCast::unchecked_into).collect()
    }
}

impl QueueMessage {
    /// The bytes of the body. What is not bytes was not sent by this gateway: its JSON text, so that it can be kept.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let body = self.body();
        if body.is_instance_of::<ArrayBuffer>() || body.is_instance_of::<Uint8Array>() {
            return Uint8Array::new(&body).to_vec();
        }
        let text = body.as_string().or_else(|| js_sys::JSON::stringify(&body).ok().and_then(|text| text.as_string()));
        text.unwrap_or_default().into_bytes()
    }

    /// When it was sent, in milliseconds since the epoch; now where the platform does not say.
    pub(crate) fn sent_at_ms(&self) -> u64 {
        whole(&self.timestamp()).unwrap_or_else(super::clock::now_ms)
    }

    /// Done with it.
    pub(crate) fn ack(&self) {
        if let Err(error) = self.js_ack() {
            super::log::error("ack_failed", &[("error", &js_error(&error))]);
        }
    }

    /// To be delivered again after `delay_s`.
    pub(crate) fn nack(&self, delay_s: u32) {
        if let Err(error) = self.js_retry(&object("delaySeconds", &JsValue::from(delay_s))) {
            super::log::error("retry_failed", &[("error", &js_error(&error))]);
        }
    }
}
