//! From a verified request to the delivery that is queued: the envelope is read, the idempotency key found, the headers
//! chosen.
//!
//! Promises: what a delivery is depends on the request, its source and the time of receipt alone; a header that shows one of
//! the source's secrets in place of a signature is not kept. Out of scope: who verified it and where
//! ([`genesys_webhook::signature`]), sending it.

use crate::config::Source;
use crate::messages::{BodyRef, Delivery};
use genesys_webhook::doctor::SecretTexts;
use genesys_webhook::headers::{KeptHeader, keep_first};
use genesys_webhook::refusal::Refusal;
use genesys_webhook::signature::Verifier;

/// A source with what its secrets came to.
#[derive(Clone, Copy)]
pub struct SourcePolicy<'g> {
    pub source: &'g Source,
    pub verifier: &'g Verifier,
    /// What its secrets may look like in a header.
    pub texts: &'g SecretTexts,
}

impl SourcePolicy<'_> {
    /// The delivery that a verified request is, with its body in the message itself.
    ///
    /// `label`: of the secret that verified it; `id`: [`crate::messages::id::delivery_id`]; `received_at_ms`: milliseconds
    /// since the epoch. Errors: [`Refusal::InvalidJson`], [`Refusal::InvalidEnvelope`].
    pub fn delivery<'h>(
        &self,
        id: String,
        label: &str,
        headers: &[(&'h str, &'h str)],
        body: &[u8],
        received_at_ms: u64,
    ) -> Result<Delivery<KeptHeader<'h>>, Refusal> {
        let scheme = self.verifier.scheme();
        let envelope = scheme.inspect(body)?;
        let dedupe_key = scheme.idempotency_key(headers, &envelope);
        Ok(Delivery {
            id,
            source: self.source.name.clone(),
            received_at_ms,
            event_count: envelope.event_count,
            secret_label: label.to_owned(),
            duplicate_window_s: dedupe_key.is_none().then_some(self.source.duplicate_window_s),
            dedupe_key,
            headers: self.kept_headers(headers),
            replay: 0,
            origin: None,
            body: BodyRef::Inline { size_bytes: body.len() as u64 },
        })
    }

    /// What is kept of a request's headers, be it accepted or refused.
    pub fn kept_headers<'h>(&self, headers: &[(&'h str, &'h str)]) -> Vec<KeptHeader<'h>> {
        let forwarded = self.source.destination.https().map_or(&[][..], |destination| &destination.forward_headers);
        let harmless = headers.iter().copied().filter(|(_, value)| !self.texts.are_carried_by(value));
        keep_first(self.verifier.scheme(), forwarded, harmless).headers
    }
}

/// The head of a request as one text: method, space, URL, then name and value of each header, a line each. None of them can
/// contain the end of a line.
#[derive(Debug)]
pub struct RequestHead<'h> {
    pub method: &'h str,
    pub url: &'h str,
    /// Names in lower case and values, in the order of arrival.
    pub headers: Vec<(&'h str, &'h str)>,
}

/// The path of a URL, without the `url` crate: `https://host/a?b` → `/a`.
pub fn path(url: &str) -> &str {
    // A search for `://` prepares more than it finds.
    let authority = url.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//"));
    let from_host = authority.unwrap_or(url);
    let path_and_query = from_host.find('/').and_then(|start| from_host.get(start..)).unwrap_or("/");
    path_and_query.split_once('?').map_or(path_and_query, |(path, _)| path)
}

impl<'h> RequestHead<'h> {
    /// Reads the text; a name without a value is left out.
    pub fn read(text: &'h str) -> Self {
        // `str::split` looks for a character of any width, a step at a time.
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
        let mut start = 0usize;
        let mut lines = ends.filter_map(|end| text.get(core::mem::replace(&mut start, end.saturating_add(1))..end));
        let (method, url) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or_default();
        // Genesys sends about a dozen headers, Cloudflare adds about as many.
        let mut headers = Vec::with_capacity(24);
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            headers.push((name, value));
        }
        Self { method, url, headers }
    }

    pub fn first_line(text: &'h str) -> (&'h str, &'h str) {
        text.split('\n').next().and_then(|line| line.split_once(' ')).unwrap_or_default()
    }

    /// The value of a header; empty where it is absent.
    pub fn header(&self, name: &str) -> &'h str {
        self.headers.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The sender's address, as the edge tells it.
    pub fn address(&self) -> &'h str {
        self.header("cf-connecting-ip")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::testing::Fixture;

    #[test]
    fn a_delivery_has_the_key_and_the_headers_of_its_scheme_and_no_secret() {
        let fixture = Fixture::new(
            r#"{"name":"chat","profile":"open-messaging","secrets":["S"],
                "destination":{"url":"https://d.example","forward_headers":["x-tenant"]}}"#,
        );
        let headers = [
            ("content-type", "application/json"),
            ("authorization", "Bearer x"),
            ("x-shown", Fixture::SECRET),
            ("x-tenant", "7"),
            ("x-hub-signature-256", "sha256=x"),
        ];
        let body = br#"{"id":"m","type":"Text","channel":{"time":"t"}}"#;
        let delivery = fixture.policy().delivery("ID".into(), "current", &headers, body, 5).unwrap();
        let names: Vec<&str> = delivery.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["x-hub-signature-256", "x-tenant", "content-type"]);
        assert_eq!(delivery.dedupe_key.as_deref(), Some("members:m|Text|t"));
        assert_eq!(delivery.body, BodyRef::Inline { size_bytes: body.len() as u64 });
        assert_eq!((delivery.source.as_str(), delivery.received_at_ms, delivery.event_count), ("chat", 5, 1));
        assert!(matches!(
            fixture.policy().delivery("ID".into(), "current", &headers, b"[]", 5),
            Err(Refusal::InvalidEnvelope { .. })
        ));
    }

    #[test]
    fn the_path_of_a_url_is_what_is_behind_its_host() {
        for (url, expected) in [
            ("https://hooks.example.com/webhook/a?b=/c", "/webhook/a"),
            ("http://[::1]:8787/webhook/a", "/webhook/a"),
            ("https://h//webhook/a", "//webhook/a"),
            ("https://h", "/"),
            ("/webhook/a", "/webhook/a"),
            ("", "/"),
        ] {
            assert_eq!(path(url), expected, "{url}");
        }
    }

    #[test]
    fn a_head_is_read_line_by_line() {
        let head = RequestHead::read("POST https://h/webhook/a?b\nx-empty\n\ncontent-type\ntext/plain");
        assert_eq!((head.method, head.url), ("POST", "https://h/webhook/a?b"));
        assert_eq!(head.headers, [("x-empty", ""), ("content-type", "text/plain")]);
        assert_eq!((head.header("content-type"), head.header("x-none")), ("text/plain", ""));
        assert!(RequestHead::read("GET https://h/").headers.is_empty());
        assert!(RequestHead::read("").url.is_empty());
    }
}
