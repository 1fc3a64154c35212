//! Rooms of which the hub knows that members may have been told what is not so.

use crate::base::ids::RoomId;

use super::Reactor;

impl Reactor {
    /// Ends the connections of all members.
    pub(super) fn lose(&mut self, room: RoomId) {
        self.settle_room(room);
        let slots: Vec<u32> = self.core.rooms.members(room).collect();
        for slot in slots {
            if let Some(conn) = self.conns.at(slot) {
                conn.lose_state(&mut self.core);
                self.enlist(slot);
                self.schedule(slot);
            }
        }
    }
}
