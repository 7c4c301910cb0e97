//! Signing: the headers that make a request verify under a scheme.
//!
//! Promise: what [`sign`] makes, [`crate::signature::Verifier`] accepts. Out of scope: which secrets sign what. The gateway
//! signs towards destinations with the Standard Webhooks preset, and senders of test traffic use the other schemes.

use crate::scheme::Scheme;
use crate::secret::SigningSecret;

/// Makes the headers of a signed request: signature, and identifier and timestamp where the scheme has them.
///
/// `id`: the delivery's identifier, visible ASCII without quotes, braces and backslashes (the gateway's own are);
/// another one is signed too, and the verifier refuses it. `timestamp_s`: whole seconds since the epoch.
/// Names are lower case.
pub fn sign(scheme: &Scheme, secret: &SigningSecret, id: &str, timestamp_s: u64, body: &[u8]) -> Vec<(String, String)> {
    sign_with_all(scheme, [secret], id, timestamp_s, body)
}

/// As [`sign`], with a signature for each secret in one header, a space between them (Standard Webhooks): a receiver
/// that knows one of the secrets accepts, so that secrets can be replaced without an interruption.
///
/// Without any secret there is no signature header.
pub fn sign_with_all<'s>(
    scheme: &Scheme,
    secrets: impl IntoIterator<Item = &'s SigningSecret>,
    id: &str,
    timestamp_s: u64,
    body: &[u8],
) -> Vec<(String, String)> {
    let timestamp = timestamp_s.to_string();
    let (before, after) = scheme.content.around(id, &timestamp);
    let signatures = secrets.into_iter().map(|secret| {
        let tag = secret.mac().tag([&before, body, &after]);
        format!("{}{}", scheme.prefix, scheme.encoding.encode(&tag))
    });
    let signatures = signatures.collect::<Vec<_>>().join(" ");
    let mut headers = Vec::new();
    if !signatures.is_empty() {
        headers.push((scheme.signature_header.clone(), signatures));
    }
    headers.extend(scheme.id_header.iter().map(|name| (name.clone(), id.to_owned())));
    headers.extend(scheme.timestamp.iter().map(|rule| (rule.header.clone(), timestamp.clone())));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_secrets_sign_in_one_header_which_each_of_them_verifies() {
        let scheme = Scheme::standard_webhooks();
        let texts = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_bmV4dC1zZWNyZXQtb2YtMjItYnl0ZXM="];
        let secrets = texts.map(|text| SigningSecret::new(&scheme, "destination", text, None).unwrap());
        let headers = sign_with_all(&scheme, &secrets, "msg_1", 1_700_000_000, b"{}");
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[0].1.split(' ').filter(|signature| signature.starts_with("v1,")).count(), 2);
        for text in texts {
            let receiver = SigningSecret::new(&scheme, "current", text, None).unwrap();
            let verifier = crate::signature::Verifier::new(scheme.clone(), vec![receiver]);
            assert!(verifier.verify(headers.as_slice(), b"{}", 1_700_000_000_000).is_ok());
        }
        let unsigned = sign_with_all(&scheme, [], "msg_1", 1_700_000_000, b"{}");
        assert_eq!(
            unsigned.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["webhook-id", "webhook-timestamp"]
        );
    }
}
