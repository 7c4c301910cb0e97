//! A signed request and the source that it is sent to, as text.
//!
//! ```text
//! webhooks                          a profile, or the JSON of a custom scheme on one line
//! @1700000000000                    the time, milliseconds since the epoch
//! *0123456789abcdef0123             a secret; `*1700000000000@…` is active until then
//! X-Genesys-Signature: 00ff         a header
//! !0 webhooks as_is msg_1 170000    headers of a signature: secret, profile or `own`, change of the body, id, seconds
//!
//! everything after the empty line is the body
//! ```

use crate::split_once;
use genesys_webhook::custom::CustomScheme;
use genesys_webhook::profile::Profile;
use genesys_webhook::scheme::Scheme;
use genesys_webhook::secret::SigningSecret;
use genesys_webhook::sign::sign;
use genesys_webhook::signature::Verifier;

/// A request on its way to a source.
pub struct Request {
    /// The source's scheme and secrets; the secrets' labels are `s0`, `s1`, …
    pub verifier: Verifier,
    /// Name of the header with the identifier that is signed, lower case.
    pub id_header: Option<String>,
    /// Name of the header with the time that is signed, lower case.
    pub timestamp_header: Option<String>,
    /// In the order of arrival.
    pub headers: Vec<(String, String)>,
    /// As it arrives.
    pub body: Vec<u8>,
    /// Milliseconds since the epoch.
    pub now_ms: u64,
}

impl Request {
    /// Reads the text; `None` where it is not one of a source that could be configured.
    pub fn read(input: &[u8]) -> Option<Self> {
        let (head, body) = split_once(input, b"\n\n");
        let mut lines = std::str::from_utf8(head).ok()?.split('\n');
        let (scheme, id_header, timestamp_header) = scheme(lines.next()?)?;
        let (mut secrets, mut headers, mut now_ms) = (Vec::new(), Vec::new(), 1_700_000_000_000);
        for line in lines {
            if let Some(time) = line.strip_prefix('@') {
                now_ms = time.parse().ok()?;
            } else if let Some(secret) = line.strip_prefix('*') {
                let timed = secret.split_once('@').and_then(|(end, text)| Some((end.parse().ok()?, text)));
                let (end, text) = timed.map_or((None, secret), |(end, text)| (Some(end), text));
                secrets.push(SigningSecret::new(&scheme, &format!("s{}", secrets.len()), text, end).ok()?);
            } else if let Some(signature) = line.strip_prefix('!') {
                headers.extend(signed(&scheme, &secrets, signature, body)?);
            } else {
                let (name, value) = line.split_once(':')?;
                headers.push((name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
            }
        }
        let verifier = Verifier::new(scheme, secrets);
        Some(Self { verifier, id_header, timestamp_header, headers, body: body.to_vec(), now_ms })
    }

    /// All values of a header, joined as a browser's `Headers` joins them.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

fn scheme(line: &str) -> Option<(Scheme, Option<String>, Option<String>)> {
    if line.starts_with('{') {
        let custom: CustomScheme = serde_json::from_str(line).ok()?;
        let lower = |name: &Option<String>| name.as_deref().map(str::to_ascii_lowercase);
        let (id_header, timestamp_header) = (lower(&custom.id_header), lower(&custom.timestamp_header));
        return match custom.resolve() {
            Ok(scheme) => Some((scheme, id_header, timestamp_header)),
            Err(errors) => {
                assert!(!errors.is_empty(), "a scheme is refused without a reason");
                for error in errors {
                    assert!(error.to_string().contains(error.key), "{error} does not name {}", error.key);
                }
                None
            }
        };
    }
    let profile = Profile::ALL.into_iter().find(|profile| profile.as_str() == line)?;
    let names = (profile == Profile::StandardWebhooks).then_some(("webhook-id", "webhook-timestamp"));
    let (id, timestamp) = (names.map(|(id, _)| id.to_owned()), names.map(|(_, timestamp)| timestamp.to_owned()));
    Some((Scheme::preset(profile)?, id, timestamp))
}

fn signed(scheme: &Scheme, secrets: &[SigningSecret], line: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let mut words = line.split(' ');
    let secret = secrets.get(words.next()?.parse::<usize>().ok()?)?;
    let by = words.next()?;
    let preset = Profile::ALL.into_iter().find(|profile| profile.as_str() == by).and_then(Scheme::preset);
    let body = match words.next()? {
        "line_end" => [body, b"\n"].concat(),
        "no_line_end" => body.strip_suffix(b"\n")?.to_vec(),
        "bom" => [b"\xef\xbb\xbf", body].concat(),
        "empty" => Vec::new(),
        "compact" => serde_json::to_vec(&serde_json::from_slice::<serde_json::Value>(body).ok()?).ok()?,
        "pretty" => serde_json::to_vec_pretty(&serde_json::from_slice::<serde_json::Value>(body).ok()?).ok()?,
        _ => body.to_vec(),
    };
    let (id, timestamp_s) = (words.next()?, words.next()?.parse().ok()?);
    Some(sign(preset.as_ref().unwrap_or(scheme), secret, id, timestamp_s, &body))
}
