//! Connections that nobody has vouched for: without a token yet, or HTTP. There may be so many; a newer one ends the oldest, so that clients get in
//! however many hang there. One that was of use since it was last looked at is spared once (the clock algorithm). One that has only just come is
//! not ended, for its request may be on the way: rather no more are accepted for a moment, and the kernel holds them.

use std::collections::VecDeque;

use crate::base::ids::ConnId;
use crate::base::limits::STRANGER_GRACE;
use crate::base::time::Mono;

/// A list no longer than this is not worth tidying.
const TIDY_BEYOND: usize = 256;

/// What a connection on the list is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Gone, or not a stranger any more.
    Off,
    /// A request of it is being served, or was since the last look.
    Useful,
    /// Nothing speaks for it.
    Idle,
}

/// See the module. Oldest first; may name connections that are off the list.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    queue: VecDeque<(ConnId, Mono)>,
}

impl Strangers {
    /// Adds a connection that was accepted.
    pub(super) fn add(&mut self, id: ConnId, now: Mono) {
        self.queue.push_back((id, now));
    }

    /// Takes the one that is to make place, if it did not come just now. `standing` is asked about the oldest, and forgets that it was useful.
    pub(super) fn evict(&mut self, now: Mono, mut standing: impl FnMut(ConnId) -> Standing) -> Option<ConnId> {
        for _ in 0..self.queue.len() {
            let (id, came) = self.queue.pop_front()?;
            match standing(id) {
                Standing::Off => {}
                Standing::Useful => self.queue.push_back((id, came)),
                Standing::Idle if now.since(came) < STRANGER_GRACE => {
                    self.queue.push_front((id, came));
                    return None;
                }
                Standing::Idle => return Some(id),
            }
        }
        None
    }

    /// Forgets those that are off, if there are many more of them than of the others.
    pub(super) fn tidy(&mut self, strangers: usize, mut is_off: impl FnMut(ConnId) -> bool) {
        if self.queue.len() > TIDY_BEYOND + 2 * strangers {
            self.queue.retain(|(id, _)| !is_off(*id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> ConnId {
        ConnId { reactor: 0, slot, generation: 0 }
    }

    /// LIM-10.
    #[test]
    fn the_oldest_goes_and_the_useful_are_spared() {
        let mut strangers = Strangers::default();
        let [then, later] = [Mono(0), Mono(0).plus(STRANGER_GRACE)];
        (0..5).for_each(|slot| strangers.add(id(slot), then));
        let mut useful = true;
        let mut standing = |id: ConnId| match id.slot {
            0 => Standing::Off,
            1 if std::mem::replace(&mut useful, false) => Standing::Useful,
            _ => Standing::Idle,
        };
        let order: Vec<_> = std::iter::from_fn(|| strangers.evict(later, &mut standing)).map(|id| id.slot).collect();
        assert_eq!(order, [2, 3, 4, 1]);
        strangers.add(id(7), then);
        assert_eq!(strangers.evict(later, |_| Standing::Useful), None, "nobody goes who is being served");
        (8..1000).for_each(|slot| strangers.add(id(slot), then));
        strangers.tidy(1, |id| id.slot != 8);
        assert_eq!(strangers.queue, [(id(8), then)]);
    }

    /// LIM-10, PRF-08: nobody is ended before the request can have come.
    #[test]
    fn who_has_just_come_is_not_ended() {
        let mut strangers = Strangers::default();
        (0..3).for_each(|slot| strangers.add(id(slot), Mono(u64::from(slot))));
        let mut evict = |later| strangers.evict(Mono(later).plus(STRANGER_GRACE), |_| Standing::Idle).map(|id| id.slot);
        assert_eq!((evict(0), evict(0), evict(2), evict(2), evict(2)), (Some(0), None, Some(1), Some(2), None));
    }
}
