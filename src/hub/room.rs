//! The state of one room.
//!
//! Most rooms are quiet most of the time, and there may be as many as connections: what a room has not used yet has no memory.

use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::base::ids::{KeyId, RoomId};
use crate::base::lane::{Lane, PerLane};
use crate::base::time::Mono;
use crate::wire::frame::Frame;

use super::journal::Epoch;
use super::journal::KeptState;
use super::ports::{Event, Number, PendingId};
use super::traffic::Traffic;

/// Up to this many state keys one is found by looking at all of them; beyond, by an index.
const SCAN_MAX: usize = 4;

/// A room: who may join, how many members each reactor has, and what there is to tell them.
pub(super) struct Room {
    pub(super) id: RoomId,
    pub(super) name: Arc<str>,
    /// The history in which its numbers count.
    pub(super) epoch: Arc<Epoch>,
    /// Positions of epochs before this one say nothing of it.
    pub(super) born: u32,
    /// The first owner given; may join without a pattern.
    pub(super) owner: Option<Arc<str>>,
    /// Members on each reactor.
    pub(super) members: Box<[u32]>,
    /// How many of all of them want deltas.
    pub(super) delta_members: u32,
    pub(super) lanes: Lanes,
    pub(super) states: States,
    /// `metric` lane: what waits for the room's next flush.
    pub(super) held: Vec<Held>,
    pub(super) held_bytes: usize,
    /// When that flush is; [`Mono::NEVER`] if nothing waits.
    pub(super) flush_at: Mono,
    /// `event_id`s seen lately.
    pub(super) seen: SeenIds,
    /// Events that wait for their number.
    pub(super) pending: u32,
    /// Used since the eviction's hand last passed.
    pub(super) touched: bool,
    /// There once an event was accepted.
    pub(super) traffic: Option<Box<Traffic>>,
}

/// The `event_id`s that a room has seen; without memory while there are none.
#[derive(Default)]
pub(super) struct SeenIds(Option<Box<SeenById>>);

type SeenById = HashMap<Arc<str>, Seen>;

impl SeenIds {
    pub(super) fn get(&self, event_id: &str) -> Option<&Seen> {
        self.0.as_ref()?.get(event_id)
    }

    pub(super) fn get_mut(&mut self, event_id: &str) -> Option<&mut Seen> {
        self.0.as_mut()?.get_mut(event_id)
    }

    pub(super) fn insert(&mut self, event_id: Arc<str>, seen: Seen) {
        self.0.get_or_insert_default().insert(event_id, seen);
    }

