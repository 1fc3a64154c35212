//! Where each event is, and what is known of each room: made by reading the log once, then kept up by whoever writes it. Pure.
//!
//! An event costs 8 bytes here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::lane::{Lane, PerLane};
use crate::base::memory::allocated;
use crate::hub::journal::{EventEntry, RecoveredRoom, RecoveredStream, Seen, Trimmed};

use super::record::{EventRecord, HeadRecord};

/// Epochs remembered of one (room, lane); a position of an older one is not known.
const STARTS_MAX: usize = 32;

/// A segment, and the offset of a record in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

impl Place {
    /// Of an event that is not there: damaged, or never written.
    const NOWHERE: Place = Place { segment: 0, offset: u32::MAX };
}

/// See the module.
#[derive(Default)]
pub(super) struct Index {
    rooms: HashMap<Arc<str>, Room>,
    /// Where those events are that wait for an acknowledgment, by [`waiting_name`].
    unacknowledged: HashMap<Box<str>, Place>,
    /// What it takes, about.
    bytes: usize,
}

/// What an entry of a hash table takes beside itself, at the load that tables have in the mean.
const TABLE_BYTES: usize = 16;
/// What a name takes that is counted beside what it names.
const SHARED_BYTES: usize = 32;

#[derive(Default)]
struct Room {
    owner: Option<Arc<str>>,
    born: u32,
    lanes: PerLane<Option<Box<Stream>>>,
    seen: Vec<Seen>,
}

#[derive(Default)]
struct Stream {
    head: u64,
    starts: Vec<(u32, u64)>,
    history: u16,
    /// Of the events up to `head`, contiguous.
    places: VecDeque<Place>,
    /// Where its head is kept, if there are no events.
    carried_in: u32,
}

impl Room {
    fn bytes(&self, name: &str) -> usize {
        let streams: usize = self.lanes.iter().flatten().map(|stream| stream.bytes()).sum();
        size_of::<Room>() + TABLE_BYTES + SHARED_BYTES + allocated(name.len()) + streams
    }
}

impl Stream {
    fn bytes(&self) -> usize {
        let starts = self.starts.capacity() * size_of::<(u32, u64)>();
        size_of::<Stream>() + allocated(starts) + allocated(self.places.capacity() * size_of::<Place>())
    }

    fn oldest(&self) -> u64 {
        self.head + 1 - self.places.len() as u64
    }

    fn put(&mut self, (epoch, first): (u32, u64), seq: u64, place: Place) {
        if seq <= self.head {
            // Written twice, after a failure: either will do.
            if let Some(known) = seq.checked_sub(self.oldest()).and_then(|at| self.places.get_mut(at as usize)) {
                *known = place;
            }
            return;
        }
        if self.starts.last().is_none_or(|(last, _)| *last < epoch) {
            if self.starts.len() == STARTS_MAX {
                self.starts.remove(0);
            }
            self.starts.push((epoch, first));
        }
        let missing = seq - self.head - 1;
        if self.places.is_empty() || missing > self.places.len() as u64 + 1024 {
            self.places.clear(); // what is before the hole is of no use to anybody who comes back
        } else {
            self.places.extend((0..missing).map(|_| Place::NOWHERE));
        }
        self.places.push_back(place);
        self.head = seq;
    }

    /// Forgets the events in segments up to that one. Whether it had some, and the head is not kept anywhere else now.
    fn trim(&mut self, segment: u32) -> bool {
        let before = self.places.len();
        while self.places.front().is_some_and(|place| *place == Place::NOWHERE || place.segment <= segment) {
            self.places.pop_front();
        }
        self.places.shrink_to(2 * self.places.len());
        self.places.is_empty() && (before > 0 || self.carried_in <= segment)
    }
}

/// A head that must be written again, because what it was known by is about to go.
pub(super) struct Carried {
    pub(super) room: Arc<str>,
    pub(super) owner: Option<Arc<str>>,
    pub(super) born: u32,
    pub(super) lane: Lane,
    pub(super) stream: RecoveredStream,
}

impl Index {
    /// What it takes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// An event was read from the log.
    pub(super) fn note(&mut self, event: &EventRecord<'_>, place: Place, seen_since_ms: u64) {
        let room = self.room(event.room, event.owner, event.born);
        if let Some(event_id) = event.event_id.filter(|_| event.ts_ms >= seen_since_ms) {
            room.seen.push(Seen { event_id: event_id.into(), seq: event.seq, ts_ms: event.ts_ms });
        }
        self.put(event.room, event.lane, |stream| {
            stream.history = event.history;
            stream.put((event.epoch, event.first), event.seq, place);
        });
    }

    /// An event was written to the log.
    pub(super) fn note_written(&mut self, event: &EventEntry, place: Place) {
        if !self.rooms.contains_key(&event.room) {
            self.add(Arc::clone(&event.room), event.born);
        }
        self.room(&event.room, event.owner.as_deref(), event.born);
        self.put(&event.room, event.lane, |stream| {
            stream.history = event.history;
            stream.put((event.epoch, event.first), event.seq, place);
        });
    }

