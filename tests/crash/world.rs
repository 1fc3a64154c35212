//! One run.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tickerd::base::ids::{ConnId, RoomId};
use tickerd::base::lane::{Lane, Mode, PerLane};
use tickerd::base::time::{Mono, Now};
use tickerd::hub::journal::{Entry, Epoch, Fact, Fetch, Fetched, Report};
use tickerd::hub::ports::{
    Answer, Consent, Event, Input, Join, Joined, NeedSeq, Number, Outcome, Outlet, Output, Publish, Replayed, Safety,
};
use tickerd::hub::sequencer::LocalSequencer;
use tickerd::hub::{Hub, HubOptions};
use tickerd::wire::frame::{Frame, Kind};

use crate::TURNS_MAX;
use crate::client::{Have, told_of};
use crate::disk::Disk;
use crate::rng::Rng;
use crate::seen::Seen;
use crate::tree::Tree;

mod finale;
mod members;
mod notices;
mod publishers;

use self::members::Member;
use self::notices::{Due, Notices};
use self::publishers::Published;

/// Rooms that are published to,
const ROOMS: [&str; 3] = ["a", "b", "c"];
/// the user's,
const USER_ROOM: &str = "user:u";
/// the one where publishers hear of acknowledgments,
const ACKS_ROOM: &str = "system:acks";
/// and all of them.
const ALL_ROOMS: [&str; 5] = ["a", "b", "c", USER_ROOM, ACKS_ROOM];
const CLIENTS: usize = 4;
const KEYS: [&str; 3] = ["x", "y", "z"];

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

pub(crate) struct World {
    rng: Rng,
    now: Now,
    hub: Hub,
    out: Out,
    options: HubOptions,
    sequencer: LocalSequencer,
    /// What was trimmed, and the hub has not heard of.
    trimmed: VecDeque<Report>,
    /// The disk has failed in this run.
    has_failed: bool,
    /// By client: generation of its connection.
    generations: [u32; CLIENTS],
    /// Joins that were not answered: room by client, in order, and what the answer must bring.
    asked: [VecDeque<(&'static str, Due)>; CLIENTS],
    members: HashMap<(usize, &'static str), Member>,
    have: HashMap<(usize, &'static str), Have>,
    /// Parts of replays that were given and not taken.
    taken: Vec<Input>,
    waiting: HashMap<u64, Published>,
    /// Events to publish again.
    retries: Vec<Published>,
    /// Id of each event that is durable, its room, lane and number.
    acknowledged: BTreeMap<String, (&'static str, Lane, u64)>,
    /// The newest value of each state key, but for those that a crash may have lost.
    states: HashMap<(&'static str, &'static str), String>,
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
            unacknowledged_user_bytes: *rng.pick(&[1 << 20, 1 << 20, 3_000]),
            unacknowledged_bytes: 1 << 20,
            rooms_max: 100,
            keys_per_room_max: 100,
            replay_at_once_bytes: *rng.pick(&[0, 300, 1 << 20]),
            replay_part_bytes: *rng.pick(&[1, 500, 1 << 16]),
            epoch_seed: seed,
            escalation: None,
            local_rooms: Vec::new(),
        };
        let now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };
        let slots = *rng.pick(&[3, 10, 1000]);
        let out =
            Out { outputs: VecDeque::new(), needs: VecDeque::new(), disk: Disk::default(), fetches: Vec::new(), slots, can_keep: true };
        let mut world = World {
            hub: Hub::new(options.clone()),
            notices: Notices::new(&mut rng, options.unacknowledged_user_bytes),
            rng,
            now,
            out,
            options,
            sequencer: LocalSequencer::default(),
            trimmed: VecDeque::new(),
            has_failed: false,
            generations: [0; CLIENTS],
            asked: Default::default(),
            members: HashMap::new(),
            have: HashMap::new(),
            taken: Vec::new(),
            waiting: HashMap::new(),
            retries: Vec::new(),
            acknowledged: BTreeMap::new(),
            states: HashMap::new(),
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
        self.end();
        let sum = |of: fn(&Have) -> u64| self.have.values().map(of).sum();
        self.seen.saw("rewound", sum(|have| have.rewound));
        self.seen.saw("gaps", sum(|have| have.gaps));
        self.seen.saw("deltas", sum(|have| have.deltas));
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
            67..77 => self.answer_fetch(4),
            77..84 => self.take_replay(),
            84..90 => self.advance(),
            90..92 => self.crash_unawares(),
            92..94 => self.out.can_keep ^= true,
            94..96 => self.hear_of_trimmed(),
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
        self.notices.started(&epoch.name);
        self.out.disk.begin(epoch);
        self.sequencer = LocalSequencer::default();
    }

    /// At any moment. The newest values of states may be lost.
    fn crash_unawares(&mut self) {
        self.crash();
        self.states.clear();
    }

    fn crash(&mut self) {
        self.seen.saw("crashes", 1);
        self.out.disk.crash();
        self.out.outputs.clear();
        self.out.needs.clear();
        self.out.fetches.clear();
        self.taken.clear();
        self.trimmed.clear();
        self.members.clear();
        self.notices.crash(self.out.disk.head(USER_ROOM, Lane::Alert));
        self.asked = Default::default();
        self.generations.iter_mut().for_each(|generation| *generation += 1);
        // Nobody was answered: all try again with the same ids.
        let lost = std::mem::take(&mut self.waiting);
        let mut lost: Vec<_> = lost.into_iter().collect();
        lost.sort_by_key(|(ticket, _)| *ticket);
        self.retries.extend(lost.into_iter().map(|(_, published)| published).filter(|published| published.event.event_id.is_some()));
        self.now.wall_ms += *self.rng.pick(&[5, 5, 5, 3_000]);
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
        self.pass(ms);
        self.tick();
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus(Duration::from_millis(ms));
        self.now.wall_ms += ms;
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
            self.seen.saw("disk failures", 1);
            self.has_failed = true;
            self.apply(Input::Journal(Report::Failing { reason: "the disk is full".into() }));
        }
    }

    /// The hub hears of it later: until then it may ask for what is gone.
    fn trim(&mut self) {
        let (room, lane, percent) = (*self.rng.pick(&ALL_ROOMS), *self.rng.pick(&Lane::ALL), *self.rng.pick(&[20, 50, 100]));
        self.trimmed.extend(self.out.disk.trim(room, lane, percent).map(|trimmed| Report::Trimmed(vec![trimmed])));
    }

    fn hear_of_trimmed(&mut self) {
        if let Some(report) = self.trimmed.pop_front() {
            self.apply(Input::Journal(report));
        }
    }

    fn answer_fetch(&mut self, events_max: usize) {
        if self.out.fetches.is_empty() {
            return;
        }
        let at = self.rng.below(self.out.fetches.len());
        let fetch = self.out.fetches.swap_remove(at);
        let max = self.rng.between(1, events_max);
        let frames = self.out.disk.read(&fetch.room, fetch.lane, fetch.from, fetch.to, max);
        self.seen.saw("from disk", frames.len() as u64);
        self.apply(Input::Journal(Report::Fetched(Box::new(Fetched { fetch, frames }))));
    }
}

fn room_of(name: &str) -> &'static str {
    ALL_ROOMS.into_iter().find(|room| *room == name).expect("nobody made another room")
}
