//! The core by example; `tests/sim` has it by the thousand.

mod acks;
mod ahead;
mod deltas;
mod durable;
mod escalations;
mod held;
mod joins;
mod lagging;
mod memory;
mod polls;
mod replays;
mod shared;
mod shared_acks;
mod traffic;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::base::codes;
use crate::base::ids::ConnId;
use crate::base::lane::{Lane, Mode, PerLane};
use crate::base::time::{Mono, Now};
use crate::wire::frame::Frame;
use crate::wire::request_id::RequestId;

use super::journal::{Entry, Fact, Fetch};
use super::ports::*;
use super::sequencer::LocalSequencer;
use super::store::{Append, Settled};
use super::{Hub, HubOptions};

/// A hub with recorded links of a settable size, and a sequencer that answers when told to.
struct Bench {
    hub: Hub,
    now: Now,
    out: Recorder,
    sequencer: LocalSequencer,
    ticket: u64,
}

#[derive(Default)]
struct Recorder {
    outputs: Vec<(usize, Output)>,
    /// Deliveries that still fit, for each reactor.
    free: Vec<usize>,
    needs: VecDeque<NeedSeq>,
    journal: Vec<Entry>,
    facts: Vec<Fact>,
    /// The tables take no more of them for now.
    facts_full: bool,
    fetches: Vec<Fetch>,
    appends: VecDeque<Append>,
    settled: Vec<Settled>,
    /// So many more events are taken of which somebody is to be told.
    takes: usize,
    overdue: Vec<Overdue>,
}

impl Outlet for Recorder {
    fn has_room(&self, reactor: usize, lane: Lane) -> bool {
        self.free[reactor] > usize::from(lane != Lane::Alert)
    }

    fn push(&mut self, reactor: usize, output: Output) {
        if matches!(output, Output::Deliver(_)) {
            self.free[reactor] -= 1;
        }
        self.outputs.push((reactor, output));
    }

    fn need_seq(&mut self, need: NeedSeq) {
        self.needs.push_back(need);
    }

    fn journal(&mut self, entry: Entry) {
        self.journal.push(entry);
    }

    fn can_keep(&self) -> bool {
        !self.facts_full
    }

    fn keep(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.fetches.push(fetch);
    }

    fn can_escalate(&self) -> bool {
        self.takes > 0
    }

    fn escalate(&mut self, overdue: Overdue) {
        self.takes -= 1;
        self.overdue.push(overdue);
    }

    fn settled(&mut self, settled: Settled) {
        self.settled.push(settled);
    }

    fn append(&mut self, append: Append) {
        self.appends.push_back(append);
    }
}

const MS: u64 = 1_000_000;

fn options() -> HubOptions {
    HubOptions {
        reactors: 2,
        update_window: Duration::from_millis(100),
        metric_gather: Duration::from_millis(100),
        metric_flush: Duration::from_millis(500),
        history_events: 4,
        history_bytes: 1 << 20,
        state_bytes: 1 << 20,
        history_age: Duration::from_secs(60),
        unacknowledged_user_bytes: 1 << 20,
        unacknowledged_bytes: 1 << 20,
        rooms_max: 100,
        keys_per_room_max: 2,
        replay_at_once_bytes: usize::MAX,
        replay_part_bytes: 1 << 16,
        epoch_seed: 1,
        escalation: None,
        local_rooms: Vec::new(),
    }
}

fn event(mode: Mode, lane: Lane, data: &str) -> Event {
    Event {
        kind: "T".into(),
        room: "r".into(),
        lane,
        mode,
        key: "".into(),
        owner: None,
        event_id: None,
        version: None,
        history: 0,
        ack_ttl: None,
        data: data.into(),
    }
}

fn conn(reactor: u16, slot: u32) -> ConnId {
    ConnId { reactor, slot, generation: 0 }
}

impl Bench {
    fn new(options: HubOptions) -> Bench {
        let out = Recorder { free: vec![usize::MAX; options.reactors], ..Recorder::default() };
        let now = Now { mono: Mono(1_000 * MS), wall_ms: 1_700_000_000_000 };
        Bench { hub: Hub::new(options), now, out, sequencer: LocalSequencer::default(), ticket: 0 }
    }

