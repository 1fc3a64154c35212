//! Escalations: of which event somebody is told, when, how often, and what of it the next start knows.

use super::super::acks::ACKS_ROOM;
use super::super::escalations::EscalationOptions;
use super::super::journal::{Epoch, Recovered, RecoveredUnacknowledged, Report};
use super::super::store::{EPOCHS_PER_SHARD, KnownRoom, KnownWait, News, Shard, shard_of};
use super::acks::notification;
use super::*;
use crate::base::limits::JOURNAL_ENTRIES_MAX;

const AFTER_MS: u64 = 10_000;

fn escalating() -> HubOptions {
    let types = vec![("slow.*".to_owned(), Duration::from_millis(2 * AFTER_MS))];
    HubOptions { escalation: Some(EscalationOptions { after: Duration::from_millis(AFTER_MS), types }), ..options() }
}

impl Bench {
    /// One whose webhook takes whatever comes.
    fn escalating() -> Bench {
        let mut bench = Bench::new(escalating());
        bench.out.takes = usize::MAX;
        bench
    }

    /// The ids of what somebody is told since this was asked last.
    fn overdue(&mut self) -> Vec<String> {
        self.out.overdue.drain(..).map(|overdue| overdue.event_id.to_string()).collect()
    }

    fn escalated(&mut self, event_id: &str, outcome: EscalationOutcome) {
        let escalated = Escalated { room: "user:u1".into(), event_id: event_id.into(), outcome };
        self.hub.apply(self.now, Input::Escalated(Box::new(escalated)), &mut self.out);
        self.give_numbers();
        self.hub.tick(self.now, &mut self.out);
    }

    /// Lets time pass until somebody is told of something. How long that was.
    fn until_overdue(&mut self, ms_max: u64) -> u64 {
        for ms in 0..ms_max {
            if !self.out.overdue.is_empty() {
                return ms;
            }
            self.pass(1);
        }
        panic!("nobody is told within {ms_max} ms");
    }

    fn heard(&mut self) -> Vec<Value> {
        let (_, frames) = self.join_room(ACKS_ROOM, "desk", None, Some(1000));
        frames.into_iter().filter(|frame| frame["type"].as_str().unwrap().starts_with("event.")).collect()
    }
}

