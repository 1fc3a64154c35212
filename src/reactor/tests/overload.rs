//! A reactor turned by hand, in one thread: more comes from the hub than is written, batches are half served, members do not read.

use mio::net::UnixStream;

use super::*;
use crate::base::ids::ConnId;
use crate::base::ids::RoomId;
use crate::base::limits::{BEHIND_WINDOW, DEFLATE_BYTES_PER_WRITE};
use crate::base::time::nanos;
use crate::net::stream::Stream;
use crate::reactor::connection::Connection;
use crate::reactor::runs::Urgency;
use crate::wire::frame::{Frame, Kind, Tag};

const ROOM: RoomId = RoomId { slot: 0, generation: 1 };
const QUEUE_BYTES: usize = 1 << 20;

struct Bench {
    reactor: Reactor,
    inbox: Arc<Link<Output>>,
    peers: Vec<UnixStream>,
    /// Bytes that each peer has read.
    read: Vec<usize>,
    seq: u64,
}

impl Bench {
    /// A reactor whose room has that many members.
    fn new(members: u32) -> Bench {
        Bench::with(members, ReactorOptions { queue_bytes_max: QUEUE_BYTES, ..options() })
    }

    fn with(members: u32, options: ReactorOptions) -> Bench {
        let (poll, waker) = ReactorPoll::new().unwrap();
        let door = Door::new(Waker::Poll(waker));
        let inbox = Arc::new(Link::new(65_536, Arc::clone(&door)));
        let (_, urgent, bulk) = crate::reactor::uplink::tests::links(1024);
        let parts = ReactorParts {
            audit: None,
            index: 0,
            clock: Clock::start(),
            catalog: Arc::new(Catalog::with(Vec::new()).unwrap()),
            verifier: verifier(),
            revocations: Arc::default(),
            tls: None,
            registry: Arc::new(Registry::new(RegistryLimits { connections_max: 3, per_user_max: 2, per_ip_max: None, handshakes: None })),
            ready_sign: Arc::default(),
            poll,
            inbox: Arc::clone(&inbox),
            control: Arc::new(Link::new(8, Arc::clone(&door))),
            tickets: None,
            ticket_words: Arc::new(Link::new(1, Arc::clone(&door))),
            words: Arc::new(Link::new(8, Arc::clone(&door))),
            authorizer: None,
            admin: Arc::default(),
            memory: Arc::new(Memory::new(0, 1)),
            door,
            urgent,
            bulk,
            stats: Arc::default(),
            listeners: Vec::new(),
        };
        let mut reactor = Reactor::new(options, parts).unwrap();
        let mut peers = Vec::new();
        for slot in 0..members {
            let (ours, peer) = UnixStream::pair().unwrap();
            let id = reactor.conns.next_id(0);
            assert_eq!(id, ConnId { reactor: 0, slot, generation: 0 });
            let mut stream = Stream::Unix(ours.into());
            stream.register(reactor.poll.registry(), slots::token(id)).unwrap();
            reactor.conns.insert(Box::new(Connection::new(id, stream, None, Mono(0))));
            reactor.core.rooms.join(slot, ROOM, &"r".into(), true, [0; 3]);
            peers.push(peer);
        }
        Bench { reactor, inbox, read: vec![0; peers.len()], peers, seq: 0 }
    }

    /// The hub sends so many frames of so many bytes.
    fn send(&mut self, frames: usize, lane: Lane, bytes: usize) {
        for _ in 0..frames {
            self.seq += 1;
            let tag = Tag { room: ROOM, lane, kind: Kind::Stream { seq: self.seq }, accepted: Mono(1), taken: Mono(1), released: Mono(2) };
            self.inbox.push(Output::Deliver(Arc::new(Frame::text(tag, &vec![b'x'; bytes])))).unwrap();
        }
    }

    /// Turns, and lets the peers read all that has come, until nothing is left to be done.
    fn settle(&mut self) {
        let mut events = Events::with_capacity(64);
        while !self.inbox.is_empty() || self.reactor.owes_flush() || self.reactor.pressure.queued_bytes() > 0 {
            self.reactor.poll(&mut events, Some(Duration::ZERO)).unwrap();
            for event in &events {
                self.reactor.on_event(event.token(), event.into());
            }
            self.reactor.take_inbox();
            self.reactor.flush();
            self.peers_read();
        }
    }

