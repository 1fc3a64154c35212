//! What the hub tells the store that several nodes share, and hears from it: plain values, so that the hub knows neither Redis nor a thread.
//!
//! Each event goes to the store before any node pushes it. The store gives it its number, and its feed brings it to every node, to the one
//! that it was published on as to the others: so all nodes push the same events in the same order, each once.

use std::sync::Arc;

use crate::base::codes::Refusal;
use crate::base::ids::RoomId;
use crate::base::lane::PerLane;
use crate::base::time::Mono;
use crate::wire::frame::{Frame, Kind, Tag};

use super::encode::{self, EventText};
use super::journal::{Epoch, Fetch, Fetched, KeptState};
use super::ports::{Event, Number, Outcome, PendingId};

/// Parts in which rooms are numbered and kept: in a cluster, each is on one server.
pub const SHARDS: u16 = 16;
/// The first number of a shard's epochs is this times the shard's own: so an epoch of one shard says nothing in another.
pub const EPOCHS_PER_SHARD: u32 = 1 << 24;

/// The shard of that room, the same on every node: FNV-1a (Fowler, Noll, Vo; RFC 9923).
pub fn shard_of(room: &str) -> u16 {
    let hash = room.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ((hash ^ (hash >> 16)) % u32::from(SHARDS)) as u16
}

/// An event for the store. Answered by one [`Appended`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Given back in [`Appended`].
    pub id: PendingId,
    /// When the hub accepted it, Unix milliseconds.
    pub ts_ms: u64,
    /// When the read that completed it was done.
    pub accepted: Mono,
    /// Not 0: a state that this node has under that `rev`, which the store has not seen. It is to come by the feed under a higher one: it, or what
    /// the store has if that is newer.
    pub rev: u64,
    /// The event.
    pub event: Event,
}

/// What became of an [`Append`].
#[derive(Clone, Debug)]
pub struct Appended {
    /// Which one.
    pub id: PendingId,
    /// Its place, or why it has none.
    pub outcome: Result<Placed, Refusal>,
}

/// Where the store has put an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What the event is to the room.
    pub outcome: Outcome,
    /// Its number, or that of the event that it is a duplicate of.
    pub number: Number,
    /// The epoch's name.
    pub epoch: Arc<str>,
}

/// An event that the feed brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Its place in the shard's feed.
    pub place: u64,
    /// The epoch in which it is numbered.
    pub epoch: u32,
    /// Its number.
    pub number: u64,
    /// `stream`: the oldest event of the lane that the store keeps.
    pub oldest: u64,
    /// When it was accepted, Unix milliseconds.
    pub ts_ms: u64,
    /// When it was read from the publisher, or if that was at another node, from the feed.
    pub accepted: Mono,
    /// The event.
    pub event: Event,
}

/// All that the store knows of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which one.
    pub number: u16,
    /// Its epochs, in order; the last is the present one.
    pub epochs: Vec<Epoch>,
    /// Where the feed goes on behind it.
    pub place: u64,
    /// Its rooms.
    pub rooms: Vec<KnownRoom>,
}

/// All that the store knows of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRoom {
    /// Its name.
    pub name: Box<str>,
    /// Its owner.
    pub owner: Option<Box<str>>,
    /// Events up to this place of the feed are in it.
    pub place: u64,
    /// Those of its lanes that have had an event.
    pub lanes: PerLane<Option<KnownStream>>,
    /// Its state keys, deleted ones among them.
    pub states: Vec<KeptState>,
    /// Its events that wait for an acknowledgment, in no order.
    pub waits: Vec<KnownWait>,
}

/// An event that waits for its user's acknowledgment, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownWait {
    /// Its number.
    pub seq: u64,
    /// The epoch in which that counts.
    pub epoch: u32,
    /// It waits no longer than this, Unix milliseconds.
    pub until_ms: u64,
    /// When it was accepted, Unix milliseconds.
    pub ts_ms: u64,
    /// The event, with an `event_id`.
    pub event: Event,
}

/// An event that waits no longer, which the store is to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its room.
    pub room: Arc<str>,
    /// Its `event_id`.
    pub event_id: Arc<str>,
}

/// All that the store knows of a (room, lane).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownStream {
    /// The last number given.
    pub head: u64,
    /// The number of the oldest event kept; `head + 1` if none is.
    pub oldest: u64,
    /// Epochs in which there were events, with the first number of each, in order.
    pub starts: Vec<(u32, u64)>,
    /// What a late joiner gets unasked.
    pub history: u16,
    /// The newest events with their `ts`, in order up to `head`.
    pub newest: Vec<(u64, Event)>,
}

/// What the store tells the hub.
#[derive(Clone, Debug)]
pub enum News {
    /// What became of events that were given to it.
    Appended(Vec<Appended>),
    /// What the feed brings, in its order.
    Fed(Vec<Fed>),
    /// What a node that has missed something begins with again. What the feed brings later goes on from there.
    Shard(Box<Shard>),
    /// The store does not answer. What was given to it has been answered, or will be.
    Gone {
        /// What the system says.
        reason: Arc<str>,
    },
    /// The store answers again.
    Back,
    /// A part of what a [`Fetch`] asked for.
    Fetched(Box<Fetched>),
    /// The store could not be asked: it is to be asked again.
    NotFetched(Fetch),
}

/// A kept `stream` event as members get it.
pub fn past_event(room: RoomId, seq: u64, ts_ms: u64, event: &Event) -> Arc<Frame> {
    let mut out = Vec::new();
    let text = EventText {
        kind: &event.kind,
        room: &event.room,
        lane: event.lane,
        key: "",
        number: Number::Seq(seq),
        base: None,
        ts_ms,
        event_id: event.event_id.as_deref(),
        data: Some(&event.data),
    };
    encode::event(&mut out, &text);
    let tag = Tag { room, lane: event.lane, kind: Kind::Stream { seq }, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER };
    Arc::new(Frame::text(tag, &out))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All nodes, of all versions, must agree on it.
    #[test]
    fn a_room_is_in_the_same_shard_for_ever() {
        assert_eq!(["challenge:8f", "system:acks", "", "user:u1"].map(shard_of), [11, 8, 9, 13]);
        let used: std::collections::HashSet<u16> = (0..1_000).map(|n| shard_of(&format!("challenge:{n}"))).collect();
        assert_eq!(used.len(), usize::from(SHARDS));
    }
}
