//! What all connections of a reactor share, sockets excepted: no I/O here, and no clock.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::{Grants, TokenError};
use crate::base::audit::{Entry as Noted, Kind};
use crate::base::codes::{CloseCode, Refusal};
use crate::base::ids::RoomId;
use crate::base::memory::{Level, Memory};
use crate::base::time::{Mono, Now};
use crate::hub::catalog::Catalog;
use crate::net::outbox::{Entry, Limits, Outbox};
use crate::net::tls::ServerTls;
use crate::wire::deflate::Inflater;
use crate::wire::frame::Frame;
use crate::wire::reply;
use crate::wire::request_id::RequestId;
use crate::wire::websocket;

use super::admin_desk::AdminDesk;
use super::audit::Audit;
use super::authorizer::Inquirer;
use super::options::ReactorOptions;
use super::ready_sign::ReadySign;
use super::refusals::Refusals;
use super::registry::Registry;
use super::rooms::Rooms;
use super::runs::Runs;
use super::samples::Samples;
use super::stats::{ConnKind, ReactorStats};
use super::tickets::TicketDesk;
use super::tokens::Tokens;
use super::uplink::Uplink;

/// See the module.
pub(super) struct Core {
    pub(super) options: ReactorOptions,
    pub(super) catalog: Arc<Catalog>,
    pub(super) tokens: Tokens,
    /// What TCP connections speak, if not plaintext.
    pub(super) tls: Option<ServerTls>,
    pub(super) registry: Arc<Registry>,
    /// Whether load balancers should send clients here.
    pub(super) ready_sign: Arc<ReadySign>,
    pub(super) inquirer: Inquirer,
    pub(super) ticket_desk: TicketDesk,
    /// Where what operators ask is left.
    pub(super) admin: Arc<AdminDesk>,
    pub(super) stats: Arc<ReactorStats>,
    /// What publishers on the unix socket may do.
    pub(super) unix_grants: Arc<Grants>,
    /// What the daemon itself may.
    pub(super) daemon_grants: Arc<Grants>,
    pub(super) uplink: Uplink,
    pub(super) rooms: Rooms,
    /// Who wants states at an interval of its own.
    pub(super) samples: Samples,
    /// What waits for whole rooms.
    pub(super) runs: Runs,
    /// TCP connections that brought no token that is held.
    pub(super) strangers: usize,
    /// The time of the last read, or of the turn's beginning.
    pub(super) now: Now,
    /// Set while the daemon stops: when the reactor returns at the latest.
    pub(super) drain_until: Option<Mono>,
    /// What all threads hold.
    pub(super) memory: Arc<Memory>,
    /// How much memory is left, as it was at the turn's beginning.
    pub(super) memory_level: Level,
    /// A text in the making.
    pub(super) text: Vec<u8>,
    /// For compressed messages, of one connection after the other.
    pub(super) inflater: Inflater,
    /// The audit trail.
    pub(super) audit: Audit,
    /// The log of those who were turned away.
    pub(super) refusals: Refusals,
    /// A command being parsed in place.
    pub(super) command: Vec<u8>,
}

/// What a connection shall do after it was told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Next {
    /// Go on.
    Go,
    /// Close with that code, after the replies that wait.
    Close(CloseCode),
}

impl Core {
    /// Whether the daemon is stopping.
    pub(super) fn is_draining(&self) -> bool {
        self.drain_until.is_some()
    }

    /// What a token grants.
    pub(super) fn check_token(&mut self, token: &str) -> Result<Grants, TokenError> {
        self.tokens.check(token, self.now, &self.stats)
    }

    /// Whether what a token granted a moment ago holds still.
    pub(super) fn check_grants(&self, grants: &Grants) -> Result<(), TokenError> {
        self.tokens.check_grants(grants, self.now, &self.stats)
    }

    /// Tells the audit trail what happened, if there is one.
    pub(super) fn note(&mut self, kind: Kind, reason: &'static str, entry: impl FnOnce(Noted) -> Noted) {
        self.audit.note(self.now, kind, reason, &self.stats, entry);
    }

    /// Tells log and audit trail that somebody was turned away who asked for `what`; who it was, if a token of ours says so.
    pub(super) fn turn_away(&mut self, client: Option<IpAddr>, user: Option<Arc<str>>, what: &'static str, reason: &'static str) {
        self.refusals.log(self.now.mono, client, what, reason);
        self.note(Kind::Refuse, reason, |entry| Noted { ip: client, user, subject: Some(what.into()), ..entry });
    }

    /// Whose token that is, if it was good but for being revoked.
    pub(super) fn user_of(&mut self, token: &str) -> Option<Arc<str>> {
        self.tokens.known(token, self.now).map(|grants| grants.user)
    }

    /// Counts a connection of that kind more or less.
    pub(super) fn count_kind(&self, kind: ConnKind, is_more: bool) {
        let gauge = &self.stats.connections[kind as usize];
        gauge.set(if is_more { gauge.value() + 1 } else { gauge.value().saturating_sub(1) });
    }

    /// Whether the connection in that slot, a member of `room`, is to get alerts there or anything of its other rooms.
    pub(super) fn gets_more(&self, slot: u32, room: RoomId) -> bool {
        let others = self.rooms.of(slot).iter().map(|membership| membership.room).filter(|other| *other != room);
        self.runs.has_alerts(room) || others.into_iter().any(|other| self.runs.waiting(other) > 0)
    }

    /// Whether the connection in that slot is to get alerts that still wait with those of their rooms.
    pub(super) fn awaits_alerts(&self, slot: u32) -> bool {
        self.runs.has_any_alerts() && self.rooms.of(slot).iter().any(|membership| self.runs.has_alerts(membership.room))
    }

    /// What an outbox may hold.
    pub(super) fn limits(&self) -> Limits {
        Limits { bytes_max: self.options.queue_bytes_max }
    }

    /// Queues a text that goes before all lanes.
    pub(super) fn reply(&mut self, outbox: &mut Outbox, write: impl FnOnce(&mut Vec<u8>)) {
        self.text.clear();
        write(&mut self.text);
        self.queue(outbox, Arc::new(Frame::reply(&self.text)));
    }

    /// Refuses a command.
    pub(super) fn refuse(&mut self, outbox: &mut Outbox, id: Option<&RequestId>, refusal: &Refusal) {
        self.stats.refused(refusal.error);
        self.reply(outbox, |out| reply::error(out, id, refusal));
    }

    /// Queues a frame that is for this connection alone.
    pub(super) fn queue(&mut self, outbox: &mut Outbox, frame: Arc<Frame>) {
        outbox.push(Entry { frame, queued: self.now.mono, live: false }, self.limits());
    }

    /// The same, unless it is a state that the member does not want.
    pub(super) fn queue_wanted(&mut self, slot: u32, outbox: &mut Outbox, frame: Arc<Frame>) {
        if self.samples.wants(slot, &frame) {
            self.queue(outbox, frame);
        }
    }

    /// Removes a room's frames from a member's outbox, so that none follows the word that the membership has ended.
    pub(super) fn purge(&mut self, slot: u32, outbox: &mut Outbox, room: RoomId) {
        self.stats.purged.add((outbox.purge(room) + self.runs.waiting_for(slot, room)) as u64);
    }

    /// Queues the Close frame, which is the last thing that goes out.
    pub(super) fn close(&mut self, outbox: &mut Outbox, code: CloseCode) {
        self.text.clear();
        websocket::close(&mut self.text, code);
        self.stats.dropped_by_close.add(outbox.close(&self.text) as u64);
    }
}
