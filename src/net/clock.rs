//! The one place that reads the clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::{Mono, Now, nanos};

/// Reads both clocks. All threads share one origin, so that their times compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic time starts now.
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Both times.
    pub fn now(&self) -> Now {
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now { mono: self.mono(), wall_ms }
    }

    /// The monotonic time alone.
    pub fn mono(&self) -> Mono {
        Mono(nanos(self.origin.elapsed()))
    }
}
