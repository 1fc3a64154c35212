//! A table whose slots carry a generation, so that an id of a former occupant finds nothing.

/// See the module.
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts a value, made from its slot and generation, into a free slot.
    pub(super) fn insert(&mut self, make: impl FnOnce(u32, u32) -> T) -> (u32, u32) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.value.is_none(), "a free slot is empty");
        slot.value = Some(make(index, slot.generation));
        (index, slot.generation)
    }

    pub(super) fn get(&self, index: u32, generation: u32) -> Option<&T> {
        self.slots.get(index as usize).filter(|slot| slot.generation == generation)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize).filter(|slot| slot.generation == generation)?.value.as_mut()
    }

    /// Empties the slot, whose next occupant gets the next generation.
    pub(super) fn remove(&mut self, index: u32, generation: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize).filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    /// Occupied slots.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All slots, occupied or not.
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Whatever occupies that slot now.
    pub(super) fn at(&self, index: usize) -> Option<&T> {
        self.slots.get(index)?.value.as_ref()
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, index: usize) -> Option<&mut T> {
        self.slots.get_mut(index)?.value.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ARC-07: a slot's next owner is never reached by an id of the former one.
    #[test]
    fn an_id_dies_with_its_occupant() {
        let mut slots = Slots::default();
        let first = slots.insert(|_, _| "first");
        assert_eq!(slots.remove(first.0, first.1), Some("first"));
        let second = slots.insert(|_, _| "second");
        assert_eq!(second.0, first.0, "the slot is used again");
        assert_eq!(slots.get(first.0, first.1), None);
        assert_eq!(slots.remove(first.0, first.1), None);
        assert_eq!(slots.get(second.0, second.1), Some(&"second"));
        assert_eq!((slots.len(), slots.capacity()), (1, 1));
    }
}
