use super::*;
use crate::messages::keys::audit_segment_key;
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
fn a_chain_holds_in_parts_and_whatever_was_done_to_it_is_found() {
    let entries = entries();
    let texts: Vec<String> = entries.iter().map(text).collect();
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|n| texts[n].as_str());
    let end = Head { seq: 4, hash: entries[3].hash.clone() };
    assert_eq!(walk(Head::default(), &texts), Ok(end.clone()));
    assert_eq!(walk(Head { seq: 2, hash: entries[1].hash.clone() }, &texts[2..]), Ok(end));
    let changed = second.replace("201", "500");
    let renumbered = third.replace("\"seq\":3", "\"seq\":2");
    let forged = text(&Head { seq: 1, hash: entries[0].hash.clone() }.append(Draft::new(Action::Create, "x"), 1000));
    for (texts, broken) in [
        ([first, &changed, third, fourth], Broken::Changed(2)),
        ([first, &forged, third, fourth], Broken::Unlinked(3)),
        ([first, second, fourth, fourth], Broken::Missing(3)),
        ([first, third, second, fourth], Broken::Missing(2)),
        ([first, &renumbered, third, fourth], Broken::Unlinked(2)),
        ([first, first, second, third], Broken::Missing(2)),
    ] {
        assert_eq!(walk(Head::default(), &texts), Err(broken));
    }
    for (from, to) in [
        // No hash covers what no version has written, and it would be shown all the same.
        (r#""actor":"#, r#""approvedBy":"x","actor":"#),
        (r#""actor":"#, r#""source":null,"actor":"#),
        (r#""statusCode":202,"#, ""),
        (r#""CREATE""#, r#""MAYBE""#),
        (r#""CREATE""#, r#""\u0043REATE""#),
        (",", ", "),
        ("{", ""),
        (r#""}"#, r#"" } "#),
    ] {
        let third = third.replacen(from, to, 1);
        assert_eq!(walk(Head::default(), &[first, second, &third]), Err(Broken::Changed(3)), "{third}");
    }
}

#[test]
fn the_end_is_compared_with_what_was_kept() {
    let head = |seq, hash: &str| Head { seq, hash: hash.into() };
    for (end, found) in [
        (head(4, "a"), Ok(())),
        (head(4, "b"), Err(Broken::Changed(4))),
        (head(2, "b"), Err(Broken::Missing(3))),
        (Head::default(), Err(Broken::Missing(1))),
        (head(6, "b"), Err(Broken::Unrecorded(5))),
    ] {
        assert_eq!(end.check_end(&head(4, "a")), found, "{end:?}");
    }
    assert_eq!(Head::default().check_end(&Head::default()), Ok(()));
    assert_eq!(serde_json::to_string(&Broken::Unrecorded(5)).unwrap(), r#"{"unrecorded":5}"#);
}

#[test]
fn actions_are_shown_as_they_are_stored() {
    for action in Action::ALL {
        assert_eq!(serde_json::to_string(action).unwrap(), format!("\"{}\"", action.as_str()));
    }
}

#[test]
fn entries_leave_the_log_when_they_are_old_or_too_many_came_after_them() {
    let entry = entries().pop().unwrap();
    for (before_ms, head_seq, leaves) in
        [(1_000, 4, false), (1_001, 4, true), (0, 3 + MAX_ENTRIES, false), (0, 4 + MAX_ENTRIES, true), (0, 0, false)]
    {
        assert_eq!(may_leave(&entry, head_seq, before_ms), Ok(leaves), "{before_ms} {head_seq}");
    }
    let timeless = Entry { timestamp: "x".into(), ..entry };
    assert_eq!(may_leave(&timeless, 4, 0), Err(Broken::Changed(4)));
}

/// Two segments: their keys and their files.
fn two_segments() -> (Vec<String>, Vec<String>, Marks) {
    let (mut head, mut keys, mut files) = (Head::default(), vec![], vec![]);
    let mut segment = || {
        let before = head.seq + 1;
        let lines = (0..SEGMENT_ENTRIES).map(|_| text(&head.append(Draft::new(Action::Create, "cron"), 0)) + "\n");
        files.push(lines.collect::<String>());
        keys.push(audit_segment_key(before, &head.hash));
        head.clone()
    };
    let marks = Marks { removed: segment(), exported: segment(), head: Head::default() };
    (keys, files, marks)
}

#[test]
fn segments_have_bounds() {
    assert_eq!([segment_bounds(1), segment_bounds(2)], [(1, 1_000), (1_001, 2_000)]);
    assert_eq!([1, 1_000, 1_001].map(segment_of), [1, 1, 2]);
}

#[test]
fn a_segment_verifies_by_the_names_around_it_and_the_marks_of_the_log() {
    let (keys, files, marks) = two_segments();
    let check = |segment, keys_before: &[String], keys: &[String], text: &str| {
        check_segment(segment, keys_before, keys, text, &marks)
    };
    let (first, second) = (&keys[..1], &keys[1..]);
    assert_eq!(check(1, &[], first, &files[0]), Ok(()));
    assert_eq!(check(2, first, second, &files[1]), Ok(()));

    let line = |n: usize| files[1].split_inclusive('\n').nth(n).unwrap();
    let changed = |seq| Err(Broken::Changed(seq));
    let gap = |expected| Err(Broken::Missing(expected));
    for (text, broken) in [
        (files[1].replacen("cron", "none", 1), changed(1_001)),
        (files[1].replacen("\"actor\"", "\"x\":1,\"actor\"", 1), changed(1_001)),
        (files[1].replacen('\n', "\r\n", 1), changed(1_001)),
        (files[1].replacen('\n', "\n\n", 1), changed(1_002)),
        (files[1].trim_end().to_owned(), changed(2_000)),
        (files[1].replace(line(1), ""), gap(1_002)),
        (files[1].replace(line(999), ""), gap(2_000)),
        (files[1].replace(line(0), ""), gap(1_001)),
        (files[0].clone(), gap(1_001)),
        (String::new(), gap(1_001)),
        (files[1].clone() + line(999), gap(2_001)),
    ] {
        assert_eq!(check(2, first, second, &text), broken);
    }

    // Names: none, one too many, another's, and one that says nothing.
    let other = ["audit/000000000001-ab.jsonl".to_owned()];
    let unrecorded = |seq| Err(Broken::Unrecorded(seq));
    assert_eq!(check(2, first, &[], &files[1]), gap(1_001));
    assert_eq!(check(2, &[], second, &files[1]), gap(1));
    assert_eq!(check(2, first, &keys, &files[1]), unrecorded(1_001));
    assert_eq!(check(2, &keys, second, &files[1]), unrecorded(1));
    assert_eq!(check(2, first, &["audit/000000001001-".to_owned()], &files[1]), unrecorded(1_001));
    assert_eq!(check(1, &[], &other, &files[0]), changed(1_000));
    assert_eq!(check(2, &other, second, &files[1]), Err(Broken::Unlinked(1_001)));

    // One that was chained anew, by somebody who knows names, files and how they are chained.
    let mut head = marks.removed.clone();
    let file: String =
        (0..SEGMENT_ENTRIES).map(|_| text(&head.append(Draft::new(Action::Create, "x"), 0)) + "\n").collect();
    let forged = [audit_segment_key(1_001, &head.hash)];
    assert_eq!(check_segment(2, first, &forged, &file, &Marks::default()), Ok(()));
    assert_eq!(check(2, first, &forged, &file), changed(2_000));
    let marks = Marks { removed: marks.exported, ..Marks::default() };
    assert_eq!(check_segment(2, first, &forged, &file, &marks), changed(2_000));
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
        (AuditCall::Export, r#""export""#),
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
