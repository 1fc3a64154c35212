//! The publisher, the hub, a link that fills, and the clients.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tickerd::base::ids::ConnId;
use tickerd::base::lane::{Lane, Mode};
use tickerd::base::time::{Mono, Now};
use tickerd::hub::ports::{Answer, Consent, Event, Input, Join, NeedSeq, Number, Outcome, Outlet, Output, Publish, Safety, Since};
use tickerd::hub::{Hub, HubOptions};
use tickerd::wire::request_id::RequestId;

use crate::client::Client;
use crate::document::Document;
use crate::rng::Rng;
use crate::tree::Tree;

const ROOMS: [&str; 2] = ["r:1", "r:2"];
const KEYS: [&str; 2] = ["", "k"];
/// A type for each lane.
const KINDS: [(&str, Lane); 3] = [("a.state", Lane::Alert), ("u.state", Lane::Update), ("m.state", Lane::Metric)];
/// Bytes that each client reads in a turn.
const SPEEDS: [usize; 5] = [usize::MAX, usize::MAX, 3_000, 400, 50];

/// A state key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) room: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) key: Box<str>,
}

/// What was published.
#[derive(Default)]
pub(crate) struct Truth {
    /// Each state at each of its revs, in canonical order; none if it was deleted.
    at: HashMap<Slot, HashMap<u64, Option<Tree>>>,
    newest: HashMap<Slot, (u64, Option<Tree>)>,
}

impl Truth {
    fn publish(&mut self, slot: Slot, rev: u64, document: Option<Tree>) {
        self.at.entry(slot.clone()).or_default().insert(rev, document.clone());
        self.newest.insert(slot, (rev, document));
    }

    /// What a client has at that rev is what was published.
    pub(crate) fn check(&self, slot: &Slot, rev: u64, has: Option<&Tree>) {
        let published = self.at[slot].get(&rev).unwrap_or_else(|| panic!("{slot:?} has no rev {rev}"));
        assert_eq!(published.as_ref(), has, "{slot:?} at rev {rev}");
    }

    /// What nobody can be told any more: all is at rest.
    fn forget(&mut self) {
        for (slot, revs) in &mut self.at {
            revs.retain(|rev, _| *rev == self.newest[slot].0);
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) conflated: u64,
    pub(crate) deleted: u64,
    pub(crate) deltas: u64,
    pub(crate) fulls: u64,
    /// Updates to a document with a null in it.
    pub(crate) nulls: u64,
    pub(crate) joins: u64,
    /// Full states for one who had a former one.
    pub(crate) missed: u64,
    pub(crate) resumed: u64,
    pub(crate) saved_bytes: u64,
    pub(crate) snapshots: u64,
    pub(crate) unchanged: u64,
}

/// The link to the reactor.
struct Link {
    queue: VecDeque<Output>,
    slots: usize,
    /// Answers to the publisher, which hears them at once.
    answers: Vec<Answer>,
}

impl Outlet for Link {
    fn has_room(&self, _: usize, lane: Lane) -> bool {
        self.queue.len() + usize::from(lane != Lane::Alert) < self.slots
    }

    fn push(&mut self, _: usize, output: Output) {
        match output {
            Output::Answers(answers) => self.answers.extend(answers),
            other => self.queue.push_back(other),
        }
    }

