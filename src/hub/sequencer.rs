//! The local answer to "which number is next?": counted here, given at once.

use crate::base::lane::PerLane;

use super::ports::{NeedSeq, Sequenced};

/// Counts each (room, lane) from 1. With Redis, its place is taken by the bridge.
#[derive(Default)]
pub struct LocalSequencer {
    /// By room slot: the occupant's generation and the last numbers given.
    last: Vec<(u32, PerLane<u64>)>,
}

impl LocalSequencer {
    /// The next number of that (room, lane).
    pub fn assign(&mut self, need: NeedSeq) -> Sequenced {
        let slot = need.room.slot as usize;
        if self.last.len() <= slot {
            self.last.resize(slot + 1, (0, [0; 3]));
        }
        let (generation, last) = &mut self.last[slot];
        if *generation != need.room.generation {
            (*generation, *last) = (need.room.generation, [0; 3]);
        }
        let last = &mut last[need.lane.index()];
        *last = need.head.max(*last) + 1;
        Sequenced { pending: need.pending, seq: *last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::RoomId;
    use crate::base::lane::Lane;
    use crate::hub::ports::PendingId;

    #[test]
    fn each_lane_counts_from_one_and_a_new_occupant_starts_again() {
        let mut sequencer = LocalSequencer::default();
        let mut next = |generation, lane| {
            let room = RoomId { slot: 3, generation };
            sequencer.assign(NeedSeq { pending: PendingId { slot: 0, generation: 0 }, room, lane, head: 0 }).seq
        };
        assert_eq!([next(0, Lane::Alert), next(0, Lane::Alert), next(0, Lane::Metric)], [1, 2, 1]);
        assert_eq!(next(1, Lane::Alert), 1);
    }
}