    pub(super) fn remove(&mut self, event_id: &str) {
        let Some(seen) = &mut self.0 else { return };
        seen.remove(event_id);
        if seen.is_empty() {
            self.0 = None;
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// What became of the first event with an `event_id`.
#[derive(Clone, Copy)]
pub(super) enum Seen {
    /// It waits for its number.
    Pending(PendingId),
    /// It got this one.
    Done {
        number: Number,
        /// The journal's entry that must be synced before a duplicate is safe; 0 if it is already, or there is no journal.
        entry: u64,
    },
}

/// The `stream` events of a room by lane. A lane that has had none takes no memory and reads as empty; the first write makes it.
#[derive(Default)]
pub(super) struct Lanes(PerLane<Option<Box<Stream>>>);

impl Lanes {
    /// Those that have had an event.
    pub(super) fn used(&self) -> impl Iterator<Item = &Stream> {
        self.0.iter().flatten().map(|stream| &**stream)
    }
}

impl Index<usize> for Lanes {
    type Output = Stream;

    fn index(&self, lane: usize) -> &Stream {
        static EMPTY: Stream = Stream { head: 0, live: 0, ring: VecDeque::new(), history: 0, kept_from: 0, starts: Vec::new() };
        self.0[lane].as_deref().unwrap_or(&EMPTY)
    }
}

impl IndexMut<usize> for Lanes {
    fn index_mut(&mut self, lane: usize) -> &mut Stream {
        self.0[lane].get_or_insert_default()
    }
}

/// The `stream` events of one (room, lane).
#[derive(Default)]
pub(super) struct Stream {
    /// The last number given.
    pub(super) head: u64,
    /// The last number released to members; behind `head` by what the lane holds.
    pub(super) live: u64,
    /// Kept events, contiguous up to `live`.
    pub(super) ring: VecDeque<Arc<Frame>>,
    /// What a late joiner gets unasked.
    pub(super) history: u16,
    /// The oldest event that the journal keeps; 0 without a journal.
    pub(super) kept_from: u64,
    /// Epochs in which there were events, with the first number of each, in order. Only with a journal.
    pub(super) starts: Vec<(u32, u64)>,
}

/// Epochs remembered of one (room, lane).
const STARTS_MAX: usize = 32;

impl Stream {
    /// The number of the oldest event kept; `live + 1` if none is.
    pub(super) fn oldest(&self) -> u64 {
        self.live + 1 - self.ring.len() as u64
    }

    /// The same with what only the journal keeps.
    pub(super) fn oldest_kept(&self) -> u64 {
        if self.kept_from == 0 { self.oldest() } else { self.oldest().min(self.kept_from) }
    }

    /// An event is numbered in that epoch, and goes to the journal.
    pub(super) fn start_epoch(&mut self, epoch: u32, seq: u64) {
        self.kept_from = self.kept_from.max(1);
        if self.starts.last().is_none_or(|(last, _)| *last < epoch) {
            if self.starts.len() == STARTS_MAX {
                self.starts.remove(0);
            }
            self.starts.push((epoch, seq));
        }
    }

    /// The last number of that former epoch; `None` if that is not remembered.
    pub(super) fn end_of(&self, epoch: u32) -> Option<u64> {
        let is_forgotten = self.starts.len() == STARTS_MAX && self.starts[0].0 > epoch;
        let next = self.starts.iter().find(|(later, _)| *later > epoch);
        (!is_forgotten).then(|| next.map_or(self.live, |(_, first)| first - 1))
    }

    /// The event with that number, if it is kept in memory.
    pub(super) fn event(&self, seq: u64) -> Option<&Arc<Frame>> {
        let index = seq.checked_sub(self.oldest())?;
        self.ring.get(index as usize)
    }
}

/// What waits in the `metric` lane for the room's flush, in order of arrival.
pub(super) enum Held {
    /// The newest value of the key at that index.
    State(usize),
    /// A `stream` or `transient` event.
    Event(HeldEvent),
}

/// A `stream` or `transient` event that has not been released.
pub(super) struct HeldEvent {
    pub(super) event: Event,
    /// Its number, for `stream`.
    pub(super) seq: Option<u64>,
    pub(super) accepted: Mono,
    /// When it came to the hub, no earlier than that.
    pub(super) taken: Mono,
    pub(super) ts_ms: u64,
}

/// The `state` keys of one room.
#[derive(Default)]
pub(super) struct States {
    pub(super) keys: Vec<Key>,
    /// Where each key is, if there have been more than [`SCAN_MAX`].
    index: Option<Box<KeyIndex>>,
    /// No forgotten key had a higher `rev`, so that a new key's are higher than those of any former one of the same name.
    rev_floor: u64,
}

/// Keys by [`index_name`], with their places.
type KeyIndex = HashMap<Box<str>, usize>;

/// One (room, type, key).
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) kind: Box<str>,
    pub(super) name: Box<str>,
    pub(super) lane: Lane,
    /// Of the newest accepted change.
    pub(super) rev: u64,
    pub(super) version: Option<u64>,
    /// What its newest value counts for in the budget of all states.
    pub(super) bytes: usize,
    /// The newest accepted change, while the lane holds it.
    pub(super) held: Option<HeldState>,
    /// The frame that members have: what a joiner gets.
    pub(super) sent: Option<Sent>,
    /// A frame was sent less than a window ago.
    pub(super) window_open: bool,
    /// Its newest value is to be given to the journal.
    pub(super) is_unsaved: bool,
    /// When its newest change was accepted, Unix milliseconds.
    pub(super) ts_ms: u64,
}

/// A change that waits to be released.
pub(super) struct HeldState {
    pub(super) data: Box<str>,
    pub(super) event_id: Option<Box<str>>,
    pub(super) accepted: Mono,
    /// When it came to the hub, no earlier than that.
    pub(super) taken: Mono,
    pub(super) ts_ms: u64,
}

/// A state as members have it.
pub(super) struct Sent {
    pub(super) frame: Arc<Frame>,
    /// Where `data` begins in the frame's text; it ends before the closing brace. `None`: the key is deleted.
    pub(super) data_at: Option<usize>,
}

impl Sent {
    /// The raw JSON of `data`; `None` if the key is deleted.
    pub(super) fn data(&self) -> Option<&[u8]> {
        let text = self.frame.as_text();
        self.data_at.map(|at| &text[at..text.len() - 1])
    }
}

impl Key {
    /// Whether the newest accepted value has these bytes.
    pub(super) fn has_data(&self, data: &str) -> bool {
        match (&self.held, &self.sent) {
            (Some(held), _) => &*held.data == data,
            (None, Some(sent)) => sent.data().unwrap_or(b"null") == data.as_bytes(),
            (None, None) => false,
        }
    }

