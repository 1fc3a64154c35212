//! What a run has found: the JSON file that `compare` reads, and what every report is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::{Apart, Faults};
use crate::scenario::{Lane, Scenario};

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The form of this file: 1.
    pub format: u32,
    /// When the run began, Unix seconds.
    pub began_unix_s: u64,
    /// `tickerd loadtest`'s version.
    pub version: String,
    /// Where the generator ran.
    pub machine: Machine,
    /// The server, as it was reached.
    pub target: String,
    /// What was run, flags applied.
    pub scenario: Scenario,
    /// What flags changed of its sizes and rates, in words.
    #[serde(default)]
    pub scaled: Vec<String>,
    /// The connections' beginning.
    pub connect: Connect,
    /// One for a plain run; one for each step of a ramp.
    pub windows: Vec<Window>,
    /// Second by second.
    pub seconds: Vec<Moment>,
    /// The whole run.
    pub totals: Totals,
    /// The generator about itself.
    pub generator: Generator,
    /// The server's process, if it is local and was found.
    pub server: Option<Server>,
    /// What `--slo` and the scenario asked.
    pub verdicts: Vec<Verdict>,
    /// If it ended before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// A run that ended before its time: what is in its record is what was measured until then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// What went wrong; none: the user ended it.
    pub cause: Option<String>,
    /// Seconds measured.
    pub measured_s: f64,
    /// Seconds that were to be measured; none: a search, of which nobody knows how long it takes.
    pub wanted_s: Option<f64>,
}

impl Cut {
    /// `interrupted after 12.3 of 60 s`, `cut short after 12.3 of 60 s: the server …`.
    pub fn text(&self) -> String {
        let seconds = |s: f64| format!("{s:.1}").trim_end_matches(".0").to_owned();
        let measured = seconds(self.measured_s);
        let how_far =
            self.wanted_s.map_or(format!("{measured} s of a search"), |wanted_s| format!("{measured} of {} s", seconds(wanted_s)));
        match &self.cause {
            None => format!("interrupted after {how_far}"),
            Some(cause) => format!("cut short after {how_far}: {cause}"),
        }
    }
}

/// A host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Processors that the generator may use.
    pub cpus: usize,
    /// Their model.
    pub cpu_model: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Kernel's name and release.
    pub kernel: String,
}

/// The connections' beginning.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Connect {
    /// Wanted.
    pub wanted: u32,
    /// Joined to all their rooms.
    pub joined: u32,
    /// Failures by what was wrong.
    pub failed: BTreeMap<String, u32>,
    /// Seconds from the first handshake to the last join.
    pub seconds: f64,
    /// From connect to the last `caught_up`: base64 of a V2 deflate histogram, microseconds.
    pub took_us: String,
}

/// One span of measurement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Window {
    /// Factor on the scenario's rates: 1 but in a ramp.
    pub factor: f64,
    /// Seconds.
    pub seconds: f64,
    /// One for each flow of the scenario.
    pub flows: Vec<FlowRecord>,
    /// How late the publisher was: base64 of a V2 deflate histogram, nanoseconds.
    pub slip_ns: String,
    /// Processor seconds of the generator (publisher and workers) in this window.
    pub generator_cpu_s: f64,
    /// Of the server, if found.
    pub server_cpu_s: Option<f64>,
    /// A ramp's step: whether it held.
    pub held: Option<bool>,
    /// Why it did not.
    pub because: String,
}

/// One flow in one window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Position in the scenario.
    pub flow: usize,
    /// Its lane.
    pub lane: Lane,
    /// Its class of rooms.
    pub class: String,
    /// Events due in this window that were sent.
    pub published: u64,
    /// Distinct events of this window received, over all members.
    pub received: u64,
    /// From the intended time: base64 of a V2 deflate histogram, nanoseconds; empty if nothing came.
    pub latency: String,
    /// From the actual time of sending; likewise.
    pub service: String,
}

/// What a second was for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before, between and after: nothing is sent, and what is on its way arrives.
    #[default]
    Rest,
    /// At the rate that will be measured.
    Warmup,
    /// It counts.
    Measured,
}

