//! What goes into the hub and what comes out: plain values, so that a thread, a test and a simulation drive it alike.

use std::sync::Arc;
use std::time::Duration;

use crate::base::codes::Refusal;
use crate::base::ids::{ConnId, RoomId, Ticket};
use crate::base::lane::{Lane, Mode, PerLane};
use crate::base::memory::allocated;
use crate::base::time::{Mono, Now};
use crate::wire::frame::Frame;
use crate::wire::request_id::RequestId;
use crate::wire::sample::Sample;

use super::journal::{Entry, Fact, Fetch, Report};
use super::store::{Append, News, Settled};

pub use crate::wire::reply::{Accepted, Number, Outcome, Safety};

/// An event with everything that the catalog decides already in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The publisher's `type`.
    pub kind: Box<str>,
    /// Where it goes.
    pub room: Box<str>,
    /// Delivery priority.
    pub lane: Lane,
    /// Delivery guarantee.
    pub mode: Mode,
    /// The key within (room, type), for `state`; empty if the type has one state for each room.
    pub key: Box<str>,
    /// Who may join the room by owning it; the first one given sticks.
    pub owner: Option<Box<str>>,
    /// Makes the publish idempotent within the room.
    pub event_id: Option<Box<str>>,
    /// Monotonic per key, for `state`: one that is not newer is stale.
    pub version: Option<u64>,
    /// How many past `stream` events of this lane a late joiner gets unasked.
    pub history: u16,
    /// The user whose room it goes to is to acknowledge it within this; until then it is given again. Only `stream`, only with an `event_id`.
    pub ack_ttl: Option<Duration>,
    /// Raw JSON, the publisher's own bytes. `null` deletes the key, for `state`.
    pub data: Box<str>,
}

/// What an event takes beside its data: its names, and the message that it comes in.
const EVENT_BYTES: usize = 512;

impl Event {
    /// What it takes of the memory budget until it is a frame.
    pub fn bytes(&self) -> usize {
        EVENT_BYTES + allocated(self.data.len())
    }
}

/// One event from one publisher.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Who gets the answer.
    pub conn: ConnId,
    /// Which of its publishes this is.
    pub ticket: Ticket,
    /// When the read that completed the event was done.
    pub accepted: Mono,
    /// How safe a `stream` event is to be before the publisher is answered.
    pub ack: Safety,
    /// The event.
    pub event: Event,
}

/// A position to resume from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// The history in which `seq` counts.
    pub epoch: Box<str>,
    /// The last `seq` that the client has, for each lane it names.
    pub seq: PerLane<Option<u64>>,
}

/// A connection asks to become a member of a room.
#[derive(Clone, Debug)]
pub struct Join {
    /// Who asks.
    pub conn: ConnId,
    /// The command's `id`.
    pub request: Option<RequestId>,
    /// The room's name.
    pub room: Box<str>,
    /// The user that the token names.
    pub user: Arc<str>,
    /// The token's patterns allow it; otherwise ownership or the authorizer can.
    pub by_pattern: bool,
    /// What the authorizer says.
    pub consent: Consent,
    /// Resume from here.
    pub since: Option<Since>,
    /// Replay this many past events of each lane; ignored where `since` names the lane.
    pub history: Option<u32>,
    /// It wants deltas.
    pub delta: bool,
    /// It is a long poll's.
    pub poll: Option<Poll>,
    /// It wants only some of the states, or not each change: the reactor sees to that.
    pub sample: Option<Box<Sample>>,
}

/// A join that is to be over with its answer, or with the next thing that comes: all that the answer lacks must be in the next one's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Poll {
    /// An earlier one's [`Joined::states_until`], if it was in the same epoch: states that were changed later are wanted, and nothing is to be
    /// given again that waits for an acknowledgment.
    pub states_after: Option<u64>,
}

/// A user has taken note of something.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Whose connection says so.
    pub conn: ConnId,
    /// The command's `id`.
    pub request: Option<RequestId>,
    /// The user that the token names.
    pub user: Arc<str>,
    /// Of what.
    pub of: AckOf,
}

/// What is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckOf {
    /// One event of the user's room, by its `event_id`.
    Event(Box<str>),
    /// All events of a (room, lane) up to a number.
    UpTo {
        /// Which room; the reactor has checked the membership.
        room: RoomId,
        /// The lane.
        lane: Lane,
        /// The history in which `seq` counts.
        epoch: Box<str>,
        /// The last number.
        seq: u64,
    },
}

/// The answer to an [`Ack`] that has a `request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckAnswer {
    /// Whom it is for.
    pub conn: ConnId,
    /// The command's `id`.
    pub request: RequestId,
    /// Whether the event is not given again, whatever happens to the daemon; without a journal, as long as that lives.
    pub outcome: Result<(), Refusal>,
}

