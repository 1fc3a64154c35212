//! Flags that change a scenario: more or fewer connections, faster or slower flows.

use super::{RoomClass, Scenario};

impl Scenario {
    /// Another number of connections. Each stays in as many rooms as it was: where a room has all connections as members it still has,
    /// and elsewhere the number of rooms follows.
    pub fn set_connections(&mut self, count: u32) {
        let before = self.connections.count;
        for room in &mut self.rooms {
            resize(room, before, count);
        }
        self.connections.count = count;
    }

    /// All flows so many times as fast.
    pub fn scale_rates(&mut self, factor: f64) {
        for flow in &mut self.flows {
            flow.rate *= factor;
        }
    }
}

fn resize(room: &mut RoomClass, before: u32, after: u32) {
    if room.members == before {
        room.members = after;
    } else if room.count > 1 {
        let rooms = (u64::from(room.count) * u64::from(after)).div_ceil(u64::from(before.max(1)));
        room.count = rooms.max(1).try_into().unwrap_or(u32::MAX); // the check refuses it, and says so
    }
    room.members = room.members.min(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(count: u32, members: u32, after: u32) -> (u32, u32) {
        let mut room = RoomClass { class: "c".into(), name: "r:{n}".into(), count, members };
        resize(&mut room, 1_000, after);
        (room.count, room.members)
    }

    #[test]
    fn rooms_or_members_follow_the_connections() {
        assert_eq!(resized(1, 1_000, 50), (1, 50), "all in one room");
        assert_eq!(resized(1_000, 1, 50), (50, 1), "each in its own");
        assert_eq!(resized(200, 5, 50), (10, 5), "five in each");
        assert_eq!(resized(200, 5, 3), (1, 3), "fewer than were in one");
        assert_eq!(resized(1, 20, 10_000), (1, 20), "a small room stays small");
        assert_eq!(resized(10, 1_000, 2_000), (10, 2_000), "all in each of ten");
    }
}
