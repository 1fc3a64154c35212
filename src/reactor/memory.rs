//! The memory budget at a reactor: what it refuses at which level, and what it holds itself (LIM-06).

use tracing::{info, warn};

use crate::base::codes::{OVER_CAPACITY, Refusal};
use crate::base::lane::Lane;
use crate::base::limits::{MEMBERSHIP_BYTES, MEMORY_LOOK, STRANGERS_SHARE, UNFINISHED_SHARE, UNREAD_SHARE};
use crate::base::memory::{Change, Level};
use crate::base::time::Mono;

use super::Reactor;
use super::connection::Connection;
use super::core::Core;
use super::flush::Dirty;
use super::patience::PatienceLimits;
use super::shedding::{Holder, choose, excess};
use super::stats::{Reason, Shed};

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

/// What this reactor may hold in this turn, of what has a share of the budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// Input that is not complete.
    unfinished: u64,
    /// Of that, strangers.
    strangers: u64,
    /// What clients who take nothing leave unread, while memory is short.
    unread: u64,
    /// When readers are looked at again, where memory is not short yet.
    warn_at: Mono,
}

impl Default for Parts {
    fn default() -> Parts {
        Parts { unfinished: u64::MAX, strangers: u64::MAX, unread: u64::MAX, warn_at: Mono(0) }
    }
}

impl Core {
    /// Whether there is memory for that; the refusal is counted.
    pub(super) fn spare_memory(&self, demand: Demand) -> Result<(), Refusal> {
        self.can_spare(demand).inspect_err(|_| self.stats.memory_refused[demand.index()].inc())
    }

    /// The same, and nothing is counted.
    pub(super) fn can_spare(&self, demand: Demand) -> Result<(), Refusal> {
        if self.memory_level < demand.refused_from() {
            return Ok(());
        }
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
        let (memory, index) = (&self.core.memory, self.index);
        self.parts.unfinished = memory.part(UNFINISHED_SHARE, index, |reactor| &reactor.unfinished);
        self.parts.strangers = memory.part(STRANGERS_SHARE, index, |reactor| &reactor.strangers_unfinished);
        self.parts.unread = memory.part(UNREAD_SHARE, index, |reactor| &reactor.unread);
        let before = std::mem::replace(&mut self.core.memory_level, self.core.memory.level());
        if before < Level::Short && self.core.memory_level >= Level::Short {
            for slot in self.conns.taken() {
                if let Some(conn) = self.conns.at(slot).filter(|conn| conn.is_warned()) {
                    self.backlog.mark(slot, &mut conn.listed, Dirty::Bulk);
                }
            }
        }
        self.shed_unread();
        self.shed_unfinished();
    }

    /// When to look again though nothing happens here: while memory is short, and while this reactor holds of a share what others may come to need.
    pub(super) fn next_look(&self, now: Mono) -> Option<Mono> {
        let (memory, pressure) = (&self.core.memory, &self.pressure);
        let has_of_others = pressure.unfinished_bytes() > memory.even_part(UNFINISHED_SHARE)
            || pressure.strangers_unfinished_bytes() > memory.even_part(STRANGERS_SHARE);
        (has_of_others || self.core.memory_level > Level::Normal).then(|| now.plus(MEMORY_LOOK))
    }

    /// Closes those with input that is not complete, if all of it is more than its share. One turn can read more than there is memory for, so this
    /// is looked at after each connection, too.
    pub(super) fn shed_unfinished(&mut self) {
        let strangers = excess(self.pressure.strangers_unfinished_bytes(), self.parts.strangers);
        if strangers > 0 {
            let holders = self.holders(|conn, now| conn.as_holder(true, now));
            self.close_unfinished(choose(holders, strangers));
        }
        let all = excess(self.pressure.unfinished_bytes(), self.parts.unfinished);
        if all > 0 {
            let holders = self.holders(|conn, now| conn.as_holder(true, now).or_else(|| conn.as_holder(false, now)));
            self.close_unfinished(choose(holders, all));
        }
    }

    fn close_unfinished(&mut self, slots: Vec<u32>) {
        for slot in slots {
            let Some(conn) = self.conns.at(slot) else { continue };
            self.core.stats.closed_for_memory[Shed::Unfinished as usize].inc();
            let reason = conn.shed_unfinished(&mut self.core, &mut self.io);
            conn.account_unfinished(&mut self.pressure, &self.core);
            self.after_shedding(slot, reason);
        }
    }

    /// From 80 % on those who leave the most unread are warned, from 90 % on closed, until the level would end, or what all of them leave unread is
    /// within its share.
    fn shed_unread(&mut self) {
        let (level, now) = (self.core.memory_level, self.core.now.mono);
        let unread = excess(self.pressure.unread_bytes(), self.parts.unread);
        if level < Level::High || unread == 0 || (level == Level::High && now < self.parts.warn_at) {
            return;
        }
        self.parts.warn_at = now.plus(MEMORY_LOOK);
        let used = self.core.memory.excess().div_ceil(self.core.memory.reactors.len() as u64);
        let holders = self.holders(|conn, now| conn.as_reader(level, now));
        for slot in choose(holders, unread.min(used)) {
            let Some(conn) = self.conns.at(slot) else { continue };
            let reason = conn.shed_unread(&mut self.core);
            self.after_shedding(slot, reason);
        }
    }

    fn after_shedding(&mut self, slot: u32, reason: Option<Reason>) {
        if let Some(reason) = reason {
            return self.close(slot, reason);
        }
        if let Some(conn) = self.conns.at(slot) {
            conn.account(&mut self.pressure);
        }
        self.enlist(slot);
        self.schedule(slot);
    }

    fn holders(&mut self, mut holder_of: impl FnMut(&Connection, Mono) -> Option<Holder>) -> Vec<Holder> {
        let now = self.core.now.mono;
        let slots = self.conns.taken();
        slots.into_iter().filter_map(|slot| self.conns.at(slot).and_then(|conn| holder_of(conn, now))).collect()
    }

    /// Says what this reactor holds.
    pub(super) fn publish_memory(&self) {
        let own = &self.core.memory.reactors[usize::from(self.index)];
        let memberships = self.core.rooms.memberships() * MEMBERSHIP_BYTES;
        own.connections.set((self.pressure.own_bytes() + memberships) as u64);
        own.kernel.set(self.pressure.kernel_bytes() as u64);
        own.unfinished.set(self.pressure.unfinished_bytes());
        own.strangers_unfinished.set(self.pressure.strangers_unfinished_bytes());
        own.unread.set(self.pressure.unread_bytes());
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
