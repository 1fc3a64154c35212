//! Several hubs over one store: by example, and by seed against a model of the store that loses, delays and fails over.

use proptest::prelude::*;

use super::*;
use crate::base::limits::{APPEND_BYTES_MAX, APPENDS_ALERT_RESERVE, APPENDS_MAX};
use crate::hub::journal::{Epoch, KeptState};
use crate::hub::store::{Appended, EPOCHS_PER_SHARD, Fed, KnownRoom, KnownStream, News, Placed, SHARDS, Shard, shard_of};

const ROOM: &str = "r";

/// What Redis and its scripts do for one room, without I/O.
#[derive(Clone, Default)]
pub(super) struct Store {
    epochs: Vec<Epoch>,
    feed: Vec<Fed>,
    /// The feed's first events that are gone from it.
    trimmed: u64,
    room: KnownRoom,
}

impl Store {
    pub(super) fn new() -> Store {
        let mut store = Store { room: KnownRoom { name: ROOM.into(), ..KnownRoom::default() }, ..Store::default() };
        store.begin_epoch();
        store
    }

    fn begin_epoch(&mut self) {
        let number = u32::from(shard_of(ROOM)) * EPOCHS_PER_SHARD + self.epochs.len() as u32 + 1;
        self.epochs.push(Epoch { number, name: format!("e{}", self.epochs.len() + 1).into(), by_eviction: self.epochs.is_empty() });
    }

    pub(super) fn append(&mut self, append: Append) -> Appended {
        let Append { id, ts_ms, accepted, rev, event } = append;
        let epoch = self.epochs.last().unwrap();
        let (number, oldest) = match event.mode {
            Mode::Stream => {
                let stream = self.room.lanes[event.lane.index()].get_or_insert_default();
                stream.head += 1;
                if stream.starts.last().is_none_or(|(last, _)| *last != epoch.number) {
                    stream.starts.push((epoch.number, stream.head));
                }
                stream.newest.push((ts_ms, event.clone()));
                (stream.head, 1)
            }
            Mode::State => {
                let known = self.room.states.iter().position(|state| state.key == event.key);
                let rev = known.map_or(0, |at| self.room.states.remove(at).rev).max(rev) + 1;
                let data = Some(event.data.clone()).filter(|data| **data != *"null");
                let (kind, key, lane) = (event.kind.clone(), event.key.clone(), event.lane);
                self.room.states.push(KeptState { kind, key, lane, rev, version: None, ts_ms, data });
                (rev, 0)
            }
            Mode::Transient => (0, 0),
        };
        let told = match event.mode {
            Mode::Stream => Number::Seq(number),
            Mode::State => Number::Rev(number),
            Mode::Transient => Number::None,
        };
        let epoch_name = Arc::clone(&epoch.name);
        let place = self.feed.len() as u64 + 1;
        self.room.place = place;
        self.feed.push(Fed { place, epoch: epoch.number, number, oldest, ts_ms, accepted, event });
        Appended { id, outcome: Ok(Placed { outcome: Outcome::Accepted, number: told, epoch: epoch_name }) }
    }

    /// The shard as a node reads it: the newest `count` events of each log.
    fn shard(&self, count: usize) -> Shard {
        let mut room = self.room.clone();
        for stream in room.lanes.iter_mut().flatten() {
            stream.newest.drain(..stream.newest.len().saturating_sub(count));
            stream.oldest =
                stream.head + 1 - self.room.lanes.iter().flatten().map(|all| all.newest.len() as u64).max().unwrap_or(0).min(stream.head);
            stream.oldest = stream.oldest.max(1);
        }
        Shard { number: shard_of(ROOM), epochs: self.epochs.clone(), place: self.feed.len() as u64, rooms: vec![room] }
    }
}

/// A node: its hub, what it has heard of the feed, and two members.
pub(super) struct Node {
    pub(super) bench: Bench,
    place: u64,
    member: Member,
}

/// What one member holds, as a client does.
#[derive(Default)]
struct Member {
    slot: u32,
    epoch: String,
    next: PerLane<u64>,
    /// By (lane, number), the data.
    events: Vec<(String, u64, u64)>,
    states: std::collections::BTreeMap<String, Option<u64>>,
    gaps: u64,
    lost: bool,
}