    /// As it is kept elsewhere.
    pub(super) fn kept(&self) -> KeptState {
        KeptState {
            kind: self.kind.clone(),
            key: self.name.clone(),
            lane: self.lane,
            rev: self.rev,
            version: self.version,
            ts_ms: self.ts_ms,
            data: self.newest_data().map(Box::from),
        }
    }

    /// The newest accepted value; `None` if it is deleted.
    pub(super) fn newest_data(&self) -> Option<&str> {
        match (&self.held, &self.sent) {
            (Some(held), _) => Some(&*held.data).filter(|data| *data != "null"),
            (None, Some(sent)) => sent.data().and_then(|data| std::str::from_utf8(data).ok()),
            (None, None) => None,
        }
    }

    /// Members were told that it is gone, and nothing newer waits.
    pub(super) fn is_tombstone(&self) -> bool {
        self.held.is_none() && self.sent.as_ref().is_some_and(|sent| sent.data_at.is_none())
    }
}

/// Where a new key was put, and what the one that had to go for it counted for.
pub(super) struct Added {
    pub(super) index: usize,
    pub(super) forgotten_bytes: usize,
}

impl States {
    /// What all keys count for in the budget of all states.
    pub(super) fn bytes(&self) -> usize {
        self.keys.iter().map(|key| key.bytes).sum()
    }

    /// The key's index, if there is such a key.
    pub(super) fn find(&self, kind: &str, key: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(index_name(kind, key).as_str()).copied(),
            None => self.keys.iter().position(|known| *known.name == *key && *known.kind == *kind),
        }
    }

    /// Adds a key, in the place of a deleted one if the room has `keys_max` already; not of one whose deletion `is_owed` to a
    /// lagging reactor. `None` if there is no place.
    pub(super) fn add(
        &mut self,
        id: KeyId,
        kind: &str,
        key: &str,
        lane: Lane,
        keys_max: usize,
        is_owed: impl Fn(KeyId) -> bool,
    ) -> Option<Added> {
        let is_free = |key: &Key| key.is_tombstone() && !is_owed(key.id);
        let place = if self.keys.len() < keys_max { self.keys.len() } else { self.keys.iter().position(is_free)? };
        let mut forgotten_bytes = 0;
        if let Some(former) = self.keys.get(place) {
            forgotten_bytes = former.bytes;
            self.rev_floor = self.rev_floor.max(former.rev);
            if let Some(index) = &mut self.index {
                index.remove(index_name(&former.kind, &former.name).as_str());
            }
        }
        let new = Key {
            id,
            kind: kind.into(),
            name: key.into(),
            lane,
            rev: self.rev_floor,
            version: None,
            bytes: 0,
            held: None,
            sent: None,
            window_open: false,
            is_unsaved: false,
            ts_ms: 0,
        };
        if let Some(index) = &mut self.index {
            index.insert(index_name(kind, key).into(), place);
        }
        if place == self.keys.len() {
            self.append(new);
        } else {
            self.keys[place] = new;
        }
        Some(Added { index: place, forgotten_bytes })
    }

    fn append(&mut self, key: Key) {
        if self.keys.is_empty() {
            self.keys.reserve_exact(1); // most rooms have one key, for which a vector would make place for four
        }
        self.keys.push(key);
        if self.index.is_none() && self.keys.len() > SCAN_MAX {
            let entries = self.keys.iter().enumerate().map(|(at, key)| (index_name(&key.kind, &key.name).into(), at));
            self.index = Some(Box::new(entries.collect()));
        }
    }
}

