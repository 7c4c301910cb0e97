//! The body of a management call, and bytes where they are cheapest.
//!
//! Promises: at most the limit is taken of a call's body; a large body stays in the buffer that the runtime filled (hashed by
//! WebCrypto, sent and stored from there) and is copied into wasm only for the moment of a synchronous scan. Out of scope:
//! bodies of deliveries (`receive/driver.js`).

use super::js_error;
use js_sys::Uint8Array;
use wasm_bindgen_futures::JsFuture;
use web_sys::Request;

/// Raw bytes, in wasm or in JavaScript.
pub(crate) enum RawBody {
    Wasm(Vec<u8>),
    Js(Uint8Array),
}

/// Why there is no body.
pub(crate) enum BodyError {
    /// More than the limit.
    TooLarge,
    /// The caller went away, or the body was read before.
    Unreadable(String),
}

impl RawBody {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Wasm(bytes) => bytes.len(),
            Self::Js(array) => usize::try_from(array.length()).unwrap_or(usize::MAX),
        }
    }

    /// Lends the bytes to something synchronous.
    pub(crate) fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Wasm(bytes) => f(bytes),
            Self::Js(array) => f(&array.to_vec()),
        }
    }

    /// The bytes as the platform takes them: a copy, or the buffer itself.
    pub(crate) fn to_js(&self) -> Uint8Array {
        match self {
            Self::Wasm(bytes) => Uint8Array::from(bytes.as_slice()),
            Self::Js(array) => array.clone(),
        }
    }
}

/// Reads at most `limit_bytes` of a management call, whose caller has shown its token.
pub(crate) async fn read(request: &Request, limit_bytes: u64) -> Result<Vec<u8>, BodyError> {
    let declared = request.headers().get("content-length").ok().flatten().and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limit_bytes) {
        return Err(BodyError::TooLarge);
    }
    let unreadable = |error| BodyError::Unreadable(js_error(&error));
    let promise = request.array_buffer().map_err(unreadable)?;
    let array = Uint8Array::new(&JsFuture::from(promise).await.map_err(unreadable)?);
    if u64::from(array.length()) > limit_bytes { Err(BodyError::TooLarge) } else { Ok(array.to_vec()) }
}
