//! The guard for addresses: what passes is read the same by the URL standard, and leads to the public internet.
//!
//! Input: a URL. It is tried as it is and as a host behind `https://`; its bytes are also written as an IP address in
//! the spellings that resolvers understand.

use genesys_client::address::check;
use genesys_client::region::Endpoints;
use std::net::{Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// Judges one input; always `true`.
pub fn run(input: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(input) {
        judge(text);
        judge(&format!("https://{text}"));
        judge(&format!("https://{text}.example.com:443/x"));
        if text.len() <= 40 {
            let _ = Endpoints::for_region(text);
        }
        if Endpoints::explicit(text, text, false).is_ok() {
            assert!(check(text, false).is_ok());
        }
    }
    if let Some(octets) = input.first_chunk::<4>() {
        let address = Ipv4Addr::from(*octets);
        let (network, bits) = NOT_PUBLIC[input.len() % NOT_PUBLIC.len()];
        let within = Ipv4Addr::from(u32::from(network) | u32::from(address) & (u32::MAX >> bits));
        for ip in [address, within] {
            for host in spellings(ip) {
                let passed = check(&format!("https://{host}/"), false).is_ok();
                assert!(!passed || is_public_v4(ip), "{host} passes");
            }
        }
    }
    if let Some(bytes) = input.first_chunk::<16>() {
        let address = Ipv6Addr::from(*bytes);
        let passed = check(&format!("https://[{address}]/"), false).is_ok();
        assert!(!passed || is_public_v6(address), "{address} passes");
    }
    true
}

/// From each of these an address is made in every run.
const NOT_PUBLIC: [(Ipv4Addr, u32); 13] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn judge(text: &str) {
    let permitted = check(text, true);
    let Ok(address) = check(text, false) else { return };
    assert_eq!(permitted.as_ref(), Ok(&address), "what passes passes too where more is allowed");
    assert!(address.https, "{text:?}");
    let url = match Url::parse(text) {
        Ok(url) => url,
        // A label that only looks like an encoded international name: whoever parses it will refuse it.
        Err(_) if address.host.contains("xn--") => return,
        Err(error) => panic!("{text:?} passes: {error}"),
    };
    assert_eq!((url.scheme(), url.username(), url.password()), ("https", "", None), "{text:?}");
    assert_eq!(url.port_or_known_default(), Some(address.port), "{text:?}");
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            assert_eq!(name, address.host, "{text:?}");
            let last = name.rsplit('.').next().unwrap_or_default();
            assert!(name.contains('.') && !matches!(last, "localhost" | "local" | "internal"), "{text:?}");
            assert!(name.parse::<Ipv4Addr>().is_err(), "{text:?}");
        }
        Some(Host::Ipv4(ip)) => {
            assert_eq!(ip.to_string(), address.host, "{text:?} is spelt otherwise");
            assert!(is_public_v4(ip), "{text:?} passes");
        }
        Some(Host::Ipv6(ip)) => {
            let own = address.host.trim_start_matches('[').trim_end_matches(']');
            assert_eq!(own.parse(), Ok(ip), "{text:?}");
            assert!(is_public_v6(ip), "{text:?} passes");
        }
        None => panic!("{text:?} has no host"),
    }
}

/// As `inet_aton` and the URL standard read them.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let bits = u32::from(address);
    let [a, b, c, d] = address.octets();
    let (high, low) = (bits >> 16, bits & 0xffff);
    vec![
        format!("{address}"),
        format!("{address}."),
        format!("{bits}"),
        format!("{bits:#x}"),
        format!("0X{bits:X}"),
        format!("0{bits:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("{a}.{}", bits & 0x00ff_ffff),
        format!("{a}.{b}.{low}"),
        format!("{a}.{b}.{c}.0x{d:x}"),
        format!("[::ffff:{address}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[::{address}]"),
        format!("[64:ff9b::{address}]"),
        format!("[64:ff9b:1::{high:x}:{low:x}]"),
        format!("[2002:{high:x}:{low:x}::]"),
        format!("[2001:0:{high:x}:{low:x}::]"),
        format!("[0:0:0:0:0:ffff:{high:04x}:{low:04x}]"),
    ]
}

/// By the standard library, with the ranges that it does not name on stable.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
        || (a, b, c) == (192, 0, 0)
        || ip == Ipv4Addr::new(168, 63, 129, 16))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    ip.to_ipv4().is_none()
        && !ip.is_multicast()
        && !ip.is_unique_local()
        && !ip.is_unicast_link_local()
        && first & 0xe000 == 0x2000
        && first != 0x2002
        && (first, second) != (0x2001, 0)
        && (first, second) != (0x2001, 0xdb8)
}
