//! Lines and frames, as bytes. Pure.

use std::ops::Range;

use memchr::memchr;
use memchr::memmem::Finder;

/// The room's name begins within so many bytes of a line.
const ROOM_WITHIN: usize = 200;

/// What announces a room's name.
const ROOM: &[u8] = b"\"room\":\"";

/// Finds the room in a line, without parsing.
pub(crate) struct RoomFinder(Finder<'static>);

impl RoomFinder {
    pub(crate) fn new() -> RoomFinder {
        RoomFinder(Finder::new(ROOM))
    }

    /// Where the first room stands that the line names; `None` if there is none near the beginning.
    pub(crate) fn room(&self, line: &[u8]) -> Option<Range<usize>> {
        let at = self.0.find(&line[..line.len().min(ROOM_WITHIN)])? + ROOM.len();
        let len = memchr(b'"', &line[at..])?;
        Some(at..at + len)
    }
}

/// Opcodes, with the final bit set.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PONG: u8 = 0x8a;

/// Appends one unmasked frame.
pub(crate) fn push_frame(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    match body.len() {
        len @ 0..126 => out.extend_from_slice(&[first, len as u8]),
        len @ 126..0x1_0000 => {
            let [high, low] = (len as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        len => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(body);
}

/// The length of the frame that `bytes` begins with; one of ours, whole.
pub(crate) fn frame_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => 10 + u64::from_be_bytes(bytes[2..10].try_into().expect("eight bytes")) as usize,
        len => 2 + usize::from(len),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_room_is_found_near_the_beginning_only() {
        let finder = RoomFinder::new();
        let line = br#"{"type":"a","room":"challenge:8f","data":{"room":"b"}}"#;
        assert_eq!(&line[finder.room(line).unwrap()], b"challenge:8f");
        assert_eq!(finder.room(br#"{"type":"a","data":{}}"#), None);
        assert_eq!(finder.room(br#"{"room":"cut"#), None);
        let late = format!(r#"{{"x":"{}","room":"r"}}"#, "y".repeat(200));
        assert_eq!(finder.room(late.as_bytes()), None);
    }

    proptest! {
        /// Frames laid end to end can be told apart again, at every size of header.
        #[test]
        fn frames_have_the_length_that_they_say(lens in prop::collection::vec(prop_oneof![0usize..200, Just(65_535), Just(65_536)], 1..6)) {
            let mut run = Vec::new();
            for len in &lens {
                push_frame(&mut run, TEXT, &vec![b'x'; *len]);
            }
            let mut at = 0;
            for len in lens {
                let frame = frame_len(&run[at..]);
                prop_assert_eq!(&run[at + frame - len..at + frame], &vec![b'x'; len][..]);
                at += frame;
            }
            prop_assert_eq!(at, run.len());
        }
    }
}
