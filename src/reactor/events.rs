//! `GET /v1/events`: one room as server-sent events. A client like one over WebSocket, with the same token, limits, lanes and resume, but that it
//! has joined one room, and cannot speak. No I/O.
//!
//! The answer begins when the hub has granted the join: until then a refusal still is a status.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::Grants;
use crate::base::codes::{
    CLOSE_CONNECTION_LIMIT, CLOSE_SHUTDOWN, CLOSE_TOKEN_REVOKED, CloseCode, OVER_CAPACITY, Refusal, TOKEN_REVOKED, TOO_MANY_CONNECTIONS,
};
use crate::base::ids::ConnId;
use crate::base::time::Mono;
use crate::hub::ports::Joined;
use crate::net::outbox::Outbox;
use crate::wire::http::HttpRefusal;
use crate::wire::{reply, sse};

use super::connection::Then;
use super::core::{Core, Next};
use super::http::answers::{answer, refuse, shutting_down, unauthorized};
use super::registry::Full;
use super::session::{Session, Way, Wish};
use super::websocket::jittered;

/// An `EventSource` comes back by itself after one to so many times this, in milliseconds, so that not all come at once.
const RETRY_MS: u64 = 1_000;
const RETRY_SPREAD: u64 = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) session: Session,
    stage: Stage,
    /// [`Mono::NEVER`] until the answer has begun.
    heartbeat_at: Mono,
    /// When the client is asked to come back, once it is to go.
    return_ms: u64,
}

#[derive(Debug)]
enum Stage {
    /// The hub has not granted the join. The origin of the page that may read the answer.
    Opening { reader: Option<Box<str>> },
    /// The answer has begun.
    Open,
}

impl Events {
    /// A client with these grants, who asks for a room. A refusal is one that is known at once.
    pub(super) fn open(
        id: ConnId,
        client: Option<IpAddr>,
        grants: Grants,
        (room, wish): (&str, Wish),
        core: &mut Core,
    ) -> Result<Box<Events>, HttpRefusal> {
        let mut session = Session::new(id, client, core.options.limited(client).is_some(), Way::Events);
        let user = Arc::clone(&grants.user);
        session.admit(grants, core).map_err(|full| not_admitted(full, client, user, core))?;
        session.tell_connected(core);
        let mut events = Box::new(Events { session, stage: Stage::Opening { reader: None }, heartbeat_at: Mono::NEVER, return_ms: 0 });
        let refusal = refusal_of(&mut events.session, core, |session, core, outbox| {
            let next = session.subscribe(None, room, wish, core, outbox);
            debug_assert_eq!(next, Next::Go, "a first join is within all rates");
        });
        match refusal {
            None => Ok(events),
            Some(refusal) => {
                events.session.dismiss("refused", core);
                Err(refusal.into())
            }
        }
    }

    /// The page of that origin may read the answer.
    pub(super) fn set_reader(&mut self, origin: Option<Box<str>>) {
        self.stage = Stage::Opening { reader: origin };
    }

    /// Tells the session something that may end in a refusal of the join.
    pub(super) fn hear(&mut self, core: &mut Core, outbox: &mut Outbox, tell: impl FnOnce(&mut Session, &mut Core, &mut Outbox)) -> Then {
        match refusal_of(&mut self.session, core, tell) {
            Some(refusal) => self.refuse(&refusal.into(), core, outbox),
            None => Then::Go,
        }
    }

    fn refuse(&mut self, refusal: &HttpRefusal, core: &Core, outbox: &mut Outbox) -> Then {
        if let Stage::Opening { reader } = &self.stage {
            refuse(reader.as_deref(), refusal, false, "GET", core, outbox);
        }
        Then::Finish
    }