    fn publish(&mut self, event: Event) {
        self.publish_with(Safety::Durable, event);
    }

    fn publish_with(&mut self, ack: Safety, event: Event) {
        let publish = Publish { conn: conn(0, 99), ticket: self.ticket, accepted: self.now.mono, ack, event };
        self.ticket += 1;
        self.hub.apply(self.now, Input::Publish(Box::new(publish)), &mut self.out);
    }

    /// Publishes, gives the number at once, and takes the answer.
    fn accept(&mut self, event: Event) -> Result<Accepted, codes::Refusal> {
        self.publish(event);
        self.give_numbers();
        self.answers().pop().expect("every publish is answered").outcome
    }

    fn give_numbers(&mut self) {
        while let Some(need) = self.out.needs.pop_front() {
            self.hub.apply(self.now, Input::Sequenced(self.sequencer.assign(need)), &mut self.out);
        }
    }

    /// Ticks, and takes the answers out of what was pushed.
    fn answers(&mut self) -> Vec<Answer> {
        self.hub.tick(self.now, &mut self.out);
        let mut answers = Vec::new();
        self.out.outputs.retain_mut(|(_, output)| match output {
            Output::Answers(batch) => {
                answers.append(batch);
                false
            }
            _ => true,
        });
        answers
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono.0 += ms * MS;
        self.now.wall_ms += ms;
        self.hub.tick(self.now, &mut self.out);
    }

    fn join(&mut self, conn: ConnId, since: Option<Since>, history: Option<u32>) -> Vec<Value> {
        self.join_as(conn, "u1", true, since, history)
    }

    fn join_as(&mut self, conn: ConnId, user: &str, by_pattern: bool, since: Option<Since>, history: Option<u32>) -> Vec<Value> {
        self.ask_to_join(conn, user, by_pattern, since, history);
        self.answer_of_join().expect("every join is answered")
    }

    fn ask_to_join(&mut self, conn: ConnId, user: &str, by_pattern: bool, since: Option<Since>, history: Option<u32>) {
        let join = Join {
            conn,
            request: Some(RequestId::from(7)),
            room: "r".into(),
            user: user.into(),
            by_pattern,
            consent: Consent::None,
            since,
            history,
            delta: false,
            poll: None,
            sample: None,
        };
        self.hub.apply(self.now, Input::Join(Box::new(join)), &mut self.out);
    }

    fn answer_of_join(&mut self) -> Option<Vec<Value>> {
        match self.out.outputs.pop()?.1 {
            Output::Joined(joined) => {
                let has_room = |id| Input::ReplayTaken { id, wants_more: true };
                joined.replay.into_iter().for_each(|id| self.hub.apply(self.now, has_room(id), &mut self.out));
                Some(texts(&joined.frames))
            }
            Output::Reply { frames, .. } => Some(texts(&frames)),
            other => panic!("{other:?}"),
        }
    }

    /// The live frames pushed to a reactor since the last call.
    fn live(&mut self, reactor: usize) -> Vec<Value> {
        let mut frames = Vec::new();
        self.out.outputs.retain(|(to, output)| match output {
            Output::Deliver(frame) if *to == reactor => {
                frames.push(Arc::clone(frame));
                false
            }
            _ => true,
        });
        texts(&frames)
    }

    fn room(&self) -> crate::base::ids::RoomId {
        self.hub.rooms.id_of("r").expect("the test made the room")
    }
}

fn texts(frames: &[Arc<Frame>]) -> Vec<Value> {
    frames.iter().map(|frame| serde_json::from_slice(frame.as_text()).expect("frames are JSON")).collect()
}

fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().expect("every frame has a type")).collect()
}

fn datas(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame["data"].as_u64()).collect()
}

fn since(epoch: &str, alert: u64) -> Since {
    let seq: PerLane<Option<u64>> = [Some(alert), None, None];
    Since { epoch: epoch.into(), seq }
}

