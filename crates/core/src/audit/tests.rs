use super::*;
use crate::messages::{BodyRef, DeadLetter, Stage};
use genesys_webhook::encoding::hex;
use sha2::{Digest, Sha256};

fn text(entry: &Entry) -> String {
    serde_json::to_string(entry).unwrap()
}

fn entries() -> Vec<Entry> {
    let mut head = Head::default();
    let draft = |n: u16| Draft { status_code: Some(200 + n), ..Draft::new(Action::Create, "cron") };
    (0..4).map(|n| head.append(draft(n), 1000)).collect()
}

/// Walks along texts.
fn walk<S: AsRef<str>>(mut head: Head, texts: &[S]) -> Result<Head, Broken> {
    for text in texts {
        head.follow(text.as_ref())?;
    }
    Ok(head)
}

fn walk_entries(entries: &[Entry]) -> Result<Head, Broken> {
    walk(Head::default(), &entries.iter().map(text).collect::<Vec<_>>())
}

#[test]
fn the_form_and_the_hash_of_an_entry_are_pinned() {
    let draft =
        Draft { source: Some("s".into()), user_agent: "u/1".into(), ..Draft::new(Action::DlqRoute, "consumer") };
    let entry = Head::default().append(draft, 0);
    assert_eq!(
        text(&entry),
        format!(
            r#"{{"seq":1,"timestamp":"1970-01-01T00:00:00.000Z","action":"DLQ_ROUTE","actor":"consumer","source":"s","userAgent":"u/1","previousHash":"{GENESIS_HASH}","hash":"{}"}}"#,
            entry.hash
        )
    );
    let said = format!(
        "{GENESIS_HASH}\n{}",
        r#"{"seq":1,"timestamp":"1970-01-01T00:00:00.000Z","action":"DLQ_ROUTE","actor":"consumer","source":"s","userAgent":"u/1"}"#
    );
    assert_eq!(entry.hash, hex(&Sha256::digest(said)));
    assert_eq!(Entry::from_json(&text(&entry)).unwrap(), entry);
}

#[test]
fn an_address_is_recorded_without_what_may_be_secret() {
    let draft = Draft {
        target_url: Some("https://user:s3cr3t@a.example/in?token=s3cr3t".into()),
        ..Draft::new(Action::Alert, "watch")
    };
    let entry = Head::default().append(draft, 0);
    assert_eq!(entry.draft.target_url.as_deref(), Some("https://a.example/in"));
    assert_eq!(Head::default().follow(&text(&entry)), Ok(entry));
}

#[test]
fn an_untouched_chain_holds_in_parts_too() {
    let entries = entries();
    let end = Head { seq: 4, hash: entries[3].hash.clone() };
    assert_eq!(walk_entries(&entries), Ok(end.clone()));
    let part: Vec<String> = entries[2..].iter().map(text).collect();
    assert_eq!(walk(Head { seq: 2, hash: entries[1].hash.clone() }, &part), Ok(end));
}

#[test]
fn changed_removed_and_swapped_entries_are_found() {
    let mut changed = entries();
    changed[1].draft.status_code = Some(500);
    assert_eq!(walk_entries(&changed), Err(Broken::Changed { seq: 2 }));
    let mut removed = entries();
    removed.remove(2);
    assert_eq!(walk_entries(&removed), Err(Broken::Gap { expected: 3 }));
    let mut swapped = entries();
    swapped.swap(1, 2);
    assert_eq!(walk_entries(&swapped), Err(Broken::Gap { expected: 2 }));
    let mut renumbered = entries();
    renumbered.remove(1);
    renumbered[1].seq = 2;
    assert_eq!(walk_entries(&renumbered), Err(Broken::Unlinked { seq: 2 }));
}

