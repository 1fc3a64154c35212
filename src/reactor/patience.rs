//! How long a reader may be behind: when it is slow, and is warned; and when it is too slow, and is closed (DLV-20). Pure.

use std::time::Duration;

use crate::base::limits::{SLOW_PATIENCE, SLOW_SHARE};
use crate::base::time::Mono;

/// What an operator allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct PatienceLimits {
    /// Bytes that may wait.
    pub(super) bytes_max: usize,
    /// How long they may.
    pub(super) timeout: Duration,
    /// Memory is short: whoever is slow is too slow.
    pub(super) is_short: bool,
}

/// What waits for a reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backlog {
    pub(super) bytes: usize,
    /// Since when the oldest of it waits.
    pub(super) oldest: Option<Mono>,
    /// Something found no room.
    pub(super) is_overflowed: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    KeepsUp,
    /// It is slow, and was not told.
    Warn,
    /// It is too slow.
    Close,
}

/// One reader's: whether it was warned since it had read all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    is_warned: bool,
}

impl Patience {
    /// Looks at what waits. After a warning there is no other until [`Patience::renew`].
    pub(super) fn judge(&mut self, backlog: &Backlog, limits: &PatienceLimits, now: Mono) -> Verdict {
        let has_waited = |time: Duration| backlog.oldest.is_some_and(|oldest| oldest.plus(time) <= now);
        if backlog.is_overflowed || has_waited(limits.timeout) {
            return Verdict::Close;
        }
        let is_slow = self.is_warned || backlog.bytes > limits.bytes_max / SLOW_SHARE || has_waited(limits.timeout / SLOW_PATIENCE);
        if is_slow && limits.is_short {
            return Verdict::Close;
        }
        if is_slow && !self.is_warned {
            self.is_warned = true;
            return Verdict::Warn;
        }
        Verdict::KeepsUp
    }

    /// Warns of what is not judged here; whether that is the first warning.
    pub(super) fn warn(&mut self) -> bool {
        !std::mem::replace(&mut self.is_warned, true)
    }

    /// When the oldest of what waits has waited for too long, for a warning or for good.
    pub(super) fn next(self, oldest: Mono, limits: &PatienceLimits) -> Mono {
        oldest.plus(if self.is_warned { limits.timeout } else { limits.timeout / SLOW_PATIENCE })
    }

    /// Whether it was warned, and has not read all since then.
    pub(super) fn is_warned(self) -> bool {
        self.is_warned
    }

    /// All is read.
    pub(super) fn renew(&mut self) {
        self.is_warned = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: PatienceLimits = PatienceLimits { bytes_max: 1000, timeout: Duration::from_secs(30), is_short: false };

    fn backlog(bytes: usize, oldest_s: Option<u64>) -> Backlog {
        Backlog { bytes, oldest: oldest_s.map(at), is_overflowed: false }
    }

    fn at(second: u64) -> Mono {
        Mono(second * 1_000_000_000)
    }

    #[test]
    fn half_of_the_queue_or_five_seconds_are_warned_of_once_and_thirty_are_too_long() {
        let mut patience = Patience::default();
        assert_eq!(patience.judge(&backlog(500, Some(6)), &LIMITS, at(10)), Verdict::KeepsUp);
        assert_eq!(patience.next(at(6), &LIMITS), at(11));
        assert_eq!(patience.judge(&backlog(500, Some(6)), &LIMITS, at(11)), Verdict::Warn);
        assert_eq!(patience.judge(&backlog(1000, Some(6)), &LIMITS, at(35)), Verdict::KeepsUp);
        assert_eq!(patience.next(at(6), &LIMITS), at(36));
        assert_eq!(patience.judge(&backlog(1, Some(6)), &LIMITS, at(36)), Verdict::Close);
        patience.renew();
        assert_eq!(patience.judge(&backlog(501, Some(40)), &LIMITS, at(40)), Verdict::Warn);
        assert_eq!(patience.judge(&Backlog { is_overflowed: true, ..backlog(1000, None) }, &LIMITS, at(40)), Verdict::Close);
    }

    /// LIM-06: the grace ends where memory does.
    #[test]
    fn while_memory_is_short_who_is_slow_is_closed() {
        let short = PatienceLimits { is_short: true, ..LIMITS };
        let mut patience = Patience::default();
        assert_eq!(patience.judge(&backlog(500, Some(6)), &short, at(10)), Verdict::KeepsUp);
        assert_eq!(patience.judge(&backlog(501, Some(6)), &short, at(10)), Verdict::Close);
        assert_eq!(patience.judge(&backlog(501, Some(6)), &LIMITS, at(10)), Verdict::Warn);
        assert_eq!(patience.judge(&backlog(100, Some(6)), &short, at(10)), Verdict::Close, "it was warned");
    }

    proptest! {
        /// Whoever is closed for his age was warned in time, if he was looked at when it was due; nobody is warned twice.
        #[test]
        fn who_is_closed_was_warned(steps in prop::collection::vec((0usize..1200, 0u64..4), 1..100)) {
            let (mut patience, mut now, mut oldest) = (Patience::default(), 0, 0);
            let mut warned_at = None;
            for (bytes, seconds) in steps {
                now += seconds;
                if bytes < 100 {
                    patience.renew();
                    (oldest, warned_at) = (now, None);
                    continue;
                }
                match patience.judge(&backlog(bytes, Some(oldest)), &LIMITS, at(now)) {
                    Verdict::Warn => {
                        prop_assert!(warned_at.is_none());
                        warned_at = Some(now);
                    }
                    Verdict::Close => {
                        prop_assert!(now >= oldest + 30 && warned_at.is_some_and(|at| at <= oldest + 5 + 3));
                        break;
                    }
                    Verdict::KeepsUp => prop_assert!(warned_at.is_some() || (bytes <= 500 && now < oldest + 5)),
                }
            }
        }
    }
}
