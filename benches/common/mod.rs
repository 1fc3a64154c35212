//! One event's way through the server, without its threads and sockets: the same parts in the same order, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tickerd::base::ids::ConnId;
use tickerd::base::lane::Lane;
use tickerd::base::time::{Mono, Now};
use tickerd::hub::catalog::Catalog;
use tickerd::hub::ports::{Answer, Consent, Event, Input, Join, NeedSeq, Outlet, Output, Publish};
use tickerd::hub::sequencer::LocalSequencer;
use tickerd::hub::{Hub, HubOptions};
use tickerd::net::link::{Door, Link, Waker};
use tickerd::net::outbox::{Entry, Limits, Outbox};
use tickerd::reactor::rooms::Rooms;
use tickerd::reactor::uplink::Uplink;
use tickerd::wire::frame::Frame;
use tickerd::wire::{event, reply};

/// A type of the built-in catalog, lane `update`, every event counts.
pub(crate) const STREAM: &str = "TRADE_EXECUTED";

const CONN: ConnId = ConnId { reactor: 0, slot: 0, generation: 0 };

/// See the module. One room, one member, one reactor.
pub(crate) struct HotPath {
    lines: [Vec<u8>; 2],
    published: u64,
    now: Now,
    catalog: Catalog,
    uplink: Uplink,
    bulk: Arc<Link<Input>>,
    hub: Hub,
    sequencer: LocalSequencer,
    outputs: Outputs,
    rooms: Rooms,
    outbox: Outbox,
    written: Vec<u8>,
}

/// The link to the reactor, and the sequencer's inbox.
struct Outputs {
    link: Link<Output>,
    needs: VecDeque<NeedSeq>,
}

impl Outlet for Outputs {
    fn has_room(&self, _: usize, _: Lane) -> bool {
        self.link.free() > 0
    }

    fn push(&mut self, _: usize, output: Output) {
        assert!(self.link.push(output).is_ok(), "everything is taken after each event");
    }

    fn need_seq(&mut self, need: NeedSeq) {
        self.needs.push_back(need);
    }
}

/// A publish line of that type, 300 bytes long, whose value is `n`.
pub(crate) fn line(kind: &str, n: u64) -> Vec<u8> {
    let mut line =
        format!(r#"{{"type":"{kind}","id":{n},"data":{{"challenge_id":"8f2c","user_id":"u-1001","equity":"{n}0250.75","note":""#);
    line.extend(std::iter::repeat_n('x', 300 - line.len() - 3));
    line.push_str("\"}}");
    line.into_bytes()
}

impl HotPath {
    /// A publisher of that type, and one member of the room that its events go to.
    pub(crate) fn new(kind: &str) -> HotPath {
        let door = Door::new(Waker::Thread(std::thread::current()));
        let link = || Arc::new(Link::new(64, Arc::clone(&door)));
        let (urgent, bulk) = (link(), link());
        let mut path = HotPath {
            lines: [line(kind, 1), line(kind, 2)], // a state that does not change goes no further
            published: 0,
            now: Now { mono: Mono(1), wall_ms: 1_800_000_000_000 },
            catalog: Catalog::with(Vec::new()).expect("the built-in catalog is sound"),
            uplink: Uplink::new(urgent, Arc::clone(&bulk)),
            bulk,
            hub: Hub::new(options()),
            sequencer: LocalSequencer::default(),
            outputs: Outputs { link: Link::new(64, door), needs: VecDeque::new() },
            rooms: Rooms::default(),
            outbox: Outbox::default(),
            written: Vec::new(),
        };
        path.join();
        path
    }

    fn join(&mut self) {
        let room = "challenge:8f2c".into();
        let join = Join {
            conn: CONN,
            request: None,
            room,
            user: "u-1001".into(),
            by_pattern: true,
            consent: Consent::None,
            since: None,
            history: None,
            delta: false,
            poll: None,
            sample: None,
        };
        self.hub.apply(self.now, Input::Join(Box::new(join)), &mut self.outputs);
        let Some(Output::Joined(joined)) = self.outputs.link.pop() else { panic!("a join by pattern is granted") };
        self.rooms.join(CONN.slot, joined.room, &joined.name, true, joined.floor);
    }

    /// Line to event, as the reactor does it.
    pub(crate) fn parse(&mut self) -> Event {
        self.published += 1;
        let line = &self.lines[(self.published % 2) as usize];
        let draft = event::parse(line, self.catalog.wanted()).expect("the line is sound");
        self.catalog.resolve(&draft).expect("the catalog has the type")
    }

    /// Event to frame: by the link to the hub, through it, and into the link to the reactor, one tick for each event.
    pub(crate) fn hub(&mut self, event: Event) {
        self.now.mono = self.now.mono.plus(Duration::from_micros(10));
        let publish =
            Publish { conn: CONN, ticket: self.published, accepted: self.now.mono, ack: tickerd::hub::ports::Safety::Durable, event };
        self.uplink.publish(Box::new(publish)).expect("nothing else is in the link");
        self.uplink.ring();
        let input = self.bulk.pop().expect("it was pushed");
        self.hub.apply(self.now, input, &mut self.outputs);
        while let Some(need) = self.outputs.needs.pop_front() {
            let sequenced = Input::Sequenced(self.sequencer.assign(need));
            self.hub.apply(self.now, sequenced, &mut self.outputs);
        }
        self.hub.tick(self.now, &mut self.outputs);
        self.outputs.link.ring();
    }

    /// Takes what the hub has put out: the frame to its member, and the answer to the publish.
    pub(crate) fn take(&mut self) -> (Arc<Frame>, Answer) {
        let (Some(Output::Deliver(frame)), Some(Output::Answers(mut answers))) = (self.outputs.link.pop(), self.outputs.link.pop()) else {
            panic!("an accepted event is delivered, then answered")
        };
        self.uplink.answered(answers.len());
        (frame, answers.pop().expect("one publish, one answer"))
    }

    /// Frame to bytes: to every member's outbox, copied for the write, and off the queue after it.
    pub(crate) fn deliver(&mut self, frame: &Arc<Frame>) -> usize {
        let HotPath { rooms, outbox, written, now, .. } = self;
        rooms.for_each_recipient(&frame.tag, |_| {
            let entry = Entry { frame: Arc::clone(frame), queued: now.mono, live: true };
            outbox.push(entry, Limits { bytes_max: 1 << 20 });
        });
        written.clear();
        outbox.fill(Lane::Metric, written, 64 * 1024, |_| false);
        let mut finished = 0;
        outbox.wrote(written.len(), |frame| finished += frame.bytes);
        finished
    }

    /// Answer to bytes.
    pub(crate) fn answer(&mut self, answer: &Answer) -> usize {
        self.written.clear();
        reply::answer(&mut self.written, None, &answer.outcome, false);
        self.written.len()
    }
}

/// As the daemon's by default, but that no state is held back.
fn options() -> HubOptions {
    HubOptions {
        reactors: 1,
        update_window: Duration::ZERO,
        metric_gather: Duration::ZERO,
        metric_flush: Duration::ZERO,
        history_events: 64,
        history_bytes: 64 << 20,
        state_bytes: 64 << 20,
        history_age: Duration::from_secs(600),
        unacknowledged_user_bytes: 1 << 20,
        unacknowledged_bytes: 1 << 20,
        rooms_max: 1000,
        keys_per_room_max: 100,
        replay_at_once_bytes: 64 << 10,
        replay_part_bytes: 64 << 10,
        epoch_seed: 1,
        escalation: None,
        local_rooms: Vec::new(),
    }
}