fn alert(data: &str) -> Event {
    event(Mode::Stream, Lane::Alert, data)
}

fn state(lane: Lane, data: &str) -> Event {
    event(Mode::State, lane, data)
}

#[test]
fn a_stream_event_is_pushed_with_its_number_and_answered_with_it() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    bench.join(conn(1, 1), None, None);
    let answer = bench.accept(Event { event_id: Some("e1".into()), ..alert("{\"a\":1}") }).unwrap();
    assert_eq!((answer.number, answer.members, answer.outcome), (Number::Seq(1), 2, Outcome::Accepted));
    for reactor in [0, 1] {
        let frames = bench.live(reactor);
        assert_eq!(frames.len(), 1);
        assert_eq!((&frames[0]["seq"], &frames[0]["event_id"], &frames[0]["ts"]), (&1.into(), &"e1".into(), &bench.now.wall_ms.into()));
    }
    let stats = bench.hub.stats();
    assert_eq!((stats.members, stats.accepted, stats.encoded, stats.rooms), (2, [1, 0, 0], 1, 1));
}

/// DLV-10: one encoding, however many reactors get it.
#[test]
fn reactors_share_one_frame() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    bench.join(conn(1, 1), None, None);
    bench.accept(alert("1")).unwrap();
    let frames: Vec<_> = bench.out.outputs.iter().filter_map(|(_, o)| if let Output::Deliver(f) = o { Some(f) } else { None }).collect();
    assert_eq!(frames.len(), 2);
    assert!(Arc::ptr_eq(frames[0], frames[1]));
}

/// The seam: nothing is pushed or answered before the number has come, and duplicates wait with the first.
#[test]
fn an_event_waits_for_its_number() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    for _ in 0..2 {
        bench.publish(Event { event_id: Some("e1".into()), ..alert("1") });
    }
    assert!(bench.answers().is_empty() && bench.live(0).is_empty());
    bench.give_numbers();
    let outcomes: Vec<_> = bench.answers().into_iter().map(|a| a.outcome.map(|a| (a.outcome, a.number))).collect();
    assert_eq!(outcomes, [Ok((Outcome::Accepted, Number::Seq(1))), Ok((Outcome::Duplicate, Number::Seq(1)))]);
    assert_eq!(bench.live(0).len(), 1);
    assert_eq!(bench.hub.stats().duplicate, 1);
}

/// DLV-08: within 60 s, for each room.
#[test]
fn an_event_id_is_remembered_for_a_minute() {
    let mut bench = Bench::new(options());
    let with_id = |room: &str| Event { event_id: Some("e1".into()), room: room.into(), ..alert("1") };
    assert_eq!(bench.accept(with_id("r")).unwrap().outcome, Outcome::Accepted);
    assert_eq!(bench.accept(with_id("other")).unwrap().outcome, Outcome::Accepted);
    bench.pass(59_999);
    assert_eq!(bench.accept(with_id("r")).unwrap().outcome, Outcome::Duplicate);
    bench.pass(1);
    let again = bench.accept(with_id("r")).unwrap();
    assert_eq!((again.outcome, again.number), (Outcome::Accepted, Number::Seq(2)));
}

/// DLV-03, DLV-09: the first at once, then one a window, and the last value always.
#[test]
fn an_update_state_goes_at_once_and_then_once_a_window() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    for data in ["1", "2", "3"] {
        bench.accept(state(Lane::Update, data)).unwrap();
    }
    assert_eq!(datas(&bench.live(0)), [1]);
    bench.pass(99);
    assert!(bench.live(0).is_empty());
    bench.pass(1);
    let frames = bench.live(0);
    assert_eq!((datas(&frames), &frames[0]["rev"]), (vec![3], &3.into()));
    assert_eq!(bench.hub.stats().conflated, 1);
    bench.accept(state(Lane::Update, "4")).unwrap();
    assert!(bench.live(0).is_empty(), "the second frame opened a window of its own");
    bench.pass(100);
    assert_eq!(datas(&bench.live(0)), [4]);
    bench.pass(100);
    bench.accept(state(Lane::Update, "5")).unwrap();
    assert_eq!(datas(&bench.live(0)), [5], "an idle key goes at once");
}

