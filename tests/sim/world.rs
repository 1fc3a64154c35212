//! One run: a hub, modelled reactors with clients and publishers, links, a sequencer and a clock, all driven by one seed.

use std::collections::HashMap;
use std::time::Duration;

use tickerd::base::lane::{Lane, Mode};
use tickerd::base::time::{Mono, Now};
use tickerd::hub::ports::{Event, Input, Publish};
use tickerd::hub::{Hub, HubOptions};

use crate::client::{Kept, Session};
use crate::link::{Link, Sequencer, Tap};
use crate::message::Reader;
use crate::oracle::{Oracle, Seen};
use crate::plan::{KEYS, KINDS, KindPlan, Plan, Profile, USERS, user_name};
use crate::reactor::{Command, Reactor};
use crate::rng::Rng;

/// Ticks in which a hub that nobody disturbs must have nothing left to do.
const SETTLE_ROUNDS_MAX: u32 = 20_000;

/// See the module.
pub(crate) struct World {
    plan: Plan,
    rng: Rng,
    now: Now,
    deadline: Mono,
    hub: Hub,
    links: Vec<Link>,
    reactors: Vec<Reactor>,
    sequencer: Sequencer,
    oracle: Oracle,
    reader: Reader,
    /// What each user keeps of its last membership of a room.
    kept: HashMap<(usize, String), Kept>,
    /// Events with an `event_id`, to publish again.
    retries: Vec<Event>,
    versions: HashMap<(usize, usize), u64>,
    published: u64,
}

impl World {
    /// The run of that seed.
    pub(crate) fn new(profile: Profile, seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(profile, &mut rng);
        let now = Now { mono: Mono(rng.bits() % 10_000_000_000 + 1), wall_ms: 1_700_000_000_000 };
        World {
            hub: Hub::new(options(&plan, rng.bits())),
            links: (0..plan.reactors).map(|_| Link::new(&plan)).collect(),
            reactors: (0..plan.reactors).map(|index| Reactor::new(index, plan.slots_per_reactor, plan.late_leaves)).collect(),
            sequencer: Sequencer::default(),
            oracle: Oracle::new(&plan),
            reader: Reader::default(),
            kept: HashMap::new(),
            retries: Vec::new(),
            versions: HashMap::new(),
            published: 0,
            deadline: Mono::NEVER,
            plan,
            rng,
            now,
        }
    }

