//! What the hub tells the journal and hears from it: plain values, so that the hub knows neither a disk nor a thread.

use std::sync::Arc;

use crate::base::ids::RoomId;
use crate::base::lane::{Lane, PerLane};
use crate::wire::frame::Frame;

use super::ports::ReplayId;

/// What the log is to keep, in order. Entries are numbered from 1 as they are given; [`Report::Committed`] names the last one that is safe.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Rooms made from now on count in this epoch.
    Epoch(Epoch),
    /// A `stream` event.
    Event(EventEntry),
    /// A room was evicted: it has no history any more.
    Forget {
        /// Its name.
        room: Arc<str>,
    },
    /// Somebody was told of an event that waits for its user, who goes on being given it: that is not to be done again.
    Escalated(Box<EscalatedEntry>),
    /// An event with [`EventEntry::ack_until_ms`] waits for its user no more.
    Settled {
        /// The room's name.
        room: Arc<str>,
        /// Which event.
        event_id: Arc<str>,
    },
}

/// A history in which numbers count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Counts the epochs of this journal, from 1.
    pub number: u32,
    /// What clients know it by.
    pub name: Arc<str>,
    /// It began because a room was evicted: what a position of an earlier epoch says of a room that is not known is not known either.
    pub by_eviction: bool,
}

/// A `stream` event, with all that a restart must know of its room.
#[derive(Clone, Debug)]
pub struct EventEntry {
    /// The room's name.
    pub room: Arc<str>,
    /// Its owner.
    pub owner: Option<Arc<str>>,
    /// Positions of epochs before this one say nothing of the room.
    pub born: u32,
    /// The epoch in which the event is numbered.
    pub epoch: u32,
    /// The first number given in that epoch and lane, whether the log ever got that one or not: where the former epoch ended.
    pub first: u64,
    /// The lane.
    pub lane: Lane,
    /// What a late joiner gets unasked of this lane.
    pub history: u16,
    /// Its number.
    pub seq: u64,
    /// When the hub accepted it, Unix milliseconds.
    pub ts_ms: u64,
    /// Makes the publish idempotent.
    pub event_id: Option<Box<str>>,
    /// It is given again until its user has acknowledged it, or until then, Unix milliseconds.
    pub ack_until_ms: Option<u64>,
    /// The message as members get it.
    pub frame: Arc<Frame>,
}

/// An event that waits for its user, and of which somebody was told.
#[derive(Clone, Debug)]
pub struct EscalatedEntry {
    /// The room's name.
    pub room: Arc<str>,
    /// Which event.
    pub event_id: Arc<str>,
    /// The lane.
    pub lane: Lane,
    /// The epoch in which it is numbered.
    pub epoch: u32,
    /// Its number.
    pub seq: u64,
    /// When it was accepted, Unix milliseconds.
    pub ts_ms: u64,
    /// See [`EventEntry::ack_until_ms`].
    pub until_ms: u64,
    /// The message as members get it.
    pub frame: Arc<Frame>,
}

impl Entry {
    /// What it counts for in the budget of what waits for the disk.
    pub fn cost(&self) -> usize {
        const OVERHEAD: usize = 256;
        match self {
            // One that waits for its user is written twice: as an event, and as one that waits.
            Entry::Event(event) => OVERHEAD + event.frame.as_websocket().len() * (1 + usize::from(event.ack_until_ms.is_some())),
            Entry::Escalated(escalated) => OVERHEAD + escalated.frame.as_websocket().len(),
            Entry::Epoch(_) | Entry::Forget { .. } | Entry::Settled { .. } => OVERHEAD,
        }
    }
}

/// What the tables are to keep: the newest value of each thing. Nobody waits for it.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A room's owner.
    Owner {
        /// The room's name.
        room: Arc<str>,
        /// Who owns it.
        owner: Arc<str>,
        /// See [`EventEntry::born`].
        born: u32,
    },
    /// The newest value of a state key.
    State {
        /// The room's name.
        room: Arc<str>,
        /// The key and its value.
        state: KeptState,
    },
    /// A room was evicted.
    Forget {
        /// Its name.
        room: Arc<str>,
    },
}

