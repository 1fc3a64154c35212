//! The thread that keeps the audit trail and the performance records. Nobody waits for it, and no promise hangs on it: while the disk takes
//! nothing, what is told fills the link, and whoever finds that full counts what it drops.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::audit::Entry;
use crate::base::counters::Counter;
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};

use super::audit::{Book, Performance};
use super::sqlite::{OpenError, is_damage, set_aside};

/// Entries in one transaction.
const BATCH_ENTRIES: usize = 1000;
/// How often the link is looked at, if nobody rings: what is written at once costs less.
const WRITE_EVERY: Duration = Duration::from_millis(250);
/// How soon a disk that fails is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Performance records that wait for a disk that fails; further ones take the place of the oldest.
const RECORDS_MAX: usize = 60;
/// In milliseconds.
const MINUTE: u64 = 60_000;

/// What the thread counts.
#[derive(Default)]
pub struct AuditStats {
    /// Entries written.
    pub entries: Counter,
    /// Writes that the disk did not take, each try counted.
    pub failures: Counter,
}

/// What the thread owns or shares.
pub struct Auditor {
    /// The file; none while it is not known to be whole.
    pub book: Option<Book>,
    /// Where it is.
    pub path: PathBuf,
    /// Tells this start of the daemon from others.
    pub instance: u32,
    /// From reactors and administrators.
    pub inbox: Arc<Link<Entry>>,
    /// Where that leads.
    pub door: Arc<Door>,
    /// For `ts`.
    pub clock: Clock,
    /// How long entries are kept.
    pub age: Duration,
    /// Makes a record of the time since it was called last, which is to end then.
    pub measure: Box<dyn FnMut(u64) -> Performance + Send>,
    /// The figures, for the scrape.
    pub stats: Arc<AuditStats>,
    /// Set, and the thread unparked, when it shall end.
    pub stop: Arc<AtomicBool>,
}

/// What waits to be written.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    records: Vec<Performance>,
}

impl Auditor {
    /// Runs until told to stop; what waits is written then, and the record of the last minute, however short it is.
    pub fn run(mut self) {
        let (mut batch, mut is_failing, mut has_old) = (Batch::default(), false, true);
        let mut minute = self.clock.now().wall_ms / MINUTE;
        loop {
            self.door.turn();
            let (is_ending, now_ms) = (self.stop.load(Ordering::Relaxed), self.clock.now().wall_ms);
            let is_minute_over = now_ms / MINUTE != std::mem::replace(&mut minute, now_ms / MINUTE);
            let is_last = is_ending && self.inbox.len() + batch.entries.len() <= BATCH_ENTRIES;
            if is_minute_over || is_last {
                batch.add((self.measure)(now_ms));
            }
            let free = BATCH_ENTRIES - batch.entries.len();
            batch.entries.extend(std::iter::from_fn(|| self.inbox.pop()).take(free));
            has_old |= is_minute_over;
            let written = self.write(&mut batch).and_then(|()| self.forget(&mut has_old, now_ms));
            self.tell(written, &mut is_failing);
            if is_last || (is_ending && is_failing) {
                return self.tell_unwritten(&batch);
            }
            if is_failing {
                std::thread::park_timeout(RETRY);
            } else if !is_ending && !has_old && self.inbox.len() < BATCH_ENTRIES {
                self.sleep();
            }
        }
    }

    /// Writes what waits.
    fn write(&mut self, batch: &mut Batch) -> Result<(), String> {
        if batch.entries.is_empty() && batch.records.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.book()?.write(&batch.entries, &batch.records) {
            return self.fail(&error);
        }
        self.stats.entries.add(batch.entries.len() as u64);
        *batch = Batch::default();
        Ok(())
    }

    /// Lets go some of what is too old or too much.
    fn forget(&mut self, has_old: &mut bool, now_ms: u64) -> Result<(), String> {
        if *has_old {
            let age = self.age;
            match self.book()?.forget(now_ms, age) {
                Ok(more) => *has_old = more,
                Err(error) => return self.fail(&error),
            }
        }
        Ok(())
    }

    /// The file, a new one if need be.
    fn book(&mut self) -> Result<&mut Book, String> {
        if self.book.as_ref().is_some_and(|book| !book.is_there()) {
            tracing::error!(event = "audit_gone", "audit.db was removed under the daemon, and is begun anew");
            self.book = None;
        }
        let book = match self.book.take() {
            Some(book) => book,
            None => open(&self.path, self.instance)?,
        };
        Ok(self.book.insert(book))
    }

    /// Lets the file go after an error: it is opened anew, or another one is begun.
    fn fail(&mut self, error: &rusqlite::Error) -> Result<(), String> {
        self.book = None;
        if is_damage(error) {
            put_aside(&self.path, error)?;
        }
        Err(error.to_string())
    }

    /// Logs what changed, once.
    fn tell(&self, written: Result<(), String>, is_failing: &mut bool) {
        let was_failing = std::mem::replace(is_failing, written.is_err());
        if let Err(error) = written {
            self.stats.failures.inc();
            if !was_failing {
                tracing::error!(
                    event = "audit_failing",
                    error,
                    "audit.db cannot be written; it is tried again: make room, mend the disk, or end what locks it"
                );
            }
        } else if was_failing {
            tracing::info!(event = "audit_recovered", "audit.db is written again");
        }
    }

    fn tell_unwritten(&self, batch: &Batch) {
        let entries = batch.entries.len() + self.inbox.len();
        if entries > 0 {
            tracing::error!(event = "audit_unwritten", entries, "the last entries of the audit trail are lost");
        }
    }

    fn sleep(&self) {
        self.door.arm();
        if self.inbox.len() < self.inbox.capacity() / 2 && !self.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(WRITE_EVERY);
        }
        self.door.disarm();
    }
}

impl Batch {
    fn add(&mut self, record: Performance) {
        if self.records.len() >= RECORDS_MAX {
            self.records.remove(0);
        }
        self.records.push(record);
    }
}

/// Opens the file. One that is damaged is set aside, and another one begun.
pub fn open(path: &Path, instance: u32) -> Result<Book, String> {
    match Book::open(path, instance) {
        Ok(book) => return Ok(book),
        Err(OpenError::Damaged(error)) => put_aside(path, &error)?,
        Err(OpenError::Other(told)) => return Err(told),
    }
    Book::open(path, instance).map_err(|error| match error {
        OpenError::Damaged(error) => format!("cannot make {}: {error}", path.display()),
        OpenError::Other(told) => told,
    })
}

fn put_aside(path: &Path, damage: &rusqlite::Error) -> Result<(), String> {
    let aside = set_aside(path)?;
    tracing::warn!(event = "audit_damaged", error = %damage, "{} is damaged and was set aside as {}", path.display(), aside.display());
    Ok(())
}
