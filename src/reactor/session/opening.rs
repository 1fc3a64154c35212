//! A session's beginning and its end: what it takes of the registry, and what it is told first.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Grants, Scope};
use crate::base::codes::{CLOSE_CONNECTION_LIMIT, CLOSE_OVER_CAPACITY};
use crate::base::ids::SessionName;
use crate::base::limits::ROOMS_PER_CONN_MAX;
use crate::hub::ports::Joined;
use crate::net::outbox::Outbox;
use crate::reactor::core::{Core, Next};
use crate::reactor::registry::{Full, Presence};
use crate::wire::command;
use crate::wire::reply::{self, Welcome};

use super::{Awaited, Mark, Session, Way, message_bytes_max};

impl Session {
    /// Begins with these grants, if the registry admits one more connection of the user.
    pub(in crate::reactor) fn begin(&mut self, grants: Grants, core: &mut Core, outbox: &mut Outbox) -> Next {
        let user = Arc::clone(&grants.user);
        if let Err(full) = self.admit(grants, core) {
            let code = if full == Full::User { CLOSE_CONNECTION_LIMIT } else { CLOSE_OVER_CAPACITY };
            self.turn_away(Some(user), code.name, core);
            return Next::Close(code);
        }
        let mut capabilities = [command::VERBS, command::OPTIONS].concat();
        if self.grants.as_ref().is_some_and(|grants| grants.has(Scope::Publish)) {
            capabilities.push("publish");
        }
        self.welcome(&capabilities, ROOMS_PER_CONN_MAX, core, outbox);
        Next::Go
    }

    /// Has these grants from now on, if the registry admits one more connection of the user.
    pub(in crate::reactor) fn admit(&mut self, grants: Grants, core: &mut Core) -> Result<(), Full> {
        core.registry.admit(&grants.user, self.limited(), self.presence(), core.now.mono)?;
        core.strangers -= 1;
        if self.presence() == Presence::Lasting {
            core.registry.roll.came(&grants.user, self.id);
        }
        self.grants = Some(grants);
        Ok(())
    }

    fn presence(&self) -> Presence {
        if self.way == Way::Poll { Presence::Passing } else { Presence::Lasting }
    }

    /// Says who the client is here, and what it may do.
    pub(in crate::reactor) fn welcome(&self, capabilities: &[&str], rooms_max: usize, core: &mut Core, outbox: &mut Outbox) {
        let Some(grants) = &self.grants else { return };
        let session = SessionName { instance: core.options.instance, id: self.id }.to_string();
        let welcome = Welcome {
            session: &session,
            user: &grants.user,
            expires_at_s: (grants.expires_at_ms != u64::MAX).then_some(grants.expires_at_ms / 1000),
            heartbeat_ms: core.options.heartbeat.as_millis() as u64,
            rooms_max,
            message_bytes_max: message_bytes_max(Some(grants)),
            capabilities,
        };
        let ts_ms = core.now.wall_ms;
        core.reply(outbox, |out| reply::welcome(out, ts_ms, &welcome));
    }

    /// Gives back what the session holds.
    pub(in crate::reactor) fn end(&mut self, core: &mut Core) {
        if let Some(grants) = self.grants.take() {
            if self.presence() == Presence::Lasting {
                core.registry.roll.left(&grants.user, self.id);
            }
            core.registry.release(&grants.user, self.limited(), self.presence(), core.now.mono);
        }
    }

    /// Ends what was admitted and is to be no client after all.
    pub(in crate::reactor) fn dismiss(&mut self, reason: &'static str, core: &mut Core) {
        self.note_disconnected(reason, core);
        self.end(core);
        core.strangers += 1;
    }

    /// A newer token of the same user takes the place of the old one, with a request.
    pub(in crate::reactor) fn renew(&mut self, grants: Grants) {
        self.grants = Some(grants);
        self.marks.set(Mark::ExpiryNoticed, false);
    }

    /// LIM-01: a request that counts as a command; or how long it must wait.
    pub(in crate::reactor) fn spend(&mut self, core: &Core) -> Result<(), Duration> {
        self.limiter.command(1, core.options.commands, core.now.mono)
    }

    /// The hub has granted a poll's join, and its frames are the poll's own matter. `is_noted`: the audit trail is to hear of it.
    pub(in crate::reactor) fn enter(&mut self, joined: &Joined, is_noted: bool, core: &mut Core) {
        let Some(Awaited::Join { by_pattern, .. }) = self.awaited.pop_front() else {
            debug_assert!(false, "the hub granted a join that was not asked");
            return core.uplink.leave(joined.room, self.id, joined.delta);
        };
        if !core.rooms.join(self.id.slot, joined.room, &joined.name, by_pattern, joined.floor) {
            core.uplink.leave(joined.room, self.id, joined.delta);
        }
        if is_noted {
            self.note_joined(&joined.name, core);
        }
    }

    /// Is a member of nothing any more.
    pub(in crate::reactor) fn leave_all(&self, core: &mut Core) {
        let rooms: Vec<_> = core.rooms.of(self.id.slot).iter().map(|membership| membership.room).collect();
        for room in rooms {
            self.leave(room, core, &mut Outbox::default());
        }
    }
}
