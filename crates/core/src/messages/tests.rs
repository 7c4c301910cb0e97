use super::*;
use proptest::prelude::*;

fn delivery() -> Delivery {
    Delivery {
        id: "01ARYZ6S410000000000000000".into(),
        source: "contact-center".into(),
        received_at_ms: 1_469_918_176_385,
        event_count: 2,
        secret_label: "current".into(),
        dedupe_key: None,
        duplicate_window_s: None,
        headers: vec![("content-type".into(), "application/json".into())],
        replay: 0,
        origin: None,
        body: BodyRef::Inline { size_bytes: 13 },
    }
}

fn letter() -> DeadLetter {
    let body = BodyRef::Stored { key: "k".into(), size_bytes: 5, sha256: "ab".into() };
    DeadLetter {
        source: "contact-center".into(),
        diagnosis: Some("no active secret gives this signature".into()),
        received_at_ms: 1,
        ..DeadLetter::of("01ARYZ6S410000000000000000".into(), Stage::Receive, "signature_mismatch", body, 2)
    }
}

#[test]
fn the_form_of_a_delivery_is_pinned() {
    assert_eq!(
        delivery_header(&delivery()),
        concat!(
            r#"{"kind":"delivery","v":1,"id":"01ARYZ6S410000000000000000","source":"contact-center","#,
            r#""received_at_ms":1469918176385,"event_count":2,"secret_label":"current","#,
            r#""headers":[["content-type","application/json"]],"body":{"inline":{"size_bytes":13}}}"#,
            "\n"
        )
    );
}

#[test]
fn a_replay_says_what_it_was() {
    let replayed = Delivery { replay: 2, origin: Some(Origin::Dead), ..delivery() };
    let header = delivery_header(&replayed);
    assert!(header.contains(r#""replay":2,"origin":"dead","body":"#), "{header}");
    let message = frame(&header, b"thirteen byte");
    assert_eq!(decode(&message), Ok(Message::Delivery(replayed, b"thirteen byte".as_slice())));
}

#[test]
fn the_form_of_a_dead_letter_is_pinned() {
    let header = dead_letter_header(&letter());
    assert_eq!(
        header,
        concat!(
            r#"{"kind":"dead_letter","v":1,"id":"01ARYZ6S410000000000000000","source":"contact-center","#,
            r#""stage":"receive","reason":"signature_mismatch","#,
            r#""diagnosis":"no active secret gives this signature","verified":false,"received_at_ms":1,"dead_at_ms":2,"#,
            r#""attempts":0,"headers":[],"body":{"stored":{"key":"k","size_bytes":5,"sha256":"ab"}}}"#,
            "\n"
        )
    );
    assert_eq!(decode(header.as_bytes()), Ok(Message::DeadLetter(letter(), b"")));
}

#[test]
fn unreadable_messages_are_named() {
    let truncated = frame(&delivery_header(&delivery()), b"{\"events\":[");
    let cases: [(&[u8], DecodeError); 5] = [
        (b"", DecodeError::NoHeader),
        (b"{}", DecodeError::NoHeader),
        (b"{\"kind\":\"delivery\",\"v\":2}\n", DecodeError::UnknownVersion { kind: "delivery".into(), v: 2 }),
        (b"{\"kind\":\"parcel\",\"v\":1}\n", DecodeError::UnknownKind("parcel".into())),
        (&truncated, DecodeError::Truncated { expected_bytes: 13, actual_bytes: 11 }),
    ];
    for (message, error) in cases {
        assert_eq!(decode(message), Err(error));
    }
    assert!(matches!(decode(b"[1]\n"), Err(DecodeError::Header(_))));
    assert!(matches!(decode(b"{\"kind\":\"delivery\",\"v\":1}\n"), Err(DecodeError::Header(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_fail(message in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&message);
    }

    #[test]
    fn any_body_and_any_text_come_back(body in proptest::collection::vec(any::<u8>(), 0..300), text in ".*", key in proptest::option::of(".*")) {
        let delivery = Delivery {
            source: text.clone(), dedupe_key: key, headers: vec![(text.clone(), text)],
            body: BodyRef::Inline { size_bytes: body.len() as u64 }, ..delivery()
        };
        let message = frame(&delivery_header(&delivery), &body);
        prop_assert_eq!(decode(&message), Ok(Message::Delivery(delivery, &body[..])));
    }
}
