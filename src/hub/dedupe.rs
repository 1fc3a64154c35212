//! Which `event_id`s were seen: for 60 s, a million in all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::RoomId;
use crate::base::time::Mono;

use super::room::Seen;
use super::rooms::Rooms;

const WINDOW: Duration = Duration::from_secs(60);
const IDS_MAX: usize = 1_000_000;
/// What one takes: itself, its places in the order of all and in its room.
const ID_BYTES: usize = 192;

/// All rooms' ids in order of arrival; the ids themselves are in their rooms.
#[derive(Default)]
pub(super) struct DedupeWindow {
    order: VecDeque<(Mono, RoomId, Arc<str>)>,
}

impl DedupeWindow {
    /// What the ids take.
    pub(super) fn bytes(&self) -> usize {
        self.order.len() * ID_BYTES
    }

    /// Remembers an id, forgetting the oldest if there are too many.
    pub(super) fn remember(&mut self, now: Mono, room: RoomId, id: &str, seen: Seen, rooms: &mut Rooms) {
        if self.order.len() >= IDS_MAX {
            self.forget_oldest(rooms);
        }
        let id: Arc<str> = id.into();
        if let Some(room) = rooms.by_id_mut(room) {
            room.seen.insert(Arc::clone(&id), seen);
        }
        self.order.push_back((now, room, id));
    }

    /// Forgets the ids that are older than the window; bounded work at each call.
    pub(super) fn expire(&mut self, now: Mono, rooms: &mut Rooms) {
        for _ in 0..256 {
            match self.order.front() {
                Some((at, ..)) if now.since(*at) >= WINDOW => self.forget_oldest(rooms),
                _ => return,
            }
        }
    }

    fn forget_oldest(&mut self, rooms: &mut Rooms) {
        let Some((_, id, event_id)) = self.order.pop_front() else { return };
        if let Some(room) = rooms.by_id_mut(id) {
            room.seen.remove(&event_id);
            rooms.free_if_blank(id);
        }
    }
}
