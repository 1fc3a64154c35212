//! What leaves at once, what is held, and for how long.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tickerd::base::ids::KeyId;
use tickerd::base::lane::{Lane, Mode, PerLane};
use tickerd::base::time::{Mono, nanos};
use tickerd::wire::frame::{Frame, Kind};

use crate::link::Link;
use crate::message::{Body, Event, Message};
use crate::plan::{Plan, Profile};

use super::ledger::{Ledger, Record};

/// No two states are stamped with the same time of release, so that a stamp may be ahead of the clock by a nanosecond for each that left with it.
const STAMPS_AHEAD: Duration = Duration::from_micros(10);

/// To which reactor, of which (kind, key), with which data.
type Push = (usize, (usize, usize), Option<Rc<str>>);

/// See the module.
pub(super) struct Timing {
    /// Since the last tick that found room, the hub found none there: what it owes comes with a later tick.
    congested: Vec<PerLane<Cell<bool>>>,
    full_in_tick: Vec<PerLane<Cell<bool>>>,
    /// Deliveries within the call that is under way.
    pushed: Vec<Push>,
    /// What the members of a (room, reactor) have.
    states: HashMap<(usize, usize, usize, usize), u64>,
    streams: HashMap<(usize, usize), PerLane<u64>>,
    /// The last delivery of a key to a reactor.
    delivered: HashMap<(usize, KeyId), (u64, Mono)>,
    /// The newest rev of a key that was let go, and when.
    released: HashMap<KeyId, (u64, Mono)>,
    /// Accepted publishes whose time in a lane is not over.
    held: Vec<usize>,
    /// When the deletion of a key was last published.
    deleted: HashMap<(usize, (usize, usize)), Mono>,
    /// For each room, in which parts of the period its flush may lie.
    phases: HashMap<usize, Vec<(u64, u64)>>,
    ticks: Vec<Mono>,
}

impl Timing {
    pub(super) fn new(plan: &Plan) -> Timing {
        Timing {
            congested: vec![Default::default(); plan.reactors],
            full_in_tick: vec![Default::default(); plan.reactors],
            pushed: Vec::new(),
            states: HashMap::new(),
            streams: HashMap::new(),
            delivered: HashMap::new(),
            released: HashMap::new(),
            held: Vec::new(),
            deleted: HashMap::new(),
            phases: HashMap::new(),
            ticks: Vec::new(),
        }
    }

    pub(super) fn saw_full(&self, reactor: usize, lane: Lane) {
        self.congested[reactor][lane.index()].set(true);
        self.full_in_tick[reactor][lane.index()].set(true);
    }

    pub(super) fn is_congested(&self, reactor: usize, lane: Lane) -> bool {
        self.congested[reactor][lane.index()].get()
    }

    /// Notes the reactors to which this must go at once, should it be accepted: those with members whose link has room.
    pub(super) fn owe(&mut self, plan: &Plan, record: &mut Record, members: &[u32], links: &[Link]) {
        self.pushed.clear();
        let lane = record.event.lane;
        let takes = |reactor: &usize| members[*reactor] > 0 && links[*reactor].has_room(lane) && !self.is_congested(*reactor, lane);
        record.ticks = self.ticks.len();
        record.owed = (0..plan.reactors).filter(takes).collect();
    }

    /// The call is over: which reactors got it.
    pub(super) fn settle(&mut self, record: &mut Record) -> u64 {
        let data = (record.is_not_state() || &*record.event.data != "null").then_some(&*record.event.data);
        let names = record.names();
        let same = |(_, of, bytes): &&Push| *of == names && bytes.as_deref() == data;
        record.pushed = self.pushed.iter().filter(same).map(|(reactor, ..)| *reactor).collect();
        record.pushed.len() as u64
    }

    pub(super) fn accepted(&mut self, number: usize, record: &Record) {
        if record.event.lane != Lane::Alert && record.event.mode != Mode::Transient {
            self.held.push(number);
        }
    }

    /// One who joins later is not told of a key that is gone.
    pub(super) fn deleted(&mut self, now: Mono, room: usize, names: (usize, usize)) {
        self.deleted.insert((room, names), now);
    }

    pub(super) fn delivered(&mut self, plan: &Plan, now: Mono, at: (usize, usize), frame: &Frame, event: &Event, in_tick: bool) {
        let (room, reactor) = at;
        self.pushed.push((reactor, (event.kind, event.key), event.data.clone()));
        match frame.tag.kind {
            Kind::State { key, rev, .. } => {
                self.states.insert((room, reactor, event.kind, event.key), rev);
                self.delivered_state(plan, now, reactor, frame, key, rev);
            }
            Kind::Stream { seq } => self.streams.entry(at).or_default()[event.lane.index()] = seq,
            _ => {}
        }
        if event.lane == Lane::Metric && plan.holds_metrics() && plan.profile == Profile::Calm {
            assert!(in_tick, "a metric left outside a tick: {event:?}");
            self.flushed(plan, now, room);
        }
    }

    /// A `gap` stands for these.
    pub(super) fn skipped(&mut self, room: usize, reactor: usize, lane: Lane, to: u64) {
        self.streams.entry((room, reactor)).or_default()[lane.index()] = to;
    }

    /// A member was given all of this.
    pub(super) fn joined(&mut self, room: usize, reactor: usize, heads: PerLane<Option<u64>>, messages: &[Rc<Message>]) {
        let streams = self.streams.entry((room, reactor)).or_default();
        for lane in Lane::ALL {
            streams[lane.index()] = streams[lane.index()].max(heads[lane.index()].unwrap_or(0));
        }
        for message in messages {
            if let Body::Event(Event { kind, key, rev: Some(rev), .. }) = message.body {
                let has = self.states.entry((room, reactor, kind, key)).or_default();
                *has = (*has).max(rev);
            }
        }
    }

