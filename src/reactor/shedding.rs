//! Which connections are to go when connections hold more than their share of the memory budget (LIM-06). Pure.
//!
//! What weighs is bytes times the time for which they are held: a long message that is on its way weighs less than a shorter one that never
//! comes to its end. Strangers go before those whom a token vouches for.

use std::cmp::Reverse;
use std::time::Duration;

use crate::base::time::millis;

/// A part of this size of what may be held is made free at a time, so that not each byte beyond it costs a look at all connections.
const SLACK: u64 = 8;

/// A connection that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) slot: u32,
    /// Nobody has vouched for it.
    pub(super) is_stranger: bool,
    pub(super) bytes: u64,
    /// For how long it has held something.
    pub(super) held: Duration,
}

impl Holder {
    fn weight(&self) -> u64 {
        self.bytes.saturating_mul(u64::from(millis(self.held)) + 1)
    }
}

/// How much is to go where so much is held and so much may be.
pub(super) fn excess(held: u64, held_max: u64) -> u64 {
    if held <= held_max { 0 } else { held - held_max + held_max / SLACK }
}

/// The slots of those that go, so that `excess` bytes are let go; all if there are not so many.
pub(super) fn choose(mut holders: Vec<Holder>, excess: u64) -> Vec<u32> {
    holders.sort_unstable_by_key(|holder| (Reverse(holder.is_stranger), Reverse(holder.weight()), holder.slot));
    let mut freed = 0;
    let goes = |holder: &Holder| {
        let goes = freed < excess;
        freed += holder.bytes;
        goes
    };
    holders.into_iter().take_while(goes).map(|holder| holder.slot).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holder(slot: u32, is_stranger: bool, bytes: u64, held_ms: u64) -> Holder {
        Holder { slot, is_stranger, bytes, held: Duration::from_millis(held_ms) }
    }

    #[test]
    fn strangers_go_first_then_what_is_held_most_and_longest() {
        let holders = vec![
            holder(0, false, 64_000, 10),
            holder(1, false, 16_000, 1_000),
            holder(2, true, 100, 0),
            holder(3, true, 15_000, 500),
            holder(4, false, 16_000, 2_000),
        ];
        assert_eq!(choose(holders.clone(), u64::MAX), [3, 2, 4, 1, 0]);
        assert_eq!(choose(holders.clone(), 15_000), [3]);
        assert_eq!(choose(holders.clone(), 15_001), [3, 2]);
        assert!(choose(holders, 0).is_empty());
    }

    #[test]
    fn who_is_within_the_limit_closes_nobody() {
        assert_eq!([excess(800, 800), excess(801, 800), excess(u64::MAX, u64::MAX)], [0, 101, 0]);
    }

    proptest! {
        /// LIM-06: whatever comes and goes, what is held is within the limit after each look; no more go than must, and no one who is vouched for
        /// while a stranger is left.
        #[test]
        fn what_is_held_stays_within_the_limit(
            steps in prop::collection::vec((0usize..16, 0u64..70_000, any::<bool>(), 0u64..100), 1..200),
            limit in 1u64..400_000,
        ) {
            let (mut held, mut now) = (vec![None::<(u64, bool, u64)>; 16], 0);
            for (at, bytes, is_stranger, passed) in steps {
                now += passed;
                held[at] = (bytes > 0).then(|| (bytes, is_stranger, held[at].map_or(now, |(_, _, since)| since)));
                let total = |held: &[Option<(u64, bool, u64)>]| held.iter().flatten().map(|(bytes, ..)| bytes).sum::<u64>();
                let excess = excess(total(&held), limit);
                let holders = held.iter().enumerate().filter_map(|(slot, entry)| {
                    entry.map(|(bytes, is_stranger, since)| holder(slot as u32, is_stranger, bytes, now - since))
                });
                let holders: Vec<_> = holders.collect();
                let gone = choose(holders.clone(), excess);
                let bytes_of = |slots: &[u32]| holders.iter().filter(|holder| slots.contains(&holder.slot)).map(|holder| holder.bytes).sum::<u64>();
                prop_assert!(gone.is_empty() || bytes_of(&gone[..gone.len() - 1]) < excess, "the last one had to go");
                let left = |holder: &&Holder| !gone.contains(&holder.slot);
                let is_vouched_gone = holders.iter().any(|holder| !holder.is_stranger && gone.contains(&holder.slot));
                prop_assert!(!is_vouched_gone || !holders.iter().filter(left).any(|holder| holder.is_stranger));
                for slot in gone {
                    held[slot as usize] = None;
                }
                prop_assert!(total(&held) <= limit);
            }
        }
    }
}
