//! The envelope scanner against `serde_json`: the same texts are JSON, and the same values are found in them.
//!
//! `serde_json`'s `IgnoredAny` does not look at UTF-8, so that is checked beside it; deeper than 127 levels it gives up,
//! which no text here reaches except those that are meant to.

use genesys_webhook::envelope::{EnvelopeKind, inspect};
use genesys_webhook::pointer::JsonPointer;
use genesys_webhook::refusal::Refusal;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

fn is_json(body: &[u8]) -> bool {
    !matches!(inspect(body, EnvelopeKind::Object, &[]), Err(Refusal::InvalidJson { .. }))
}

fn is_json_elsewhere(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// Texts made of the pieces that JSON is made of, most of them almost right.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        "\\n",
        "null",
        "true",
        "fals",
        "0",
        "1",
        "-",
        ".",
        "e",
        "+",
        " ",
        "\n",
        "\"a\"",
        "\"events\"",
        "\"a\":",
        "12.5e-3",
        "é",
        "😀",
        "x",
        "\u{1f}",
        "{\"a\":[",
        "]}",
        "[]",
        "{}",
    ];
    let piece = prop_oneof![
        40 => proptest::sample::select(pieces.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// Valid values, written by another library.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "[\"\\\\\n\t\u{0}é😀a]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]{1,2}|events|0|\"|/|~", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_same_texts_are_json(body in almost_json()) {
        prop_assert_eq!(is_json(&body), is_json_elsewhere(&body), "{:?}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn the_same_bytes_are_json(body in vec(any::<u8>(), 0..12)) {
        prop_assert_eq!(is_json(&body), is_json_elsewhere(&body));
    }

    #[test]
    fn one_changed_byte_gets_the_same_verdict(value in values(), pretty in any::<bool>(), at in any::<usize>(), byte in any::<u8>()) {
        let mut body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert!(is_json(&body));
        let at = at % body.len();
        body[at] = byte;
        prop_assert_eq!(is_json(&body), is_json_elsewhere(&body), "{:?}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn a_cut_text_gets_the_same_verdict(value in values(), at in any::<usize>()) {
        let body = serde_json::to_vec(&value).unwrap();
        let cut = &body[..at % body.len()];
        prop_assert_eq!(is_json(cut), is_json_elsewhere(cut));
    }

    #[test]
    fn the_same_events_are_counted(value in values(), pretty in any::<bool>()) {
        let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let found = inspect(&body, EnvelopeKind::Events, &[]).ok().map(|envelope| envelope.event_count);
        let expected = value.as_object().and_then(|members| members.get("events")).and_then(Value::as_array);
        prop_assert_eq!(found, expected.map(|events| events.len() as u64));
    }

    #[test]
    fn pointers_name_the_same_values(value in values(), steps in vec("[a-c]{1,2}|events|[0-3]|\"|~0|~1", 1..4), pretty in any::<bool>()) {
        let value = serde_json::json!({"a": value, "b": [value]});
        let pointer = format!("/{}", steps.join("/"));
        let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let parsed = [JsonPointer::parse(&pointer).unwrap()];
        let found = inspect(&body, EnvelopeKind::Object, &parsed).unwrap().captures.remove(0);
        let expected = match value.pointer(&pointer) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        prop_assert_eq!(found, expected, "{}", pointer);
    }
}