#[test]
fn a_window_of_zero_holds_nothing_and_alert_states_are_never_held() {
    let mut bench =
        Bench::new(HubOptions { update_window: Duration::ZERO, metric_gather: Duration::ZERO, metric_flush: Duration::ZERO, ..options() });
    bench.join(conn(0, 1), None, None);
    for (lane, kind) in [(Lane::Update, "a"), (Lane::Metric, "b")] {
        for data in ["1", "2"] {
            bench.accept(Event { kind: kind.into(), ..state(lane, data) }).unwrap();
        }
    }
    assert_eq!(datas(&bench.live(0)), [1, 2, 1, 2]);
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    for data in ["1", "2"] {
        bench.accept(state(Lane::Alert, data)).unwrap();
    }
    assert_eq!(datas(&bench.live(0)), [1, 2]);
}

#[test]
fn metrics_gather_and_leave_together_at_the_rooms_flush() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    bench.accept(state(Lane::Metric, "1")).unwrap();
    bench.accept(event(Mode::Stream, Lane::Metric, "10")).unwrap();
    bench.accept(event(Mode::Transient, Lane::Metric, "20")).unwrap();
    bench.accept(state(Lane::Metric, "2")).unwrap();
    let mut waited = 0;
    while bench.live(0).is_empty() && waited < 700 {
        bench.pass(1);
        waited += 1;
        let frames = bench.live(0);
        if !frames.is_empty() {
            assert_eq!(datas(&frames), [2, 10, 20], "the state keeps its place and has its newest value");
            assert!(waited >= 100, "gathered for {waited} ms");
            assert!(waited <= 600, "flushed after {waited} ms");
            return;
        }
    }
    panic!("never flushed");
}

#[test]
fn too_many_held_metrics_leave_early_and_the_planned_flush_finds_nothing_twice() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    for n in 0..1_030 {
        bench.accept(event(Mode::Stream, Lane::Metric, &n.to_string())).unwrap();
    }
    assert_eq!(bench.live(0).len(), 1_024);
    bench.pass(1_000);
    assert_eq!(datas(&bench.live(0)), [1_024, 1_025, 1_026, 1_027, 1_028, 1_029]);
    let big = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..5 {
        bench.accept(event(Mode::Transient, Lane::Metric, &big)).unwrap();
    }
    assert_eq!(bench.live(0).len(), 5, "256 KiB leave early too");
}

/// PRO-09: a version that is not newer changes nothing.
#[test]
fn stale_and_unchanged_states_are_not_pushed() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    let versioned = |version, data: &str| Event { version: Some(version), ..state(Lane::Update, data) };
    let outcome = |answer: Result<Accepted, codes::Refusal>| answer.map(|a| (a.outcome, a.number)).unwrap();
    assert_eq!(outcome(bench.accept(versioned(5, "1"))), (Outcome::Accepted, Number::Rev(1)));
    assert_eq!(outcome(bench.accept(versioned(5, "2"))), (Outcome::Stale, Number::Rev(1)));
    assert_eq!(outcome(bench.accept(versioned(4, "2"))), (Outcome::Stale, Number::Rev(1)));
    assert_eq!(outcome(bench.accept(versioned(6, "1"))), (Outcome::Unchanged, Number::Rev(1)));
    assert_eq!(outcome(bench.accept(state(Lane::Update, "2"))), (Outcome::Accepted, Number::Rev(2)));
    assert_eq!(outcome(bench.accept(state(Lane::Update, "2"))), (Outcome::Unchanged, Number::Rev(2)), "while it is held");
    assert_eq!(outcome(bench.accept(versioned(5, "3"))), (Outcome::Stale, Number::Rev(2)), "the version outlives one without");
    let stats = bench.hub.stats();
    assert_eq!((stats.stale, stats.unchanged), (3, 2));
}

