//! The lines between the coordinator and its workers: one JSON object each, on the worker's stdin and stdout. A worker ends when its stdin does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;

/// The first line to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerPlan {
    /// Position of the worker.
    pub worker: u32,
    /// What the run does.
    pub scenario: Scenario,
    /// The server.
    pub target: Target,
    /// Tells this run's events from those of an earlier one.
    pub run: u32,
    /// The first of its connections.
    pub first: u32,
    /// How many are its own.
    pub count: u32,
    /// Handshakes that it begins per second.
    pub connect_rate: u32,
    /// Processor to stay on.
    pub pin: Option<u32>,
}

/// How to reach the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// `ws://host:port/path` or `wss://…`.
    pub url: String,
    /// Signs the tokens: the same key that the server verifies with. `None`: the server wants no token (the floor).
    pub key: Option<PathBuf>,
    /// Certificates that sign those of a server with `wss://`, in PEM; none: the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Claims that the server demands.
    pub issuer: Option<String>,
    /// Likewise.
    pub audience: Option<String>,
    /// The peer is the floor: it numbers nothing, and sends the publisher's line as it is.
    pub is_floor: bool,
}

/// Every later line to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Command {
    /// Connect and join, at the plan's rate. Answered by [`Report::Connecting`] until all are done.
    Connect,
    /// From now on events intended at `from_ns` or later count in window `id`; it is empty at first. Windows come in order.
    Window {
        /// Names it.
        id: u32,
        /// `CLOCK_MONOTONIC`.
        from_ns: u64,
    },
    /// Report that window and forget it. Answered by [`Report::Window`].
    Collect {
        /// Which.
        id: u32,
    },
    /// Reset a share of the connections now (see [`layout::is_chosen`](crate::layout::is_chosen)) and reconnect them with their positions.
    Storm {
        /// 0 to 1.
        share: f64,
        /// Reconnects begun per second by this worker.
        reconnect_rate: u32,
    },
    /// Everything is published: how many events of each flow. Answered by [`Report::Final`] once all of it came, or nothing has come for
    /// `patience_ms`.
    Finish {
        /// Events sent of each flow.
        sent: Vec<u64>,
        /// Events of each flow, by their position `e`, that the server refused.
        refused: Vec<Vec<u64>>,
        /// How long to wait without anything arriving.
        patience_ms: u64,
    },
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Report {
    /// While connecting, ten times a second, and once more when done.
    Connecting {
        /// Connections that are joined to all their rooms.
        joined: u32,
        /// Handshakes that failed, by what was wrong.
        failed: BTreeMap<String, u32>,
        /// Time from connect to the last `caught_up`: base64 of a V2 deflate histogram in microseconds. Empty until done.
        took_us: String,
        /// When the first connect began, `CLOCK_MONOTONIC`.
        began_ns: u64,
        /// When the last of `joined` had joined; 0: none has.
        joined_ns: u64,
        /// No more will come.
        done: bool,
    },
    /// Once a second from the end of connecting on.
    Second(Box<Second>),
    /// The answer to [`Command::Collect`].
    Window {
        /// Which.
        id: u32,
        /// One for each flow.
        flows: Vec<FlowWindow>,
    },
    /// The answer to [`Command::Finish`].
    Final(Box<Final>),
    /// It cannot go on.
    Failed {
        /// Why.
        message: String,
    },
}

/// One second of a worker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Its end, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Connections that are joined to all their rooms.
    pub joined: u32,
    /// Processor seconds of the process so far.
    pub cpu_s: f64,
    /// Bytes received so far.
    pub bytes: u64,
    /// One for each flow: what arrived in this second (histograms) and so far (counts).
    pub flows: Vec<FlowWindow>,
    /// So far.
    pub faults: Faults,
}

/// One flow in one span of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlowWindow {
    /// Distinct events verified.
    pub received: u64,
    /// From the intended time: base64 of a V2 deflate histogram in nanoseconds (3 digits, to 60 s, saturating); empty if nothing came.
    pub latency: String,
    /// From the actual time of sending; likewise.
    pub service: String,
}

/// What should not happen, and what may but must be known. Counted over the whole run, warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// `stream` events that never came and that no `gap` told of.
    pub missing: u64,
    /// The same event once more.
    pub duplicate: u64,
    /// An event after a later one of its (flow, room).
    pub disorder: u64,
    /// An event of a room that the connection is no member of, or whose envelope and payload name different rooms.
    pub misrouted: u64,
    /// A message that cannot be read, or a payload that is not what was published.
    pub corrupt: u64,
    /// Keys whose last value did not come.
    pub stale: u64,
    /// Connections closed by the server or lost that nobody asked to end (slow readers apart).
    pub closed: u64,
}

impl Faults {
    /// Each with its name.
    pub fn each(&self) -> [(&'static str, u64); 7] {
        [
            ("missing", self.missing),
            ("duplicate", self.duplicate),
            ("disorder", self.disorder),
            ("misrouted", self.misrouted),
            ("corrupt", self.corrupt),
            ("stale", self.stale),
            ("closed", self.closed),
        ]
    }

    /// Their sum.
    pub fn total(&self) -> u64 {
        self.each().iter().map(|(_, count)| count).sum()
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Faults) {
        self.missing += other.missing;
        self.duplicate += other.duplicate;
        self.disorder += other.disorder;
        self.misrouted += other.misrouted;
        self.corrupt += other.corrupt;
        self.stale += other.stale;
        self.closed += other.closed;
    }
}

/// Deliveries of `stream` events to connections that are charged for nothing: what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// To slow readers.
    pub slow_owed: u64,
    /// Of these, those that they had read by the end.
    pub slow_came: u64,
    /// Of these, those that a `gap` told of.
    pub slow_told: u64,
    /// To members that have never joined.
    pub absent_owed: u64,
}

impl Apart {
    /// Adds another's.
    pub fn add(&mut self, other: &Apart) {
        self.slow_owed += other.slow_owed;
        self.slow_came += other.slow_came;
        self.slow_told += other.slow_told;
        self.absent_owed += other.absent_owed;
    }
}

/// A worker's account of the whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Final {
    /// Distinct events verified, of each flow.
    pub received: Vec<u64>,
    /// What should not have happened.
    pub faults: Faults,
    /// What is charged to nobody.
    #[serde(default)]
    pub apart: Apart,
    /// `stream` events that a `gap` told of.
    pub told_missing: u64,
    /// States replaced by newer ones before they came.
    pub conflated: u64,
    /// `transient` events that did not come.
    pub transient_lost: u64,
    /// Closes by code (or by error), slow readers' included.
    pub closes: BTreeMap<String, u32>,
    /// Reconnects that were answered with all that was missed, and the others.
    pub recovered: u32,
    /// Reconnects that lost something, and were told.
    pub not_recovered: u32,
    /// Reconnects: time from connect to the last `caught_up`, as in [`Report::Connecting`].
    pub reconnect_us: String,
    /// Pings answered.
    pub pongs: u64,
    /// Processor seconds of the process.
    pub cpu_s: f64,
    /// The longest turn of its loop: how late it may have seen what had arrived.
    pub turn_ns_max: u64,
}
