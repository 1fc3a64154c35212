//! What a reactor could not take because its link was full.
//!
//! The hub never blocks and never drops silently. A `stream` marks (room, lane) as behind at a number and is pumped again
//! from the history; what is no longer there becomes a `gap`. A `state` key is set aside and pumped with its newest value.
//! Only `transient` frames are dropped, and counted.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{KeyId, RoomId};
use crate::base::lane::{Lane, PerLane};
use crate::base::time::{Mono, Now};
use crate::wire::frame::{Frame, Kind, Tag};
use crate::wire::reply;

use super::ports::{Outlet, Output};
use super::rooms::Rooms;
use super::{Hub, HubStats};

/// How soon a lagging reactor is tried again: nothing tells the hub that a link has room.
const RETRY: Duration = Duration::from_micros(200);
/// Frames pumped to one reactor in one call.
const FRAMES_PER_PUMP: usize = 1024;
/// Frames of one room pumped before the next room's turn.
const FRAMES_PER_ROOM: usize = 64;

/// One reactor's.
#[derive(Default)]
pub(super) struct Lag {
    /// The next number owed of each (room, lane) that is behind.
    behind: HashMap<(RoomId, Lane), u64>,
    /// Keys whose newest value is owed.
    dirty: HashSet<KeyId>,
    /// Whose turn it is, for each lane. May name what is owed no more.
    turns: PerLane<VecDeque<Owed>>,
}

#[derive(Clone, Copy)]
enum Owed {
    Stream(RoomId),
    State(RoomId, KeyId),
}

impl Lag {
    /// Pushes a frame, or notes that it is owed.
    pub(super) fn deliver(&mut self, reactor: usize, frame: &Arc<Frame>, out: &mut impl Outlet, stats: &mut HubStats) {
        let Tag { room, lane, kind, .. } = frame.tag;
        if self.owes(&frame.tag) {
            return;
        }
        if out.has_room(reactor, lane) {
            out.push(reactor, Output::Deliver(Arc::clone(frame)));
            return;
        }
        match kind {
            Kind::Stream { seq } => {
                self.behind.insert((room, lane), seq);
                self.turns[lane.index()].push_back(Owed::Stream(room));
                stats.behind += 1;
            }
            Kind::State { key, .. } => {
                self.dirty.insert(key);
                self.turns[lane.index()].push_back(Owed::State(room, key));
                stats.dirty += 1;
            }
            Kind::Transient | Kind::Reply | Kind::Notice | Kind::Gap { .. } => stats.transient_dropped += 1,
        }
    }

    /// The reactor's members are owed the frames of that (room, lane) from this number on, unless they are owed older ones.
    pub(super) fn fall_behind(&mut self, room: RoomId, lane: Lane, next: u64, stats: &mut HubStats) {
        self.behind.entry((room, lane)).or_insert_with(|| {
            self.turns[lane.index()].push_back(Owed::Stream(room));
            stats.behind += 1;
            next
        });
    }

    /// The reactor's members get the frames of that (room, lane) from this number on.
    pub(super) fn behind_at(&self, room: RoomId, lane: Lane) -> Option<u64> {
        self.behind.get(&(room, lane)).copied()
    }

    /// The key's newest value will come to the reactor's members by itself.
    pub(super) fn owes_key(&self, key: KeyId) -> bool {
        self.dirty.contains(&key)
    }

    /// The reactor has no member of that room any more.
    pub(super) fn forget(&mut self, room: RoomId) {
        for lane in Lane::ALL {
            self.behind.remove(&(room, lane));
        }
    }

    /// Whether anything is owed, or was until a moment ago.
    pub(super) fn is_owing(&self) -> bool {
        self.turns.iter().any(|turns| !turns.is_empty())
    }

    fn owes(&self, tag: &Tag) -> bool {
        match tag.kind {
            Kind::Stream { .. } => !self.behind.is_empty() && self.behind.contains_key(&(tag.room, tag.lane)),
            Kind::State { key, .. } => !self.dirty.is_empty() && self.dirty.contains(&key),
            _ => false,
        }
    }
}

