//! Time as data. Pure modules get it as an argument; only `net::clock` reads a clock.

use std::time::Duration;

/// Monotonic nanoseconds since the process started: windows, deadlines, latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mono(pub u64);

impl Mono {
    /// A time that never comes.
    pub const NEVER: Mono = Mono(u64::MAX);

    /// This time plus `duration`, at most [`Mono::NEVER`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(nanos(duration)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Both times at one moment. Monotonic for order and latency, wall for what people and tokens read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub mono: Mono,
    /// Unix time in milliseconds: `ts` on frames, `exp` of tokens.
    pub wall_ms: u64,
}

/// A duration in milliseconds, rounded up, saturating.
pub fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// A duration in nanoseconds, saturating (584 years).
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
