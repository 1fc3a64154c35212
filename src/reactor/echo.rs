//! The conformance echo: each message goes back as it came, by the codec, the outbox and the writes that serve all others, so
//! that a conformance suite tests those. It knows no tokens and no rooms.

use std::sync::Arc;

use crate::net::outbox::Outbox;
use crate::wire::frame::{Frame, Tag};
use crate::wire::websocket::Message;

use super::connection::Then;
use super::core::Core;
use super::websocket::pong;

/// The longest message: that of the suites.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Answers a message.
pub(super) fn answer(message: Message<'_>, core: &mut Core, outbox: &mut Outbox) -> Then {
    match message {
        Message::Text(text) => core.queue(outbox, Arc::new(Frame::text(Tag::REPLY, text.as_bytes()))),
        Message::Binary(body) => core.queue(outbox, Arc::new(Frame::binary(Tag::REPLY, body))),
        Message::Ping(body) => pong(body, core, outbox),
        Message::Pong(_) => {}
        Message::Close(code) => return Then::PeerClosed(code.map(|(code, _)| code)),
    }
    Then::Go
}
