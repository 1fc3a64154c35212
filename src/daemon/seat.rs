//! Threads that are started before their work is put together, and several that work together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, bounded};

use crate::net::link::{Door, Waker};

use super::{join, spawn};

/// How far these threads step back, as a rule, for the hub and the reactors (`nice`): where cores are few, a push would wait for the commit of the event that
/// it is about. `benches/journal.rs` shows it.
const NICE: i32 = 5;

/// What the thread does.
pub(super) trait Work: Send + 'static {
    /// How far the thread steps back.
    const NICE: i32 = NICE;

    fn run(self);
}

/// A thread before it has its work: the links that lead to it need its door.
pub(super) struct Seat<W> {
    thread: JoinHandle<()>,
    work: Sender<W>,
    pub(super) door: Arc<Door>,
}

impl<W: Work> Seat<W> {
    /// Starts the thread, which waits for its work.
    pub(super) fn start(name: &str) -> Result<Seat<W>, String> {
        let (work, inbox) = bounded::<W>(1);
        let thread = spawn(name, move || {
            // On Linux, of this thread alone. A sandbox may forbid it.
            rustix::process::setpriority_process(None, W::NICE).ok();
            if let Ok(work) = inbox.recv() {
                work.run();
            }
        })?;
        let door = Door::new(Waker::Thread(thread.thread().clone()));
        Ok(Seat { thread, work, door })
    }

    /// Gives it its work.
    pub(super) fn occupy(self, work: impl FnOnce(Arc<Door>) -> W) -> Result<JoinHandle<()>, String> {
        self.work.send(work(self.door)).map_err(|_| "a thread ended before it began".to_owned())?;
        Ok(self.thread)
    }
}

/// Threads that work together, with the figures of their work.
pub(super) struct Crew<S> {
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) doors: Vec<(String, Arc<Door>)>,
    /// Set, and each of them woken, when they shall end.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) stats: Arc<S>,
}

impl<S> Crew<S> {
    /// The figures.
    pub(super) fn stats(&self) -> Arc<S> {
        Arc::clone(&self.stats)
    }

    /// The threads' names and doors.
    pub(super) fn doors(&self) -> &[(String, Arc<Door>)] {
        &self.doors
    }

    /// Ends the threads, which finish what they were given, and waits for them.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            join(thread);
        }
    }
}
