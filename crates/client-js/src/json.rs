//! From Rust's values to JavaScript's and back, by way of JSON text.
//!
//! Promise: names in JavaScript are in camelCase. `JSON.parse` makes plain objects faster and with less code than calls
//! across the border do. Out of scope: what the values mean.

use crate::error::JsFailure;
use heck::ToLowerCamelCase as _;
use js_sys::{JSON, Object, Reflect};
use serde::Serialize;
use serde_json::{Map, Value};
use wasm_bindgen::JsValue;

/// The same value with names of members, and of the fields that a diff names, as JavaScript writes them.
fn in_camel_case(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let members = object.into_iter().map(|(name, value)| match value {
                Value::String(text) if name == "field" => (name, Value::String(text.to_lower_camel_case())),
                value => (name.to_lower_camel_case(), in_camel_case(value)),
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(in_camel_case).collect()),
        value => value,
    }
}

pub(crate) fn to_js(value: &impl Serialize) -> Result<JsValue, JsFailure> {
    let unreadable = || JsFailure::internal("a result could not be handed over");
    let text = serde_json::to_value(value).map(in_camel_case).map_err(|_| unreadable())?.to_string();
    JSON::parse(&text).map_err(|_| unreadable())
}

pub(crate) fn object(members: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (name, value) in members {
        // A property of a new object can always be set.
        let _ = Reflect::set(&object, &JsValue::from_str(name), value);
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use super::in_camel_case;
    use serde_json::json;

    #[test]
    fn members_and_diffed_fields_are_renamed_and_values_are_not() {
        let report = json!({"dry_run": true, "items": [{"diff": [{"field": "event_filters", "to": "a_b"}], "outcome": "not_owned"}]});
        let expected = json!({"dryRun": true, "items": [{"diff": [{"field": "eventFilters", "to": "a_b"}], "outcome": "not_owned"}]});
        assert_eq!(in_camel_case(report), expected);
    }
}
