//! The WebSocket protocol (RFC 6455) as bytes in and messages out: frames are put together, checked and unmasked here.
//!
//! Nothing is copied for a message in one frame, which is what nearly all are; a fragmented one gathers in a buffer that
//! is freed as soon as the message is dealt with.

use std::io::Cursor;
use std::ops::Range;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode as Rfc, Control, Data, OpCode};

use crate::base::codes::{CLOSE_INVALID_PAYLOAD, CLOSE_PROTOCOL, CLOSE_TOO_BIG, CloseCode};

use super::deflate::{InflateError, Inflater};

/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;

/// Which side reads: a server's input must be masked, a client's must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We read what clients send.
    Server,
    /// We read what a server sends.
    Client,
}

/// What a connection may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, all its fragments together; a longer one is refused at the header that makes it so. It binds a
    /// compressed message as it comes and as it becomes.
    pub message_bytes_max: usize,
}

/// A whole message, unmasked and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same body.
    Ping(&'a [u8]),
    /// An answer to a ping.
    Pong(&'a [u8]),
    /// The peer ends the connection, with a code that may be on the wire and a reason.
    Close(Option<(u16, &'a str)>),
}

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A message. The first `used` bytes of the input are consumed.
    Message {
        /// The message.
        message: Message<'a>,
        /// Bytes consumed.
        used: usize,
    },
    /// No whole frame is left after the first `used` bytes, which are consumed.
    NeedMore {
        /// Bytes consumed.
        used: usize,
    },
}

/// Fragments of one message that may be empty: each costs as much work as one with bytes.
const EMPTY_FRAGMENTS_MAX: u16 = 1024;

/// Puts messages together from frames, for one connection.
///
/// Call [`Assembler::step`] until it says [`Step::NeedMore`]: that call also frees the buffer of a fragmented message.
/// After an error the connection's input has no meaning any more; it must be closed with the code given.
#[derive(Debug)]
pub struct Assembler {
    /// The fragments so far; without heap when none is open.
    buffer: Vec<u8>,
    /// So many bytes of `buffer` are known to be UTF-8; for text only.
    valid_bytes: usize,
    role: Role,
    /// The connection agreed on permessage-deflate.
    inflates: bool,
    /// The open fragments are those of a compressed message.
    is_compressed: bool,
    fragments: Fragments,
    /// Of the open fragments, those without a byte.
    empty: u16,
}

/// Whether a fragmented message is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fragments {
    None,
    Text,
    Binary,
    /// The message in `buffer` was handed out by the last step.
    HandedOut,
}

/// A frame whose header is allowed where it stands.
struct FrameHead {
    opcode: OpCode,
    is_final: bool,
    is_compressed: bool,
    mask: Option<[u8; 4]>,
    header_bytes: usize,
    body_bytes: usize,
}

/// A whole message's last frame, and where the message is to be found.
struct Source<'a> {
    head: &'a FrameHead,
    found: Found,
    body: Range<usize>,
    bytes_max: usize,
}

/// Where a whole message is to be found.
#[derive(Clone, Copy)]
enum Found {
    InInput,
    InBuffer,
}

impl Assembler {
    /// For a connection on which nothing was read yet.
    pub fn new(role: Role) -> Self {
        Assembler { buffer: Vec::new(), valid_bytes: 0, role, inflates: false, is_compressed: false, fragments: Fragments::None, empty: 0 }
    }

    /// What the open fragments take.
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// For a connection that agreed on permessage-deflate, without context takeover.
    pub fn inflating(role: Role) -> Self {
        Assembler { inflates: true, ..Assembler::new(role) }
    }

