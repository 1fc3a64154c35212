//! The oracle: watches every call of the hub and everything that comes out of it, and knows from these alone what is right.
//! It shares no code with the hub.
//!
//! | module | what it holds the hub to |
//! | --- | --- |
//! | `ledger` | one answer for each publish, and the right one; the final value of each key |
//! | `frames` | a frame says what was published, is encoded once, and its tag is true |
//! | `joins` | who may join, where a member begins, what it gets at once |
//! | `timing` | what leaves at once, what is held and for how long |

mod frames;
mod joins;
mod ledger;
mod timing;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use tickerd::base::ids::{ConnId, RoomId};
use tickerd::base::lane::{Lane, PerLane};
use tickerd::base::time::{Mono, Now};
use tickerd::hub::ports::{Event, Input, Join, NeedSeq, Output, PendingId};
use tickerd::wire::frame::Frame;

use crate::client::Session;
use crate::link::Link;
use crate::message::{Body, Message, Reader};
use crate::plan::{KEYS, KINDS, Plan, Profile, USERS};

use self::frames::Frames;
use self::ledger::{Ledger, Record};
use self::timing::Timing;

/// See the module.
pub(crate) struct Oracle {
    ledger: Ledger,
    frames: Frames,
    timing: Timing,
    /// By number of the room.
    rooms: Vec<RoomView>,
    lives: HashMap<RoomId, Life>,
    call: Call,
    pending: HashMap<PendingId, usize>,
    denied: Option<String>,
    seen: Seen,
    full: Cell<u64>,
}

/// How often the rare things happened: a simulation that never meets them checks nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) joined: u64,
    pub(crate) denied: u64,
    pub(crate) resumed: u64,
    pub(crate) rewound: u64,
    pub(crate) gaps_at_join: u64,
    pub(crate) gaps_live: u64,
    pub(crate) full: u64,
    pub(crate) duplicate: u64,
    pub(crate) stale: u64,
    pub(crate) unchanged: u64,
    pub(crate) refused: u64,
    pub(crate) deleted: u64,
    pub(crate) at_once: u64,
    pub(crate) epochs: u64,
    /// Deltas that members got.
    pub(crate) deltas: u64,
    /// Full states for members who want deltas, where there was one on another state.
    pub(crate) delta_missed: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Seen) {
        let add = |mine: &mut u64, theirs| *mine += theirs;
        add(&mut self.published, other.published);
        add(&mut self.delivered, other.delivered);
        add(&mut self.joined, other.joined);
        add(&mut self.denied, other.denied);
        add(&mut self.resumed, other.resumed);
        add(&mut self.rewound, other.rewound);
        add(&mut self.gaps_at_join, other.gaps_at_join);
        add(&mut self.gaps_live, other.gaps_live);
        add(&mut self.full, other.full);
        add(&mut self.duplicate, other.duplicate);
        add(&mut self.stale, other.stale);
        add(&mut self.unchanged, other.unchanged);
        add(&mut self.refused, other.refused);
        add(&mut self.deleted, other.deleted);
        add(&mut self.at_once, other.at_once);
        add(&mut self.epochs, other.epochs);
        add(&mut self.deltas, other.deltas);
        add(&mut self.delta_missed, other.delta_missed);
    }
}

/// What the oracle knows of a room by name.
struct RoomView {
    /// Its epochs, in the order in which they were told of: an answer may come late.
    epochs: Vec<String>,
    /// The present one, once anyone has joined.
    epoch: Option<usize>,
    joined_epochs: HashSet<usize>,
    /// Who was named as owner by a publish that was not refused, in the present epoch.
    named: [bool; USERS],
    /// An answer has said that a publish which names an owner was accepted.
    owned: bool,
    /// Memberships on each reactor: joins granted less leaves.
    members: Vec<u32>,
    /// How many of them want deltas.
    delta_members: u32,
    id: Option<RoomId>,
    /// When the deletion of a (kind, key) was last published, Unix milliseconds.
    deleted: HashMap<(usize, usize), u64>,
}

