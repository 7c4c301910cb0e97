//! One delivery, ready to send: the body of its kind, its digest and its headers.
//!
//! Every kind is wrong in exactly one way, so that its refusal has one right reason.

use super::target::Target;
use crate::config::{Kind, Settings};
use crate::events;
use crate::random::Rng;
use crate::signature::{Digest, genesys, open_messaging, sha256};
use crate::store::Api;
use axum::body::Bytes;

/// A delivery with everything that its attempts send. Retries repeat it as it is, signature included.
pub(super) struct Prepared {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) target: Target,
    pub(super) body: Bytes,
    pub(super) digest: Digest,
    pub(super) headers: Vec<(String, String)>,
    pub(super) events: u64,
}

/// Draws a size.
fn size(rng: &mut Rng, settings: &Settings) -> usize {
    let total = settings.sizes.iter().map(|size| u64::from(size.weight)).sum();
    let mut at = rng.below(total);
    for size in &settings.sizes {
        let weight = u64::from(size.weight);
        if at < weight {
            return size.bytes;
        }
        at -= weight;
    }
    0
}

/// Draws a kind.
pub(super) fn kind(rng: &mut Rng, settings: &Settings) -> Kind {
    let weights = settings.mix.weights();
    let mut at = rng.below(weights.iter().copied().map(u64::from).sum());
    for (kind, weight) in Kind::MIXED.into_iter().zip(weights.map(u64::from)) {
        if at < weight {
            return kind;
        }
        at -= weight;
    }
    Kind::Valid
}

/// Makes a delivery of any kind but [`Kind::Duplicate`], whose bytes exist already.
pub(super) fn prepare(
    seed: u64,
    number: u64,
    kind: Kind,
    target: Target,
    settings: &Settings,
    now_ms: u64,
) -> Prepared {
    let mut rng = Rng::of_item(seed, number);
    let size = size(&mut rng, settings);
    let body = match target.api {
        Api::Webhooks => events::webhook(&mut rng, &target.id, &target.event_types, size, now_ms),
        Api::OpenMessaging => events::open_message(&mut rng, &target.id, size, now_ms),
    };
    let text = match kind {
        Kind::MalformedJson => malformed(&mut rng, &body.text),
        Kind::MissingEvents => missing_events(&mut rng, target.api, &body.text),
        _ => body.text,
    };
    let mut signature = (kind != Kind::Unsigned).then(|| sign(&target, text.as_bytes())).flatten();
    let mut bytes = text.into_bytes();
    if kind == Kind::Tampered {
        match rng.below(3) {
            0 => alter(&mut bytes),
            1 => {
                let forger = Target {
                    secret: target.secret.as_ref().map(|secret| format!("{secret}-forged")),
                    ..target.clone()
                };
                signature = sign(&forger, &bytes);
            }
            _ => signature = signature.map(|(name, value)| (name, alter_signature(&value))),
        }
    }
    assemble(number, kind, target, bytes, body.events, signature)
}

/// Signs a body as it is and makes it a delivery.
pub(super) fn signed(number: u64, kind: Kind, target: Target, body: Bytes, events: u64) -> Prepared {
    let signature = sign(&target, &body);
    assemble(number, kind, target, body, events, signature)
}

/// Makes a delivery of given bytes and headers, unsigned.
pub(super) fn assemble(
    number: u64,
    kind: Kind,
    target: Target,
    body: impl Into<Bytes>,
    events: u64,
    signature: Option<(String, String)>,
) -> Prepared {
    let body = body.into();
    let mut headers = vec![
        ("content-type".to_owned(), "application/json; charset=utf-8".to_owned()),
        ("user-agent".to_owned(), concat!("genesys-simulator/", env!("CARGO_PKG_VERSION")).to_owned()),
    ];
    headers.extend(target.headers.iter().cloned());
    headers.extend(signature);
    let digest = sha256(&body);
    Prepared { number, kind, target, body, digest, headers, events }
}

