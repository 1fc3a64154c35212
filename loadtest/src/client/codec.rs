//! WebSocket frames (RFC 6455 section 5): unmasked ones in, masked ones out.

/// What a message goes on with whose first frame was not its last.
pub const CONTINUATION: u8 = 0;
/// A text message.
pub const TEXT: u8 = 1;
/// The end of the connection.
pub const CLOSE: u8 = 8;
/// Asks for a [`PONG`].
pub const PING: u8 = 9;
/// Answers a [`PING`].
pub const PONG: u8 = 10;
/// The most bytes of a message that is read.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A frame's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub opcode: u8,
    /// The message ends with it.
    pub is_final: bool,
    /// Bytes before its payload.
    pub header_len: usize,
    /// Bytes of its payload.
    pub payload_len: usize,
}

/// Reads the beginning of a server's frame. `None`: more is to come. The error says what a server must not send.
#[inline]
pub fn header(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    // Every event is one whole text frame of 126 to 65,535 bytes: this goes first.
    if *first == 0x81 && *second == 126 {
        let [high, low, ..] = rest else {
            return Ok(None);
        };
        let payload_len = usize::from(u16::from_be_bytes([*high, *low]));
        return Ok(Some(Header { opcode: TEXT, is_final: true, header_len: 4, payload_len }));
    }
    other_header(*first, *second, rest)
}

fn other_header(first: u8, second: u8, rest: &[u8]) -> Result<Option<Header>, &'static str> {
    let opcode = first & 0x0f;
    if first & 0x70 != 0 {
        return Err("a frame with reserved bits");
    }
    if second & 0x80 != 0 {
        return Err("a masked frame");
    }
    let is_final = first & 0x80 != 0;
    if !matches!(opcode, CONTINUATION | TEXT | CLOSE | PING | PONG) {
        return Err("a frame that is neither text nor control");
    }
    let is_control = !matches!(opcode, CONTINUATION | TEXT);
    if is_control && !is_final {
        return Err("a control frame in pieces");
    }
    let (header_len, payload_len) = match second {
        126 => match rest {
            [a, b, ..] => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(bytes) => (10, u64::from_be_bytes(*bytes)),
            None => return Ok(None),
        },
        len => (2, u64::from(len)),
    };
    if is_control && payload_len > 125 {
        return Err("a long control frame");
    }
    if payload_len > MESSAGE_BYTES_MAX as u64 {
        return Err("a message over 1 MiB");
    }
    Ok(Some(Header { opcode, is_final, header_len, payload_len: payload_len as usize }))
}

/// Appends one whole masked frame.
pub fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0xfe);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xff);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// The code and reason of a close frame's payload.
pub fn close_code(payload: &[u8]) -> String {
    match payload.first_chunk() {
        Some(code) => u16::from_be_bytes(*code).to_string(),
        None => "1005".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a server writes it.
    fn server_frame(len: usize) -> Vec<u8> {
        let mut masked = Vec::new();
        put(&mut masked, TEXT, &vec![b'x'; len], [0; 4]);
        let header_len = if len < 126 {
            2
        } else if len < 65_536 {
            4
        } else {
            10
        };
        masked[1] &= 0x7f;
        masked.drain(header_len..header_len + 4);
        masked
    }

    proptest! {
        #[test]
        fn a_header_is_read_when_whole(len in prop_oneof![0usize..200, 65_500usize..65_600, Just(MESSAGE_BYTES_MAX)]) {
            let frame = server_frame(len);
            let header_len = frame.len() - len;
            for cut in 0..header_len {
                prop_assert_eq!(header(&frame[..cut]), Ok(None));
            }
            prop_assert_eq!(header(&frame), Ok(Some(Header { opcode: TEXT, is_final: true, header_len, payload_len: len })));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            let _read = header(&bytes);
        }

        #[test]
        fn what_is_masked_can_be_unmasked(payload in prop::collection::vec(any::<u8>(), 0..300), mask: [u8; 4]) {
            let mut out = Vec::new();
            put(&mut out, PONG, &payload, mask);
            let at = out.len() - payload.len();
            let back: Vec<u8> = out[at..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            prop_assert_eq!(back, payload);
            prop_assert_eq!(&out[at - 4..at], &mask);
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_refused() {
        for bytes in [[0xc1, 0], [0x81, 0x80], [0x09, 5], [0x82, 5], [0x89, 126]] {
            let read = header(&[bytes[0], bytes[1], 0, 200, 0, 0]);
            assert!(read.is_err(), "{bytes:?}: {read:?}");
        }
        assert_eq!(header(&[0x01, 5]), Ok(Some(Header { opcode: TEXT, is_final: false, header_len: 2, payload_len: 5 })));
        assert_eq!(header(&[0x81, 127, 0, 0, 0, 0, 0, 0x10, 0, 1]), Err("a message over 1 MiB"));
    }
}
