//! What goes when there is too much, and what stays known.

use std::time::Duration;

use super::*;
use crate::hub::journal::Trimmed;
use crate::journal::log::Retention;

const FOREVER: Duration = Duration::from_secs(1 << 40);

fn trim_all(log: &mut Log, retention: Retention, now_ms: u64) -> Vec<Trimmed> {
    let mut all = Vec::new();
    loop {
        let trimmed = log.trim(retention, now_ms).unwrap();
        if trimmed.is_empty() {
            return all;
        }
        all.extend(trimmed);
    }
}

/// Heads outlive retention: a silent room's numbers go on where they were, over restarts and over many rounds of retention.
#[test]
fn heads_outlive_their_events() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[Entry::Epoch(epoch(1)), event("silent:1", 1), event("silent:1", 2)]).unwrap();
    let mut trimmed = BTreeMap::new();
    for seq in 1..=2_000 {
        log.append(&[event("loud", seq)]).unwrap();
        let retention = Retention { age: FOREVER, bytes: 12 << 10 };
        trimmed.extend(trim_all(&mut log, retention, 0).into_iter().map(|trimmed| (trimmed.room.to_string(), trimmed.oldest)));
        assert!(log.bytes() <= (12 << 10) + 2 * 4096 && scratch.segments().len() <= 6, "{} bytes", log.bytes());
        if seq % 500 == 0 {
            drop(log);
            log = scratch.open().log;
        }
    }
    assert_eq!(trimmed["silent:1"], 3);
    let Opened { log, recovered, dropped } = scratch.open();
    assert!(dropped.is_nothing());
    assert_eq!(recovered.epochs, [epoch(1)]);
    assert_eq!(stream(&recovered, "silent:1"), &RecoveredStream { head: 2, oldest: 3, starts: vec![(1, 1)], history: 3 });
    assert_eq!(recovered.rooms.iter().find(|room| room.name.starts_with("silent")).unwrap().owner.as_deref(), Some("u1"));
    let loud = stream(&recovered, "loud");
    assert_eq!((loud.head, loud.oldest), (2_000, trimmed["loud"]));
    assert_eq!(read(&log, "loud", 0, u64::MAX), expected("loud", trimmed["loud"]..=2_000));
}

/// A silent room that speaks again goes on behind its head.
#[test]
fn a_carried_head_is_counted_on() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[event("a", 1)]).unwrap();
    for seq in 1..200 {
        log.append(&[event("loud", seq)]).unwrap();
    }
    trim_all(&mut log, Retention { age: FOREVER, bytes: 0 }, 0);
    log.append(&[event("a", 2)]).unwrap();
    let Opened { log, recovered, .. } = scratch.open();
    assert_eq!((stream(&recovered, "a").head, stream(&recovered, "a").oldest), (2, 2));
    assert_eq!(read(&log, "a", 0, 9), expected("a", 2..=2));
}

/// By age, a segment goes when its youngest event is too old; the one that is written stays.
#[test]
fn old_segments_go() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    for seq in 1..200 {
        log.append(&[event("a", seq)]).unwrap();
    }
    let retention = Retention { age: Duration::from_secs(100), bytes: u64::MAX };
    assert!(trim_all(&mut log, retention, 100_000).is_empty());
    let trimmed = trim_all(&mut log, retention, 250_000);
    let oldest = trimmed.last().unwrap().oldest;
    assert!((100..=150).contains(&oldest), "{oldest}: events carry as many seconds as their number");
    trim_all(&mut log, retention, u64::MAX);
    assert_eq!(scratch.segments().len(), 1);
    assert!(!read(&log, "a", 0, 999).is_empty());
}
