//! Numbers that should come as 1, 2, 3, …: what is wrong when another comes.

/// What a number was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One more than the last.
    Next,
    /// Later than that: so many did not come before it.
    Skipped(u64),
    /// It came before.
    Duplicate,
    /// It had not come, but later ones had.
    Late,
}

/// A run of numbers. The last 64 are known one by one; of older ones, how many did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    last: u64,
    /// Bit `i`: the number `last - i` came, or was never to come.
    seen: u64,
    holes: u64,
}

impl Sequence {
    /// The number to come next is `first`.
    pub fn from(first: u64) -> Sequence {
        Sequence { last: first.saturating_sub(1), seen: u64::MAX, holes: 0 }
    }

    /// The highest that came.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many up to the last did not come.
    pub fn holes(&self) -> u64 {
        self.holes
    }

    /// Takes the next number that came.
    #[inline]
    pub fn step(&mut self, number: u64) -> Step {
        if number == self.last.wrapping_add(1) {
            self.last = number;
            self.seen = self.seen << 1 | 1;
            return Step::Next;
        }
        self.jump(number)
    }

    #[cold]
    fn jump(&mut self, number: u64) -> Step {
        if number > self.last {
            let skipped = number - self.last - 1;
            self.advance(number);
            self.seen |= 1;
            self.holes = self.holes.saturating_add(skipped);
            return Step::Skipped(skipped);
        }
        if self.fill(number) { Step::Late } else { Step::Duplicate }
    }

    /// The numbers `from..=to` will not come, and it was told. Returns how many are untold before them, and how many told ones are news.
    pub fn told(&mut self, from: u64, to: u64) -> (u64, u64) {
        let ahead = to.saturating_sub(self.last.max(from.saturating_sub(1)));
        let skipped = if ahead > 0 { from.saturating_sub(self.last.saturating_add(1)) } else { 0 };
        let behind = (from.max(self.last.saturating_sub(63))..=to.min(self.last)).filter(|number| self.fill(*number)).count() as u64;
        if ahead > 0 {
            self.advance(to);
            self.seen |= if ahead >= 64 { u64::MAX } else { (1 << ahead) - 1 };
            self.holes = self.holes.saturating_add(skipped);
        }
        (skipped, ahead + behind)
    }

    fn advance(&mut self, to: u64) {
        let by = to - self.last;
        self.seen = if by >= 64 { 0 } else { self.seen << by };
        self.last = to;
    }

    /// Marks a number at or before the last as come; `false` if it had been.
    fn fill(&mut self, number: u64) -> bool {
        let back = self.last - number;
        let was_open = if back < 64 {
            let open = self.seen >> back & 1 == 0;
            self.seen |= 1 << back;
            open
        } else {
            self.holes > u64::from(self.seen.count_zeros())
        };
        self.holes -= u64::from(was_open && self.holes > 0);
        was_open
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Within its window it says what a set of all numbers would say.
        #[test]
        fn it_says_what_a_set_says(numbers in prop::collection::vec(1u64..60, 1..80)) {
            let (mut sequence, mut came, mut last) = (Sequence::from(1), BTreeSet::new(), 0);
            for number in numbers {
                let expected = match number {
                    next if next == last + 1 => Step::Next,
                    later if later > last => Step::Skipped(later - last - 1),
                    old if came.contains(&old) => Step::Duplicate,
                    _ => Step::Late,
                };
                prop_assert_eq!(sequence.step(number), expected);
                came.insert(number);
                last = last.max(number);
                prop_assert_eq!((sequence.last(), sequence.holes()), (last, last - came.len() as u64));
            }
        }

        /// What was told is no hole.
        #[test]
        fn told_numbers_are_no_holes(before in 1u64..100, hole in 0u64..5, told in 1u64..100, after in 1u64..5) {
            let mut sequence = Sequence::from(1);
            for number in 1..=before {
                sequence.step(number);
            }
            let from = before + 1 + hole;
            prop_assert_eq!(sequence.told(from, from + told - 1), (hole, told));
            for number in 0..after {
                prop_assert_eq!(sequence.step(from + told + number), Step::Next);
            }
            prop_assert_eq!(sequence.holes(), hole);
        }
    }

    #[test]
    fn what_is_told_late_fills_the_hole() {
        let mut sequence = Sequence::from(10);
        assert_eq!(sequence.step(14), Step::Skipped(4));
        assert_eq!(sequence.told(10, 12), (0, 3));
        assert_eq!((sequence.holes(), sequence.last()), (1, 14));
    }

    #[test]
    fn far_behind_the_window_the_count_decides() {
        let mut sequence = Sequence::from(1);
        assert_eq!(sequence.step(2), Step::Skipped(1));
        for number in 3..200 {
            assert_eq!(sequence.step(number), Step::Next);
        }
        assert_eq!(sequence.step(1), Step::Late);
        assert_eq!(sequence.step(1), Step::Duplicate);
        assert_eq!(sequence.holes(), 0);
    }
}
