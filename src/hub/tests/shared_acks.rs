//! Acknowledgments on several nodes: by example, and by seed against a model of the store in which nothing comes at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::acks::{TTL, notification};
use super::*;
use crate::base::codes::Refusal;
use crate::hub::acks::ACKS_ROOM;
use crate::hub::escalations::EscalationOptions;
use crate::hub::journal::Epoch;
use crate::hub::store::{Appended, EPOCHS_PER_SHARD, Fed, KnownRoom, KnownStream, KnownWait, News, Placed, SHARDS, Shard, shard_of};

const ROOMS: [&str; 2] = ["user:u1", ACKS_ROOM];

/// What Redis and its scripts do for these two rooms, which are in two shards.
#[derive(Clone, Default)]
struct Store {
    feeds: [Vec<Fed>; 2],
    waits: BTreeMap<String, KnownWait>,
    ids: HashMap<String, u64>,
}

impl Store {
    fn append(&mut self, append: Append) -> Appended {
        let Append { id, ts_ms, accepted, rev: _, event } = append;
        let at = usize::from(*event.room == *ACKS_ROOM);
        let event_id = event.event_id.clone().map(String::from).unwrap_or_default();
        let known = self.ids.get(&event_id).copied().or_else(|| self.waits.get(&event_id).map(|wait| wait.seq));
        let (outcome, seq) = known.map_or((Outcome::Accepted, self.feeds[at].len() as u64 + 1), |seq| (Outcome::Duplicate, seq));
        if outcome == Outcome::Accepted {
            self.ids.insert(event_id.clone(), seq);
            if let Some(ttl) = event.ack_ttl {
                let until_ms = ts_ms + ttl.as_millis() as u64;
                self.waits.insert(event_id, KnownWait { seq, epoch: epoch_of(ROOMS[at]), until_ms, ts_ms, event: event.clone() });
            }
            self.feeds[at].push(Fed { place: seq, epoch: epoch_of(ROOMS[at]), number: seq, oldest: 1, ts_ms, accepted, event });
        }
        Appended { id, outcome: Ok(Placed { outcome, number: Number::Seq(seq), epoch: "e".into() }) }
    }

    /// A shard as a node reads it: of the log, the newest `count` events.
    fn shard(&self, number: u16, count: usize) -> Shard {
        let epochs = vec![Epoch { number: u32::from(number) * EPOCHS_PER_SHARD + 1, name: format!("s{number}").into(), by_eviction: true }];
        let Some(at) = ROOMS.iter().position(|room| shard_of(room) == number) else {
            return Shard { number, epochs, place: 0, rooms: Vec::new() };
        };
        let (feed, place) = (&self.feeds[at], self.feeds[at].len() as u64);
        let mut room = KnownRoom { name: ROOMS[at].into(), place, ..KnownRoom::default() };
        if let Some(lane) = feed.first().map(|fed| fed.event.lane) {
            let newest = feed.iter().skip(feed.len().saturating_sub(count)).map(|fed| (fed.ts_ms, fed.event.clone())).collect();
            let starts = vec![(epoch_of(ROOMS[at]), 1)];
            room.lanes[lane.index()] = Some(KnownStream { head: place, oldest: 1, starts, history: 0, newest });
        }
        room.waits = if at == 0 { self.waits.values().cloned().collect() } else { Vec::new() };
        Shard { number, epochs, place, rooms: vec![room] }
    }

    /// What publishers have heard of: `event_id` and how it ended.
    fn notices(&self) -> Vec<(String, String)> {
        let told = |fed: &Fed| {
            let data: Value = serde_json::from_str(&fed.event.data).unwrap();
            (data["event_id"].as_str().unwrap().to_owned(), fed.event.kind.to_string())
        };
        self.feeds[1].iter().map(told).collect()
    }
}

fn epoch_of(room: &str) -> u32 {
    u32::from(shard_of(room)) * EPOCHS_PER_SHARD + 1
}

struct Node {
    bench: Bench,
    places: [usize; 2],
}

impl Node {
    fn new(store: &Store, now: Now, count: usize) -> Node {
        Node::with(None, store, now, count)
    }

    fn with(escalation: Option<EscalationOptions>, store: &Store, now: Now, count: usize) -> Node {
        let mut bench = Bench::new(HubOptions { history_events: 1000, escalation, ..options() });
        (bench.hub, bench.now) = (Hub::with_store(bench.hub.options.clone()), now);
        let mut node = Node { bench, places: [0; 2] };
        (0..SHARDS).for_each(|number| node.read(store, number, count));
        node
    }

    fn read(&mut self, store: &Store, number: u16, count: usize) {
        if let Some(at) = ROOMS.iter().position(|room| shard_of(room) == number) {
            self.places[at] = store.feeds[at].len();
        }
        self.bench.news(News::Shard(Box::new(store.shard(number, count))));
    }

