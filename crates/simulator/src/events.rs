//! Realistic bodies: conversation and user events for webhooks, messages for Open Messaging.
//!
//! Promises: valid JSON with what makes receivers stumble (text outside ASCII raw and escaped, `1.0`, `\/`, white space, `events`
//! first or last); the same for the same seed and time. Out of scope: everything that is wrong on purpose, see `forge`.

use crate::clock::iso8601;
use crate::seed::uuid;
use fastrand::Rng;
use std::fmt::Write as _;

const NAMES: [&str; 8] = [
    "Zoë Ångström",
    "李小龍",
    "Ólafur Þórðarson",
    "Jürgen Müller ☕",
    "مريم حسن",
    "Renée 👩‍💻",
    "Søren Kierkegård",
    "Anna Smith",
];
const PURPOSES: [&str; 4] = ["customer", "acd", "agent", "ivr"];
const STATES: [&str; 4] = ["alerting", "connected", "contacting", "disconnected"];
const TEXTS: [&str; 6] = [
    "Hi, my parcel has not arrived.",
    "Grüße aus Köln — geht’s voran?",
    "ご注文ありがとうございます。",
    "Спасибо, всё получилось 👍",
    "Caf\\u00e9 \\/ cr\\u00e8me ☕",
    "You\\u2019re next in line.\\nPlease hold.",
];
const FILLER: &str = "Überprüfung der Verbindung ☕ — line quality 0.98, no packet loss; ";
const ORGANIZATION: &str = "3f2b8c1e-7a54-4d0e-9c61-0b8d5e2f4a77";

/// The room that one more participant and one more event take at most, in bytes.
const PARTICIPANT_BYTES: usize = 620;
const EVENT_BYTES: usize = 560;

/// A body and how many events it carries.
pub(crate) struct EventBody {
    pub(crate) text: String,
    pub(crate) events: u64,
}

fn pick<'a>(rng: &mut Rng, texts: &'a [impl AsRef<str>]) -> &'a str {
    texts[rng.usize(..texts.len())].as_ref()
}