    /// The hub has granted the join: the answer begins.
    pub(super) fn on_joined(&mut self, joined: Joined, core: &mut Core, outbox: &mut Outbox) {
        if let Stage::Opening { reader } = std::mem::replace(&mut self.stage, Stage::Open) {
            answer(reader.as_deref(), core, outbox, |out| out.extend_from_slice(sse::HEAD));
            let retry_ms = RETRY_MS + u64::from(joined.conn.slot.wrapping_mul(0x9E37_79B9)) % ((RETRY_SPREAD - 1) * RETRY_MS);
            outbox.begin_events(joined.epoch.clone(), joined.from.map(|from| from.saturating_sub(1)), retry_ms);
            self.session.welcome(&[], 1, core, outbox);
            self.heartbeat_at = core.now.mono.plus(core.options.heartbeat);
        }
        self.session.on_joined(joined, core, outbox);
    }

    /// Whether the answer has begun.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// The client is to come back in that time when it is told to go.
    pub(super) fn set_return(&mut self, after_ms: u64) {
        self.return_ms = after_ms;
    }

    /// Says the last word, as a message or, if there was none yet, as a refusal.
    pub(super) fn close(&mut self, code: CloseCode, core: &mut Core, outbox: &mut Outbox) {
        if !self.is_open() {
            return drop(self.refuse(&refusal_for(code), core, outbox));
        }
        core.stats.dropped_by_close.add(outbox.drop_lanes() as u64);
        outbox.set_retry(self.return_ms.max(RETRY_MS));
        core.reply(outbox, |out| reply::disconnect(out, code, self.return_ms));
        outbox.end_events();
    }

    /// When [`Events::on_time`] has something to do. The hub and the authorizer answer in any case.
    pub(super) fn deadline(&self, core: &Core) -> Mono {
        if self.is_open() { self.heartbeat_at.min(self.session.deadline(core.now)) } else { Mono::NEVER }
    }

    /// Does what is due. `slot` spreads the heartbeats of connections that came together.
    pub(super) fn on_time(&mut self, slot: u32, core: &mut Core, outbox: &mut Outbox) -> Next {
        if !self.is_open() {
            return Next::Go;
        }
        if self.heartbeat_at <= core.now.mono {
            self.heartbeat_at = core.now.mono.plus(jittered(core.options.heartbeat, slot));
            let (ts_ms, queued) = (core.now.wall_ms, outbox.frames());
            core.reply(outbox, |out| reply::heartbeat(out, ts_ms, None, queued));
        }
        self.session.on_time(core, outbox)
    }
}

/// Tells a session something about a join that it asked for: what it has to say of that, if it is no.
pub(super) fn refusal_of(
    session: &mut Session,
    core: &mut Core,
    tell: impl FnOnce(&mut Session, &mut Core, &mut Outbox),
) -> Option<Refusal> {
    let mut said = Outbox::default();
    tell(session, core, &mut said);
    said.replies().find_map(|frame| reply::refusal_in(frame.as_text()))
}

/// Why a client is not admitted; log and audit trail hear of it.
pub(super) fn not_admitted(full: Full, client: Option<IpAddr>, user: Arc<str>, core: &mut Core) -> HttpRefusal {
    let refusal = match full {
        Full::User => too_many_of_user(),
        Full::Address => Refusal::new(TOO_MANY_CONNECTIONS, "your address has as many connections as allowed: end another one first"),
        Full::Server => Refusal::passing(OVER_CAPACITY, "the server has as many connections as it may: come back later", 5_000),
    };
    core.turn_away(client, Some(user), "connect", refusal.error.name);
    refusal.into()
}

fn too_many_of_user() -> Refusal {
    Refusal::new(TOO_MANY_CONNECTIONS, "this user has as many connections as allowed: end another one first")
}

/// The status of a client that is to go before its answer has begun.
pub(super) fn refusal_for(code: CloseCode) -> HttpRefusal {
    match code {
        CLOSE_SHUTDOWN => shutting_down(),
        CLOSE_CONNECTION_LIMIT => too_many_of_user().into(),
        CLOSE_TOKEN_REVOKED => unauthorized(Refusal::new(TOKEN_REVOKED, "the token was revoked: get a new one")),
        _ => Refusal::passing(OVER_CAPACITY, "the server cannot serve this now: come back later", 1_000).into(),
    }
}