pub(super) fn node(store: &Store) -> Node {
    let mut bench = Bench::new(HubOptions { history_events: 1000, keys_per_room_max: 100, ..options() });
    bench.hub = Hub::with_store(bench.hub.options.clone());
    for number in (0..SHARDS).filter(|number| *number != shard_of(ROOM)) {
        let epochs = vec![Epoch { number: u32::from(number) * EPOCHS_PER_SHARD + 1, name: format!("s{number}").into(), by_eviction: true }];
        bench.news(News::Shard(Box::new(Shard { number, epochs, place: 0, rooms: Vec::new() })));
    }
    let mut node = Node { bench, place: 0, member: Member::default() };
    node.read_anew(store, 100);
    node
}

impl Bench {
    pub(super) fn news(&mut self, news: News) {
        self.hub.apply(self.now, Input::Store(news), &mut self.out);
    }
}

impl Node {
    fn read_anew(&mut self, store: &Store, count: usize) {
        let mut shard = store.shard(count);
        if store.feed.is_empty() {
            shard.rooms.clear();
        }
        self.place = store.feed.len() as u64;
        self.bench.news(News::Shard(Box::new(shard)));
    }

    /// The feed brings up to `count` events; if they are gone from it, the shard is read anew.
    pub(super) fn hear(&mut self, store: &Store, count: usize) {
        if self.place < store.trimmed {
            return self.read_anew(store, 100);
        }
        let fed: Vec<Fed> = store.feed[self.place as usize..].iter().take(count).cloned().collect();
        self.place += fed.len() as u64;
        self.bench.news(News::Fed(fed));
    }

    fn join(&mut self, since: Option<&Since>) {
        self.take();
        self.member.slot += 1;
        let frames = self.bench.join(conn(0, self.member.slot), since.cloned(), None);
        let subscribed = &frames[0];
        self.member.epoch = subscribed["epoch"].as_str().unwrap().to_owned();
        self.member.next = Lane::ALL.map(|lane| subscribed["from"][lane.name()].as_u64().unwrap());
        self.member.states.clear();
        if since.is_some() {
            // What lies above is taken back.
            let next = self.member.next;
            self.member.events.retain(|(lane, seq, _)| *seq < next[Lane::parse(lane).unwrap().index()]);
        } else {
            self.member.events.clear();
        }
        self.member.lost = false;
        for frame in &frames[1..] {
            self.member.take(frame);
        }
    }

    /// A member whose connection was ended comes back with its position.
    fn come_back(&mut self) {
        self.take();
        if self.member.lost {
            let seq = self.member.next.map(|next| Some(next - 1));
            let room = self.bench.room();
            self.bench.hub.apply(self.bench.now, Input::Leave { room, conn: conn(0, self.member.slot), delta: false }, &mut self.bench.out);
            self.join(Some(&Since { epoch: self.member.epoch.as_str().into(), seq }));
        }
    }

    fn take(&mut self) {
        self.bench.pass(1_000);
        for (_, output) in std::mem::take(&mut self.bench.out.outputs) {
            match output {
                Output::Deliver(frame) if !self.member.lost => self.member.take(&serde_json::from_slice(frame.as_text()).unwrap()),
                Output::Lost(_) => self.member.lost = true,
                _ => {}
            }
        }
    }
}

impl Member {
    fn take(&mut self, frame: &Value) {
        let lane = frame["lane"].as_str().and_then(Lane::parse);
        if let (Some(lane), Some(seq)) = (lane, frame["seq"].as_u64()) {
            assert_eq!(seq, self.next[lane.index()], "a hole without a gap, or an event twice: {frame}");
            self.next[lane.index()] += 1;
            self.events.push((lane.name().to_owned(), seq, frame["data"].as_u64().unwrap()));
        } else if frame["type"] == "gap" {
            self.gaps += 1;
            let (lane, to) = (lane.unwrap(), frame["to"].as_u64());
            self.next[lane.index()] = to.map_or(self.next[lane.index()], |to| to + 1);
        } else if let (Some(key), Some(_)) = (frame["key"].as_str(), frame["rev"].as_u64()) {
            self.states.insert(key.to_owned(), frame["data"].as_u64());
        }
    }
}

// ---- by example ----------------------------------------------------------------------------------------------------