/// A webhook's body with events of the subscribed types, filled up to `target_bytes`.
pub(crate) fn webhook(
    rng: &mut Rng,
    webhook_id: &str,
    event_types: &[String],
    target_bytes: usize,
    now_ms: u64,
) -> EventBody {
    let colon = if rng.u64(..4) == 0 { ": " } else { ":" };
    let head = format!(
        r#""id"{colon}"{}","webhookId"{colon}"{webhook_id}","organizationId":"{ORGANIZATION}","timestamp":"{}""#,
        uuid(rng),
        iso8601(now_ms)
    );
    let mut list = String::from("[");
    let mut events = 0;
    loop {
        let left = target_bytes.saturating_sub(head.len() + list.len());
        if events > 0 {
            if left < EVENT_BYTES + PARTICIPANT_BYTES {
                break;
            }
            list.push(',');
        }
        let participants = (left.saturating_sub(EVENT_BYTES) / PARTICIPANT_BYTES).clamp(1, rng.usize(1..=6));
        let event_type = if event_types.is_empty() { "call:created" } else { pick(rng, event_types) };
        let at_ms = now_ms.saturating_sub(rng.u64(..2_000));
        event(rng, &mut list, event_type, participants, at_ms);
        events += 1;
    }
    list.push(']');
    let text = if rng.u64(..3) == 0 {
        format!(r#"{{"events"{colon}{list},{head}}}"#)
    } else {
        format!(r#"{{{head},"events"{colon}{list}}}"#)
    };
    let mut text = filled(text, "note", target_bytes);
    if rng.u64(..8) == 0 {
        text.push('\n');
    }
    EventBody { text, events }
}

fn event(rng: &mut Rng, out: &mut String, event_type: &str, participants: usize, at_ms: u64) {
    let (id, subject, at) = (uuid(rng), uuid(rng), iso8601(at_ms));
    if event_type.starts_with("user:") {
        let _ = write!(
            out,
            r#"{{"id":"{id}","eventType":"{event_type}","topicName":"v2.users.{subject}.activity","eventTime":"{at}","userId":"{subject}","presence":{{"systemPresence":"Available","message":"{}"}},"routingStatus":{{"status":"INTERACTING","startTime":"{at}"}},"participants":["#,
            pick(rng, &TEXTS)
        );
    } else {
        let step = match event_type.split_once(':').map_or("", |(_, happening)| happening) {
            "created" => "customer.start",
            "answered" | "connected" => "user.start",
            "ended" | "disconnected" => "customer.end",
            _ => "acd.start",
        };
        let _ = write!(
            out,
            r#"{{"id":"{id}","eventType":"{event_type}","topicName":"v2.detail.events.conversation.{subject}.{step}","eventTime":"{at}","conversationId":"{subject}","mediaType":"VOICE","direction":"INBOUND","ani":"tel:+49{:010}","dnis":"tel:+1317{:07}","participants":["#,
            rng.u64(..10_000_000_000),
            rng.u64(..10_000_000)
        );
    }
    for index in 0..participants {
        if index > 0 {
            out.push(',');
        }
        let _ = write!(
            out,
            r#"{{"id":"{}","purpose":"{}","name":"{}","queueId":"{}","calls":[{{"id":"{}","state":"{}","connectedTime":"{at}","provider":"Edge","muted":false,"segments":[{{"type":"interact","startTime":"{at}","mos":4.{}0}}]}}],"attributes":{{"ratio":1.0,"scale":5e-1,"comment":"{}"}}}}"#,
            uuid(rng),
            pick(rng, &PURPOSES),
            pick(rng, &NAMES),
            uuid(rng),
            uuid(rng),
            pick(rng, &STATES),
            rng.u64(..10),
            pick(rng, &TEXTS)
        );
    }
    out.push_str("]}");
}

/// An outbound message of an integration, filled up to `target_bytes`.
pub(crate) fn open_message(rng: &mut Rng, integration_id: &str, target_bytes: usize, now_ms: u64) -> EventBody {
    let (id, user, conversation, at) = (uuid(rng).replace('-', ""), rng.u64(..100_000), uuid(rng), iso8601(now_ms));
    let content = match rng.u64(..10) {
        0 => r#""type":"Event","events":[{"eventType":"Typing","typing":{"type":"On","duration":5000}}]"#.to_owned(),
        1 => r#""type":"Receipt","status":"Delivered","isFinalReceipt":true,"reasons":[]"#.to_owned(),
        _ => format!(r#""type":"Text","text":"{}""#, pick(rng, &TEXTS)),
    };
    let text = format!(
        r#"{{"id":"{id}","channel":{{"id":"{integration_id}","platform":"Open","type":"Private","to":{{"id":"customer-{user}@example.com","idType":"Opaque"}},"from":{{"nickname":"{}","id":"{integration_id}","idType":"Opaque"}},"time":"{at}","messageId":"{id}"}},{content},"originatingEntity":"Human","direction":"Outbound","conversationId":"{conversation}"}}"#,
        pick(rng, &NAMES)
    );
    EventBody { text: filled(text, "metadata", target_bytes), events: 1 }
}

/// Adds a field `name` at the end of the object, as long as it takes to reach `target_bytes` exactly; nothing if there is no room for it.
fn filled(mut text: String, name: &str, target_bytes: usize) -> String {
    let overhead = name.len() + r#","":"""#.len();
    let Some(mut room) = target_bytes.checked_sub(text.len() + overhead) else { return text };
    text.pop();
    let _ = write!(text, r#","{name}":""#);
    while room >= FILLER.len() {
        text.push_str(FILLER);
        room -= FILLER.len();
    }
    text.extend(std::iter::repeat_n('.', room));
    text.push_str("\"}");
    text
}

#[cfg(test)]
mod tests {
    use super::{open_message, webhook};
    use crate::seed::of_item;
    use serde_json::Value;

    #[test]
    fn webhook_bodies_are_json_of_the_asked_size_with_only_subscribed_events() {
        let types = ["call:created".to_owned(), "user:updated".to_owned()];
        for (item, target) in (0..200).zip([1_024, 4_096, 16_384, 65_536, 200_000].into_iter().cycle()) {
            let body = webhook(&mut of_item(3, item), "w", &types, target, 1_749_589_385_427);
            // A filler that would not fit is left out; one event can be longer than the smallest size.
            assert!((target - 16..target + 300).contains(&body.text.len()), "{} of {target}", body.text.len());
            let value: Value = serde_json::from_str(&body.text).unwrap();
            let events = value["events"].as_array().unwrap();
            assert_eq!(events.len() as u64, body.events);
            assert!(events.iter().all(|event| types.iter().any(|name| event["eventType"] == **name)));
            assert!(
                !body.text.is_ascii()
                    && body.text == webhook(&mut of_item(3, item), "w", &types, target, 1_749_589_385_427).text
            );
        }
    }

    #[test]
    fn messages_are_one_object_each_from_the_integration() {
        for item in 0..50 {
            let body = open_message(&mut of_item(3, item), "integration", 1_024, 1_749_589_385_427);
            let value: Value = serde_json::from_str(&body.text).unwrap();
            assert_eq!(
                (&value["channel"]["id"], &value["channel"]["from"]["id"]),
                (&"integration".into(), &"integration".into())
            );
            assert_eq!(body.text.len(), 1_024);
        }
    }
}