impl Hub {
    /// Brings lagging reactors on, alerts first. Returns when to try again.
    pub(super) fn pump(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        let mut owing = false;
        for reactor in 0..self.lags.len() {
            for lane in Lane::ALL {
                if !self.lags[reactor].turns[lane.index()].is_empty() {
                    let mut pump = Pump { reactor, lane, now, rooms: &self.rooms, scratch: &mut self.scratch, stats: &mut self.stats };
                    pump.run(&mut self.lags[reactor], out);
                }
            }
            owing |= self.lags[reactor].is_owing();
        }
        if owing { now.mono.plus(RETRY) } else { Mono::NEVER }
    }
}

/// One reactor's lane being brought on.
struct Pump<'a> {
    reactor: usize,
    lane: Lane,
    now: Now,
    rooms: &'a Rooms,
    scratch: &'a mut Vec<u8>,
    stats: &'a mut HubStats,
}

impl Pump<'_> {
    fn run(&mut self, lag: &mut Lag, out: &mut impl Outlet) {
        let mut budget = FRAMES_PER_PUMP;
        while budget > 0 && out.has_room(self.reactor, self.lane) {
            let Some(owed) = lag.turns[self.lane.index()].pop_front() else { return };
            let done = match owed {
                Owed::State(room, key) => self.state(lag, room, key, out),
                Owed::Stream(room) => self.stream(lag, room, &mut budget, out),
            };
            if !done {
                lag.turns[self.lane.index()].push_back(owed);
            }
            budget = budget.saturating_sub(1);
        }
    }

    fn state(&mut self, lag: &mut Lag, id: RoomId, key: KeyId, out: &mut impl Outlet) -> bool {
        lag.dirty.remove(&key);
        let Some(room) = self.rooms.by_id(id).filter(|room| room.members[self.reactor] > 0) else { return true };
        let sent = room.states.keys.iter().find(|state| state.id == key).and_then(|state| state.sent.as_ref());
        if let Some(sent) = sent {
            out.push(self.reactor, Output::Deliver(Arc::clone(&sent.frame)));
        }
        true
    }

    /// Whether nothing is owed any more.
    fn stream(&mut self, lag: &mut Lag, id: RoomId, budget: &mut usize, out: &mut impl Outlet) -> bool {
        let Some(next) = lag.behind.get_mut(&(id, self.lane)) else { return true };
        let Some(room) = self.rooms.by_id(id).filter(|room| room.members[self.reactor] > 0) else {
            lag.behind.remove(&(id, self.lane));
            return true;
        };
        let stream = &room.lanes[self.lane.index()];
        for _ in 0..FRAMES_PER_ROOM {
            if *next > stream.live {
                lag.behind.remove(&(id, self.lane));
                return true;
            }
            if *budget == 0 || !out.has_room(self.reactor, self.lane) {
                return false;
            }
            let frame =
                stream.event(*next).map_or_else(|| self.gap(&room.name, id, &room.epoch.name, *next, stream.oldest() - 1), Arc::clone);
            *next = stream.oldest().max(*next + 1);
            out.push(self.reactor, Output::Deliver(frame));
            *budget -= 1;
        }
        *next > stream.live && lag.behind.remove(&(id, self.lane)).is_some()
    }

    fn gap(&mut self, name: &str, room: RoomId, epoch: &str, from: u64, to: u64) -> Arc<Frame> {
        self.stats.gaps += 1;
        self.scratch.clear();
        reply::gap(self.scratch, name, self.lane, epoch, from, Some(to));
        let tag = Tag { room, lane: self.lane, kind: Kind::Gap { to }, accepted: Mono::NEVER, taken: Mono::NEVER, released: self.now.mono };
        Arc::new(Frame::text(tag, self.scratch))
    }
}
