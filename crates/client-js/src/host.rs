//! The JavaScript host: `fetch`, the clock, pauses and randomness.
//!
//! Promises, which are the contract of [`Transport`]:
//! - A time limit covers headers and body together, also with a `fetch` that does not know `AbortSignal`.
//! - Redirects are not followed, an answer is read up to a limit, and nothing is repeated.
//! - No message shows what was sent.
//!
//! Only `fetch`, `AbortController`, `setTimeout`, `Date` and `Math.random` are needed, which Node, browsers and Workers
//! have. Out of scope: which addresses may be called.

use crate::args::member;
use crate::json::object;
use crate::number::whole;
use futures_util::future::{Either, select};
use genesys_client::transport::{HttpRequest, HttpResponse, Runtime, Transport, TransportError};
use gloo_timers::future::TimeoutFuture;
use js_sys::{Array, Date, Function, Math, Object, Promise, Reflect, Uint8Array};
use std::pin::pin;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    type AbortController;
    #[wasm_bindgen(constructor)]
    fn new() -> AbortController;
    #[wasm_bindgen(method, getter)]
    fn signal(this: &AbortController) -> JsValue;
    #[wasm_bindgen(method)]
    fn abort(this: &AbortController);
}

/// Longest delay that `setTimeout` takes, a signed 32-bit number (HTML standard). Longer ones would end at once.
const MAX_DELAY_MS: u32 = 0x7fff_ffff;

/// Longest text of another program's error that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// Codes with which Node says that no connection came about, so that nothing was sent.
const NOT_CONNECTED: [&str; 7] = [
    "ECONNREFUSED",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "UND_ERR_CONNECT_TIMEOUT",
    "ConnectionRefused",
];

#[derive(Clone)]
pub(crate) struct Host {
    /// The caller's `fetch`. Without one, the global one is looked up with every request, so that it can be replaced.
    pub(crate) fetch: Option<Function>,
}

/// A pause. Dropping it ends its timer, so that no timer keeps a process alive for nothing.
async fn pause(ms: u64) {
    TimeoutFuture::new(u32::try_from(ms).unwrap_or(MAX_DELAY_MS).min(MAX_DELAY_MS)).await;
}

/// Cuts an exchange off when it is dropped before it has ended.
struct AbortOnDrop {
    controller: AbortController,
    armed: bool,
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.controller.abort();
        }
    }
}

impl Transport for Host {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let mut cutter = AbortOnDrop { controller: AbortController::new(), armed: true };
        let exchange = pin!(self.exchange(&request, cutter.controller.signal()));
        let Either::Left((result, _)) = select(exchange, pin!(pause(request.timeout_ms))).await else {
            return Err(TransportError::timeout(format!("no answer within {} ms", request.timeout_ms)));
        };
        cutter.armed = result.is_err();
        result.map_err(|error| without_credentials(error, &request))
    }
}

impl Host {
    async fn exchange(&self, request: &HttpRequest, signal: JsValue) -> Result<HttpResponse, TransportError> {
        let headers = Object::new();
        for (name, value) in &request.headers {
            // A property of a new object can always be set.
            let _ = Reflect::set(&headers, &JsValue::from_str(name), &JsValue::from_str(value));
        }
        let init = object(&[
            ("method", request.method.as_str().into()),
            ("headers", headers.into()),
            ("redirect", "manual".into()),
            ("signal", signal),
            ("body", request.body.as_deref().map_or(JsValue::UNDEFINED, |body| Uint8Array::from(body).into())),
        ]);
        let fetch = match &self.fetch {
            Some(fetch) => fetch.clone(),
            None => Reflect::get(&js_sys::global(), &"fetch".into())
                .and_then(JsCast::dyn_into)
                .map_err(|_| TransportError::connect("there is no fetch; pass one as options.fetch"))?,
        };
        let answered =
            fetch.call2(&JsValue::UNDEFINED, &request.url.as_str().into(), &init).map_err(|error| lost(&error))?;
        let response = JsFuture::from(Promise::resolve(&answered)).await.map_err(|error| lost(&error))?;
        read(&response, request.max_response_bytes).await
    }
}

