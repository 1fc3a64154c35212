//! Past events that come from the journal: read a part at a time, for one member after the other, while live frames go on.
//!
//! A member whose lane is replayed gets no live `stream` frames of that lane until the replay has reached what is kept in memory; then it
//! gets the rest of that and everything later, by the same FIFO link, so that nothing is missing or doubled at the seam. The next part is
//! read when the connection has taken the last one: who reads slowly is not flooded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{ConnId, RoomId};
use crate::base::lane::{Lane, PerLane};
use crate::base::limits::REPLAY_FETCHES_MAX;
use crate::base::time::Mono;
use crate::wire::frame::{Frame, Kind, Tag};
use crate::wire::reply;

use super::Hub;
use super::journal::{Fetch, Fetched};
use super::ports::{Outlet, Output, ReplayId, Replayed};
use super::slots::Slots;

/// Replays looked at in one call: those that wait for the disk, or for room, cost as much as those that go on.
const LOOKS_PER_CALL: usize = 64;
/// How soon those that wait are looked at again.
const RETRY: Duration = Duration::from_millis(1);

/// All replays in progress: at most one for each membership.
#[derive(Default)]
pub(super) struct Replays {
    slots: Slots<Replay>,
    of: HashMap<(ConnId, RoomId), ReplayId>,
    /// Those whose next part may be read.
    ready: VecDeque<ReplayId>,
    fetching: usize,
}

/// One member's.
pub(super) struct Replay {
    conn: ConnId,
    room: RoomId,
    name: Arc<str>,
    /// The next number wanted of each lane that is not live yet.
    pub(super) next: PerLane<Option<u64>>,
    /// The lane of `caught_up`.
    last: Lane,
}

impl Replay {
    /// The most urgent lane that is not live yet.
    fn lane(&self) -> Option<(Lane, u64)> {
        Lane::ALL.into_iter().find_map(|lane| self.next[lane.index()].map(|next| (lane, next)))
    }
}

impl Replays {
    /// Begins one, in the place of one that the member had.
    pub(super) fn begin(&mut self, conn: ConnId, room: RoomId, name: Arc<str>, next: PerLane<Option<u64>>, last: Lane) {
        self.end_of(conn, room);
        let (slot, generation) = self.slots.insert(|_, _| Replay { conn, room, name, next, last });
        let id = ReplayId { slot, generation };
        self.of.insert((conn, room), id);
        self.ready.push_back(id);
    }

    /// Ends the member's, if there is one.
    pub(super) fn end_of(&mut self, conn: ConnId, room: RoomId) {
        if let Some(id) = self.of.remove(&(conn, room)) {
            self.slots.remove(id.slot, id.generation);
        }
    }

    fn end(&mut self, id: ReplayId) {
        if let Some(replay) = self.slots.remove(id.slot, id.generation) {
            self.of.remove(&(replay.conn, replay.room));
        }
    }

