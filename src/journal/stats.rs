//! The journal's figures.

use std::time::Duration;

use crate::base::counters::{Counter, DurationHistogram};

/// Written by the writer's thread alone.
#[derive(Default)]
pub struct JournalStats {
    /// Entries synced.
    pub entries: Counter,
    /// How long each batch took to write and sync.
    pub commits: DurationHistogram,
    /// Batches that the disk did not take, each try counted.
    pub failures: Counter,
    /// Bytes of all segments.
    pub bytes: Counter,
}

impl JournalStats {
    pub(super) fn wrote(&self, entries: u64, bytes: u64, took: Duration) {
        self.entries.add(entries);
        self.commits.record(took);
        self.bytes.set(bytes);
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    pub(super) fn set_bytes(&self, bytes: u64) {
        self.bytes.set(bytes);
    }
}
