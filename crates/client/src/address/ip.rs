//! Which IP addresses the public internet does not route to (IANA's special-purpose registries), and clouds' metadata
//! addresses.

use core::net::Ipv6Addr;

/// The four octets of a plain dotted decimal address: no leading zeros, nothing left out.
pub(super) fn plain_v4(host: &str) -> Option<[u8; 4]> {
    let mut octets = [0_u8; 4];
    let mut parts = host.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.len() > 1 && part.starts_with('0') || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then_some(octets)
}

/// What kind of non-public IPv4 address this is; none for a public one.
pub(super) fn v4_kind(octets: [u8; 4]) -> Option<&'static str> {
    Some(match octets {
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [127, ..] => "loopback",
        // Clouds' metadata services live in the link-local range; Azure's wire server does not.
        [169, 254, 169, 254] | [168, 63, 129, 16] => "metadata",
        [169, 254, ..] => "link-local",
        [100, 64..=127, ..] => "carrier-grade NAT",
        [0, ..] => "this-network",
        [192, 0, 0, _] | [192, 88, 99, _] | [192, 31, 196, _] | [192, 52, 193, _] | [192, 175, 48, _] => {
            "special-purpose"
        }
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [198, 18 | 19, ..] => "benchmarking",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    })
}

/// What kind of non-public IPv6 address this is; none for a public one. Only global unicast (`2000::/3`) can be
/// public; addresses that carry an IPv4 address (mapped, NAT64, 6to4, Teredo) are refused whatever they carry.
pub(super) fn v6_kind(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, third, fourth, fifth, sixth, ..] = address.segments();
    Some(match (first, second, third, fourth, fifth, sixth) {
        _ if address.is_unspecified() => "unspecified",
        _ if address.is_loopback() => "loopback",
        (0, 0, 0, 0, 0, 0xffff) => "IPv4-mapped",
        (0, 0, 0, 0, ..) => "IPv4-compatible",
        (0x64, 0xff9b, ..) => "NAT64",
        (0xfe80..=0xfebf, ..) => "link-local",
        (0xfc00..=0xfdff, ..) => "private",
        (0xff00..=0xffff, ..) => "multicast",
        (0x2002, ..) => "6to4",
        (0x2001, 0, ..) => "Teredo",
        (0x2001, 0x0db8, ..) | (0x3fff, 0..=0x0fff, ..) => "documentation",
        (0x2001, 0x0001..=0x01ff, ..) => "special-purpose",
        (0x2000..=0x3fff, ..) => return None,
        _ => "reserved",
    })
}