impl Phase {
    /// For a column.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Rest => "rest",
            Phase::Warmup => "warmup",
            Phase::Measured => "measured",
        }
    }
}

/// One second of the run, all workers together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since publishing began.
    pub at_s: f64,
    /// What most of it was for.
    #[serde(default)]
    pub phase: Phase,
    /// Connections.
    pub joined: u32,
    /// Events published in this second.
    pub published: u64,
    /// Distinct events received in this second.
    pub received: u64,
    /// Bytes received in this second.
    pub bytes: u64,
    /// For each lane that has flows: what arrived in this second, from the intended time. Base64 of a V2 deflate histogram, nanoseconds.
    pub latency: BTreeMap<Lane, String>,
    /// Faults so far.
    pub faults: u64,
    /// The publisher's largest delay in this second.
    pub slip_max_ns: u64,
    /// Resident bytes of the server, if found.
    pub server_rss_bytes: Option<u64>,
    /// Its processor seconds in this second.
    pub server_cpu_s: Option<f64>,
    /// The generator's, workers and publisher together.
    pub generator_cpu_s: f64,
}

/// The whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Events sent.
    pub published: u64,
    /// Publishes by the server's answer: `accepted`, `duplicate`, or the error's name.
    pub answers: BTreeMap<String, u64>,
    /// What the last refusal said.
    #[serde(default)]
    pub last_refusal: String,
    /// Publishes of each flow that the server refused, or never answered.
    #[serde(default)]
    pub refused_of: Vec<u64>,
    /// Deliveries that the accepted `stream` events had to make.
    pub expected: u64,
    /// See [`Final`](crate::control::Final).
    #[serde(default)]
    pub apart: Apart,
    /// Distinct events received, all modes.
    pub received: u64,
    /// What should not have happened.
    pub faults: Faults,
    /// See [`Final`](crate::control::Final).
    pub told_missing: u64,
    /// Likewise.
    pub conflated: u64,
    /// Likewise.
    pub transient_lost: u64,
    /// Closes by code or error.
    pub closes: BTreeMap<String, u32>,
    /// Reconnects by whether all was recovered.
    pub recovered: u32,
    /// Likewise.
    pub not_recovered: u32,
    /// Reconnects: as [`Connect::took_us`].
    pub reconnect_us: String,
}

impl Totals {
    /// Publishes that the server refused.
    pub fn refused(&self) -> u64 {
        let is_refusal = |name: &str| name != UNANSWERED && !TAKEN.contains(&name);
        self.answers.iter().filter(|(name, _)| is_refusal(name)).map(|(_, count)| count).sum()
    }
}

/// What the server says of a publish that it took.
const TAKEN: [&str; 4] = ["accepted", "duplicate", "stale", "unchanged"];

/// What is said of a publish to which the server said nothing, because it or the run ended before.
pub const UNANSWERED: &str = "unanswered";

/// The generator about itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// Worker processes.
    pub workers: u32,
    /// Processor seconds, all processes.
    pub cpu_s: f64,
    /// The longest turn of a worker's loop.
    pub turn_ns_max: u64,
    /// The busiest worker's share of a processor while it measured: near 1, it measures itself.
    pub busiest_worker: f64,
}

/// The server's process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Server {
    /// Its id.
    pub pid: u32,
    /// Its command line's first word.
    pub command: String,
    /// Why its memory is not that of one that was just started; empty: nothing says so.
    #[serde(default)]
    pub used_before: String,
    /// Resident bytes before the first connection.
    pub rss_before_bytes: u64,
    /// With all connections joined, before publishing.
    pub rss_joined_bytes: u64,
    /// At the end.
    pub rss_end_bytes: u64,
    /// The highest seen.
    pub rss_max_bytes: u64,
    /// Processor seconds while measured.
    pub cpu_s: f64,
}

/// What was asked and what was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// As it was asked.
    pub slo: String,
    /// What was measured, with its unit.
    pub measured: String,
    /// Whether it holds.
    pub holds: bool,
}
