//! The memory budget at a reactor: what it refuses at which level, and what it holds itself (LIM-06).

use tracing::{info, warn};

use crate::base::codes::{OVER_CAPACITY, Refusal};
use crate::base::lane::Lane;
use crate::base::limits::MEMBERSHIP_BYTES;
use crate::base::memory::{Change, Level};

use super::Reactor;
use super::core::Core;
use super::flush::Dirty;
use super::patience::PatienceLimits;

/// When to try again.
const RETRY_MS: u32 = 1_000;

/// What asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// An event to be published.
    Event(Lane),
    /// A membership.
    Join,
    /// A connection.
    Handshake,
}

/// The names of [`Demand`], in the order in which they are counted.
pub const DEMANDS: [&str; 5] = ["alert", "update", "metric", "join", "handshake"];

impl Demand {
    fn index(self) -> usize {
        match self {
            Demand::Event(lane) => lane.index(),
            Demand::Join => Lane::COUNT,
            Demand::Handshake => Lane::COUNT + 1,
        }
    }

    /// The level from which on it is refused.
    fn refused_from(self) -> Level {
        match self {
            Demand::Event(Lane::Metric) => Level::Short,
            Demand::Event(Lane::Update) | Demand::Join | Demand::Handshake => Level::Full,
            Demand::Event(Lane::Alert) => Level::Exhausted,
        }
    }
}

impl Core {
    /// Whether there is memory for that; the refusal is counted.
    pub(super) fn spare_memory(&self, demand: Demand) -> Result<(), Refusal> {
        if self.memory_level < demand.refused_from() {
            return Ok(());
        }
        self.stats.memory_refused[demand.index()].inc();
        let message = match demand {
            Demand::Event(Lane::Metric) => {
                "the server is short of memory, and takes no metric events: send newer ones after retry_after_ms"
            }
            Demand::Event(_) => "the server's memory is used up: send again after retry_after_ms",
            Demand::Join | Demand::Handshake => "the server's memory is used up: come back after retry_after_ms",
        };
        Err(Refusal::passing(OVER_CAPACITY, message, RETRY_MS))
    }

    /// How far readers may be behind.
    pub(super) fn patience(&self) -> PatienceLimits {
        let is_short = self.memory_level >= Level::Short;
        PatienceLimits { bytes_max: self.options.queue_bytes_max, timeout: self.options.slow_timeout, is_short }
    }
}

impl Reactor {
    /// Finds out how much memory is left. Whoever was warned of being slow is closed when it gets short.
    pub(super) fn mind_memory(&mut self) {
        if let Some(change) = self.core.memory.look() {
            tell(&change, self.core.memory.budget());
        }
        let before = std::mem::replace(&mut self.core.memory_level, self.core.memory.level());
        if before < Level::Short && self.core.memory_level >= Level::Short {
            for slot in self.conns.taken() {
                if let Some(conn) = self.conns.at(slot).filter(|conn| conn.is_warned()) {
                    self.backlog.mark(slot, &mut conn.listed, Dirty::Bulk);
                }
            }
        }
    }

    /// Says what this reactor holds.
    pub(super) fn publish_memory(&self) {
        let own = &self.core.memory.reactors[usize::from(self.index)];
        let memberships = self.core.rooms.memberships() * MEMBERSHIP_BYTES;
        own.connections.set((self.pressure.own_bytes() + memberships) as u64);
        own.kernel.set(self.pressure.kernel_bytes() as u64);
        own.published.set(self.core.uplink.published_bytes());
    }
}

fn tell(change: &Change, budget: u64) {
    let Change { from, to, used } = *change;
    let (from, to) = (from.name(), to.name());
    if change.to > change.from {
        warn!(event = "memory_level", from, to, used, budget, "memory gets short: see tickerd_memory_used_bytes for what holds it");
    } else {
        info!(event = "memory_level", from, to, used, budget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LIM-06: metrics go first, alerts last.
    #[test]
    fn each_level_refuses_what_the_one_below_does_and_more() {
        let demands =
            [Demand::Event(Lane::Alert), Demand::Event(Lane::Update), Demand::Event(Lane::Metric), Demand::Join, Demand::Handshake];
        let refused = |level: Level| {
            let is_refused = |demand: &&Demand| demand.refused_from() <= level;
            demands.iter().filter(is_refused).map(|demand| DEMANDS[demand.index()]).collect::<Vec<_>>()
        };
        assert_eq!([refused(Level::Normal), refused(Level::High)], [[""; 0]; 2]);
        assert_eq!(refused(Level::Short), ["metric"]);
        assert_eq!(refused(Level::Full), ["update", "metric", "join", "handshake"]);
        assert_eq!(refused(Level::Exhausted), DEMANDS);
    }
}