    fn peers_read(&mut self) {
        let mut buffer = vec![0; 1 << 20];
        for (peer, read) in self.peers.iter_mut().zip(&mut self.read) {
            while let Ok(n @ 1..) = peer.read(&mut buffer) {
                *read += n;
            }
        }
    }

    /// How often the histogram of a lane has recorded, and each of its parts; all of them add up.
    fn recorded(&self, lane: Lane) -> [u64; 5] {
        let stats = &self.reactor.core.stats;
        let whole = stats.delivery[lane.index()].snapshot();
        let parts = stats.delivery_parts.each_ref().map(|part| part[lane.index()].snapshot());
        assert_eq!(whole.sum_ns, parts.iter().map(|part| part.sum_ns).sum::<u64>(), "{parts:?}");
        let [ingest_queue, hold, reactor_queue, write] = parts;
        [whole, ingest_queue, hold, reactor_queue, write].map(|snapshot| snapshot.buckets.iter().sum())
    }

    fn member_bytes(&mut self, slot: u32) -> usize {
        self.reactor.conns.at(slot).unwrap().outbox.bytes()
    }
}

/// Promises 1 and 5: nothing holds alerts back at the hub's door. So a reactor that has enough of them to write leaves the rest in its link,
/// and nobody who reads is closed, be the flood twenty times what a member's queue may hold.
#[test]
fn a_flood_of_alerts_is_left_to_the_hub_and_closes_nobody() {
    let mut bench = Bench::new(2);
    bench.send(20_000, Lane::Alert, 1000);
    bench.reactor.take_inbox();
    assert!(!bench.inbox.is_empty(), "a run is no longer than members' queues can hold");
    bench.settle();
    assert_eq!(bench.reactor.core.stats.closes().map(|(_, n)| n).sum::<u64>(), 0);
    assert_eq!(bench.read, [20_000 * 1004; 2]);
}

/// What waits for a room when its membership changes goes to its members' queues, and one that was idle has room for it, in both lanes.
#[test]
fn what_waits_for_a_room_fits_into_an_idle_members_queue() {
    let mut bench = Bench::new(4);
    for lane in [Lane::Alert, Lane::Update] {
        bench.send(2_000, lane, 1000);
        bench.reactor.take_inbox();
        bench.reactor.serve_runs(if lane == Lane::Alert { Urgency::Alert } else { Urgency::Bulk }, Mono(0));
        bench.reactor.take_inbox();
    }
    bench.reactor.settle_room(ROOM);
    let queued: Vec<_> = (0..4).map(|slot| bench.member_bytes(slot)).collect();
    assert!(queued.iter().all(|bytes| (QUEUE_BYTES / 8..QUEUE_BYTES).contains(bytes)), "{queued:?}");
    bench.settle();
    assert_eq!(bench.read, [4_000 * 1004; 4]);
}

/// OPS-02: the parts of the latency are counted as often as the whole, also of a batch that is settled when some members have it and some not.
#[test]
fn a_half_served_batch_that_is_settled_is_counted_in_each_part() {
    let mut bench = Bench::new(5);
    bench.send(3, Lane::Update, 100);
    bench.reactor.take_inbox();
    bench.reactor.serve_runs(Urgency::Bulk, Mono(0));
    assert_eq!(bench.reactor.core.runs.waiting_for(0, ROOM), 0, "the first member is served");
    assert_eq!(bench.reactor.core.runs.waiting_for(1, ROOM), 3);
    bench.reactor.settle_room(ROOM);
    assert_eq!(bench.recorded(Lane::Update), [3; 5]);
    bench.settle();
    assert_eq!(bench.recorded(Lane::Update), [15; 5]);
}

/// Promise 6: who leaves or ends while a batch is being served is missed by it, and that is counted.
#[test]
fn frames_of_a_half_served_batch_are_counted_for_one_who_goes() {
    let mut bench = Bench::new(5);
    bench.send(3, Lane::Update, 100);
    bench.reactor.take_inbox();
    bench.reactor.serve_runs(Urgency::Bulk, Mono(0));
    bench.send(2, Lane::Update, 100);
    bench.reactor.take_inbox();
    bench.reactor.close(0, Reason::Io);
    assert_eq!(bench.reactor.core.stats.dropped_by_close.value(), 2, "the batch had come to it");
    bench.reactor.close(1, Reason::Io);
    assert_eq!(bench.reactor.core.stats.dropped_by_close.value(), 2 + 5);
    let mut outbox = crate::net::outbox::Outbox::default();
    bench.reactor.core.purge(2, &mut outbox, ROOM);
    assert_eq!(bench.reactor.core.stats.purged.value(), 5);
}

