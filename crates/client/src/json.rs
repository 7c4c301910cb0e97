//! Reading the vendor's JSON field by field, because any field may be missing, null or of another type.
//!
//! Promise: reading never fails, and a field of another type counts as missing. Out of scope: writing JSON.

use serde_json::{Map, Value};

pub(crate) type Object = Map<String, Value>;

pub(crate) fn object(body: &[u8]) -> Option<Object> {
    serde_json::from_slice(body).ok()
}

pub(crate) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// A field that is a text, as an owned one, and empty when there is none.
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