/// SCL-01: nothing is pushed before it comes by the feed, there is no echo, and the answer says what the store did.
#[test]
fn what_is_published_here_is_pushed_when_the_feed_brings_it() {
    let mut store = Store::new();
    let mut node = node(&store);
    node.join(None);
    node.bench.publish(Event { owner: Some("u1".into()), ..alert("7") });
    let append = node.bench.out.appends.pop_front().unwrap();
    assert!(node.bench.answers().is_empty() && node.bench.live(0).is_empty());
    let appended = store.append(append);
    node.bench.news(News::Appended(vec![appended]));
    let answer = node.bench.answers().pop().unwrap().outcome.unwrap();
    assert_eq!((answer.number, answer.safety, &*answer.epoch, answer.members), (Number::Seq(1), Safety::Durable, "e1", 1));
    assert!(node.bench.live(0).is_empty());
    node.hear(&store, 9);
    assert_eq!(datas(&node.bench.live(0)), [7]);
    node.hear(&store, 9);
    assert!(node.bench.live(0).is_empty());
    let joined = node.bench.join_as(conn(0, 50), "u1", false, None, Some(5));
    assert_eq!((types(&joined), datas(&joined)), (vec!["subscribed", "T", "caught_up"], vec![7]), "the owner came with the event");
    assert_eq!(node.bench.hub.stats().store_waiting, 0);
}

/// SCL-09, DLV-16: refused, not queued, while the store does not answer; and beyond what may wait for it.
#[test]
fn a_store_that_is_gone_or_full_refuses() {
    let store = Store::new();
    let mut node = node(&store);
    let refused = |node: &mut Node, event| {
        node.bench.publish(event);
        node.bench.answers().pop().map(|answer| answer.outcome.unwrap_err().error.name)
    };
    node.bench.news(News::Gone { reason: "it was unplugged".into() });
    assert_eq!(refused(&mut node, alert("1")), Some("store_unavailable"));
    node.bench.news(News::Back);
    let empty = node.bench.hub.memory_bytes();
    for n in 0..APPENDS_MAX - APPENDS_ALERT_RESERVE {
        assert_eq!(refused(&mut node, event(Mode::Stream, Lane::Update, "1")), None);
        assert_eq!(node.bench.hub.is_lagging(), (n + 1) * 5 > APPENDS_MAX * 4, "{n}");
    }
    let each = event(Mode::Stream, Lane::Update, "1").bytes();
    assert_eq!(node.bench.hub.memory_bytes() - empty, (APPENDS_MAX - APPENDS_ALERT_RESERVE) * each);
    assert!(node.bench.hub.is_lagging(), "publishers are told to slow down");
    assert_eq!(refused(&mut node, event(Mode::Stream, Lane::Update, "1")), Some("queue_full"));
    for _ in 0..APPENDS_ALERT_RESERVE {
        assert_eq!(refused(&mut node, alert("1")), None);
    }
    assert_eq!(refused(&mut node, alert("1")), Some("queue_full"));
}

/// SCL-09, DLV-16: the same by bytes, of which some are kept for alerts.
#[test]
fn a_store_that_is_given_many_bytes_refuses() {
    const EVENT_BYTES: usize = 1 << 20;
    let mut node = node(&Store::new());
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES));
    let mut bytes = 0;
    for (lane, most) in [(Lane::Update, APPEND_BYTES_MAX / 10 * 9), (Lane::Alert, APPEND_BYTES_MAX)] {
        let event = event(Mode::Stream, lane, &data);
        while bytes < most {
            node.bench.publish(event.clone());
            assert!(node.bench.answers().is_empty(), "{lane}: it is taken at {bytes}");
            bytes += event.bytes();
            assert_eq!(node.bench.hub.is_lagging(), bytes * 5 > APPEND_BYTES_MAX * 4, "{bytes}");
        }
        node.bench.publish(event);
        assert_eq!(node.bench.answers().pop().unwrap().outcome.unwrap_err().error.name, "queue_full", "{lane}");
    }
}