/// A state key with its newest value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// The event's type.
    pub kind: Box<str>,
    /// The key within (room, type).
    pub key: Box<str>,
    /// The lane.
    pub lane: Lane,
    /// Of the newest accepted change.
    pub rev: u64,
    /// The publisher's version.
    pub version: Option<u64>,
    /// When the hub accepted it, Unix milliseconds.
    pub ts_ms: u64,
    /// Raw JSON; `None` if the key is deleted.
    pub data: Option<Box<str>>,
}

/// What the journal tells the hub.
#[derive(Clone, Debug)]
pub enum Report {
    /// All entries up to that number are synced.
    Committed {
        /// The number of the last one.
        entry: u64,
    },
    /// The disk does not take what it is given. What it was given is tried again; until [`Report::Committed`] nothing is safe.
    Failing {
        /// What the system says.
        reason: Arc<str>,
    },
    /// Old events were let go.
    Trimmed(Vec<Trimmed>),
    /// A part of what a [`Fetch`] asked for.
    Fetched(Box<Fetched>),
}

/// The oldest event of a (room, lane) that is still kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The room's name.
    pub room: Arc<str>,
    /// The lane.
    pub lane: Lane,
    /// Its `seq`, or the number of the next event if none is kept.
    pub oldest: u64,
}

/// Asks for past events of one (room, lane). Answered by one [`Report::Fetched`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// For which replay.
    pub replay: ReplayId,
    /// The room.
    pub id: RoomId,
    /// Its name.
    pub room: Arc<str>,
    /// The lane.
    pub lane: Lane,
    /// The first `seq` wanted.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// See [`Report::Fetched`].
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What was asked for.
    pub fetch: Fetch,
    /// Events in order of `seq`, the oldest that are kept: as many as are handed out at a time; none if none is kept.
    pub frames: Vec<Arc<Frame>>,
}

/// What a journal knew when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Former epochs, in order.
    pub epochs: Vec<Epoch>,
    /// All rooms.
    pub rooms: Vec<RecoveredRoom>,
    /// Events that wait for their user's acknowledgment, in order of `ts`.
    pub unacknowledged: Vec<RecoveredUnacknowledged>,
}

/// An event that waits for its user's acknowledgment, as the journal knew it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredUnacknowledged {
    /// The room's name.
    pub room: Box<str>,
    /// Which event.
    pub event_id: Box<str>,
    /// The lane.
    pub lane: Lane,
    /// The epoch in which it is numbered.
    pub epoch: u32,
    /// Its number.
    pub seq: u64,
    /// When it was accepted, Unix milliseconds.
    pub ts_ms: u64,
    /// See [`EventEntry::ack_until_ms`].
    pub until_ms: u64,
    /// Somebody was told that its user takes no note of it.
    pub is_escalated: bool,
    /// The message as members got it.
    pub message: Box<[u8]>,
}

/// A room as the journal knew it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredRoom {
    /// Its name.
    pub name: Box<str>,
    /// Its owner.
    pub owner: Option<Box<str>>,
    /// See [`EventEntry::born`].
    pub born: u32,
    /// Those of its lanes that have had an event.
    pub lanes: PerLane<Option<RecoveredStream>>,
    /// Its state keys, deleted ones among them.
    pub states: Vec<KeptState>,
    /// `event_id`s of its newest events, with lane, `seq` and `ts`, in order of `ts`.
    pub seen: Vec<Seen>,
}

/// An `event_id` that was seen lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The id.
    pub event_id: Box<str>,
    /// The number that the event got.
    pub seq: u64,
    /// When it was accepted, Unix milliseconds.
    pub ts_ms: u64,
}

/// A (room, lane) as the journal knew it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredStream {
    /// The last number given.
    pub head: u64,
    /// The number of the oldest event kept; `head + 1` if none is.
    pub oldest: u64,
    /// Epochs in which there were events, with the first number of each, in order.
    pub starts: Vec<(u32, u64)>,
    /// What a late joiner gets unasked.
    pub history: u16,
}
