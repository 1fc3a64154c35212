//! Counters and histograms that one thread writes and the scrape reads: relaxed loads and stores, no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::time::{Mono, nanos};

/// A counter or gauge with one writing thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one. Only the owning thread may call this.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`. Only the owning thread may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets a gauge. Only the owning thread may call this.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value, from any thread.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the histogram's buckets in microseconds, a 1-2-5 series from 10 µs to 10 s; one more bucket takes the rest.
pub const BUCKETS_US: [u64; 19] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000,
    10_000_000,
];

/// The same of what takes long, sessions and absences: in seconds, up to a week; one more bucket takes the rest.
pub const LONG_BUCKETS_S: [u64; BUCKETS_US.len()] =
    [1, 2, 5, 10, 15, 20, 30, 45, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400, 604_800];

/// The bounds of [`BUCKETS_US`] in nanoseconds, and one that nothing is beyond.
const BOUNDS_NS: [u64; BUCKETS_US.len() + 1] = {
    let (mut bounds, mut at) = ([u64::MAX; BUCKETS_US.len() + 1], 0);
    while at < BUCKETS_US.len() {
        bounds[at] = BUCKETS_US[at] * 1_000;
        at += 1;
    }
    bounds
};

/// By its length in bits, how many bounds a duration in nanoseconds is beyond at least. It may be beyond one more: no two bounds have the same
/// length.
const BUCKET_BY_BITS: [u8; 65] = {
    let (mut by_bits, mut bits) = ([0; 65], 0);
    while bits <= 64 {
        let shortest = if bits == 0 { 0 } else { 1 << (bits - 1) };
        while BOUNDS_NS[by_bits[bits] as usize] < shortest {
            by_bits[bits] += 1;
        }
        bits += 1;
    }
    by_bits
};

/// A histogram of durations with one writing thread, in Prometheus' shape.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    buckets: [Counter; BUCKETS_US.len() + 1],
    sum_ns: Counter,
}

impl DurationHistogram {
    /// Records one duration. Only the owning thread may call this.
    pub fn record(&self, duration: Duration) {
        self.record_n(duration, 1);
    }

    /// Records `n` equal durations. Only the owning thread may call this.
    pub fn record_n(&self, duration: Duration, n: u64) {
        let ns = nanos(duration);
        self.buckets[bucket(ns)].add(n);
        self.sum_ns.add(ns.saturating_mul(n));
    }

    /// Records a duration in the buckets of [`LONG_BUCKETS_S`]: a histogram is either of these alone or of the others. Only the owning thread
    /// may call this.
    pub fn record_long(&self, duration: Duration) {
        let ns = nanos(duration);
        self.buckets[LONG_BUCKETS_S.partition_point(|bound_s| bound_s * 1_000_000_000 < ns)].inc();
        self.sum_ns.add(ns);
    }

    /// Records how long ago each of some moments was. Only the owning thread may call this.
    pub fn record_times(&self, times: &Times, now: Mono) {
        let (Some(first), Some(last)) = (times.sorted.first(), times.sorted.last()) else { return };
        let (shortest, longest) = (bucket(nanos(now.since(*last))), bucket(nanos(now.since(*first))));
        let mut later = 0; // moments that are counted already
        for (bound_us, count) in BUCKETS_US.iter().zip(&self.buckets).take(longest).skip(shortest) {
            let earliest = Mono(now.0.saturating_sub(bound_us * 1_000));
            let within = times.sorted.len() - times.sorted.partition_point(|at| *at < earliest);
            count.add((within - later) as u64);
            later = within;
        }
        self.buckets[longest].add((times.sorted.len() - later) as u64);
        self.sum_ns.add(times.sum_until(now));
    }

    /// The counts of each bucket (not cumulative) and the sum in nanoseconds, from any thread.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot { buckets: std::array::from_fn(|i| self.buckets[i].value()), sum_ns: self.sum_ns.value() }
    }
}

/// The bucket of a duration.
#[inline]
fn bucket(ns: u64) -> usize {
    let at = usize::from(BUCKET_BY_BITS[64 - ns.leading_zeros() as usize]);
    at + usize::from(BOUNDS_NS[at] < ns)
}

/// Some moments, in order, to be recorded together and again and again: what a batch of events has in common for all who get it.
#[derive(Clone, Debug, Default)]
pub struct Times {
    sorted: Vec<Mono>,
    sum: u128,
}

impl Times {
    /// Adds a moment: cheaply if it is not before the last one.
    pub fn add(&mut self, at: Mono) {
        self.sum += u128::from(at.0);
        if self.sorted.last().is_none_or(|last| *last <= at) {
            self.sorted.push(at);
        } else {
            self.sorted.insert(self.sorted.partition_point(|other| *other <= at), at);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The sum of their distances to `now`, which none of them is later than.
    fn sum_until(&self, now: Mono) -> u64 {
        let sum = (u128::from(now.0) * self.sorted.len() as u128).saturating_sub(self.sum);
        u64::try_from(sum).unwrap_or(u64::MAX)
    }
}

/// A histogram's values at one moment; snapshots of several threads add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Count in each bucket, the last one being beyond the last bound.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// Sum of all durations in nanoseconds.
    pub sum_ns: u64,
}

impl HistogramSnapshot {
    /// How many durations it has, over those of `before`.
    pub fn count_since(&self, before: &HistogramSnapshot) -> u64 {
        self.buckets.iter().sum::<u64>().saturating_sub(before.buckets.iter().sum())
    }

    /// Adds another thread's snapshot.
    pub fn merge(&mut self, other: &HistogramSnapshot) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_ns += other.sum_ns;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_duration_is_in_its_bucket() {
        let by_search = |ns: u64| BUCKETS_US.partition_point(|bound_us| bound_us * 1_000 < ns);
        for bound in BUCKETS_US.map(|us| us * 1_000).into_iter().chain((0..64).map(|bits| 1 << bits)).chain([0, u64::MAX]) {
            for ns in [bound.saturating_sub(1), bound, bound.saturating_add(1)] {
                assert_eq!(bucket(ns), by_search(ns), "{ns}");
            }
        }
    }

    #[test]
    fn long_durations_have_buckets_of_their_own() {
        let histogram = DurationHistogram::default();
        for s in [0, 1, 2, 3_600, 604_800, 604_801] {
            histogram.record_long(Duration::from_secs(s));
        }
        let HistogramSnapshot { buckets, sum_ns } = histogram.snapshot();
        assert_eq!((buckets[0], buckets[1], buckets[13], buckets[18], buckets[19]), (2, 1, 1, 1, 1));
        assert_eq!(sum_ns, 1_213_204_000_000_000);
    }

    proptest! {
        /// Recording many moments at once is recording each of them.
        #[test]
        fn together_is_as_one_by_one(times in prop::collection::vec(0u64..40_000_000_000, 0..50), later in 0u64..1_000_000) {
            let now = Mono(times.iter().max().unwrap_or(&0) + later);
            let (together, alone) = (DurationHistogram::default(), DurationHistogram::default());
            let mut moments = Times::default();
            for at in times.into_iter().map(Mono) {
                moments.add(at);
                alone.record(now.since(at));
            }
            together.record_times(&moments, now);
            prop_assert_eq!(together.snapshot(), alone.snapshot());
        }
    }
}
