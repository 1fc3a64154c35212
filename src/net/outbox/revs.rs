//! Which revision of each state a connection was sent last, in the rooms of which it wants deltas: a delta is for one who has its base.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::base::ids::{KeyId, RoomId};
use crate::wire::frame::{Frame, Kind, Tag};

/// What an entry takes: key and revision, a byte of the table, and the places that are free.
const ENTRY_BYTES: usize = 28;
/// The same for a room, with its own table of keys.
const ROOM_BYTES: usize = 112;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Revs(HashMap<RoomId, Keys, RandomState>);

type Keys = HashMap<KeyId, u64, RandomState>;

impl Revs {
    /// The room is one of them from now on, and nothing of it was sent yet.
    pub(super) fn begin(&mut self, room: RoomId) {
        self.0.insert(room, Keys::default());
    }

    /// The room is none of them any more; whether it was.
    pub(super) fn end(&mut self, room: RoomId) -> bool {
        self.0.remove(&room).is_some()
    }

    pub(super) fn has(&self, room: RoomId) -> bool {
        self.0.contains_key(&room)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All states of the room are to be full when they come next.
    pub(super) fn forget(&mut self, room: RoomId) {
        if let Some(keys) = self.0.get_mut(&room) {
            *keys = Keys::default();
        }
    }

    /// The frame's delta form, if it is to go out as that now. Not inlined, and that goes for [`Revs::sent`]: most connections have no use for it.
    #[inline(never)]
    pub(super) fn delta<'f>(&self, frame: &'f Frame) -> Option<&'f Frame> {
        let Kind::State { key, .. } = frame.tag.kind else { return None };
        frame.delta_on(*self.0.get(&frame.tag.room)?.get(&key)?)
    }

    /// The first byte of a frame goes out. A key that is deleted may never come again, so nothing is kept of it.
    #[inline(never)]
    pub(super) fn sent(&mut self, tag: &Tag) {
        let Kind::State { key, rev, is_deleted } = tag.kind else { return };
        let Some(keys) = self.0.get_mut(&tag.room) else { return };
        if is_deleted {
            keys.remove(&key);
        } else {
            keys.insert(key, rev);
        }
    }

    /// How many revisions it keeps.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }

    /// What it takes.
    pub(super) fn own_bytes(&self) -> usize {
        let keys: usize = self.0.values().map(HashMap::capacity).sum();
        size_of::<Revs>() + self.0.capacity() * ROOM_BYTES + keys * ENTRY_BYTES
    }
}
