//! The clock that events are stamped with, and the processor time of this process.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC`, nanoseconds: the same for all processes of this machine.
pub fn now_ns() -> u64 {
    ns(ClockId::Monotonic)
}

/// Processor seconds of this process so far, all its threads.
pub fn process_cpu_s() -> f64 {
    ns(ClockId::ProcessCPUTime) as f64 / 1e9
}

fn ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
