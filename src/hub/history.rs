//! Which past `stream` events are kept: by count for each (room, lane), by age, and by bytes in all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::time::Mono;
use crate::wire::frame::Frame;

use super::room::{Lanes, Stream};
use super::rooms::Rooms;

/// What a kept frame costs beyond its bytes: the shared allocation's header, the tag, its places in the ring and in the order of all.
const FRAME_OVERHEAD_BYTES: usize = 136;
/// Entries that one call may look at.
const LOOKS_PER_CALL: usize = 256;
/// Entries of events that are gone, beyond those of as many that are kept, are swept out.
const STALE_MAX: usize = 1024;

/// See the module.
pub(super) struct History {
    events_max: usize,
    bytes_max: usize,
    age_max: Duration,
    bytes: usize,
    /// All kept events in the order in which they came; also some that are gone, by their ring's limit or with their room.
    order: VecDeque<Kept>,
    /// How many are kept.
    kept: usize,
}

/// Names a kept event.
struct Kept {
    accepted: Mono,
    room: RoomId,
    lane: Lane,
    seq: u64,
}

impl Kept {
    /// Whether it is still kept.
    fn is_there(&self, rooms: &Rooms) -> bool {
        rooms.by_id(self.room).is_some_and(|room| room.lanes[self.lane.index()].oldest() <= self.seq)
    }
}

impl History {
    pub(super) fn new(events_max: usize, bytes_max: usize, age_max: Duration) -> History {
        History { events_max, bytes_max, age_max, bytes: 0, order: VecDeque::new(), kept: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What its order of all events takes, and the places in the rooms' rings.
    pub(super) fn places_bytes(&self) -> usize {
        self.order.len() * size_of::<Kept>() + self.kept * size_of::<Arc<Frame>>()
    }

    /// Keeps the event that has just been released as `seq`.
    pub(super) fn keep(&mut self, id: RoomId, lane: Lane, seq: u64, frame: Arc<Frame>, rooms: &mut Rooms) {
        if self.events_max == 0 {
            return;
        }
        let Some(room) = rooms.by_id_mut(id) else { return };
        let stream = &mut room.lanes[lane.index()];
        self.order.push_back(Kept { accepted: frame.tag.accepted, room: id, lane, seq });
        self.bytes += cost(&frame);
        self.kept += 1;
        stream.ring.push_back(frame);
        while stream.ring.len() > self.events_max {
            self.bytes -= drop_oldest(stream);
            self.kept -= 1;
        }
        while self.bytes > self.bytes_max && self.drop_globally_oldest(rooms) {}
        self.sweep(rooms);
    }

    /// Forgets what is too old; bounded work at each call. Returns when the next event is due to go.
    pub(super) fn expire(&mut self, now: Mono, rooms: &mut Rooms) -> Mono {
        for _ in 0..LOOKS_PER_CALL {
            match self.order.front() {
                None => return Mono::NEVER,
                Some(oldest) if now.since(oldest.accepted) < self.age_max => return oldest.accepted.plus(self.age_max),
                Some(_) => _ = self.drop_front(rooms),
            }
        }
        now
    }

    /// Gives back what a room's rings hold, before the room goes.
    pub(super) fn release(&mut self, lanes: &Lanes) {
        for frame in lanes.used().flat_map(|stream| &stream.ring) {
            self.bytes -= cost(frame);
            self.kept -= 1;
        }
    }

    /// Forgets all events of a (room, lane).
    pub(super) fn forget(&mut self, stream: &mut Stream) {
        while !stream.ring.is_empty() {
            self.bytes -= drop_oldest(stream);
            self.kept -= 1;
        }
    }

    /// Drops the oldest event of all. False if none is kept.
    fn drop_globally_oldest(&mut self, rooms: &mut Rooms) -> bool {
        while !self.order.is_empty() {
            if self.drop_front(rooms) {
                return true;
            }
        }
        false
    }

    /// Takes the first entry, and drops its event. Whether it was still kept.
    fn drop_front(&mut self, rooms: &mut Rooms) -> bool {
        let Some(entry) = self.order.pop_front().filter(|entry| entry.is_there(rooms)) else { return false };
        let Some(room) = rooms.by_id_mut(entry.room) else { return false };
        self.bytes -= drop_oldest(&mut room.lanes[entry.lane.index()]);
        self.kept -= 1;
        true
    }

    /// Forgets the entries of events that are gone once they are the most: so each costs a look or two.
    fn sweep(&mut self, rooms: &Rooms) {
        if self.order.len() > 2 * self.kept + STALE_MAX {
            self.order.retain(|entry| entry.is_there(rooms));
        }
    }
}

fn drop_oldest(stream: &mut Stream) -> usize {
    stream.ring.pop_front().map_or(0, |frame| cost(&frame))
}

fn cost(frame: &Frame) -> usize {
    frame.as_websocket().len() + FRAME_OVERHEAD_BYTES
}
