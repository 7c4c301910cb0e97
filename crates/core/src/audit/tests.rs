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
    assert_eq!(serde_json::from_str::<Entry>(&text(&entry)).unwrap(), entry);
}

#[test]
fn an_address_is_recorded_without_what_may_be_secret() {
    let draft = Draft {
        target_url: Some("https://user:s3cr3t@a.example/in?token=s3cr3t".into()),
        ..Draft::new(Action::Alert, "monitor")
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
    let Anchor { from, to, until_ms, previous_hash, last_hash, .. } = &segment.anchor;
    assert_eq!((*from, *to, *until_ms), (1, 4, 1000));
    assert_eq!((previous_hash.as_str(), last_hash, &segment.lines), (GENESIS_HASH, &entries[3].hash, &lines(&entries)));
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
    let anchor = segment.anchor.clone();
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
    let anchor = segment.anchor.clone();
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
    let anchor = Anchor { until_ms: 5_000, ..segment().anchor };
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
    let anchor =
        Anchor { from: 1, to: 2, until_ms: 3, previous_hash: "a".into(), last_hash: "b".into(), sha256: "c".into() };
    let json = r#"{"from":1,"to":2,"untilMs":3,"previousHash":"a","lastHash":"b","sha256":"c"}"#;
    assert_eq!(serde_json::to_string(&anchor).unwrap(), json);
    assert_eq!(serde_json::from_str::<Anchor>(json).unwrap(), anchor);
}

#[test]
fn the_forms_of_calls_are_pinned() {
    let filter = EntryFilter { action: Some(Action::Probe), ..EntryFilter::default() };
    for (call, json) in [
        (
            AuditCall::List { filter, before_seq: Some(9), limit: 5 },
            r#"{"list":{"filter":{"action":"PROBE","source":null,"since":null,"until":null},"before_seq":9,"limit":5}}"#,
        ),
        (AuditCall::Append { drafts: vec![], batch: None }, r#"{"append":{"drafts":[],"batch":null}}"#),
        (AuditCall::Anchored { segment: 2 }, r#"{"anchored":{"segment":2}}"#),
    ] {
        assert_eq!(serde_json::to_string(&call).unwrap(), json);
        assert_eq!(serde_json::from_str::<AuditCall>(json).unwrap(), call);
    }
}

fn letter(id: &str, source: &str, reason: &str, verified: bool) -> DeadLetter {
    DeadLetter {
        source: source.into(),
        verified,
        last_status: verified.then_some(503),
        ..DeadLetter::of(id.into(), Stage::Receive, reason, BodyRef::Inline { size_bytes: 0 }, 2)
    }
}

#[test]
fn letters_without_a_proof_share_an_entry_a_source_and_reason() {
    let letters = [
        letter("1", "a", "signature_mismatch", false),
        letter("2", "a", "retries_exhausted", true),
        letter("3", "a", "signature_mismatch", false),
        letter("4", "b", "signature_mismatch", false),
        letter("5", "a", "retries_exhausted", true),
        letter("6", "a", "missing_signature", false),
        letter("7", "a", "signature_mismatch", false),
        letter("8", "", "undecodable_message", false),
        // The same reason of a sender who is known is another matter.
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

#[test]
fn replays_jobs_and_removals_say_what_was_left() {
    use crate::dead_letters::LetterFilter;
    use crate::dead_letters::replay::{Job, JobOrder, JobState, ReplayVerdict, Replayed};
    use crate::dead_letters::retention::Removed;
    let replayed = |verdict| replay_draft(&Replayed { id: "1".into(), source: String::new(), verdict }, "admin");
    let late = ReplayVerdict::outlived(crate::deliver::ledger::State::Delivered).unwrap();
    assert_eq!(replayed(late).error, None);
    assert_eq!(replayed(ReplayVerdict::skipped("body_lost", None)).error.as_deref(), Some("body_lost"));
    let order = JobOrder {
        id: "j".into(),
        actor: "admin".into(),
        filter: LetterFilter::default(),
        dry_run: false,
        rate_per_s: 1,
    };
    let mut job = Job { state: JobState::Done, ..Job::new(order, 0) };
    job.count(&ReplayVerdict::replayed());
    assert_eq!((job_draft(&job).error, job_draft(&job).count), (None, Some(1)));
    job.count(&ReplayVerdict::skipped("body_lost", None));
    assert_eq!(job_draft(&job).error.as_deref(), Some("1 of 2 not replayed"));
    job.state = JobState::Cancelled;
    assert_eq!(job_draft(&job).error.as_deref(), Some("cancelled"));
    for (removed, said) in [
        (Removed::default(), None),
        (Removed { audit_entries: 5, unfinished: true, ..Removed::default() }, None),
        (Removed { dead_letters: 1, deliveries: 2, bodies: 3, ..Removed::default() }, Some((6, None))),
        (Removed { failures: 2, ..Removed::default() }, Some((0, Some("2 steps failed".to_owned())))),
    ] {
        assert_eq!(retention_draft(&removed, "cron").map(|draft| (draft.count.unwrap(), draft.error)), said);
    }
}
