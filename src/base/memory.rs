//! The memory budget: what each thread holds, how far the whole is from the limit, and what is done about it at which level.
//!
//! What counts is what is held now, physically: a shared frame once, whoever it waits for. Each thread keeps a figure of its own, and the
//! sum is looked at once in a turn of a reactor: so it may be passed by what one turn takes in. What is fixed (links, tables of threads,
//! the program) and what the allocator keeps is beside it.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::counters::Counter;

/// How far the memory in use has come. Each level has the measures of those below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is enough.
    #[default]
    Normal,
    /// From 80 % on: a warning in the log.
    High,
    /// From 90 % on: `metric` events are refused, `update` states conflate longer, slow clients are closed when they would be warned.
    Short,
    /// From 100 % on: handshakes, joins and all events but alerts are refused.
    Full,
    /// From 110 % on: alerts too.
    Exhausted,
}

impl Level {
    /// All of them, ascending.
    pub const ALL: [Level; 5] = [Level::Normal, Level::High, Level::Short, Level::Full, Level::Exhausted];

    /// The name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::High => "high",
            Level::Short => "short",
            Level::Full => "full",
            Level::Exhausted => "exhausted",
        }
    }

    /// The percentage of the budget at which it begins; it ends [`HYSTERESIS`] below.
    const fn begins(self) -> u64 {
        match self {
            Level::Normal => 0,
            Level::High => 80,
            Level::Short => 90,
            Level::Full => 100,
            Level::Exhausted => 110,
        }
    }

    /// The level that follows when so much of the budget is used.
    #[must_use]
    pub fn next(self, used: u64, budget: u64) -> Level {
        let highest = |lowered_by: u64| {
            let is_reached = |level: &&Level| u128::from(used) * 100 >= u128::from(budget) * u128::from(level.begins() - lowered_by);
            Level::ALL[1..].iter().rev().find(is_reached).copied().unwrap_or_default()
        };
        highest(0).max(self.min(highest(HYSTERESIS)))
    }
}

/// A level ends so many percent below its beginning, so that it is not switched to and fro.
const HYSTERESIS: u64 = 10;

/// What one reactor holds.
#[derive(Debug, Default)]
pub struct ReactorMemory {
    /// Its connections: themselves, what was read of them and is not complete, places in their queues, answers.
    pub connections: Counter,
    /// What the kernel had not sent for those connections whose socket took no more, when that was found.
    pub kernel: Counter,
    /// Bytes of events sent to the hub, ever.
    pub published: Counter,
    /// Of what connections hold: input that is not complete.
    pub unfinished: Counter,
    /// Of that: what connections hold that nobody has vouched for.
    pub strangers_unfinished: Counter,
    /// What waits for clients who take nothing at present, with what the kernel holds for them. A shared frame counts for each.
    pub unread: Counter,
}

/// What the hub holds.
#[derive(Debug, Default)]
pub struct HubMemory {
    /// Rooms, keys and events that wait there, frames excepted.
    pub held: Counter,
    /// Bytes of events taken from the reactors, ever.
    pub taken: Counter,
}

/// All threads' figures, the budget, and the level.
#[derive(Debug)]
pub struct Memory {
    /// 0: none.
    budget: u64,
    level: AtomicU8,
    /// By their index.
    pub reactors: Vec<ReactorMemory>,
    /// The hub's.
    pub hub: HubMemory,
    /// What the journal knows of where its events are.
    pub journal: Counter,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The level before.
    pub from: Level,
    /// The level now.
    pub to: Level,
    /// Bytes in use.
    pub used: u64,
}

impl Memory {
    /// Nothing is held yet. A budget of 0 is none: the level never rises.
    pub fn new(budget: u64, reactors: usize) -> Memory {
        let reactors = std::iter::repeat_with(ReactorMemory::default).take(reactors).collect();
        Memory { budget, level: AtomicU8::new(0), reactors, hub: HubMemory::default(), journal: Counter::default() }
    }

    /// The budget in bytes; 0 for none.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// What is held where.
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        let sum = |of: fn(&ReactorMemory) -> &Counter| self.reactors.iter().map(|reactor| of(reactor).value()).sum::<u64>();
        [
            ("frames", live_frame_bytes() as u64),
            ("hub", self.hub.held.value()),
            ("journal", self.journal.value()),
            // The two are written by different threads, and the hub may have been faster.
            ("ingest", sum(|reactor| &reactor.published).saturating_sub(self.hub.taken.value())),
            ("connections", sum(|reactor| &reactor.connections)),
            ("kernel", sum(|reactor| &reactor.kernel)),
        ]
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// How many bytes less are to be in use for the level to end.
    pub fn excess(&self) -> u64 {
        let ends = u128::from(self.budget) * u128::from(self.level().begins().saturating_sub(HYSTERESIS)) / 100;
        self.used().saturating_sub(ends as u64)
    }

    /// How much of the budget's `share`th part a reactor may hold of something: as much as the others leave of it, and an equal part in any case.
    /// So if all hold more than the share, there is one that holds more than it may.
    pub fn part(&self, share: u64, reactor: u16, of: fn(&ReactorMemory) -> &Counter) -> u64 {
        if self.budget == 0 {
            return u64::MAX;
        }
        let (share, evenly) = (self.budget / share, self.even_part(share));
        let others = self.reactors.iter().enumerate().filter(|(index, _)| *index != usize::from(reactor));
        let others: u64 = others.map(|(_, other)| of(other).value()).sum();
        share.saturating_sub(others).max(evenly)
    }

