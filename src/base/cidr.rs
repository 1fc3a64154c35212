//! Networks as `10.0.0.0/8`: the proxies whose word is taken for who the client is.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

/// A network: its first address and the length of its prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u8,
}

impl Cidr {
    /// Reads `address/bits`; a bare address is that one host. Bits set beyond the prefix are refused: they are most often a typo.
    pub fn parse(text: &str) -> Result<Cidr, String> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let network: IpAddr = address
            .parse()
            .map_err(|_| format!("`{text}` is not a network: write an address and a prefix length, such as `10.0.0.0/8`"))?;
        let width = width_bits(network);
        let prefix_bits = match bits {
            None => width,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= width)
                .ok_or_else(|| format!("`{text}` is not a network: `{bits}` is no prefix length from 0 to {width}"))?,
        };
        if number(network) & !mask(prefix_bits, width) != 0 {
            return Err(format!("`{text}` is not a network: it has bits set beyond the first {prefix_bits}"));
        }
        Ok(Cidr { network, prefix_bits })
    }

    /// Whether it is all addresses there are.
    pub const fn is_everything(&self) -> bool {
        self.prefix_bits == 0
    }

    /// Whether the address is in this network. An IPv4 address that came over an IPv6 socket (`::ffff:10.0.0.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let width = width_bits(self.network);
        width == width_bits(address) && (number(address) ^ number(self.network)) & mask(self.prefix_bits, width) == 0
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

const fn width_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address as a number whose lowest bits are the address's lowest.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    }
}

/// The upper `prefix_bits` of `width` bits.
fn mask(prefix_bits: u8, width: u8) -> u128 {
    let all = u128::MAX >> (128 - u32::from(width));
    let host_bits = u32::from(width - prefix_bits);
    all & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        Cidr::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn an_address_is_in_a_network_by_its_prefix_alone() {
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(contains("192.0.2.7", "192.0.2.7"));
        assert!(!contains("192.0.2.7", "192.0.2.6"));
        assert!(contains("fd00::/8", "fd12::1"));
        assert!(!contains("fd00::/8", "fe80::1"));
    }

    /// A dual-stack listener sees IPv4 peers as mapped addresses; the two families are otherwise apart.
    #[test]
    fn mapped_addresses_count_as_ipv4() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!contains("::/0", "10.1.2.3"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in ["", "ten", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.1/8", "::/129", "fd00::1/8", "10.0.0.0/8/8"] {
            assert!(Cidr::parse(text).unwrap_err().contains(text), "{text}");
        }
    }
}