/// SCL-09: states and transient events go on without the store, which gets the last value when it is back, under a `rev` above those that members have.
#[test]
fn states_go_on_without_the_store_and_come_to_it_later() {
    let mut store = Store::new();
    let mut node = node(&store);
    node.join(None);
    node.bench.news(News::Gone { reason: "it was unplugged".into() });
    let equity = |data| Event { key: "k".into(), ..state(Lane::Update, data) };
    for data in ["1", "2", "3"] {
        let answer = node.bench.accept(equity(data)).unwrap();
        assert_eq!((answer.outcome, answer.safety), (Outcome::Accepted, Safety::Memory));
        node.bench.pass(200);
    }
    node.bench.accept(event(Mode::Transient, Lane::Alert, "4")).unwrap();
    assert_eq!(datas(&node.bench.live(0)), [1, 2, 3, 4]);
    assert!(node.bench.out.appends.is_empty());
    node.bench.news(News::Back);
    node.bench.pass(0);
    let append = node.bench.out.appends.pop_front().unwrap();
    assert_eq!((&*append.event.data, append.rev, node.bench.out.appends.len()), ("3", 3, 0), "one key, its last value");
    // It was not taken: it is given again, once the store is back.
    let refusal = codes::Refusal::passing(codes::STORE_UNAVAILABLE, "gone again", 1);
    node.bench.news(News::Gone { reason: "again".into() });
    node.bench.news(News::Appended(vec![Appended { id: append.id, outcome: Err(refusal) }]));
    node.bench.news(News::Back);
    node.bench.pass(0);
    let append = node.bench.out.appends.pop_front().unwrap();
    let appended = store.append(append);
    node.bench.news(News::Appended(vec![appended]));
    node.hear(&store, 9);
    node.bench.pass(200);
    assert!(node.bench.answers().is_empty(), "nobody asked");
    assert_eq!(node.bench.live(0).iter().filter_map(|frame| frame["rev"].as_u64()).collect::<Vec<_>>(), [4]);
}

/// Rooms that are this node's own are numbered here, in an epoch that no other node has.
#[test]
fn local_rooms_need_no_store() {
    let mut node = node(&Store::new());
    node.bench.hub.rooms.set_local(vec!["r".into()]);
    node.bench.news(News::Gone { reason: "it was unplugged".into() });
    let first = node.bench.accept(alert("1")).unwrap();
    assert_eq!((first.number, first.safety), (Number::Seq(1), Safety::Memory));
    assert_ne!(&*first.epoch, "e1");
    node.read_anew(&Store::new(), 9);
    assert_eq!(node.bench.accept(alert("2")).unwrap().number, Number::Seq(2), "a shard has nothing to do with it");
}

/// SCL-01, promise 6: a key for which a room has no place on this node is counted, also when the shard is read anew; the others are there.
#[test]
fn states_without_a_place_are_counted() {
    let mut store = Store::new();
    let mut node = node(&store);
    node.bench.hub.options.keys_per_room_max = 2;
    node.join(None);
    for key in ["a", "b", "c"] {
        node.bench.publish(Event { key: key.into(), ..state(Lane::Update, "1") });
        store.append(node.bench.out.appends.pop_front().unwrap());
    }
    node.hear(&store, 9);
    assert_eq!(node.bench.hub.stats().unplaced, 1);
    node.read_anew(&store, 9);
    assert_eq!(node.bench.hub.stats().unplaced, 2);
    node.take();
    assert!(node.member.states.keys().eq(["a", "b"]), "{:?}", node.member.states);
}

/// SCL-01: a shard that is read anew tells members of the states that are others than they have, and of no others.
#[test]
fn a_shard_that_is_read_anew_tells_only_what_is_new() {
    let mut store = Store::new();
    let (mut a, mut b) = (node(&store), node(&store));
    b.join(None);
    let mut publish = |key: &str, data: &str| {
        a.bench.publish(Event { key: key.into(), ..state(Lane::Update, data) });
        store.append(a.bench.out.appends.pop_front().unwrap());
        store.clone()
    };
    publish("a", "1");
    let told = publish("b", "2");
    b.hear(&told, 9);
    b.bench.pass(1_000);
    assert_eq!(datas(&b.bench.live(0)), [1, 2]);
    b.read_anew(&told, 9);
    b.bench.pass(1_000);
    assert!(b.bench.live(0).is_empty());
    // A value may come back: what counts is its `rev` too.
    for data in ["3", "1"] {
        publish("a", data);
    }
    b.read_anew(&store, 9);
    b.bench.pass(1_000);
    let frames = b.bench.live(0);
    assert_eq!((datas(&frames), frames[0]["rev"].as_u64()), (vec![1], Some(3)));
}

