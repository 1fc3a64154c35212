//! A frame: the bytes of one message, encoded once and shared by reference by all who get it.

use crate::base::ids::{KeyId, RoomId};
use crate::base::lane::Lane;
use crate::base::time::Mono;

/// What a frame is to the queues it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An answer, a heartbeat, a notice of the connection's end: goes before all lanes.
    Reply,
    /// A notice that keeps its place in its lane: `caught_up`, or a `gap` of one connection's replay.
    Notice,
    /// A `gap` that concerns all local members of a room.
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
    /// When the hub let it go: later than `accepted` by the queue before the hub and the lane's hold.
    pub released: Mono,
}

impl Tag {
    /// Of a message that belongs to no room and goes before all lanes.
    pub const REPLY: Tag = Tag { room: RoomId::NONE, lane: Lane::Alert, kind: Kind::Reply, accepted: Mono::NEVER, released: Mono::NEVER };
}

/// The bytes of one message: a WebSocket frame, header and text in one exact allocation.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Header (2, 4 or 10 bytes) and text.
    bytes: Box<[u8]>,
    /// What the queues know of it.
    pub tag: Tag,
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
        Frame { bytes: bytes.into_boxed_slice(), tag }
    }

    /// Encodes a message that belongs to no room and goes before all lanes.
    pub fn reply(text: &[u8]) -> Frame {
        Frame::text(Tag::REPLY, text)
    }

    /// The frame as it goes to a WebSocket.
    pub fn as_websocket(&self) -> &[u8] {
        &self.bytes
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

    #[test]
    fn the_text_reads_back_at_every_header_size() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let text = vec![b'x'; len];
            let frame = Frame::reply(&text);
            assert_eq!(frame.as_text(), &text[..], "{len}");
            assert_eq!(frame.as_websocket().len(), header_len(len) + len);
        }
    }
}
