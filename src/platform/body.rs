//! The body of a request: read once, as raw bytes, and kept where it is cheapest.
//!
//! Promises: the limit counts bytes that arrive: a `Content-Length` over it is refused without reading, a body without one
//! is read in chunks and dropped when it passes the limit; what all requests hold together stays within the isolate's
//! budget. A large body stays in the buffer that the runtime filled (hashed by WebCrypto, sent and stored from there) and
//! is copied into wasm only for the moment of a synchronous scan, so that wasm's memory, which never shrinks, holds one of
//! them at a time.

use super::{clock, js_error};
use gateway_core::receive::body_budget::{InFlight, Ticket};
use js_sys::{Reflect, Uint8Array};
use std::cell::RefCell;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Request};

/// From this size on a body stays in JavaScript. Below it the calls to WebCrypto cost more than hashing in wasm
/// (`bench/README.md`, "Where bodies are hashed").
/// The variable moves it for that measurement, at build time.
pub(crate) const LARGE_BYTES: u64 = match option_env!("GATEWAY_LARGE_BYTES") {
    Some(digits) => number(digits.as_bytes()),
    None => 8_192,
};

const fn number(mut digits: &[u8]) -> u64 {
    let mut number = 0u64;
    while let Some((digit, rest)) = digits.split_first() {
        number = number.saturating_mul(10).saturating_add(digit.saturating_sub(b'0') as u64);
        digits = rest;
    }
    number
}

thread_local! {
    static IN_FLIGHT: RefCell<InFlight> = RefCell::default();
}

/// Raw bytes, in wasm or in JavaScript.
pub(crate) enum Body {
    Small(Vec<u8>),
    Large(Uint8Array),
}

/// Why there is no body.
pub(crate) enum BodyError {
    /// More than the limit; what is known of its size.
    TooLarge { size_bytes: u64 },
    /// The isolate holds as much as it may.
    Busy,
    /// The sender went away, or the body was read before.
    Unreadable(String),
}

/// A body's place in the isolate's budget, given back when it is dropped (or, where a request vanishes without dropping
/// anything, when its lease ends).
pub(crate) struct Place(Ticket);

impl Place {
    /// A place for `bytes`. `now_ms`: milliseconds since the epoch.
    pub(crate) fn take(bytes: u64, now_ms: u64) -> Result<Self, BodyError> {
        with_budget(|budget| budget.admit(bytes, now_ms)).flatten().map(Self).ok_or(BodyError::Busy)
    }

    fn grow(&self, bytes: u64, copies: u64) -> Result<(), BodyError> {
        if with_budget(|budget| budget.grow(self.0, bytes, copies)) == Some(true) {
            Ok(())
        } else {
            Err(BodyError::Busy)
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        with_budget(|budget| budget.release(self.0));
    }
}

/// Nothing holds the budget across an await, so it is never borrowed here already.
fn with_budget<T>(f: impl FnOnce(&mut InFlight) -> T) -> Option<T> {
    IN_FLIGHT.with(|cell| cell.try_borrow_mut().ok().map(|mut budget| f(&mut budget)))
}

impl Body {
    fn of(array: Uint8Array) -> Self {
        if u64::from(array.length()) >= LARGE_BYTES { Self::Large(array) } else { Self::Small(array.to_vec()) }
    }

    /// Its size.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(array) => usize::try_from(array.length()).unwrap_or(usize::MAX),
        }
    }

    /// Lends the bytes to something synchronous.
    pub(crate) fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Small(bytes) => f(bytes),
            Self::Large(array) => f(&array.to_vec()),
        }
    }

    /// The bytes as the platform takes them: a copy, or the buffer itself.
    pub(crate) fn to_js(&self) -> Uint8Array {
        match self {
            Self::Small(bytes) => Uint8Array::from(bytes.as_slice()),
            Self::Large(array) => array.clone(),
        }
    }
}

/// Takes a body that was read already, within the same limit and budget; `place`: the one that it has.
pub(crate) fn take(array: Uint8Array, place: Option<Place>, limit_bytes: u64) -> Result<(Body, Place), BodyError> {
    let size_bytes = u64::from(array.length());
    if size_bytes > limit_bytes {
        return Err(BodyError::TooLarge { size_bytes });
    }
    let place = place.map_or_else(|| Place::take(size_bytes, clock::now_ms()), Ok)?;
    place.grow(size_bytes, 1)?;
    Ok((Body::of(array), place))
}

/// Reads at most `limit_bytes`.
pub(crate) async fn read(request: &Request, limit_bytes: u64) -> Result<(Body, Place), BodyError> {
    let declared = request.headers().get("content-length").ok().flatten().and_then(|text| text.parse::<u64>().ok());
    match declared {
        Some(size_bytes) if size_bytes > limit_bytes => Err(BodyError::TooLarge { size_bytes }),
        // The runtime holds the sender to a length that it declared.
        Some(size_bytes) => {
            let place = Place::take(size_bytes, clock::now_ms())?;
            let promise = request.array_buffer().map_err(|error| unreadable(&error))?;
            let array = Uint8Array::new(&JsFuture::from(promise).await.map_err(|error| unreadable(&error))?);
            // A sender that took longer than its lease may have lost its place to another.
            place.grow(array.length().into(), 1)?;
            Ok((Body::of(array), place))
        }
        None => read_chunks(request, limit_bytes).await,
    }
}

async fn read_chunks(request: &Request, limit_bytes: u64) -> Result<(Body, Place), BodyError> {
    let place = Place::take(0, clock::now_ms())?;
    let Some(stream) = request.body() else { return Ok((Body::Small(vec![]), place)) };
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut chunks: Vec<Uint8Array> = vec![];
    let mut size_bytes = 0u64;
    loop {
        let step = JsFuture::from(reader.read()).await.map_err(|error| unreadable(&error))?;
        if Reflect::get(&step, &JsValue::from_str("done")).is_ok_and(|done| done.is_truthy()) {
            break;
        }
        let chunk =
            Uint8Array::new(&Reflect::get(&step, &JsValue::from_str("value")).map_err(|error| unreadable(&error))?);
        size_bytes = size_bytes.saturating_add(chunk.length().into());
        chunks.push(chunk);
        // While the chunks are joined they are there twice.
        let admitted =
            if size_bytes > limit_bytes { Err(BodyError::TooLarge { size_bytes }) } else { place.grow(size_bytes, 2) };
        if let Err(error) = admitted {
            // Nobody waits for the rest; an error while dropping it changes nothing.
            let _ = JsFuture::from(reader.cancel()).await;
            return Err(error);
        }
    }
    let whole = Uint8Array::new_with_length(u32::try_from(size_bytes).unwrap_or(0));
    let mut offset = 0u32;
    for chunk in chunks {
        whole.set(&chunk, offset);
        offset = offset.saturating_add(chunk.length());
    }
    place.grow(size_bytes, 1)?;
    Ok((Body::of(whole), place))
}

fn unreadable(error: &JsValue) -> BodyError {
    BodyError::Unreadable(js_error(error))
}