    /// Takes the next message from `input`, which is what was read and not consumed yet.
    ///
    /// Bytes that are consumed were unmasked in place; those that are not are as they were, so a frame may grow over many
    /// reads. Its size is judged by its header: what waits is never longer than a header and `message_bytes_max`.
    ///
    /// `inflater` may be that of any other connection: it keeps nothing from one message to the next.
    pub fn step<'a>(&'a mut self, input: &'a mut [u8], limits: &Limits, inflater: &'a mut Inflater) -> Result<Step<'a>, CloseCode> {
        self.free_handed_out();
        let mut used = 0;
        loop {
            let Some(head) = self.next_head(&input[used..], *limits)? else {
                return Ok(Step::NeedMore { used });
            };
            let body = used + head.header_bytes..used + head.header_bytes + head.body_bytes;
            if input.len() < body.end {
                return Ok(Step::NeedMore { used });
            }
            used = body.end;
            if let Some(mask) = head.mask {
                unmask(&mut input[body.clone()], mask);
            }
            if let Some(found) = self.take(&head, &input[body.clone()], *limits)? {
                let source = Source { head: &head, found, body, bytes_max: limits.message_bytes_max };
                return Ok(Step::Message { message: self.message(source, input, inflater)?, used });
            }
        }
    }

    fn free_handed_out(&mut self) {
        if self.fragments == Fragments::HandedOut {
            *self = Assembler { inflates: self.inflates, ..Assembler::new(self.role) };
        }
    }

    /// The next frame's header, if it is whole, and allowed here.
    fn next_head(&self, input: &[u8], limits: Limits) -> Result<Option<FrameHead>, CloseCode> {
        let mut cursor = Cursor::new(input);
        let Some((header, declared)) = FrameHeader::parse(&mut cursor).map_err(|_| CLOSE_PROTOCOL)? else {
            return Ok(None);
        };
        let header_bytes = cursor.position() as usize;
        self.check_header(&header, header_bytes, declared)?;
        let body_bytes = self.check_size(&header, declared, limits)?;
        let (opcode, is_final, is_compressed) = (header.opcode, header.is_final, header.rsv1);
        Ok(Some(FrameHead { opcode, is_final, is_compressed, mask: header.mask, header_bytes, body_bytes }))
    }

    fn check_header(&self, header: &FrameHeader, header_bytes: usize, declared: u64) -> Result<(), CloseCode> {
        // RSV1 stands in a compressed message's first frame (RFC 7692 section 6).
        let may_be_compressed = self.inflates && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        let reserved = (header.rsv1 && !may_be_compressed) || header.rsv2 || header.rsv3;
        let masked_as_due = header.mask.is_some() == (self.role == Role::Server);
        let shortest = header_bytes == header.len(declared) && i64::try_from(declared).is_ok();
        let in_place = match header.opcode {
            OpCode::Control(_) => header.is_final && declared <= CONTROL_BYTES_MAX as u64,
            OpCode::Data(Data::Continue) => self.is_open(),
            OpCode::Data(_) => !self.is_open(),
        };
        if reserved || !masked_as_due || !shortest || !in_place { Err(CLOSE_PROTOCOL) } else { Ok(()) }
    }

    fn check_size(&self, header: &FrameHeader, declared: u64, limits: Limits) -> Result<usize, CloseCode> {
        let body_bytes = usize::try_from(declared).map_err(|_| CLOSE_TOO_BIG)?;
        let room = limits.message_bytes_max.saturating_sub(self.buffer.len());
        let counted = matches!(header.opcode, OpCode::Data(_));
        if counted && body_bytes > room { Err(CLOSE_TOO_BIG) } else { Ok(body_bytes) }
    }

    const fn is_open(&self) -> bool {
        matches!(self.fragments, Fragments::Text | Fragments::Binary)
    }

    /// Takes a whole frame: says where its message is, or keeps the fragment and says none.
    fn take(&mut self, head: &FrameHead, body: &[u8], limits: Limits) -> Result<Option<Found>, CloseCode> {
        match head.opcode {
            OpCode::Control(_) => return Ok(Some(Found::InInput)),
            OpCode::Data(Data::Continue) => {}
            OpCode::Data(_) if head.is_final => return Ok(Some(Found::InInput)),
            OpCode::Data(Data::Text) => (self.fragments, self.is_compressed) = (Fragments::Text, head.is_compressed),
            OpCode::Data(_) => (self.fragments, self.is_compressed) = (Fragments::Binary, head.is_compressed),
        }
        self.count_empty(body)?;
        self.absorb(body, limits);
        self.check_text(head.is_final)?;
        Ok(head.is_final.then_some(Found::InBuffer))
    }

    /// Fragments with bytes are limited by the length of a message; those without are limited here.
    fn count_empty(&mut self, body: &[u8]) -> Result<(), CloseCode> {
        self.empty += u16::from(body.is_empty());
        if self.empty > EMPTY_FRAGMENTS_MAX { Err(CLOSE_TOO_BIG) } else { Ok(()) }
    }

    /// Appends a fragment. The buffer doubles, but never beyond the limit, so that a flood of tiny fragments costs no more
    /// memory than one message.
    fn absorb(&mut self, body: &[u8], limits: Limits) {
        let needed = self.buffer.len() + body.len();
        if needed > self.buffer.capacity() {
            let doubled = (self.buffer.capacity() * 2).min(limits.message_bytes_max);
            self.buffer.reserve_exact(doubled.max(needed) - self.buffer.len());
        }
        self.buffer.extend_from_slice(body);
    }

    /// Refuses text at the first fragment that cannot be a part of UTF-8; a character may be split between fragments. Compressed
    /// text is judged as a whole.
    fn check_text(&mut self, is_final: bool) -> Result<(), CloseCode> {
        if self.fragments != Fragments::Text || self.is_compressed {
            return Ok(());
        }
        match std::str::from_utf8(&self.buffer[self.valid_bytes..]) {
            Ok(_) => self.valid_bytes = self.buffer.len(),
            Err(error) if error.error_len().is_none() && !is_final => self.valid_bytes += error.valid_up_to(),
            Err(_) => return Err(CLOSE_INVALID_PAYLOAD),
        }
        Ok(())
    }

    fn message<'a>(&'a mut self, source: Source<'_>, input: &'a [u8], inflater: &'a mut Inflater) -> Result<Message<'a>, CloseCode> {
        let Source { head, found, body, bytes_max } = source;
        let (opcode, is_compressed, bytes) = match found {
            Found::InInput => (head.opcode, head.is_compressed, &input[body]),
            Found::InBuffer => {
                let data = if self.fragments == Fragments::Text { Data::Text } else { Data::Binary };
                self.fragments = Fragments::HandedOut;
                (OpCode::Data(data), self.is_compressed, &self.buffer[..])
            }
        };
        message_of(opcode, if is_compressed { inflater.message(bytes, bytes_max).map_err(close_of_inflate)? } else { bytes })
    }
}

