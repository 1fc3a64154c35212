//! A frame: the bytes of one message, encoded once and shared by reference by all who get it.

use std::sync::OnceLock;

use crate::base::ids::{KeyId, RoomId};
use crate::base::lane::Lane;
use crate::base::memory;
use crate::base::time::Mono;

use super::deflate::{Deflater, is_window_enough};

/// Tells a compressed message in a frame's first byte.
const RSV1: u8 = 0x40;

/// What a frame is to the queues it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An answer, a heartbeat, a notice of the connection's end: goes before all lanes.
    Reply,
    /// A notice that keeps its place in its lane: `caught_up`, or an event that is given again.
    Notice,
    /// A `gap`, of one connection's replay or of all local members of a room.
    Gap {
        /// The last `seq` that is missing.
        to: u64,
    },
    /// A `stream` event.
    Stream {
        /// Position in its (room, lane).
        seq: u64,
    },
    /// A `state` event, replaced in a queue by a newer one of the same key.
    State {
        /// The key.
        key: KeyId,
        /// Its revision.
        rev: u64,
        /// It says that the key is deleted.
        is_deleted: bool,
    },
    /// A `transient` event.
    Transient,
}

/// What the queues know of a frame without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Whose members it is for; [`RoomId::NONE`] for none.
    pub room: RoomId,
    /// Its lane.
    pub lane: Lane,
    /// What it is.
    pub kind: Kind,
    /// When the read that completed the event was done.
    pub accepted: Mono,
    /// When the hub took it: no earlier than `accepted`, and later by the queue before the hub.
    pub taken: Mono,
    /// When the hub let it go: no earlier than `taken`, and later by the lane's hold.
    pub released: Mono,
}

impl Tag {
    /// Of a message that belongs to no room and goes before all lanes.
    pub const REPLY: Tag =
        Tag { room: RoomId::NONE, lane: Lane::Alert, kind: Kind::Reply, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER };
}

/// What a frame takes beside its bytes: itself and the counts of its references.
const FRAME_BYTES: usize = size_of::<Frame>() + 2 * size_of::<usize>();

/// The bytes of one message: a WebSocket frame, header and text in one exact allocation; and the same compressed, for those who
/// agreed on it, made once by the first reactor that has such a member. A state may have a second form, the delta, which has the same two.
#[derive(Debug)]
pub struct Frame {
    /// Header (2, 4 or 10 bytes) and text.
    bytes: Box<[u8]>,
    /// Header and compressed text; empty if that is not worth it.
    deflated: OnceLock<Box<[u8]>>,
    delta: Option<Box<Delta>>,
    /// What the queues know of it.
    pub tag: Tag,
}

/// What is new in a state for one who has an older one.
#[derive(Debug)]
struct Delta {
    /// The revision of the older one.
    base: u64,
    frame: Frame,
}

impl Frame {
    /// Encodes `text` as one unmasked, final text frame (RFC 6455 section 5.2).
    pub fn text(tag: Tag, text: &[u8]) -> Frame {
        Frame::encode(tag, 0x81, text)
    }

    /// The same for bytes that need not be text.
    pub fn binary(tag: Tag, body: &[u8]) -> Frame {
        Frame::encode(tag, 0x82, body)
    }

    fn encode(tag: Tag, first: u8, body: &[u8]) -> Frame {
        let bytes = encode(first, body);
        memory::frame_made(FRAME_BYTES + memory::allocated(bytes.len()));
        Frame { bytes, deflated: OnceLock::new(), delta: None, tag }
    }

    /// Adds the delta form: `text` says the same to one whose last state of the key has that revision. It is no longer than the full form.
    #[must_use]
    pub fn with_delta(mut self, base: u64, text: &[u8]) -> Frame {
        debug_assert!(text.len() <= self.as_text().len(), "queues count on the full form to be the longer one");
        self.delta = Some(Box::new(Delta { base, frame: Frame::text(self.tag, text) }));
        self
    }

    /// The delta form for one whose last state of the key has that revision, if there is one.
    pub fn delta_on(&self, rev: u64) -> Option<&Frame> {
        self.delta.as_deref().filter(|delta| delta.base == rev).map(|delta| &delta.frame)
    }

    /// The delta form, if there is one, for one who is known to have its base.
    pub fn delta(&self) -> Option<&Frame> {
        self.delta.as_deref().map(|delta| &delta.frame)
    }

    /// Encodes a message that belongs to no room and goes before all lanes.
    pub fn reply(text: &[u8]) -> Frame {
        Frame::text(Tag::REPLY, text)
    }

    /// The frame as it goes to a WebSocket without compression.
    pub fn as_websocket(&self) -> &[u8] {
        &self.bytes
    }

