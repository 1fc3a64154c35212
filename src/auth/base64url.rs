//! base64url without padding (RFC 7515 section 2), canonical only: two texts never decode to the same bytes.
//!
//! A lax decoder would let one signed token be written in many ways, and a list of revoked or cached tokens be walked around.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The base64url text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// The bytes of `text`, or `None` if it has padding, another character, an impossible length, or bits left over that are not zero.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        decode_group(group, &mut bytes)?;
    }
    Some(bytes)
}

fn decode_group(group: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let mut bits = 0u32;
    for character in group {
        bits = bits << 6 | value(*character)?;
    }
    bits <<= 6 * (4 - group.len());
    let whole = match group.len() {
        4 => 3,
        3 => 2,
        2 => 1,
        _ => return None, // one character is less than a byte
    };
    let octets = bits.to_be_bytes();
    bytes.extend_from_slice(&octets[1..=whole]);
    octets[whole + 1..].iter().all(|octet| *octet == 0).then_some(())
}

fn value(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for text in ["Z", "Zm9vY", "Zg==", "Zm8=", "Zh", "Zm9", "Zm 8", "Zm+v", "Zm/v", "Zm9v\n", "Zm9é", "\0\0"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn a_text_that_decodes_is_the_only_one_for_its_bytes(text in "[A-Za-z0-9_=+/-]{0,12}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