    /// As much of that part as any reactor may hold, whatever the others do.
    pub fn even_part(&self, share: u64) -> u64 {
        if self.budget == 0 { u64::MAX } else { self.budget / share / self.reactors.len() as u64 }
    }

    /// The level as it was last found.
    pub fn level(&self) -> Level {
        Level::ALL[usize::from(self.level.load(Ordering::Relaxed))]
    }

    /// Finds the level as it is now. If it is another one, the only thread that is told is the one that found it first.
    pub fn look(&self) -> Option<Change> {
        if self.budget == 0 {
            return None;
        }
        let used = self.used();
        let from = self.level();
        let to = from.next(used, self.budget);
        if from == to || self.level.compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return None;
        }
        Some(Change { from, to, used })
    }
}

/// Bytes of all frames that are alive, in the whole process: frames are made by one thread and dropped by another.
static LIVE_FRAME_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What the allocator takes for so many bytes: its classes are an eighth of the next power of two apart (jemalloc's, and close to others').
pub fn allocated(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(16))
}

/// Counts a frame's bytes.
pub fn frame_made(bytes: usize) {
    LIVE_FRAME_BYTES.fetch_add(bytes, Ordering::Relaxed);
}

/// Counts them no more.
pub fn frame_dropped(bytes: usize) {
    LIVE_FRAME_BYTES.fetch_sub(bytes, Ordering::Relaxed);
}

/// Bytes of all frames that are alive.
pub fn live_frame_bytes() -> usize {
    LIVE_FRAME_BYTES.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn levels_begin_where_they_are_documented_and_end_ten_below() {
        let path = |percents: &[u64]| {
            percents.iter().fold((Level::Normal, Vec::new()), |(level, mut path), percent| {
                let next = level.next(percent * 10, 1000);
                path.push(next.name());
                (next, path)
            })
        };
        assert_eq!(path(&[79, 80, 71, 70, 69, 80]).1, ["normal", "high", "high", "high", "normal", "high"]);
        assert_eq!(path(&[90, 80, 79, 100, 90, 89]).1, ["short", "short", "high", "full", "full", "short"]);
        assert_eq!(path(&[109, 110, 100, 99, 60]).1, ["full", "exhausted", "exhausted", "full", "normal"]);
    }

    /// LIM-06, DLV-18: one word for each crossing.
    #[test]
    fn a_change_is_told_once_and_without_a_budget_there_is_none() {
        let share = 1 << 36;
        let (memory, none) = (Memory::new(10 * share, 2), Memory::new(0, 1));
        let mut looks = Vec::new();
        for tenths in [7, 8, 9, 8, 6] {
            memory.reactors[1].kernel.set(tenths * share);
            none.reactors[0].kernel.set(tenths * share);
            looks.push(memory.look().map(|change| change.to));
            assert_eq!((memory.look(), none.look()), (None, None));
        }
        // Live frames of other tests are some bytes more.
        assert_eq!(looks, [None, Some(Level::High), Some(Level::Short), None, Some(Level::Normal)]);
    }

    #[test]
    fn allocations_are_rounded_up_as_allocators_do() {
        let classes = [(0, 0), (1, 16), (17, 32), (112, 112), (129, 160), (300, 320), (4_000, 4_096), (60_100, 65_536), (70_000, 81_920)];
        for (bytes, class) in classes {
            assert_eq!(allocated(bytes), class, "{bytes}");
        }
    }

    #[test]
    fn what_the_hub_has_taken_is_on_its_way_no_more() {
        let memory = Memory::new(1, 1);
        let ingest = || memory.parts().into_iter().find(|(part, _)| *part == "ingest").unwrap().1;
        memory.reactors[0].published.set(100);
        assert_eq!(ingest(), 100);
        memory.hub.taken.set(70);
        assert_eq!(ingest(), 30);
        memory.hub.taken.set(130);
        assert_eq!(ingest(), 0);
    }

    #[test]
    fn without_a_budget_a_part_has_no_end() {
        assert_eq!(Memory::new(0, 2).part(8, 0, |reactor| &reactor.unfinished), u64::MAX);
    }

    proptest! {
        /// LIM-06: if all reactors together hold more than the share, one of them holds more than it may; if not, none does that is within it.
        #[test]
        fn parts_add_up_to_a_share(held in prop::collection::vec(0u64..1000, 1..8), share in 1u64..8) {
            let memory = Memory::new(8000, held.len());
            memory.reactors.iter().zip(&held).for_each(|(reactor, held)| reactor.unread.set(*held));
            let part = |index: usize| memory.part(share, index as u16, |reactor| &reactor.unread);
            let is_over = held.iter().sum::<u64>() > 8000 / share;
            prop_assert_eq!((0..held.len()).any(|index| held[index] > part(index)), is_over);
            prop_assert!((0..held.len()).all(|index| part(index) >= 8000 / share / held.len() as u64));
        }

        /// Whatever the path, the level is never below what is used, nor above what was used since it fell last; and it recovers.
        #[test]
        fn the_level_follows_what_is_used(used in prop::collection::vec(0u64..1300, 1..200)) {
            let mut level = Level::Normal;
            for used in used {
                let before = level;
                level = level.next(used, 1000);
                prop_assert!(used < 10 * Level::ALL.iter().find(|other| **other > level).map_or(u64::MAX / 10, |above| above.begins()));
                prop_assert!(level == Level::Normal || used >= 10 * (level.begins() - HYSTERESIS));
                prop_assert!(level <= before || used >= 10 * level.begins(), "it rises only where a level begins");
                prop_assert_eq!(level.next(used, 1000), level, "it rests while nothing changes");
            }
            prop_assert_eq!(level.next(699, 1000), Level::Normal);
        }
    }
}
