//! The end of a connection: what it gives back, and who hears of it.

use tracing::{field, info};

use crate::base::codes::CLOSE_STATE_LOST;
use crate::base::ids::SessionName;
use crate::reactor::core::Core;
use crate::reactor::session::Session;
use crate::reactor::stats::Reason;

use super::{Connection, Io, Protocol};

impl Connection {
    /// What it was told may not be so any more: it is to come back at once, with its positions.
    pub(in crate::reactor) fn lose_state(&mut self, core: &mut Core) {
        self.begin_close(CLOSE_STATE_LOST, Reason::Code(CLOSE_STATE_LOST), false, core);
    }

    /// Gives back what the connection holds, and tells its end. The socket closes with the drop that follows.
    pub(in crate::reactor) fn end(&mut self, reason: Reason, core: &mut Core, io: &mut Io) {
        core.stats.handshake_ended(self.stream.handshake(), reason);
        // A peer that is gone already needs no word.
        drop(self.stream.say_end(&mut io.scratch));
        let is_stranger = self.is_stranger();
        let mut rooms = self.leave_rooms(core);
        rooms += self.ending.as_ref().map_or(0, |ending| ending.rooms);
        core.stats.closed(reason);
        core.stats.dropped_by_close.add(self.outbox.frames() as u64);
        core.count_kind(self.kind(), false);
        self.tell_end(reason, rooms, core);
        if self.user().is_some() {
            core.stats.sessions.record_long(self.age(core.now.mono));
        }
        match &mut self.protocol {
            Protocol::WebSocket(websocket) => websocket.session.end(core),
            Protocol::Events(events) => events.session.end(core),
            Protocol::Http(http) => http.end(core),
            Protocol::Lines(_) => {}
        }
        core.strangers -= usize::from(is_stranger);
    }

    /// OBS-15, OBS-17: a line in the log for each, and an entry in the audit trail for clients, and for those who did not become one.
    fn tell_end(&self, reason: Reason, rooms: usize, core: &mut Core) {
        let mut user = None;
        let session = self.session().filter(|session| session.user().is_some());
        match (&self.protocol, session) {
            (_, Some(session)) => {
                user = session.user().cloned();
                session.note_disconnected(reason.name(), core);
            }
            (Protocol::WebSocket(_) | Protocol::Events(_), None) if self.session().is_some_and(Session::is_told) => {}
            (Protocol::WebSocket(_) | Protocol::Events(_), None) => core.turn_away(self.client(), None, "connect", reason.name()),
            (Protocol::Http(_), None) if matches!(reason, Reason::Tls | Reason::ProxyHeader | Reason::Evicted) => {
                core.turn_away(self.client(), None, "connect", reason.name());
            }
            (Protocol::Http(_) | Protocol::Lines(_), None) => {}
        }
        let session = user.as_ref().map(|_| field::display(SessionName { instance: core.options.instance, id: self.id }));
        let user = user.as_deref().unwrap_or("-");
        let (peer, received, sent) = (self.stream.peer(), self.bytes_received, self.bytes_sent);
        let client = self.client().map(field::display);
        let reason = reason.name();
        info!(event = "disconnected", reason, user, client, session, rooms, received, sent, peer, slot = self.id.slot, "connection closed");
    }
}
