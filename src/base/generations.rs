//! A map that is bounded by forgetting: what was put in lately is there, and when that is enough, what came before it goes at once.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

/// Holds the last `half` entries at least, and twice as many at most. An entry that is used is not kept for longer.
#[derive(Clone, Debug)]
pub struct Generations<K, V> {
    half: usize,
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
}

impl<K: Hash + Eq, V> Generations<K, V> {
    /// An empty map of at most that many entries; it has no memory before the first.
    pub fn new(entries_max: usize) -> Generations<K, V> {
        Generations { half: entries_max.div_ceil(2).max(1), young: HashMap::default(), old: HashMap::default() }
    }

    /// The value last put in under that key, if it is still there.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Puts a value in.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// How many entries there are; one that was put in again may count twice.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The last `half` different keys are there with their last values, and there are never more than twice as many.
        #[test]
        fn it_keeps_the_latest_and_stays_bounded(keys in prop::collection::vec(0u8..40, 0..300), entries_max in 1usize..24) {
            let mut map = Generations::new(entries_max);
            for (at, key) in keys.iter().enumerate() {
                map.insert(*key, at);
                prop_assert!(map.len() <= 2 * entries_max.div_ceil(2));
                let recent = &keys[(at + 1).saturating_sub(entries_max.div_ceil(2))..=at];
                for key in recent {
                    prop_assert_eq!(map.get(key).copied(), keys[..=at].iter().rposition(|other| other == key));
                }
            }
            prop_assert_eq!(map.is_empty(), keys.is_empty());
        }
    }
}
