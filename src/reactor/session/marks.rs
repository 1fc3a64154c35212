//! What is so or not so of a session, in one byte: each connection has one.

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks(u8);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// The limits of addresses hold for it.
    Limited = 1,
    /// Its client was told that the token is about to end.
    ExpiryNoticed = 2,
    /// Log and audit trail were told that its client is turned away.
    TurnedAway = 4,
}

impl Marks {
    pub(super) fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    pub(super) fn set(&mut self, mark: Mark, is_so: bool) {
        self.0 = if is_so { self.0 | mark as u8 } else { self.0 & !(mark as u8) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_its_own() {
        let mut marks = Marks::default();
        let told = |marks: Marks| [Mark::Limited, Mark::ExpiryNoticed, Mark::TurnedAway].map(|mark| marks.has(mark));
        marks.set(Mark::ExpiryNoticed, true);
        assert_eq!(told(marks), [false, true, false]);
        marks.set(Mark::TurnedAway, true);
        marks.set(Mark::Limited, true);
        marks.set(Mark::ExpiryNoticed, false);
        assert_eq!(told(marks), [true, false, true]);
    }
}
