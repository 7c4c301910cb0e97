use super::*;

fn pointers(texts: &[&str]) -> Vec<JsonPointer> {
    texts.iter().map(|text| JsonPointer::parse(text).unwrap()).collect()
}

fn captured(body: &str, pointer: &str) -> Option<String> {
    inspect(body.as_bytes(), EnvelopeKind::Object, &pointers(&[pointer])).unwrap().captures.remove(0)
}

#[test]
fn pointers_capture_strings_and_numbers_and_nothing_else() {
    let body = r#"{"n":-1.50e3,"s":"a\"\\\/\b\f\n\r\té😀","t":true,"z":null,"o":{"x":[10,{"y":"deep"}],"":"empty"},"a/b":"slash"}"#;
    for (pointer, value) in [
        ("/n", Some("-1.50e3")),
        ("/s", Some("a\"\\/\u{8}\u{c}\n\r\té😀")),
        ("/t", None),
        ("/z", None),
        ("/o", None),
        ("/o/x/0", Some("10")),
        ("/o/x/1/y", Some("deep")),
        ("/o/x/2", None),
        ("/o/x/y", None),
        ("/o/", Some("empty")),
        ("/a~1b", Some("slash")),
        ("/missing/x", None),
        ("/n/x", None),
    ] {
        assert_eq!(captured(body, pointer).as_deref(), value, "{pointer}");
    }
}

#[test]
fn escapes_are_decoded_and_lone_surrogates_stay_two() {
    assert_eq!(captured(r#"{"a":"\ud83d\ude00\u00e9"}"#, "/a").as_deref(), Some("😀é"));
    assert_eq!(captured(r#"{"a":"x\ud83dy"}"#, "/a").as_deref(), Some("x\\ud83dy"));
    assert_eq!(captured(r#"{"a":"\ude00\n"}"#, "/a").as_deref(), Some("\\ude00\\n"));
}

#[test]
fn duplicates_are_refused_on_the_way_to_a_pointer_and_accepted_elsewhere() {
    let kind = EnvelopeKind::Object;
    let way = pointers(&["/channel/time"]);
    let fault = |body: &str| inspect(body.as_bytes(), kind, &way).err().map(|refusal| refusal.detail());
    assert_eq!(
        fault(r#"{"channel":{"time":"a","time":"b"}}"#).as_deref(),
        Some("duplicate member \"time\" at byte 23")
    );
    assert_eq!(
        fault(r#"{"channel":1,"channel":{"time":"b"}}"#).as_deref(),
        Some("duplicate member \"channel\" at byte 13")
    );
    assert_eq!(fault(r#"{"time":1,"time":2,"x":{"time":1,"time":2},"channel":{"a":1,"a":1,"time":"b"}}"#), None);
    let index = pointers(&["/a/0/k"]);
    assert!(inspect(br#"{"a":[{"k":1},{"k":2,"k":3}]}"#, kind, &index).is_ok());
    assert!(inspect(br#"{"a":[{"k":1,"k":2}]}"#, kind, &index).is_err());
}

#[test]
fn several_pointers_share_a_way() {
    let found = inspect(
        br#"{"x":{"b":"2","a":"1"},"events":["e0","e1"]}"#,
        EnvelopeKind::Events,
        &pointers(&["/x/a", "/x/b", "/events/1", "/x/a"]),
    )
    .unwrap();
    let captures: Vec<_> = found.captures.iter().map(|value| value.as_deref().unwrap()).collect();
    assert_eq!((found.event_count, captures), (2, vec!["1", "2", "e1", "1"]));
}

#[test]
fn faults_of_the_text_name_what_and_where() {
    for (body, detail) in [
        (&b""[..], "the body is empty at byte 0"),
        (b" \n", "the body is empty at byte 2"),
        (b"\xef\xbb\xbf ", "the body is empty at byte 4"),
        (b"\xef\xbb\xbf{]", "expected a member name in double quotes at byte 4"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "expected a value at byte 3"),
        (b" \xef\xbb\xbf{}", "expected a value at byte 1"),
        (b"{\"a\":1}x", "unexpected bytes after the end of the text at byte 7"),
        (b"{\"a\":1}{}", "unexpected bytes after the end of the text at byte 7"),
        (b"{'a':1}", "expected a member name in double quotes at byte 1"),
        (b"{\"a\" 1}", "expected \":\" at byte 5"),
        (b"{\"a\":1 \"b\":2}", "expected \",\" or \"}\" at byte 7"),
        (b"{\"a\":1,}", "expected a member name in double quotes at byte 7"),
        (b"[1,]", "expected a value at byte 3"),
        (b"[1 2]", "expected \",\" or \"]\" at byte 3"),
        (b"[01]", "malformed number at byte 2"),
        (b"[1.]", "malformed number at byte 3"),
        (b"[-]", "malformed number at byte 2"),
        (b"[1e+]", "malformed number at byte 4"),
        (b"[+1]", "expected a value at byte 1"),
        (b"[nul]", "expected a value at byte 4"),
        (b"[\"\\x\"]", "malformed escape in a string at byte 3"),
        (b"[\"\\u12g4\"]", "malformed escape in a string at byte 6"),
        (b"[\"a\nb\"]", "unescaped control character in a string at byte 3"),
        (b"[\"ab\xffcd\"]", "bytes that are not UTF-8 at byte 4"),
        (b"[\"ab\xff\n\"]", "bytes that are not UTF-8 at byte 4"),
        (b"[\"\xed\xa0\x80\"]", "bytes that are not UTF-8 at byte 2"),
        (b"[\xff]", "expected a value at byte 1"),
        (b"[\"ab", "the text ends in the middle at byte 4"),
    ] {
        let refusal = inspect(body, EnvelopeKind::Object, &[]).unwrap_err();
        assert_eq!((refusal.code().as_str(), refusal.detail().as_str()), ("invalid_json", detail), "{body:?}");
    }
}
