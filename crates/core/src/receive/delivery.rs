//! From a verified request to the delivery that is queued: the envelope is read, the idempotency key found, the headers
//! chosen.
//!
//! Promises: what a delivery is depends on the request, its source and the time of receipt alone, whichever way it came; a
//! header that shows one of the source's secrets in place of a signature is not kept. Out of scope: who verified it and
//! where ([`genesys_webhook::signature`]), sending it.

use crate::messages::{self, BodyRef, Delivery};
use genesys_webhook::doctor::SecretTexts;
use genesys_webhook::headers::{KeptHeader, keep_first};
use genesys_webhook::refusal::Refusal;
use genesys_webhook::signature::Verifier;

/// What a source's configuration says of the requests that it takes.
#[derive(Clone, Copy)]
pub struct SourcePolicy<'g> {
    /// Its name.
    pub source: &'g str,
    /// Its scheme and secrets.
    pub verifier: &'g Verifier,
    /// What its secrets may look like in a header.
    pub texts: &'g SecretTexts,
    /// Names of the headers that its destination gets, lower case.
    pub forwarded: &'g [String],
}

/// A delivery whose request is still there.
pub type Incoming<'h> = Delivery<KeptHeader<'h>>;

impl SourcePolicy<'_> {
    /// The delivery that a verified request is, with its body in the message itself.
    ///
    /// `label`: of the secret that verified it; `id`: [`crate::messages::id::delivery_id`]; `received_at_ms`: milliseconds since the
    /// epoch. Errors: [`Refusal::InvalidJson`], [`Refusal::InvalidEnvelope`].
    pub fn delivery<'h>(
        &self,
        id: String,
        label: &str,
        headers: &[(&'h str, &'h str)],
        body: &[u8],
        received_at_ms: u64,
    ) -> Result<Incoming<'h>, Refusal> {
        let scheme = self.verifier.scheme();
        let envelope = scheme.inspect(body)?;
        Ok(Delivery {
            id,
            source: self.source.to_owned(),
            received_at_ms,
            event_count: envelope.event_count,
            secret_label: label.to_owned(),
            dedupe_key: scheme.idempotency_key(headers, &envelope),
            headers: self.kept_headers(headers),
            replay: 0,
            origin: None,
            body: BodyRef::Inline { size_bytes: body.len() as u64 },
        })
    }

    /// What is kept of a request's headers, be it accepted or refused.
    pub fn kept_headers<'h>(&self, headers: &[(&'h str, &'h str)]) -> Vec<KeptHeader<'h>> {
        let harmless = headers.iter().copied().filter(|(_, value)| !self.texts.are_carried_by(value));
        keep_first(self.verifier.scheme(), self.forwarded, harmless).headers
    }
}

impl Incoming<'_> {
    /// The header line of its message ([`message::delivery_header`]).
    pub fn header_line(&self) -> String {
        messages::delivery_header(self)
    }
}

/// The head of a request as one text: its URL, then name and value of each header, a line each. None of them can contain the
/// end of a line.
#[derive(Debug)]
pub struct RequestHead<'h> {
    /// The URL.
    pub url: &'h str,
    /// Names and values in the order of arrival.
    pub headers: Vec<(&'h str, &'h str)>,
}

/// The path and query of a URL, without the `url` crate: `https://host/a?b` → `/a?b`.
pub fn path_and_query(url: &str) -> &str {
    // A search for `://` prepares more than it finds.
    let authority = url.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//"));
    let from_host = authority.unwrap_or(url);
    from_host.find('/').and_then(|start| from_host.get(start..)).unwrap_or("/")
}

