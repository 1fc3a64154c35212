//! How often the interesting things happened, and how long they took.

use std::collections::BTreeMap;

/// Of one run, or of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    counts: BTreeMap<&'static str, u64>,
    /// The most turns that everybody took to catch up when all was well again.
    pub(crate) turns_max: u64,
}

impl Seen {
    pub(crate) fn saw(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: Seen) {
        for (what, times) in other.counts {
            self.saw(what, times);
        }
        self.turns_max = self.turns_max.max(other.turns_max);
    }
}