    /// Runs it, with a rest and a check in the middle and at the end, and returns what happened.
    pub(crate) fn run(mut self) -> Seen {
        (0..self.plan.reactors * self.plan.slots_per_reactor).for_each(|_| self.connect());
        for _ in 0..2 {
            for _ in 0..self.plan.steps / 2 {
                self.step();
            }
            self.settle();
            self.check();
        }
        self.probe();
        self.everybody_leaves();
        let sum = |of: fn(&Reactor) -> u64| self.reactors.iter().map(of).sum();
        Seen { deltas: sum(|reactor| reactor.deltas), delta_missed: sum(|reactor| reactor.delta_missed), ..self.oracle.seen() }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..35 => self.publish_some(),
            35..38 => self.connect(),
            38..40 => self.disconnect(),
            40..44 if self.plan.profile == Profile::Churn => self.reconnect(),
            40..60 => self.subscribe(),
            60..65 => self.unsubscribe(),
            65..69 => self.snapshot(),
            69..73 => self.stall(),
            _ => self.advance(),
        }
        if self.rng.chance(60) {
            let inputs = self.rng.between(1, 20);
            self.serve_hub(inputs);
        }
        if self.rng.chance(70) {
            self.tick();
        }
        if self.rng.chance(60) {
            let outputs = self.rng.between(1, 30);
            self.serve_reactors(outputs);
        }
    }

    // What the hub's thread does.

    fn serve_hub(&mut self, inputs: usize) {
        for _ in 0..inputs {
            let reactor = self.rng.below(self.plan.reactors);
            if self.rng.chance(30) && !self.reactors[reactor].retry.is_empty() {
                let leave = self.reactors[reactor].retry.swap_remove(0);
                self.reactors[reactor].urgent.push_back(leave);
            }
            let urgent = self.rng.chance(60);
            let reactor = &mut self.reactors[reactor];
            let queue = if urgent { &mut reactor.urgent } else { &mut reactor.bulk };
            if let Some(input) = queue.pop_front() {
                self.apply(input);
            }
            if !self.plan.numbers_at_once && self.rng.chance(30) {
                self.number();
            }
        }
    }

    fn apply(&mut self, input: Input) {
        self.oracle.before_apply(&self.plan, self.now, &input, &self.links);
        let World { plan, now, links, sequencer, oracle, reader, .. } = self;
        let mut tap = Tap { now: *now, plan, links, sequencer, oracle, reader };
        self.hub.apply(*now, input, &mut tap);
        self.oracle.after_apply();
        self.check_figures();
        if self.plan.numbers_at_once {
            self.number();
        }
    }

    fn number(&mut self) {
        if let Some(sequenced) = self.sequencer.answer(&mut self.rng) {
            self.apply(Input::Sequenced(sequenced));
        }
    }

    fn tick(&mut self) {
        self.oracle.before_tick();
        let World { plan, now, links, sequencer, oracle, reader, .. } = self;
        let mut tap = Tap { now: *now, plan, links, sequencer, oracle, reader };
        self.deadline = self.hub.tick(*now, &mut tap);
        self.oracle.after_tick(&self.plan, self.now);
        self.check_figures();
    }

    /// Promise 5: history and rooms stay within their budgets, whatever happens; and members are counted rightly.
    fn check_figures(&self) {
        let stats = self.hub.stats();
        assert!(stats.history_bytes <= self.plan.history_bytes as u64, "{stats:?}, {} bytes are allowed", self.plan.history_bytes);
        assert!(stats.rooms <= self.plan.rooms_max as u64, "{stats:?}, {} rooms are allowed", self.plan.rooms_max);
        assert_eq!(stats.members, self.oracle.members(), "joins granted less leaves");
    }

    // What reactors do.

    fn serve_reactors(&mut self, outputs: usize) -> usize {
        let mut served = 0;
        for reactor in 0..self.plan.reactors {
            for _ in 0..outputs {
                if self.reactors[reactor].stalled {
                    break;
                }
                let Some(output) = self.links[reactor].pop() else { break };
                self.reactors[reactor].take(output, &mut self.reader);
                served += 1;
            }
            self.remember(reactor);
        }
        served
    }

    fn remember(&mut self, reactor: usize) {
        for (user, room, kept) in self.reactors[reactor].ended.drain(..) {
            self.kept.insert((user, room), kept);
        }
    }

    fn stall(&mut self) {
        if self.plan.profile != Profile::Calm {
            let reactor = self.rng.below(self.plan.reactors);
            self.reactors[reactor].stalled = self.rng.chance(60);
        }
    }

    fn advance(&mut self) {
        let ms = match self.rng.below(1000) {
            0..400 if self.deadline > self.now.mono && self.deadline.since(self.now.mono) < Duration::from_secs(1) => {
                return self.advance_to(self.deadline);
            }
            0..700 => self.rng.between(0, 5),
            700..900 => self.rng.between(10, 120),
            900..990 => self.rng.between(300, 2_000),
            990..999 => 10_000,
            _ => 61_000,
        };
        self.advance_to(self.now.mono.plus(Duration::from_millis(ms as u64)));
    }

    fn advance_to(&mut self, mono: Mono) {
        let before_ms = self.now.mono.0 / 1_000_000;
        self.now.mono = self.now.mono.max(mono);
        self.now.wall_ms += self.now.mono.0 / 1_000_000 - before_ms;
    }

    // What clients and publishers do.

    fn connect(&mut self) {
        let reactor = self.rng.below(self.plan.reactors);
        let free: Vec<usize> = (0..self.plan.slots_per_reactor).filter(|slot| self.reactors[reactor].slots[*slot].1.is_none()).collect();
        if !free.is_empty() {
            let (slot, user) = (*self.rng.pick(&free), self.rng.below(USERS));
            self.reactors[reactor].connect(slot, user);
        }
    }

    fn disconnect(&mut self) {
        if let Some((reactor, slot)) = self.any_conn() {
            self.reactors[reactor].disconnect(slot);
            self.remember(reactor);
        }
    }

    /// Closes a connection and gives its slot to another at once, before the hub has heard of it.
    fn reconnect(&mut self) {
        let (conn, user) = (self.any_conn(), self.rng.below(USERS));
        if let Some((reactor, slot)) = conn {
            self.reactors[reactor].disconnect(slot);
            self.reactors[reactor].connect(slot, user);
            self.remember(reactor);
        }
    }

    fn any_conn(&mut self) -> Option<(usize, usize)> {
        let conns = self.reactors.iter().flat_map(Reactor::conns).map(|conn| (usize::from(conn.id.reactor), conn.id.slot as usize));
        let conns: Vec<_> = conns.collect();
        (!conns.is_empty()).then(|| *self.rng.pick(&conns))
    }

    fn subscribe(&mut self) {
        let Some((reactor, slot)) = self.any_conn().filter(|(reactor, _)| self.may_ask(*reactor)) else { return };
        let user = self.reactors[reactor].slots[slot].1.as_ref().expect("it was found").user;
        let room = self.rng.below(self.plan.rooms.len());
        let (name, by_pattern) = (self.plan.rooms[room].name.clone(), self.plan.rooms[room].readers[user]);
        let kept = self.kept(user, &name);
        let (history, delta) = (*self.rng.pick(&[None, None, Some(0), Some(2), Some(50)]), self.rng.chance(50));
        self.reactors[reactor].command(slot, Command::Subscribe { room: name, by_pattern, kept, history, delta });
        self.remember(reactor);
    }

    /// The user's position, at times an older one, one of other lanes, one from the future, or one of another history.
    fn kept(&mut self, user: usize, room: &str) -> Option<Kept> {
        let mut kept = self.kept.get(&(user, room.to_owned())).cloned().filter(|_| self.rng.chance(75))?;
        let since = &mut kept.since;
        match self.rng.below(10) {
            0 => since.epoch = "another".into(),
            1 => since.seq = since.seq.map(|seq| seq.map(|seq| seq + 3)),
            2 => since.seq[self.rng.below(Lane::COUNT)] = None,
            3..6 => since.seq = since.seq.map(|seq| seq.map(|seq| seq / 2)),
            _ => {}
        }
        Some(kept)
    }

    fn unsubscribe(&mut self) {
        let Some((reactor, slot)) = self.any_conn() else { return };
        let room = self.any_room();
        self.reactors[reactor].command(slot, Command::Unsubscribe { room });
        self.remember(reactor);
    }

    fn snapshot(&mut self) {
        let Some((reactor, slot)) = self.any_conn().filter(|(reactor, _)| self.may_ask(*reactor)) else { return };
        let room = self.any_room();
        self.reactors[reactor].command(slot, Command::Snapshot { room });
    }

    fn any_room(&mut self) -> String {
        self.rng.pick(&self.plan.rooms).name.clone()
    }

    fn may_ask(&self, reactor: usize) -> bool {
        self.reactors[reactor].outstanding < self.plan.outstanding_max
    }

    fn publish_some(&mut self) {
        let (room, burst) = (self.rng.below(self.plan.rooms.len()), self.rng.between(1, 8));
        let favourite = self.rng.below(KINDS.len());
        for _ in 0..burst {
            let kind = if self.rng.chance(60) { favourite } else { self.rng.below(KINDS.len()) };
            if !self.plan.rooms[room].silent {
                self.publish(room, kind);
            }
        }
    }

    fn publish(&mut self, room: usize, kind: usize) {
        let Some((index, slot)) = self.any_conn().filter(|(reactor, _)| self.may_ask(*reactor)) else { return };
        let event = self.event(room, kind);
        let reactor = &mut self.reactors[index];
        let conn = reactor.slots[slot].1.as_mut().expect("it was found");
        conn.next_ticket += 1;
        let (conn, ticket) = (conn.id, conn.next_ticket - 1);
        let urgent = event.lane == Lane::Alert;
        let publish =
            Input::Publish(Box::new(Publish { conn, ticket, accepted: self.now.mono, ack: tickerd::hub::ports::Safety::Durable, event }));
        if urgent {
            reactor.urgent.push_back(publish);
        } else {
            reactor.bulk.push_back(publish);
        }
        reactor.outstanding += 1;
    }

    fn event(&mut self, room: usize, number: usize) -> Event {
        if !self.retries.is_empty() && self.rng.chance(10) {
            return self.rng.pick(&self.retries).clone();
        }
        self.published += 1;
        let kind = &KINDS[number];
        let event = Event {
            kind: kind.name.into(),
            room: self.plan.rooms[room].name.as_str().into(),
            lane: kind.lane,
            mode: kind.mode,
            key: if kind.mode == Mode::State { (*self.rng.pick(&KEYS)).into() } else { "".into() },
            owner: self.owner(room).map(|owner| user_name(owner).into()),
            event_id: self.rng.chance(25).then(|| format!("e{}", self.published).into()),
            version: kind.versioned.then(|| self.version(room, number)),
            history: self.plan.rooms[room].history[kind.lane.index()],
            ack_ttl: None,
            data: self.data(kind).into(),
        };
        if event.event_id.is_some() {
            self.retries.push(event.clone());
        }
        event
    }

    /// Mostly the room's owner, at times none, rarely another.
    fn owner(&mut self, room: usize) -> Option<usize> {
        let owner = self.plan.rooms[room].owner?;
        match self.rng.below(100) {
            0..90 => Some(owner),
            90..97 => None,
            _ => Some(self.rng.below(USERS)),
        }
    }

    /// Mostly newer than the last, at times the same or older.
    fn version(&mut self, room: usize, kind: usize) -> u64 {
        let last = self.versions.entry((room, kind)).or_insert(10);
        *last += 1;
        last.saturating_sub(*self.rng.pick(&[0, 0, 0, 1, 3]))
    }

    /// States repeat a few values, so that some do not change; all else is unique.
    fn data(&mut self, kind: &KindPlan) -> String {
        if kind.mode != Mode::State {
            let pad = "x".repeat(self.rng.below(self.plan.pad_bytes_max));
            return format!(r#"{{"n": {}, "pad":"{pad}"}}"#, self.published);
        }
        if self.rng.chance(15) {
            return "null".to_owned();
        }
        let (v, a, b) = (self.rng.below(3), self.rng.below(2), *self.rng.pick(&["1.0", "1.0", "1.0", "null", "[null]"]));
        format!(r#"{{"v":{v}.50,"o":{{"a":{a},"b":{b}}}, "rest":"is always the same in this state"}}"#)
    }

    // The end.

    /// Lets everything come to rest, as it must in a bounded number of ticks. Like the hub's thread, it calls for a tick only
    /// after inputs and when the hub asked for one: nobody tells the hub that a link has room again.
    fn settle(&mut self) {
        self.reactors.iter_mut().for_each(|reactor| reactor.stalled = false);
        let longest = self.plan.update_window + self.plan.metric_gather + self.plan.metric_flush;
        let mut horizon = Mono(0);
        self.tick();
        for _ in 0..SETTLE_ROUNDS_MAX {
            if self.serve_all_inputs() || self.deadline <= self.now.mono {
                self.tick();
            }
            if self.serve_reactors(usize::MAX) > 0 || horizon == Mono(0) {
                horizon = self.now.mono.plus(2 * longest + Duration::from_millis(1));
            }
            if self.is_busy() {
                continue;
            }
            if self.deadline > horizon {
                return;
            }
            self.advance_to(self.deadline);
        }
        panic!("it does not come to rest: the next tick is due in {:?}", self.deadline.since(self.now.mono));
    }

    fn serve_all_inputs(&mut self) -> bool {
        let mut inputs: Vec<Input> = Vec::new();
        for reactor in &mut self.reactors {
            inputs.extend(reactor.urgent.drain(..).chain(reactor.bulk.drain(..)).chain(reactor.retry.drain(..)));
        }
        let any = !(inputs.is_empty() && self.sequencer.is_idle());
        for input in inputs {
            self.apply(input);
        }
        while !self.sequencer.is_idle() {
            self.number();
        }
        any
    }

    fn is_busy(&self) -> bool {
        let input = |reactor: &Reactor| !(reactor.urgent.is_empty() && reactor.bulk.is_empty() && reactor.retry.is_empty());
        !self.sequencer.is_idle() || self.reactors.iter().any(input) || self.links.iter().any(|link| !link.is_empty())
    }

    fn check(&mut self) {
        assert!(self.reactors.iter().all(|reactor| reactor.outstanding == 0), "an answer is missing");
        let World { oracle, reactors, plan, .. } = self;
        oracle.finish(plan, sessions(reactors));
    }

    /// One who joins when all is quiet has everything at once.
    fn probe(&mut self) {
        let reactor = self.rng.below(self.plan.reactors);
        self.reactors[reactor].disconnect(0);
        self.reactors[reactor].connect(0, 0);
        for room in 0..self.plan.rooms.len() {
            let room = self.plan.rooms[room].name.clone();
            self.reactors[reactor].command(0, Command::Subscribe { room, by_pattern: true, kept: None, history: Some(3), delta: false });
        }
        self.remember(reactor);
        self.settle();
        self.check();
    }

    /// ROM-07.
    fn everybody_leaves(&mut self) {
        for reactor in 0..self.plan.reactors {
            (0..self.plan.slots_per_reactor).for_each(|slot| self.reactors[reactor].disconnect(slot));
        }
        self.settle();
        assert_eq!(self.hub.stats().members, 0, "everybody left, and members remain");
    }
}

fn sessions(reactors: &[Reactor]) -> impl Iterator<Item = &Session> {
    reactors.iter().flat_map(Reactor::conns).flat_map(|conn| conn.sessions.values())
}

fn options(plan: &Plan, epoch_seed: u64) -> HubOptions {
    HubOptions {
        reactors: plan.reactors,
        update_window: plan.update_window,
        metric_gather: plan.metric_gather,
        metric_flush: plan.metric_flush,
        history_events: plan.history_events,
        history_bytes: plan.history_bytes,
        state_bytes: usize::MAX,
        history_age: plan.history_age,
        unacknowledged_user_bytes: 1 << 20,
        unacknowledged_bytes: 1 << 20,
        rooms_max: plan.rooms_max,
        keys_per_room_max: plan.keys_per_room_max,
        replay_at_once_bytes: usize::MAX,
        replay_part_bytes: 1 << 16,
        epoch_seed,
        escalation: None,
        local_rooms: Vec::new(),
    }
}
