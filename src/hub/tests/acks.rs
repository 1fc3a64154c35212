//! Acknowledgments: what is given again and to whom, what ends that, and who hears of it.

use super::super::acks::{ACK_RESULTS, AckResult};
use super::super::journal::{Epoch, Recovered, RecoveredUnacknowledged, Report};
use super::*;
use crate::base::ids::RoomId;
use crate::base::limits::{JOURNAL_ALERT_RESERVE_ENTRIES, JOURNAL_ENTRIES_MAX, UNACKNOWLEDGED_PER_USER_MAX};

pub(super) const TTL: Duration = Duration::from_secs(60);

pub(super) fn notification(user: &str, event_id: &str) -> Event {
    let room = format!("user:{user}").into();
    Event { room, event_id: Some(event_id.into()), ack_ttl: Some(TTL), ..alert(r#"{"text":"hi"}"#) }
}

impl Bench {
    fn with_journal(options: HubOptions, recovered: Recovered) -> Bench {
        let mut bench = Bench::new(options.clone());
        let epoch = Epoch { number: 2, name: "e2".into(), by_eviction: false };
        bench.hub = Hub::with_journal(options, bench.now, recovered, epoch);
        bench
    }

    fn notify(&mut self, event_id: &str) -> Accepted {
        self.accept(notification("u1", event_id)).unwrap()
    }

    pub(super) fn join_room(&mut self, room: &str, user: &str, since: Option<Since>, history: Option<u32>) -> (RoomId, Vec<Value>) {
        let (request, conn) = (None, conn(0, 1));
        let join = Join {
            conn,
            request,
            room: room.into(),
            user: user.into(),
            by_pattern: true,
            consent: Consent::None,
            since,
            history,
            delta: false,
            poll: None,
            sample: None,
        };
        self.hub.apply(self.now, Input::Join(Box::new(join)), &mut self.out);
        match self.out.outputs.pop().expect("every join is answered").1 {
            Output::Joined(joined) => (joined.room, texts(&joined.frames)),
            other => panic!("{other:?}"),
        }
    }

    /// The ids of what `u1` is given again in its room.
    pub(super) fn redelivered(&mut self) -> Vec<String> {
        ids(&self.join_room("user:u1", "u1", None, None).1)
    }

    /// The data of what the publisher's side has heard.
    fn told(&mut self) -> Vec<Value> {
        let (_, frames) = self.join_room("system:acks", "desk", None, Some(1000));
        frames.into_iter().filter(|frame| frame["type"].as_str().unwrap().starts_with("event.")).collect()
    }

    pub(super) fn ack(&mut self, user: &str, of: AckOf) -> Vec<AckAnswer> {
        let ack = Ack { conn: conn(1, 2), request: Some(RequestId::from(3)), user: user.into(), of };
        self.hub.apply(self.now, Input::Ack(Box::new(ack)), &mut self.out);
        self.give_numbers();
        self.acked()
    }

    pub(super) fn ack_event(&mut self, event_id: &str) -> Vec<AckAnswer> {
        self.ack("u1", AckOf::Event(event_id.into()))
    }

    pub(super) fn acked(&mut self) -> Vec<AckAnswer> {
        self.hub.tick(self.now, &mut self.out);
        self.give_numbers();
        let mut answers = Vec::new();
        self.out.outputs.retain_mut(|(reactor, output)| match output {
            Output::Acked(batch) => {
                assert_eq!(*reactor, 1);
                answers.append(batch);
                false
            }
            _ => true,
        });
        answers
    }

    fn count(&self, result: AckResult) -> u64 {
        self.hub.stats().acks[result as usize]
    }

    /// Gives the journal that many events.
    fn fill(&mut self, count: usize, lane: Lane) {
        for _ in 0..count {
            self.publish(event(Mode::Stream, lane, "1"));
            self.give_numbers();
        }
        assert_eq!(self.answers(), [], "there was place for all");
    }

    /// Publishes an event for which memory is safe enough.
    fn publish_in_memory(&mut self, event: Event) {
        let publish = Publish { conn: conn(0, 99), ticket: 77, accepted: self.now.mono, ack: Safety::Memory, event };
        self.hub.apply(self.now, Input::Publish(Box::new(publish)), &mut self.out);
        self.give_numbers();
    }

    /// What the journal was given after its first entries: of events their rooms and numbers, of ends of waits the event's id.
    fn journal_after(&self, entries: usize) -> Vec<(&str, u64)> {
        self.out.journal[entries..].iter().map(shown).collect()
    }

    fn commit(&mut self) {
        let entry = self.out.journal.len() as u64;
        self.hub.apply(self.now, Input::Journal(Report::Committed { entry }), &mut self.out);
    }
}

fn shown(entry: &Entry) -> (&str, u64) {
    match entry {
        Entry::Event(event) => (&event.room, event.seq),
        Entry::Settled { event_id, .. } => (event_id, 0),
        other => panic!("{other:?}"),
    }
}

fn ids(frames: &[Value]) -> Vec<String> {
    let again = frames.iter().filter(|frame| frame["redelivered"] == true);
    again.map(|frame| frame["event_id"].as_str().unwrap().to_owned()).collect()
}

/// QTE-12: again on each join, with its old number, to no other user; until it is acknowledged, once or twice.
#[test]
fn an_event_is_given_again_on_each_join_until_it_is_acknowledged() {
    let mut bench = Bench::new(options());
    bench.notify("a");
    bench.notify("b");
    let (_, frames) = bench.join_room("user:u1", "u1", None, None);
    assert_eq!(types(&frames), ["subscribed", "T", "T", "caught_up"]);
    assert_eq!((&frames[1]["seq"], &frames[2]["seq"], &frames[0]["from"]["alert"]), (&1.into(), &2.into(), &3.into()));
    assert_eq!(frames[1]["data"]["text"], "hi");
    assert_eq!(bench.redelivered(), ["a", "b"]);
    assert_eq!(ids(&bench.join_room("user:u1", "operator", None, None).1), Vec::<String>::new());
    assert_eq!(bench.ack("u2", AckOf::Event("a".into()))[0].outcome, Ok(()), "the same answer, whether there is such an event or not");
    assert_eq!(bench.redelivered(), ["a", "b"]);
    for _ in 0..2 {
        let answers = bench.ack_event("a");
        assert_eq!(answers, [AckAnswer { conn: conn(1, 2), request: RequestId::from(3), outcome: Ok(()) }]);
        assert_eq!(bench.redelivered(), ["b"]);
    }
    assert_eq!((bench.count(AckResult::Acknowledged), bench.count(AckResult::Nothing)), (1, 2));
    let stats = bench.hub.stats();
    assert_eq!((stats.unacknowledged, stats.redelivered), (1, 2 + 2 + 2 + 1 + 1));
}

/// What a resume brings in its place among the others is not brought twice.
#[test]
fn what_is_replayed_is_not_given_again_as_well() {
    let mut bench = Bench::new(options());
    let epoch = bench.notify("a").epoch;
    bench.notify("b");
    let (_, frames) = bench.join_room("user:u1", "u1", Some(since(&epoch, 1)), None);
    assert_eq!(types(&frames), ["subscribed", "T", "T", "caught_up"]);
    assert_eq!((ids(&frames), &frames[2]["event_id"], &frames[2]["seq"]), (vec!["a".to_owned()], &"b".into(), &2.into()));
    assert_eq!(frames[2].get("redelivered"), None);
}

/// PRO-06: all up to a position, if that is one of the room's.
#[test]
fn a_position_covers_what_was_pushed_up_to_it() {
    let mut bench = Bench::new(options());
    let epoch = bench.notify("a").epoch;
    bench.notify("b");
    bench.notify("c");
    let (room, _) = bench.join_room("user:u1", "u1", None, None);
    let up_to = |lane, epoch: &str, seq| AckOf::UpTo { room, lane, epoch: epoch.into(), seq };
    bench.ack("u1", up_to(Lane::Alert, &epoch, 4));
    bench.ack("u1", up_to(Lane::Alert, "elsewhere", 2));
    bench.ack("u1", up_to(Lane::Update, &epoch, 0));
    bench.ack("u2", up_to(Lane::Alert, &epoch, 2));
    bench.ack("u1", AckOf::UpTo { room: RoomId { slot: 99, generation: 0 }, lane: Lane::Alert, epoch: (*epoch).into(), seq: 1 });
    bench.accept(Event { room: "desk".into(), ..alert("1") }).unwrap();
    let (desk, _) = bench.join_room("desk", "u1", None, None);
    bench.ack("u1", AckOf::UpTo { room: desk, lane: Lane::Alert, epoch: (*epoch).into(), seq: 1 });
    assert_eq!(bench.redelivered(), ["a", "b", "c"], "a position in another room is none in the user's");
    bench.ack("u1", up_to(Lane::Alert, &epoch, 2));
    assert_eq!(bench.redelivered(), ["c"]);
    let counted: Vec<_> = ACK_RESULTS.iter().zip(bench.hub.stats().acks).collect();
    let expected = [("acknowledged", 1), ("nothing", 3), ("unknown_room", 1), ("unknown_epoch", 1), ("beyond", 1), ("refused", 0)];
    assert_eq!(counted, expected.iter().map(|(name, count)| (name, *count)).collect::<Vec<_>>());
}

/// QTE-11: the publisher's side hears who has acknowledged what, and what nobody did.
#[test]
fn the_publishers_side_hears_how_each_wait_ends() {
    let mut bench = Bench::new(options());
    bench.notify("a");
    bench.notify("b");
    bench.pass(1000);
    bench.ack_event("a");
    bench.ack_event("a");
    bench.pass(58_999);
    bench.give_numbers();
    assert_eq!(bench.redelivered(), ["b"]);
    bench.pass(1);
    bench.give_numbers();
    assert_eq!(bench.redelivered(), Vec::<String>::new());
    let told = bench.told();
    let start = 1_700_000_000_000_u64;
    assert_eq!(types(&told), ["event.acknowledged", "event.expired"]);
    assert_eq!((&told[0]["lane"], &told[0]["seq"], &told[1]["seq"]), (&"update".into(), &1.into(), &2.into()));
    assert_eq!(told[0]["data"], serde_json::json!({"event_id": "a", "room": "user:u1", "user": "u1", "ts": start + 1000}));
    assert_eq!(
        told[1]["data"],
        serde_json::json!({"event_id": "b", "room": "user:u1", "user": "u1", "ts": start + 60_000, "reason": "ttl"})
    );
    assert_eq!(bench.hub.stats().unacknowledged_expired, [1, 0]);
}

#[test]
fn the_tick_comes_back_when_the_first_wait_ends() {
    let mut bench = Bench::new(HubOptions { history_age: Duration::from_secs(3600), ..options() });
    bench.notify("a");
    let next = bench.hub.tick(bench.now, &mut bench.out);
    assert_eq!(next, bench.now.mono.plus(TTL));
}

/// QTE-11: a hundred, and the oldest goes.
#[test]
fn of_more_than_a_user_may_have_the_oldest_goes_and_that_is_told() {
    let mut bench = Bench::new(HubOptions { history_events: 1000, ..options() });
    for n in 0..=UNACKNOWLEDGED_PER_USER_MAX {
        bench.notify(&format!("e{n}"));
    }
    let again = bench.redelivered();
    assert_eq!((again.len(), &*again[0]), (UNACKNOWLEDGED_PER_USER_MAX, "e1"));
    let told = bench.told();
    assert_eq!(
        (types(&told), &told[0]["data"]["reason"], &told[0]["data"]["event_id"]),
        (vec!["event.expired"], &"too_many".into(), &"e0".into())
    );
    assert_eq!(bench.hub.stats().unacknowledged_expired, [0, 1]);
}

/// A publisher that tries again after the window of `event_id`s is over does not make a second one.
#[test]
fn what_waits_is_not_published_again() {
    let mut bench = Bench::new(options());
    assert_eq!(bench.notify("a").outcome, Outcome::Accepted);
    for _ in 0..3 {
        bench.pass(19_900); // the window is 60 s, and the wait as well
    }
    bench.hub.dedupe.expire(Mono(u64::MAX), &mut bench.hub.rooms);
    let again = bench.notify("a");
    assert_eq!((again.outcome, again.number), (Outcome::Duplicate, Number::Seq(1)));
    assert_eq!(bench.redelivered(), ["a"]);
}

/// What waits outlives its room; a position in the room that is made again does not cover it.
#[test]
fn an_eviction_costs_the_history_and_no_wait() {
    let mut bench = Bench::new(HubOptions { rooms_max: 1, ..options() });
    bench.notify("a");
    bench.accept(Event { room: "other".into(), ..alert("1") }).unwrap();
    assert_eq!(bench.hub.stats().rooms_evicted, 1);
    bench.accept(Event { room: "user:u1".into(), ..alert("1") }).unwrap();
    let (room, frames) = bench.join_room("user:u1", "u1", None, None);
    assert_eq!(ids(&frames), ["a"]);
    let epoch = frames[0]["epoch"].as_str().unwrap().into();
    bench.ack("u1", AckOf::UpTo { room, lane: Lane::Alert, epoch, seq: 1 });
    assert_eq!(ids(&bench.join_room("user:u1", "u1", None, None).1), ["a"]);
    // The member keeps the only room from being evicted, so nobody can be told, and that is counted.
    assert_eq!(bench.ack_event("a")[0].outcome, Ok(()));
    assert_eq!((bench.hub.stats().acks_untold, bench.hub.stats().unacknowledged), (1, 0));
}

/// The seam: while the number of the event that tells of it is on its way, the event is given to nobody any more, and nobody hears `ok`.
#[test]
fn an_acknowledgment_waits_for_the_number_of_what_tells_of_it() {
    let mut bench = Bench::new(options());
    bench.notify("a");
    for request in [3, 4] {
        let ack = Ack { conn: conn(1, 2), request: Some(RequestId::from(request)), user: "u1".into(), of: AckOf::Event("a".into()) };
        bench.hub.apply(bench.now, Input::Ack(Box::new(ack)), &mut bench.out);
    }
    assert_eq!(bench.out.needs.len(), 1);
    bench.hub.tick(bench.now, &mut bench.out);
    assert!(!bench.out.outputs.iter().any(|(_, output)| matches!(output, Output::Acked(_))));
    assert_eq!(bench.redelivered(), Vec::<String>::new());
    bench.give_numbers();
    assert_eq!(bench.acked().len(), 2);
    assert_eq!(bench.told().len(), 1);
}

/// `ok` is told when the disk has it, behind the event that tells of it.
#[test]
fn with_a_journal_ok_comes_after_the_disk() {
    let mut bench = Bench::with_journal(options(), Recovered::default());
    bench.publish(notification("u1", "a"));
    bench.give_numbers();
    assert!(matches!(&bench.out.journal[0], Entry::Event(event) if event.ack_until_ms == Some(bench.now.wall_ms + 60_000)));
    bench.commit();
    assert_eq!(bench.answers()[0].outcome.as_ref().unwrap().safety, Safety::Durable);
    assert_eq!(bench.ack_event("a"), []);
    assert_eq!(bench.ack_event("a"), [], "who says so again waits for the same");
    assert!(matches!(&bench.out.journal[1], Entry::Event(event) if &*event.room == "system:acks" && event.ack_until_ms.is_none()));
    assert!(matches!(&bench.out.journal[2], Entry::Settled { room, event_id } if &**room == "user:u1" && &**event_id == "a"));
    assert_eq!(bench.out.journal.len(), 3);
    bench.commit();
    assert_eq!(bench.acked().iter().map(|answer| answer.outcome.is_ok()).collect::<Vec<_>>(), [true, true]);
    assert_eq!(bench.ack_event("a").len(), 1, "and now at once");
}

/// A write that was cut off may leave what waits, and not the event itself: nothing would replay that.
#[test]
fn what_the_journal_has_only_as_waiting_is_given_again() {
    let known = RecoveredUnacknowledged {
        room: "user:u1".into(),
        event_id: "a".into(),
        lane: Lane::Alert,
        epoch: 1,
        seq: 5,
        ts_ms: 1_700_000_000_000,
        until_ms: 1_700_000_001_000,
        is_escalated: false,
        message: br#"{"type":"T","seq":5,"event_id":"a","data":1}"#.as_slice().into(),
    };
    let mut bench = Bench::with_journal(options(), Recovered { unacknowledged: vec![known], ..Recovered::default() });
    assert_eq!(bench.redelivered(), ["a"]);
    bench.pass(1000);
    bench.give_numbers();
    assert_eq!(bench.redelivered(), Vec::<String>::new());
    assert!(matches!(&bench.out.journal[1], Entry::Settled { room, event_id } if &**room == "user:u1" && &**event_id == "a"));
}

/// What waits for its user is written twice, and counts so for what may wait for the disk.
#[test]
fn what_waits_costs_the_journal_twice() {
    let mut bench = Bench::with_journal(options(), Recovered::default());
    bench.publish(notification("u1", "a"));
    bench.publish(Event { ack_ttl: None, ..notification("u1", "b") });
    bench.give_numbers();
    let [Entry::Event(waits), Entry::Event(other)] = &bench.out.journal[..] else { panic!("two events") };
    let (bytes, cost) = (waits.frame.as_websocket().len(), |at: usize| bench.out.journal[at].cost());
    assert_eq!(other.frame.as_websocket().len(), bytes);
    assert_eq!(cost(0) - cost(1), bytes);
}

/// ERR-05: what cannot be kept is refused, and changes nothing.
#[test]
fn while_the_disk_fails_acknowledgments_are_refused_and_waits_go_on() {
    let mut bench = Bench::with_journal(options(), Recovered::default());
    bench.publish(notification("u1", "a"));
    bench.publish(notification("u1", "b"));
    bench.give_numbers();
    bench.commit();
    bench.ack_event("b");
    bench.hub.apply(bench.now, Input::Journal(Report::Failing { reason: "full".into() }), &mut bench.out);
    let refused = bench.acked().remove(0).outcome.unwrap_err();
    assert_eq!((refused.error, refused.retry_after_ms.is_some()), (codes::JOURNAL_UNAVAILABLE, true));
    assert!(refused.message.contains("acknowledgment"), "{}", refused.message);
    for event_id in ["a", "b"] {
        assert_eq!(bench.ack_event(event_id).remove(0).outcome.unwrap_err().error, codes::JOURNAL_UNAVAILABLE);
    }
    assert_eq!((bench.redelivered(), bench.count(AckResult::Refused)), (vec!["a".to_owned()], 1));
    bench.pass(61_000);
    assert_eq!(bench.redelivered(), ["a"], "the end of its time is to be kept too");
    bench.commit();
    bench.pass(1000);
    bench.give_numbers();
    assert_eq!(bench.redelivered(), Vec::<String>::new());
    bench.commit();
    assert_eq!(bench.hub.stats().journal_entries, 0);
}

/// QTE-11: who is answered `ok` knows that the publisher's side will hear of it: the notice is in the journal before the end of the wait,
/// whatever else waits for the disk.
#[test]
fn the_notice_has_its_place_in_the_journal_beside_bulk() {
    let mut bench = Bench::with_journal(options(), Recovered::default());
    bench.publish(notification("u1", "a"));
    bench.give_numbers();
    bench.commit();
    bench.answers();
    bench.fill(JOURNAL_ENTRIES_MAX - JOURNAL_ALERT_RESERVE_ENTRIES, Lane::Update);
    let before = bench.out.journal.len();
    assert_eq!(bench.ack_event("a"), [], "it waits for the disk");
    assert_eq!(bench.journal_after(before), [("system:acks", 1), ("a", 0)]);
    bench.commit();
    assert_eq!(bench.acked().remove(0).outcome, Ok(()));
    assert_eq!((bench.hub.stats().journal_entries, bench.hub.stats().journal_holes), (0, 0));
}

/// ERR-05: with a place for one of both it is refused, and holds that for nobody.
#[test]
fn an_acknowledgment_that_finds_one_place_is_refused() {
    let mut bench = Bench::with_journal(options(), Recovered::default());
    bench.publish(notification("u1", "a"));
    bench.give_numbers();
    bench.commit();
    bench.answers();
    bench.fill(JOURNAL_ENTRIES_MAX - 1, Lane::Alert);
    for _ in 0..2 {
        assert_eq!(bench.ack_event("a").remove(0).outcome.unwrap_err().error, codes::QUEUE_FULL);
    }
    assert_eq!((bench.redelivered(), bench.told().len()), (vec!["a".to_owned()], 0));
    bench.fill(1, Lane::Alert);
    let entries = bench.out.journal.len();
    bench.commit();
    bench.answers();
    bench.fill(JOURNAL_ENTRIES_MAX - 2, Lane::Alert);
    assert_eq!(bench.ack_event("a"), []);
    assert_eq!(bench.journal_after(entries + JOURNAL_ENTRIES_MAX - 2), [("system:acks", 1), ("a", 0)]);
    bench.publish(alert("1"));
    assert_eq!(bench.answers().remove(0).outcome.unwrap_err().error, codes::QUEUE_FULL);
    bench.commit();
    assert_eq!(bench.acked().remove(0).outcome, Ok(()));
    bench.answers();
    bench.fill(JOURNAL_ENTRIES_MAX, Lane::Alert);
}

/// While something of before is owed to the journal in that room, a notice would overtake it there.
#[test]
fn a_notice_overtakes_nothing_in_the_journal() {
    let mut bench = Bench::with_journal(options(), Recovered::default());
    bench.publish(notification("u1", "a"));
    bench.give_numbers();
    bench.commit();
    bench.answers();
    bench.fill(JOURNAL_ENTRIES_MAX - JOURNAL_ALERT_RESERVE_ENTRIES, Lane::Update);
    bench.publish_in_memory(Event { room: "system:acks".into(), ..event(Mode::Stream, Lane::Update, "1") });
    assert_eq!(bench.ack_event("a").remove(0).outcome.unwrap_err().error, codes::QUEUE_FULL);
    let before = bench.out.journal.len();
    bench.commit();
    assert_eq!(bench.ack_event("a").remove(0).outcome.unwrap_err().error, codes::QUEUE_FULL, "it is owed still");
    assert_eq!(bench.ack_event("a"), []);
    assert_eq!(bench.journal_after(before), [("system:acks", 1), ("system:acks", 2), ("a", 0)]);
}

/// QTE-11: what has to go for too many goes with the journal's knowledge, or stays: it would come back with the next start, acknowledged or not.
#[test]
fn while_the_disk_fails_none_has_to_go() {
    let mut bench = Bench::with_journal(HubOptions { history_events: 1000, ..options() }, Recovered::default());
    bench.hub.apply(bench.now, Input::Journal(Report::Failing { reason: "full".into() }), &mut bench.out);
    for n in 0..=UNACKNOWLEDGED_PER_USER_MAX {
        bench.publish_in_memory(notification("u1", &format!("e{n}")));
        assert!(bench.answers()[0].outcome.is_ok());
    }
    bench.publish_in_memory(notification("u1", "more"));
    let refused = bench.answers().remove(0).outcome.unwrap_err();
    assert_eq!((refused.error, refused.retry_after_ms.is_some()), (codes::JOURNAL_UNAVAILABLE, true));
    assert!(refused.message.contains("acknowledgments"), "{}", refused.message);
    bench.publish_in_memory(notification("u2", "e0"));
    assert!(bench.answers()[0].outcome.is_ok(), "others have place");
    assert_eq!((bench.redelivered().len(), bench.told().len()), (UNACKNOWLEDGED_PER_USER_MAX + 1, 0));
    bench.commit();
    bench.pass(1);
    let before = bench.out.journal.len();
    bench.publish_in_memory(notification("u1", "more"));
    let again = bench.redelivered();
    assert_eq!((again.len(), &*again[0], bench.told().len()), (UNACKNOWLEDGED_PER_USER_MAX, "e2", 2));
    let more = UNACKNOWLEDGED_PER_USER_MAX as u64 + 2;
    assert_eq!(bench.journal_after(before), [("system:acks", 1), ("e0", 0), ("user:u1", more), ("system:acks", 2), ("e1", 0)]);
}

/// To tell of one that goes, a room is made: not in the place of the one that is published to.
#[test]
fn the_room_of_an_event_outlives_the_one_that_goes_for_it() {
    let mut bench = Bench::with_journal(HubOptions { rooms_max: 1, ..options() }, Recovered::default());
    bench.hub.apply(bench.now, Input::Journal(Report::Failing { reason: "full".into() }), &mut bench.out);
    for n in 0..=UNACKNOWLEDGED_PER_USER_MAX {
        bench.publish_in_memory(notification("u1", &format!("e{n}")));
    }
    bench.commit();
    bench.answers();
    bench.publish_in_memory(notification("u1", "more"));
    assert!(bench.answers()[0].outcome.is_ok());
    assert_eq!((bench.hub.stats().acks_untold, bench.hub.stats().unacknowledged), (1, UNACKNOWLEDGED_PER_USER_MAX as u64));
}

/// Where nobody can be told, the end takes the one place that it needs.
#[test]
fn an_end_that_is_told_to_nobody_takes_one_place() {
    let mut bench = Bench::with_journal(HubOptions { rooms_max: 1, ..options() }, Recovered::default());
    bench.publish(notification("u1", "a"));
    bench.give_numbers();
    bench.commit();
    bench.answers();
    bench.join_room("user:u1", "u1", None, None); // a member keeps the only room from being evicted
    assert_eq!(bench.ack_event("a"), []);
    assert_eq!(bench.journal_after(1), [("a", 0)]);
    bench.commit();
    assert_eq!((bench.acked().remove(0).outcome, bench.hub.stats().acks_untold), (Ok(()), 1));
    bench.answers();
    for _ in 0..JOURNAL_ENTRIES_MAX {
        bench.publish(Event { room: "user:u1".into(), ..alert("1") });
        bench.give_numbers();
    }
    assert_eq!(bench.answers(), [], "no place is promised to what never comes");
}
