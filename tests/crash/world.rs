//! One run.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tickerd::base::ids::{ConnId, RoomId};
use tickerd::base::lane::{Lane, Mode, PerLane};
use tickerd::base::time::{Mono, Now};
use tickerd::hub::journal::{Entry, Epoch, Fact, Fetch, Fetched, Report};
use tickerd::hub::ports::{Answer, Consent, Event, Input, Join, Joined, NeedSeq, Outcome, Outlet, Output, Publish, Replayed, Safety};
use tickerd::hub::sequencer::LocalSequencer;
use tickerd::hub::{Hub, HubOptions};
use tickerd::wire::frame::{Frame, Kind};

use crate::client::Have;
use crate::disk::Disk;
use crate::rng::Rng;

mod acks;

use self::acks::{Notices, USER_ROOM};

const ROOMS: [&str; 3] = ["a", "b", "c"];
const CLIENTS: usize = 4;
const KEYS: [&str; 3] = ["x", "y", "z"];

/// How often the interesting things happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) crashes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) memory: u64,
    pub(crate) refused: u64,
    pub(crate) duplicates: u64,
    pub(crate) rewound: u64,
    pub(crate) gaps: u64,
    pub(crate) from_disk: u64,
    pub(crate) failures: u64,
    pub(crate) states: u64,
    pub(crate) acks: u64,
    pub(crate) acks_refused: u64,
    pub(crate) redelivered: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Seen) {
        self.crashes += other.crashes;
        self.acknowledged += other.acknowledged;
        self.memory += other.memory;
        self.refused += other.refused;
        self.duplicates += other.duplicates;
        self.rewound += other.rewound;
        self.gaps += other.gaps;
        self.from_disk += other.from_disk;
        self.failures += other.failures;
        self.states += other.states;
        self.acks += other.acks;
        self.acks_refused += other.acks_refused;
        self.redelivered += other.redelivered;
    }
}

/// What was published, and what its publisher knows of it.
#[derive(Clone)]
struct Published {
    event: Event,
    ack: Safety,
}

/// The ways out of the hub.
struct Out {
    outputs: VecDeque<Output>,
    needs: VecDeque<NeedSeq>,
    disk: Disk,
    fetches: Vec<Fetch>,
    slots: usize,
    can_keep: bool,
}

impl Outlet for Out {
    fn has_room(&self, _: usize, lane: Lane) -> bool {
        self.outputs.len() + usize::from(lane != Lane::Alert) < self.slots
    }

    fn push(&mut self, _: usize, output: Output) {
        self.outputs.push_back(output);
    }

    fn need_seq(&mut self, need: NeedSeq) {
        self.needs.push_back(need);
    }

    fn journal(&mut self, entry: Entry) {
        self.disk.give(entry);
    }

    fn can_keep(&self) -> bool {
        self.can_keep
    }

    fn keep(&mut self, fact: Fact) {
        self.disk.keep(fact);
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.fetches.push(fetch);
    }
}

/// A membership, as a reactor has it.
struct Member {
    id: RoomId,
    floor: PerLane<u64>,
}

