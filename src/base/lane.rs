//! Lanes (delivery priority) and modes (delivery guarantee).

use std::fmt;

/// Delivery priority: every queued `Alert` leaves before any `Update`, every `Update` before any `Metric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Lane {
    /// Risk alerts and status changes: never held, never conflated.
    Alert = 0,
    /// P&L, equity, quotes, state.
    Update = 1,
    /// Everything that may wait.
    Metric = 2,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Lane; 3] = [Lane::Alert, Lane::Update, Lane::Metric];
    /// How many there are.
    pub const COUNT: usize = 3;

    /// The name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Lane::Alert => "alert",
            Lane::Update => "update",
            Lane::Metric => "metric",
        }
    }

    /// The lane of that name.
    pub fn parse(name: &str) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.name() == name)
    }

    /// Position in [`Lane::ALL`], for tables indexed by lane.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value for each lane.
pub type PerLane<T> = [T; Lane::COUNT];

/// Delivery guarantee of an event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every event counts: contiguous `seq` for each (room, lane), replayed.
    Stream,
    /// Only the latest value of a key counts: `rev`, conflated under pressure.
    State,
    /// At most once, neither numbered nor replayed.
    Transient,
}

impl Mode {
    /// All modes.
    pub const ALL: [Mode; 3] = [Mode::Stream, Mode::State, Mode::Transient];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Stream => "stream",
            Mode::State => "state",
            Mode::Transient => "transient",
        }
    }

    /// The mode of that name.
    pub fn parse(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}
