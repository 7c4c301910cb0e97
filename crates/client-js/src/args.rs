//! Arguments from JavaScript, checked before they are used.
//!
//! Promises:
//! - A wrong argument is an error that names it, says what was expected and never shows the value, which may be a secret.
//! - An unknown member is an error too, because it is a misspelt one.
//!
//! Out of scope: what the arguments mean.

use crate::error::JsFailure;
use crate::number::whole;
use genesys_client::subscription::ApiKind;
use js_sys::{Array, ArrayBuffer, Date, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};

fn kind_of(value: &JsValue) -> String {
    match value {
        _ if value.is_null() => "null".to_owned(),
        _ if Array::is_array(value) => "an array".to_owned(),
        _ => value.js_typeof().as_string().unwrap_or_default(),
    }
}

/// `{what}: expected {expected}, found {kind}`.
pub(crate) fn expected(what: &str, expected: &str, value: &JsValue) -> JsFailure {
    JsFailure::argument(format!("{what}: expected {expected}, found {}", kind_of(value)))
}

/// A member of an object, undefined where it is absent.
pub(crate) fn member(object: &JsValue, name: &str) -> Result<JsValue, JsFailure> {
    Reflect::get(object, &JsValue::from_str(name)).map_err(|_| JsFailure::argument(format!("{name}: cannot be read")))
}

/// An object of named arguments, read member by member.
pub(crate) struct NamedArgs {
    value: JsValue,
    what: String,
    read: Vec<&'static str>,
}

impl NamedArgs {
    /// The object. `what` names it in messages.
    pub(crate) fn new(value: JsValue, what: impl Into<String>) -> Result<Self, JsFailure> {
        let what = what.into();
        if !value.is_object() || Array::is_array(&value) {
            return Err(expected(&what, "an object", &value));
        }
        Ok(Self { value, what, read: Vec::new() })
    }

    /// The object, or an empty one where it was left out.
    pub(crate) fn optional(value: JsValue, what: &str) -> Result<Self, JsFailure> {
        Self::new(if value.is_undefined() { Object::new().into() } else { value }, what)
    }

    /// A member, or `None` where it is absent.
    pub(crate) fn value(&mut self, name: &'static str) -> Result<Option<JsValue>, JsFailure> {
        self.read.push(name);
        let value = member(&self.value, name)?;
        Ok((!value.is_undefined()).then_some(value))
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        convert: impl Fn(&JsValue) -> Option<T>,
    ) -> Result<Option<T>, JsFailure> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        convert(&value).map(Some).ok_or_else(|| expected(&format!("{}.{name}", self.what), wanted, &value))
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, JsFailure> {
        self.read(name, "a string", JsValue::as_string)
    }

    /// A text that has to be there and must not be empty or white space alone.
    pub(crate) fn required_text(&mut self, name: &'static str) -> Result<String, JsFailure> {
        match self.text(name)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(JsFailure::argument(format!("{}.{name}: is required", self.what))),
        }
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, JsFailure> {
        self.read(name, "a boolean", JsValue::as_bool)
    }

    pub(crate) fn whole(&mut self, name: &'static str) -> Result<Option<u64>, JsFailure> {
        self.read(name, "a whole number, not negative", |value| value.as_f64().and_then(whole))
    }

    /// A time in milliseconds since the epoch, as a `Date` or a number.
    pub(crate) fn time_ms(&mut self, name: &'static str) -> Result<Option<u64>, JsFailure> {
        self.read(name, "a Date or milliseconds since 1970", |value| {
            value.dyn_ref::<Date>().map(Date::get_time).or_else(|| value.as_f64()).and_then(whole)
        })
    }

    /// The end, at which every member must have been read.
    pub(crate) fn finish(self) -> Result<(), JsFailure> {
        for name in Object::keys(self.value.unchecked_ref::<Object>()) {
            let name = name.as_string().unwrap_or_default();
            if !self.read.contains(&name.as_str()) {
                let known = self.read.join(", ");
                return Err(JsFailure::argument(format!("{}.{name}: is not known; there are {known}", self.what)));
            }
        }
        Ok(())
    }
}

pub(crate) fn elements(value: &JsValue, what: &str) -> Result<Array, JsFailure> {
    value.dyn_ref::<Array>().cloned().ok_or_else(|| expected(what, "an array", value))
}

pub(crate) fn api_kind(value: &JsValue, what: &str) -> Result<ApiKind, JsFailure> {
    match value.as_string().as_deref() {
        Some("webhooks") => Ok(ApiKind::Webhooks),
        Some("open-messaging") => Ok(ApiKind::OpenMessaging),
        _ => Err(JsFailure::argument(format!("{what}: expected \"webhooks\" or \"open-messaging\""))),
    }
}

pub(crate) fn bytes(value: &JsValue) -> Result<Vec<u8>, JsFailure> {
    let view = match value.dyn_ref::<Uint8Array>() {
        Some(view) => view.clone(),
        None if value.is_instance_of::<ArrayBuffer>() => Uint8Array::new(value),
        None => {
            let wanted = "the raw bytes that arrived, as Uint8Array or ArrayBuffer (a signature covers bytes: text or \
                          parsed JSON that is written again need not be the same)";
            return Err(expected("body", wanted, value));
        }
    };
    Ok(view.to_vec())
}

/// Headers as pairs, from an iterable of pairs (`Headers`, `Map`, arrays) or from a plain object whose values may be
/// arrays (Node's `IncomingMessage.headers`).
pub(crate) fn headers(value: &JsValue) -> Result<Vec<(String, String)>, JsFailure> {
    let unreadable = || expected("headers", "Headers, pairs of name and value, or an object", value);
    if !value.is_object() {
        return Err(unreadable());
    }
    let mut pairs = Vec::new();
    let mut add = |name: &JsValue, value: &JsValue| -> Result<(), JsFailure> {
        let name = name.as_string().ok_or_else(unreadable)?;
        match value.as_string() {
            Some(text) => pairs.push((name, text)),
            None if value.is_undefined() => {}
            None => {
                let several = value.dyn_ref::<Array>().ok_or_else(unreadable)?;
                for one in several.iter() {
                    pairs.push((name.clone(), one.as_string().ok_or_else(unreadable)?));
                }
            }
        }
        Ok(())
    };
    let entries = match js_sys::try_iter(value).map_err(|_| unreadable())? {
        Some(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(|_| unreadable())?,
        None => Object::entries(value.unchecked_ref::<Object>()).to_vec(),
    };
    for entry in entries {
        let pair = entry.dyn_ref::<Array>().ok_or_else(unreadable)?;
        add(&pair.get(0), &pair.get(1))?;
    }
    Ok(pairs)
}
