//! Signing: the headers that make a request verify under a scheme.
//!
//! Promises: what [`sign`] makes, [`crate::signature::Verifier`] accepts. The gateway signs towards destinations with
//! the Standard Webhooks preset; senders of test traffic use the other schemes.

use crate::scheme::Scheme;
use crate::secret::SigningSecret;

/// Makes the headers of a signed request: a signature by each of `secrets` (the receiver of a rotation knows one of them), and
/// identifier and timestamp where the scheme has them.
///
/// `id`: the delivery's identifier, visible ASCII without quotes, braces and backslashes (the gateway's own are);
/// another one is signed too, and refused by whoever verifies. `timestamp_s`: whole seconds since the epoch.
/// Names are lower case.
pub fn sign(
    scheme: &Scheme,
    secrets: &[SigningSecret],
    id: &str,
    timestamp_s: u64,
    body: &[u8],
) -> Vec<(String, String)> {
    let timestamp = timestamp_s.to_string();
    let (before, after) = scheme.content.around(id, &timestamp);
    let signatures = secrets.iter().map(|secret| {
        let tag = secret.mac().tag([&before, body, &after]);
        format!("{}{}", scheme.prefix, scheme.encoding.encode(&tag))
    });
    let mut headers = vec![(scheme.signature_header.clone(), signatures.collect::<Vec<_>>().join(" "))];
    headers.extend(scheme.id_header.iter().map(|name| (name.clone(), id.to_owned())));
    headers.extend(scheme.timestamp.iter().map(|rule| (rule.header.clone(), timestamp.clone())));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_published_vector_of_standard_webhooks() {
        let scheme = Scheme::standard_webhooks();
        let secret =
            SigningSecret::new(&scheme, "destination", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None).unwrap();
        let headers =
            sign(&scheme, &[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let expected = [
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