impl RoomView {
    fn members_total(&self) -> u32 {
        self.members.iter().sum()
    }
}

/// One occupancy of a room's slot.
#[derive(Default)]
struct Life {
    /// Of each number given: when its event was read.
    streams: PerLane<Vec<Mono>>,
    /// The highest number that any member got.
    pushed: PerLane<u64>,
    /// Of each (kind, key) that any member got: the highest rev, and its `ts`.
    states: HashMap<(usize, usize), (u64, u64)>,
}

/// The call of the hub that is under way.
enum Call {
    None,
    Event(usize),
    Join { join: Box<Join>, answered: bool },
    Snapshot { conn: ConnId, room: RoomId, answered: bool },
    Leave,
    Tick,
}

impl Oracle {
    pub(crate) fn new(plan: &Plan) -> Oracle {
        let view = || RoomView {
            epochs: Vec::new(),
            epoch: None,
            joined_epochs: HashSet::new(),
            named: [false; USERS],
            owned: false,
            members: vec![0; plan.reactors],
            delta_members: 0,
            id: None,
            deleted: HashMap::new(),
        };
        Oracle {
            ledger: Ledger::default(),
            frames: Frames::default(),
            timing: Timing::new(plan),
            rooms: plan.rooms.iter().map(|_| view()).collect(),
            lives: HashMap::new(),
            call: Call::None,
            pending: HashMap::new(),
            denied: None,
            seen: Seen::default(),
            full: Cell::new(0),
        }
    }

    /// The hub is about to be given this.
    pub(crate) fn before_apply(&mut self, plan: &Plan, now: Now, input: &Input, links: &[Link]) {
        self.call = match input {
            Input::Publish(publish) => {
                self.seen.published += 1;
                let room = plan.room(&publish.event.room);
                self.named(room, publish.event.owner.as_deref());
                self.deleted(now, room, &publish.event);
                let number = self.ledger.apply(publish, room, now, self.rooms[room].members_total());
                self.timing.owe(plan, self.ledger.record_mut(number), &self.rooms[room].members, links);
                Call::Event(number)
            }
            Input::Announce(_) | Input::Ack(_) | Input::Escalated(_) | Input::Journal(_) | Input::Store(_) | Input::ReplayTaken { .. } => {
                panic!("there is neither journal nor user")
            }
            Input::Sequenced(sequenced) => {
                let number = self.pending.remove(&sequenced.pending).expect("the sequencer answers what was asked");
                let room = self.ledger.record(number).room;
                self.lives_stream(number, sequenced.seq);
                self.ledger.sequenced(number, sequenced.seq, now, self.rooms[room].members_total());
                self.timing.owe(plan, self.ledger.record_mut(number), &self.rooms[room].members, links);
                Call::Event(number)
            }
            Input::Join(join) => Call::Join { join: join.clone(), answered: false },
            Input::Snapshot { conn, room, .. } => Call::Snapshot { conn: *conn, room: *room, answered: false },
            Input::Leave { room, conn, delta } => {
                let view = self.rooms.iter_mut().find(|view| view.id == Some(*room)).expect("a leave names a room with members");
                view.members[usize::from(conn.reactor)] -= 1;
                view.delta_members -= u32::from(*delta);
                Call::Leave
            }
        };
    }

    /// The hub has been given it.
    pub(crate) fn after_apply(&mut self) {
        match std::mem::replace(&mut self.call, Call::None) {
            Call::Event(number) => self.seen.at_once += self.timing.settle(self.ledger.record_mut(number)),
            Call::Join { join, answered } => assert!(answered, "a join was not answered: {join:?}"),
            Call::Snapshot { answered, .. } => assert!(answered, "a snapshot was not answered"),
            Call::Leave | Call::Tick | Call::None => {}
        }
    }

    pub(crate) fn before_tick(&mut self) {
        self.call = Call::Tick;
        self.timing.before_tick();
    }