    fn need_seq(&mut self, need: NeedSeq) {
        unreachable!("states have no seq: {need:?}");
    }
}

/// See the module.
pub(crate) struct World {
    rng: Rng,
    now: Now,
    hub: Hub,
    link: Link,
    clients: Vec<Client>,
    documents: HashMap<Slot, Document>,
    /// Publishes that were not answered, by ticket.
    asked: HashMap<u64, (Slot, Option<Tree>)>,
    truth: Truth,
    ticket: u64,
    seen: Seen,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let options = HubOptions {
            reactors: 1,
            update_window: Duration::from_millis(20),
            metric_gather: Duration::from_millis(20),
            metric_flush: Duration::from_millis(50),
            history_events: 10,
            history_bytes: 1 << 20,
            state_bytes: 1 << 20,
            history_age: Duration::from_secs(3600),
            unacknowledged_user_bytes: 1 << 20,
            unacknowledged_bytes: 1 << 20,
            rooms_max: 100,
            keys_per_room_max: 100,
            replay_at_once_bytes: usize::MAX,
            replay_part_bytes: 1 << 16,
            epoch_seed: seed,
            escalation: None,
            local_rooms: Vec::new(),
        };
        let clients = SPEEDS.iter().zip(0..).map(|(speed, slot)| Client::new(slot, *speed)).collect();
        World {
            rng: Rng::new(seed),
            now: Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 },
            hub: Hub::new(options),
            link: Link { queue: VecDeque::new(), slots: 1_000, answers: Vec::new() },
            clients,
            documents: HashMap::new(),
            asked: HashMap::new(),
            truth: Truth::default(),
            ticket: 0,
            seen: Seen::default(),
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        let sum = |of: fn(&Client) -> u64| self.clients.iter().map(of).sum();
        Seen {
            conflated: sum(|client| client.conflated),
            deltas: sum(|client| client.deltas),
            fulls: sum(|client| client.fulls),
            missed: sum(|client| client.missed),
            saved_bytes: sum(|client| client.saved_bytes),
            ..self.seen
        }
    }

    /// Some updates, a little time, and what comes of that. How many updates.
    pub(crate) fn turn(&mut self) -> usize {
        let updates = self.rng.between(1, 6);
        (0..updates).for_each(|_| self.update());
        match self.rng.below(100) {
            0..6 => self.join(),
            6..8 => self.reconnect(),
            8..10 => self.snapshot(),
            10 => self.link.slots = *self.rng.pick(&[2, 5, 1_000]),
            _ => {}
        }
        let ms = self.rng.between(0, 8) as u64;
        self.pass(ms);
        for _ in 0..self.rng.between(0, 20) {
            self.take();
        }
        self.clients.iter_mut().for_each(|client| client.read(false, &self.truth));
        updates
    }