    /// A head was read from the log.
    pub(super) fn note_head(&mut self, head: &HeadRecord<'_>, segment: u32) {
        self.room(head.room, head.owner, head.born);
        self.put(head.room, head.lane, |stream| {
            if head.head >= stream.head && stream.places.is_empty() {
                (stream.head, stream.history, stream.carried_in) = (head.head, head.history, segment);
                stream.starts.clone_from(&head.starts);
            }
        });
    }

    /// An event that waits for its user, by its [`waiting_name`], is at that place.
    pub(super) fn waits(&mut self, name: Box<str>, place: Place) {
        let bytes = waiting_bytes(&name);
        if self.unacknowledged.insert(name, place).is_none() {
            self.bytes += bytes;
        }
    }

    /// It waits no more.
    pub(super) fn settled(&mut self, room: &str, event_id: &str) {
        let name = waiting_name(room, event_id);
        if self.unacknowledged.remove(&name).is_some() {
            self.bytes -= waiting_bytes(&name);
        }
    }

    /// Events that wait for their users, and are in that segment.
    pub(super) fn waiting_in(&self, segment: u32) -> Vec<Place> {
        let mut places: Vec<Place> = self.unacknowledged.values().filter(|place| place.segment == segment).copied().collect();
        places.sort_unstable_by_key(|place| place.offset);
        places
    }

    /// The room was evicted. What waits for its user goes on waiting.
    pub(super) fn forget(&mut self, room: &str) {
        self.bytes -= self.rooms.remove(room).map_or(0, |forgotten| forgotten.bytes(room));
    }

    /// Up to `max` places of events with `from <= seq <= to`.
    pub(super) fn places(&self, room: &str, lane: Lane, from: u64, to: u64, max: usize) -> Vec<(u64, Place)> {
        let Some(stream) = self.rooms.get(room).and_then(|room| room.lanes[lane.index()].as_deref()) else { return Vec::new() };
        let from = from.max(stream.oldest());
        let to = to.min(stream.head);
        let place = |seq: u64| stream.places.get((seq - stream.oldest()) as usize).map(|place| (seq, *place));
        (from..=to).filter_map(place).filter(|(_, place)| *place != Place::NOWHERE).take(max).collect()
    }

    /// What nothing but a segment up to that one tells of heads.
    pub(super) fn carried(&self, segment: u32) -> Vec<Carried> {
        let mut carried = Vec::new();
        for (name, room) in &self.rooms {
            for lane in Lane::ALL {
                let Some(stream) = &room.lanes[lane.index()] else { continue };
                let is_last = |place: &Place| *place == Place::NOWHERE || place.segment <= segment;
                let goes = stream.places.back().map_or(stream.carried_in <= segment, is_last);
                if goes {
                    carried.push(Carried {
                        room: Arc::clone(name),
                        owner: room.owner.clone(),
                        born: room.born,
                        lane,
                        stream: recovered(stream),
                    });
                }
            }
        }
        carried
    }

    /// The segments up to that one are gone; the heads that only they told are in segment `carried_in` now. What became of the oldest events.
    pub(super) fn trim(&mut self, segment: u32, carried_in: u32) -> Vec<Trimmed> {
        let mut trimmed = Vec::new();
        for (name, room) in &mut self.rooms {
            for lane in Lane::ALL {
                let Some(stream) = &mut room.lanes[lane.index()] else { continue };
                let (oldest, bytes) = (stream.oldest(), stream.bytes());
                let is_headless = stream.trim(segment);
                self.bytes = self.bytes + stream.bytes() - bytes;
                if is_headless {
                    stream.carried_in = carried_in;
                }
                if stream.oldest() > oldest {
                    trimmed.push(Trimmed { room: Arc::clone(name), lane, oldest: stream.oldest() });
                }
            }
        }
        trimmed
    }

    /// What a hub begins with. The `event_id`s are given away.
    pub(super) fn recovered(&mut self) -> Vec<RecoveredRoom> {
        let recovered_room = |(name, room): (&Arc<str>, &mut Room)| RecoveredRoom {
            name: (**name).into(),
            owner: room.owner.as_deref().map(Box::from),
            born: room.born,
            lanes: std::array::from_fn(|lane| room.lanes[lane].as_deref().map(recovered)),
            states: Vec::new(),
            seen: std::mem::take(&mut room.seen),
        };
        self.rooms.iter_mut().map(recovered_room).collect()
    }

    fn add(&mut self, name: Arc<str>, born: u32) {
        let room = Room { born, ..Room::default() };
        self.bytes += room.bytes(&name);
        self.rooms.insert(name, room);
    }

