//! Events that wait for their users, in the log.

use std::time::Duration;

use super::*;
use crate::hub::journal::{EscalatedEntry, RecoveredUnacknowledged};
use crate::journal::log::Retention;

fn waiting(room: &str, seq: u64) -> Entry {
    let Entry::Event(event) = event(room, seq) else { unreachable!("it makes events") };
    Entry::Event(EventEntry { ack_until_ms: Some(9_000_000 + seq), ..event })
}

fn settled(room: &str, seq: u64) -> Entry {
    Entry::Settled { room: room.into(), event_id: format!("{room}-{seq}").into() }
}

fn escalated(room: &str, seq: u64) -> Entry {
    let Entry::Event(event) = waiting(room, seq) else { unreachable!("it makes events") };
    Entry::Escalated(Box::new(EscalatedEntry {
        room: event.room,
        event_id: event.event_id.unwrap_or_default().into(),
        lane: event.lane,
        epoch: event.epoch,
        seq,
        ts_ms: event.ts_ms,
        until_ms: event.ack_until_ms.unwrap_or_default(),
        frame: event.frame,
    }))
}

fn known(recovered: &Recovered) -> Vec<(&str, u64)> {
    recovered.unacknowledged.iter().map(|waiting| (&*waiting.room, waiting.seq)).collect()
}

/// QTE-12, ERR-05: until it is settled, with all that is needed to give it again; and it is an event like any other besides.
#[test]
fn what_waits_for_its_user_is_there_after_a_restart() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[waiting("user:1", 1), waiting("user:1", 2), waiting("user:2", 1), event("user:2", 2)]).unwrap();
    assert_eq!(read(&log, "user:1", 0, u64::MAX), expected("user:1", 1..=2));
    log.append(&[settled("user:1", 1)]).unwrap();
    drop(log);
    let Opened { mut log, recovered, dropped } = scratch.open();
    assert!(dropped.is_nothing());
    let expected_first = RecoveredUnacknowledged {
        room: "user:2".into(),
        event_id: "user:2-1".into(),
        lane: Lane::Alert,
        epoch: 1,
        seq: 1,
        ts_ms: 1_000,
        until_ms: 9_000_001,
        is_escalated: false,
        message: message("user:2", 1).into_bytes().into(),
    };
    assert_eq!((known(&recovered), &recovered.unacknowledged[0]), (vec![("user:2", 1), ("user:1", 2)], &expected_first));
    assert_eq!(read(&log, "user:1", 0, u64::MAX), expected("user:1", 1..=2));
    log.append(&[Entry::Forget { room: "user:1".into() }, settled("user:2", 1)]).unwrap();
    drop(log);
    assert_eq!(known(&scratch.open().recovered), [("user:1", 2)], "its room is gone, and it waits on");
}

/// FUT-02: that somebody was told outlives the segment, as the event does; what is settled is gone all the same.
#[test]
fn that_somebody_was_told_is_kept() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[waiting("user:1", 1), waiting("user:1", 2), escalated("user:1", 1)]).unwrap();
    let retention = Retention { age: Duration::from_secs(1 << 40), bytes: 12 << 10 };
    for seq in 1..=400 {
        log.append(&[event("loud", seq)]).unwrap();
        log.trim(retention, 0).unwrap();
    }
    assert!(!scratch.segments()[0].ends_with("0000000001.log"), "the segment in which it was told is gone");
    drop(log);
    let told = |recovered: &Recovered| -> Vec<(u64, bool)> {
        recovered.unacknowledged.iter().map(|waiting| (waiting.seq, waiting.is_escalated)).collect()
    };
    let Opened { mut log, recovered, .. } = scratch.open();
    assert_eq!(told(&recovered), [(1, true), (2, false)]);
    assert_eq!(*recovered.unacknowledged[0].message, *message("user:1", 1).as_bytes());
    log.append(&[settled("user:1", 1)]).unwrap();
    drop(log);
    assert_eq!(told(&scratch.open().recovered), [(2, false)]);
}

/// Retention lets go of history, not of what waits, over restarts and over many rounds; what is settled meanwhile does not come back.
#[test]
fn what_waits_outlives_its_segment() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[waiting("user:1", 1), waiting("user:1", 2), waiting("user:1", 3)]).unwrap();
    let retention = Retention { age: Duration::from_secs(1 << 40), bytes: 12 << 10 };
    for seq in 1..=1_000 {
        log.append(&[event("loud", seq)]).unwrap();
        log.trim(retention, 0).unwrap();
        if seq == 400 {
            log.append(&[settled("user:1", 2)]).unwrap();
        }
        if seq % 250 == 0 {
            drop(log);
            log = scratch.open().log;
        }
    }
    assert!(!scratch.segments()[0].ends_with("0000000001.log") && log.bytes() < 24 << 10, "{:?}", scratch.segments());
    drop(log);
    let Opened { recovered, dropped, .. } = scratch.open();
    assert!(dropped.is_nothing());
    assert_eq!(known(&recovered), [("user:1", 1), ("user:1", 3)]);
    assert_eq!(*recovered.unacknowledged[1].message, *message("user:1", 3).as_bytes());
}