    /// The frame as it goes to a WebSocket that inflates with a window of so many bits; 0: with none. `None` if it is first to be
    /// compressed, by [`Frame::deflate`].
    ///
    /// A window that is too small for it gets it plain.
    #[inline]
    pub fn for_window(&self, bits: u8) -> Option<&[u8]> {
        if bits == 0 || !is_window_enough(bits, self.as_text().len()) {
            return Some(&self.bytes);
        }
        self.deflated.get().map(|deflated| if deflated.is_empty() { &self.bytes[..] } else { deflated })
    }

    /// Compresses it, if nobody has: another thread that is at it is waited for. Whether it was this call that did it.
    pub fn deflate(&self, deflater: &mut Deflater) -> bool {
        let mut is_made_now = false;
        self.deflated.get_or_init(|| {
            let deflated = deflater.message(self.as_text());
            is_made_now = deflated.is_some();
            let deflated = deflated.map_or_else(Box::default, |deflated| encode(self.bytes[0] | RSV1, deflated));
            memory::frame_made(memory::allocated(deflated.len()));
            deflated
        });
        is_made_now
    }

    /// The message alone.
    pub fn as_text(&self) -> &[u8] {
        let header = match self.bytes[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        &self.bytes[header..]
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let deflated = self.deflated.get().map_or(0, |deflated| memory::allocated(deflated.len()));
        memory::frame_dropped(FRAME_BYTES + memory::allocated(self.bytes.len()) + deflated);
    }
}

/// A server's frame with that first byte.
fn encode(first: u8, body: &[u8]) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(header_len(body.len()) + body.len());
    bytes.push(first);
    match body.len() {
        len @ 0..126 => bytes.push(len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(body);
    bytes.into_boxed_slice()
}

const fn header_len(text_len: usize) -> usize {
    match text_len {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::deflate::Inflater;

    #[test]
    fn the_text_reads_back_at_every_header_size() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let text = vec![b'x'; len];
            let frame = Frame::reply(&text);
            assert_eq!(frame.as_text(), &text[..], "{len}");
            assert_eq!(frame.as_websocket().len(), header_len(len) + len);
        }
    }

    /// DLV-23: compressed once, for all whose window can hold it; the others get it plain.
    #[test]
    fn the_compressed_frame_is_made_once_and_only_for_windows_that_hold_it() {
        let text = b"0123456789".repeat(100);
        let (frame, mut deflater) = (Frame::reply(&text), Deflater::new(3, 256));
        for bits in [0, 9] {
            assert_eq!(frame.for_window(bits), Some(frame.as_websocket()), "{bits}");
        }
        assert_eq!(Frame::reply(&vec![b'x'; 40_000]).for_window(15), None, "the window slides");
        assert_eq!(frame.for_window(10), None);
        assert!(frame.deflate(&mut deflater) && !frame.deflate(&mut deflater));
        let deflated = frame.for_window(10).unwrap();
        assert_eq!(deflated[0], 0xc1);
        assert_eq!(Inflater::default().message(&deflated[2..], 1000), Ok(&text[..]));
        assert_eq!(frame.for_window(9), Some(frame.as_websocket()));
    }

    /// DLV-06: the delta is for those alone who have its base.
    #[test]
    fn a_delta_is_given_on_its_base_alone() {
        let kind = Kind::State { key: KeyId(1), rev: 9, is_deleted: false };
        let frame = Frame::text(Tag { kind, ..Tag::REPLY }, b"all of it").with_delta(7, b"a part");
        assert_eq!(frame.delta_on(7).map(Frame::as_text), Some(&b"a part"[..]));
        assert_eq!((frame.as_text(), frame.delta_on(7).unwrap().tag), (&b"all of it"[..], frame.tag));
        assert!(frame.delta().is_some() && frame.delta_on(8).is_none() && frame.delta_on(7).unwrap().delta_on(7).is_none());
        assert!(Frame::reply(b"x").delta_on(0).is_none());
    }

    /// LIM-06: a shared frame counts once, with its compressed form, as long as anybody has it. Other tests' frames are small beside this one.
    #[test]
    fn frames_count_while_they_are_alive() {
        const MUCH: usize = 48 << 20;
        let before = memory::live_frame_bytes();
        let frame = std::sync::Arc::new(Frame::reply(&vec![b'x'; MUCH]));
        let shared = std::sync::Arc::clone(&frame);
        let grown = memory::live_frame_bytes() - before;
        assert!((MUCH..MUCH * 3 / 2).contains(&grown), "{grown}");
        drop(frame);
        assert!(memory::live_frame_bytes() >= before + MUCH / 2);
        drop(shared);
        assert!(memory::live_frame_bytes() < before + MUCH / 2);
    }

    #[test]
    fn what_is_not_worth_it_stays_plain() {
        let frame = Frame::reply(&[b'x'; 255]);
        assert!(!frame.deflate(&mut Deflater::new(3, 256)));
        assert_eq!(frame.for_window(15), Some(frame.as_websocket()));
    }
}