impl<'h> RequestHead<'h> {
    /// Reads the text; a name without a value is left out.
    pub fn read(text: &'h str) -> Self {
        // `str::split` looks for a character of any width, a step at a time.
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
        let mut start = 0usize;
        let mut lines = ends.filter_map(|end| text.get(core::mem::replace(&mut start, end.saturating_add(1))..end));
        let url = lines.next().unwrap_or_default();
        // Genesys sends about a dozen headers, Cloudflare adds about as many.
        let mut headers = Vec::with_capacity(24);
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            headers.push((name, value));
        }
        Self { url, headers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesys_webhook::custom::CustomScheme;
    use genesys_webhook::envelope::EnvelopeKind;
    use genesys_webhook::scheme::Scheme;
    use genesys_webhook::secret::SigningSecret;

    const SECRET: &str = "0123456789abcdef0123";

    #[test]
    fn a_delivery_has_the_key_and_the_headers_of_its_scheme_and_no_secret() {
        let scheme = Scheme::open_messaging();
        let secret = SigningSecret::new(&scheme, "current", SECRET, None).unwrap();
        let verifier = Verifier::new(scheme, vec![secret]);
        let texts = SecretTexts::of(&verifier);
        let forwarded = ["x-tenant".to_owned()];
        let policy = SourcePolicy { source: "chat", verifier: &verifier, texts: &texts, forwarded: &forwarded };
        let headers = [
            ("content-type", "application/json"),
            ("authorization", "Bearer x"),
            ("x-shown", SECRET),
            ("x-tenant", "7"),
            ("x-hub-signature-256", "sha256=x"),
        ];
        let body = br#"{"id":"m","type":"Text","channel":{"time":"t"}}"#;
        let delivery = policy.delivery("ID".into(), "current", &headers, body, 5).unwrap();
        let names: Vec<&str> = delivery.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["x-hub-signature-256", "x-tenant", "content-type"]);
        assert_eq!(delivery.dedupe_key.as_deref(), Some("members:m|Text|t"));
        assert_eq!(delivery.body, BodyRef::Inline { size_bytes: body.len() as u64 });
        assert_eq!((delivery.source.as_str(), delivery.received_at_ms, delivery.event_count), ("chat", 5, 1));
        assert!(matches!(
            policy.delivery("ID".into(), "current", &headers, b"[]", 5),
            Err(Refusal::InvalidEnvelope { .. })
        ));
    }

    #[test]
    fn equal_bodies_with_two_signed_identifiers_are_two_deliveries() {
        let custom: CustomScheme = serde_json::from_str(
            r#"{"header":"x-s","encoding":"hex","id_header":"x-id","signed_content":"{id}.{body}","envelope":"any"}"#,
        )
        .unwrap();
        let keys = |scheme: Scheme, id_header: &str| {
            let verifier = Verifier::new(scheme, vec![]);
            let texts = SecretTexts::of(&verifier);
            let policy = SourcePolicy { source: "s", verifier: &verifier, texts: &texts, forwarded: &[] };
            ["A", "B", "A"].map(|id| {
                let delivery = policy.delivery("ID".into(), "current", &[(id_header, id)], b"{}", 5);
                delivery.unwrap().dedupe_key
            })
        };
        for (scheme, id_header) in [(custom.resolve().unwrap(), "x-id"), (Scheme::standard_webhooks(), "webhook-id")] {
            let [a, b, again] = keys(scheme, id_header);
            assert!(a.is_some() && a != b && a == again, "{a:?} {b:?} {again:?}");
        }
        // Nothing but the body: how long equal bodies count as one is the ledger's to know.
        assert_eq!(keys(Scheme::webhooks().with_envelope(EnvelopeKind::Any), "x-id"), [None, None, None]);
    }

    #[test]
    fn the_path_of_a_url_is_what_is_behind_its_host() {
        for (url, expected) in [
            ("https://hooks.example.com/webhook/a?b=/c", "/webhook/a?b=/c"),
            ("http://[::1]:8787/webhook/a", "/webhook/a"),
            ("https://h", "/"),
            ("/webhook/a", "/webhook/a"),
            ("", "/"),
        ] {
            assert_eq!(path_and_query(url), expected, "{url}");
        }
    }

    #[test]
    fn a_head_is_read_line_by_line() {
        let head = RequestHead::read("https://h/webhook/a?b\nx-empty\n\ncontent-type\ntext/plain");
        assert_eq!(head.url, "https://h/webhook/a?b");
        assert_eq!(head.headers, [("x-empty", ""), ("content-type", "text/plain")]);
        assert!(RequestHead::read("https://h/").headers.is_empty());
        assert!(RequestHead::read("").url.is_empty());
    }
}
