//! Counters and histograms that one thread writes and the scrape reads: relaxed loads and stores, no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
        let ns = crate::base::time::nanos(duration);
        let index = BUCKETS_US.partition_point(|bound_us| bound_us * 1_000 < ns);
        self.buckets[index].add(n);
        self.sum_ns.add(ns.saturating_mul(n));
    }

    /// The counts of each bucket (not cumulative) and the sum in nanoseconds, from any thread.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot { buckets: std::array::from_fn(|i| self.buckets[i].value()), sum_ns: self.sum_ns.value() }
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
    /// Adds another thread's snapshot.
    pub fn merge(&mut self, other: &HistogramSnapshot) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_ns += other.sum_ns;
    }
}