fn sign(target: &Target, body: &[u8]) -> Option<(String, String)> {
    let secret = target.secret.as_ref()?;
    Some(match target.api {
        Api::Webhooks => ("x-genesys-signature".to_owned(), genesys(secret, body)),
        Api::OpenMessaging => ("x-hub-signature-256".to_owned(), open_messaging(secret, body)),
    })
}

/// Changes the first digit, which is inside the body's id: it stays the same JSON but for that.
fn alter(body: &mut [u8]) {
    if let Some(digit) = body.iter_mut().find(|byte| byte.is_ascii_digit()) {
        *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
    }
}

/// Changes the first character behind the prefix to another one that hex and base64 both know.
fn alter_signature(value: &str) -> String {
    let (prefix, encoded) = value.split_at(value.find('=').filter(|at| *at < 10).map_or(0, |at| at + 1));
    let mut characters = encoded.chars();
    let first = if characters.next() == Some('0') { '1' } else { '0' };
    format!("{prefix}{first}{}", characters.as_str())
}

fn malformed(rng: &mut Rng, text: &str) -> String {
    let text = text.trim_end();
    let inner = text.strip_suffix('}').unwrap_or(text);
    match rng.below(4) {
        0 => inner.to_owned(),
        1 => format!("{inner},}}"),
        2 => format!("{text}}}"),
        _ => text.replacen(':', "=", 1),
    }
}

fn missing_events(rng: &mut Rng, api: Api, text: &str) -> String {
    match api {
        // Open Messaging demands no field: what is no object is no message.
        Api::OpenMessaging => format!("[{text}]"),
        Api::Webhooks => match rng.below(3) {
            0 => text.replacen("\"events\"", "\"items\"", 1),
            1 => format!(r#"{{"events":{{"first":{text}}}}}"#),
            _ => format!(r#"{{"events":null,"payload":{text}}}"#),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Prepared, prepare};
    use crate::config::{Kind, Settings};
    use crate::sender::target::Target;
    use crate::signature::{genesys, open_messaging};
    use crate::store::Api;
    use serde_json::Value;

    fn samples(api: Api, kind: Kind) -> Vec<(Prepared, bool, Option<Value>)> {
        let target = Target {
            id: "t".to_owned(),
            api,
            uri: "http://127.0.0.1:1/x".parse().unwrap(),
            secret: Some("0123456789abcdef0123".to_owned()),
            headers: Vec::new(),
            event_types: vec!["call:created".to_owned()],
        };
        (0..60)
            .map(|number| {
                let made = prepare(9, number, kind, target.clone(), &Settings::default(), 1_749_589_385_427);
                let (name, expected) = match api {
                    Api::Webhooks => ("x-genesys-signature", genesys("0123456789abcdef0123", &made.body)),
                    Api::OpenMessaging => ("x-hub-signature-256", open_messaging("0123456789abcdef0123", &made.body)),
                };
                let genuine = made.headers.contains(&(name.to_owned(), expected));
                let json = serde_json::from_slice(&made.body).ok();
                (made, genuine, json)
            })
            .collect()
    }

    #[test]
    fn each_kind_is_wrong_in_one_way_only() {
        for api in [Api::Webhooks, Api::OpenMessaging] {
            assert!(samples(api, Kind::Valid).iter().all(|(_, genuine, json)| *genuine && json.is_some()));
            assert!(samples(api, Kind::Tampered).iter().all(|(made, genuine, json)| {
                !genuine
                    && json.is_some()
                    && made.headers.iter().any(|(name, _)| name.ends_with("signature") || name.contains("hub"))
            }));
            assert!(
                samples(api, Kind::Unsigned)
                    .iter()
                    .all(|(made, genuine, json)| { !genuine && json.is_some() && made.headers.len() == 2 })
            );
            assert!(samples(api, Kind::MalformedJson).iter().all(|(_, genuine, json)| *genuine && json.is_none()));
            assert!(samples(api, Kind::MissingEvents).iter().all(|(_, genuine, json)| {
                *genuine
                    && json
                        .as_ref()
                        .is_some_and(|json| !json["events"].is_array() && (api == Api::Webhooks || json.is_array()))
            }));
        }
    }
}
