//! What is stored or crosses a queue: reading it never panics, and what was read is written so that it reads the same.
//!
//! Input: the name of a form in the first line, then the message or the JSON.

use crate::split_once;
use gateway_core::audit::{AuditCall, Entry, Head};
use gateway_core::dead_letters::{BodyText, LettersCall, StoredDeadLetter, Summary};
use gateway_core::deliver::ledger::{Claimed, DeliveryRow, LedgerCall, LedgerTotals};
use gateway_core::lifecycle::{Answered, LifecycleCall};
use gateway_core::messages::{DecodeError, Message, dead_letter_header, decode, delivery_header, frame};
use gateway_core::metrics::counters::{CountersCall, Totals};
use genesys_client::reconcile::{ReconcileReport, ReconcileState};
use genesys_client::subscription::ApiKind;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// What an error may say of a message: it goes into a dead letter next to the message itself.
const MAX_ERROR_BYTES: usize = 1_000;

/// Judges one input; `false` where it says nothing.
pub fn run(input: &[u8]) -> bool {
    let (form, stored) = split_once(input, b"\n");
    let Ok(form) = std::str::from_utf8(form) else { return false };
    if form == "message" {
        message(stored);
        return true;
    }
    if form == "body" {
        assert_eq!(BodyText::from_bytes(stored).to_bytes().as_deref(), Some(stored));
        return true;
    }
    let Ok(json) = std::str::from_utf8(stored) else { return false };
    match form {
        "counters" => drop(again::<CountersCall>(json)),
        "totals" => drop(again::<Totals>(json)),
        "ledger" => drop(again::<LedgerCall>(json)),
        "claimed" => drop(again::<Claimed>(json)),
        "row" => drop(again::<DeliveryRow>(json)),
        "ledger_totals" => drop(again::<LedgerTotals>(json)),
        "letters" => drop(again::<LettersCall>(json)),
        "summary" => drop(again::<Summary>(json)),
        "letter" => {
            let inline = again::<StoredDeadLetter>(json).and_then(|letter| letter.inline);
            let bytes = inline.and_then(|body| body.to_bytes());
            if let Some(bytes) = bytes {
                assert_eq!(BodyText::from_bytes(&bytes).to_bytes(), Some(bytes));
            }
        }
        "audit" => drop(again::<AuditCall>(json)),
        "entry" => entry(json),
        "lifecycle" => drop(again::<LifecycleCall>(json)),
        "answered" => drop(again::<Answered>(json)),
        "report" => drop(again::<ReconcileReport>(json)),
        "memory" => reconcile_state(json),
        _ => return false,
    }
    true
}

fn message(stored: &[u8]) {
    let (header, body) = match decode(stored) {
        Ok(Message::Delivery(delivery, body)) => (delivery_header(&delivery), body),
        Ok(Message::DeadLetter(letter, body)) => (dead_letter_header(&letter), body),
        Err(error) => {
            assert!(error.to_string().len() <= MAX_ERROR_BYTES, "an error of {} bytes", error.to_string().len());
            if !stored.contains(&b'\n') {
                assert_eq!(error, DecodeError::NoHeader);
            }
            return;
        }
    };
    let framed = frame(&header, body);
    assert_eq!(decode(&framed), decode(stored), "{header}");
    assert!(stored.ends_with(body));
    // A message that lost its end or won another byte is not taken for a whole one.
    for damaged in [&framed[..framed.len() - 1], &[framed.as_slice(), b"x"].concat()] {
        assert!(decode(damaged).is_err(), "{damaged:?}");
    }
}

/// Reads the JSON; what it meant is what its own JSON means.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &str) -> Option<T> {
    let read: T = serde_json::from_str(json).ok()?;
    let written = serde_json::to_string(&read).expect("what was read can be written");
    let second: T = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(second, read, "{written}");
    Some(read)
}

fn entry(json: &str) {
    let Some(entry) = again::<Entry>(json) else { return };
    let written = serde_json::to_string(&entry).expect("an entry can be written");
    let mut head = Head { seq: entry.seq.saturating_sub(1), hash: entry.previous_hash.clone() };
    // What holds is what is written, to the byte.
    if head.clone().follow(json).is_ok() {
        assert_eq!(written, json);
    }
    // Whatever was recorded, the chain that it is put into holds, and does not hold any more when it is changed.
    let before = head.clone();
    let mut chained = head.append(entry.draft, 1);
    let text = |entry: &Entry| serde_json::to_string(entry).expect("an entry can be written");
    assert_eq!(before.clone().follow(&text(&chained)).as_ref(), Ok(&chained));
    chained.draft.actor.push('x');
    assert!(before.clone().follow(&text(&chained)).is_err());
}

fn reconcile_state(json: &str) {
    let Some(mut state) = again::<ReconcileState>(json) else { return };
    for api in ApiKind::ALL {
        state.created(api, "name", Some("id"), 1_700_000_000_000);
        state.deleted(api, "name", "id", u64::MAX);
    }
    state.forget(0);
    let kept = state.recent.len();
    state.forget(0);
    assert_eq!(state.recent.len(), kept);
}
