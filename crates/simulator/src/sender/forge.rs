//! One delivery, ready to send: the body of its kind, its digest and its headers.
//!
//! Every kind is wrong in exactly one way, so that its refusal has one right reason.

use super::target::DeliveryTarget;
use crate::config::{DeliveryKind, SimulatorSettings};
use crate::events;
use crate::seed::{of_item, weighted};
use crate::signature::{Digest, genesys, open_messaging, sha256};
use crate::store::VendorApi;
use axum::body::Bytes;
use fastrand::Rng;

/// A delivery with everything that its attempts send. Retries repeat it as it is, signature included.
pub(super) struct PreparedDelivery {
    pub(super) number: u64,
    pub(super) kind: DeliveryKind,
    pub(super) target: DeliveryTarget,
    pub(super) body: Bytes,
    pub(super) digest: Digest,
    pub(super) headers: Vec<(String, String)>,
    pub(super) events: u64,
}

pub(super) fn kind(rng: &mut Rng, settings: &SimulatorSettings) -> DeliveryKind {
    let weights: Vec<_> = settings.mix.iter().map(|(kind, weight)| (*kind, *weight)).collect();
    weighted(rng, &weights).unwrap_or(DeliveryKind::Valid)
}

/// Makes a delivery of any kind but [`DeliveryKind::Duplicate`], whose bytes exist already.
pub(super) fn prepare(
    seed: u64,
    number: u64,
    kind: DeliveryKind,
    target: DeliveryTarget,
    settings: &SimulatorSettings,
    now_ms: u64,
) -> PreparedDelivery {
    let mut rng = of_item(seed, number);
    let sizes: Vec<_> = settings.sizes.iter().map(|size| (size.bytes, size.weight)).collect();
    let size = weighted(&mut rng, &sizes).unwrap_or(0);
    let body = match target.api {
        VendorApi::Webhooks => events::webhook(&mut rng, &target.id, &target.event_types, size, now_ms),
        VendorApi::OpenMessaging => events::open_message(&mut rng, &target.id, size, now_ms),
    };
    let text = match kind {
        DeliveryKind::MalformedJson => malformed(&mut rng, &body.text),
        DeliveryKind::MissingEvents => missing_events(&mut rng, target.api, &body.text),
        _ => body.text,
    };
    let mut signature = (kind != DeliveryKind::Unsigned).then(|| sign(&target, text.as_bytes())).flatten();
    let mut bytes = text.into_bytes();
    if kind == DeliveryKind::Tampered {
        match rng.u32(..3) {
            0 => alter(&mut bytes),
            1 => {
                let forger = DeliveryTarget {
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
pub(super) fn signed(
    number: u64,
    kind: DeliveryKind,
    target: DeliveryTarget,
    body: Bytes,
    events: u64,
) -> PreparedDelivery {
    let signature = sign(&target, &body);
    assemble(number, kind, target, body, events, signature)
}

/// Makes a delivery of given bytes and headers, unsigned.
pub(super) fn assemble(
    number: u64,
    kind: DeliveryKind,
    target: DeliveryTarget,
    body: impl Into<Bytes>,
    events: u64,
    signature: Option<(String, String)>,
) -> PreparedDelivery {
    let body = body.into();
    let mut headers = vec![
        ("content-type".to_owned(), "application/json; charset=utf-8".to_owned()),
        ("user-agent".to_owned(), concat!("genesys-simulator/", env!("CARGO_PKG_VERSION")).to_owned()),
    ];
    headers.extend(target.headers.iter().cloned());
    headers.extend(signature);
    let digest = sha256(&body);
    PreparedDelivery { number, kind, target, body, digest, headers, events }
}

fn sign(target: &DeliveryTarget, body: &[u8]) -> Option<(String, String)> {
    let secret = target.secret.as_ref()?;
    Some(match target.api {
        VendorApi::Webhooks => ("x-genesys-signature".to_owned(), genesys(secret, body)),
        VendorApi::OpenMessaging => ("x-hub-signature-256".to_owned(), open_messaging(secret, body)),
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
    match rng.u32(..4) {
        0 => inner.to_owned(),
        1 => format!("{inner},}}"),
        2 => format!("{text}}}"),
        _ => text.replacen(':', "=", 1),
    }
}

fn missing_events(rng: &mut Rng, api: VendorApi, text: &str) -> String {
    match api {
        // Open Messaging demands no field: what is no object is no message.
        VendorApi::OpenMessaging => format!("[{text}]"),
        VendorApi::Webhooks => match rng.u32(..3) {
            0 => text.replacen("\"events\"", "\"items\"", 1),
            1 => format!(r#"{{"events":{{"first":{text}}}}}"#),
            _ => format!(r#"{{"events":null,"payload":{text}}}"#),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{PreparedDelivery, prepare};
    use crate::config::{DeliveryKind, SimulatorSettings};
    use crate::sender::target::DeliveryTarget;
    use crate::signature::{genesys, open_messaging};
    use crate::store::VendorApi;
    use serde_json::Value;

    fn samples(api: VendorApi, kind: DeliveryKind) -> Vec<(PreparedDelivery, bool, Option<Value>)> {
        let target = DeliveryTarget {
            id: "t".to_owned(),
            api,
            url: "http://127.0.0.1:1/x".parse().unwrap(),
            secret: Some("0123456789abcdef0123".to_owned()),
            headers: Vec::new(),
            event_types: vec!["call:created".to_owned()],
        };
        (0..60)
            .map(|number| {
                let made = prepare(9, number, kind, target.clone(), &SimulatorSettings::default(), 1_749_589_385_427);
                let (name, expected) = match api {
                    VendorApi::Webhooks => ("x-genesys-signature", genesys("0123456789abcdef0123", &made.body)),
                    VendorApi::OpenMessaging => {
                        ("x-hub-signature-256", open_messaging("0123456789abcdef0123", &made.body))
                    }
                };
                let genuine = made.headers.contains(&(name.to_owned(), expected));
                let json = serde_json::from_slice(&made.body).ok();
                (made, genuine, json)
            })
            .collect()
    }

    #[test]
    fn each_kind_is_wrong_in_one_way_only() {
        for api in [VendorApi::Webhooks, VendorApi::OpenMessaging] {
            assert!(samples(api, DeliveryKind::Valid).iter().all(|(_, genuine, json)| *genuine && json.is_some()));
            assert!(samples(api, DeliveryKind::Tampered).iter().all(|(made, genuine, json)| {
                !genuine
                    && json.is_some()
                    && made.headers.iter().any(|(name, _)| name.ends_with("signature") || name.contains("hub"))
            }));
            assert!(
                samples(api, DeliveryKind::Unsigned)
                    .iter()
                    .all(|(made, genuine, json)| { !genuine && json.is_some() && made.headers.len() == 2 })
            );
            assert!(
                samples(api, DeliveryKind::MalformedJson).iter().all(|(_, genuine, json)| *genuine && json.is_none())
            );
            assert!(samples(api, DeliveryKind::MissingEvents).iter().all(|(_, genuine, json)| {
                *genuine
                    && json.as_ref().is_some_and(|json| {
                        !json["events"].is_array() && (api == VendorApi::Webhooks || json.is_array())
                    })
            }));
        }
    }
}
