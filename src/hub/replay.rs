//! Past events that come a part at a time, for one member after the other, while live frames go on: those that the journal has, and those in memory
//! that are too many to be queued at once. States of a large room come last, likewise.
//!
//! A member whose lane is replayed gets no live `stream` frames of that lane until the replay has reached the last one that was let go; then it
//! gets everything later, by the same FIFO link, so that nothing is missing or doubled at the seam. Each part is
//! made when the connection has room for it: who reads slowly is not flooded, and is not closed for what it asked for itself.
//!
//! States go on live from the join on. Those that have changed since then are not sent: the member has them, or newer ones.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{ConnId, RoomId};
use crate::base::lane::{Lane, PerLane};
use crate::base::limits::{ANSWER_FRAMES_PER_TURN, REPLAY_FETCHES_MAX, REPLAY_PART_EVENTS};
use crate::base::time::Mono;
use crate::wire::frame::{Frame, Kind, Tag};
use crate::wire::reply;

use super::Hub;
use super::journal::{Fetch, Fetched};
use super::lag::Lag;
use super::ports::{Outlet, Output, ReplayId, Replayed};
use super::room::{Key, Room, Sent};
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
    /// Those whose next part may be made.
    ready: VecDeque<ReplayId>,
    fetching: usize,
}

/// One member's.
pub(super) struct Replay {
    conn: ConnId,
    room: RoomId,
    name: Arc<str>,
    rest: Rest,
}

/// What is to come yet.
pub(super) struct Rest {
    /// The next number wanted of each lane that is not live yet.
    pub(super) next: PerLane<Option<u64>>,
    pub(super) states: Option<RestOfStates>,
    /// The lane of `caught_up`.
    pub(super) last: Lane,
}

/// States that are to come yet.
pub(super) struct RestOfStates {
    /// The next key to look at; their places do not change.
    pub(super) at: usize,
    /// What was let go later, the member has got as it happened.
    pub(super) until: Mono,
    /// Deletions are told too, for the member may hold what was deleted.
    pub(super) with_deleted: bool,
}

impl Rest {
    /// Whether nothing is.
    pub(super) fn is_none(&self) -> bool {
        self.lane().is_none() && self.states.is_none()
    }

    /// The most urgent lane that is not live yet.
    fn lane(&self) -> Option<(Lane, u64)> {
        Lane::ALL.into_iter().find_map(|lane| self.next[lane.index()].map(|next| (lane, next)))
    }
}

impl RestOfStates {
    /// Whether it is one of these, and does not come to the lagging reactor by itself.
    pub(super) fn has(&self, key: &Key, sent: &Sent, lag: &Lag) -> bool {
        let is_due = sent.frame.tag.released <= self.until && (sent.data_at.is_some() || self.with_deleted);
        is_due && !lag.owes_key(key.id)
    }
}

/// Where the next part is.
enum Source {
    /// In memory, or nowhere any more.
    Memory,
    /// With the journal, or with the store.
    Disk(Fetch),
    /// On its way to the disk.
    Unsynced,
}

