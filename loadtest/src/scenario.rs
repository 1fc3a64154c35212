//! What a run does, as a TOML file says it. Everything is checked when it is read; nothing checks it again.

mod built_in;
mod check;
mod resize;

use serde::{Deserialize, Serialize};

pub use built_in::{BUILT_IN, BuiltIn, find, named};

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
    /// Reads and checks the text of a file; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| format!("{name}: {}", error.to_string().trim_end()))?;
        scenario.check().map_err(|error| format!("{name}: {error}"))?;
        Ok(scenario)
    }

    /// The class of rooms that a flow goes to, with its position.
    pub fn class_of(&self, flow: &Flow) -> (usize, &RoomClass) {
        let at = self.rooms.iter().position(|class| class.class == flow.rooms);
        let at = at.expect("a checked scenario has the class of each flow");
        (at, &self.rooms[at])
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
