//! Who is where and what goes when, as closed formulas: the publisher, every worker and the final account compute the same without telling each other.
//!
//! - Member `m` of room `r` of a class with `k` members each is the connection `(r * k + m) % connections`.
//! - Event `e` (from 0 on) of a flow goes to room `e % rooms`, with number `e / rooms + 1` there; it is due at
//!   `start + (e / burst) * burst / rate`.

use std::ops::Range;

use crate::scenario::{Flow, RoomClass, Scenario};

/// The connection that is that member of that room.
pub fn connection(class: &RoomClass, room: u32, member: u32, connections: u32) -> u32 {
    ((u64::from(room) * u64::from(class.members) + u64::from(member)) % u64::from(connections)) as u32
}

/// The memberships of each of the connections in `range`: (class, room).
pub fn memberships(scenario: &Scenario, range: Range<u32>) -> Vec<Vec<(u8, u32)>> {
    let mut of = vec![Vec::new(); range.len()];
    for (index, class) in scenario.rooms.iter().enumerate() {
        for room in 0..class.count {
            for member in 0..class.members {
                let conn = connection(class, room, member, scenario.connections.count);
                if range.contains(&conn) {
                    of[(conn - range.start) as usize].push((index as u8, room));
                }
            }
        }
    }
    of
}

/// Whether that connection is one of a share of all: spread so evenly that it is the share of few connections too (multiples of 607
/// fall evenly between multiples of 1000).
pub fn is_chosen(connection: u32, permille: u32) -> bool {
    u64::from(connection) * 607 % 1000 < u64::from(permille)
}

/// A room's name.
pub fn room_name(class: &RoomClass, room: u32) -> String {
    class.name.replace("{n}", &room.to_string())
}

/// Where event `e` of a flow goes: (room, number).
pub fn place(rooms: u32, e: u64) -> (u32, u32) {
    ((e % u64::from(rooms)) as u32, (e / u64::from(rooms)) as u32 + 1)
}

/// When event `e` of a flow is due, in nanoseconds after the flow's start.
pub fn due_ns(flow: &Flow, rate: f64, e: u64) -> u64 {
    let burst = u64::from(flow.burst);
    ((e / burst * burst) as f64 / rate * 1e9) as u64
}

/// How many of the first `events` of a flow went to that room.
pub fn sent_to(rooms: u32, room: u32, events: u64) -> u32 {
    let rooms = u64::from(rooms);
    (events / rooms + u64::from(u64::from(room) < events % rooms)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What goes to each room adds up, and its numbers are 1, 2, 3, ….
        #[test]
        fn every_event_has_one_place(rooms in 1u32..50, events in 0u64..2_000) {
            let mut last = vec![0; rooms as usize];
            for e in 0..events {
                let (room, n) = place(rooms, e);
                last[room as usize] += 1;
                prop_assert_eq!(n, last[room as usize]);
            }
            for room in 0..rooms {
                prop_assert_eq!(sent_to(rooms, room, events), last[room as usize]);
            }
        }

        /// A share is that share, of few connections and of many, and never of one kind.
        #[test]
        fn a_share_is_chosen(count in 1u32..3_000, permille in 0u32..=1_000) {
            let chosen = (0..count).filter(|connection| is_chosen(*connection, permille)).count();
            let expected = f64::from(count) * f64::from(permille) / 1_000.0;
            prop_assert!((chosen as f64 - expected).abs() <= 4.0, "{chosen} of {count} for {permille}");
        }

        /// Memberships are the same however the connections are dealt to workers.
        #[test]
        fn workers_agree(count in 1u32..40, rooms in 1u32..20, members in 1u32..5, cut in 0u32..40) {
            let class = RoomClass { class: "c".into(), name: "r:{n}".into(), count: rooms, members };
            let text = format!("name='x'\nabout=''\nduration_s=1\n[connections]\ncount={count}\nrate=1\n");
            let mut toml: toml::Table = text.parse().expect("valid");
            toml.insert("room".into(), toml::Value::try_from(vec![class]).expect("plain values"));
            let scenario: Scenario = toml.try_into().expect("valid");
            let cut = cut.min(count);
            let all = memberships(&scenario, 0..count);
            let (a, b) = (memberships(&scenario, 0..cut), memberships(&scenario, cut..count));
            prop_assert_eq!(all.iter().map(Vec::len).sum::<usize>(), (rooms * members) as usize);
            prop_assert_eq!(all, [a, b].concat());
        }
    }
}