/// Found by simulation: an unchanged value carries its version all the same, and so does the deletion of what is not there.
#[test]
fn a_version_counts_even_if_nothing_changes() {
    let mut bench = Bench::new(options());
    let versioned = |version, data: &str| Event { version: Some(version), ..state(Lane::Update, data) };
    bench.accept(versioned(5, "1")).unwrap();
    assert_eq!(bench.accept(versioned(7, "1")).unwrap().outcome, Outcome::Unchanged);
    assert_eq!(bench.accept(versioned(6, "2")).unwrap().outcome, Outcome::Stale);
    let other = |version, data: &str| Event { key: "k".into(), ..versioned(version, data) };
    assert_eq!(bench.accept(other(9, "null")).unwrap().outcome, Outcome::Accepted);
    assert_eq!(bench.accept(other(8, "1")).unwrap().outcome, Outcome::Stale);
}

/// Found by simulation: two owners whose events both wait for their number.
#[test]
fn the_first_owner_sticks_before_its_events_number_has_come() {
    let mut bench = Bench::new(options());
    for owner in ["u1", "u2"] {
        bench.publish(Event { owner: Some(owner.into()), ..alert("1") });
    }
    bench.give_numbers();
    let outcomes: Vec<bool> = bench.answers().into_iter().map(|answer| answer.outcome.is_ok()).collect();
    assert_eq!(outcomes.iter().filter(|ok| **ok).count(), 1);
}

/// Found by simulation: a ring's outdated entry must not cost another ring's young event.
#[test]
fn only_what_is_too_old_is_forgotten() {
    let mut bench = Bench::new(HubOptions { history_events: 1, ..options() });
    bench.accept(alert("1")).unwrap();
    bench.pass(30_000);
    bench.accept(alert("2")).unwrap();
    bench.accept(Event { room: "other".into(), ..alert("3") }).unwrap();
    bench.pass(30_000);
    let kept = bench.hub.stats().history_bytes;
    bench.pass(29_999);
    assert_eq!(bench.hub.stats().history_bytes, kept);
    bench.pass(1);
    assert_eq!(bench.hub.stats().history_bytes, 0);
}

#[test]
fn a_deleted_key_is_told_and_not_shown_to_newcomers() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    assert_eq!(bench.accept(state(Lane::Alert, "null")).unwrap().outcome, Outcome::Unchanged, "there was none");
    bench.accept(state(Lane::Alert, "1")).unwrap();
    bench.accept(state(Lane::Alert, "null")).unwrap();
    assert_eq!(bench.accept(state(Lane::Alert, "null")).unwrap().outcome, Outcome::Unchanged);
    let frames = bench.live(0);
    assert_eq!((&frames[1]["deleted"], &frames[1]["rev"]), (&true.into(), &2.into()));
    assert_eq!(types(&bench.join(conn(0, 2), None, None)), ["subscribed", "caught_up"]);
    assert_eq!(
        types(&bench.join(conn(0, 3), Some(since("x", 0)), None)).iter().filter(|t| **t == "T").count(),
        1,
        "one who resumes is told"
    );
    assert_eq!(bench.accept(state(Lane::Alert, "3")).unwrap().number, Number::Rev(3), "rev goes on");
}

/// Found by an attack: states had a limit of number, not of bytes.
#[test]
fn the_bytes_of_states_are_limited_and_given_back() {
    let mut bench = Bench::new(HubOptions { state_bytes: 3_100, rooms_max: 1, ..options() });
    let key = |name: &str, data: &str| Event { key: name.into(), ..state(Lane::Alert, data) };
    let big = format!("\"{}\"", "x".repeat(1_500));
    bench.accept(key("a", &big)).unwrap();
    assert_eq!(bench.hub.stats().state_bytes, 512 + 1_502);
    assert_eq!(bench.accept(key("b", &big)).unwrap_err().error, codes::OVER_CAPACITY);
    assert_eq!((bench.hub.stats().state_bytes, bench.hub.stats().keys), (512 + 1_502, 1));
    bench.accept(key("a", "null")).unwrap();
    assert_eq!(bench.hub.stats().state_bytes, 512 + 4);
    bench.accept(key("b", &big)).unwrap();
    assert_eq!(bench.accept(key("c", "1")).unwrap().number, Number::Rev(3), "a's place is taken");
    assert_eq!(bench.hub.stats().state_bytes, 512 + 1_502 + 512 + 1);
    for other in ["x", "y"] {
        bench.accept(Event { room: other.into(), ..alert("1") }).unwrap();
    }
    assert_eq!((bench.hub.stats().state_bytes, bench.hub.stats().keys), (0, 0), "gone with the evicted room");
}

