//! Source addresses that may deliver: lists of IPv4 and IPv6 networks.
//!
//! Promises: `10.0.0.0/8`, `2001:db8::/32` and single addresses are read, host bits must be zero (else the list says
//! something else than it seems to); an IPv4 address that arrives mapped into IPv6 is compared as IPv4. Out of scope: whose
//! the networks are (the vendor publishes its own, `GET /api/ip-ranges` shows them).

use ipnet::IpNet;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("expected a network such as 203.0.113.0/24 or 2001:db8::/32")]
    Malformed,
    /// `10.0.0.1/8`.
    #[error("has bits of a host behind its prefix")]
    HostBits,
}

pub fn parse(text: &str) -> Result<IpNet, NetworkError> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    // `IpNet`'s own reading takes numbers with leading zeros, which others read as octal.
    let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
    let network = match bits {
        None => IpNet::from(address),
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let bits = bits.parse().map_err(|_| NetworkError::Malformed)?;
            IpNet::new(address, bits).map_err(|_| NetworkError::Malformed)?
        }
        Some(_) => return Err(NetworkError::Malformed),
    };
    if network.addr() == network.network() { Ok(network) } else { Err(NetworkError::HostBits) }
}

/// Whether `address` (as `CF-Connecting-IP` has it) lies in one of `networks`. A text that is no address lies in none.
pub fn allows(networks: &[IpNet], address: &str) -> bool {
    let address = address.trim().parse::<IpAddr>().map(|address| address.to_canonical());
    address.is_ok_and(|address| networks.iter().any(|network| network.contains(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    #[test]
    fn networks_hold_what_their_prefix_says() {
        for (network, address, inside) in [
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "1.2.3.4", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("203.0.113.0/24", "::ffff:203.0.113.9", true),
        ] {
            assert_eq!(allows(&[parse(network).unwrap()], address), inside, "{address} in {network}");
        }
        assert!(!allows(&[parse("0.0.0.0/0").unwrap()], ""));
        assert!(!allows(&[parse("0.0.0.0/0").unwrap()], "nobody"));
        assert!(!allows(&[], "1.2.3.4"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "1.2.3",
            "1.2.3.4/33",
            "::/129",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "1.2.3.0/24 ",
            "host/8",
            "01.2.3.4",
            "01.2.3.0/24",
        ] {
            assert_eq!(parse(text), Err(NetworkError::Malformed), "{text:?}");
        }
        assert_eq!(parse("10.0.0.1/8"), Err(NetworkError::HostBits));
        assert_eq!(parse("2001:db8::1/32"), Err(NetworkError::HostBits));
    }

    proptest! {
        #[test]
        fn a_network_made_of_an_address_holds_it(address in any::<u32>(), bits in 0u32..=32) {
            let base = if bits == 0 { 0 } else { address >> (32 - bits) << (32 - bits) };
            let network = parse(&format!("{}/{bits}", Ipv4Addr::from(base))).unwrap();
            prop_assert!(allows(&[network], &Ipv4Addr::from(address).to_string()));
        }
    }
}
