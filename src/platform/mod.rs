//! Thin adapters over the platform: what the decisions of the pure crates are carried out with.
//!
//! Promise: nothing here decides anything, and everything that can fail says so in a `Result`; no call panics.

pub(crate) mod body;
pub(crate) mod clock;
pub(crate) mod context;
pub(crate) mod crypto;
pub(crate) mod fetch;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod objects;
pub(crate) mod queue;
pub(crate) mod r2;
pub(crate) mod sql;

/// What a thrown JavaScript value says, in one line that is short enough for a log.
pub(crate) fn js_error(value: &wasm_bindgen::JsValue) -> String {
    use wasm_bindgen::JsCast as _;
    let text = match value.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.to_string()),
        None => value.as_string().unwrap_or_else(|| "an error that is no Error".into()),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