fn close_of_inflate(error: InflateError) -> CloseCode {
    match error {
        InflateError::TooLong => CLOSE_TOO_BIG,
        InflateError::Damaged => CLOSE_INVALID_PAYLOAD,
    }
}

fn message_of(opcode: OpCode, body: &[u8]) -> Result<Message<'_>, CloseCode> {
    match opcode {
        OpCode::Data(Data::Text) => text(body),
        OpCode::Data(Data::Binary) => Ok(Message::Binary(body)),
        OpCode::Control(Control::Ping) => Ok(Message::Ping(body)),
        OpCode::Control(Control::Pong) => Ok(Message::Pong(body)),
        OpCode::Control(Control::Close) => close_of(body),
        // Refused when the header was read.
        OpCode::Data(_) | OpCode::Control(_) => Err(CLOSE_PROTOCOL),
    }
}

fn text(body: &[u8]) -> Result<Message<'_>, CloseCode> {
    std::str::from_utf8(body).map(Message::Text).map_err(|_| CLOSE_INVALID_PAYLOAD)
}

fn close_of(body: &[u8]) -> Result<Message<'_>, CloseCode> {
    match body {
        [] => Ok(Message::Close(None)),
        [_] => Err(CLOSE_PROTOCOL),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // 1014 was registered later (bad gateway).
            if !Rfc::from(code).is_allowed() && code != 1014 {
                return Err(CLOSE_PROTOCOL);
            }
            let reason = std::str::from_utf8(reason).map_err(|_| CLOSE_INVALID_PAYLOAD)?;
            Ok(Message::Close(Some((code, reason))))
        }
    }
}

/// Applies the mask, 8 bytes at a time. Applied again, it restores what was.
fn unmask(body: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = body.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends a ping. The body is cut at 125 bytes.
pub fn ping(out: &mut Vec<u8>, body: &[u8]) {
    control(out, 0x89, body);
}

/// Appends a pong. The body is cut at 125 bytes.
pub fn pong(out: &mut Vec<u8>, body: &[u8]) {
    control(out, 0x8a, body);
}

/// Appends a close with `code` and its name as the reason.
pub fn close(out: &mut Vec<u8>, code: CloseCode) {
    let mut body = Vec::with_capacity(2 + code.name.len());
    body.extend_from_slice(&code.code.to_be_bytes());
    body.extend_from_slice(code.name.as_bytes());
    control(out, 0x88, &body);
}

/// Appends an unmasked control frame, as servers send them.
fn control(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    debug_assert!(body.len() <= CONTROL_BYTES_MAX);
    let body = &body[..body.len().min(CONTROL_BYTES_MAX)];
    out.extend_from_slice(&[first, body.len() as u8]);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests;
