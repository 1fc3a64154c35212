//! What one seed decides before its run starts: sizes of links, windows and retention, the rooms, and who may read what.

use std::time::Duration;

use tickerd::base::lane::{Lane, Mode, PerLane};

use crate::rng::Rng;

/// What a run is to stress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Links never fill, so that the timing of each delivery is exact.
    Calm,
    /// Links of a few slots, reactors that stall, a ring of a few events.
    Tight,
    /// Many connections that come and go, rooms that empty and are made again.
    Churn,
}

/// Users of a run; by number.
pub(crate) const USERS: usize = 4;

/// The keys of state events; the empty one means one state for each (room, type).
pub(crate) const KEYS: [&str; 3] = ["", "k1", "k2"];

/// One event type of the runs: the catalog fixes lane and mode.
pub(crate) struct KindPlan {
    pub(crate) name: &'static str,
    pub(crate) lane: Lane,
    pub(crate) mode: Mode,
    /// Its publishers always give a `version`.
    pub(crate) versioned: bool,
}

/// All event types.
pub(crate) const KINDS: [KindPlan; 10] = [
    kind("a.stream", Lane::Alert, Mode::Stream),
    kind("a.state", Lane::Alert, Mode::State),
    kind("a.transient", Lane::Alert, Mode::Transient),
    kind("u.stream", Lane::Update, Mode::Stream),
    kind("u.state", Lane::Update, Mode::State),
    KindPlan { name: "u.version", lane: Lane::Update, mode: Mode::State, versioned: true },
    kind("u.transient", Lane::Update, Mode::Transient),
    kind("m.stream", Lane::Metric, Mode::Stream),
    kind("m.state", Lane::Metric, Mode::State),
    kind("m.transient", Lane::Metric, Mode::Transient),
];

const fn kind(name: &'static str, lane: Lane, mode: Mode) -> KindPlan {
    KindPlan { name, lane, mode, versioned: false }
}

/// One room of a run.
pub(crate) struct RoomPlan {
    pub(crate) name: String,
    /// The user that its publishers name as owner.
    pub(crate) owner: Option<usize>,
    /// Nothing is ever published to it.
    pub(crate) silent: bool,
    /// Late joiners get this many past events of each lane unasked.
    pub(crate) history: PerLane<u16>,
    /// Which users' tokens have a pattern for it.
    pub(crate) readers: [bool; USERS],
}

/// All that a seed decides beforehand.
pub(crate) struct Plan {
    pub(crate) profile: Profile,
    pub(crate) reactors: usize,
    pub(crate) steps: usize,
    pub(crate) slots_per_reactor: usize,
    pub(crate) update_window: Duration,
    pub(crate) metric_gather: Duration,
    pub(crate) metric_flush: Duration,
    pub(crate) history_events: usize,
    pub(crate) history_bytes: usize,
    pub(crate) history_age: Duration,
    pub(crate) rooms_max: usize,
    pub(crate) keys_per_room_max: usize,
    pub(crate) delivery_slots: usize,
    pub(crate) alert_reserve: usize,
    pub(crate) outstanding_max: usize,
    /// Numbers come in the same turn; otherwise some turns later.
    pub(crate) numbers_at_once: bool,
    /// Leaves may reach the hub after later joins of the same connection, as from a reactor's retry list.
    pub(crate) late_leaves: bool,
    pub(crate) pad_bytes_max: usize,
    pub(crate) rooms: Vec<RoomPlan>,
}

impl Plan {
    /// What this seed decides for this profile.
    pub(crate) fn new(profile: Profile, rng: &mut Rng) -> Plan {
        let tight = profile == Profile::Tight;
        let (delivery_slots, alert_reserve) = if profile == Profile::Calm { (1 << 20, 1 << 10) } else { slots(tight, rng) };
        Plan {
            profile,
            reactors: rng.between(1, 4),
            steps: rng.between(100, 300),
            slots_per_reactor: if profile == Profile::Churn { 6 } else { 3 },
            update_window: ms(*rng.pick(&[0, 20, 100, 100])),
            metric_gather: ms(*rng.pick(&[0, 40, 100, 100])),
            metric_flush: ms(*rng.pick(&[0, 50, 500, 500])),
            history_events: *rng.pick(if tight { &[1, 3, 8] } else { &[4, 16, 1000] }),
            history_bytes: *rng.pick(&[3 << 10, 24 << 10, 64 << 20, 64 << 20]),
            history_age: ms(*rng.pick(&[400, 5_000, 3_600_000, 3_600_000])),
            rooms_max: *rng.pick(&[3, 1 << 20, 1 << 20, 1 << 20]),
            keys_per_room_max: *rng.pick(&[4, 1 << 20, 1 << 20, 1 << 20]),
            delivery_slots,
            alert_reserve,
            outstanding_max: rng.between(4, 40),
            numbers_at_once: rng.chance(50),
            late_leaves: rng.chance(40),
            pad_bytes_max: *rng.pick(&[4, 60, 600]),
            rooms: rooms(rng),
        }
    }

    /// Retention in bytes never bites, so that what is kept follows from count and age alone.
    pub(crate) fn ample_bytes(&self) -> bool {
        self.history_bytes >= 1 << 20
    }

    /// Rooms may be evicted, with all that they remember.
    pub(crate) fn scarce_rooms(&self) -> bool {
        self.rooms_max < self.rooms.len()
    }

    /// Deleted keys may be forgotten.
    pub(crate) fn scarce_keys(&self) -> bool {
        self.keys_per_room_max < 1000
    }

    /// The metric lane holds anything at all.
    pub(crate) fn holds_metrics(&self) -> bool {
        !(self.metric_gather.is_zero() && self.metric_flush.is_zero())
    }

    /// The number of a room.
    pub(crate) fn room(&self, name: &str) -> usize {
        self.rooms.iter().position(|room| room.name == name).unwrap_or_else(|| panic!("the hub named a room that nobody made: {name}"))
    }
}

fn slots(tight: bool, rng: &mut Rng) -> (usize, usize) {
    let slots = if tight { rng.between(2, 10) } else { rng.between(8, 40) };
    (slots, rng.between(1, slots / 2))
}

fn rooms(rng: &mut Rng) -> Vec<RoomPlan> {
    (0..rng.between(2, 5)).map(|number| room(number, rng)).collect()
}

fn room(number: usize, rng: &mut Rng) -> RoomPlan {
    RoomPlan {
        name: format!("room:{number}"),
        owner: rng.chance(60).then(|| rng.below(USERS)),
        silent: number > 0 && rng.chance(15),
        history: std::array::from_fn(|_| *rng.pick(&[0, 0, 2, 20])),
        readers: std::array::from_fn(|_| rng.chance(50)),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The name of a user.
pub(crate) fn user_name(user: usize) -> String {
    format!("u{user}")
}
