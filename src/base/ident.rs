//! Identifiers: names of rooms, types, keys, owners, events.

use std::fmt::Write;

use super::limits::IDENT_BYTES_MAX;

/// Whether this may name something: `[A-Za-z0-9_.:%-]{1,200}`.
pub fn is_identifier(text: &str) -> bool {
    (1..=IDENT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| CLASSES[usize::from(byte)] != Class::Other)
}

/// A value as a part of a room's name: every byte but `[A-Za-z0-9_.-]` percent-encoded (RFC 3986 section 2.1), so that a user
/// or a symbol can hold no `:` that would reach into another room.
pub fn encode_segment(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    push_segment(&mut encoded, value);
    encoded
}

/// Adds what [`encode_segment`] makes of `value`: as many bytes as it has, if none needs encoding.
pub fn push_segment(encoded: &mut String, value: &str) {
    let is_plain = |byte| CLASSES[usize::from(byte)] == Class::Segment;
    if value.bytes().all(is_plain) {
        return encoded.push_str(value);
    }
    for byte in value.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
}

/// Where a byte may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// In a segment of an identifier.
    Segment,
    /// Between segments.
    Between,
    Other,
}

/// The class of each byte: every byte of every publish line's names is looked up.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' => Class::Segment,
            b':' | b'%' => Class::Between,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

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
