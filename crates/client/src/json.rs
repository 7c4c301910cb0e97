//! Reading JSON by hand, field by field: one piece of code for every object instead of one per type keeps the wasm
//! small.

use serde_json::{Map, Value};

/// An object of JSON.
pub(crate) type Object = Map<String, Value>;

/// A body as an object; none when it is anything else.
pub(crate) fn object(body: &[u8]) -> Option<Object> {
    match serde_json::from_str(core::str::from_utf8(body).ok()?) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// A field that is a text.
pub(crate) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// A field that is a text, as an owned one; empty when there is none.
pub(crate) fn owned(object: &Object, name: &str) -> String {
    text(object, name).unwrap_or_default().to_owned()
}

/// The first `max_chars` characters, with an ellipsis when there are more.
pub(crate) fn shorten(text: &str, max_chars: usize) -> String {
    let mut shortened: String = text.chars().take(max_chars).collect();
    if shortened.len() < text.len() {
        shortened.push('…');
    }
    shortened
}
