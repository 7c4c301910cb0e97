//! The signatures, written a second time.
//!
//! Promise: what the vendor computes, over `hmac` and `sha2` only. Another implementation than the gateway's own checks the gateway.
//! Out of scope: timing safety; this program guards nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// The tolerance of Standard Webhooks for `webhook-timestamp`, in seconds, both ways.
const TOLERANCE_S: u64 = 300;

/// A SHA-256 of a body: the name of a delivery's content.
pub(crate) type Digest = [u8; 32];

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is a valid key of HMAC: the error case does not exist, and an empty MAC would verify nowhere.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(crate) fn sha256(body: &[u8]) -> Digest {
    Sha256::digest(body).into()
}

/// The value of `X-Genesys-Signature`: hex of HMAC-SHA256 over the raw body.
pub(crate) fn genesys(secret: &str, body: &[u8]) -> String {
    hex::encode(hmac_sha256(secret.as_bytes(), &[body]))
}

/// The value of Open Messaging's `X-Hub-Signature-256`: `sha256=` and base64, not hex.
pub(crate) fn open_messaging(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", STANDARD.encode(hmac_sha256(secret.as_bytes(), &[body])))
}

/// What the sink found in the three headers of Standard Webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureCheck {
    Good,
    Bad,
    Missing,
}

/// Checks the headers of Standard Webhooks. A secret that starts with `whsec_` is base64 behind it, any other is taken as its bytes.
pub(crate) fn standard_webhooks(
    secret: &str,
    headers: &axum::http::HeaderMap,
    body: &[u8],
    now_ms: u64,
) -> SignatureCheck {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(timestamp), Some(signatures)) =
        (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"))
    else {
        return SignatureCheck::Missing;
    };
    let key = match secret.strip_prefix("whsec_").map(|encoded| STANDARD.decode(encoded)) {
        None => secret.as_bytes().to_vec(),
        Some(Ok(key)) => key,
        Some(Err(_)) => return SignatureCheck::Bad,
    };
    let fresh = timestamp.parse::<u64>().is_ok_and(|at_s| at_s.abs_diff(now_ms / 1_000) <= TOLERANCE_S);
    let expected = STANDARD.encode(hmac_sha256(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]));
    let signed = signatures.split(' ').any(|signature| signature.strip_prefix("v1,") == Some(expected.as_str()));
    if fresh && signed { SignatureCheck::Good } else { SignatureCheck::Bad }
}

#[cfg(test)]
mod tests {
    use super::{SignatureCheck, genesys, open_messaging, standard_webhooks};
    use axum::http::{HeaderMap, HeaderValue};

    #[test]
    fn the_published_vectors_hold() {
        // RFC 4231, test case 2.
        assert_eq!(
            genesys("Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let body = r#"{"id":"d7d58935af65a45e5234ac77de017a0a","type":"Text","text":"Café ☕"}"#;
        assert_eq!(
            open_messaging("0123456789abcdef0123", body.as_bytes()),
            "sha256=hepaQOMzEfGw6CkGEFomifqzSKFITV8dEcs9qabUIkk="
        );
    }

    #[test]
    fn standard_webhooks_are_checked_with_their_tolerance() {
        let mut headers = HeaderMap::new();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(standard_webhooks(secret, &headers, body, 0), SignatureCheck::Missing);
        headers.insert("webhook-id", HeaderValue::from_static("msg_p5jXN8AQM9LWM0D4loKWxJek"));
        headers.insert("webhook-timestamp", HeaderValue::from_static("1614265330"));
        headers.insert(
            "webhook-signature",
            HeaderValue::from_static("v1,other v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        );
        for (now_s, body, expected) in [
            (1_614_265_330, &body[..], SignatureCheck::Good),
            (1_614_265_630, body, SignatureCheck::Good),
            (1_614_265_631, body, SignatureCheck::Bad),
            (1_614_265_029, body, SignatureCheck::Bad),
            (1_614_265_330, b"{}", SignatureCheck::Bad),
        ] {
            assert_eq!(standard_webhooks(secret, &headers, body, now_s * 1_000), expected, "{now_s}");
        }
    }
}
