//! The state of one room.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::ids::{KeyId, RoomId};
use crate::base::lane::{Lane, PerLane};
use crate::base::time::Mono;
use crate::wire::frame::Frame;

use super::ports::{Event, Number, PendingId};

/// A room: who may join, how many members each reactor has, and what there is to tell them.
pub(super) struct Room {
    pub(super) id: RoomId,
    pub(super) name: Arc<str>,
    /// The history in which its numbers count.
    pub(super) epoch: Arc<str>,
    /// The first owner given; may join without a pattern.
    pub(super) owner: Option<Box<str>>,
    /// Members on each reactor.
    pub(super) members: Box<[u32]>,
    pub(super) lanes: PerLane<Stream>,
    pub(super) states: States,
    /// `metric` lane: what waits for the room's next flush.
    pub(super) held: Vec<Held>,
    pub(super) held_bytes: usize,
    /// When that flush is; [`Mono::NEVER`] if nothing waits.
    pub(super) flush_at: Mono,
    /// `event_id`s seen lately.
    pub(super) seen: HashMap<Arc<str>, Seen>,
    /// Events that wait for their number.
    pub(super) pending: u32,
    /// Used since the eviction's hand last passed.
    pub(super) touched: bool,
}

/// What became of the first event with an `event_id`.
#[derive(Clone, Copy)]
pub(super) enum Seen {
    /// It waits for its number.
    Pending(PendingId),
    /// It got this one.
    Done(Number),
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
}

impl Stream {
    /// The number of the oldest event kept; `live + 1` if none is.
    pub(super) fn oldest(&self) -> u64 {
        self.live + 1 - self.ring.len() as u64
    }

    /// The event with that number, if it is kept.
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
    pub(super) ts_ms: u64,
}

/// The `state` keys of one room.
#[derive(Default)]
pub(super) struct States {
    pub(super) keys: Vec<Key>,
    index: HashMap<Box<str>, usize>,
    /// No forgotten key had a higher `rev`, so that a new key's are higher than those of any former one of the same name.
    rev_floor: u64,
}

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
}

/// A change that waits to be released.
pub(super) struct HeldState {
    pub(super) data: Box<str>,
    pub(super) event_id: Option<Box<str>>,
    pub(super) accepted: Mono,
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
    fn data(&self) -> Option<&[u8]> {
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
        self.index.get(index_name(kind, key).as_str()).copied()
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
            self.index.remove(index_name(&former.kind, &former.name).as_str());
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
        };
        self.index.insert(index_name(kind, key).into(), place);
        if place == self.keys.len() {
            self.keys.push(new);
        } else {
            self.keys[place] = new;
        }
        Some(Added { index: place, forgotten_bytes })
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
    pub(super) fn new(id: RoomId, name: &str, epoch: Arc<str>, reactors: usize) -> Room {
        Room {
            id,
            name: name.into(),
            epoch,
            owner: None,
            members: vec![0; reactors].into_boxed_slice(),
            lanes: Default::default(),
            states: States::default(),
            held: Vec::new(),
            held_bytes: 0,
            flush_at: Mono::NEVER,
            seen: HashMap::new(),
            pending: 0,
            touched: true,
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
            && self.lanes.iter().all(|lane| lane.head == 0)
    }
}
