//! The thread that brings entries to disk: it takes all that wait, writes and syncs them at once, and tells the hub. The more there is, the
//! bigger the batch: nobody waits for a batch to fill.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base::memory::Memory;
use crate::hub::journal::{Entry, Report};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};

use super::log::{Log, Retention};
use super::stats::JournalStats;

/// Entries in one batch.
const BATCH_ENTRIES: usize = 4 * 1024;
/// Bytes in one batch, about.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How soon a disk that fails is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often old segments are looked for.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// How soon a full link to the hub is tried again.
const RETRY_REPORT: Duration = Duration::from_millis(1);

/// What the thread owns or shares.
pub struct Writer {
    /// The log.
    pub log: Log,
    /// From the hub.
    pub inbox: Arc<Link<Entry>>,
    /// Where that leads.
    pub door: Arc<Door>,
    /// To the hub.
    pub reports: Arc<Link<Report>>,
    /// Who follows the log.
    pub follower: Option<Arc<Door>>,
    /// How long events are kept.
    pub retention: Retention,
    /// For `ts`.
    pub clock: Clock,
    /// Where it says what its index takes.
    pub memory: Arc<Memory>,
    /// The figures, for the scrape.
    pub stats: Arc<JournalStats>,
    /// Set, and the door rung, when the thread shall end.
    pub stop: Arc<AtomicBool>,
}

impl Writer {
    /// Runs until told to stop, and everything is written that it was given.
    pub fn run(mut self) {
        let (mut batch, mut written, mut trim_at) = (Vec::new(), 0, Instant::now());
        loop {
            self.door.turn();
            self.fill(&mut batch);
            if !batch.is_empty() {
                if !self.write(&batch) {
                    return;
                }
                written += batch.len() as u64;
                batch.clear();
                self.report(Report::Committed { entry: written });
                if let Some(follower) = &self.follower {
                    follower.ring();
                }
            } else if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if Instant::now() >= trim_at {
                self.trim();
                trim_at = Instant::now() + TRIM_EVERY;
            }
            self.memory.journal.set(self.log.index_bytes());
            self.sleep();
        }
    }

    fn fill(&self, batch: &mut Vec<Entry>) {
        let mut bytes = 0;
        while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            let Some(entry) = self.inbox.pop() else { return };
            bytes += entry.cost();
            batch.push(entry);
        }
    }

    /// Writes the batch, however long the disk does not take it. False if it never did, and the thread shall end.
    fn write(&mut self, batch: &[Entry]) -> bool {
        let mut is_told = false;
        loop {
            self.door.turn();
            let begun = Instant::now();
            match self.log.append(batch) {
                Ok(()) => {
                    self.stats.wrote(batch.len() as u64, self.log.bytes(), begun.elapsed());
                    if is_told {
                        tracing::info!(event = "journal_recovered", "the journal is written again");
                    }
                    return true;
                }
                Err(error) => {
                    self.stats.failed();
                    let reason: Arc<str> = error.to_string().into();
                    if !is_told {
                        tracing::error!(event = "journal_failing", %error, "the journal cannot be written: durable publishes are refused until it can; make room, or mend the disk");
                        is_told = true;
                    }
                    self.report(Report::Failing { reason });
                }
            }
            if self.stop.load(Ordering::Relaxed) {
                tracing::error!(
                    event = "journal_lost",
                    entries = batch.len(),
                    "the daemon ends, and these entries were not written: nobody was told that they are safe"
                );
                return false;
            }
            std::thread::park_timeout(RETRY);
        }
    }

    fn trim(&mut self) {
        if !self.log.is_there() {
            tracing::error!(
                event = "journal_gone",
                "a file of the journal was removed under the daemon: events in it are lost with the next restart; another one is begun"
            );
            self.log.begin_again();
        }
        match self.log.trim(self.retention, self.clock.now().wall_ms) {
            Ok(trimmed) if trimmed.is_empty() => {}
            Ok(trimmed) => {
                self.stats.set_bytes(self.log.bytes());
                self.report(Report::Trimmed(trimmed));
            }
            Err(error) => tracing::warn!(event = "journal_not_trimmed", %error, "an old segment could not be dropped; it is tried again"),
        }
    }

    fn report(&self, report: Report) {
        push(&self.reports, report, &self.door, &self.stop);
    }

    fn sleep(&self) {
        self.door.arm();
        if self.inbox.is_empty() && !self.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(TRIM_EVERY);
        }
        self.door.disarm();
    }
}

/// Pushes and rings, waiting for room: the hub never waits for us. When all ends, nobody may be there to make room.
pub(super) fn push(reports: &Link<Report>, report: Report, door: &Door, stop: &AtomicBool) {
    let mut report = report;
    while let Err(back) = reports.push(report) {
        door.turn(); // it is the hub that does not come round
        if stop.load(Ordering::Relaxed) {
            return;
        }
        reports.ring();
        std::thread::park_timeout(RETRY_REPORT);
        report = back;
    }
    reports.ring();
}
