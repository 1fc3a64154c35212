//! A hashed timer wheel: coarse deadlines for many connections at a cost that does not depend on how many. Pure.
//!
//! Deadlines are rounded up to a tick, so a timer never fires early, and at most one tick late. There is no cancel: the owner
//! of a key decides when it fires whether the deadline still is one.

use std::time::Duration;

use crate::base::time::{Mono, nanos};

/// Slots of the wheel; a deadline further away stays in its slot for another round.
const SLOTS: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Wheel {
    tick_ns: u64,
    slots: Box<[Vec<Timer>]>,
    /// One bit for each slot that is not empty.
    occupied: [u64; SLOTS / 64],
    /// All ticks up to this one have fired.
    tick: u64,
}

/// A deadline and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timer {
    /// When.
    pub at: Mono,
    /// Whose; the wheel does not care.
    pub key: u64,
}

impl Wheel {
    /// A wheel of that granularity, whose time begins at `now`.
    pub fn new(tick: Duration, now: Mono) -> Wheel {
        let tick_ns = nanos(tick).max(1);
        let slots = std::iter::repeat_with(Vec::new).take(SLOTS).collect();
        Wheel { tick_ns, slots, occupied: [0; SLOTS / 64], tick: now.0 / tick_ns }
    }

    /// Adds a timer. One that is due already fires at the next tick.
    pub fn insert(&mut self, timer: Timer) {
        let slot = (self.due_tick(timer) % SLOTS as u64) as usize;
        self.slots[slot].push(timer);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Moves on to `now` and appends what is due, in no particular order.
    pub fn advance(&mut self, now: Mono, fired: &mut Vec<Timer>) {
        let target = now.0 / self.tick_ns;
        let steps = target.saturating_sub(self.tick).min(SLOTS as u64);
        for step in 1..=steps {
            self.fire(((self.tick + step) % SLOTS as u64) as usize, target, fired);
        }
        self.tick = self.tick.max(target);
    }

    /// The next time at which [`Wheel::advance`] may have something to do.
    pub fn next(&self) -> Option<Mono> {
        let first = self.tick + 1;
        let ahead = (0..SLOTS as u64).step_by(64).find_map(|skip| self.first_in_window(first + skip).map(|bit| skip + bit))?;
        Some(Mono((first + ahead).saturating_mul(self.tick_ns)))
    }

    /// The first occupied slot among the 64 from that tick on.
    fn first_in_window(&self, tick: u64) -> Option<u64> {
        let slot = (tick % SLOTS as u64) as usize;
        let (word, shift) = (slot / 64, slot % 64);
        let low = self.occupied[word] >> shift;
        let high = if shift == 0 { 0 } else { self.occupied[(word + 1) % self.occupied.len()] << (64 - shift) };
        let window = low | high;
        (window != 0).then(|| u64::from(window.trailing_zeros()))
    }

    fn fire(&mut self, slot: usize, target: u64, fired: &mut Vec<Timer>) {
        let tick_ns = self.tick_ns;
        let timers = &mut self.slots[slot];
        timers.retain(|timer| {
            let due = timer.at.0.div_ceil(tick_ns) <= target;
            if due {
                fired.push(*timer);
            }
            !due
        });
        if timers.is_empty() {
            // A crowd that came at once is spread over other slots when its timers come again.
            *timers = Vec::new();
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }

    fn due_tick(&self, timer: Timer) -> u64 {
        timer.at.0.div_ceil(self.tick_ns).max(self.tick + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

    use super::*;

    const TICK_NS: u64 = 100;

    fn wheel() -> Wheel {
        Wheel::new(Duration::from_nanos(TICK_NS), Mono(0))
    }

    #[test]
    fn next_names_the_tick_that_fires() {
        let mut wheel = wheel();
        assert_eq!(wheel.next(), None);
        wheel.insert(Timer { at: Mono(70_001), key: 1 });
        let next = wheel.next().unwrap();
        assert_eq!(next, Mono(70_100));
        let mut fired = Vec::new();
        wheel.advance(Mono(next.0 - 1), &mut fired);
        assert!(fired.is_empty());
        wheel.advance(next, &mut fired);
        assert_eq!(fired.len(), 1);
        assert_eq!(wheel.next(), None);
    }

    proptest! {
        /// Against a heap: nothing early, nothing lost, nothing twice, at most a tick late, and `next` never oversleeps.
        #[test]
        fn fires_what_a_heap_fires(steps in prop::collection::vec((0u64..300_000, 0u64..40_000), 1..200)) {
            let (mut wheel, mut heap, mut now) = (wheel(), BinaryHeap::new(), 0u64);
            for (key, (delay, pass)) in steps.into_iter().enumerate() {
                let timer = Timer { at: Mono(now.saturating_sub(50_000) + delay), key: key as u64 };
                wheel.insert(timer);
                heap.push(Reverse((timer.at.0.div_ceil(TICK_NS).max(now / TICK_NS + 1), timer)));
                let next_tick = wheel.next().map(|next| next.0 / TICK_NS);
                prop_assert!(next_tick <= heap.peek().map(|Reverse((tick, _))| *tick));
                now += pass;
                let mut fired = Vec::new();
                wheel.advance(Mono(now), &mut fired);
                let mut due = Vec::new();
                while heap.peek().is_some_and(|Reverse((tick, _))| *tick <= now / TICK_NS) {
                    due.extend(heap.pop().map(|Reverse((_, timer))| timer));
                }
                fired.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(fired, due);
            }
        }
    }
}