    /// One of the feeds brings up to so many events.
    fn hear(&mut self, store: &Store, at: usize, count: usize) {
        let fed: Vec<Fed> = store.feeds[at].iter().skip(self.places[at]).take(count).cloned().collect();
        self.places[at] += fed.len();
        self.bench.news(News::Fed(fed));
    }

    /// What it has for the store goes there, or comes back refused; and what the store is to forget, it forgets.
    fn give(&mut self, store: &mut Store, fails: bool) {
        self.bench.hub.tick(self.bench.now, &mut self.bench.out);
        let gone = || Err(Refusal::passing(codes::STORE_UNAVAILABLE, "it was unplugged", 1));
        let appends: Vec<Append> = self.bench.out.appends.drain(..).collect();
        let appended = appends.into_iter().map(|append| {
            let id = append.id;
            if fails { Appended { id, outcome: gone() } } else { store.append(append) }
        });
        let appended = appended.collect();
        self.bench.news(News::Appended(appended));
        for settled in self.bench.out.settled.drain(..) {
            store.waits.remove(&*settled.event_id);
        }
    }

    fn settle_down(&mut self, store: &mut Store) {
        for _ in 0..4 {
            self.give(store, false);
            (0..ROOMS.len()).for_each(|at| self.hear(store, at, usize::MAX));
        }
    }
}

fn two_nodes(event_ids: &[&str]) -> (Store, Node, Node) {
    let mut store = Store::default();
    let now = Bench::new(options()).now;
    let (mut a, mut b) = (Node::new(&store, now, 9), Node::new(&store, now, 9));
    for id in event_ids {
        a.bench.publish(notification("u1", id));
    }
    a.settle_down(&mut store);
    b.settle_down(&mut store);
    (store, a, b)
}

/// QTE-11, SCL-01: what is published on one node is given again on every other, until it is acknowledged on any; `ok` comes when the store has it.
#[test]
fn an_acknowledgment_on_one_node_holds_on_all() {
    let (mut store, mut a, mut b) = two_nodes(&["e1", "e2"]);
    assert_eq!((a.bench.redelivered(), b.bench.redelivered()), (vec!["e1".to_owned(), "e2".into()], vec!["e1".to_owned(), "e2".into()]));
    assert_eq!(b.bench.ack_event("e1"), [], "the store has not answered");
    assert_eq!(b.bench.redelivered(), ["e2"], "it is on its way out");
    b.give(&mut store, false);
    assert_eq!(b.bench.acked(), [], "it has the notice, and this node has not heard it");
    b.hear(&store, 1, 9);
    assert!(b.bench.acked()[0].outcome.is_ok());
    b.give(&mut store, false);
    assert_eq!(store.waits.len(), 1, "the store forgets it");
    assert_eq!(a.bench.redelivered(), ["e1", "e2"]);
    a.settle_down(&mut store);
    assert_eq!(a.bench.redelivered(), ["e2"]);
    assert_eq!(store.notices(), [("e1".to_owned(), "event.acknowledged".to_owned())]);
    assert!(a.bench.ack_event("e1")[0].outcome.is_ok(), "again, elsewhere: it is safe");
    let mut late = Node::new(&store, a.bench.now, 9);
    assert_eq!(late.bench.redelivered(), ["e2"], "a node that begins later");
    // By position: `e2` is the second of the lane.
    let epoch = format!("s{}", shard_of(ROOMS[0]));
    let (room, _) = late.bench.join_room("user:u1", "u1", None, None);
    late.bench.ack("u1", AckOf::UpTo { room, lane: Lane::Alert, epoch: epoch.into(), seq: 2 });
    late.settle_down(&mut store);
    assert_eq!((store.notices().len(), store.waits.len()), (2, 0));
}

/// ERR-06: while the store does not answer an acknowledgment is refused, and the event is given again.
#[test]
fn an_acknowledgment_that_the_store_has_not_got_is_none() {
    let (mut store, mut a, _) = two_nodes(&["e1"]);
    a.bench.ack_event("e1");
    a.give(&mut store, true);
    let told = a.bench.acked().pop().unwrap().outcome.unwrap_err();
    assert!(told.message.contains("send it again") && told.retry_after_ms.is_some());
    assert_eq!(a.bench.redelivered(), ["e1"]);
    a.bench.news(News::Gone { reason: "it was unplugged".into() });
    assert!(a.bench.ack_event("e1")[0].outcome.is_err());
    assert_eq!(a.bench.redelivered(), ["e1"]);
    a.bench.news(News::Back);
    a.bench.ack_event("e1");
    a.settle_down(&mut store);
    assert!(a.bench.acked()[0].outcome.is_ok());
    assert_eq!(a.bench.redelivered(), Vec::<String>::new());
}

