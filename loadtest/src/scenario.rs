//! What a run does, as a TOML file says it. [`scenarios`](crate::scenarios) reads and checks it; nothing checks it again.

use serde::{Deserialize, Serialize};

/// Delivery priority, as the protocol names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Before all else.
    Alert,
    /// P&L, equity, quotes.
    Update,
    /// May wait.
    Metric,
}

impl Lane {
    /// All of them, the most urgent first.
    pub const ALL: [Lane; 3] = [Lane::Alert, Lane::Update, Lane::Metric];
}

/// Delivery guarantee, as the protocol names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every event counts.
    Stream,
    /// The latest value counts.
    State,
    /// At most once.
    Transient,
}

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// One sentence: what it shows.
    pub about: String,
    /// Seconds before the measurement begins.
    #[serde(default)]
    pub warmup_s: f64,
    /// Seconds measured.
    pub duration_s: f64,
    /// Who connects.
    pub connections: Connections,
    /// The rooms, by class.
    #[serde(rename = "room")]
    pub rooms: Vec<RoomClass>,
    /// What is published.
    #[serde(rename = "flow", default)]
    pub flows: Vec<Flow>,
    /// Readers that do not keep up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
    /// Mass disconnects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// A search for the highest rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// What must hold, as for `--slo`.
    #[serde(default)]
    pub slo: Vec<String>,
}

impl Scenario {
    /// The class of rooms that a flow goes to, with its position.
    pub fn class_of(&self, flow: &Flow) -> (usize, &RoomClass) {
        let at = self.rooms.iter().position(|class| class.class == flow.rooms);
        let at = at.expect("a checked scenario has the class of each flow");
        (at, &self.rooms[at])
    }

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

/// Who connects.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// How many.
    pub count: u32,
    /// Handshakes begun per second.
    pub rate: u32,
}

/// Rooms of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomClass {
    /// Its name in reports.
    pub class: String,
    /// A room's name; `{n}` is its position in the class.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Members of each.
    pub members: u32,
}

/// A series of events: one type, one lane, one class of rooms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// The class of rooms that it goes to, in turn.
    pub rooms: String,
    /// The event's `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its lane.
    pub lane: Lane,
    /// Its mode.
    pub mode: Mode,
    /// Lane and mode are the catalog's for this type, and so are not given.
    #[serde(default)]
    pub catalog: bool,
    /// The state key to give; none: the catalog's, or the room's only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Events per second, over all rooms of the class.
    pub rate: f64,
    /// Events that fall due at one moment, to as many rooms.
    #[serde(default = "one")]
    pub burst: u32,
    /// Bytes of `data`.
    pub bytes: u32,
    /// Members that `data` begins with, as the text between its braces; `{n}` is the room's position in its class.
    #[serde(default)]
    pub fields: String,
}

fn one() -> u32 {
    1
}

/// Readers that do not keep up: a share of the connections reads at most so fast, through a small receive buffer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// Share of the connections, 0 to 1.
    pub share: f64,
    /// Bytes per second that each reads.
    pub bytes_per_s: u32,
}

/// Mass disconnects: a share of the connections is reset at once and comes back with its positions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Share of the connections, 0 to 1.
    pub share: f64,
    /// Seconds between two storms; the first comes after that time.
    pub every_s: f64,
    /// Reconnects begun per second.
    pub reconnect_rate: u32,
}

/// The search: each step multiplies all rates; from the first that fails on, the interval is halved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The first step's factor on every flow's rate.
    pub from: f64,
    /// What each step multiplies that by.
    pub grow: f64,
    /// Seconds of one step.
    pub step_s: f64,
    /// Halvings after the first failure.
    pub halvings: u32,
    /// What a step must hold, as for `--slo`; a fault, or a publish refused, fails it too.
    pub bound: Vec<String>,
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