/// An event that its user has taken no note of in time: see [`escalations`](super::escalations). Answered by one [`Escalated`].
#[derive(Clone, Debug)]
pub struct Overdue {
    /// The user's room.
    pub room: Arc<str>,
    /// Which event.
    pub event_id: Arc<str>,
    /// When it was accepted, Unix milliseconds.
    pub ts_ms: u64,
    /// It waits no longer than this, Unix milliseconds.
    pub until_ms: u64,
    /// The message as members got it.
    pub frame: Arc<Frame>,
}

/// What came of an [`Overdue`].
#[derive(Clone, Debug)]
pub struct Escalated {
    /// The user's room.
    pub room: Arc<str>,
    /// Which event.
    pub event_id: Arc<str>,
    /// What came of it.
    pub outcome: EscalationOutcome,
}

/// What may come of an escalation, in the order of [`EscalationOutcome`].
pub const ESCALATION_OUTCOMES: [&str; 3] = ["told", "failed", "resting"];

/// What came of an escalation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscalationOutcome {
    /// Somebody was told.
    Told,
    /// That was tried in vain.
    Failed,
    /// It was not tried, because others have failed.
    Resting,
}

/// What an external authorizer has to do with a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nothing: there is none, or it said no.
    None,
    /// It is to be asked if neither pattern nor ownership allows the join: see [`Output::Unowned`].
    ToBeAsked,
    /// It said yes.
    Given,
}

/// What the hub's core is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event to push. Answered by one [`Answer`].
    Publish(Box<Publish>),
    /// A `stream` or `transient` event of the daemon itself. Not answered.
    Announce(Box<Event>),
    /// A join. Answered by [`Output::Joined`] or [`Output::Reply`], or by [`Output::Unowned`] if the authorizer is to be asked.
    Join(Box<Join>),
    /// A connection is no member any more. Each [`Output::Joined`] is ended by exactly one of these; not answered.
    Leave {
        /// Which room.
        room: RoomId,
        /// Who left.
        conn: ConnId,
        /// It had joined for deltas.
        delta: bool,
    },
    /// The full states of a room for one member. Answered by [`Output::Reply`].
    Snapshot {
        /// Who asks.
        conn: ConnId,
        /// The command's `id`.
        request: Option<RequestId>,
        /// Which room; the reactor has checked the membership.
        room: RoomId,
        /// Not the states, but a digest of them.
        digest: bool,
    },
    /// A user has taken note of something. Answered by one [`AckAnswer`] if it has a `request`.
    Ack(Box<Ack>),
    /// What came of an [`Overdue`]. Not answered.
    Escalated(Box<Escalated>),
    /// The sequencer's answer to [`NeedSeq`].
    Sequenced(Sequenced),
    /// What the journal tells.
    Journal(Report),
    /// What the store tells that several nodes share.
    Store(News),
    /// The next part of a replay is wanted, the last one having been taken; or none.
    ReplayTaken {
        /// Which replay.
        id: ReplayId,
        /// It may have the next part; or it is gone, or no member any more.
        wants_more: bool,
    },
}

/// A slot in the hub's table of replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplayId {
    /// The slot.
    pub slot: u32,
    /// How often it was given out before.
    pub generation: u32,
}

/// The hub asks for the next number of a (room, lane). Locally it is given at once, with Redis after its append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedSeq {
    /// Names the event that waits; given back in [`Sequenced`].
    pub pending: PendingId,
    /// Which room.
    pub room: RoomId,
    /// Which lane.
    pub lane: Lane,
    /// The last number that the hub knows to be given.
    pub head: u64,
}

/// A slot in the hub's table of events that wait for their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PendingId {
    /// The slot.
    pub slot: u32,
    /// How often it was given out before.
    pub generation: u32,
}

/// The number asked for by [`NeedSeq`]. For one (room, lane) numbers come in order, +1 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// The event that waits.
    pub pending: PendingId,
    /// Its `seq`.
    pub seq: u64,
}

/// What the hub's core tells one reactor.
#[derive(Clone, Debug)]
pub enum Output {
    /// For all local members of the frame's room.
    Deliver(Arc<Frame>),
    /// A member more: queue these frames to it, then every later `Deliver` of the room.
    Joined(Box<Joined>),
    /// A join that neither pattern nor ownership allows: the authorizer is to be asked.
    Unowned(Box<Join>),
    /// For one connection: the answer to a denied join or a snapshot.
    Reply {
        /// Whom it is for.
        conn: ConnId,
        /// The frames, in order.
        frames: Vec<Arc<Frame>>,
    },
    /// Answers to publishes of this reactor's connections.
    Answers(Vec<Answer>),
    /// Answers to acknowledgments.
    Acked(Vec<AckAnswer>),
    /// Past events, or states, for one member.
    Replayed(Box<Replayed>),
    /// What was told of that room may not be so any more: its members are to come back, with their positions.
    Lost(RoomId),
}

