//! The figures of the analytics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::counters::Counter;

/// Each is written by one thread alone: those of marks that were set aside by the hub's, drift by the one that verifies, the rest by the analytics'.
#[derive(Default)]
pub(in crate::daemon) struct AnalyticsStats {
    /// Accounts known.
    pub(in crate::daemon) accounts: Counter,
    /// Bytes that they take, about.
    pub(in crate::daemon) accounts_bytes: Counter,
    /// Fills, cash flows and marks that count.
    pub(in crate::daemon) fills: Counter,
    /// See above.
    pub(in crate::daemon) flows: Counter,
    /// See above.
    pub(in crate::daemon) marks: Counter,
    /// Fills among them that were older than what was known, so that a day was computed again.
    pub(in crate::daemon) late: Counter,
    /// Inputs that were there already.
    pub(in crate::daemon) duplicates: Counter,
    /// Inputs that do not count, and were kept aside.
    pub(in crate::daemon) refused: Counter,
    /// Marks replaced by newer ones before they counted, those of the hub's side left out.
    pub(in crate::daemon) conflated: Counter,
    /// The same on the hub's side.
    pub(in crate::daemon) conflated_by_hub: Counter,
    /// Marks for which there was no place at all.
    pub(in crate::daemon) lost: Counter,
    /// Events published.
    pub(in crate::daemon) published: Counter,
    /// Events that the hub refused for good.
    pub(in crate::daemon) unpublished: Counter,
    /// Bytes of the journal that were not read yet.
    pub(in crate::daemon) behind_bytes: Counter,
    /// How old the last event read was then, in milliseconds; 0 when nothing is left to read.
    pub(in crate::daemon) lag_ms: Counter,
    /// Segments of the journal that were gone before they were read.
    pub(in crate::daemon) missed: Counter,
    /// Whether the file was opened, and has the states of all accounts.
    open: AtomicBool,
    /// Whether the file cannot be used, or nothing be published.
    failing: AtomicBool,
    /// Accounts whose kept numbers are not those that come of a recomputation.
    drifted: AtomicU64,
    /// Rounds of verification.
    pub(in crate::daemon) verified: Counter,
}

impl AnalyticsStats {
    pub(super) fn set_open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    pub(super) fn set_drifted(&self, accounts: u64) {
        self.drifted.store(accounts, Ordering::Relaxed);
    }

    /// Accounts that have drifted.
    pub(in crate::daemon) fn drifted(&self) -> u64 {
        self.drifted.load(Ordering::Relaxed)
    }

    /// What is wrong, if anything is.
    pub(in crate::daemon) fn fault(&self) -> Option<String> {
        if self.failing.load(Ordering::Relaxed) {
            return Some("numbers are not kept, or not published: see the log for `analytics_failing`".to_owned());
        }
        let drifted = self.drifted();
        (drifted > 0).then(|| format!("{drifted} accounts have other numbers than a recomputation: run `tickerd verify`"))
    }
}
