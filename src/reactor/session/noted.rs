//! What log and audit trail hear of a session.

use core::net::IpAddr;
use std::sync::Arc;

use tracing::{debug, field, info, trace};

use crate::base::audit::{Entry, Kind};
use crate::base::ids::SessionName;
use crate::hub::ports::AckOf;
use crate::reactor::core::Core;
use crate::wire::command::Command;
use crate::wire::event::Rejected;

use super::{Mark, Session, Way};

impl Session {
    /// The client's address, if the limits of addresses hold for it.
    pub(super) fn limited(&self) -> Option<IpAddr> {
        self.client.filter(|_| self.marks.has(Mark::Limited))
    }

    /// A token names that user, who is turned away. Nothing is told of somebody unknown: the connection's end tells that.
    pub(in crate::reactor) fn turn_away(&mut self, user: Option<Arc<str>>, reason: &'static str, core: &mut Core) {
        if user.is_some() {
            core.turn_away(self.client, user, "connect", reason);
            self.marks.set(Mark::TurnedAway, true);
        }
    }

    /// Whether that was told.
    pub(in crate::reactor) fn is_told(&self) -> bool {
        self.marks.has(Mark::TurnedAway)
    }

    /// OBS-15: it has begun.
    pub(in crate::reactor) fn tell_connected(&self, core: &mut Core) {
        let session = SessionName { instance: core.options.instance, id: self.id };
        info!(event = "connected", user = self.user().map(|user| &**user), client = self.client.map(field::display), %session);
        self.note(Kind::Connect, "", core, |entry| entry);
    }

    /// What it was asked to do. Counted, and in the log for those who look that close.
    pub(super) fn note_command(&self, parsed: &Result<Command, Box<Rejected>>, core: &Core) {
        match parsed {
            Ok(command) => {
                if let Some(verb) = command.verb() {
                    core.stats.commands[verb].inc();
                }
                trace!(event = "command", user = self.user().map(|user| &**user), slot = self.id.slot, ?command);
            }
            Err(rejected) => {
                let error = rejected.refusal.error.name;
                debug!(event = "bad_command", user = self.user().map(|user| &**user), slot = self.id.slot, error);
            }
        }
    }

    /// It has ended.
    pub(in crate::reactor) fn note_disconnected(&self, reason: &'static str, core: &mut Core) {
        self.note(Kind::Disconnect, reason, core, |entry| entry);
    }

    /// It is a member of a room.
    pub(super) fn note_joined(&self, room: &str, core: &mut Core) {
        debug!(event = "joined", user = self.user().map(|user| &**user), slot = self.id.slot, room);
        self.note(Kind::Join, "", core, |entry| Entry { room: Some(room.into()), ..entry });
    }

    /// It is none any more.
    pub(super) fn note_left(&self, room: &str, reason: &'static str, core: &mut Core) {
        debug!(event = "left", user = self.user().map(|user| &**user), slot = self.id.slot, room, reason);
        self.note(Kind::Leave, reason, core, |entry| Entry { room: Some(room.into()), ..entry });
    }

    /// It may not become one.
    pub(super) fn denied(&mut self, room: &str, core: &mut Core) {
        debug!(event = "join_denied", user = self.user().map(|user| &**user), slot = self.id.slot, room);
        core.stats.joins_denied.inc();
        match self.user() {
            Some(user) if self.way != Way::WebSocket => core.registry.denials.charge(user, core.now.mono),
            _ => self.limiter.denied(core.now.mono),
        }
        self.note(Kind::Deny, "access_denied", core, |entry| Entry { room: Some(room.into()), ..entry });
    }

    /// It has taken note of something, in that room if it is about one.
    pub(super) fn note_ack(&self, room: Option<&str>, of: &AckOf, core: &mut Core) {
        self.note(Kind::Ack, "", core, |entry| {
            let subject = match of {
                AckOf::Event(event_id) => event_id.clone(),
                AckOf::UpTo { lane, seq, .. } => format!("{}:{seq}", lane.name()).into(),
            };
            Entry { room: room.map(Box::from), subject: Some(subject), ..entry }
        });
    }

    fn note(&self, kind: Kind, reason: &'static str, core: &mut Core, entry: impl FnOnce(Entry) -> Entry) {
        let (user, ip, session) = (self.user(), self.client, Some(self.id));
        core.note(kind, reason, |noted| entry(Entry { user: user.cloned(), ip, session, ..noted }));
    }
}
