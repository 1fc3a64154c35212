//! Ids of things that live in slots. Each carries the slot's generation, so that a message which comes late never reaches
//! the slot's next owner: in this trade, that would be a leak of one customer's data to another.

use std::fmt;

/// A client or publisher connection: the reactor that owns it, its slot there, and the slot's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Index of the owning reactor.
    pub reactor: u16,
    /// Slot in that reactor's table.
    pub slot: u32,
    /// How often the slot was given out before.
    pub generation: u32,
}

/// A room: its slot in the hub's table and the slot's generation. Reactors index their membership by the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId {
    /// Slot in the hub's table.
    pub slot: u32,
    /// How often the slot was given out before.
    pub generation: u32,
}

impl RoomId {
    /// The room of frames that belong to no room: welcome, heartbeats, replies.
    pub const NONE: RoomId = RoomId { slot: u32::MAX, generation: u32::MAX };
}

/// A `state` key, (room, type, key), numbered by the hub once and never again: what conflation compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u64);

/// Names one publish of one connection, so that its answer finds its line. Counts up from 0 for each connection.
pub type Ticket = u64;

/// What clients and operators call a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionName {
    /// Tells this start of the daemon from others.
    pub instance: u32,
    /// The connection.
    pub id: ConnId,
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnId { reactor, slot, generation } = self.id;
        write!(f, "{:08x}-{reactor}-{slot}-{generation}", self.instance)
    }
}