pub(crate) struct World {
    rng: Rng,
    now: Now,
    hub: Hub,
    out: Out,
    options: HubOptions,
    sequencer: LocalSequencer,
    /// By client: generation of its connection.
    generations: [u32; CLIENTS],
    /// Joins that were not answered: room by client, in order.
    asked: [VecDeque<&'static str>; CLIENTS],
    members: HashMap<(usize, &'static str), Member>,
    have: HashMap<(usize, &'static str), Have>,
    /// Parts of replays that were given and not taken.
    taken: Vec<Input>,
    waiting: HashMap<u64, Published>,
    /// Events to publish again.
    retries: Vec<Published>,
    /// Id of each event that is durable, its room, lane and number.
    acknowledged: BTreeMap<String, (&'static str, Lane, u64)>,
    /// The newest value of each state key, and of those that a crash may have lost.
    states: HashMap<(&'static str, &'static str), u64>,
    notices: Notices,
    ticket: u64,
    published: u64,
    seen: Seen,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let options = HubOptions {
            reactors: 1,
            update_window: Duration::from_millis(*rng.pick(&[0, 20])),
            metric_gather: Duration::from_millis(*rng.pick(&[0, 20])),
            metric_flush: Duration::from_millis(*rng.pick(&[0, 50])),
            history_events: *rng.pick(&[0, 1, 3, 10]),
            history_bytes: 1 << 20,
            state_bytes: 1 << 20,
            history_age: Duration::from_millis(*rng.pick(&[50, 3_600_000])),
            unacknowledged_user_bytes: 1 << 20,
            unacknowledged_bytes: 1 << 20,
            rooms_max: 100,
            keys_per_room_max: 100,
            epoch_seed: seed,
        };
        let now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };
        let slots = *rng.pick(&[3, 10, 1000]);
        let out =
            Out { outputs: VecDeque::new(), needs: VecDeque::new(), disk: Disk::default(), fetches: Vec::new(), slots, can_keep: true };
        let mut world = World {
            hub: Hub::new(options.clone()),
            rng,
            now,
            out,
            options,
            sequencer: LocalSequencer::default(),
            generations: [0; CLIENTS],
            asked: Default::default(),
            members: HashMap::new(),
            have: HashMap::new(),
            taken: Vec::new(),
            waiting: HashMap::new(),
            retries: Vec::new(),
            acknowledged: BTreeMap::new(),
            states: HashMap::new(),
            notices: Notices::default(),
            ticket: 0,
            published: 0,
            seen: Seen::default(),
        };
        world.start();
        world
    }

    pub(crate) fn run(mut self) -> Seen {
        for _ in 0..400 {
            self.step();
        }
        self.heal();
        self.check();
        for have in self.have.values() {
            self.seen.rewound += have.rewound;
            self.seen.gaps += have.gaps;
        }
        self.seen
    }

    fn step(&mut self) {
        if self.rng.chance(15) {
            self.step_notices();
        }
        match self.rng.below(100) {
            0..30 => self.publish_new(),
            30..35 => self.publish_again(),
            35..45 => self.subscribe(),
            45..48 => self.unsubscribe(),
            48..63 => self.sync(),
            63..65 => self.fail(),
            65..67 => self.trim(),
            67..77 => self.answer_fetch(),
            77..84 => self.take_replay(),
            84..90 => self.advance(),
            90..92 => self.crash(),
            92..94 => self.out.can_keep ^= true,
            _ => self.tick(),
        }
        for _ in 0..self.rng.below(4) {
            self.serve();
        }
    }

    // The process.

    fn start(&mut self) {
        let recovered = self.out.disk.recovered();
        let number = recovered.epochs.last().map_or(0, |epoch| epoch.number) + 1;
        let epoch = Epoch { number, name: format!("epoch-{number}").into(), by_eviction: false };
        self.hub = Hub::with_journal(self.options.clone(), self.now, recovered, epoch.clone());
        self.out.disk.begin(epoch);
        self.sequencer = LocalSequencer::default();
    }

    fn crash(&mut self) {
        self.seen.crashes += 1;
        self.out.disk.crash();
        self.out.outputs.clear();
        self.out.needs.clear();
        self.out.fetches.clear();
        self.taken.clear();
        self.members.clear();
        self.notices.crash();
        self.asked = Default::default();
        self.generations.iter_mut().for_each(|generation| *generation += 1);
        // Nobody was answered: all try again with the same ids.
        let lost = std::mem::take(&mut self.waiting);
        let mut lost: Vec<_> = lost.into_iter().collect();
        lost.sort_by_key(|(ticket, _)| *ticket);
        self.retries.extend(lost.into_iter().map(|(_, published)| published).filter(|published| published.event.event_id.is_some()));
        self.states.clear();
        self.now.wall_ms += 5;
        self.start();
    }

    fn apply(&mut self, input: Input) {
        self.hub.apply(self.now, input, &mut self.out);
        self.number();
    }

    fn number(&mut self) {
        while let Some(need) = self.out.needs.pop_front() {
            let sequenced = self.sequencer.assign(need);
            self.hub.apply(self.now, Input::Sequenced(sequenced), &mut self.out);
        }
    }

    fn tick(&mut self) {
        self.hub.tick(self.now, &mut self.out);
        self.number();
    }

    fn advance(&mut self) {
        let ms = *self.rng.pick(&[1, 10, 60, 1_500]);
        self.now.mono = self.now.mono.plus(Duration::from_millis(ms));
        self.now.wall_ms += ms;
        self.tick();
    }

    // The disk.

    fn sync(&mut self) {
        let count = self.rng.between(1, 20);
        if !self.out.disk.failing && self.out.disk.sync(count) {
            let entry = self.out.disk.committed;
            self.apply(Input::Journal(Report::Committed { entry }));
        }
    }

    fn fail(&mut self) {
        self.out.disk.failing ^= true;
        if self.out.disk.failing && self.out.disk.waits() > 0 {
            self.seen.failures += 1;
            self.apply(Input::Journal(Report::Failing { reason: "the disk is full".into() }));
        }
    }

    fn trim(&mut self) {
        let (room, lane) = (*self.rng.pick(&ROOMS), *self.rng.pick(&Lane::ALL));
        if let Some(trimmed) = self.out.disk.trim(room, lane) {
            self.apply(Input::Journal(Report::Trimmed(vec![trimmed])));
        }
    }

    fn answer_fetch(&mut self) {
        if self.out.fetches.is_empty() {
            return;
        }
        let at = self.rng.below(self.out.fetches.len());
        let fetch = self.out.fetches.swap_remove(at);
        let max = self.rng.between(1, 4);
        let frames = self.out.disk.read(&fetch.room, fetch.lane, fetch.from, fetch.to, max);
        self.seen.from_disk += frames.len() as u64;
        self.apply(Input::Journal(Report::Fetched(Box::new(Fetched { fetch, frames }))));
    }

    // Publishers.

    fn publish_new(&mut self) {
        self.published += 1;
        let (room, lane) = (*self.rng.pick(&ROOMS), *self.rng.pick(&Lane::ALL));
        let is_state = lane != Lane::Alert && self.rng.chance(30);
        let id = format!("id-{}", self.published);
        let key = if is_state { *self.rng.pick(&KEYS) } else { "" };
        if is_state {
            self.states.insert((room, key), self.published);
        }
        let lane = if is_state { Lane::Update } else { lane };
        let event = Event {
            kind: if is_state { "state" } else { "event" }.into(),
            room: room.into(),
            lane,
            mode: if is_state { Mode::State } else { Mode::Stream },
            key: key.into(),
            owner: None,
            event_id: (!is_state).then(|| id.as_str().into()),
            version: None,
            history: 0,
            ack_ttl: None,
            data: format!(r#"{{"id":"{id}","n":{}}}"#, self.published).into(),
        };
        let ack = if self.rng.chance(70) { Safety::Durable } else { Safety::Memory };
        self.publish(Published { event, ack });
    }

    fn publish_again(&mut self) {
        if !self.retries.is_empty() {
            let at = self.rng.below(self.retries.len());
            let published = self.retries.swap_remove(at);
            self.publish(published);
        }
    }

    fn publish(&mut self, published: Published) {
        self.ticket += 1;
        let conn = ConnId { reactor: 0, slot: 99, generation: 0 };
        let publish = Publish { conn, ticket: self.ticket, accepted: self.now.mono, ack: published.ack, event: published.event.clone() };
        self.waiting.insert(self.ticket, published);
        self.apply(Input::Publish(Box::new(publish)));
    }

    fn answered(&mut self, answer: Answer) {
        let published = self.waiting.remove(&answer.ticket).expect("each publish is answered once");
        let Some(event_id) = published.event.event_id.clone() else { return };
        match answer.outcome {
            Err(_) => {
                self.seen.refused += 1;
                self.retries.push(published);
            }
            Ok(accepted) => {
                self.seen.duplicates += u64::from(accepted.outcome == Outcome::Duplicate);
                if accepted.safety == Safety::Memory {
                    self.seen.memory += 1;
                    return;
                }
                self.seen.acknowledged += 1;
                assert!(self.out.disk.has(&event_id), "{event_id} is said to be durable, and is not on the disk");
                if *accepted.room == *USER_ROOM {
                    return self.notices.durable(&event_id);
                }
                let tickerd::hub::ports::Number::Seq(seq) = accepted.number else { panic!("{accepted:?}") };
                let place = (room_of(&accepted.room), accepted.lane, seq);
                let before = self.acknowledged.insert(event_id.to_string(), place);
                assert!(before.is_none_or(|before| before == place), "{event_id} was {before:?}, and is {place:?}");
            }
        }
    }

    // Clients.

    fn conn(&self, client: usize) -> ConnId {
        ConnId { reactor: 0, slot: client as u32, generation: self.generations[client] }
    }

    fn subscribe(&mut self) {
        let (client, room) = (self.rng.below(CLIENTS), *self.rng.pick(&ROOMS));
        self.subscribe_to(client, room);
    }

    fn subscribe_to(&mut self, client: usize, room: &'static str) {
        if self.asked[client].contains(&room) {
            return;
        }
        let since = self.have.get(&(client, room)).and_then(Have::since);
        let join = Join {
            conn: self.conn(client),
            request: None,
            room: room.into(),
            user: "u".into(),
            by_pattern: true,
            consent: Consent::None,
            history: if since.is_none() { *self.rng.pick(&[None, Some(5), Some(1000)]) } else { None },
            since,
            delta: false,
        };
        self.asked[client].push_back(room);
        // One who is a member already and asks again is left as it is until it is answered: its position may be old by then.
        self.leave(client, room);
        self.apply(Input::Join(Box::new(join)));
    }

    fn unsubscribe(&mut self) {
        let (client, room) = (self.rng.below(CLIENTS), *self.rng.pick(&ROOMS));
        self.leave(client, room);
    }

    fn leave(&mut self, client: usize, room: &'static str) {
        if let Some(member) = self.members.remove(&(client, room)) {
            let conn = self.conn(client);
            self.apply(Input::Leave { room: member.id, conn, delta: false });
        }
    }

    fn take_replay(&mut self) {
        if !self.taken.is_empty() {
            let at = self.rng.below(self.taken.len());
            let input = self.taken.swap_remove(at);
            self.apply(input);
        }
    }

    // The reactor.

    fn serve(&mut self) {
        match self.out.outputs.pop_front() {
            None => {}
            Some(Output::Answers(answers)) => answers.into_iter().for_each(|answer| self.answered(answer)),
            Some(Output::Joined(joined)) if *joined.name == *USER_ROOM => self.joined_user_room(&joined),
            Some(Output::Joined(joined)) => self.joined(&joined),
            Some(Output::Acked(answers)) => self.acked(answers),
            Some(Output::Deliver(frame)) => self.deliver(&frame),
            Some(Output::Replayed(replayed)) => self.replayed(&replayed),
            Some(other) => panic!("{other:?}"),
        }
    }

    fn joined(&mut self, joined: &Joined) {
        let client = joined.conn.slot as usize;
        let room = room_of(&joined.name);
        assert_eq!(self.asked[client].pop_front(), Some(room), "answers come in the order of the questions");
        self.members.insert((client, room), Member { id: joined.room, floor: joined.floor });
        let have = self.have.entry((client, room)).or_default();
        have.is_caught_up = false;
        joined.frames.iter().for_each(|frame| have.take(frame.as_text(), true));
    }

    fn deliver(&mut self, frame: &Arc<Frame>) {
        let last = match frame.tag.kind {
            Kind::Stream { seq } => seq,
            Kind::Gap { to } => to,
            _ => u64::MAX,
        };
        for ((client, room), member) in &self.members {
            if member.id == frame.tag.room && (last == u64::MAX || last >= member.floor[frame.tag.lane.index()]) {
                self.have.get_mut(&(*client, *room)).expect("it is a member").take(frame.as_text(), false);
            }
        }
    }

    fn replayed(&mut self, replayed: &Replayed) {
        let client = replayed.conn.slot as usize;
        let is_here = replayed.conn == self.conn(client);
        let member = self.members.iter_mut().find(|((of, _), member)| *of == client && member.id == replayed.room && is_here);
        let wants_more = member.is_some();
        if let Some(((_, room), member)) = member {
            if let Some((lane, floor)) = replayed.floor {
                member.floor[lane.index()] = floor;
            }
            let have = self.have.get_mut(&(client, *room)).expect("it is a member");
            replayed.frames.iter().for_each(|frame| have.take(frame.as_text(), true));
        }
        if !replayed.is_done {
            self.taken.push(Input::ReplayTaken { id: replayed.id, wants_more });
        }
    }

    // The end.

    /// Liveness: when everything is well, everybody catches up.
    fn heal(&mut self) {
        self.out.disk.failing = false;
        self.out.can_keep = true;
        self.out.slots = 10_000;
        for room in ROOMS {
            for client in 0..CLIENTS {
                self.subscribe_to(client, room);
            }
        }
        for _ in 0..2_000 {
            self.sync();
            self.answer_fetch();
            self.take_replay();
            self.publish_again();
            for _ in 0..20 {
                self.serve();
            }
            self.now.mono = self.now.mono.plus(Duration::from_millis(5));
            self.tick();
            let is_over = self.retries.is_empty()
                && self.waiting.is_empty()
                && self.out.outputs.is_empty()
                && self.out.disk.waits() == 0
                && self.have.len() == CLIENTS * ROOMS.len()
                && self.have.values().all(|have| have.is_caught_up);
            if is_over {
                break;
            }
        }
        // What the lanes hold, and what is not kept yet.
        self.now.mono = self.now.mono.plus(Duration::from_secs(3));
        self.join_user_room();
        for _ in 0..50 {
            self.sync();
            self.tick();
            for _ in 0..100 {
                self.serve();
            }
        }
    }

    fn check(&mut self) {
        assert!(
            self.retries.is_empty() && self.waiting.is_empty(),
            "{} publishes are not answered",
            self.retries.len() + self.waiting.len()
        );
        self.check_notices();
        for (&(client, room), have) in &self.have {
            assert!(have.is_caught_up, "client {client} never caught up with {room}");
            for (event_id, (of, lane, seq)) in &self.acknowledged {
                if *of == room && *seq >= have.from[lane.index()] {
                    let is_missing = have.missing[lane.index()].contains(seq);
                    let may_miss = *seq < self.out.disk.oldest(room, *lane) || have.lagged[lane.index()].contains(seq);
                    let is_gone = is_missing && may_miss;
                    let has = have.events[lane.index()].get(seq) == Some(event_id);
                    assert!(has || is_gone, "client {client} lacks {event_id}, {lane} {seq} of {room}, or has something else there");
                }
            }
            for lane in Lane::ALL {
                let mut ids: Vec<_> = have.events[lane.index()].values().collect();
                ids.sort();
                ids.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1], "client {client} has an event twice"));
            }
            for ((of, key), newest) in &self.states {
                if *of == room {
                    self.seen.states += 1;
                    let value = have.states.get(*key).map(|(_, data)| data["n"].as_u64().unwrap());
                    assert_eq!(value, Some(*newest), "client {client}: {key} of {room}");
                }
            }
        }
        let stats = self.hub.stats();
        assert_eq!((stats.journal_entries, stats.journal_bytes, stats.journal_waiting, stats.replays), (0, 0, 0, 0), "{stats:?}");
    }
}

fn room_of(name: &str) -> &'static str {
    ROOMS.into_iter().find(|room| *room == name).expect("nobody made another room")
}
