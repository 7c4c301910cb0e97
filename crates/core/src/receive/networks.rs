//! Source addresses that may deliver: lists of IPv4 and IPv6 networks.
//!
//! Promises: `10.0.0.0/8`, `2001:db8::/32` and single addresses are read, host bits must be zero (else the list says
//! something else than it seems to); an IPv4 address that arrives mapped into IPv6 is compared as IPv4. Out of scope: whose
//! the networks are (the vendor publishes its own, `GET /api/ip-ranges` shows them).

use std::net::IpAddr;

/// One network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not `address` or `address/bits`.
    #[error("expected a network such as 203.0.113.0/24 or 2001:db8::/32")]
    Malformed,
    /// `10.0.0.1/8`.
    #[error("has bits of a host behind its prefix")]
    HostBits,
}

impl Network {
    /// Reads a network or a single address.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= width).ok_or(NetworkError::Malformed)?
            }
            Some(_) => return Err(NetworkError::Malformed),
        };
        let network = Self { address, prefix_bits };
        let (number, width) = number(address);
        if number == masked(number, width, prefix_bits) { Ok(network) } else { Err(NetworkError::HostBits) }
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let ((own, width), (other, other_width)) = (number(self.address), number(address.to_canonical()));
        width == other_width && masked(other, width, self.prefix_bits) == own
    }
}

/// The address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

fn masked(number: u128, width: u32, prefix_bits: u32) -> u128 {
    let host_bits = width.saturating_sub(prefix_bits);
    // A shift by all 128 bits is none for the processor.
    number.checked_shr(host_bits).and_then(|prefix| prefix.checked_shl(host_bits)).unwrap_or(0)
}

/// Whether the header that names the sender's address (`CF-Connecting-IP`) lies in one of `networks`; without an address
/// nobody does.
pub fn allows(networks: &[Network], address: Option<&str>) -> bool {
    let address = address.and_then(|text| text.trim().parse::<IpAddr>().ok());
    address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
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
            assert_eq!(allows(&[Network::parse(network).unwrap()], Some(address)), inside, "{address} in {network}");
        }
        assert!(!allows(&[Network::parse("0.0.0.0/0").unwrap()], None));
        assert!(!allows(&[Network::parse("0.0.0.0/0").unwrap()], Some("nobody")));
        assert!(!allows(&[], Some("1.2.3.4")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "/", "1.2.3", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/+8", "1.2.3.0/24 ", "host/8", "01.2.3.4"]
        {
            assert_eq!(Network::parse(text), Err(NetworkError::Malformed), "{text:?}");
        }
        assert_eq!(Network::parse("10.0.0.1/8"), Err(NetworkError::HostBits));
        assert_eq!(Network::parse("2001:db8::1/32"), Err(NetworkError::HostBits));
    }

    proptest! {
        #[test]
        fn a_network_made_of_an_address_holds_it(address in any::<u32>(), bits in 0u32..=32) {
            let base = if bits == 0 { 0 } else { address >> (32 - bits) << (32 - bits) };
            let network = Network::parse(&format!("{}/{bits}", Ipv4Addr::from(base))).unwrap();
            prop_assert!(network.contains(Ipv4Addr::from(address).into()));
        }
    }
}