    pub(super) fn before_tick(&mut self) {
        self.full_in_tick.iter().flatten().for_each(|full| full.set(false));
    }

    pub(super) fn after_tick(&mut self, plan: &Plan, now: Mono, ledger: &Ledger, concerns: impl Fn(&Record, usize) -> bool) {
        for (congested, full) in self.congested.iter().flatten().zip(self.full_in_tick.iter().flatten()) {
            congested.set(full.get());
        }
        self.ticks.push(now);
        if plan.profile == Profile::Calm {
            let mut held = std::mem::take(&mut self.held);
            held.retain(|number| !self.let_go(plan, now, ledger.record(*number), &concerns));
            self.held = held;
        }
    }

    /// Promise 1, and windows: what had to leave at once did.
    pub(super) fn check(&self, ledger: &Ledger, plan: &Plan) {
        let mut last: HashMap<(usize, (usize, usize)), Mono> = HashMap::new();
        for record in ledger.records().iter().filter(|record| record.is_accepted()) {
            let key = (record.room, record.names());
            let idle = last.insert(key, record.known).is_none_or(|last| self.window_ended(plan, last) < record.ticks);
            if leaves_at_once(record, plan, idle) {
                let missing: Vec<_> = record.owed.iter().filter(|reactor| !record.pushed.contains(reactor)).copied().collect();
                assert!(missing.is_empty(), "PROMISE 1: not pushed at once to reactors {missing:?}, which had room: {:?}", record.event);
            }
        }
    }

    /// The tick, by number, in which no window of a key last changed then can be open any more: one may have been open, and
    /// another was opened when that change was let go.
    fn window_ended(&self, plan: &Plan, changed: Mono) -> usize {
        let first_at = |at: Mono| self.ticks.partition_point(|tick| *tick < at);
        let let_go = self.ticks.get(first_at(changed.plus(plan.update_window)));
        let_go.map_or(usize::MAX, |tick| first_at(tick.plus(plan.update_window)))
    }

    fn delivered_state(&mut self, plan: &Plan, now: Mono, reactor: usize, frame: &Frame, key: KeyId, rev: u64) {
        let windowed = frame.tag.lane == Lane::Update;
        if let Some((last, at)) = self.delivered.insert((reactor, key), (rev, now)) {
            assert!(rev > last, "a reactor got rev {rev} of a key after {last}");
            let early = windowed && plan.profile == Profile::Calm && now.since(at) < plan.update_window;
            assert!(!early, "two frames of a key within a window: revs {last} and {rev}");
        }
        let (last, at) = self.released.get(&key).copied().unwrap_or_default();
        if rev > last {
            let early = windowed && last > 0 && frame.tag.released.since(at) + STAMPS_AHEAD < plan.update_window;
            assert!(!early, "revs {last} and {rev} of a key were let go within a window");
            self.released.insert(key, (rev, frame.tag.released));
        }
    }

    /// Whether its time in the lane is over; if it is, its members have it.
    fn let_go(&self, plan: &Plan, now: Mono, record: &Record, concerns: &impl Fn(&Record, usize) -> bool) -> bool {
        let hold = if record.event.lane == Lane::Update { plan.update_window } else { plan.metric_gather + plan.metric_flush };
        if now < record.known.plus(hold) {
            return false;
        }
        let number = match record.accepted_answer().expect("it was accepted").number {
            tickerd::hub::ports::Number::Seq(number) | tickerd::hub::ports::Number::Rev(number) => number,
            tickerd::hub::ports::Number::None => return true,
        };
        for reactor in (0..plan.reactors).filter(|reactor| concerns(record, *reactor)) {
            let (kind, key) = record.names();
            let has = match record.event.mode {
                Mode::State if self.deleted.get(&(record.room, (kind, key))).is_some_and(|at| *at >= record.known) => return true,
                Mode::State => self.states.get(&(record.room, reactor, kind, key)).copied().unwrap_or(0),
                _ => self.streams.get(&(record.room, reactor)).map_or(0, |lanes| lanes[record.event.lane.index()]),
            };
            assert!(has >= number, "held for longer than {hold:?}: {number}, members have {has}: {:?}", record.event);
        }
        true
    }

    /// A room's metrics left in this tick: its phase lies between the last tick, or what came right after it, and this one.
    fn flushed(&mut self, plan: &Plan, now: Mono, room: usize) {
        let (period, last_tick) = (nanos(plan.metric_flush), self.ticks.last().copied().unwrap_or_default());
        if period == 0 || now.0 - last_tick.0 >= period {
            return;
        }
        let (first, last) = (last_tick.0 % period, now.0 % period);
        let allowed = if first <= last { vec![(first, last)] } else { vec![(0, last), (first, period - 1)] };
        let phases = self.phases.entry(room).or_insert_with(|| vec![(0, period - 1)]);
        *phases =
            phases.iter().flat_map(|a| allowed.iter().map(|b| (a.0.max(b.0), a.1.min(b.1)))).filter(|(low, high)| low <= high).collect();
        assert!(!phases.is_empty(), "a room's metrics do not leave at its own ticks, {:?} apart", plan.metric_flush);
    }
}

/// `idle`: no window of the key is open.
fn leaves_at_once(record: &Record, plan: &Plan, idle: bool) -> bool {
    match (record.event.lane, record.event.mode) {
        (Lane::Alert, _) | (Lane::Update, Mode::Stream | Mode::Transient) => true,
        (Lane::Update, Mode::State) => idle && plan.profile == Profile::Calm,
        (Lane::Metric, _) => !plan.holds_metrics(),
    }
}