/// Two ask at the same time: there is one notice. Nobody but a node may publish one.
#[test]
fn a_wait_ends_once() {
    let (mut store, mut a, mut b) = two_nodes(&["e1"]);
    a.bench.ack_event("e1");
    b.bench.ack_event("e1");
    a.settle_down(&mut store);
    b.settle_down(&mut store);
    assert!(a.bench.acked()[0].outcome.is_ok() && b.bench.acked()[0].outcome.is_ok());
    assert_eq!(store.notices().len(), 1);
    let forged = store.feeds[1][0].event.clone();
    assert_eq!(forged.event_id.as_deref(), Some("tickerd:settled:9d62f9acb130ed48"), "FNV-1a of `user:u1 e1`, on nodes of all versions");
    a.bench.publish(forged);
    assert_eq!(a.bench.answers().pop().unwrap().outcome.unwrap_err().error, codes::FORBIDDEN);
    // A room of this node alone needs no other.
    a.bench.hub.rooms.set_local(vec!["user:".into(), "system:".into()]);
    a.bench.accept(notification("u9", "e9")).unwrap();
    assert!(a.bench.ack("u9", AckOf::Event("e9".into()))[0].outcome.is_ok());
    a.settle_down(&mut store);
    assert_eq!(store.notices()[1], ("e9".to_owned(), "event.acknowledged".to_owned()));
}

/// The notice of an end is not among the newest events that a node reads of its room anew, and nobody heard it by the feed: whoever gives the
/// notice again has the store forget what waited.
#[test]
fn what_has_ended_is_forgotten_whoever_missed_the_notice() {
    let (mut store, mut a, _) = two_nodes(&["e1"]);
    a.bench.ack_event("e1");
    a.give(&mut store, false);
    let mut b = Node::new(&store, a.bench.now, 0);
    drop(a);
    assert_eq!((b.bench.redelivered(), store.waits.len()), (vec!["e1".to_owned()], 1));
    b.bench.ack_event("e1");
    b.settle_down(&mut store);
    assert!(b.bench.acked()[0].outcome.is_ok());
    assert_eq!((store.notices().len(), store.waits.len()), (1, 0));
}

/// SCL-01: a room that is read anew says what waits: all else is over, and who acknowledged it meanwhile hears so.
#[test]
fn what_the_store_does_not_know_waits_no_more() {
    let (mut store, mut a, _) = two_nodes(&["e1", "e2", "e3"]);
    assert_eq!(a.bench.ack_event("e1"), []);
    store.waits.retain(|event_id, _| event_id == "e3");
    a.read(&store, shard_of(ROOMS[0]), 9);
    assert!(a.bench.acked()[0].outcome.is_ok());
    assert_eq!(a.bench.redelivered(), ["e3"]);
}

