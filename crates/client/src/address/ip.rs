//! Which IP addresses are not public, by IANA's special-purpose registries, and clouds' metadata addresses.
//!
//! Promise: an unknown range of IPv6 counts as not public. Out of scope: names, and how an address is written.

use core::net::{Ipv4Addr, Ipv6Addr};

/// The kind of a non-public IPv4 address. `None` for a public one.
pub(super) fn v4_kind(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [127, ..] => "loopback",
        // Clouds' metadata services are link-local, except for Azure's wire server.
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

/// The kind of a non-public IPv6 address. `None` for a public one. Only global unicast (`2000::/3`) can be public.
/// Addresses that carry an IPv4 address (mapped, NAT64, 6to4, Teredo) are never public.
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
