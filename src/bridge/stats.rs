//! The bridge's figures.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::counters::{Counter, DurationHistogram};

/// Each is written by one thread alone.
#[derive(Default)]
pub struct BridgeStats {
    /// Events that the store has answered for.
    pub appended: Counter,
    /// How long the store took for each batch.
    pub appends: DurationHistogram,
    /// Batches that the store did not take, each try counted.
    pub failures: Counter,
    /// Events that the feed brought.
    pub fed: Counter,
    /// Shards that were read anew, because something was missed or another epoch began.
    pub resyncs: Counter,
    /// 0: all is well. 1: the store is left alone for a while, after failures. 2: one try is made to see.
    breaker: AtomicU64,
}

impl BridgeStats {
    pub(super) fn set_breaker(&self, code: u64) {
        self.breaker.store(code, Ordering::Relaxed);
    }

    /// The state of the circuit breaker, as a code.
    pub fn breaker(&self) -> u64 {
        self.breaker.load(Ordering::Relaxed)
    }
}

/// The figures of ingest.
#[derive(Default)]
pub struct IngestStats {
    /// Entries that were published, or had been before.
    pub accepted: Counter,
    /// Entries that never will be, and were set aside.
    pub refused: Counter,
    /// Entries that were tried again later, each try counted.
    pub retried: Counter,
    /// Streams that this node publishes from.
    pub leases: Counter,
    /// Whether the streams cannot be read.
    pub failing: AtomicBool,
}
