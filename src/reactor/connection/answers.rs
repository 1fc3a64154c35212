//! What the hub and the authorizer answer, to whoever asked.

use std::sync::Arc;

use crate::auth::TicketSaid;
use crate::hub::ports::{AckAnswer, Answer, Join, Joined};
use crate::net::outbox::Outbox;
use crate::reactor::admin_desk::AdminText;
use crate::reactor::authorizer::Word;
use crate::reactor::core::Core;
use crate::reactor::session::Session;
use crate::wire::frame::Frame;
use crate::wire::http::HttpRefusal;

use super::{Connection, Protocol};

impl Connection {
    /// The hub has answered a publish.
    pub(in crate::reactor) fn on_answer(&mut self, answer: Answer, core: &mut Core) {
        let (ticket, outcome) = (answer.ticket, answer.outcome);
        match &mut self.protocol {
            Protocol::Http(http) => {
                let then = http.on_answer(ticket, outcome, core, &mut self.outbox);
                self.apply(then, core);
            }
            Protocol::WebSocket(websocket) => websocket.session.on_answer(ticket, outcome, core, &mut self.outbox),
            Protocol::Lines(lines) => lines.on_answer(ticket, outcome, core, &mut self.outbox),
            Protocol::Events(_) => debug_assert!(false, "who reads events publishes nothing"),
        }
    }

    /// The hub has answered an acknowledgment.
    pub(in crate::reactor) fn on_acked(&mut self, answer: AckAnswer, core: &mut Core) {
        match &mut self.protocol {
            _ if self.ending.is_some() => {}
            Protocol::WebSocket(_) => Session::on_acked(&answer.request, answer.outcome, core, &mut self.outbox),
            Protocol::Http(http) => {
                let then = http.on_acked(answer.outcome, core, &mut self.outbox);
                self.apply(then, core);
            }
            Protocol::Events(_) | Protocol::Lines(_) => {}
        }
    }

    /// Whether an operator's request waits for its answer.
    pub(in crate::reactor) fn is_asking(&self) -> bool {
        matches!(&self.protocol, Protocol::Http(http) if http.is_asking())
    }

    /// What an operator asked is answered.
    pub(in crate::reactor) fn on_admin_answer(&mut self, said: Result<AdminText, HttpRefusal>, core: &mut Core) {
        match &mut self.protocol {
            Protocol::Http(http) if self.ending.is_none() => {
                let then = http.on_admin_answer(said, core, &mut self.outbox);
                self.apply(then, core);
            }
            _ => {}
        }
    }

    /// The store has said something of a ticket. A request that came with one is looked at now.
    pub(in crate::reactor) fn on_ticket_word(&mut self, said: TicketSaid, core: &mut Core) {
        match &mut self.protocol {
            Protocol::Http(http) if self.ending.is_none() => {
                self.more |= http.is_redeeming();
                let then = http.on_ticket_word(said, core, &mut self.outbox);
                self.apply(then, core);
            }
            _ => {}
        }
    }

    /// The hub has granted a join. Each grant is ended by exactly one leave, so one that is not wanted any more is left at once.
    pub(in crate::reactor) fn on_joined(&mut self, joined: Joined, core: &mut Core) {
        match &mut self.protocol {
            Protocol::WebSocket(websocket) if self.ending.is_none() => websocket.session.on_joined(joined, core, &mut self.outbox),
            Protocol::Events(events) if self.ending.is_none() => events.on_joined(joined, core, &mut self.outbox),
            Protocol::Http(http) if self.ending.is_none() => {
                let then = http.on_joined(joined, core, &mut self.outbox);
                self.apply(then, core);
            }
            _ => core.uplink.leave(joined.room, self.id, joined.delta),
        }
    }

    /// The hub says that neither pattern nor ownership allows a join: the authorizer is to be asked.
    pub(in crate::reactor) fn on_unowned(&mut self, join: Box<Join>, core: &mut Core) {
        self.tell_session(core, |session, core, outbox| session.on_unowned(join, core, outbox));
    }

    /// The authorizer has said something about a join.
    pub(in crate::reactor) fn on_word(&mut self, word: &Word, core: &mut Core) {
        self.tell_session(core, |session, core, outbox| session.on_word(word, core, outbox));
    }

    /// The hub has denied a join or answers a snapshot.
    pub(in crate::reactor) fn on_reply(&mut self, frames: Vec<Arc<Frame>>, core: &mut Core) {
        self.tell_session(core, |session, core, outbox| session.on_reply(frames, core, outbox));
    }

    /// Past events of a room that it is a member of.
    pub(in crate::reactor) fn on_replayed(&mut self, frames: Vec<Arc<Frame>>, core: &mut Core) {
        if let Protocol::Http(http) = &mut self.protocol {
            let then = http.on_replayed(frames, core, &mut self.outbox);
            return self.apply(then, core);
        }
        for frame in frames {
            core.queue_wanted(self.id.slot, &mut self.outbox, frame);
        }
    }

    /// Tells the session something that may end in a refusal of what it asked for.
    fn tell_session(&mut self, core: &mut Core, tell: impl FnOnce(&mut Session, &mut Core, &mut Outbox)) {
        match &mut self.protocol {
            _ if self.ending.is_some() => {}
            Protocol::WebSocket(websocket) => tell(&mut websocket.session, core, &mut self.outbox),
            Protocol::Events(events) => {
                let then = events.hear(core, &mut self.outbox, tell);
                self.apply(then, core);
            }
            Protocol::Http(http) => {
                let then = http.hear(core, &mut self.outbox, tell);
                self.apply(then, core);
            }
            Protocol::Lines(_) => {}
        }
    }
}
