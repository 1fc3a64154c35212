//! The audit trail's file in the data directory, its thread, and who tells it what administrators do.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::audit::{Entry, Kind};
use crate::base::limits::AUDIT_ENTRIES_MAX;
use crate::config::Config;
use crate::journal::audit::Book;
use crate::journal::auditor::{self, AuditStats, Auditor};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};
use crate::ops::admin::Caller;

use super::data_dir::DataDir;
use super::join;
use super::metrics::Sources;
use super::performance::Recorder;
use super::seat::{Seat, Work};

/// The audit trail's file in the data directory.
pub(super) const FILE: &str = "audit.db";

/// How long an administrator waits for room in the link.
const PATIENCE: Duration = Duration::from_secs(1);

/// The thread before it has its work: the reactors need the link first, and the work needs the reactors' figures.
pub(super) struct AuditSeat {
    seat: Seat<Auditor>,
    path: PathBuf,
    book: Book,
    trail: Arc<Link<Entry>>,
    pub(super) figures: AuditFigures,
}

/// What is counted of the trail, beside what reactors count.
#[derive(Clone, Default)]
pub(super) struct AuditFigures {
    pub(super) stats: Arc<AuditStats>,
    /// What administrators did and the trail has not.
    pub(super) admin_lost: Arc<AtomicU64>,
}

/// The thread at work.
pub(super) struct AuditHandle {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// Tells the trail, if there is one, what administrators do.
#[derive(Clone)]
pub(super) struct AdminTrail {
    trail: Option<(Arc<Link<Entry>>, AuditFigures)>,
    clock: Clock,
}

impl AuditSeat {
    /// Opens the file. One that `SQLite` does not read is set aside.
    pub(super) fn open(dir: &DataDir, instance: u32) -> Result<AuditSeat, String> {
        let path = dir.file(FILE);
        let (book, seat) = (auditor::open(&path, instance)?, Seat::start("audit")?);
        let trail = Arc::new(Link::new(AUDIT_ENTRIES_MAX, Arc::clone(&seat.door)));
        Ok(AuditSeat { seat, path, book, trail, figures: AuditFigures::default() })
    }

    /// The thread's.
    pub(super) fn door(&self) -> &Arc<Door> {
        &self.seat.door
    }

    /// Where reactors leave entries, if those are kept at all.
    pub(super) fn trail(&self, config: &Config) -> Option<Arc<Link<Entry>>> {
        (!config.audit_age.is_zero()).then(|| Arc::clone(&self.trail))
    }

    /// Sets the thread to work.
    pub(super) fn occupy(self, config: &Config, instance: u32, clock: Clock, sources: Sources) -> Result<AuditHandle, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut recorder = Recorder::new(sources, clock.now().wall_ms);
        let thread = self.seat.occupy(|door| Auditor {
            book: Some(self.book),
            path: self.path,
            instance,
            inbox: self.trail,
            door,
            clock,
            age: config.audit_age,
            measure: Box::new(move |now_ms| recorder.record(now_ms)),
            stats: self.figures.stats,
            stop: Arc::clone(&stop),
        })?;
        Ok(AuditHandle { thread, stop })
    }
}

impl AuditHandle {
    /// Ends the thread, which writes what it was given, and waits for it.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        join(self.thread);
    }
}

impl AdminTrail {
    /// One that leads to the thread of that seat.
    pub(super) fn new(seat: Option<&AuditSeat>, config: &Config, clock: Clock) -> AdminTrail {
        let trail = seat.and_then(|seat| Some((seat.trail(config)?, seat.figures.clone())));
        AdminTrail { trail, clock }
    }

    /// Tells that something was done, to that user if it was to one; `reason`: why it failed.
    pub(super) fn note(&self, caller: &Caller, what: &str, user: Option<&str>, reason: &'static str, count: u64) {
        let Some((trail, figures)) = &self.trail else { return };
        let entry = Entry::new(self.clock.now().wall_ms, Kind::Admin);
        let subject = caller.user.as_ref().map_or_else(|| what.to_owned(), |by| format!("{what} by {by}"));
        let mut entry = Entry { user: user.map(Arc::from), ip: caller.ip, subject: Some(subject.into()), reason, count, ..entry };
        let until = self.clock.mono().plus(PATIENCE);
        while let Err(back) = trail.push(entry) {
            if self.clock.mono() >= until {
                figures.admin_lost.fetch_add(1, Ordering::Relaxed);
                tracing::error!(event = "audit_lost", what, "the audit trail has no room for what an administrator did");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
            entry = back;
        }
    }
}

impl Work for Auditor {
    fn run(self) {
        Auditor::run(self);
    }
}