    /// Everything that is on its way arrives, and everybody has the newest of all states.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            self.pass(10);
            (0..self.link.queue.len()).for_each(|_| self.take());
            self.clients.iter_mut().for_each(|client| client.read(true, &self.truth));
        }
        assert!(self.asked.is_empty() && !self.hub.is_lagging());
        for client in &self.clients {
            for (slot, (rev, document)) in &self.truth.newest {
                if !client.rooms.values().any(|name| **name == *slot.room) {
                    continue;
                }
                match client.states.get(slot) {
                    Some((has_rev, has)) => assert_eq!((has_rev, has), (rev, document), "{:?}, {slot:?}", client.conn),
                    None => assert!(document.is_none(), "{:?} was never told of {slot:?}", client.conn),
                }
            }
        }
        self.truth.forget();
    }

    // The publisher.

    fn update(&mut self) {
        let (room, (kind, lane), key) = (*self.rng.pick(&ROOMS), *self.rng.pick(&KINDS), *self.rng.pick(&KEYS));
        let slot = Slot { room: room.into(), kind: kind.into(), key: key.into() };
        let mut data = String::new();
        if self.rng.chance(1) {
            self.seen.deleted += u64::from(self.documents.remove(&slot).is_some());
            data.push_str("null");
        } else {
            let rng = &mut self.rng;
            let document = self.documents.entry(slot.clone()).or_insert_with(|| Document::new(rng));
            document.change(rng, 0);
            document.put(rng, &mut data);
        }
        let event = Event {
            kind: kind.into(),
            room: room.into(),
            lane,
            mode: Mode::State,
            key: key.into(),
            owner: None,
            event_id: None,
            version: None,
            history: 0,
            ack_ttl: None,
            data: data.as_str().into(),
        };
        let document = Some(Tree::parse(&data)).filter(|tree| !tree.is_null());
        self.seen.nulls += u64::from(document.as_ref().is_some_and(has_null));
        self.ticket += 1;
        self.asked.insert(self.ticket, (slot, document));
        let conn = ConnId { reactor: 0, slot: 99, generation: 0 };
        let publish = Publish { conn, ticket: self.ticket, accepted: self.now.mono, ack: Safety::Memory, event };
        self.apply(Input::Publish(Box::new(publish)));
    }

    fn answered(&mut self, answer: &Answer) {
        let (slot, document) = self.asked.remove(&answer.ticket).expect("each publish is answered once");
        let accepted = answer.outcome.as_ref().expect("there is place for all");
        let Number::Rev(rev) = accepted.number else { panic!("a state without rev: {accepted:?}") };
        match accepted.outcome {
            Outcome::Accepted => self.truth.publish(slot, rev, document),
            Outcome::Unchanged => self.seen.unchanged += 1,
            other => panic!("{other:?}"),
        }
    }

    // The clients.

    fn join(&mut self) {
        let (at, room, delta) = (self.rng.below(self.clients.len()), *self.rng.pick(&ROOMS), self.rng.chance(80));
        let client = &mut self.clients[at];
        if std::mem::replace(&mut client.is_asking, true) {
            return;
        }
        // One who resumes has states already, and is told of them again.
        let since = client.states.keys().any(|slot| *slot.room == *room).then(|| Since { epoch: "any".into(), seq: [None; 3] });
        self.seen.joins += 1;
        self.seen.resumed += u64::from(since.is_some());
        let join = Join {
            conn: client.conn,
            request: None,
            room: room.into(),
            user: "u".into(),
            by_pattern: true,
            consent: Consent::None,
            since,
            history: None,
            delta,
            poll: None,
            sample: None,
        };
        self.apply(Input::Join(Box::new(join)));
    }

    fn reconnect(&mut self) {
        let at = self.rng.below(self.clients.len());
        let conn = self.clients[at].conn;
        for (room, delta) in self.clients[at].reconnect() {
            self.apply(Input::Leave { room, conn, delta });
        }
    }

    fn snapshot(&mut self) {
        let client = self.rng.pick(&self.clients);
        let mut rooms: Vec<_> = client.rooms.keys().copied().collect();
        rooms.sort_by_key(|room| room.slot);
        if let Some(room) = rooms.first().copied() {
            let conn = client.conn;
            self.seen.snapshots += 1;
            self.apply(Input::Snapshot { conn, request: Some(RequestId::from(1)), room, digest: false });
        }
    }

    // The hub's thread, and the reactor's.

    fn apply(&mut self, input: Input) {
        self.hub.apply(self.now, input, &mut self.link);
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus(Duration::from_millis(ms));
        self.now.wall_ms += ms;
        self.hub.tick(self.now, &mut self.link);
        for answer in std::mem::take(&mut self.link.answers) {
            self.answered(&answer);
        }
    }

    /// The reactor takes one output.
    fn take(&mut self) {
        match self.link.queue.pop_front() {
            None => {}
            Some(Output::Deliver(frame)) => {
                let members = self.clients.iter_mut().filter(|client| client.rooms.contains_key(&frame.tag.room));
                members.for_each(|client| client.queue(&frame, true));
            }
            Some(Output::Joined(joined)) => {
                let (conn, room, delta) = (joined.conn, joined.room, joined.delta);
                let left = match self.client(conn) {
                    Some(client) => client.joined(*joined),
                    None => Some(delta), // it is gone
                };
                if let Some(delta) = left {
                    self.apply(Input::Leave { room, conn, delta });
                }
            }
            Some(Output::Reply { conn, frames }) => {
                if let Some(client) = self.client(conn) {
                    client.renewed(&frames);
                }
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    fn client(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.conn == conn)
    }
}

fn has_null(tree: &Tree) -> bool {
    match tree {
        Tree::Object(members) => members.values().any(has_null),
        Tree::Array(elements) => elements.iter().any(has_null),
        Tree::Scalar(_) => tree.is_null(),
    }
}