    /// Changes what is known of a lane of a room that is there.
    fn put(&mut self, room: &str, lane: Lane, change: impl FnOnce(&mut Stream)) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        let stream = &mut room.lanes[lane.index()];
        let before = stream.as_deref().map_or(0, Stream::bytes);
        let stream = stream.get_or_insert_default();
        change(stream);
        self.bytes = self.bytes + stream.bytes() - before;
    }

    /// The room, made if need be. One that was born later is another of the same name.
    fn room(&mut self, name: &str, owner: Option<&str>, born: u32) -> &mut Room {
        if !self.rooms.contains_key(name) {
            self.add(name.into(), born);
        }
        let room = self.rooms.get_mut(name).expect("it was made above if it was not there");
        if room.born < born {
            self.bytes -= room.bytes(name);
            *room = Room { born, ..Room::default() };
            self.bytes += room.bytes(name);
        }
        if room.owner.as_deref() != owner && owner.is_some() {
            room.owner = owner.map(Arc::from);
        }
        room
    }
}

fn waiting_bytes(name: &str) -> usize {
    size_of::<(Box<str>, Place)>() + TABLE_BYTES + allocated(name.len())
}

/// Names an event of a room: neither name has a space.
pub(super) fn waiting_name(room: &str, event_id: &str) -> Box<str> {
    format!("{room} {event_id}").into()
}

fn recovered(stream: &Stream) -> RecoveredStream {
    RecoveredStream { head: stream.head, oldest: stream.oldest(), starts: stream.starts.clone(), history: stream.history }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::tests::event_entry;

    #[derive(Clone, Debug)]
    enum Step {
        Event { room: u8, skipped: u64 },
        Waits(u8),
        Settled(u8),
        Forget(u8),
        Trim,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0u8..4, prop_oneof![9 => Just(0), 1 => 0u64..3000]).prop_map(|(room, skipped)| Step::Event { room, skipped }),
            2 => (0u8..4).prop_map(Step::Waits),
            2 => (0u8..4).prop_map(Step::Settled),
            1 => (0u8..4).prop_map(Step::Forget),
            1 => Just(Step::Trim),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// LIM-06: so do the epochs in which a lane's numbers began anew.
    #[test]
    fn epochs_take_memory_too() {
        let bytes_with = |epochs: u32| {
            let mut stream = Stream::default();
            (1..=32).for_each(|n| stream.put((n.min(epochs), 1), n.into(), Place { segment: 1, offset: n }));
            stream.bytes()
        };
        assert!(bytes_with(32) >= bytes_with(1) + 16 * size_of::<(u32, u64)>());
    }

    /// LIM-06: a room without events takes itself, its name, and what tables and counts take beside them.
    #[test]
    fn a_room_takes_what_its_parts_take() {
        let (room, name) = (Room::default(), "n".repeat(100));
        let parts = size_of::<Room>() + TABLE_BYTES + SHARED_BYTES + allocated(100);
        assert_eq!(room.bytes(&name), parts);
        let mut with_stream = Room::default();
        with_stream.lanes[0] = Some(Box::default());
        assert_eq!(with_stream.bytes(&name), parts + Stream::default().bytes());
    }

    /// A hole that is larger than what stands before it, and a thousand more, leaves nothing before it.
    #[test]
    fn a_large_hole_is_not_filled() {
        let places_after = |before: u64, missing: u64| {
            let mut stream = Stream::default();
            (1..=before).for_each(|n| stream.put((1, 1), n, Place { segment: 1, offset: n as u32 }));
            stream.put((1, 1), before + missing + 1, Place { segment: 1, offset: 0 });
            stream.places.len() as u64
        };
        assert_eq!([places_after(3, 1027), places_after(3, 1028), places_after(0, 5)], [3 + 1027 + 1, 1, 1]);
    }

    proptest! {
        /// LIM-06: what is counted for the memory budget is what is there, whatever came and went.
        #[test]
        fn the_bytes_are_those_of_what_is_there(steps in steps()) {
            let (mut index, mut seqs, mut born) = (Index::default(), [0; 4], 0);
            for (segment, step) in (0..).zip(steps) {
                match step {
                    Step::Event { room, skipped } => {
                        seqs[usize::from(room)] += 1 + skipped;
                        let event = EventEntry { born, ..event_entry(&format!("r{room}"), segment, seqs[usize::from(room)], "{}") };
                        index.note_written(&event, Place { segment, offset: 0 });
                    }
                    Step::Waits(event) => index.waits(waiting_name("r", &format!("{event}")), Place { segment, offset: 0 }),
                    Step::Settled(event) => index.settled("r", &format!("{event}")),
                    Step::Forget(room) => {
                        born += 1; // a room of that name that was not forgotten is another one from now on
                        index.forget(&format!("r{room}"));
                    }
                    Step::Trim => drop(index.trim(segment / 2, segment)),
                }
                let rooms: usize = index.rooms.iter().map(|(name, room)| room.bytes(name)).sum();
                let waiting: usize = index.unacknowledged.keys().map(|name| waiting_bytes(name)).sum();
                prop_assert_eq!(index.bytes(), rooms + waiting);
            }
        }
    }
}
