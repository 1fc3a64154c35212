//! The thread that brings entries to disk.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::base::memory::Memory;
use crate::hub::journal::Report;
use crate::journal::log::Retention;
use crate::journal::stats::JournalStats;
use crate::journal::writer::Writer;
use crate::net::clock::Clock;
use crate::net::link::{Door, Link, Waker};

/// What the thread shares.
struct Shared {
    inbox: Arc<Link<Entry>>,
    reports: Arc<Link<Report>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

fn start(log: Log) -> Shared {
    let (work, seat) = crossbeam::channel::bounded::<Writer>(1);
    let thread = std::thread::spawn(move || seat.recv().expect("it gets its work").run());
    let door = Door::new(Waker::Thread(thread.thread().clone()));
    let inbox = Arc::new(Link::new(64, Arc::clone(&door)));
    let reports = Arc::new(Link::new(1, Door::new(Waker::Thread(std::thread::current()))));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = Writer {
        follower: None,
        log,
        inbox: Arc::clone(&inbox),
        door,
        reports: Arc::clone(&reports),
        retention: Retention { age: Duration::from_secs(1 << 40), bytes: u64::MAX },
        clock: Clock::start(),
        memory: Arc::new(Memory::new(0, 1)),
        stats: Arc::new(JournalStats::default()),
        stop: Arc::clone(&stop),
    };
    assert!(work.send(writer).is_ok());
    Shared { inbox, reports, stop, thread }
}

impl Shared {
    fn give(&self, entries: impl Iterator<Item = Entry>) {
        entries.for_each(|entry| assert!(self.inbox.push(entry).is_ok()));
        self.inbox.ring();
    }

    /// The number of the last entry that is safe, when that is this one or a later one.
    fn committed(&self, at_least: u64) -> u64 {
        loop {
            match self.reports.pop() {
                Some(Report::Committed { entry }) if entry >= at_least => return entry,
                Some(Report::Committed { entry }) => assert!(entry > 0, "nothing was committed"),
                Some(other) => panic!("{other:?}"),
                None => std::thread::yield_now(),
            }
        }
    }
}

/// DLV-12: entries are counted from the first one on, over all batches; and what was given is written before the thread ends.
#[test]
fn entries_are_counted_over_batches_and_none_is_left_behind() {
    let scratch = Scratch::new();
    let shared = start(scratch.open().log);
    shared.give((1..=3).map(|seq| event("a", seq)));
    assert_eq!(shared.committed(3), 3);
    shared.give((4..=5).map(|seq| event("a", seq)));
    assert_eq!(shared.committed(5), 5);
    assert_eq!(read(&scratch.open().log, "a", 0, 9).len(), 5, "what is committed is on the disk");
    shared.give((6..=9).map(|seq| event("a", seq)));
    shared.stop.store(true, Ordering::Relaxed);
    shared.inbox.ring();
    shared.thread.join().unwrap();
    assert_eq!(read(&scratch.open().log, "a", 0, 9), expected("a", 1..=9));
}