/// A node that has missed a part of the feed: members get what is kept, and a `gap` for the rest.
#[test]
fn what_was_missed_comes_or_is_a_gap() {
    let mut store = Store::new();
    let (mut a, mut b) = (node(&store), node(&store));
    b.join(None);
    for n in 0..50 {
        a.bench.publish(alert(&n.to_string()));
        store.append(a.bench.out.appends.pop_front().unwrap());
    }
    b.hear(&store, 10);
    b.read_anew(&store, 20);
    b.take();
    assert_eq!(b.member.gaps, 1);
    let seqs: Vec<_> = b.member.events.iter().map(|(_, seq, _)| *seq).collect();
    assert!(seqs.iter().copied().eq((1..=10).chain(31..=50)), "{seqs:?}");
}

/// Something in the feed that is no event of this version takes a number: a hole is told as a `gap`.
#[test]
fn a_hole_in_the_feed_is_a_gap() {
    let mut store = Store::new();
    let mut a = node(&store);
    a.join(None);
    for n in 1..=5 {
        a.bench.publish(alert(&n.to_string()));
        store.append(a.bench.out.appends.pop_front().unwrap());
    }
    let fed: Vec<Fed> = store.feed.iter().filter(|fed| !(2..4).contains(&fed.number)).cloned().collect();
    for fed in store.room.lanes.iter_mut().flatten() {
        fed.oldest = 4;
    }
    a.bench.news(News::Fed(fed.into_iter().map(|fed| Fed { oldest: 4, ..fed }).collect()));
    a.take();
    let seqs: Vec<_> = a.member.events.iter().map(|(_, seq, _)| *seq).collect();
    assert_eq!((seqs, a.member.gaps, a.bench.hub.stats().behind), (vec![1, 4, 5], 1, 1));
}

/// The store has lost what members have: they are sent back, and begin again where it ends.
#[test]
fn members_are_sent_back_when_the_store_has_lost_what_they_have() {
    let mut store = Store::new();
    let mut a = node(&store);
    a.join(None);
    for n in 0..5 {
        a.bench.publish(alert(&n.to_string()));
        store.append(a.bench.out.appends.pop_front().unwrap());
    }
    let mut replica = store.clone();
    let stream = replica.room.lanes[0].as_mut().unwrap();
    (stream.head, replica.room.place) = (3, 3);
    stream.newest.truncate(3);
    replica.feed.truncate(3);
    replica.begin_epoch();
    a.hear(&store, 9);
    a.take();
    assert_eq!(a.member.next[0], 6);
    a.bench.publish(alert("77"));
    replica.append(a.bench.out.appends.pop_front().unwrap());
    a.read_anew(&replica, 100);
    let lost = a.bench.out.outputs.iter().filter_map(|(reactor, output)| matches!(output, Output::Lost(_)).then_some(*reactor));
    assert_eq!(lost.collect::<Vec<_>>(), [0], "no reactor hears of it that has no member");
    a.take();
    assert!(a.member.lost);
    let since = Since { epoch: "e1".into(), seq: [Some(5), None, None] };
    let frames = a.bench.join(conn(0, 60), Some(since), None);
    assert_eq!((frames[0]["rewound"]["alert"].as_u64(), frames[0]["epoch"].as_str()), (Some(3), Some("e2")));
    assert_eq!(datas(&frames), [77]);
}

// ---- by seed -------------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Publish { node: usize, lane: usize, state: Option<u8> },
    Hear { node: usize, count: usize },
    Trim,
    Rejoin { node: usize },
    Failover { lost: usize },
    Replace { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..3usize;
    prop_oneof![
        8 => (node.clone(), 0..3usize, prop::option::of(0..3u8)).prop_map(|(node, lane, state)| Step::Publish { node, lane, state }),
        6 => (node.clone(), 1..6usize).prop_map(|(node, count)| Step::Hear { node, count }),
        1 => Just(Step::Trim),
        2 => node.clone().prop_map(|node| Step::Rejoin { node }),
        1 => (0..4usize).prop_map(|lost| Step::Failover { lost }),
        1 => node.prop_map(|node| Step::Replace { node }),
    ]
}

