//! Reads the body of a request, once, as raw bytes.
//!
//! Promises: the limit counts bytes that arrive: a `Content-Length` over it is refused without reading, a body without one
//! is read in chunks and dropped when it passes the limit.

use super::js_error;
use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Request};

/// Why there is no body.
pub(crate) enum BodyError {
    /// More than the limit; what is known of its size.
    TooLarge { size_bytes: u64 },
    /// The sender went away, or the body was read before.
    Unreadable(String),
}

/// Reads at most `limit_bytes`.
pub(crate) async fn read(request: &Request, limit_bytes: u64) -> Result<Vec<u8>, BodyError> {
    let declared = request.headers().get("content-length").ok().flatten().and_then(|text| text.parse::<u64>().ok());
    match declared {
        Some(size_bytes) if size_bytes > limit_bytes => Err(BodyError::TooLarge { size_bytes }),
        // The runtime holds the sender to a length that it declared.
        Some(_) => {
            let promise = request.array_buffer().map_err(|error| unreadable(&error))?;
            let buffer = JsFuture::from(promise).await.map_err(|error| unreadable(&error))?;
            Ok(Uint8Array::new(&buffer).to_vec())
        }
        None => read_chunks(request, limit_bytes).await,
    }
}

async fn read_chunks(request: &Request, limit_bytes: u64) -> Result<Vec<u8>, BodyError> {
    let Some(stream) = request.body() else { return Ok(vec![]) };
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut body = vec![];
    loop {
        let step = JsFuture::from(reader.read()).await.map_err(|error| unreadable(&error))?;
        if Reflect::get(&step, &JsValue::from_str("done")).is_ok_and(|done| done.is_truthy()) {
            return Ok(body);
        }
        let chunk = Reflect::get(&step, &JsValue::from_str("value")).map_err(|error| unreadable(&error))?;
        let chunk = Uint8Array::new(&chunk);
        let size_bytes = (body.len() as u64).saturating_add(u64::from(chunk.length()));
        if size_bytes > limit_bytes {
            // Nobody waits for the rest; an error while dropping it changes nothing.
            let _ = JsFuture::from(reader.cancel()).await;
            return Err(BodyError::TooLarge { size_bytes });
        }
        let start = body.len();
        body.resize(start.saturating_add(chunk.length() as usize), 0);
        if let Some(space) = body.get_mut(start..) {
            chunk.copy_to(space);
        }
    }
}

fn unreadable(error: &JsValue) -> BodyError {
    BodyError::Unreadable(js_error(error))
}