/// FUT-02, SCL-01: of what one node has told, no other tells; the user goes on being given it. A word about another event of that id changes nothing.
#[test]
fn what_one_node_has_told_no_other_tells() {
    let (mut store, now) = (Store::default(), Bench::new(options()).now);
    let escalation = EscalationOptions { after: Duration::from_secs(10), types: Vec::new() };
    let [mut a, mut b, mut c] = [(); 3].map(|()| Node::with(Some(escalation.clone()), &store, now, 9));
    a.bench.publish(notification("u1", "e1"));
    for node in [&mut a, &mut b, &mut c] {
        node.bench.out.takes = usize::MAX;
        node.settle_down(&mut store);
    }
    a.bench.pass(14_000);
    let overdue = a.bench.out.overdue.pop().expect("somebody is to be told");
    let told = Escalated { room: overdue.room, event_id: overdue.event_id, outcome: EscalationOutcome::Told };
    let told = Input::Escalated(Box::new(told));
    a.bench.hub.apply(a.bench.now, told.clone(), &mut a.bench.out);
    a.give(&mut store, false);
    assert_eq!(store.notices(), [("e1".to_owned(), "event.escalated".to_owned())]);
    b.hear(&store, 1, 9);
    let mut of_another = store.feeds[1][0].clone();
    of_another.event.data = of_another.event.data.replace(r#""published":"#, r#""published":1"#).into();
    c.bench.news(News::Fed(vec![of_another]));
    for (node, ids) in [(&mut a, 0), (&mut b, 0), (&mut c, 1)] {
        node.bench.pass(14_000);
        assert_eq!((node.bench.out.overdue.len(), node.bench.redelivered()), (ids, vec!["e1".to_owned()]));
    }
    // The third has told it as well, and cannot say so.
    c.bench.news(News::Gone { reason: "it was unplugged".into() });
    c.bench.hub.apply(c.bench.now, told, &mut c.bench.out);
    assert_eq!((c.bench.out.appends.len(), c.bench.hub.stats().acks_untold), (0, 1));
}

#[derive(Clone, Debug)]
enum Step {
    Publish { node: usize },
    Ack { node: usize, which: usize },
    Give { node: usize, fails: bool },
    Hear { node: usize, at: usize, count: usize },
    Pass { seconds: u64 },
    ReadAnew { node: usize },
    Replace { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..3usize;
    prop_oneof![
        4 => node.clone().prop_map(|node| Step::Publish { node }),
        5 => (node.clone(), 0..12usize).prop_map(|(node, which)| Step::Ack { node, which }),
        6 => (node.clone(), prop::bool::weighted(0.2)).prop_map(|(node, fails)| Step::Give { node, fails }),
        8 => (node.clone(), 0..2usize, 1..4usize).prop_map(|(node, at, count)| Step::Hear { node, at, count }),
        1 => (1..40u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => node.clone().prop_map(|node| Step::ReadAnew { node }),
        1 => node.prop_map(|node| Step::Replace { node }),
    ]
}

proptest! {
    /// QTE-11, DLV-13, SCL-01: whatever comes late, is refused, is read anew or begins anew: in the end all nodes give again what the store has, which is
    /// what nobody has acknowledged and whose time is not over; every end was told once; and who heard `ok` is not given the event again.
    #[test]
    fn all_nodes_give_again_the_same(steps in prop::collection::vec(step(), 1..100)) {
        let mut store = Store::default();
        let mut now = Bench::new(options()).now;
        let mut nodes: Vec<Node> = (0..3).map(|_| Node::new(&store, now, 9)).collect();
        let (mut published, mut asked) = (0, Vec::<(String, bool)>::new());
        for step in steps {
            match step {
                Step::Publish { node } => {
                    nodes[node].bench.publish(notification("u1", &format!("e{published}")));
                    published += 1;
                }
                Step::Ack { node, which } => {
                    let id = format!("e{which}");
                    let is_given = nodes[node].bench.redelivered().contains(&id);
                    let bench = &mut nodes[node].bench;
                    let ack = Ack { conn: conn(1, 2), request: Some((asked.len() as u64).into()), user: "u1".into(), of: AckOf::Event(id.as_str().into()) };
                    bench.hub.apply(bench.now, Input::Ack(Box::new(ack)), &mut bench.out);
                    asked.push((id, is_given));
                }
                Step::Give { node, fails } => nodes[node].give(&mut store, fails),
                Step::Hear { node, at, count } => nodes[node].hear(&store, at, count),
                Step::Pass { seconds } => {
                    now = Now { mono: now.mono.plus(Duration::from_secs(seconds)), wall_ms: now.wall_ms + 1_000 * seconds };
                    for node in &mut nodes {
                        node.bench.now = now;
                    }
                }
                Step::ReadAnew { node } => (0..SHARDS).for_each(|number| nodes[node].read(&store, number, 9)),
                Step::Replace { node } => nodes[node] = Node::new(&store, now, 9),
            }
            for answer in nodes.iter_mut().flat_map(|node| node.bench.acked()) {
                let (id, was_given) = &asked[answer.request.to_string().parse::<usize>().unwrap()];
                let is_told = store.notices().iter().any(|(told, _)| told == id);
                prop_assert!(is_told || !was_given || answer.outcome.is_err(), "`ok` for {} that may be given again", id);
            }
        }
        for _ in 0..3 {
            for node in &mut nodes {
                node.settle_down(&mut store);
            }
        }
        let waits: BTreeSet<String> = store.waits.keys().cloned().collect();
        let ended: Vec<(String, String)> = store.notices();
        let ids: BTreeSet<&String> = ended.iter().map(|(id, _)| id).collect();
        prop_assert_eq!(ids.len(), ended.len(), "an end was told twice: {:?}", ended);
        prop_assert!(waits.iter().all(|id| !ids.contains(id)), "what has ended waits: {:?} {:?}", waits, ended);
        for node in &mut nodes {
            prop_assert_eq!(&node.bench.redelivered().into_iter().collect::<BTreeSet<_>>(), &waits);
        }
        for (id, kind) in &ended {
            prop_assert!(kind == "event.expired" || asked.contains(&(id.clone(), true)), "nobody acknowledged {id}");
        }
        for fed in &store.feeds[0] {
            let id = fed.event.event_id.as_deref().unwrap();
            let is_over = now.wall_ms >= fed.ts_ms + TTL.as_millis() as u64;
            prop_assert!(ids.contains(&id.to_owned()) || (waits.contains(id) && !is_over), "{} is neither", id);
        }
    }
}
