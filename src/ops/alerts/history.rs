//! What was read of the daemon, now and before: each second of the last minute, each tenth of the last ten minutes, each minute of the last six hours.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::counters::BUCKETS_US;
use crate::base::lane::PerLane;
use crate::base::time::Mono;

/// For how long readings are kept, and how far apart they are, from the finest on.
const TIERS: [(Duration, Duration); 3] = [
    (Duration::from_secs(61), Duration::ZERO),
    (Duration::from_secs(610), Duration::from_secs(10)),
    (Duration::from_secs(6 * 3600 + 60), Duration::from_secs(60)),
];

/// The daemon's figures at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// When.
    pub at: Mono,
    /// Clients, and how many there may be.
    pub connections: u64,
    /// How many there may be.
    pub connections_max: u64,
    /// Users.
    pub users: u64,
    /// Rooms in the table.
    pub rooms: u64,
    /// Memberships.
    pub members: u64,
    /// Bytes that wait for their readers.
    pub queued_bytes: u64,
    /// What counts for the memory budget.
    pub memory_used: u64,
    /// The memory budget; 0: none.
    pub memory_budget: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// How full the fullest queue between threads is, 0 to 1.
    pub queue_fill: f64,
    /// Parts that do not work.
    pub faults: u64,
    /// The journal's disk takes nothing.
    pub journal_failing: bool,
    /// How full the journal's file system is, 0 to 1; where there is one.
    pub disk_fill: Option<f64>,
    /// Seconds until the first certificate expires; where there is one.
    pub certificate_expiry_s: Option<u64>,
    /// Ever since the start: lines to publish.
    pub publishes: u64,
    /// Of these, those refused.
    pub refused: u64,
    /// Events accepted, by lane.
    pub accepted: PerLane<u64>,
    /// Frames handed to sockets, by lane.
    pub deliveries: PerLane<u64>,
    /// How long these took: counts of the histogram's buckets, by lane.
    pub latencies: PerLane<[u64; BUCKETS_US.len() + 1]>,
    /// Frames dropped that somebody waited for.
    pub dropped: u64,
    /// States replaced by newer ones.
    pub conflated: u64,
    /// Warnings to slow readers.
    pub slow_warned: u64,
    /// Readers closed for being slow.
    pub slow_closed: u64,
    /// Handshakes that became clients.
    pub handshakes: u64,
    /// The others.
    pub handshakes_failed: u64,
    /// Tokens refused.
    pub tokens_refused: u64,
    /// Joins denied.
    pub joins_denied: u64,
    /// Users who came back, each counted once in a minute.
    pub came_back: u64,
    /// Entries of the audit trail that were lost.
    pub audit_lost: u64,
    /// With analytics: accounts whose numbers are not those that come of a recomputation.
    pub metrics_drift: Option<u64>,
    /// All bytes handed to sockets.
    pub sent_bytes: u64,
    /// CPU time of the process.
    pub cpu_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    tiers: [VecDeque<Readings>; TIERS.len()],
}

impl History {
    /// Adds the newest readings.
    pub fn push(&mut self, readings: &Readings) {
        for (tier, (kept_for, apart)) in self.tiers.iter_mut().zip(TIERS) {
            if tier.back().is_none_or(|last| readings.at.since(last.at) >= apart) {
                while tier.front().is_some_and(|first| readings.at.since(first.at) > kept_for) {
                    tier.pop_front();
                }
                tier.push_back(readings.clone());
            }
        }
    }

    /// The newest readings.
    pub fn now(&self) -> Option<&Readings> {
        self.tiers[0].back()
    }

    /// The readings of so long ago, or a little longer: the oldest ones, if those are not so old.
    pub fn ago(&self, age: Duration) -> Option<&Readings> {
        let now = self.now()?.at;
        let reaches = |tier: &&VecDeque<Readings>| tier.front().is_some_and(|first| now.since(first.at) >= age);
        match self.tiers.iter().find(reaches) {
            Some(tier) => tier.get(tier.partition_point(|readings| now.since(readings.at) >= age).saturating_sub(1)),
            None => self.tiers.iter().filter_map(VecDeque::front).min_by_key(|first| first.at),
        }
    }

    /// How much a counter has grown in that time.
    pub fn growth(&self, age: Duration, of: impl Fn(&Readings) -> u64) -> u64 {
        match (self.now(), self.ago(age)) {
            (Some(now), Some(before)) => of(now).saturating_sub(of(before)),
            _ => 0,
        }
    }
}
