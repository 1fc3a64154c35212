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
    stats: Arc<JournalStats>,
    thread: std::thread::JoinHandle<()>,
}

fn start(log: Log) -> Shared {
    start_with(log, Retention { age: Duration::from_secs(1 << 40), bytes: u64::MAX }, 1)
}

fn start_with(log: Log, retention: Retention, reports_max: usize) -> Shared {
    let (work, seat) = crossbeam::channel::bounded::<Writer>(1);
    let thread = std::thread::spawn(move || seat.recv().expect("it gets its work").run());
    let door = Door::new(Waker::Thread(thread.thread().clone()));
    let inbox = Arc::new(Link::new(64, Arc::clone(&door)));
    let reports = Arc::new(Link::new(reports_max, Door::new(Waker::Thread(std::thread::current()))));
    let (stop, stats) = (Arc::new(AtomicBool::new(false)), Arc::new(JournalStats::default()));
    let writer = Writer {
        follower: None,
        log,
        inbox: Arc::clone(&inbox),
        door,
        reports: Arc::clone(&reports),
        retention,
        clock: Clock::start(),
        memory: Arc::new(Memory::new(0, 1)),
        stats: Arc::clone(&stats),
        stop: Arc::clone(&stop),
    };
    assert!(work.send(writer).is_ok());
    Shared { inbox, reports, stop, stats, thread }
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

/// ERR-06, OBS-25: a batch that the disk does not take is tried again until it does; each try is told and counted.
#[test]
fn a_disk_that_fails_is_tried_again() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&(1..=100).map(|seq| event("a", seq)).collect::<Vec<_>>()).unwrap(); // the next one begins a segment
    let away = scratch.0.with_extension("away");
    fs::rename(&scratch.0, &away).unwrap();
    let shared = start(log);
    shared.give([event("a", 101)].into_iter());
    let mut told = 0;
    let committed = loop {
        match shared.reports.pop() {
            Some(Report::Failing { reason }) => {
                assert!(reason.contains("No such file"), "{reason}");
                told += 1;
                if told == 1 {
                    fs::rename(&away, &scratch.0).unwrap();
                }
            }
            Some(Report::Committed { entry }) => break entry,
            Some(other) => panic!("{other:?}"),
            None => std::thread::yield_now(),
        }
    };
    assert!(told > 0 && (committed, shared.stats.failures.value()) == (1, told), "{committed} {told}");
    shared.stop.store(true, Ordering::Relaxed);
    shared.inbox.ring();
    shared.thread.join().unwrap();
    assert_eq!(read(&scratch.open().log, "a", 0, 200).len(), 101);
}

/// DLV-14, OBS-25: what is too much is let go after the batch, the hub hears of it, and the figure is of what is left.
#[test]
fn what_is_too_much_is_let_go_and_told() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    (1..=100).for_each(|seq| log.append(&[event("a", seq)]).unwrap());
    let before = scratch.segments().len();
    let shared = start_with(log, Retention { age: Duration::from_secs(1 << 40), bytes: 0 }, 8);
    shared.give([event("a", 101)].into_iter());
    assert_eq!(shared.committed(1), 1);
    shared.stop.store(true, Ordering::Relaxed);
    shared.inbox.ring();
    shared.thread.join().unwrap();
    let Some(Report::Trimmed(trimmed)) = shared.reports.pop() else { panic!("the hub hears of it") };
    assert!(trimmed.len() == 1 && *trimmed[0].room == *"a" && trimmed[0].oldest > 1, "{trimmed:?}");
    let left = scratch.segments();
    assert!(left.len() < before, "{left:?}");
    let bytes: u64 = left.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!((shared.stats.bytes.value(), shared.stats.entries.value()), (bytes, 1));
}