/// Identifiers have no NUL, so the name is unambiguous.
fn index_name(kind: &str, key: &str) -> String {
    let mut name = String::with_capacity(kind.len() + 1 + key.len());
    name.push_str(kind);
    name.push('\0');
    name.push_str(key);
    name
}

impl Room {
    pub(super) fn new(id: RoomId, name: &str, epoch: Arc<Epoch>, born: u32, reactors: usize) -> Room {
        Room {
            id,
            name: name.into(),
            epoch,
            born,
            owner: None,
            members: vec![0; reactors].into_boxed_slice(),
            delta_members: 0,
            lanes: Lanes::default(),
            states: States::default(),
            held: Vec::new(),
            held_bytes: 0,
            flush_at: Mono::NEVER,
            seen: SeenIds::default(),
            pending: 0,
            touched: true,
            traffic: None,
        }
    }

    /// Members on all reactors.
    pub(super) fn members_total(&self) -> u32 {
        self.members.iter().sum()
    }

    /// Neither members nor work in progress: may be evicted, at the price of its history.
    pub(super) fn is_idle(&self) -> bool {
        self.pending == 0 && self.held.is_empty() && self.members_total() == 0 && self.states.keys.iter().all(|key| key.held.is_none())
    }

    /// Idle and nothing to remember: as if it had never been.
    pub(super) fn is_blank(&self) -> bool {
        self.is_idle()
            && self.owner.is_none()
            && self.states.keys.is_empty()
            && self.seen.is_empty()
            && self.lanes.used().all(|lane| lane.head == 0)
    }
}

/// An empty room of each connection is what memory must be enough for.
const _: () = assert!(size_of::<Room>() <= 200);

#[cfg(test)]
mod tests {
    use super::*;

    fn add(states: &mut States, id: u64, kind: &str, key: &str, keys_max: usize) -> Option<usize> {
        states.add(KeyId(id), kind, key, Lane::Update, keys_max, |_| false).map(|added| added.index)
    }

    fn delete(states: &mut States, index: usize) {
        states.keys[index].sent = Some(Sent { frame: Arc::new(Frame::reply(b"{}")), data_at: None });
    }

    /// Below the number of keys from which there is an index, at it, and beyond it; also where a key took a deleted one's place.
    #[test]
    fn every_key_is_found_however_many_there_are() {
        let mut states = States::default();
        let names: Vec<_> = (0..3 * SCAN_MAX).map(|n| format!("k{}", n / 2)).collect();
        for n in 0..names.len() {
            let kind = if n % 2 == 0 { "equity" } else { "position" };
            assert_eq!(states.find(kind, &names[n]), None);
            assert_eq!(add(&mut states, n as u64, kind, &names[n], names.len()), Some(n));
            assert_eq!(states.index.is_some(), n >= SCAN_MAX);
            for (known, name) in names.iter().enumerate() {
                let found = states.find(if known % 2 == 0 { "equity" } else { "position" }, name);
                assert_eq!(found, (known <= n).then_some(known));
            }
        }
        assert_eq!(add(&mut states, 99, "equity", "more", names.len()), None, "the room is full");
        delete(&mut states, 5);
        assert_eq!(add(&mut states, 99, "equity", "more", names.len()), Some(5));
        assert_eq!((states.find("equity", "more"), states.find("position", "k2")), (Some(5), None));
    }

    #[test]
    fn a_room_takes_memory_for_what_it_uses_and_gives_that_of_event_ids_back() {
        let mut room =
            Room::new(RoomId { slot: 0, generation: 0 }, "r", Arc::new(Epoch { number: 1, name: "e".into(), by_eviction: false }), 0, 1);
        assert_eq!((room.lanes[0].oldest(), room.lanes[2].live), (1, 0));
        assert_eq!(room.lanes.used().count(), 0, "reading makes no lane");
        assert!(room.is_blank());
        room.lanes[1].head = 7;
        assert_eq!(room.lanes.used().map(|stream| stream.head).collect::<Vec<_>>(), [7]);
        assert!(!room.is_blank());
        room.lanes = Lanes::default();
        room.seen.insert("e1".into(), Seen::Done { number: Number::None, entry: 0 });
        assert!(room.seen.get("e1").is_some() && !room.is_blank());
        room.seen.remove("e1");
        assert!(room.seen.0.is_none() && room.is_blank());
    }
}
