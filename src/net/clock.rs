//! The one place that reads the clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::{Mono, Now, nanos};

/// Reads both clocks. All threads share one origin, so that their times compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    #[cfg(test)]
    is_manual: bool,
}

impl Clock {
    /// A clock whose monotonic time starts now.
    pub fn start() -> Clock {
        Clock {
            origin: Instant::now(),
            #[cfg(test)]
            is_manual: false,
        }
    }

    /// Both times.
    pub fn now(&self) -> Now {
        #[cfg(test)]
        if self.is_manual {
            return manual::now();
        }
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now { mono: self.mono(), wall_ms }
    }

    /// The monotonic time alone.
    pub fn mono(&self) -> Mono {
        #[cfg(test)]
        if self.is_manual {
            return manual::now().mono;
        }
        Mono(nanos(self.origin.elapsed()))
    }
}

/// Time as a test wants it, for each thread its own.
#[cfg(test)]
pub mod manual {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    thread_local! {
        static NOW: Cell<Mono> = const { Cell::new(Mono(0)) };
        static STEP: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// Wall time when monotonic time begins.
    const WALL_MS: u64 = 1_700_000_000_000;

    /// A clock that stands at the beginning, but for `step` at each look at it.
    pub fn start(step: Duration) -> Clock {
        NOW.set(Mono(0));
        STEP.set(step);
        Clock { is_manual: true, ..Clock::start() }
    }

    /// Lets time pass.
    pub fn pass(duration: Duration) {
        NOW.set(NOW.get().plus(duration));
    }

    pub(super) fn now() -> Now {
        pass(STEP.get());
        let mono = NOW.get();
        Now { mono, wall_ms: WALL_MS + mono.0 / 1_000_000 }
    }
}