#[test]
fn keys_are_limited_and_a_deleted_one_makes_place_without_rev_going_back() {
    let mut bench = Bench::new(options());
    let key = |name: &str, data: &str| Event { key: name.into(), ..state(Lane::Alert, data) };
    for data in ["1", "2", "3"] {
        bench.accept(key("a", data)).unwrap();
    }
    bench.accept(key("b", "1")).unwrap();
    let bytes = bench.hub.stats().state_bytes;
    assert_eq!(bench.accept(key("c", "1")).unwrap_err().error, codes::OVER_CAPACITY);
    assert_eq!((bench.hub.stats().keys, bench.hub.stats().state_bytes), (2, bytes));
    bench.accept(key("a", "null")).unwrap();
    assert_eq!(bench.accept(key("c", "1")).unwrap().number, Number::Rev(5), "beyond the forgotten key's 4");
    bench.accept(key("b", "null")).unwrap();
    assert_eq!(bench.accept(key("a", "9")).unwrap().number, Number::Rev(5), "a's own former revs were lower");
}

#[test]
fn one_who_left_gets_nothing_and_owes_nothing() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    bench.accept(alert("1")).unwrap();
    bench.live(0);
    bench.out.free[0] = 0;
    bench.accept(alert("2")).unwrap();
    let room = bench.room();
    bench.hub.apply(bench.now, Input::Leave { room, conn: conn(0, 1), delta: false }, &mut bench.out);
    bench.out.free[0] = 100;
    bench.pass(1);
    assert!(bench.live(0).is_empty());
    assert_eq!((bench.hub.stats().members, bench.accept(alert("3")).unwrap().members), (0, 0));
    assert!(bench.live(0).is_empty());
    let joined = bench.join(conn(0, 2), None, None);
    assert_eq!(joined[0]["from"]["alert"], 4, "heads outlive the last member");
}

/// ROM-07: a room that has nothing to remember goes with its last member.
#[test]
fn a_blank_room_is_freed_with_its_last_member() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    assert_eq!(bench.hub.stats().rooms, 1);
    let room = bench.room();
    bench.hub.apply(bench.now, Input::Leave { room, conn: conn(0, 1), delta: false }, &mut bench.out);
    assert_eq!(bench.hub.stats().rooms, 0);
}

#[test]
fn the_table_of_rooms_is_limited() {
    let mut bench = Bench::new(HubOptions { rooms_max: 1, ..options() });
    bench.join(conn(0, 1), None, None);
    let other = Event { room: "other".into(), ..alert("1") };
    let refusal = bench.accept(other).unwrap_err();
    assert_eq!((refusal.error, refusal.retry_after_ms.is_some()), (codes::OVER_CAPACITY, true));
}

#[test]
fn tick_says_when_to_come_back() {
    let mut bench = Bench::new(options());
    let next = |bench: &mut Bench| bench.hub.tick(bench.now, &mut bench.out).since(bench.now.mono);
    assert_eq!(bench.hub.tick(bench.now, &mut bench.out), Mono::NEVER);
    bench.accept(state(Lane::Update, "1")).unwrap();
    assert_eq!(next(&mut bench), Duration::from_millis(100));
    bench.pass(100);
    assert_eq!(bench.hub.tick(bench.now, &mut bench.out), Mono::NEVER);
    bench.accept(alert("1")).unwrap();
    assert_eq!(next(&mut bench), Duration::from_secs(60), "the history's oldest event");
    bench.join(conn(0, 1), None, None);
    bench.out.free[0] = 0;
    bench.accept(alert("2")).unwrap();
    assert_eq!(next(&mut bench), Duration::from_micros(200), "a lagging reactor is tried again soon");
}
