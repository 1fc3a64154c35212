//! The search of a ramp: which factor to try next. Pure.

use crate::scenario::Ramp;

/// No server is faster than its first step by more than this, and no search takes longer.
const STEPS_MAX: u32 = 60;

/// See the module.
pub(super) struct Search {
    grow: f64,
    halvings_left: u32,
    steps_left: u32,
    next: f64,
    /// The highest that held.
    held: Option<f64>,
    /// The lowest that failed.
    failed: Option<f64>,
}

impl Search {
    /// Begins at the ramp's first step.
    pub(super) fn new(ramp: &Ramp) -> Search {
        Search { grow: ramp.grow, halvings_left: ramp.halvings, steps_left: STEPS_MAX, next: ramp.from, held: None, failed: None }
    }

    /// The factor to try; `None` once the search is over.
    pub(super) fn next(&self) -> Option<f64> {
        (self.steps_left > 0).then_some(self.next)
    }

    /// What became of that factor.
    pub(super) fn tell(&mut self, is_held: bool) {
        self.steps_left -= 1;
        if is_held {
            self.held = Some(self.next);
        } else {
            self.failed = Some(self.next);
        }
        match self.failed {
            None => self.next *= self.grow,
            Some(_) if self.halvings_left == 0 => self.steps_left = 0,
            Some(failed) => {
                self.halvings_left -= 1;
                self.next = f64::midpoint(self.held.unwrap_or(0.0), failed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The factors tried against a server that holds up to `limit`.
    fn search(from: f64, grow: f64, halvings: u32, limit: f64) -> Vec<f64> {
        let mut search = Search::new(&Ramp { from, grow, step_s: 1.0, halvings, bound: Vec::new() });
        let mut tried = Vec::new();
        while let Some(factor) = search.next() {
            tried.push(factor);
            search.tell(factor <= limit);
        }
        tried
    }

    proptest! {
        /// The best factor that held is within the last interval below the limit.
        #[test]
        fn the_limit_is_found(from in 0.1f64..2.0, grow in 1.2f64..3.0, halvings in 0u32..8, above in 1.0f64..20.0) {
            let limit = from * above;
            let tried = search(from, grow, halvings, limit);
            let best = tried.iter().copied().filter(|factor| *factor <= limit).fold(0.0, f64::max);
            let width = limit * (grow - 1.0) / f64::from(1u32 << halvings);
            prop_assert!(best <= limit && limit - best <= width * 1.001, "{best} for {limit}, tried {tried:?}");
        }
    }

    #[test]
    fn it_grows_and_then_halves() {
        assert_eq!(search(1.0, 2.0, 2, 5.0), [1.0, 2.0, 4.0, 8.0, 6.0, 5.0]);
        assert_eq!(search(1.0, 2.0, 0, 1.0), [1.0, 2.0]);
    }

    #[test]
    fn it_goes_below_the_first_step_if_that_fails() {
        assert_eq!(search(8.0, 2.0, 3, 3.0), [8.0, 4.0, 2.0, 3.0]);
    }

    #[test]
    fn a_server_without_limit_ends_it_too() {
        assert_eq!(search(1.0, 1.1, 3, f64::INFINITY).len(), STEPS_MAX as usize);
    }
}
