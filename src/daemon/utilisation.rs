//! One warning each time that a queue fills up: beyond 80 %, and again only after it was below 70 % (DLV-18).

use crate::base::limits::{DELIVERY_SLOTS, JOURNAL_BYTES_MAX, JOURNAL_ENTRIES_MAX};
use crate::hub::HubStats;

/// From where on publishers are told to slow down, too.
const WARN_PERCENT: usize = 80;
/// Below this, the next crossing is told again.
const REARM_PERCENT: usize = 70;

/// The queues between threads, as they were last looked at.
#[derive(Default)]
pub(super) struct Utilisation {
    /// In the order of [`Utilisation::look`], whether each is known to be filled.
    filled: Vec<bool>,
}

/// A queue, and how full it is.
pub(super) struct Queue {
    pub(super) name: &'static str,
    /// Of several of that name.
    pub(super) index: usize,
    pub(super) used: usize,
    pub(super) max: usize,
}

impl Queue {
    /// A link to a reactor; the slots for answers are not counted.
    pub(super) fn reactor(index: usize, used: usize) -> Queue {
        Queue { name: "reactor", index, used, max: DELIVERY_SLOTS }
    }

    /// What waits for the disk, by number and by bytes.
    pub(super) fn journal(stats: &HubStats) -> [Queue; 2] {
        let (entries, bytes) = (stats.journal_entries as usize, stats.journal_bytes as usize);
        [
            Queue { name: "journal_entries", index: 0, used: entries, max: JOURNAL_ENTRIES_MAX },
            Queue { name: "journal_bytes", index: 0, used: bytes, max: JOURNAL_BYTES_MAX },
        ]
    }
}

impl Utilisation {
    /// Looks at all queues, always the same ones in the same order, and warns of those that have filled up since.
    pub(super) fn look(&mut self, queues: impl IntoIterator<Item = Queue>) {
        for queue in self.crossed(queues) {
            tracing::warn!(
                event = "queue_filling",
                queue = queue.name,
                index = queue.index,
                used = queue.used,
                max = queue.max,
                "a queue is filled to more than {WARN_PERCENT} %: publishers are told to slow down, and refused when it is full"
            );
        }
    }

    fn crossed(&mut self, queues: impl IntoIterator<Item = Queue>) -> Vec<Queue> {
        let mut crossed = Vec::new();
        for (at, queue) in queues.into_iter().enumerate() {
            if at == self.filled.len() {
                self.filled.push(false);
            }
            let was_filled = self.filled[at];
            let percent = queue.used * 100 / queue.max.max(1);
            self.filled[at] = percent > WARN_PERCENT || (was_filled && percent >= REARM_PERCENT);
            if self.filled[at] && !was_filled {
                crossed.push(queue);
            }
        }
        crossed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DLV-18: once for each crossing, whichever other queues do.
    #[test]
    fn each_crossing_is_told_once() {
        let mut utilisation = Utilisation::default();
        let mut told = |first: usize, second: usize| -> Vec<usize> {
            let queues = [first, second].into_iter().enumerate().map(|(index, used)| Queue { name: "q", index, used, max: 1000 });
            utilisation.crossed(queues).iter().map(|queue| queue.index).collect()
        };
        assert_eq!(told(0, 809), [0; 0]);
        assert_eq!(told(810, 0), [0]);
        assert_eq!(told(1000, 900), [1]);
        assert_eq!(told(700, 699), [0; 0], "the first has not been below 70 %");
        assert_eq!(told(900, 820), [1]);
        assert_eq!(told(0, 0), [0; 0]);
        assert_eq!(told(1000, 1000), [0, 1]);
    }
}