/// A part of a replay. The next one is to be asked for, unless it is the last.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Which replay.
    pub id: ReplayId,
    /// Whom it is for.
    pub conn: ConnId,
    /// The room, if it is a member of that still.
    pub room: RoomId,
    /// The frames, in order.
    pub frames: Vec<Arc<Frame>>,
    /// From now on, the member gets the `stream` events of that lane from this `seq` on as they come.
    pub floor: Option<(Lane, u64)>,
    /// Nothing follows.
    pub is_done: bool,
}

impl Output {
    /// Frames of an answer to a join or a snapshot, which may be thousands.
    pub fn answer_frames(&self) -> usize {
        match self {
            Output::Joined(joined) => joined.frames.len(),
            Output::Reply { frames, .. } => frames.len(),
            Output::Replayed(replayed) => replayed.frames.len(),
            Output::Deliver(_) | Output::Unowned(_) | Output::Answers(_) | Output::Acked(_) | Output::Lost(_) => 0,
        }
    }
}

/// A join that was granted.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The new member.
    pub conn: ConnId,
    /// The room's id, valid until the member leaves.
    pub room: RoomId,
    /// The room's name.
    pub name: Arc<str>,
    /// `stream` frames of the room with a `seq` below this are not for this member: it has them already. 0: none.
    pub floor: PerLane<u64>,
    /// It wants deltas: for each key one whose base is the last state of it that went to the member, else the full state.
    pub delta: bool,
    /// The history in which the numbers count.
    pub epoch: Arc<str>,
    /// The first `seq` that comes, for each lane, as an event or in a `gap`.
    pub from: PerLane<u64>,
    /// For a poll: the last change of a state that members may have, by its [`Tag::released`](crate::wire::frame::Tag).
    pub states_until: u64,
    /// `subscribed`, the replay, the states, `caught_up`, in order.
    pub frames: Vec<Arc<Frame>>,
    /// The rest comes in parts, as [`Output::Replayed`]; each is to be asked for by [`Input::ReplayTaken`], also the first.
    pub replay: Option<ReplayId>,
}

/// The answer to one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whom it is for.
    pub conn: ConnId,
    /// Which of its publishes.
    pub ticket: Ticket,
    /// What became of it.
    pub outcome: Result<Accepted, Refusal>,
}

/// Where the hub's core puts what it has to say. The shell owns the links; a simulation owns models of them.
pub trait Outlet {
    /// Whether a delivery in this lane may be pushed to that reactor. Bulk lanes leave slots for alerts, and all
    /// deliveries leave the slots that are reserved for answers.
    fn has_room(&self, reactor: usize, lane: Lane) -> bool;

    /// Pushes to one reactor. Deliveries only after [`Outlet::has_room`]; everything else always fits, because reactors
    /// wait for at most [`OUTSTANDING_PER_REACTOR`](crate::base::limits::OUTSTANDING_PER_REACTOR) answers.
    fn push(&mut self, reactor: usize, output: Output);

    /// A `state` or `transient` event was accepted. `stream` events are in the journal, for whoever wants to follow them.
    fn accepted(&mut self, _event: &Event, _now: Now) {}

    /// Asks the sequencer. Its answer comes as an [`Input::Sequenced`], at once or later.
    fn need_seq(&mut self, need: NeedSeq);

    /// Gives an entry to the journal's log. Always fits: the hub counts what is not synced yet.
    fn journal(&mut self, entry: Entry) {
        unreachable!("a hub without a journal gave it {entry:?}");
    }

    /// Whether the journal's tables take another fact.
    fn can_keep(&self) -> bool {
        false
    }

    /// Gives a fact to the journal's tables. Only after [`Outlet::can_keep`].
    fn keep(&mut self, fact: Fact) {
        unreachable!("a hub without a journal gave it {fact:?}");
    }

    /// Tells the store of a wait that is over. May get lost, for all nodes tell it.
    fn settled(&mut self, settled: Settled) {
        unreachable!("a hub without a store gave it {settled:?}");
    }

    /// Gives an event to the store. Always fits: the hub counts what is not answered yet.
    fn append(&mut self, append: Append) {
        unreachable!("a hub without a store gave it {append:?}");
    }

    /// Whether somebody takes another event of which somebody is to be told.
    fn can_escalate(&self) -> bool {
        false
    }

    /// Has somebody told of an event. Only after [`Outlet::can_escalate`].
    fn escalate(&mut self, overdue: Overdue) {
        unreachable!("a hub that nobody takes escalations from gave one: {overdue:?}");
    }

    /// Asks the journal for past events. Always fits: the hub waits for at most a few at a time.
    fn fetch(&mut self, fetch: Fetch) {
        unreachable!("a hub without a journal asked it for {fetch:?}");
    }
}
