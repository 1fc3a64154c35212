//! PROXY protocol version 2: the header with which a proxy tells, before all else, whose connection it passes on. Binary; version 1 is not
//! taken. See <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// With it the header begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;
/// The whole header at most: addresses have 216 bytes at most, and what proxies add beside them is of that order.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// What is at the beginning of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The header goes on.
    Partial,
    /// A header.
    Header {
        /// The client's address; none if the proxy speaks for itself (a health check), or its client came by a unix socket.
        client: Option<IpAddr>,
        /// Bytes of the header.
        used: usize,
    },
}

/// Why there is no header, or a bad one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Reads a header from the beginning of what has come so far. What a proxy may add behind the addresses is passed over, within its bounds.
pub fn parse(input: &[u8]) -> Result<Step, Malformed> {
    let begun = input.len().min(SIGNATURE.len());
    if input[..begun] != SIGNATURE[..begun] {
        return Err(Malformed("it does not begin with the signature of version 2"));
    }
    let Some((fixed, rest)) = input.split_at_checked(FIXED_BYTES) else { return Ok(Step::Partial) };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0xf);
    let (family, transport) = (fixed[13] >> 4, fixed[13] & 0xf);
    let len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if version != 2 {
        return Err(Malformed("its version is not 2"));
    }
    if command > 1 {
        return Err(Malformed("its command is neither LOCAL nor PROXY"));
    }
    if FIXED_BYTES + len > HEADER_BYTES_MAX {
        return Err(Malformed("it is longer than 4096 bytes"));
    }
    let Some(body) = rest.get(..len) else { return Ok(Step::Partial) };
    let used = FIXED_BYTES + len;
    if command == 0 {
        // A receiver ignores what a LOCAL header says of addresses.
        return Ok(Step::Header { client: None, used });
    }
    let (client, addresses) = match (family, transport) {
        (1, 1) => (body.first_chunk().map(|bytes: &[u8; 4]| IpAddr::from(Ipv4Addr::from(*bytes))), 12),
        (2, 1) => (body.first_chunk().map(|bytes: &[u8; 16]| IpAddr::from(Ipv6Addr::from(*bytes))), 36),
        (3, 1) => (None, 216),
        _ => return Err(Malformed("it passes on neither TCP nor a unix stream")),
    };
    let additions = body.get(addresses..).ok_or(Malformed("it ends within its addresses"))?;
    check_additions(additions)?;
    Ok(Step::Header { client: client.map(|ip| ip.to_canonical()), used })
}

/// Type, length and value, one after the other, up to the end exactly.
fn check_additions(mut additions: &[u8]) -> Result<(), Malformed> {
    while let [_, high, low, rest @ ..] = additions {
        additions = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..).ok_or(Malformed("one of its additions ends beyond it"))?;
    }
    if additions.is_empty() { Ok(()) } else { Err(Malformed("there are stray bytes at its end")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &len, body].concat()
    }

    fn v4(additions: &[u8]) -> Vec<u8> {
        [&[203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x67, 0x1f, 0x90][..], additions].concat()
    }

    fn client(bytes: &[u8]) -> Option<String> {
        match parse(bytes).unwrap() {
            Step::Header { client, used } => {
                assert_eq!(used, bytes.len());
                client.map(|ip| ip.to_string())
            }
            Step::Partial => panic!("partial: {bytes:?}"),
        }
    }

    /// NET-03: TCP over IPv4 and IPv6, a unix socket, and the proxy's own checks.
    #[test]
    fn the_client_is_the_source() {
        assert_eq!(client(&header(1, 0x11, &v4(&[]))).unwrap(), "203.0.113.9");
        assert_eq!(client(&header(1, 0x11, &v4(&[4, 0, 1, 0, 3, 0, 0]))).unwrap(), "203.0.113.9", "additions are passed over");
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 1;
        assert_eq!(client(&header(1, 0x21, &v6)).unwrap(), "2001:db8::1");
        let mut mapped = [0; 36];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 203, 0, 113, 9]);
        assert_eq!(client(&header(1, 0x21, &mapped)).unwrap(), "203.0.113.9");
        assert_eq!(client(&header(1, 0x31, &[b'/'; 216])), None);
        assert_eq!(client(&header(0, 0x00, &[])), None);
        assert_eq!(client(&header(0, 0x11, &v4(&[1, 2]))), None, "what LOCAL says is ignored");
    }

    #[test]
    fn what_is_not_exactly_a_header_is_refused() {
        let good = header(1, 0x11, &v4(&[]));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let bad = [
            (b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n".to_vec(), "signature"),
            (b"GET / HTTP/1.1\r\n".to_vec(), "signature"),
            (with(5, 0), "signature"),
            (with(12, 0x11), "version"),
            (with(12, 0x22), "command"),
            (with(13, 0x12), "neither TCP"),
            (with(13, 0x01), "neither TCP"),
            (with(14, 0x10), "4096"),
            (header(1, 0x11, &v4(&[])[..11]), "within its addresses"),
            (header(1, 0x21, &v4(&[])), "within its addresses"),
            (header(1, 0x11, &v4(&[1])), "stray"),
            (header(1, 0x11, &v4(&[1, 0, 9, 0])), "beyond it"),
        ];
        for (bytes, why) in bad {
            assert!(parse(&bytes).is_err_and(|malformed| malformed.0.contains(why)), "{bytes:?}: {:?}", parse(&bytes));
        }
    }

    proptest! {
        /// However much has come, the answer is the same in the end: partial until it is whole, whatever follows.
        #[test]
        fn pieces_make_no_difference(additions in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8), after in prop::collection::vec(any::<u8>(), 0..40)) {
            let additions: Vec<u8> = additions.into_iter().flat_map(|(kind, value)| [vec![kind, 0, value.len() as u8], value].concat()).collect();
            let whole = header(1, 0x11, &v4(&additions));
            for len in 0..whole.len() {
                prop_assert_eq!(parse(&whole[..len]), Ok(Step::Partial));
            }
            let expected = Step::Header { client: Some(IpAddr::from([203, 0, 113, 9])), used: whole.len() };
            prop_assert_eq!(parse(&[whole, after].concat()), Ok(expected));
        }

        /// No input makes it panic, or take more than there is.
        #[test]
        fn anything_is_answered(body in prop::collection::vec(any::<u8>(), 0..300), is_signed in any::<bool>()) {
            let input = if is_signed { [&SIGNATURE[..], &[0x21], &body].concat() } else { body };
            if let Ok(Step::Header { used, .. }) = parse(&input) {
                prop_assert!(used <= input.len() && used <= HEADER_BYTES_MAX);
            }
        }
    }
}
