//! What an operator is told about connections. The reactor looks at some of its connections in each turn, so that nobody waits for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::vec;

use crossbeam::channel::Sender;

use crate::base::ids::{ConnId, SessionName};
use crate::base::lane::{Lane, PerLane};
use crate::base::rules::Rule;

use super::Reactor;
use super::connection::Connection;
use super::core::Core;
use super::rooms::Membership;
use super::slots::Slots;
use super::stats::{CONN_KINDS, ConnKind};

/// Connections looked at in one turn.
const LOOKED_AT_PER_TURN: u32 = 256;
/// Records made in one turn.
const RECORDS_PER_TURN: usize = 16;

/// What is asked.
#[derive(Clone, Debug)]
pub struct ListConnections {
    /// Only those of this user.
    pub user: Option<Box<str>>,
    /// With what each rule says about joining this room.
    pub room: Option<Box<str>>,
    /// In which order.
    pub order: Order,
    /// At most so many.
    pub limit: usize,
    /// Hears them, once; its channel has room for an answer of each reactor.
    pub listed: Sender<Listed>,
}

/// Which connections come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By slot, from this one on.
    Slot(u32),
    /// Those with the most queued bytes.
    Queued,
}

/// A reactor's answer.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which reactor.
    pub reactor: u16,
    /// In the order that was asked for.
    pub records: Vec<ConnectionRecord>,
    /// By slot: where the rest begins, if there may be one.
    pub rest: Option<u32>,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// Its name in the log.
    pub session: SessionName,
    /// Once its token is accepted.
    pub user: Option<Arc<str>>,
    /// The token's `jti`.
    pub token_id: Option<Box<str>>,
    /// When the token ends, Unix milliseconds; none if it does not.
    pub expires_at_ms: Option<u64>,
    /// The client's address; none on a unix socket.
    pub ip: Option<IpAddr>,
    /// What it speaks.
    pub kind: &'static str,
    /// Whether by TLS.
    pub is_tls: bool,
    /// Whether compression was agreed on.
    pub is_compressed: bool,
    /// How long ago it began.
    pub age_ms: u64,
    /// How long ago it was heard last.
    pub idle_ms: Option<u64>,
    /// The last round trip of a ping.
    pub rtt_us: Option<u32>,
    /// It was warned of reading too slowly, and has not caught up.
    pub is_slow: bool,
    /// Bytes that wait for it, sealed ones and replies included.
    pub queued_bytes: usize,
    /// Of these, those of frames by lane.
    pub queued_lane_bytes: PerLane<usize>,
    /// Frames that wait.
    pub queued_frames: usize,
    /// How long the oldest waits.
    pub oldest_ms: Option<u64>,
    /// States replaced by newer ones while they waited for it; counted over WebSocket alone.
    pub conflated: Option<u32>,
    /// Bytes handed to its socket.
    pub sent_bytes: u64,
    /// Bytes read from it.
    pub received_bytes: u64,
    /// The rooms it is a member of.
    pub rooms: Vec<RoomRecord>,
    /// What each rule says about the room that was asked about.
    pub rules: Vec<Rule>,
}

/// A membership.
#[derive(Clone, Debug)]
pub struct RoomRecord {
    /// The room's name.
    pub name: Arc<str>,
    /// The token's patterns allowed the join; otherwise ownership did, or the authorizer.
    pub by_pattern: bool,
    /// It gets deltas.
    pub delta: bool,
    /// Lanes that get past events first.
    pub replaying: Vec<Lane>,
}

/// A question half answered.
pub(super) struct Listing {
    asked: ListConnections,
    /// The next slot to be looked at.
    next: u32,
    step: Step,
    found: Vec<ConnectionRecord>,
}

/// How far it has come.
enum Step {
    /// Those that are meant are being found.
    Find {
        /// By slot: in their order.
        wanted: Vec<ConnId>,
        /// By queue: the longest so far, the shortest of them on top.
        longest: BinaryHeap<Reverse<(usize, ConnId)>>,
    },
    /// Their records are being made.
    Record(vec::IntoIter<ConnId>),
}

impl Listing {
    pub(super) fn new(asked: ListConnections) -> Listing {
        let next = if let Order::Slot(first) = asked.order { first } else { 0 };
        Listing { asked, next, step: Step::Find { wanted: Vec::new(), longest: BinaryHeap::new() }, found: Vec::new() }
    }

    /// Goes on for a while; whether it is done.
    fn go_on(&mut self, conns: &mut Slots, core: &Core) -> bool {
        match &mut self.step {
            Step::Find { wanted, longest } => {
                let end = conns.end().min(self.next.saturating_add(LOOKED_AT_PER_TURN));
                while self.next < end && wanted.len() < self.asked.limit {
                    if let Some(conn) = conns.at(self.next).filter(|conn| self.asked.means(conn)) {
                        match self.asked.order {
                            Order::Slot(_) => wanted.push(conn.id),
                            Order::Queued => longest.push(Reverse((conn.queued_bytes(), conn.id))),
                        }
                    }
                    if longest.len() > self.asked.limit {
                        longest.pop();
                    }
                    self.next += 1;
                }
                if self.next >= conns.end() || wanted.len() >= self.asked.limit {
                    wanted.extend(mem::take(longest).into_sorted_vec().into_iter().map(|Reverse((_, id))| id));
                    self.step = Step::Record(mem::take(wanted).into_iter());
                }
                false
            }
            Step::Record(wanted) => {
                for id in wanted.take(RECORDS_PER_TURN) {
                    if let Some(conn) = conns.by_id(id) {
                        self.found.push(conn.record(self.asked.room.as_deref(), core));
                    }
                }
                wanted.len() == 0
            }
        }
    }
}

impl ListConnections {
    fn means(&self, conn: &Connection) -> bool {
        self.user.as_deref().is_none_or(|wanted| conn.user().is_some_and(|user| **user == *wanted))
    }
}

impl Reactor {
    /// Whether an operator waits for what is under way.
    pub(super) fn owes_list(&self) -> bool {
        self.listing.is_some() || self.weighing.is_some()
    }

    /// Begins with a list. Whoever waits for another, which took too long, gets none.
    pub(super) fn begin_listing(&mut self, asked: ListConnections) {
        self.listing = Some(Listing::new(asked));
    }

    /// Goes on with the list that was asked for.
    pub(super) fn go_on_listing(&mut self) {
        let Some(mut listing) = self.listing.take() else { return };
        if !listing.go_on(&mut self.conns, &self.core) {
            self.listing = Some(listing);
            return;
        }
        let rest = (listing.asked.order != Order::Queued && listing.next < self.conns.end()).then_some(listing.next);
        // Who asked may have given up.
        listing.asked.listed.try_send(Listed { reactor: self.index, records: listing.found, rest }).ok();
    }
}

/// The records of a connection's memberships.
pub(super) fn rooms(conn: &Connection, core: &Core) -> Vec<RoomRecord> {
    let record = |membership: &Membership| RoomRecord {
        name: Arc::clone(&membership.name),
        by_pattern: membership.by_pattern,
        delta: conn.outbox.has_deltas(membership.room),
        replaying: core.rooms.replaying(conn.id.slot, membership.room),
    };
    core.rooms.of(conn.id.slot).iter().map(record).collect()
}

/// The name of what a connection speaks.
pub(super) fn kind_name(kind: ConnKind) -> &'static str {
    CONN_KINDS[kind as usize]
}
