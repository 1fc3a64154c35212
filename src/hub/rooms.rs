//! The table of all rooms: names, limit, eviction, epochs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::ids::{KeyId, RoomId};

use super::acks::ACKS_ROOM;
use super::journal::Epoch;
use super::position::Era;
use super::room::Room;
use super::slots::Slots;
use super::store::{EPOCHS_PER_SHARD, SHARDS, shard_of};

/// Epochs that are remembered; a position of an older one is not understood.
const EPOCHS_MAX: usize = 1024;
/// Slots that one creation may look at for a room to evict.
const EVICTION_LOOKS: usize = 1024;

/// Whether a new room may displace an idle one, and all that is remembered of it. Publishers may do that; who joins empty
/// rooms may not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    Allowed,
    Never,
}

/// See the module.
pub(super) struct Rooms {
    slots: Slots<Room>,
    names: HashMap<Arc<str>, RoomId>,
    reactors: usize,
    limit: usize,
    /// The epoch of rooms made from now on.
    epoch: Arc<Epoch>,
    /// That and all former ones that are known, in order.
    epochs: VecDeque<Arc<Epoch>>,
    /// Positions of epochs before this one say nothing of rooms made from now on.
    born: u32,
    epoch_seed: u64,
    /// With a store: the present epoch of each shard, and what `born` is for its rooms.
    shards: Vec<(Arc<Epoch>, u32)>,
    /// What the names of rooms begin with that no shard has.
    local: Vec<Box<str>>,
    /// Where the search for a room to evict goes on.
    hand: usize,
    evicted: u64,
    keys_made: u64,
}

impl Rooms {
    pub(super) fn new(reactors: usize, limit: usize, epoch_seed: u64, local: Vec<Box<str>>) -> Rooms {
        let epoch = Arc::new(Epoch { number: 1, name: epoch_name(epoch_seed), by_eviction: false });
        Rooms {
            slots: Slots::default(),
            names: HashMap::new(),
            reactors,
            limit,
            epochs: VecDeque::from([Arc::clone(&epoch)]),
            epoch,
            born: 0,
            epoch_seed,
            shards: Vec::new(),
            local,
            hand: 0,
            evicted: 0,
            keys_made: 0,
        }
    }

    /// Begins with the epochs of a journal, and counts in this one.
    pub(super) fn begin(&mut self, former: Vec<Epoch>, epoch: Epoch) {
        self.born = former.iter().filter(|epoch| epoch.by_eviction).map(|epoch| epoch.number).max().unwrap_or(0);
        self.epoch = Arc::new(epoch);
        self.epochs = former.into_iter().map(Arc::new).chain([Arc::clone(&self.epoch)]).collect();
    }

    /// A shard counts in the last of these epochs.
    pub(super) fn take_epochs(&mut self, shard: u16, epochs: Vec<Epoch>) {
        let first = u32::from(shard) * EPOCHS_PER_SHARD;
        self.epochs.retain(|epoch| epoch.number < first || epoch.number - first >= EPOCHS_PER_SHARD);
        let born = epochs.iter().filter(|epoch| epoch.by_eviction).map(|epoch| epoch.number).max().unwrap_or(first);
        let epochs: Vec<_> = epochs.into_iter().map(Arc::new).collect();
        if let Some(present) = epochs.last() {
            self.shards.resize_with(usize::from(SHARDS), || (Arc::clone(present), first));
            self.shards[usize::from(shard)] = (Arc::clone(present), born);
        }
        self.epochs.extend(epochs);
    }

    #[cfg(test)]
    pub(super) fn set_local(&mut self, local: Vec<Box<str>>) {
        self.local = local;
    }

    /// Whether rooms of that name are shared with other nodes.
    pub(super) fn are_shared(&self, name: &str) -> bool {
        !self.shards.is_empty() && !self.local.iter().any(|prefix| name.starts_with(&**prefix) && name != ACKS_ROOM)
    }

    /// The epoch in which a room of that name counts.
    pub(super) fn epoch_of(&self, name: &str) -> &Arc<Epoch> {
        if self.are_shared(name) { &self.shards[usize::from(shard_of(name))].0 } else { &self.epoch }
    }

    /// Positions of epochs before this one say nothing of a room of that name, if it is made now.
    pub(super) fn born_of(&self, name: &str) -> u32 {
        if self.are_shared(name) { self.shards[usize::from(shard_of(name))].1 } else { self.born }
    }

    /// All rooms of a shard.
    pub(super) fn of_shard(&self, shard: u16) -> impl Iterator<Item = RoomId> {
        self.names.iter().filter(move |(name, _)| self.are_shared(name) && shard_of(name) == shard).map(|(_, id)| *id)
    }

    /// What an epoch that a client names is to that room.
    pub(super) fn era(&self, room: &Room, name: &str) -> Era {
        if *room.epoch.name == *name {
            return Era::Present;
        }
        let known = self.epochs.iter().rev().find(|epoch| *epoch.name == *name).map(|epoch| epoch.number);
        known.filter(|number| (room.born..room.epoch.number).contains(number)).map_or(Era::Unknown, Era::Past)
    }

    /// The epoch of rooms made from now on.
    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn id_of(&self, name: &str) -> Option<RoomId> {
        self.names.get(name).copied()
    }

    /// The room in that slot.
    pub(super) fn at(&self, slot: usize) -> Option<&Room> {
        self.slots.at(slot)
    }

    /// All slots are below this one.
    pub(super) fn slots_end(&self) -> usize {
        self.slots.capacity()
    }

    /// Whether one more room may be made without evicting another.
    pub(super) fn has_place(&self) -> bool {
        self.slots.len() < self.limit
    }

