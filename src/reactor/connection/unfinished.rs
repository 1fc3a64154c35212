//! Input of which the end has not come: what it takes, until when it may, and its end (LIM-06, LIM-10).

use crate::base::codes::{CLOSE_OVER_CAPACITY, CloseCode};
use crate::base::limits::{MESSAGE_TIMEOUT, SHED_RETRY};
use crate::base::time::{Mono, millis};
use crate::net::tls::Handshake;
use crate::reactor::core::Core;
use crate::reactor::flush::Dirty;
use crate::reactor::pressure::Pressure;
use crate::reactor::shedding::Holder;
use crate::reactor::stats::Reason;

use super::{Connection, Io, Protocol};

impl Connection {
    /// After its input was taken: brings the reactor's figures up to date.
    pub(in crate::reactor) fn account_unfinished(&mut self, pressure: &mut Pressure, core: &Core) {
        let bytes = self.unfinished_bytes();
        self.begun = if bytes > 0 { self.begun.min(core.now.mono) } else { Mono::NEVER };
        let is_stranger = self.is_unvouched();
        pressure.account_unfinished(&mut self.share, bytes, is_stranger);
    }

    /// What is complete waits for us, and what came after the last word is of no interest. Who may open the publish socket is trusted.
    fn unfinished_bytes(&self) -> usize {
        let open = match &self.protocol {
            _ if self.ending.is_some() || self.more || self.is_blocked() => return 0,
            Protocol::Lines(_) | Protocol::Events(_) => return 0,
            Protocol::Http(http) => http.unfinished_bytes(),
            Protocol::WebSocket(websocket) => websocket.unfinished_bytes(),
        };
        self.stream.partial_bytes() + self.rest.capacity() + open
    }

    /// A body follows a token that was accepted.
    fn is_unvouched(&self) -> bool {
        let has_body = matches!(&self.protocol, Protocol::Http(http) if !http.is_idle());
        !has_body && self.is_stranger()
    }

    /// Whether it has begun something that is to end in time.
    pub(in crate::reactor) fn has_begun(&self) -> bool {
        self.begun != Mono::NEVER
    }

    /// What it holds of input that is not complete, if it is a stranger or not.
    pub(in crate::reactor) fn as_holder(&self, is_stranger: bool, now: Mono) -> Option<Holder> {
        let bytes = self.share.unfinished(is_stranger);
        (bytes > 0).then(|| Holder { slot: self.id.slot, is_stranger, bytes, held: now.since(self.begun) })
    }

    /// Until when a message that was begun must be complete. HTTP has deadlines of its own.
    pub(super) fn message_deadline(&self) -> Mono {
        match self.protocol {
            Protocol::WebSocket(_) => self.begun.plus(MESSAGE_TIMEOUT),
            Protocol::Http(_) | Protocol::Events(_) | Protocol::Lines(_) => Mono::NEVER,
        }
    }

    /// There is no memory for what it has begun. A reason ends the connection at once.
    pub(in crate::reactor) fn shed_unfinished(&mut self, core: &mut Core, io: &mut Io) -> Option<Reason> {
        if self.stream.handshake() == Some(Handshake::Running) {
            return Some(Reason::Evicted);
        }
        self.end_unfinished(CLOSE_OVER_CAPACITY, core);
        // What TLS keeps of a record is freed with the connection alone, so it gets what the socket takes of the last word.
        (self.stream.partial_bytes() > 0).then(|| self.flush(Dirty::Urgent, core, io).unwrap_or(Reason::Code(CLOSE_OVER_CAPACITY)))
    }

    /// Drops what is not complete, and ends the connection with that code or with an answer.
    pub(super) fn end_unfinished(&mut self, code: CloseCode, core: &mut Core) {
        (self.rest, self.more, self.begun) = (Vec::new(), false, Mono::NEVER);
        match &mut self.protocol {
            Protocol::Http(http) => {
                http.refuse_unfinished(core, &mut self.outbox);
                self.finish(Reason::Code(code), core);
            }
            Protocol::WebSocket(websocket) => {
                websocket.abandon_input();
                self.disconnect(code, u64::from(millis(SHED_RETRY) + self.id.slot % 1000), core);
            }
            Protocol::Events(_) | Protocol::Lines(_) => {}
        }
    }
}
