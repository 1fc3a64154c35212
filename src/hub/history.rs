//! Which past `stream` events are kept: by count for each (room, lane), by age, and by bytes in all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::time::Mono;
use crate::wire::frame::Frame;

use super::room::{Lanes, Stream};
use super::rooms::Rooms;

/// What a kept frame costs beyond its bytes: the shared allocation's header, the tag, the ring's slot.
const FRAME_OVERHEAD_BYTES: usize = 104;
/// Rings that one call may look at.
const LOOKS_PER_CALL: usize = 256;

/// See the module. One heap entry for each ring that is not empty, at or before its oldest event's time.
pub(super) struct History {
    events_max: usize,
    bytes_max: usize,
    age_max: Duration,
    bytes: usize,
    oldest: BinaryHeap<Reverse<(Mono, RoomId, Lane)>>,
}

impl History {
    pub(super) fn new(events_max: usize, bytes_max: usize, age_max: Duration) -> History {
        History { events_max, bytes_max, age_max, bytes: 0, oldest: BinaryHeap::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the event that has just been released.
    pub(super) fn keep(&mut self, id: RoomId, lane: Lane, frame: Arc<Frame>, rooms: &mut Rooms) {
        if self.events_max == 0 {
            return;
        }
        self.forget_evicted(rooms);
        let Some(room) = rooms.by_id_mut(id) else { return };
        let stream = &mut room.lanes[lane.index()];
        if stream.ring.is_empty() {
            self.oldest.push(Reverse((frame.tag.accepted, id, lane)));
        }
        self.bytes += cost(&frame);
        stream.ring.push_back(frame);
        while stream.ring.len() > self.events_max {
            self.bytes -= drop_oldest(stream);
        }
        while self.bytes > self.bytes_max && self.drop_globally_oldest(rooms) {}
    }

    /// Forgets what is too old; bounded work at each call. Returns when the next event is due to go.
    pub(super) fn expire(&mut self, now: Mono, rooms: &mut Rooms) -> Mono {
        for _ in 0..LOOKS_PER_CALL {
            match self.oldest.peek() {
                None => return Mono::NEVER,
                Some(Reverse((at, ..))) if now.since(*at) < self.age_max => return at.plus(self.age_max),
                Some(_) => _ = self.look_at_oldest(rooms),
            }
        }
        now
    }

    /// Gives back what a room's rings hold, before the room goes.
    pub(super) fn release(&mut self, lanes: &Lanes) {
        self.bytes -= lanes.used().flat_map(|stream| &stream.ring).map(|frame| cost(frame)).sum::<usize>();
    }

    /// Forgets entries of rooms that are gone, once they are more than the living ones (three lanes a room) could be.
    fn forget_evicted(&mut self, rooms: &Rooms) {
        if self.oldest.len() > 6 * rooms.len() + LOOKS_PER_CALL {
            self.oldest.retain(|Reverse((_, id, _))| rooms.by_id(*id).is_some());
        }
    }

    /// Drops the oldest event of all. False if none is kept.
    fn drop_globally_oldest(&mut self, rooms: &mut Rooms) -> bool {
        while !self.oldest.is_empty() {
            if self.look_at_oldest(rooms) {
                return true;
            }
        }
        false
    }

    /// Looks at the ring of the first heap entry: drops its oldest event if the entry is that event's, and in any case gives
    /// the ring the entry that it has now. Whether an event was dropped.
    fn look_at_oldest(&mut self, rooms: &mut Rooms) -> bool {
        let Some(Reverse((at, id, lane))) = self.oldest.pop() else { return false };
        let Some(room) = rooms.by_id_mut(id) else { return false };
        let stream = &mut room.lanes[lane.index()];
        let is_current = stream.ring.front().is_some_and(|front| front.tag.accepted <= at);
        if is_current {
            self.bytes -= drop_oldest(stream);
        }
        if let Some(front) = stream.ring.front() {
            self.oldest.push(Reverse((front.tag.accepted, id, lane)));
        }
        is_current
    }
}

fn drop_oldest(stream: &mut Stream) -> usize {
    stream.ring.pop_front().map_or(0, |frame| cost(&frame))
}

fn cost(frame: &Frame) -> usize {
    frame.as_websocket().len() + FRAME_OVERHEAD_BYTES
}