    pub(crate) fn after_tick(&mut self, plan: &Plan, now: Now) {
        self.call = Call::None;
        let rooms = &self.rooms;
        let concerns = |record: &Record, reactor: usize| {
            let view = &rooms[record.room];
            view.members[reactor] > 0 && record.answer.as_ref().is_some_and(|(_, epoch)| Some(*epoch) == view.epoch)
        };
        self.timing.after_tick(plan, now.mono, &self.ledger, concerns);
    }

    /// The hub found no room on a link.
    pub(crate) fn saw_full(&self, reactor: usize, lane: Lane) {
        self.full.set(self.full.get() + 1);
        self.timing.saw_full(reactor, lane);
    }

    pub(crate) fn on_need_seq(&mut self, need: NeedSeq) {
        let Call::Event(number) = self.call else { panic!("a number was asked for outside a publish") };
        assert_eq!(need.lane, self.ledger.record(number).event.lane, "a number of another lane was asked for");
        self.ledger.record_mut(number).life = Some(need.room);
        assert!(self.pending.insert(need.pending, number).is_none(), "two events wait under one id");
    }

    /// The hub pushes something to a reactor.
    pub(crate) fn on_push(&mut self, plan: &Plan, now: Now, reactor: usize, output: &Output, reader: &mut Reader) {
        match output {
            Output::Deliver(frame) => self.on_deliver(plan, now, reactor, frame, &reader.read(frame)),
            Output::Joined(joined) => {
                assert_eq!(usize::from(joined.conn.reactor), reactor, "an answer went to another reactor");
                let messages: Vec<_> = joined.frames.iter().map(|frame| reader.read(frame)).collect();
                self.on_joined(plan, now, joined, &messages);
            }
            Output::Acked(_) | Output::Unowned(_) | Output::Replayed(_) | Output::Lost(_) => {
                panic!("there is neither authorizer nor journal, nor a user")
            }
            Output::Reply { conn, frames } => {
                assert_eq!(usize::from(conn.reactor), reactor, "an answer went to another reactor");
                let messages: Vec<_> = frames.iter().map(|frame| reader.read(frame)).collect();
                self.on_reply(plan, *conn, frames, &messages);
            }
            Output::Answers(answers) => {
                for answer in answers {
                    assert_eq!(usize::from(answer.conn.reactor), reactor, "an answer went to another reactor");
                    self.on_answer(plan, now, answer);
                }
            }
        }
    }

    /// Memberships that the hub must count.
    pub(crate) fn members(&self) -> u64 {
        self.rooms.iter().map(|view| u64::from(view.members_total())).sum()
    }

    /// How often the rare things happened.
    pub(crate) fn seen(&self) -> Seen {
        Seen { full: self.full.get(), ..self.seen }
    }

