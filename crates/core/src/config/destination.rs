//! The destination of a source: its address, and the headers that its requests carry.
//!
//! Promises: a name or value that a request could not carry, or that the gateway sets itself, is refused here; credentials
//! are named, not written down: they are Worker secrets. Out of scope: whether those exist, and what they hold
//! ([`header_value_problem`] judges the values of secrets).

use super::binding::{NOT_A_BINDING, bindings, is_binding, url};
use super::reader::Table;
use genesys_webhook::headers::{is_credential_name, is_name};

const DEFAULT_TIMEOUT_MS: u64 = 15_000;

/// Most headers of one kind.
const MAX_HEADERS: usize = 20;

/// Longest value of a header: with an excerpt of an answer (1 KB) it leaves room for words around it.
const MAX_VALUE_BYTES: usize = 512;

/// What the gateway or the runtime sets itself, and what belongs to one connection (RFC 9110, section 7.6.1).
const RESERVED: [&str; 13] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Beginnings of names that the gateway or Cloudflare sets.
const RESERVED_PREFIXES: [&str; 3] = ["webhook-", "x-genesys-gateway-", "cf-"];

/// What a probe of the archive may take, in milliseconds: writes to R2 have no time limit of their own.
const ARCHIVE_TIMEOUT_MS: u64 = 15_000;

/// Where a source's deliveries go. A new kind is a variant here, what it answers below, and its attempt in the Worker
/// (`src/deliver/destination.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationConfig {
    Archive,
    Https(HttpsDestination),
}

impl DestinationConfig {
    /// Its kind, as it stands in names of objects.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Https(_) => "https",
        }
    }

    pub fn timeout_ms(&self) -> u64 {
        match self {
            Self::Archive => ARCHIVE_TIMEOUT_MS,
            Self::Https(https) => https.timeout_ms,
        }
    }

    pub fn https(&self) -> Option<&HttpsDestination> {
        match self {
            Self::Archive => None,
            Self::Https(https) => Some(https),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsDestination {
    pub url: String,
    /// Names of the Worker secrets that sign towards it, each with a signature of its own; none where it is not signed.
    pub secrets: Vec<String>,
    pub timeout_ms: u64,
    /// Constant headers: name in lower case, value.
    pub headers: Vec<(String, String)>,
    /// Names, in lower case, of the sender's headers that are forwarded.
    pub forward_headers: Vec<String>,
    /// Headers whose values are secret: name in lower case, name of the Worker secret.
    pub secret_headers: Vec<(String, String)>,
}

pub(super) fn read(table: &Table<'_>, allow_private: bool) -> Option<DestinationConfig> {
    let url = url(table, allow_private);
    let secrets = bindings(table, "secret");
    let timeout_ms = table.number("timeout_ms", 100, 60_000).unwrap_or(DEFAULT_TIMEOUT_MS);
    let headers = read_headers(table);
    let secret_headers = read_secret_headers(table);
    let forward_headers = read_forwarded(table);
    let names = |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let mut seen: Vec<String> = vec![];
    for (key, names) in [
        ("headers", names(&headers)),
        ("secret_headers", names(&secret_headers)),
        ("forward_headers", forward_headers.clone()),
    ] {
        if names.len() > MAX_HEADERS {
            table.problem(key, format!("has more than {MAX_HEADERS} headers"));
        }
        for name in names {
            if seen.contains(&name) {
                table.problem(key, format!("{name} is given twice"));
            }
            seen.push(name);
        }
    }
    let https = HttpsDestination { url: url?, secrets, timeout_ms, headers, forward_headers, secret_headers };
    Some(DestinationConfig::Https(https))
}

/// Why no request can carry a header of this name that is not the gateway's own.
fn name_problem(name: &str) -> Option<&'static str> {
    if !is_name(name) {
        return Some("is not the name of a header");
    }
    let is_reserved = RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    is_reserved.then_some("is set by the gateway or by the connection itself")
}

/// Why a request cannot carry this value: visible ASCII with single spaces inside is what every server reads the same
/// (RFC 9110, section 5.5). The value is not quoted.
pub fn header_value_problem(value: &str) -> Option<String> {
    if value.len() > MAX_VALUE_BYTES {
        return Some(format!("is longer than {MAX_VALUE_BYTES} bytes"));
    }
    let is_plain = value.trim() == value && value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (value.is_empty() || !is_plain).then(|| "is not visible ASCII without space around it".into())
}

/// A header's name in lower case and its value, where nothing is wrong with them: `problem` judges what the name leaves open.
fn read_pairs(
    table: &Table<'_>,
    key: &'static str,
    problem: impl Fn(&str, &str) -> Option<String>,
) -> Vec<(String, String)> {
    let pairs = table.pairs(key).into_iter().map(|(name, value)| {
        let lower = name.to_ascii_lowercase();
        if let Some(problem) = name_problem(&lower).map(Into::into).or_else(|| problem(&lower, value)) {
            table.problem(&format!("{key}.{name}"), problem);
        }
        (lower, value.to_owned())
    });
    pairs.collect()
}

fn read_headers(table: &Table<'_>) -> Vec<(String, String)> {
    let credential = "is a credential: put it into a Worker secret and name that in secret_headers";
    read_pairs(table, "headers", |name, value| {
        if is_credential_name(name) { Some(credential.into()) } else { header_value_problem(value) }
    })
}

fn read_secret_headers(table: &Table<'_>) -> Vec<(String, String)> {
    // A value that is no name is not shown: it may be the secret itself.
    read_pairs(table, "secret_headers", |_, secret| (!is_binding(secret)).then(|| NOT_A_BINDING.into()))
}

fn read_forwarded(table: &Table<'_>) -> Vec<String> {
    table.texts_as("forward_headers", |name| {
        let name = name.to_ascii_lowercase();
        match name_problem(&name) {
            Some(problem) => Err(problem.into()),
            None if is_credential_name(&name) => Err("is a credential of the sender, which is never kept".into()),
            None => Ok(name),
        }
    })
}