/// FUT-02: what is not acknowledged within the time of its type, and that alone; what is told has all that the user got.
#[test]
fn somebody_is_told_of_what_is_not_acknowledged_in_time() {
    let mut bench = Bench::escalating();
    for (kind, event_id) in [("margin", "a"), ("slow.one", "b"), ("margin", "c")] {
        bench.accept(Event { kind: kind.into(), ..notification("u1", event_id) }).unwrap();
    }
    bench.accept(Event { ack_ttl: None, ..notification("u1", "d") }).unwrap();
    bench.pass(AFTER_MS - 1);
    bench.ack_event("c");
    assert_eq!(bench.overdue(), Vec::<String>::new());
    let next = bench.hub.tick(bench.now, &mut bench.out);
    assert_eq!(next, bench.now.mono.plus(Duration::from_millis(1)));
    bench.pass(1);
    let overdue = bench.out.overdue[0].clone();
    assert_eq!((&*overdue.room, &*overdue.event_id, overdue.until_ms - overdue.ts_ms), ("user:u1", "a", 60_000));
    assert!(overdue.frame.as_text().starts_with(br#"{"type":"margin","room":"user:u1","#));
    assert_eq!((bench.overdue(), bench.hub.stats().escalations_untold), (vec!["a".to_owned()], 1));
    bench.pass(AFTER_MS);
    assert_eq!(bench.overdue(), ["b"]);
}

/// Once is enough; the user goes on being given it, and the publisher's side hears of it.
#[test]
fn what_was_told_is_not_told_again_and_waits_on() {
    let mut bench = Bench::escalating();
    bench.accept(notification("u1", "a")).unwrap();
    bench.pass(AFTER_MS);
    assert_eq!(bench.overdue(), ["a"]);
    bench.escalated("a", EscalationOutcome::Told);
    bench.pass(30_000);
    assert_eq!((bench.overdue(), bench.redelivered()), (Vec::new(), vec!["a".to_owned()]));
    let start = 1_700_000_000_000_u64;
    let heard = bench.heard();
    assert_eq!((heard.len(), &heard[0]["type"]), (1, &"event.escalated".into()));
    assert_eq!(
        heard[0]["data"],
        serde_json::json!({"event_id": "a", "room": "user:u1", "user": "u1", "ts": start + AFTER_MS, "published": start})
    );
    assert_eq!(bench.ack_event("a").len(), 1);
    let stats = bench.hub.stats();
    assert_eq!((stats.escalations, stats.escalations_untold), ([1, 0, 0], 0));
}

/// Less and less often, with a pause that is not the same for all; until its wait is over.
#[test]
fn what_nobody_was_told_is_tried_again_until_its_wait_is_over() {
    let mut bench = Bench::escalating();
    bench.accept(notification("u1", "a")).unwrap();
    bench.pass(AFTER_MS);
    let mut pauses = Vec::new();
    for tries in 0..5 {
        assert_eq!(bench.overdue(), ["a"], "{tries}");
        bench.escalated("a", EscalationOutcome::Failed);
        assert_eq!(bench.hub.stats().escalations_untold, 1);
        pauses.push(bench.until_overdue(20_000));
        let most = 1_000 << tries;
        assert!((most / 2..=most + 1).contains(&pauses[tries]), "{pauses:?}");
    }
    assert!(pauses.iter().zip(0..).any(|(pause, tries)| *pause != 1_000 << tries), "{pauses:?}: some chance is in it");
    bench.overdue();
    bench.ack_event("a");
    bench.escalated("a", EscalationOutcome::Failed);
    bench.pass(40_000);
    let stats = bench.hub.stats();
    assert_eq!((bench.overdue(), stats.escalations, stats.escalations_untold), (Vec::new(), [0, 6, 0], 0));
    assert_eq!(bench.heard().len(), 1, "that it was acknowledged");
}

/// While the webhook rests nothing is handed over, so that acknowledgments take back what waits; nor when it takes no more at a time.
#[test]
fn what_waits_for_the_webhook_can_still_be_acknowledged() {
    let mut bench = Bench::escalating();
    for event_id in ["a", "b", "c"] {
        bench.accept(notification("u1", event_id)).unwrap();
    }
    bench.out.takes = 1;
    bench.pass(AFTER_MS);
    assert_eq!(bench.overdue(), ["a"]);
    bench.out.takes = 9;
    bench.hub.tick(bench.now, &mut bench.out);
    assert_eq!(bench.overdue(), ["b", "c"]);
    for event_id in ["a", "b", "c"] {
        bench.escalated(event_id, EscalationOutcome::Resting);
    }
    assert_eq!((bench.overdue(), bench.hub.stats().escalations_untold), (Vec::new(), 3));
    bench.ack_event("b");
    bench.pass(999);
    assert_eq!(bench.overdue(), Vec::<String>::new());
    bench.pass(1);
    assert_eq!(bench.overdue(), ["a", "c"]);
}

/// A node that begins gives the others' words time to come: they may be in a shard that it reads later.
#[test]
fn a_node_that_begins_is_in_no_hurry() {
    let mut bench = Bench::escalating();
    bench.hub = Hub::with_store(escalating());
    let number = shard_of("user:u1");
    let epoch = u32::from(number) * EPOCHS_PER_SHARD + 1;
    let (until_ms, ts_ms) = (bench.now.wall_ms + 60_000, bench.now.wall_ms - 3 * AFTER_MS);
    let waits = vec![KnownWait { seq: 1, epoch, until_ms, ts_ms, event: notification("u1", "a") }];
    let rooms = vec![KnownRoom { name: "user:u1".into(), waits, ..KnownRoom::default() }];
    let epochs = vec![Epoch { number: epoch, name: "e".into(), by_eviction: true }];
    bench.news(News::Shard(Box::new(Shard { number, epochs, place: 0, rooms })));
    bench.pass(4_999);
    assert_eq!(bench.overdue(), Vec::<String>::new());
    bench.pass(1);
    assert_eq!(bench.overdue(), ["a"]);
}

/// The next start knows what was told, and tells what was due meanwhile.
#[test]
fn the_journal_knows_what_was_told() {
    let known = |event_id: &str, is_escalated| RecoveredUnacknowledged {
        room: "user:u1".into(),
        event_id: event_id.into(),
        lane: Lane::Alert,
        epoch: 1,
        seq: 5,
        ts_ms: 1_700_000_000_000 - AFTER_MS,
        until_ms: 1_700_000_050_000,
        is_escalated,
        message: format!(r#"{{"type":"T","seq":5,"ts":{},"event_id":"{event_id}","data":1}}"#, 1_700_000_000_000 - AFTER_MS)
            .as_bytes()
            .into(),
    };
    let recovered = Recovered { unacknowledged: vec![known("told", true), known("due", false)], ..Recovered::default() };
    let mut bench = Bench::escalating();
    let epoch = Epoch { number: 2, name: "e2".into(), by_eviction: false };
    bench.hub = Hub::with_journal(escalating(), bench.now, recovered, epoch);
    bench.pass(0);
    assert_eq!(bench.overdue(), ["due"]);
    bench.escalated("due", EscalationOutcome::Told);
    let told = bench.out.journal.iter().find_map(|entry| if let Entry::Escalated(told) = entry { Some(told) } else { None });
    let told = told.expect("the journal hears of it");
    assert_eq!((&*told.event_id, told.seq, told.ts_ms, told.until_ms), ("due", 5, 1_700_000_000_000 - AFTER_MS, 1_700_000_050_000));
}

/// FUT-02: a journal that fails, or is full, does not hear of it; the publisher's side does, and nobody is told twice.
#[test]
fn a_journal_that_takes_nothing_is_not_given_what_was_told() {
    let escalated = |fail: fn(&mut Bench)| {
        let mut bench = Bench::escalating();
        let epoch = Epoch { number: 1, name: "e1".into(), by_eviction: false };
        bench.hub = Hub::with_journal(escalating(), bench.now, Recovered::default(), epoch);
        bench.publish(notification("u1", "a"));
        bench.give_numbers();
        bench.pass(AFTER_MS);
        fail(&mut bench);
        bench.escalated("a", EscalationOutcome::Told);
        bench.pass(30_000);
        assert_eq!(bench.overdue(), ["a"], "once");
        assert_eq!(bench.heard().len(), 1);
        bench.out.journal.iter().filter(|entry| matches!(entry, Entry::Escalated(_))).count()
    };
    assert_eq!(escalated(|_| ()), 1);
    assert_eq!(escalated(|bench| bench.hub.apply(bench.now, Input::Journal(Report::Failing { reason: "full".into() }), &mut bench.out)), 0);
    let fill = |bench: &mut Bench| {
        for _ in 1..JOURNAL_ENTRIES_MAX {
            bench.publish(alert("1"));
            bench.give_numbers();
        }
    };
    assert_eq!(escalated(fill), 0);
}
