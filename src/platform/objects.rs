//! Calls to Durable Objects.
//!
//! Promises: one way for all of them: a `POST` with the JSON of a call, answered with the JSON of its result or an error
//! status. Rust objects cannot be called by the runtime's RPC. Out of scope: repeating a call (its caller knows whether that is safe).

use super::js_error;
use js_sys::{Promise, Reflect};
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::RequestInit;
use worker::{Env, Request, Response};

#[wasm_bindgen]
extern "C" {
    /// A class of objects as the runtime binds it. Called directly: on its way through the `worker` crate a request carries
    /// options for caches and images, which take 20 KB of code.
    type Namespace;
    #[wasm_bindgen(method, catch, js_name = getByName)]
    fn get_by_name(this: &Namespace, name: &str) -> Result<Stub, JsValue>;

    type Stub;
    #[wasm_bindgen(method, catch)]
    fn fetch(this: &Stub, url: &str, init: &RequestInit) -> Result<Promise, JsValue>;
}

/// Binding of the counter objects.
pub(crate) const COUNTERS: &str = "COUNTERS";
/// Binding of the objects of destinations.
pub(crate) const DISPATCHES: &str = "DISPATCHES";
/// Binding of the dead-letter store.
pub(crate) const DEAD_LETTER_STORE: &str = "DEAD_LETTER_STORE";
/// Binding of the audit log.
pub(crate) const AUDIT_LOG: &str = "AUDIT_LOG";
/// Binding of the lifecycle object.
pub(crate) const LIFECYCLE: &str = "LIFECYCLE";
/// Binding of the watch.
pub(crate) const WATCH: &str = "WATCH";

/// How earlier versions ask an object whether it answers: it says nothing of the object's tables.
const PING: &str = "ping";

/// A call that did not succeed. Ours: the object, its binding or its storage failed.
#[derive(Clone, Debug)]
pub(crate) struct CallError {
    binding: &'static str,
    what: String,
}

impl CallError {
    /// No answer within the time that its caller could wait.
    pub(crate) fn late(binding: &'static str) -> Self {
        Self { binding, what: "no answer in time".into() }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.binding, self.what)
    }
}

/// Calls the object `name` of `binding`.
pub(crate) fn call<T: DeserializeOwned>(
    env: &Env,
    binding: &'static str,
    name: &str,
    request: &impl Serialize,
) -> impl Future<Output = Result<T, CallError>> {
    call_for(env, binding, name, body_of(binding, request))
}

async fn call_for<T: DeserializeOwned>(
    env: &Env,
    binding: &'static str,
    name: &str,
    body: Result<String, CallError>,
) -> Result<T, CallError> {
    let text = exchange(env, binding, name, body?).await?;
    serde_json::from_str(&text).map_err(|error| CallError { binding, what: error.to_string() })
}

/// Calls the object `name` of `binding` for an answer that is passed on as it is.
pub(crate) async fn call_for_text(
    env: &Env,
    binding: &'static str,
    name: &str,
    request: &impl Serialize,
) -> Result<String, CallError> {
    exchange(env, binding, name, body_of(binding, request)?).await
}

fn body_of(binding: &'static str, request: &impl Serialize) -> Result<String, CallError> {
    serde_json::to_string(request).map_err(|error| CallError { binding, what: error.to_string() })
}

/// The part of a call that is the same for all types, compiled once: `body` is the JSON of one.
pub(crate) async fn exchange(env: &Env, binding: &'static str, name: &str, body: String) -> Result<String, CallError> {
    let failed = |what: String| CallError { binding, what };
    let thrown = |error: JsValue| failed(js_error(&error));
    let namespace = Reflect::get(env, &JsValue::from_str(binding)).map_err(thrown)?;
    if !namespace.is_object() {
        return Err(failed("no class of objects is bound under this name".into()));
    }
    let stub = namespace.unchecked_ref::<Namespace>().get_by_name(name).map_err(thrown)?;
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_body(&JsValue::from_str(&body));
    let answer = stub.fetch("https://object/", &init).map_err(thrown)?;
    let answer: web_sys::Response = JsFuture::from(answer).await.map_err(thrown)?.unchecked_into();
    let text = JsFuture::from(answer.text().map_err(thrown)?).await.map_err(thrown)?;
    let text = text.as_string().unwrap_or_default();
    if answer.status() == 200 { Ok(text) } else { Err(failed(text)) }
}

/// An object's side of a call: decodes it, lets `handle` answer it, encodes the result. What the caller did wrong is 400,
/// what storage did wrong 500; neither is an exception, which would cross to the caller without a status.
/// `handle` answers the result as JSON text ([`json`]): a tree in between would double the code for every type.
pub(crate) async fn serve<C, F>(mut request: Request, handle: F) -> worker::Result<Response>
where
    C: DeserializeOwned,
    F: AsyncFnOnce(C) -> worker::Result<String>,
{
    let text = request.text().await?;
    if text == PING {
        return Response::ok(PING);
    }
    respond(match serde_json::from_str(&text) {
        Ok(call) => handle(call).await.map_err(|error| (500, error.to_string())),
        Err(error) => Err((400, format!("unreadable call: {error}"))),
    })
}

fn respond(answered: Result<String, (u16, String)>) -> worker::Result<Response> {
    match answered {
        Ok(result) => Response::ok(result),
        Err((status, error)) => Response::error(error, status),
    }
}

/// The JSON text of a result.
pub(crate) fn json(result: &impl Serialize) -> worker::Result<String> {
    Ok(serde_json::to_string(result)?)
}
