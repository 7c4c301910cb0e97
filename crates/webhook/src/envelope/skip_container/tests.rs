//! What is passed over against the same text read token by token. No caller may be able to tell which of them it was.

use super::super::tracker::Tracker;
use super::super::{Envelope, EnvelopeKind, JsonPointer, Refusal, judge, passed_over};
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

/// Bytes that mean something, and some that do not.
const BYTES: &[u8] = b"\"\\{}[]:,tfn0159-+.eEu/ \n\r\t\x00\x1f\x7f\x80\xa0\xbf\xc3\xed\xf0\xffax|@Z;";

const POINTERS: [&[&str]; 4] = [&[], &["/id"], &["/events/1/a", "/events"], &["/id", "/a/b", "/0/a/1"]];

fn judged(body: &[u8], pointers: &[&str], skips: bool) -> [Result<Envelope, Refusal>; 2] {
    let pointers: Vec<_> = pointers.iter().map(|text| JsonPointer::parse(text).unwrap()).collect();
    [EnvelopeKind::Events, EnvelopeKind::Object].map(|kind| judge(body, kind, &pointers, skips))
}

fn same(body: &[u8]) {
    same_for(body, &POINTERS);
}

fn same_for(body: &[u8], pointers: &[&[&str]]) {
    for pointers in pointers {
        assert_eq!(
            judged(body, pointers, true),
            judged(body, pointers, false),
            "{:?} with {pointers:?}",
            String::from_utf8_lossy(body)
        );
    }
}

/// What is passed over of a container that is not empty and has something behind it.
fn skipped(container: &str) -> Option<Skipped> {
    let mut nesting = Nesting::default();
    nesting.open(container.starts_with('{')).unwrap();
    skip_container(format!("{}, \"more\": [1]}}", &container[1..]).as_bytes(), nesting)
}

/// Lists in which `inner` stands at every place of a block, and which end at every place; and how many commas they have.
fn shifted(inner: &str) -> impl Iterator<Item = (String, u64)> {
    (0..=BLOCK_BYTES + 2).flat_map(move |n| {
        [(format!("[\"{}\",{inner}]", "x".repeat(n)), 1), (format!("[{}{inner}]", " ".repeat(n)), 0)]
    })
}

#[test]
fn what_is_valid_is_passed_over_wherever_it_stands_in_a_block() {
    let long = format!("\"{}\"", "y".repeat(150));
    for inner in [
        "{}",
        "[]",
        "[ ]",
        "{ \"a\" : [ 1 , { } ] , \"b\" : null }",
        "{\"a\":{\"a\":[[],[{}],\"\",{\"\":\"\"}]}}",
        "[0,-0,1.5,-12.25e+10,1E9,1234567890123456789012345678901234567890]",
        "[true,false,null]",
        "[\t\r\ntrue\n,\rfalse\t]",
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\\\\\\\\\"\\""#,
        r#"{"\"k\"":"\u00e9\ud83d\ude00\uD800"}"#,
        "\"é ☕ 😀 \u{7f}\"",
        "{\"é\":[\"é\",{\"😀😀😀\":1}]}",
        "\"{[:,]}\"",
        long.as_str(),
    ] {
        for (text, commas) in shifted(inner) {
            assert_eq!(skipped(&text), Some(Skipped { length: text.len() - 1, commas }), "{text}");
            same(format!("{{\"a\":{text},\"events\":[{text},{text}],\"id\":\"1\"}}").as_bytes());
        }
    }
}

/// Between them stands "¦".
const INVALID: &str = ", ¦ 1, ¦ ,1 ¦ 1,,2 ¦ 1 2 ¦ \"a\" \"b\" ¦ \"a\"\"b\" ¦ 1\"a\" ¦ \"a\"1 ¦ \"a\":1 ¦ 1:2 ¦ : ¦ \
    [1,] ¦ {}{} ¦ [][] ¦ {}1 ¦ 1{} ¦ [} ¦ {] ¦ {\"a\"} ¦ {\"a\":} ¦ {\"a\":1,} ¦ {,} ¦ {\"a\" 1} ¦ \
    {\"a\"::1} ¦ {\"a\":1 \"b\":2} ¦ {\"a\":1:2} ¦ {\"a\",1} ¦ {\"a\":\"b\":1} ¦ {1:2} ¦ {[]:1} ¦ \
    {\"a\":1,2} ¦ {\"a\":1,[]} ¦ {null:1} ¦ {\"a\":1,\"b\"} ¦ {\"a\":[\"b\":1]} ¦ \
    [{\"a\":1},\"b\":2] ¦ 01 ¦ - ¦ -a ¦ 1. ¦ .1 ¦ 1.e1 ¦ 1e ¦ 1e+ ¦ +1 ¦ 00 ¦ 1.5.5 ¦ 1-1 ¦ tru ¦ \
    truex ¦ TRUE ¦ nul ¦ fals ¦ falsey ¦ true1 ¦ nulltrue ¦ a ¦ \\ ¦ \\n ¦ \\\"a\\\" ¦ \"\\x\" ¦ \
    \"\\u12g4\" ¦ \"\\u123\" ¦ \"\\u\" ¦ \"a\nb\" ¦ \"\t\" ¦ \"\0\" ¦ \u{1f} ¦ \u{b} ¦ \0 ¦ 1\0 ¦ \
    \u{a0} ¦ é ¦ 1é ¦ 'a' ¦ /**/1 ¦ \" ¦ \"\\\"";

