//! The threads that keep the tables and the audit trail.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Metadata, Subscriber};

use super::*;
use crate::base::audit;
use crate::journal::audit::{Pages, Performance};
use crate::journal::auditor::{AuditStats, Auditor};
use crate::journal::export::Selection;
use crate::journal::keeper::Keeper;
use crate::net::clock::Clock;
use crate::net::link::{Door, Link, Waker};

/// A thread that waits for its work, and the door that leads to it.
fn seat<W: Send + 'static>(
    run: impl FnOnce(W) + Send + 'static,
) -> (crossbeam::channel::Sender<W>, std::thread::JoinHandle<()>, Arc<Door>) {
    let (work, seat) = crossbeam::channel::bounded::<W>(1);
    let thread = std::thread::spawn(move || run(seat.recv().expect("it gets its work")));
    let door = Door::new(Waker::Thread(thread.thread().clone()));
    (work, thread, door)
}

/// ERR-05: whatever the tables' thread was given is in the file when it ends.
#[test]
fn facts_are_written_before_the_thread_ends() {
    let scratch = Scratch::new();
    let path = scratch.0.join("state.db");
    let (work, thread, door) = seat(Keeper::run);
    let (inbox, stop) = (Arc::new(Link::new(4, Arc::clone(&door))), Arc::new(AtomicBool::new(false)));
    let tables = Tables::open(&path).unwrap();
    assert!(work.send(Keeper { tables, inbox: Arc::clone(&inbox), door, stop: Arc::clone(&stop) }).is_ok());
    for room in ["a", "b"] {
        assert!(inbox.push(Fact::Owner { room: room.into(), owner: "u1".into(), born: 0 }).is_ok());
    }
    stop.store(true, Ordering::Relaxed);
    inbox.ring();
    thread.join().unwrap();
    let mut recovered = Recovered::default();
    assert_eq!(Tables::open(&path).unwrap().read(&mut recovered).unwrap(), 0);
    assert_eq!(recovered.rooms.len(), 2, "{recovered:?}");
}

/// ERR-05: facts that the disk does not take are tried until it does; that is told once, and when it is over.
#[test]
fn facts_wait_for_a_file_that_is_locked() {
    let (scratch, logged) = (Scratch::new(), Logged::default());
    let path = scratch.0.join("state.db");
    let subscriber = logged.clone();
    let (work, thread, door) = seat(|keeper: Keeper| tracing::subscriber::with_default(subscriber, || keeper.run()));
    let (inbox, stop) = (Arc::new(Link::new(4, Arc::clone(&door))), Arc::new(AtomicBool::new(false)));
    let tables = Tables::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tries = Arc::clone(&door);
    assert!(work.send(Keeper { tables, inbox: Arc::clone(&inbox), door, stop: Arc::clone(&stop) }).is_ok());
    assert!(inbox.push(Fact::Owner { room: "a".into(), owner: "u1".into(), born: 0 }).is_ok());
    inbox.ring();
    let until = |is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(!thread.is_finished(), "it does not give up");
            thread.thread().unpark();
            std::thread::yield_now();
        }
    };
    until(&|| !logged.0.lock().is_empty());
    let first = tries.turns();
    until(&|| tries.turns() > first + 1);
    assert_eq!(*logged.0.lock(), ["tables_failing"], "once, however often it is tried");
    other.execute_batch("ROLLBACK").unwrap();
    until(&|| logged.0.lock().len() > 1);
    stop.store(true, Ordering::Relaxed);
    inbox.ring();
    thread.join().unwrap();
    assert_eq!(*logged.0.lock(), ["tables_failing", "tables_recovered"]);
    let mut recovered = Recovered::default();
    Tables::open(&path).unwrap().read(&mut recovered).unwrap();
    assert_eq!(recovered.rooms.len(), 1);
}

/// The names of what is logged on a thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<String>>>);

impl Visit for Logged {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.0.lock().push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Logged {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// An audit trail on a disk that fails, and then, perhaps, does not: what it logs until it ends, and what is in it then.
fn audit_trail(is_mended: bool) -> (Vec<String>, Vec<String>) {
    let (scratch, logged) = (Scratch::new(), Logged::default());
    let dir = scratch.0.join("away");
    let subscriber = logged.clone();
    let (work, thread, door) = seat(|auditor: Auditor| tracing::subscriber::with_default(subscriber, || auditor.run()));
    let (inbox, stop) = (Arc::new(Link::new(4, Arc::clone(&door))), Arc::new(AtomicBool::new(false)));
    let (stats, measured) = (Arc::new(AuditStats::default()), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&measured);
    let auditor = Auditor {
        book: None,
        path: dir.join("audit.db"),
        instance: 1,
        inbox: Arc::clone(&inbox),
        door,
        clock: Clock::start(),
        age: Duration::from_secs(1 << 40),
        measure: Box::new(move |ts_ms| {
            counted.fetch_add(1, Ordering::Relaxed);
            Performance { ts_ms, ..Performance::default() }
        }),
        stats: Arc::clone(&stats),
        stop: Arc::clone(&stop),
    };
    assert!(work.send(auditor).is_ok());
    assert!(inbox.push(audit::Entry { room: Some("a".into()), ..audit::Entry::new(1, audit::Kind::Join) }).is_ok());
    let until = |is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(!thread.is_finished(), "it does not give up");
            thread.thread().unpark();
            std::thread::yield_now();
        }
    };
    until(&|| stats.failures.value() > 1);
    if is_mended {
        fs::create_dir(&dir).unwrap();
        until(&|| stats.entries.value() == 1);
    }
    stop.store(true, Ordering::Relaxed);
    thread.thread().unpark();
    thread.join().unwrap();
    assert!((1..=2).contains(&measured.load(Ordering::Relaxed)), "once for each minute, which may have ended meanwhile, and at the end");
    let (mut lines, selection) = (Vec::new(), Selection { room: Some("a".into()), since_ms: 0 });
    if is_mended {
        let mut take = |line: &[u8]| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            Ok::<(), ()>(())
        };
        Pages::open(&dir.join("audit.db")).unwrap().entries(&selection, &mut take).unwrap().unwrap();
    }
    (std::mem::take(&mut *logged.0.lock()), lines)
}

/// OBS-12: what the disk does not take waits until it does, and is there once; what it never took is told at the end.
#[test]
fn the_audit_trail_waits_for_a_disk_that_fails() {
    let (logged, lines) = audit_trail(true);
    assert_eq!(logged, ["audit_failing", "audit_recovered"]);
    assert_eq!(lines, [r#"{"ts":1,"kind":"join","room":"a","count":1}"#]);
    assert_eq!(audit_trail(false).0, ["audit_failing", "audit_unwritten"]);
}