impl Replays {
    /// Begins one, in the place of one that the member had. Its first part is made when the connection has room for it.
    pub(super) fn begin(&mut self, conn: ConnId, room: RoomId, name: Arc<str>, rest: Rest) -> ReplayId {
        self.end_of(conn, room);
        let (slot, generation) = self.slots.insert(|_, _| Replay { conn, room, name, rest });
        let id = ReplayId { slot, generation };
        self.of.insert((conn, room), id);
        id
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

    /// Whether that member is to get more of one.
    pub(super) fn is_under_way(&self, conn: ConnId, room: RoomId) -> bool {
        self.of.contains_key(&(conn, room))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Hub {
    /// The connection has room for a part; or it is gone, or no member any more.
    pub(super) fn replay_taken(&mut self, id: ReplayId, wants_more: bool) {
        if wants_more {
            self.replays.ready.extend(self.replays.get(id).is_some().then_some(id));
        } else {
            self.replays.end(id);
        }
    }

    /// Makes the next parts, or asks the journal for them. Returns when to try again.
    pub(super) fn go_on_replaying(&mut self, now: Mono, out: &mut impl Outlet) -> Mono {
        let is_gone = self.shared.as_ref().is_some_and(|shared| shared.is_gone());
        let (mut frames, mut blocked) = (0, 0);
        for _ in 0..self.replays.ready.len().min(LOOKS_PER_CALL) {
            if frames >= ANSWER_FRAMES_PER_TURN {
                return now; // alerts may have come
            }
            let Some(id) = self.replays.ready.pop_front() else { break };
            let Some(replay) = self.replays.get(id) else { continue };
            if !out.has_room(usize::from(replay.conn.reactor), Lane::Metric) {
                self.replays.ready.push_back(id);
                continue;
            }
            match self.source(id, replay) {
                None => self.give_up(id, out),
                Some(Source::Unsynced) => self.replays.ready.push_back(id),
                Some(Source::Disk(_)) if is_gone || self.replays.fetching >= REPLAY_FETCHES_MAX => {
                    self.replays.ready.push_back(id);
                    blocked += 1;
                }
                Some(Source::Disk(fetch)) => {
                    self.replays.fetching += 1;
                    out.fetch(fetch);
                }
                Some(Source::Memory) => frames += self.give_part(id, Vec::new(), u64::MAX, out),
            }
        }
        // Those that are blocked are looked at again when the journal, or the store, says something.
        if self.replays.ready.len() > blocked { now.plus(RETRY) } else { Mono::NEVER }
    }

    /// Where the next part of a replay is; nowhere if its room is gone.
    fn source(&self, id: ReplayId, replay: &Replay) -> Option<Source> {
        let room = self.rooms.by_id(replay.room)?;
        let Some((lane, from)) = replay.rest.lane() else { return Some(Source::Memory) };
        let oldest = room.lanes[lane.index()].oldest();
        if from >= oldest || (self.ledger.is_none() && self.shared.is_none()) {
            return Some(Source::Memory);
        }
        // What has left the memory and is not synced yet will be, sooner or later.
        let unsynced = self.ledger.as_ref().and_then(|ledger| ledger.first_unsynced(room.id, lane));
        let to = unsynced.map_or(oldest, |unsynced| oldest.min(unsynced)) - 1;
        if from > to {
            return Some(Source::Unsynced);
        }
        Some(Source::Disk(Fetch { replay: id, id: replay.room, room: Arc::clone(&replay.name), lane, from, to }))
    }

    /// The journal has read a part.
    pub(super) fn fetched(&mut self, fetched: Fetched, out: &mut impl Outlet) {
        self.replays.fetching = self.replays.fetching.saturating_sub(1);
        let Fetched { fetch, frames } = fetched;
        self.give_part(fetch.replay, frames, fetch.to, out);
    }

    /// It could not be read: it is to be read again.
    pub(super) fn not_fetched(&mut self, fetch: &Fetch) {
        self.replays.fetching = self.replays.fetching.saturating_sub(1);
        self.replays.ready.extend(self.replays.get(fetch.replay).is_some().then_some(fetch.replay));
    }

    /// The room is gone, which only happens to one that its member has left. The connection has the word that nothing follows: it waits for that before it
    /// asks for a part of another room.
    fn give_up(&mut self, id: ReplayId, out: &mut impl Outlet) {
        if let Some(Replay { conn, room, .. }) = self.replays.get(id) {
            let replayed = Replayed { id, conn: *conn, room: *room, frames: Vec::new(), floor: None, is_done: true };
            out.push(usize::from(conn.reactor), Output::Replayed(Box::new(replayed)));
        }
        self.replays.end(id);
    }

    /// Sends a part on: what was read of the numbers up to `to`, and what memory has behind it. A lane whose end is reached is live from then on. How
    /// many frames it has.
    fn give_part(&mut self, id: ReplayId, read: Vec<Arc<Frame>>, to: u64, out: &mut impl Outlet) -> usize {
        let Some(replay) = self.replays.slots.get_mut(id.slot, id.generation) else { return 0 };
        let Some(room) = self.rooms.by_id(replay.room) else {
            self.give_up(id, out);
            return 0;
        };
        let bytes_max = self.options.replay_part_bytes;
        let mut part = Part { room, scratch: &mut self.scratch, frames: Vec::new(), bytes: 0, bytes_max, gaps: 0 };
        let mut floor = None;
        if let Some((lane, next)) = replay.rest.lane() {
            let next = part.stream(lane, next, read, to);
            let live = room.lanes[lane.index()].live;
            floor = (next > live).then_some((lane, live + 1));
            replay.rest.next[lane.index()] = (next <= live).then_some(next);
        } else if let Some(states) = &mut replay.rest.states
            && part.states(states, &self.lags[usize::from(replay.conn.reactor)])
        {
            replay.rest.states = None;
        }
        let is_done = replay.rest.is_none();
        if is_done {
            part.caught_up(replay.rest.last);
        }
        self.stats.gaps += part.gaps;
        let (frames, conn) = (part.frames, replay.conn);
        let count = frames.len();
        let replayed = Replayed { id, conn, room: room.id, frames, floor, is_done };
        out.push(usize::from(conn.reactor), Output::Replayed(Box::new(replayed)));
        if is_done {
            self.replays.end(id);
        }
        count
    }
}

/// The frames of a part in the making.
struct Part<'a> {
    room: &'a Room,
    scratch: &'a mut Vec<u8>,
    frames: Vec<Arc<Frame>>,
    bytes: usize,
    bytes_max: usize,
    gaps: u64,
}

impl Part<'_> {
    /// The events of a lane from `next` on: those that were read, and what there is in memory behind them. The number that is wanted next.
    fn stream(&mut self, lane: Lane, mut next: u64, read: Vec<Arc<Frame>>, to: u64) -> u64 {
        let stream = &self.room.lanes[lane.index()];
        let is_nowhere = read.is_empty();
        for frame in read {
            let Kind::Stream { seq } = frame.tag.kind else { continue };
            if self.is_full() {
                return next; // the rest of it is read again
            }
            self.event(lane, &mut next, seq, frame);
        }
        if is_nowhere {
            // Nothing more is kept of what was asked for.
            self.gap(lane, &mut next, stream.oldest().min(to.saturating_add(1)));
        }
        while !self.is_full()
            && let Some(frame) = stream.event(next)
        {
            let seq = next;
            self.event(lane, &mut next, seq, Arc::clone(frame));
        }
        next
    }

    /// States, as many as go into a part; whether that was the last of them.
    fn states(&mut self, rest: &mut RestOfStates, lag: &Lag) -> bool {
        let keys = &self.room.states.keys;
        while let Some(key) = keys.get(rest.at) {
            if self.is_full() {
                return false;
            }
            rest.at += 1;
            if let Some(sent) = key.sent.as_ref().filter(|sent| rest.has(key, sent, lag)) {
                self.push(Arc::clone(&sent.frame));
            }
        }
        true
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max || self.frames.len() >= REPLAY_PART_EVENTS
    }

    /// The event of that number, behind a gap if those before it are missing.
    fn event(&mut self, lane: Lane, next: &mut u64, seq: u64, frame: Arc<Frame>) {
        if seq < *next {
            return;
        }
        self.gap(lane, next, seq);
        self.push(frame);
        *next = seq + 1;
    }

    /// What is missing before `to`.
    fn gap(&mut self, lane: Lane, next: &mut u64, to: u64) {
        if *next < to {
            self.scratch.clear();
            reply::gap(self.scratch, &self.room.name, lane, &self.room.epoch.name, *next, Some(to - 1));
            self.gaps += 1;
            self.put(lane, Kind::Gap { to: to - 1 });
            *next = to;
        }
    }

    fn caught_up(&mut self, lane: Lane) {
        self.scratch.clear();
        reply::caught_up(self.scratch, &self.room.name);
        self.put(lane, Kind::Notice);
    }

    fn put(&mut self, lane: Lane, kind: Kind) {
        let tag = Tag { room: self.room.id, lane, kind, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER };
        self.push(Arc::new(Frame::text(tag, self.scratch)));
    }

    fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.as_text().len();
        self.frames.push(frame);
    }
}