/// The store as a replica has it that got all but the last `lost` events, and has become the master.
fn failed_over(store: &Store, lost: usize) -> Store {
    let kept = store.feed.len() - lost.min(store.feed.len());
    let mut replica = Store::new();
    replica.epochs.clone_from(&store.epochs);
    replica.feed = store.feed[..kept].to_vec();
    replica.trimmed = store.trimmed.min(kept as u64);
    replica.room.place = kept as u64;
    for fed in &replica.feed {
        let (event, data) = (&fed.event, Some(fed.event.data.clone()).filter(|data| **data != *"null"));
        match event.mode {
            Mode::Stream => {
                let stream: &mut KnownStream = replica.room.lanes[event.lane.index()].get_or_insert_default();
                stream.head = fed.number;
                if stream.starts.last().is_none_or(|(last, _)| *last != fed.epoch) {
                    stream.starts.push((fed.epoch, fed.number));
                }
                stream.newest.push((fed.ts_ms, event.clone()));
            }
            Mode::State => {
                replica.room.states.retain(|state| state.key != event.key);
                let (kind, key, lane, rev) = (event.kind.clone(), event.key.clone(), event.lane, fed.number);
                replica.room.states.push(KeptState { kind, key, lane, rev, version: None, ts_ms: fed.ts_ms, data });
            }
            Mode::Transient => {}
        }
    }
    replica.begin_epoch();
    replica
}

proptest! {
    /// SCL-01, SCL-02, DLV-12, DLV-13: three nodes, whatever they publish, hear late, miss, and whatever the store loses: in the end every member has
    /// of each lane exactly the store's events, but for those that a gap told of; and the store's last value of every key.
    #[test]
    fn all_nodes_come_to_the_same(steps in prop::collection::vec(step(), 1..120)) {
        let mut store = Store::new();
        let mut nodes: Vec<Node> = (0..3).map(|_| node(&store)).collect();
        for node in &mut nodes {
            node.join(None);
        }
        let mut published = 0u64;
        for step in steps {
            match step {
                Step::Publish { node, lane, state } => {
                    published += 1;
                    let lane = if state.is_some() { Lane::Update } else { Lane::ALL[lane] };
                    let mode = if state.is_some() { Mode::State } else { Mode::Stream };
                    let key = state.map_or(String::new(), |key| format!("k{key}")).into();
                    nodes[node].bench.publish(Event { key, ..event(mode, lane, &published.to_string()) });
                    let append = nodes[node].bench.out.appends.pop_front().unwrap();
                    let appended = store.append(append);
                    nodes[node].bench.news(News::Appended(vec![appended]));
                    prop_assert_eq!(nodes[node].bench.answers().len(), 1);
                }
                Step::Hear { node, count } => nodes[node].hear(&store, count),
                Step::Trim => store.trimmed = store.feed.len() as u64 / 2,
                Step::Rejoin { node } => {
                    nodes[node].take();
                    nodes[node].member.lost = true;
                    nodes[node].come_back();
                }
                Step::Failover { lost } => {
                    store = failed_over(&store, lost);
                    // Each node finds a new connection, and another epoch.
                    for node in &mut nodes {
                        node.read_anew(&store, 100);
                        node.come_back();
                    }
                }
                Step::Replace { node: at } => {
                    let (epoch, next) = (nodes[at].member.epoch.clone(), nodes[at].member.next);
                    nodes[at].take();
                    let member = std::mem::take(&mut nodes[at].member);
                    nodes[at] = node(&store);
                    nodes[at].member = Member { next: if member.lost { next } else { member.next }, ..member };
                    let seq = nodes[at].member.next.map(|next| Some(next - 1));
                    nodes[at].join(Some(&Since { epoch: epoch.as_str().into(), seq }));
                }
            }
        }
        for node in &mut nodes {
            node.hear(&store, usize::MAX);
            node.come_back();
            node.take();
            for (lane, stream) in Lane::ALL.into_iter().zip(&store.room.lanes) {
                let all: Vec<u64> = stream.iter().flat_map(|stream| &stream.newest).map(|(_, event)| event.data.parse().unwrap()).collect();
                let mut mine: Vec<(u64, u64)> =
                    node.member.events.iter().filter(|event| event.0 == lane.name()).map(|(_, seq, data)| (*seq, *data)).collect();
                mine.dedup();
                for (seq, data) in &mine {
                    prop_assert_eq!(Some(data), all.get(*seq as usize - 1), "{} {}", lane, seq);
                }
                prop_assert_eq!(node.member.next[lane.index()], all.len() as u64 + 1, "{}: a member has not come to the end", lane);
                prop_assert!(node.member.gaps > 0 || mine.len() <= all.len());
            }
            for state in &store.room.states {
                let want = state.data.as_ref().map(|data| data.parse::<u64>().unwrap());
                prop_assert_eq!(node.member.states.get(&*state.key), Some(&want), "{}", state.key);
            }
        }
    }
}