/// DESIGN 5: members who take nothing hold nobody back; when most are behind, publishers shall slow down, before the first one is closed.
#[test]
fn when_most_members_do_not_read_publishers_are_told_before_any_is_closed() {
    let mut bench = Bench::new(3);
    let mut told_at = None;
    for round in 1..=200 {
        bench.send(20, Lane::Update, 1000);
        while !bench.inbox.is_empty() || bench.reactor.owes_flush() {
            bench.reactor.take_inbox();
            bench.reactor.flush();
        }
        assert!(!bench.inbox.is_pressed(), "nobody waits for a member who does not read");
        // The window is as long as it is; that it has passed is not waited for.
        bench.reactor.pressure.end_turn(0, Mono(round * nanos(BEHIND_WINDOW)));
        bench.reactor.inbox.outrun(bench.reactor.pressure.is_outrun());
        if bench.inbox.is_outrun() {
            told_at = Some(bench.member_bytes(0));
            break;
        }
    }
    assert!((QUEUE_BYTES / 4..QUEUE_BYTES / 2).contains(&told_at.unwrap()), "{told_at:?}");
    assert_eq!(bench.reactor.core.stats.closes().map(|(_, n)| n).sum::<u64>(), 0);
}

/// Promise 1: what one write may compress does not make bulk of the alerts beyond it.
#[test]
fn alerts_that_are_yet_to_be_compressed_stay_urgent() {
    let compression = Some(CompressionOptions { level: 3, bytes_min: 256 });
    let mut bench = Bench::with(2, ReactorOptions { queue_bytes_max: QUEUE_BYTES, compression, ..options() });
    bench.reactor.conns.at(0).unwrap().outbox.set_window_bits(15);
    bench.send(4 * DEFLATE_BYTES_PER_WRITE / 1000, Lane::Alert, 1000);
    bench.reactor.take_inbox();
    bench.reactor.serve_runs(Urgency::Alert, Mono::NEVER);
    assert!(bench.member_bytes(0) > 2 * DEFLATE_BYTES_PER_WRITE, "one write does not compress all of it");
    for _ in 0..4 {
        bench.reactor.flush_urgent();
    }
    assert_eq!(bench.member_bytes(0), 0, "no turn of the bulk was needed");
}

/// HBT-02: after a time in which the process did not run nobody is closed for what it could not hear or write meanwhile; who is still slow when it
/// has run for a while is.
#[test]
fn timers_rest_after_a_stall() {
    let mut bench = Bench::new(2);
    bench.send(QUEUE_BYTES / 1000 / 2, Lane::Update, 1000);
    while !bench.inbox.is_empty() || bench.reactor.owes_flush() {
        bench.reactor.take_inbox();
        bench.reactor.flush();
    }
    assert!((0..2).all(|slot| bench.member_bytes(slot) > 0), "more than the kernel takes");
    let slow_by = bench.reactor.core.now.mono.plus(options().slow_timeout);
    let fire = |bench: &mut Bench, now| {
        bench.reactor.core.now.mono = now;
        bench.reactor.fire_timers();
        (0..2).filter(|slot| bench.reactor.conns.at(*slot).is_some()).count()
    };
    assert_eq!(fire(&mut bench, slow_by.plus(STALL * 2)), 2, "nobody could be served meanwhile");
    assert!(bench.reactor.wake_at(slow_by.plus(STALL * 2)) > slow_by.plus(STALL * 2), "a rest is not a spin");
    let mut buffer = vec![0; 1 << 20];
    while bench.member_bytes(0) > 0 {
        while let Ok(1..) = bench.peers[0].read(&mut buffer) {}
        bench.reactor.conns.at(0).unwrap().writable = true;
        bench.reactor.enlist(0);
        bench.reactor.flush();
    }
    assert_eq!(fire(&mut bench, slow_by.plus(STALL * 2 + STALL_REST)), 1, "one of them reads");
}
