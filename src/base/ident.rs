//! Identifiers: names of rooms, types, keys, owners, events.

use std::fmt::Write;

use super::limits::IDENT_BYTES_MAX;

/// Whether this may name something: `[A-Za-z0-9_.:%-]{1,200}`.
pub fn is_identifier(text: &str) -> bool {
    (1..=IDENT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| is_segment_byte(byte) || matches!(byte, b':' | b'%'))
}

/// A value as a part of a room's name: every byte but `[A-Za-z0-9_.-]` percent-encoded (RFC 3986 section 2.1), so that a user
/// or a symbol can hold no `:` that would reach into another room.
pub fn encode_segment(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if is_segment_byte(byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
    encoded
}

fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LIM-05.
    #[test]
    fn only_the_listed_bytes_make_an_identifier() {
        assert!(is_identifier("challenge:8f-1_A.b%20"));
        assert!(is_identifier(&"a".repeat(200)));
        for bad in ["", " ", "a b", "a\n", "ä", "a/b", "a*", "\"", "\0"] {
            assert!(!is_identifier(bad), "{bad:?}");
        }
        assert!(!is_identifier(&"a".repeat(201)));
    }

    #[test]
    fn an_encoded_segment_is_an_identifier_without_a_colon() {
        assert_eq!(encode_segment("a@b:c/ü%"), "a%40b%3Ac%2F%C3%BC%25");
        assert_eq!(encode_segment("u-1_x.Y"), "u-1_x.Y");
    }
}
