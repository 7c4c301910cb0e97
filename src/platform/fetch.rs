//! Outgoing requests: to destinations, and as the transport of the vendor's client.
//!
//! Promises: a time limit over headers and body together, redirects not followed, an answer read up to a limit, nothing
//! repeated. Out of scope: which addresses may be asked (`genesys_client::address`).

use super::{clock, js_error};
use genesys_client::transport::{HttpRequest, HttpResponse, Runtime, Transport, TransportError};
use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, Headers, ReadableStreamDefaultReader, RequestInit, RequestRedirect, Response};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch)]
    fn js_fetch(url: &str, init: &RequestInit) -> Promise;
}

/// One request.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'static str,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) timeout_ms: u64,
    pub(crate) read: Read,
}

/// How much of the answer's body is read.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// The first bytes; the rest is dropped.
    Excerpt { bytes: usize },
    /// All of it; more bytes than these are an error.
    Whole { at_most_bytes: usize },
}

/// Sends it.
pub(crate) async fn send(request: Outgoing<'_>) -> Result<HttpResponse, TransportError> {
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
    init.set_signal(Some(&AbortSignal::timeout_with_u32(timeout_ms)));
    if let Some(body) = request.body {
        init.set_body(&Uint8Array::from(body));
    }
    let response: Response =
        JsFuture::from(js_fetch(request.url, &init)).await.map_err(|error| lost(&error))?.unchecked_into();
    let headers = super::http::RequestHeaders(response.headers()).pairs();
    let body = read(&response, request.read).await?;
    Ok(HttpResponse { status: response.status(), headers, body })
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

/// What a rejected `fetch` means. The runtime does not tell a refused connection from one that was cut off later, so
/// everything but a name that does not resolve may have arrived.
fn lost(error: &JsValue) -> TransportError {
    let name = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.name())).unwrap_or_default();
    let message = js_error(error);
    if name == "TimeoutError" || message.contains("TimeoutError") {
        TransportError::timeout(message)
    } else {
        TransportError::other(message)
    }
}

/// The Worker as surroundings of the vendor's client.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings;

impl Transport for Surroundings {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let headers: Vec<(String, String)> =
            request.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let read = match request.max_response_bytes {
            0 => Read::Excerpt { bytes: 0 },
            at_most_bytes => Read::Whole { at_most_bytes },
        };
        send(Outgoing {
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

impl Runtime for Surroundings {
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
