//! Outgoing requests: to destinations, and as the transport of the vendor's client.
//!
//! Promises: a time limit over headers and body together, redirects not followed, an answer read up to a limit, nothing
//! repeated. Out of scope: which addresses may be asked (`genesys_client::address`).

use super::{clock, js_error};
use genesys_client::transport::{HttpRequest, HttpResponse, Runtime, Transport, TransportError};
use js_sys::{Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, Headers, ReadableStreamDefaultReader, RequestInit, RequestRedirect, Response};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch)]
    fn js_fetch(url: &str, init: &RequestInit) -> Promise;
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, ms: u32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

pub(crate) struct FetchRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) timeout_ms: u64,
    pub(crate) read: Read,
}

/// How much of the answer's body is read.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// The first bytes, none of a success; the rest is dropped, and so is what cannot be read.
    Excerpt { bytes: usize },
    /// All of it; more bytes than these are an error.
    Whole { at_most_bytes: usize },
}

pub(crate) fn send(request: FetchRequest<'_>) -> impl Future<Output = Result<HttpResponse, TransportError>> {
    let body = request.body.map(Uint8Array::from);
    send_body(request, body)
}

/// Sends it with a body that is in JavaScript already.
pub(crate) async fn send_body(
    request: FetchRequest<'_>,
    body: Option<Uint8Array>,
) -> Result<HttpResponse, TransportError> {
    let not_sent = |error: JsValue| TransportError::connect(js_error(&error));
    let headers = Headers::new().map_err(not_sent)?;
    for (name, value) in request.headers {
        headers.append(name, value).map_err(not_sent)?;
    }
    let init = RequestInit::new();
    init.set_method(request.method);
    init.set_headers(&headers);
    init.set_redirect(RequestRedirect::Manual);
    let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(u32::MAX);
    let deadline = Deadline::start(timeout_ms).map_err(not_sent)?;
    init.set_signal(Some(&deadline.controller.signal()));
    if let Some(body) = body {
        init.set_body(&body);
    }
    let answered = exchange(request.url, &init, request.read).await;
    answered.map_err(
        |error| if deadline.passed() { TransportError::timeout("no answer within the time limit") } else { error },
    )
}

async fn exchange(url: &str, init: &RequestInit, limit: Read) -> Result<HttpResponse, TransportError> {
    let response: Response = JsFuture::from(js_fetch(url, init)).await.map_err(|error| lost(&error))?.unchecked_into();
    let headers = super::http::header_pairs(&response.headers());
    let body = match limit {
        // The status is the answer: a destination that took a delivery has taken it, whatever becomes of its words.
        Read::Excerpt { .. } if response.ok() => read(&response, Read::Excerpt { bytes: 0 }).await.unwrap_or_default(),
        Read::Excerpt { .. } => read(&response, limit).await.unwrap_or_default(),
        Read::Whole { .. } => read(&response, limit).await?,
    };
    Ok(HttpResponse { status: response.status(), headers, body })
}

/// A time limit whose timer ends with the request. `AbortSignal.timeout` would go on counting after the answer, and keep
/// a Durable Object that asked something in memory (and on the bill) until then.
struct Deadline {
    controller: AbortController,
    timer: JsValue,
}

impl Deadline {
    fn start(timeout_ms: u32) -> Result<Self, JsValue> {
        let controller = AbortController::new()?;
        let abort = Reflect::get(&controller, &JsValue::from_str("abort"))?;
        let abort: Function = abort.unchecked_ref::<Function>().bind0(&controller).unchecked_into();
        Ok(Self { timer: set_timeout(&abort, timeout_ms), controller })
    }

    fn passed(&self) -> bool {
        self.controller.signal().aborted()
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        clear_timeout(&self.timer);
    }
}

async fn read(response: &Response, limit: Read) -> Result<Vec<u8>, TransportError> {
    let Some(stream) = response.body() else { return Ok(vec![]) };
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let at_most = match limit {
        Read::Excerpt { bytes } => bytes,
        Read::Whole { at_most_bytes } => at_most_bytes,
    };
    let mut body = vec![];
    while body.len() < at_most || matches!(limit, Read::Whole { .. }) && at_most > 0 {
        let step = JsFuture::from(reader.read()).await.map_err(|error| lost(&error))?;
        if Reflect::get(&step, &JsValue::from_str("done")).is_ok_and(|done| done.is_truthy()) {
            return Ok(body);
        }
        let chunk = Reflect::get(&step, &JsValue::from_str("value")).map_err(|error| lost(&error))?;
        body.extend(Uint8Array::new(&chunk).to_vec());
        if body.len() > at_most && matches!(limit, Read::Whole { .. }) {
            let _ = JsFuture::from(reader.cancel()).await;
            return Err(TransportError::other(format!("the answer is longer than {at_most} bytes")));
        }
    }
    let _ = JsFuture::from(reader.cancel()).await;
    body.truncate(at_most);
    Ok(body)
}

/// What a rejected `fetch` means. The runtime does not tell a refused connection from one that was cut off later, so the
/// request may have arrived.
fn lost(error: &JsValue) -> TransportError {
    TransportError::other(js_error(error))
}

/// The Worker as surroundings of the vendor's client.
#[derive(Clone, Copy)]
pub(crate) struct WorkerRuntime;

impl Transport for WorkerRuntime {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let headers: Vec<(String, String)> =
            request.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let read = match request.max_response_bytes {
            0 => Read::Excerpt { bytes: 0 },
            at_most_bytes => Read::Whole { at_most_bytes },
        };
        send(FetchRequest {
            method: request.method.as_str(),
            url: &request.url,
            headers: &headers,
            body: request.body.as_deref(),
            timeout_ms: request.timeout_ms,
            read,
        })
        .await
    }
}

impl Runtime for WorkerRuntime {
    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    async fn sleep_ms(&self, ms: u64) {
        clock::sleep_ms(ms).await;
    }

    fn random_u64(&self) -> u64 {
        clock::jitter()
    }
}