async fn read(response: &JsValue, max_bytes: usize) -> Result<HttpResponse, TransportError> {
    let no_response = || TransportError::other("fetch gave no Response");
    let get = |name| member(response, name).map_err(|_| no_response());
    // A browser hides status and headers of a redirect that is not followed. Any 3xx stands for it.
    if get("type")?.as_string().as_deref() == Some("opaqueredirect") {
        return Ok(HttpResponse { status: 302, ..HttpResponse::default() });
    }
    let status = get("status")?.as_f64().and_then(whole).and_then(|status| u16::try_from(status).ok());
    let mut answer = HttpResponse { status: status.ok_or_else(no_response)?, headers: vec![], body: vec![] };
    let headers = js_sys::try_iter(&get("headers")?).ok().flatten().ok_or_else(no_response)?;
    for pair in headers {
        let pair: Array = pair.ok().and_then(|pair| pair.dyn_into().ok()).ok_or_else(no_response)?;
        if let (Some(name), Some(value)) = (pair.get(0).as_string(), pair.get(1).as_string()) {
            answer.headers.push((name, value));
        }
    }
    let body = get("body")?;
    if !body.is_object() {
        return Ok(answer);
    }
    let reader = method(&body, "getReader").map_err(|error| lost(&error))?;
    if max_bytes > 0 {
        answer.body = read_body(&reader, max_bytes).await?;
    } else if let Ok(cancelled) = method(&reader, "cancel") {
        // Whether an unwanted body can be cancelled makes no difference.
        let _ = JsFuture::from(Promise::resolve(&cancelled)).await;
    }
    Ok(answer)
}

async fn read_body(reader: &JsValue, max_bytes: usize) -> Result<Vec<u8>, TransportError> {
    let mut body = vec![];
    loop {
        let step = method(reader, "read").map_err(|error| lost(&error))?;
        let step = JsFuture::from(Promise::resolve(&step)).await.map_err(|error| lost(&error))?;
        if member(&step, "done").is_ok_and(|done| done.is_truthy()) {
            return Ok(body);
        }
        let chunk = member(&step, "value").ok().and_then(|chunk| chunk.dyn_into::<Uint8Array>().ok());
        let chunk = chunk.ok_or_else(|| TransportError::other("the body is not a stream of bytes"))?;
        let length = usize::try_from(chunk.length()).unwrap_or(usize::MAX);
        if body.len().saturating_add(length) > max_bytes {
            return Err(TransportError::other(format!("the answer is longer than {max_bytes} bytes")));
        }
        body.extend_from_slice(&chunk.to_vec());
    }
}

fn method(object: &JsValue, name: &str) -> Result<JsValue, JsValue> {
    Reflect::get(object, &name.into())?.dyn_into::<Function>()?.call0(object)
}

/// What a rejected `fetch` means. Where the host does not say that no connection came about, the request may have
/// arrived.
fn lost(error: &JsValue) -> TransportError {
    let text = |value: &JsValue, name| member(value, name).ok().and_then(|text| text.as_string());
    let cause = member(error, "cause").ok().filter(JsValue::is_object);
    let code = text(error, "code").or_else(|| cause.as_ref().and_then(|cause| text(cause, "code")));
    let message = text(error, "message").unwrap_or_else(|| "fetch failed".to_owned());
    let mut message: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
    if let Some(code) = &code {
        message = format!("{message} ({code})");
    }
    match text(error, "name").as_deref() {
        Some("TimeoutError" | "AbortError") => TransportError::timeout(message),
        _ if code.is_some_and(|code| NOT_CONNECTED.contains(&code.as_str())) => TransportError::connect(message),
        _ => TransportError::other(message),
    }
}

/// The caller's `fetch` may quote what it was given.
fn without_credentials(mut error: TransportError, request: &HttpRequest) -> TransportError {
    for (name, value) in &request.headers {
        let credential = value.split_once(' ').map_or(value.as_str(), |(_, credential)| credential);
        if *name == "authorization" && !credential.is_empty() {
            error.message = error.message.replace(credential, "[secret]");
        }
    }
    error
}

pub(crate) fn now_ms() -> u64 {
    whole(Date::now().floor()).unwrap_or(0)
}

impl Runtime for Host {
    fn now_ms(&self) -> u64 {
        now_ms()
    }

    async fn sleep_ms(&self, ms: u64) {
        pause(ms).await;
    }

    fn random_u64(&self) -> u64 {
        /// What one call of `Math.random` is asked for.
        const BITS: f64 = 4_294_967_296.0;
        let half = || whole((Math::random() * BITS).floor()).unwrap_or(0);
        half().wrapping_shl(32) | half()
    }
}
