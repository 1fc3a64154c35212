//! How a connection comes to its end: the last word, and who has it said.

use crate::auth::Whom;
use crate::base::codes::{CLOSE_CONNECTION_LIMIT, CLOSE_RATE, CLOSE_SHUTDOWN, CloseCode};
use crate::base::limits::{CLOSE_LINGER, DRAIN_GRACE, SHED_RETRY};
use crate::base::time::millis;
use crate::reactor::core::Core;
use crate::reactor::stats::Reason;
use crate::wire::reply;

use super::{Connection, Ending, Protocol};

impl Connection {
    /// Says the last word to a client: what is in the lanes is dropped, the memberships end.
    pub(super) fn begin_close(&mut self, code: CloseCode, reason: Reason, peer_done: bool, core: &mut Core) {
        self.begin_close_for(code, reason, peer_done, 0, core);
    }

    /// The same, with the time after which it may come back.
    fn begin_close_for(&mut self, code: CloseCode, reason: Reason, peer_done: bool, after_ms: u64, core: &mut Core) {
        if self.ending.is_some() {
            return;
        }
        // Codes of the protocol itself are for its implementation, not for the client. Who brought no token gets no frame but the Close (AUT-01).
        if self.session().is_some_and(|session| session.user().is_some())
            && matches!(self.protocol, Protocol::WebSocket(_))
            && code.code >= 4000
        {
            core.text.clear();
            reply::disconnect(&mut core.text, code, after_ms);
            self.say(core);
        }
        match &mut self.protocol {
            Protocol::Events(events) => events.close(code, core, &mut self.outbox),
            Protocol::Http(http) => http.close(code, core, &mut self.outbox),
            Protocol::WebSocket(_) | Protocol::Lines(_) => core.close(&mut self.outbox, code),
        }
        let rooms = self.leave_rooms(core);
        // Its client may be somewhere else by now, and is to find its place free there.
        if let Some(user) = self.user() {
            core.registry.roll.left(user, self.id);
        }
        self.ending = Some(Box::new(Ending { reason, until: core.now.mono.plus(CLOSE_LINGER), peer_done, rooms }));
    }

    /// Ends a connection that speaks no WebSocket once its answers are out.
    pub(super) fn finish(&mut self, reason: Reason, core: &Core) {
        if self.ending.is_none() {
            let until = core.now.mono.plus(CLOSE_LINGER);
            self.ending = Some(Box::new(Ending { reason, until, peer_done: self.eof, rooms: 0 }));
        }
    }

    /// Ends it for what its client did. Who asked for too much had better not come back at once; the rest is up to the code.
    pub(super) fn end_for(&mut self, code: CloseCode, core: &mut Core) {
        let after_ms = if code == CLOSE_RATE { u64::from(millis(SHED_RETRY) + self.id.slot % 1000) } else { 0 };
        self.disconnect(code, after_ms, core);
    }

    /// Tells a client to come back in `after_ms`, and closes.
    pub(super) fn disconnect(&mut self, code: CloseCode, after_ms: u64, core: &mut Core) {
        if let Protocol::Events(events) = &mut self.protocol {
            events.set_return(after_ms);
        }
        self.begin_close_for(code, Reason::Code(code), false, after_ms, core);
    }

    /// The daemon stops: clients are told, requests are finished.
    pub(in crate::reactor) fn drain(&mut self, after_ms: u64, core: &mut Core) {
        match &mut self.protocol {
            Protocol::WebSocket(_) | Protocol::Events(_) if self.ending.is_some() => {}
            Protocol::WebSocket(_) | Protocol::Events(_) => self.disconnect(CLOSE_SHUTDOWN, after_ms, core),
            Protocol::Http(http) => http.hurry(core.now.mono.plus(DRAIN_GRACE)),
            Protocol::Lines(_) => {}
        }
    }

    /// It is one more than its user may have on all nodes: it ends as if it had not been admitted.
    pub(in crate::reactor) fn end_over_cap(&mut self, core: &mut Core) {
        if self.ending.is_none() && self.user().is_some() {
            core.stats.over_cap.inc();
            self.begin_close(CLOSE_CONNECTION_LIMIT, Reason::Code(CLOSE_CONNECTION_LIMIT), false, core);
        }
    }

    /// Ends the session if it is meant; whether it was. A request for which the token was checked before is finished.
    pub(in crate::reactor) fn end_session(&mut self, whom: &Whom, code: CloseCode, core: &mut Core) -> bool {
        let grants = self.session().and_then(|session| session.grants());
        let is_meant = self.ending.is_none() && grants.is_some_and(|grants| whom.covers(grants));
        if is_meant {
            self.begin_close(code, Reason::Code(code), false, core);
        }
        is_meant
    }
}