    fn get(&self, id: ReplayId) -> Option<&Replay> {
        self.slots.get(id.slot, id.generation)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Hub {
    /// The connection has taken a part, and may have the next; or it is gone, or no member any more.
    pub(super) fn replay_taken(&mut self, id: ReplayId, wants_more: bool) {
        if wants_more {
            self.replays.ready.extend(self.replays.get(id).is_some().then_some(id));
        } else {
            self.replays.end(id);
        }
    }

    /// Asks the journal for the next parts. Returns when to try again.
    pub(super) fn fetch_next(&mut self, now: Mono, out: &mut impl Outlet) -> Mono {
        if self.shared.as_ref().is_some_and(|shared| shared.is_gone()) {
            return Mono::NEVER;
        }
        for _ in 0..self.replays.ready.len().min(LOOKS_PER_CALL) {
            if self.replays.fetching >= REPLAY_FETCHES_MAX {
                break;
            }
            let Some(id) = self.replays.ready.pop_front() else { break };
            let Some((replay, (lane, next))) = self.replays.get(id).and_then(|replay| Some((replay, replay.lane()?))) else { continue };
            if !out.has_room(usize::from(replay.conn.reactor), Lane::Metric) {
                self.replays.ready.push_back(id);
                continue;
            }
            let Some(room) = self.rooms.by_id(replay.room) else {
                self.replays.end(id);
                continue;
            };
            let to = room.lanes[lane.index()].oldest().saturating_sub(1);
            // What has left the memory and is not synced yet will be, sooner or later.
            let unsynced = self.ledger.as_ref().and_then(|ledger| ledger.first_unsynced(room.id, lane));
            let to = unsynced.map_or(to, |unsynced| to.min(unsynced - 1));
            if next > to && unsynced.is_some_and(|unsynced| unsynced < room.lanes[lane.index()].oldest()) {
                self.replays.ready.push_back(id);
                continue;
            }
            let fetch = Fetch { replay: id, id: replay.room, room: Arc::clone(&replay.name), lane, from: next, to };
            if next > to {
                self.replayed(Fetched { fetch, frames: Vec::new() }, out);
            } else {
                self.replays.fetching += 1;
                out.fetch(fetch);
            }
        }
        let has_more = !self.replays.ready.is_empty() && self.replays.fetching < REPLAY_FETCHES_MAX;
        if has_more { now.plus(RETRY) } else { Mono::NEVER }
    }

    /// The journal has read a part.
    pub(super) fn fetched(&mut self, fetched: Fetched, out: &mut impl Outlet) {
        self.replays.fetching = self.replays.fetching.saturating_sub(1);
        self.replayed(fetched, out);
    }

    /// It could not be read: it is to be read again.
    pub(super) fn not_fetched(&mut self, fetch: &Fetch) {
        self.replays.fetching = self.replays.fetching.saturating_sub(1);
        self.replays.ready.extend(self.replays.get(fetch.replay).is_some().then_some(fetch.replay));
    }

    /// Sends a part on. If memory has the next one, sends all that there is, and makes the lane live.
    fn replayed(&mut self, fetched: Fetched, out: &mut impl Outlet) {
        let Fetched { fetch, frames: read } = fetched;
        let Some(replay) = self.replays.slots.get_mut(fetch.replay.slot, fetch.replay.generation) else { return };
        let Some(room) = self.rooms.by_id(replay.room) else { return self.replays.end(fetch.replay) };
        let (lane, index) = (fetch.lane, fetch.lane.index());
        let stream = &room.lanes[index];
        let Some(mut next) = replay.next[index] else { return };
        let mut part = Part {
            name: &room.name,
            room: room.id,
            epoch: &room.epoch.name,
            lane,
            scratch: &mut self.scratch,
            frames: Vec::new(),
            gaps: 0,
        };
        let is_end = read.is_empty();
        for frame in read {
            let Kind::Stream { seq } = frame.tag.kind else { continue };
            part.event(&mut next, seq, frame);
        }
        if is_end && next < stream.oldest() {
            // Nothing more is kept of what was asked for.
            part.gap(&mut next, stream.oldest().min(fetch.to + 1));
        }
        let is_live = next >= stream.oldest();
        if is_live {
            while let Some(frame) = stream.event(next) {
                let seq = next;
                part.event(&mut next, seq, Arc::clone(frame));
            }
        }
        replay.next[index] = (!is_live).then_some(next);
        let is_done = replay.lane().is_none();
        if is_done {
            part.caught_up(replay.last);
        }
        self.stats.gaps += part.gaps;
        let frames = part.frames;
        let floor = is_live.then_some((lane, stream.live + 1));
        let replayed = Replayed { id: fetch.replay, conn: replay.conn, room: room.id, frames, floor, is_done };
        out.push(usize::from(replay.conn.reactor), Output::Replayed(Box::new(replayed)));
        if is_done {
            self.replays.end(fetch.replay);
        }
    }
}

/// The frames of a part in the making.
struct Part<'a> {
    name: &'a str,
    room: RoomId,
    epoch: &'a str,
    lane: Lane,
    scratch: &'a mut Vec<u8>,
    frames: Vec<Arc<Frame>>,
    gaps: u64,
}

impl Part<'_> {
    /// The event of that number, behind a gap if those before it are missing.
    fn event(&mut self, next: &mut u64, seq: u64, frame: Arc<Frame>) {
        if seq < *next {
            return;
        }
        self.gap(next, seq);
        self.frames.push(frame);
        *next = seq + 1;
    }

    /// What is missing before `to`.
    fn gap(&mut self, next: &mut u64, to: u64) {
        if *next < to {
            self.scratch.clear();
            reply::gap(self.scratch, self.name, self.lane, self.epoch, *next, Some(to - 1));
            self.gaps += 1;
            self.put(self.lane, Kind::Gap { to: to - 1 });
            *next = to;
        }
    }

    fn caught_up(&mut self, lane: Lane) {
        self.scratch.clear();
        reply::caught_up(self.scratch, self.name);
        self.put(lane, Kind::Notice);
    }

    fn put(&mut self, lane: Lane, kind: Kind) {
        let tag = Tag { room: self.room, lane, kind, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER };
        self.frames.push(Arc::new(Frame::text(tag, self.scratch)));
    }
}