#[test]
fn a_text_that_says_the_same_and_is_another_is_changed() {
    let texts: Vec<String> = entries().iter().map(text).collect();
    assert!(walk(Head::default(), &texts).is_ok());
    for (from, to) in [
        // No hash covers what no version has written, and it would be shown all the same.
        (r#""actor":"#, r#""approvedBy":"x","actor":"#),
        (r#""actor":"#, r#""source":null,"actor":"#),
        (r#""CREATE""#, r#""MAYBE""#),
        (r#""CREATE""#, r#""\u0043REATE""#),
        (",", ", "),
        ("{", ""),
        (r#""}"#, r#"" } "#),
    ] {
        let mut texts = texts.clone();
        texts[2] = texts[2].replacen(from, to, 1);
        assert_eq!(walk(Head::default(), &texts), Err(Broken::Changed { seq: 3 }), "{}", texts[2]);
    }
}

#[test]
fn the_columns_of_a_row_say_what_its_text_says() {
    let texts: Vec<String> = entries().iter().map(text).collect();
    let mut head = Head::default();
    assert_eq!(head.follow_row(1, "CREATE", &texts[0]), Ok(()));
    assert_eq!(head.clone().follow_row(2, "PROBE", &texts[1]), Err(Broken::Changed { seq: 2 }));
    assert_eq!(head.clone().follow_row(3, "CREATE", &texts[2]), Err(Broken::Gap { expected: 2 }));
    assert_eq!(head.clone().follow_row(2, "CREATE", ""), Err(Broken::Changed { seq: 2 }));
    assert_eq!(head.follow_row(2, "CREATE", &texts[1]), Ok(()));
}

#[test]
fn the_end_is_compared_with_what_was_kept() {
    let head = |seq, hash: &str| Head { seq, hash: hash.into() };
    for (end, found) in [
        (head(4, "a"), Ok(())),
        (head(4, "b"), Err(Broken::Changed { seq: 4 })),
        (head(2, "b"), Err(Broken::Gap { expected: 3 })),
        (Head::default(), Err(Broken::Gap { expected: 1 })),
        (head(6, "b"), Err(Broken::Unrecorded { seq: 5 })),
    ] {
        assert_eq!(end.check_end(&head(4, "a")), found, "{end:?}");
    }
    assert_eq!(Head::default().check_end(&Head::default()), Ok(()));
    assert_eq!(serde_json::to_string(&Broken::Unrecorded { seq: 5 }).unwrap(), r#"{"unrecorded":{"seq":5}}"#);
}

#[test]
fn names_of_actions_come_back() {
    for action in Action::ALL {
        assert_eq!(Action::from_name(action.as_str()), Some(action));
        assert_eq!(serde_json::to_string(&action).unwrap(), format!("\"{}\"", action.as_str()));
    }
}

fn lines(entries: &[Entry]) -> String {
    entries.iter().map(|entry| text(entry) + "\n").collect()
}

/// The entries of [`entries`] as a file.
fn segment() -> Segment {
    let entries = entries();
    let segment = Segment::cut(Head::default(), 4, lines(&entries)).unwrap();
    let last_hash = entries[3].hash.clone();
    let (from, to, previous_hash) = (1, 4, GENESIS_HASH.into());
    assert_eq!(segment, Segment { from, to, until_ms: 1000, previous_hash, last_hash, lines: lines(&entries) });
    segment
}

#[test]
fn a_segment_is_cut_only_of_what_holds() {
    let mut entries = entries();
    let cut = |entries: &[Entry], to| Segment::cut(Head::default(), to, lines(entries)).err();
    assert_eq!(cut(&entries, 5), Some(Broken::Gap { expected: 5 }));
    assert_eq!(cut(&[], 5), Some(Broken::Gap { expected: 1 }));
    entries[2].draft.actor.push('x');
    assert_eq!(cut(&entries, 4), Some(Broken::Changed { seq: 3 }));
    entries.remove(2);
    assert_eq!(cut(&entries, 4), Some(Broken::Gap { expected: 3 }));
}

#[test]
fn a_file_verifies_by_its_anchor_and_the_one_before_it() {
    let segment = segment();
    let anchor = segment.anchor();
    assert_eq!(check_segment(&segment.lines, &anchor, None), Ok(4));
    let before = |to, hash: &str| Anchor { to, last_hash: hash.into(), ..anchor.clone() };
    let second = Anchor { from: 5, to: 8, previous_hash: "ab".into(), ..anchor.clone() };
    assert_eq!(check_segment("", &second, Some(&before(4, "cd"))), Err(SegmentBroken::Before));
    assert_eq!(check_segment("", &second, Some(&before(3, "ab"))), Err(SegmentBroken::Before));
    assert_eq!(check_segment("", &second, Some(&before(4, "ab"))), Err(SegmentBroken::End { to: 8 }));
    assert_eq!(check_segment("", &Anchor { previous_hash: "ab".into(), ..anchor }, None), Err(SegmentBroken::Before));
}

#[test]
fn a_file_that_was_touched_is_named_by_what_breaks_first() {
    let segment = segment();
    let anchor = segment.anchor();
    let lines: Vec<&str> = segment.lines.lines().collect();
    for (text, broken) in [
        (segment.lines.replace("202", "203"), SegmentBroken::Chain(Broken::Changed { seq: 3 })),
        (lines[..3].join("\n"), SegmentBroken::End { to: 4 }),
        ([lines[0], lines[2], lines[1], lines[3]].join("\n"), SegmentBroken::Chain(Broken::Gap { expected: 2 })),
        (segment.lines.replacen('{', "", 1), SegmentBroken::Chain(Broken::Changed { seq: 1 })),
        (segment.lines.replacen("\"actor\"", "\"x\":1,\"actor\"", 1), SegmentBroken::Chain(Broken::Changed { seq: 1 })),
        (lines.join("\n"), SegmentBroken::File),
        (String::new(), SegmentBroken::End { to: 4 }),
    ] {
        assert_eq!(check_segment(&text, &anchor, None), Err(broken));
    }
}

#[test]
fn entries_leave_the_log_when_they_are_old_or_too_many_came_after_them() {
    let anchor = Anchor { until_ms: 5_000, ..segment().anchor() };
    for (before_ms, head_seq, leaves) in [
        (5_000, 4, false),
        (5_001, 4, true),
        (0, 4 + MAX_ENTRIES - 1, false),
        (0, 4 + MAX_ENTRIES, true),
        (0, 0, false),
    ] {
        assert_eq!(anchor.may_leave(before_ms, head_seq), leaves, "{before_ms} {head_seq}");
    }
}

#[test]
fn segments_and_their_anchors_have_a_pinned_form() {
    assert_eq!([segment_bounds(1), segment_bounds(2)], [(1, 1_000), (1_001, 2_000)]);
    assert_eq!(segment_key(1, 1_000), "audit/000000000001-000000001000.jsonl");
    let anchor =
        Anchor { from: 1, to: 2, until_ms: 3, previous_hash: "a".into(), last_hash: "b".into(), sha256: "c".into() };
    let json = r#"{"from":1,"to":2,"untilMs":3,"previousHash":"a","lastHash":"b","sha256":"c"}"#;
    assert_eq!(serde_json::to_string(&anchor).unwrap(), json);
    assert_eq!(serde_json::from_str::<Anchor>(json).unwrap(), anchor);
}

#[test]
fn calls_of_versions_without_filters_and_batches_are_read() {
    let list = r#"{"list":{"action":"PROBE","before_seq":9,"limit":5}}"#;
    let call: AuditCall = serde_json::from_str(list).unwrap();
    assert_eq!(serde_json::to_string(&call).unwrap(), list);
    let append = r#"{"append":{"drafts":[]}}"#;
    assert_eq!(serde_json::from_str::<AuditCall>(append).unwrap(), AuditCall::Append { drafts: vec![], batch: None });
    let verification = r#"{"intact":true,"checked":3}"#;
    assert_eq!(serde_json::from_str::<Verification>(verification).unwrap().after_anchor, None);
}

fn letter(id: &str, source: &str, reason: &str, verified: bool) -> DeadLetter {
    DeadLetter {
        id: id.into(),
        source: source.into(),
        stage: Stage::Receive,
        reason: reason.into(),
        detail: None,
        diagnosis: None,
        verified,
        received_at_ms: 1,
        dead_at_ms: 2,
        attempts: 0,
        last_status: verified.then_some(503),
        event_count: None,
        secret_label: None,
        dedupe_key: None,
        duplicate_window_s: None,
        headers: vec![],
        replay: 0,
        body: BodyRef::Inline { size_bytes: 0 },
    }
}

#[test]
fn letters_that_nobody_vouches_for_share_an_entry_a_source_and_reason() {
    let letters = [
        letter("1", "a", "signature_mismatch", false),
        letter("2", "a", "retries_exhausted", true),
        letter("3", "a", "signature_mismatch", false),
        letter("4", "b", "signature_mismatch", false),
        letter("5", "a", "retries_exhausted", true),
        letter("6", "a", "missing_signature", false),
        letter("7", "a", "signature_mismatch", false),
        letter("8", "", "undecodable_message", false),
        // The same reason of somebody who is known is another matter.
        letter("9", "a", "signature_mismatch", true),
    ];
    let said: Vec<_> = letter_drafts(&letters)
        .into_iter()
        .map(|draft| (draft.correlation_id.unwrap(), draft.source, draft.status_code, draft.count))
        .collect();
    let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
    assert_eq!(
        said,
        [
            ("1".to_owned(), a.clone(), None, Some(3)),
            ("2".to_owned(), a.clone(), Some(503), None),
            ("4".to_owned(), b, None, None),
            ("5".to_owned(), a.clone(), Some(503), None),
            ("6".to_owned(), a.clone(), None, None),
            ("8".to_owned(), None, None, None),
            ("9".to_owned(), a, Some(503), None),
        ]
    );
}