    /// All is quiet: every publish is answered, rightly, and every member has what it must have.
    pub(crate) fn finish<'a>(&mut self, plan: &Plan, sessions: impl Iterator<Item = &'a Session>) {
        let truth = self.ledger.truth(plan);
        self.frames.check(&truth, &self.ledger);
        self.timing.check(&self.ledger, plan);
        for session in sessions {
            let room = plan.room(&session.name);
            let epoch = self.epoch_number(room, &session.epoch);
            truth.check_states(plan, room, epoch, session);
            let heads = Lane::ALL.map(|lane| self.lives[&session.room].streams[lane.index()].len() as u64);
            assert_eq!(session.next.map(|next| next - 1), heads, "{}: a member did not get every event to the end", session.name);
        }
    }

    /// Frames that concern members pass here, whichever way they go.
    fn on_frame(&mut self, plan: &Plan, id: RoomId, frame: &Arc<Frame>, message: &Rc<Message>) {
        assert_eq!(frame.tag.room, id, "a frame of another room: {message:?}");
        let Body::Event(event) = &message.body else { return };
        let room = plan.room(message.room.as_deref().expect("an event names its room"));
        assert_eq!(self.rooms[room].id, Some(id), "a frame's text and tag name different rooms: {message:?}");
        let epoch = self.rooms[room].epoch.expect("members were told the epoch");
        self.frames.observe(room, epoch, frame, event);
        let life = self.lives.entry(id).or_default();
        if let Some(seq) = event.seq {
            life.pushed[event.lane.index()] = life.pushed[event.lane.index()].max(seq);
        }
        if let Some(rev) = event.rev {
            let known = life.states.entry((event.kind, event.key)).or_default();
            *known = (*known).max((rev, event.ts));
        }
    }

    fn on_deliver(&mut self, plan: &Plan, now: Now, reactor: usize, frame: &Arc<Frame>, message: &Rc<Message>) {
        self.seen.delivered += 1;
        let room = plan.room(message.room.as_deref().expect("a delivery names its room"));
        assert!(self.rooms[room].members[reactor] > 0, "{}: a delivery to a reactor without members: {message:?}", plan.rooms[room].name);
        let id = self.rooms[room].id.expect("it has members");
        self.on_frame(plan, id, frame, message);
        // Nobody pays for what nobody asked for. Where links fill, it may have been asked for when the frame was made.
        let is_wanted = self.rooms[room].delta_members > 0 || plan.profile != Profile::Calm;
        assert!(is_wanted || frame.delta().is_none(), "a delta for nobody: {message:?}");
        let in_tick = matches!(self.call, Call::Tick);
        match &message.body {
            Body::Event(event) => self.timing.delivered(plan, now.mono, (room, reactor), frame, event, in_tick),
            Body::Gap { lane, to: Some(to), .. } => {
                self.seen.gaps_live += 1;
                self.check_gap(plan, now, id, *lane, *to);
                self.timing.skipped(room, reactor, *lane, *to);
            }
            other => panic!("not for all members: {other:?}"),
        }
    }

    fn lives_stream(&mut self, number: usize, seq: u64) {
        let record = self.ledger.record(number);
        let stream = &mut self.lives.entry(record.life.expect("a number was asked for")).or_default().streams[record.event.lane.index()];
        stream.push(record.accepted);
        assert_eq!(stream.len() as u64, seq, "the model's own sequencer counts from 1");
    }

    fn named(&mut self, room: usize, owner: Option<&str>) {
        if let Some(user) = owner.and_then(|owner| owner.strip_prefix('u')).and_then(|user| user.parse::<usize>().ok()) {
            self.rooms[room].named[user] = true;
        }
    }

    /// A key that may be deleted is not missed by those who join, until they are known to have had a newer value.
    fn deleted(&mut self, now: Now, room: usize, event: &Event) {
        if &*event.data == "null" {
            self.timing.deleted(now.mono, room, names(event));
            self.rooms[room].deleted.insert(names(event), now.wall_ms);
        }
    }

    /// The number of that epoch of the room; a new one begins only where rooms are evicted.
    fn epoch_of(&mut self, plan: &Plan, room: usize, epoch: &str) -> usize {
        let view = &mut self.rooms[room];
        let known = view.epochs.iter().position(|known| known == epoch);
        known.unwrap_or_else(|| {
            assert!(view.epochs.is_empty() || plan.scarce_rooms(), "a new epoch although no room was evicted");
            self.seen.epochs += 1;
            view.owned = false;
            view.epochs.push(epoch.to_owned());
            view.epochs.len() - 1
        })
    }

    fn epoch_number(&self, room: usize, epoch: &str) -> usize {
        self.rooms[room].epochs.iter().position(|known| known == epoch).expect("a member's epoch was told at its join")
    }
}

/// Positions of its type and key.
fn names(event: &Event) -> (usize, usize) {
    let kind = KINDS.iter().position(|kind| *kind.name == *event.kind).expect("from the table");
    (kind, KEYS.iter().position(|key| **key == *event.key).expect("from the table"))
}
