//! The guard for every address that a user can name: webhook addresses, probes, explicit base URLs.
//!
//! Promises of [`check`]:
//! - The address is an absolute URL that every URL parser reads the same way. It has no user information, backslash, white
//!   space, percent-encoded or non-ASCII host, and no unusual spelling of an IP address.
//! - Unless private addresses are allowed, it is `https`, and its host is public. It is no private, loopback, link-local,
//!   carrier-grade or metadata address, as IPv4 or wrapped in IPv6, and no name of a private network.
//!
//! Out of scope: what a public name resolves to. A Worker's `fetch` does not reach private networks, and transports do
//! not follow redirects.

mod ip;

use core::net::Ipv6Addr;

/// Names with these ends belong to one machine or network (RFC 6761, 6762, 8375, 9476 and ICANN's `.internal`).
const LOCAL_SUFFIXES: [&str; 8] =
    ["localhost", "local", "internal", "localdomain", "home.arpa", "lan", "intranet", "corp"];

/// Longest URL that is accepted. Workers permit 16 KB.
const MAX_URL_BYTES: usize = 2_048;

/// Longest host name (RFC 1035).
const MAX_HOST_BYTES: usize = 253;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether the scheme is `https` (else it is `http`).
    pub https: bool,
    /// The host in lower case, without a dot at the end; an IPv6 address in brackets.
    pub host: String,
    /// The port, given or the scheme's own.
    pub port: u16,
}

/// Why an address was refused. The user has to change it, or allow private addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    /// Empty, relative, too long, or with characters that URL parsers disagree about.
    #[error("not an address that can be used: {0}")]
    Malformed(&'static str),
    #[error("the address must start with https://")]
    NotHttps,
    #[error("the address must not contain user information")]
    UserInformation,
    /// A host of digits that is no plain dotted IPv4 address, but a decimal, octal, hexadecimal or shortened spelling.
    #[error("the host {0:?} is an unusual spelling of an IP address")]
    ObscuredIp(String),
    /// An IP address that the public internet does not route to, or that answers with a cloud's credentials.
    #[error("the host {host:?} is a {kind} address")]
    NotPublic { host: String, kind: &'static str },
    #[error("the host {0:?} is a name of a private network")]
    LocalName(String),
}

/// Checks an address. `allow_private` permits `http`, loopback, private addresses and local names, for local development.
/// The syntax is checked all the same, and metadata and link-local addresses stay refused.
pub fn check(url: &str, allow_private: bool) -> Result<Address, AddressRefusal> {
    let malformed = AddressRefusal::Malformed;
    if url.is_empty() {
        return Err(malformed("it is empty"));
    }
    if url.len() > MAX_URL_BYTES {
        return Err(malformed("it is longer than 2048 bytes"));
    }
    // URL parsers strip some of these, read `\` as `/`, and disagree about the rest.
    if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
        return Err(malformed("it contains white space, a control character or a backslash"));
    }
    let (scheme, rest) = url.split_once("://").ok_or(malformed("it is not an absolute URL"))?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" if allow_private => false,
        _ => return Err(AddressRefusal::NotHttps),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(AddressRefusal::UserInformation);
    }
    let (host, port) = split_port(authority).ok_or(malformed("its host or port cannot be read"))?;
    let port = match port {
        None if https => 443,
        None => 80,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
            _ => return Err(malformed("its port is not a number from 1 to 65535")),
        },
    };
    let host = host.to_ascii_lowercase();
    let host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => check_v6(inner, allow_private)?,
        None => check_name(&host, allow_private)?,
    };
    Ok(Address { https, host, port })
}

/// Host and port text. `None` when brackets or colons do not fit.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let end = authority.find(']')?.checked_add(1)?;
        let (host, rest) = authority.split_at_checked(end)?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

/// Whether a non-public address may be used all the same. Development needs the own machine and network, but neither
/// metadata services, link-local addresses nor IPv4 wrapped in IPv6.
fn permitted(kind: &str, allow_private: bool) -> bool {
    allow_private && matches!(kind, "loopback" | "private")
}

fn check_v6(inner: &str, allow_private: bool) -> Result<String, AddressRefusal> {
    let address: Ipv6Addr = inner.parse().map_err(|_| AddressRefusal::Malformed("its IPv6 address cannot be read"))?;
    let host = format!("[{inner}]");
    match ip::v6_kind(address) {
        Some(kind) if !permitted(kind, allow_private) => Err(AddressRefusal::NotPublic { host, kind }),
        _ => Ok(host),
    }
}

fn check_name(host: &str, allow_private: bool) -> Result<String, AddressRefusal> {
    // `localhost.` is `localhost`.
    let host = host.strip_suffix('.').unwrap_or(host);
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
    };
    if host.len() > MAX_HOST_BYTES || !host.split('.').all(label_fits) {
        return Err(AddressRefusal::Malformed("its host is not a name of letters, digits, hyphens and dots"));
    }
    let owned = host.to_owned();
    let last = host.rsplit('.').next().unwrap_or_default();
    // The URL standard reads a host whose last label is a number, decimal or 0x…, as an IPv4 address.
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if numeric {
        // The standard library reads plain dotted decimals only.
        let address = host.parse().map_err(|_| AddressRefusal::ObscuredIp(owned.clone()))?;
        return match ip::v4_kind(address) {
            Some(kind) if !permitted(kind, allow_private) => Err(AddressRefusal::NotPublic { host: owned, kind }),
            _ => Ok(owned),
        };
    }
    let local = !host.contains('.')
        || LOCAL_SUFFIXES
            .iter()
            .any(|suffix| host.strip_suffix(suffix).is_some_and(|before| before.is_empty() || before.ends_with('.')));
    if local && !allow_private {
        return Err(AddressRefusal::LocalName(owned));
    }
    Ok(owned)
}

#[cfg(test)]
mod tests;
