//! Who a request comes from, by the word of the proxies that passed it on: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Each proxy appends the address that it was called from, so the word of the nearest one stands last. It is believed only if the
//! one who says it is trusted, and so on back: what an untrusted client wrote itself is never reached.

use core::net::{IpAddr, SocketAddr};

/// Where a proxy says who its client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// In the header `X-Forwarded-For`.
    XForwardedFor,
    /// In the header `Forwarded`.
    Forwarded,
    /// In a PROXY protocol header (version 2) before all else, which every connection then begins with.
    ProxyV2,
    /// Nowhere: the client is whoever connects.
    Peer,
}

impl ClientAddress {
    /// All of them.
    pub const ALL: [ClientAddress; 4] =
        [ClientAddress::XForwardedFor, ClientAddress::Forwarded, ClientAddress::ProxyV2, ClientAddress::Peer];

    /// The name that flags and files use.
    pub const fn name(self) -> &'static str {
        match self {
            ClientAddress::XForwardedFor => "x-forwarded-for",
            ClientAddress::Forwarded => "forwarded",
            ClientAddress::ProxyV2 => "proxy-v2",
            ClientAddress::Peer => "peer",
        }
    }

    /// The client, if `peer` called and the header has these lines. What cannot be read ends the search.
    pub fn client<'a>(self, peer: IpAddr, lines: impl Iterator<Item = &'a [u8]>, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
        let read = match self {
            ClientAddress::XForwardedFor => node,
            ClientAddress::Forwarded => for_node,
            ClientAddress::ProxyV2 | ClientAddress::Peer => return peer,
        };
        let elements: Vec<&[u8]> = lines.flat_map(elements).collect();
        let mut client = peer.to_canonical();
        for element in elements.iter().rev() {
            if !is_trusted(client) {
                break;
            }
            let Some(named) = std::str::from_utf8(element).ok().and_then(read) else { break };
            client = named.to_canonical();
        }
        client
    }
}

/// The elements of a header that is a list: commas within quotes do not part them.
fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return true,
            _ => {}
        }
        false
    })
}

/// The address of `for=` in an element of `Forwarded`.
fn for_node(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='));
    let mut values = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, value)| value);
    let (value, None) = (values.next()?, values.next()) else { return None };
    node(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, with a port or without, an IPv6 address in brackets or bare. `unknown` and made-up names are none.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let bare = text.parse().ok();
    bare.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip())).or_else(|| bracketed().map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::cidr::Cidr;

    fn client(source: ClientAddress, peer: &str, lines: &[&str]) -> String {
        let trusted = [Cidr::parse("10.0.0.0/8").unwrap(), Cidr::parse("fd00::/8").unwrap()];
        let is_trusted = |ip| trusted.iter().any(|network| network.contains(ip));
        source.client(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes()), is_trusted).to_string()
    }

    fn x_forwarded_for(peer: &str, lines: &[&str]) -> String {
        client(ClientAddress::XForwardedFor, peer, lines)
    }

    fn forwarded(peer: &str, lines: &[&str]) -> String {
        client(ClientAddress::Forwarded, peer, lines)
    }

    /// NET-03: the last address that a trusted proxy vouches for; what stands before it is the client's own invention.
    #[test]
    fn the_nearest_untrusted_address_is_the_client() {
        assert_eq!(x_forwarded_for("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(x_forwarded_for("10.0.0.1", &["198.51.100.1, 203.0.113.9"]), "203.0.113.9", "the first is spoofed");
        assert_eq!(
            x_forwarded_for("10.0.0.1", &["198.51.100.1", "203.0.113.9, 10.0.0.2"]),
            "203.0.113.9",
            "over two lines and two proxies"
        );
        assert_eq!(x_forwarded_for("10.0.0.1", &["10.0.0.3,10.0.0.2"]), "10.0.0.3", "a client inside the trusted networks");
        assert_eq!(x_forwarded_for("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(x_forwarded_for("::ffff:10.0.0.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
    }

    /// NET-03: who is not a proxy of ours may say what it likes.
    #[test]
    fn an_untrusted_peer_is_not_believed() {
        assert_eq!(x_forwarded_for("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(forwarded("192.0.2.1", &["for=203.0.113.9"]), "192.0.2.1");
        assert_eq!(client(ClientAddress::Peer, "10.0.0.1", &["203.0.113.9"]), "10.0.0.1");
    }

    #[test]
    fn addresses_come_with_and_without_port() {
        assert_eq!(x_forwarded_for("10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(x_forwarded_for("10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(x_forwarded_for("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(x_forwarded_for("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(forwarded("10.0.0.1", &["proto=https;For=\"[2001:db8::1]:4711\";by=10.0.0.1"]), "2001:db8::1");
        assert_eq!(forwarded("10.0.0.1", &["for=198.51.100.1, for=203.0.113.9; proto=http"]), "203.0.113.9");
        assert_eq!(forwarded("10.0.0.1", &[r#"for="_a\",for=198.51.100.1", for=203.0.113.9"#]), "203.0.113.9", "a comma within quotes");
    }

    /// A proxy that says nothing readable is itself the last that is known; what stands before is not looked at.
    #[test]
    fn what_cannot_be_read_ends_the_search() {
        for bad in
            ["unknown", "_hidden", "", "203.0.113.9.1", "203.0.113.9:x", "[203.0.113.9]", "[2001:db8::1", "for=203.0.113.9", "\u{e9}"]
        {
            assert_eq!(x_forwarded_for("10.0.0.1", &[&format!("203.0.113.9, {bad}")]), "10.0.0.1", "{bad}");
        }
        for bad in ["by=203.0.113.9", "for=1.1.1.1;for=203.0.113.9", "for=\"203.0.113.9", "203.0.113.9", "for=unknown"] {
            assert_eq!(forwarded("10.0.0.1", &[&format!("for=203.0.113.9, {bad}")]), "10.0.0.1", "{bad}");
        }
    }

    proptest! {
        /// Whatever a client sends, a proxy that appends its address is believed, and the client is not.
        #[test]
        fn no_invention_of_a_client_is_believed(invented in prop::collection::vec(any::<u8>(), 0..200), quoted in any::<bool>()) {
            prop_assume!(!invented.contains(&b'"'));
            let mut line = invented;
            line.extend_from_slice(if quoted { b", for=\"203.0.113.9:80\"" } else { b", for=203.0.113.9" });
            let found = ClientAddress::Forwarded.client("10.0.0.1".parse().unwrap(), [&line[..]].into_iter(), |ip| ip.to_string().starts_with("10."));
            prop_assert_eq!(found.to_string(), "203.0.113.9");
        }
    }
}