    pub(super) fn by_id(&self, id: RoomId) -> Option<&Room> {
        self.slots.get(id.slot, id.generation)
    }

    pub(super) fn by_id_mut(&mut self, id: RoomId) -> Option<&mut Room> {
        self.slots.get_mut(id.slot, id.generation)
    }

    /// The room of that name, made if there is none, and the room that had to go for it. `None` if the table is full of
    /// rooms in use.
    pub(super) fn find_or_make(&mut self, name: &str, eviction: Eviction) -> Option<(RoomId, Option<Room>)> {
        if let Some(id) = self.id_of(name) {
            return Some((id, None));
        }
        let evicted = match eviction {
            _ if self.slots.len() < self.limit => None,
            Eviction::Allowed => Some(self.evict_one()?),
            Eviction::Never => return None,
        };
        let (epoch, born, reactors) = (Arc::clone(self.epoch_of(name)), self.born_of(name), self.reactors);
        let (slot, generation) = self.slots.insert(|slot, generation| Room::new(RoomId { slot, generation }, name, epoch, born, reactors));
        let id = RoomId { slot, generation };
        let name = Arc::clone(&self.by_id(id).expect("it was made in the line above").name);
        self.names.insert(name, id);
        Some((id, evicted))
    }

    /// Frees a room that has nothing to remember.
    pub(super) fn free_if_blank(&mut self, id: RoomId) {
        if self.by_id(id).is_some_and(Room::is_blank) {
            drop(self.remove(id));
        }
    }

    /// A number for a state key, never given before.
    pub(super) fn new_key_id(&mut self) -> KeyId {
        self.keys_made += 1;
        KeyId(self.keys_made)
    }

    /// Frees an idle room not used since the hand last passed. Its heads are lost, so rooms made from now on, itself
    /// among them, count in a new epoch: a position in the old one is recognized as lost.
    fn evict_one(&mut self) -> Option<Room> {
        let looks = EVICTION_LOOKS.min(2 * self.slots.capacity());
        let victim = (0..looks).find_map(|_| {
            self.hand = (self.hand + 1) % self.slots.capacity().max(1);
            let room = self.slots.at_mut(self.hand)?;
            let spared = std::mem::take(&mut room.touched);
            (!spared && room.is_idle()).then_some(room.id)
        })?;
        let room = self.remove(victim);
        self.evicted += 1;
        self.epoch_seed = self.epoch_seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let number = self.epoch.number + 1;
        self.epoch = Arc::new(Epoch { number, name: epoch_name(self.epoch_seed), by_eviction: true });
        self.born = number;
        if self.epochs.len() == EPOCHS_MAX {
            self.epochs.pop_front();
        }
        self.epochs.push_back(Arc::clone(&self.epoch));
        Some(room)
    }

    fn remove(&mut self, id: RoomId) -> Room {
        let room = self.slots.remove(id.slot, id.generation).expect("the caller found it by this id");
        self.names.remove(&room.name);
        room
    }
}

/// The name of a new epoch: see [`HubOptions::epoch_seed`](super::HubOptions::epoch_seed).
///
/// A name from a seed; different seeds give different names (the mixing is a bijection, Steele et al. 2014, `SplitMix64`).
pub fn epoch_name(seed: u64) -> Arc<str> {
    let mut mixed = seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    format!("{mixed:016x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_made_again_after_its_eviction_counts_in_another_epoch() {
        let mut rooms = Rooms::new(1, 2, 7, Vec::new());
        let (a, _) = rooms.find_or_make("a", Eviction::Allowed).unwrap();
        let epoch = Arc::clone(&rooms.by_id(a).unwrap().epoch.name);
        rooms.find_or_make("b", Eviction::Allowed).unwrap();
        rooms.find_or_make("c", Eviction::Allowed).unwrap();
        rooms.find_or_make("d", Eviction::Allowed).unwrap();
        assert_eq!(rooms.len(), 2);
        assert!(rooms.by_id(a).is_none(), "the oldest untouched room went");
        let (again, _) = rooms.find_or_make("a", Eviction::Allowed).unwrap();
        assert_ne!(rooms.by_id(again).unwrap().epoch.name, epoch);
    }

    #[test]
    fn rooms_in_use_are_not_evicted_and_the_newcomer_is_refused() {
        let mut rooms = Rooms::new(1, 2, 7, Vec::new());
        for name in ["a", "b"] {
            let (id, _) = rooms.find_or_make(name, Eviction::Allowed).unwrap();
            rooms.by_id_mut(id).unwrap().members[0] = 1;
        }
        assert!(rooms.find_or_make("c", Eviction::Allowed).is_none());
        assert!(rooms.id_of("a").is_some() && rooms.id_of("b").is_some());
    }

    /// A reader who joins many empty rooms must not cost others their history.
    #[test]
    fn joins_evict_nothing() {
        let mut rooms = Rooms::new(1, 1, 7, Vec::new());
        rooms.find_or_make("a", Eviction::Never).unwrap();
        assert!(rooms.find_or_make("b", Eviction::Never).is_none());
        assert!(rooms.find_or_make("b", Eviction::Allowed).is_some());
    }

    /// The first numbers of `SplitMix64` from the state 0, as its authors' code gives them: the states are multiples of the golden gamma.
    #[test]
    fn names_of_epochs_are_mixed_as_published() {
        let name = |n: u64| epoch_name(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_string();
        assert_eq!([1, 2, 3].map(name), ["e220a8397b1dcdaf", "6e789e6aa1b965f4", "06c45d188009454f"]);
    }
}
