//! Whether a thread makes progress, judged by the turns of its loop (HBT-06). Pure.
//!
//! What counts is looks, of which there is about one in a second, and not time: a process that was stopped for a while, or had no processor, did
//! not look either, and so finds nobody stalled when it goes on.

/// One thread's.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    turns: usize,
    silent_looks: u32,
    silent_looks_max: u32,
}

impl Pulse {
    /// A thread that is stalled if so many looks in a row found it where it was.
    pub fn new(silent_looks_max: u32) -> Pulse {
        Pulse { turns: 0, silent_looks: 0, silent_looks_max }
    }

    /// Looks at how many turns the thread has made; they wrap. How many looks it has been silent for, if it is stalled.
    pub fn look(&mut self, turns: usize) -> Option<u32> {
        self.silent_looks = if turns == self.turns { self.silent_looks.saturating_add(1) } else { 0 };
        self.turns = turns;
        (self.silent_looks >= self.silent_looks_max).then_some(self.silent_looks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HBT-06: one turn in a few looks is life; none is not, and it is over with the next.
    #[test]
    fn a_thread_is_stalled_while_it_stands_still_for_so_many_looks() {
        let mut pulse = Pulse::new(3);
        let seen: Vec<_> = [1, 1, 1, 2, 2, 2, 2, 2, 3, 3].map(|turns| pulse.look(turns)).into();
        assert_eq!(seen, [None, None, None, None, None, None, Some(3), Some(4), None, None]);
    }
}
