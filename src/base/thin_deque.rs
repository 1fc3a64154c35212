//! A queue that is empty most of the time, for what there are many of: 8 bytes, and no heap while it is empty.

use std::collections::VecDeque;

/// See the module.
#[derive(Clone, Debug)]
#[expect(clippy::box_collection, reason = "the box is what makes it thin: an empty `VecDeque` has 32 bytes")]
pub struct ThinDeque<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for ThinDeque<T> {
    fn default() -> ThinDeque<T> {
        ThinDeque(None)
    }
}

impl<T> ThinDeque<T> {
    /// Appends.
    pub fn push_back(&mut self, element: T) {
        self.0.get_or_insert_default().push_back(element);
    }

    /// Takes the first; with the last element goes the memory.
    pub fn pop_front(&mut self) -> Option<T> {
        let queue = self.0.as_mut()?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.0 = None;
        }
        first
    }

    /// Takes out the first that is wanted.
    pub fn remove_first(&mut self, is_wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let queue = self.0.as_mut()?;
        let at = queue.iter().position(is_wanted)?;
        let wanted = queue.remove(at);
        if queue.is_empty() {
            self.0 = None;
        }
        wanted
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// All, the first first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|queue| queue.iter())
    }

    /// All, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flat_map(|queue| queue.iter_mut())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_wanted_is_taken_out_and_the_others_keep_their_order() {
        let mut thin = ThinDeque::default();
        (0..5).for_each(|element| thin.push_back(element));
        assert_eq!((thin.remove_first(|element| element % 2 == 1), thin.remove_first(|element| *element > 4)), (Some(1), None));
        assert!(thin.iter().eq(&[0, 2, 3, 4]));
        while thin.remove_first(|_| true).is_some() {}
        assert!(thin.0.is_none());
    }

    proptest! {
        #[test]
        fn it_is_a_deque_that_has_no_heap_while_empty(ops in prop::collection::vec(prop::option::of(any::<u8>()), 0..60)) {
            let (mut thin, mut model) = (ThinDeque::default(), VecDeque::new());
            for op in ops {
                if let Some(element) = op {
                    thin.push_back(element);
                    model.push_back(element);
                } else {
                    prop_assert_eq!(thin.pop_front(), model.pop_front());
                }
                thin.iter_mut().chain(&mut model).for_each(|element| *element = element.wrapping_add(1));
                prop_assert!(thin.iter().eq(&model));
                prop_assert_eq!((thin.len(), thin.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(thin.0.is_none(), model.is_empty());
            }
        }
    }
}