#[test]
fn what_is_not_valid_is_not_passed_over_wherever_it_stands_in_a_block() {
    for inner in INVALID.split(" ¦ ") {
        for (text, _) in shifted(inner) {
            assert_eq!(skipped(&text), None, "{text}");
            same_for(format!("{{\"a\":{text},\"events\":{text}}}").as_bytes(), &POINTERS[1..3]);
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused_wherever_they_stand_in_a_block() {
    for bytes in ["\u{e9}", "\u{2615}", "\u{1f600}"].map(str::as_bytes) {
        for broken in [&bytes[1..], &bytes[..bytes.len() - 1], b"\xff", b"\xc0\x80", b"\xed\xa0\x80"] {
            for n in 0..=BLOCK_BYTES + 2 {
                for (before, after) in [("", ""), ("", "é"), ("é", "")] {
                    let (open, pad) = (format!("{{\"a\":[\"é{}{before}", "x".repeat(n)), "x".repeat(n % 7));
                    let body =
                        [open.as_bytes(), broken, after.as_bytes(), pad.as_bytes(), b"\"],\"events\":[1]}"].concat();
                    assert!(matches!(judged(&body, &[], true), [Err(_), Err(_)]));
                    same_for(&body, &POINTERS[..1]);
                }
            }
        }
    }
}

#[test]
fn depth_is_limited_where_containers_are_passed_over() {
    for n in 120..=130 {
        for open in ["[", "{\"a\":"] {
            let close = if open == "[" { "]" } else { "}" };
            same(format!("{{\"events\":[{}1{}]}}", open.repeat(n), close.repeat(n)).as_bytes());
        }
    }
}

/// A body with something of everything, longer than three blocks.
const SAMPLE: &str = "{\"id\":\"x\\\\\",\"a\":{\"b\": [1.5e3,\n\tfalse ,{ }] ,\"s\":\"é \\u00e9\\\"☕{[\"},\"events\":[{\"a\":[\"1\",-20,null],\
    \"long\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"},[],{\"a\":\"é\"},[{\"a\":[{}]}]]}";

#[test]
fn any_other_byte_at_any_place_is_judged_alike() {
    same(SAMPLE.as_bytes());
    assert!(judged(SAMPLE.as_bytes(), &[], true)[0].as_ref().is_ok_and(|envelope| envelope.event_count == 4));
    let few = &POINTERS[1..3];
    for at in 0..SAMPLE.len() {
        for byte in BYTES {
            let mut body = SAMPLE.as_bytes().to_vec();
            body[at] = *byte;
            same_for(&body, few);
            body.insert(at, SAMPLE.as_bytes()[at]);
            same_for(&body, few);
        }
        same(&SAMPLE.as_bytes()[..at]);
        same(&[&SAMPLE.as_bytes()[..at], &SAMPLE.as_bytes()[at + 1..]].concat());
    }
}

#[test]
fn after_a_fault_nothing_more_is_passed_over() {
    let mut skips = true;
    let pass = |text: &str, skips: &mut bool| {
        let mut nesting = Nesting::default();
        nesting.open(false).unwrap();
        let mut reader = Reader::new(text.as_bytes());
        let passed = passed_over(&mut reader, &mut Tracker::new(EnvelopeKind::Object, &[]), nesting, skips);
        (passed, reader.at())
    };
    assert_eq!(pass("1, [2]] , 3", &mut skips), (true, 7));
    assert_eq!(pass("[1 2]]", &mut skips), (false, 0));
    assert_eq!(pass("1, [2]] , 3", &mut skips), (false, 0));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z ]{0,90}".prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "[\"\\\\\n\t\u{0}é😀a]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 80, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("[ab]|events|id|0|\"|[a-z]{60,70}|é", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    (values(), any::<bool>()).prop_map(|(value, pretty)| {
        let value = serde_json::json!({"a": [value], "events": value, "id": value});
        if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn valid_texts_are_judged_alike_and_passed_over(body in texts()) {
        same(&body);
        let text = format!("[{}]", String::from_utf8(body).unwrap());
        prop_assert_eq!(skipped(&text), Some(Skipped { length: text.len() - 1, commas: 0 }));
    }

    #[test]
    fn texts_with_faults_are_judged_alike(
        mut body in texts(),
        faults in vec((any::<proptest::sample::Index>(), proptest::sample::select(BYTES.to_vec()), 0..3u8), 1..4),
    ) {
        for (at, byte, how) in faults {
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => _ = body.remove(at),
            }
        }
        same(&body);
    }

    #[test]
    fn whatever_stands_in_a_list_is_judged_alike(pieces in vec(prop_oneof![
        30 => proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "\"a\"", "\"a\":", "\"a\":1,", "1", "null", "{\"a\":[", "]}", "[]", "{}", "\\\"", "\\\\",
            "é", "          ", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::sample::select(BYTES.to_vec()).prop_map(|byte| vec![byte]),
    ], 0..60)) {
        same(&[b"{\"events\":[", pieces.concat().as_slice(), b"]}"].concat());
    }
}
