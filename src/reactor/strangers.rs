//! Connections that nobody has vouched for: without a token yet, or HTTP. There may be so many; a newer one ends the oldest, so that clients get in
//! however many hang there. One that was of use since it was last looked at is spared once (the clock algorithm).

use std::collections::VecDeque;

use crate::base::ids::ConnId;

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
    queue: VecDeque<ConnId>,
}

impl Strangers {
    /// Adds a connection that was accepted.
    pub(super) fn add(&mut self, id: ConnId) {
        self.queue.push_back(id);
    }

    /// Takes the one that is to make place. `standing` is asked about the oldest, and forgets that it was useful.
    pub(super) fn evict(&mut self, mut standing: impl FnMut(ConnId) -> Standing) -> Option<ConnId> {
        for _ in 0..self.queue.len() {
            let id = self.queue.pop_front()?;
            match standing(id) {
                Standing::Off => {}
                Standing::Useful => self.queue.push_back(id),
                Standing::Idle => return Some(id),
            }
        }
        None
    }

    /// Forgets those that are off, if there are many more of them than of the others.
    pub(super) fn tidy(&mut self, strangers: usize, mut is_off: impl FnMut(ConnId) -> bool) {
        if self.queue.len() > TIDY_BEYOND + 2 * strangers {
            self.queue.retain(|id| !is_off(*id));
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
        (0..5).for_each(|slot| strangers.add(id(slot)));
        let mut useful = true;
        let mut standing = |id: ConnId| match id.slot {
            0 => Standing::Off,
            1 if std::mem::replace(&mut useful, false) => Standing::Useful,
            _ => Standing::Idle,
        };
        let order: Vec<_> = std::iter::from_fn(|| strangers.evict(&mut standing)).map(|id| id.slot).collect();
        assert_eq!(order, [2, 3, 4, 1]);
        strangers.add(id(7));
        assert_eq!(strangers.evict(|_| Standing::Useful), None, "nobody goes who is being served");
        (8..1000).for_each(|slot| strangers.add(id(slot)));
        strangers.tidy(1, |id| id.slot != 8);
        assert_eq!(strangers.queue, [id(8)]);
    }
}
