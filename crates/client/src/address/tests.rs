//! Every kind of refusal, every spelling of an address.

use super::{Address, check};
use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;

#[test]
fn public_https_addresses_pass() {
    for (url, host, port) in [
        ("https://hooks.example.com", "hooks.example.com", 443),
        ("HTTPS://Hooks.Example.COM./a?b=c@d#e", "hooks.example.com", 443),
        ("https://hooks.example.com:8443/webhook/a", "hooks.example.com", 8443),
        ("https://8.8.8.8/x", "8.8.8.8", 443),
        ("https://[2606:4700::1111]:444/x", "[2606:4700::1111]", 444),
        ("https://xn--bcher-kva.example?q", "xn--bcher-kva.example", 443),
        ("https://a_b.example.com#f", "a_b.example.com", 443),
        ("https://localhost.example.com", "localhost.example.com", 443),
    ] {
        assert_eq!(check(url, false), Ok(Address { https: true, host: host.to_owned(), port }), "{url}");
    }
}

#[test]
fn what_is_not_public_https_is_refused_by_kind() {
    for (url, expected) in [
        ("", "empty"),
        ("hooks.example.com", "absolute"),
        ("//hooks.example.com", "absolute"),
        ("https:/hooks.example.com", "absolute"),
        ("https:///hooks.example.com", "letters"),
        ("https://", "letters"),
        ("https://?x", "letters"),
        ("ftp://hooks.example.com", "https"),
        ("http://hooks.example.com", "https"),
        (" https://hooks.example.com", "white space"),
        ("https://hooks.example.com\t/", "white space"),
        ("https://hooks.example.com\\@evil.example", "backslash"),
        ("https://user@hooks.example.com", "user information"),
        ("https://a:b@127.0.0.1/", "user information"),
        ("https://hooks.example.com:0", "port"),
        ("https://hooks.example.com:65536", "port"),
        ("https://hooks.example.com:+80", "port"),
        ("https://hooks.example.com:", "port"),
        ("https://hooks.example.com:1:2", "host or port"),
        ("https://exa%6dple.com", "letters"),
        ("https://ex\u{e4}mple.com", "letters"),
        ("https://\u{ff11}27.0.0.1", "letters"),
        ("https://a..example.com", "letters"),
        ("https://example.com..", "letters"),
        ("https://2130706433/", "unusual"),
        ("https://0x7f000001/", "unusual"),
        ("https://0x/", "unusual"),
        ("https://0177.0.0.1/", "unusual"),
        ("https://127.1/", "unusual"),
        ("https://127.0.0.0x1/", "unusual"),
        ("https://010.8.8.8/", "unusual"),
        ("https://1.2.3.4.5/", "unusual"),
        ("https://256.1.1.1/", "unusual"),
        ("https://a.1/", "unusual"),
        ("https://127.0.0.1/", "loopback"),
        ("https://127.0.0.1./", "loopback"),
        ("https://10.1.2.3/", "private"),
        ("https://172.31.255.255/", "private"),
        ("https://192.168.0.1:443/", "private"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("https://168.63.129.16/", "metadata"),
        ("https://169.254.1.1/", "link-local"),
        ("https://100.100.100.200/", "carrier"),
        ("https://0.0.0.0/", "this-network"),
        ("https://255.255.255.255/", "reserved"),
        ("https://224.0.0.1/", "multicast"),
        ("https://198.18.0.1/", "benchmarking"),
        ("https://[::1]/", "loopback"),
        ("https://[::]/", "unspecified"),
        ("https://[::ffff:8.8.8.8]/", "IPv4-mapped"),
        ("https://[::ffff:7f00:1]/", "IPv4-mapped"),
        ("https://[::7f00:1]/", "IPv4-compatible"),
        ("https://[64:ff9b::a00:1]/", "NAT64"),
        ("https://[64:ff9b:1::a00:1]/", "NAT64"),
        ("https://[2002:a00:1::]/", "6to4"),
        ("https://[2001:0:1::]/", "Teredo"),
        ("https://[fe80::1]/", "link-local"),
        ("https://[fe80::1%25eth0]/", "IPv6"),
        ("https://[fd00:ec2::254]/", "private"),
        ("https://[ff02::1]/", "multicast"),
        ("https://[2001:db8::1]/", "documentation"),
        ("https://[::1/", "host or port"),
        ("https://[::1]x/", "host or port"),
        ("https://localhost", "private network"),
        ("https://LOCALHOST./", "private network"),
        ("https://app.localhost/", "private network"),
        ("https://metadata.google.internal/", "private network"),
        ("https://printer.local/", "private network"),
        ("https://metadata/", "private network"),
    ] {
        let refusal = check(url, false).expect_err(url).to_string();
        assert!(refusal.contains(expected), "{url}: {refusal}");
    }
}

proptest! {
    #[test]
    fn an_ipv4_address_passes_only_when_the_standard_library_sees_nothing_special(bits in any::<u32>()) {
        let address = Ipv4Addr::from_bits(bits);
        let passed = check(&format!("https://{address}/"), false).is_ok();
        let special = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_unspecified()
            || address.is_broadcast() || address.is_documentation() || address.is_multicast();
        prop_assert!(!(passed && special));
    }

    #[test]
    fn no_private_ipv4_address_passes_in_any_wrapping(
        bits in prop_oneof![
            any::<u32>().prop_map(|n| 0x0a00_0000 | n & 0x00ff_ffff),
            any::<u32>().prop_map(|n| 0x7f00_0000 | n & 0x00ff_ffff),
            any::<u32>().prop_map(|n| 0xa9fe_0000 | n & 0xffff),
            any::<u32>().prop_map(|n| 0xc0a8_0000 | n & 0xffff),
            any::<u32>().prop_map(|n| 0x6440_0000 | n & 0x003f_ffff),
        ],
    ) {
        let [a, b, c, d] = bits.to_be_bytes();
        let (high, low) = (bits >> 16, bits & 0xffff);
        for host in [
            format!("{a}.{b}.{c}.{d}"), format!("{a}.{b}.{c}.{d}."), format!("{bits}"), format!("{bits:#x}"), format!("0{bits:o}"),
            format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"), format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"), format!("{a}.{}", bits & 0x00ff_ffff),
            format!("[::ffff:{a}.{b}.{c}.{d}]"), format!("[::{high:x}:{low:x}]"), format!("[64:ff9b::{high:x}:{low:x}]"),
            format!("[2002:{high:x}:{low:x}::]"), format!("[2002:{high:x}:{low:x}::1]"),
        ] {
            prop_assert!(check(&format!("https://{host}/"), false).is_err(), "{}", host);
        }
    }

    #[test]
    fn an_ipv6_address_outside_global_unicast_never_passes(bits in any::<u128>()) {
        let address = Ipv6Addr::from_bits(bits);
        let passed = check(&format!("https://[{address}]/"), false).is_ok();
        prop_assert!(!passed || bits >> 125 == 1, "{}", address);
    }
}

#[test]
fn local_development_reaches_its_own_machine_and_network_and_permits_no_odd_syntax() {
    for (url, permitted) in [
        ("http://127.0.0.1:8787/x", true),
        ("http://localhost:8787", true),
        ("https://[::1]", true),
        ("http://192.168.1.2/", true),
        ("http://gateway/", true),
        ("http://169.254.169.254/latest/meta-data", false),
        ("http://168.63.129.16/", false),
        ("http://169.254.1.1/", false),
        ("http://[fe80::1]/", false),
        ("http://[::ffff:127.0.0.1]/", false),
        ("http://0.0.0.0/", false),
        ("http://2130706433/", false),
        ("http://0x7f000001", false),
        ("http://127.1", false),
        ("http://a@localhost", false),
        ("ftp://localhost", false),
        ("http://local\\host", false),
    ] {
        assert_eq!(check(url, true).is_ok(), permitted, "{url}");
    }
}
