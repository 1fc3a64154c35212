//! The names of keys. Pure.
//!
//! All keys of a shard have the same hash tag, so that in a cluster they are on one server, and one script may use them.
//!
//! | key | what it is |
//! | --- | --- |
//! | `tickerd:{5}:meta` | hash: the present epoch's number and name, the run id of the server that it began on, the last place of the feed |
//! | `tickerd:{5}:epochs` | list: all epochs |
//! | `tickerd:{5}:feed` | stream: every event of the shard, in order; its ids are 1-0, 2-0, … |
//! | `tickerd:{5}:rooms` | set: the names of all rooms |
//! | `tickerd:{5}:room:NAME` | hash: owner, and for each lane the last number, the epochs and the history that late joiners get |
//! | `tickerd:{5}:log:LANE:NAME` | stream: the `stream` events of a (room, lane); the id of number 7 is 7-0 |
//! | `tickerd:{5}:states:NAME` | hash: the newest value of each state key |
//! | `tickerd:{5}:waits:NAME` | hash: by `event_id`, what waits for its user's acknowledgment |
//! | `tickerd:{5}:id:NAME ID` | string: the number of the event with that `event_id`, for a minute |
//! | `tickerd:{0}:revocations` | stream: all revocations, as JSON |
//! | `tickerd:{0}:nodes` | sorted set: what each node that is there says of itself, as JSON, by when it had to say so again |
//! | `tickerd:{0}:ticket:HASH` | string: what the ticket with that SHA-256 stands for, behind the id of the run that it was given on, while it is good |
//! | `tickerd:{0}:tickets:USER` | sorted set: the tickets that a user was given lately, used ones too, by when they end |
//! | `tickerd:{0}:contacts` | sorted set: the contacts of nodes that count users' connections, by when they were last heard |
//! | `tickerd:{0}:users:CONTACT` | hash: by user, how many connections are there, as one of them has said |
//! | `tickerd:ingest:{STREAM}` | string: the node that publishes what comes by that stream |
//! | `STREAM:refused` | stream: its entries that were refused, with the reason; in a cluster `{STREAM}:refused`, which is where the stream is |
//! | `tickerd:{5}:answer:NODE` | string: the last answer to a call of that node that began with this shard, for the case that it got lost |

use crate::base::lane::Lane;

/// All revocations, whatever the room.
pub(super) const REVOCATIONS: &str = "tickerd:{0}:revocations";
/// With which shard they are.
pub(super) const REVOCATIONS_SHARD: u16 = 0;

/// The nodes that are there.
pub(super) const NODES: &str = "tickerd:{0}:nodes";
/// With which shard they are.
pub(super) const NODES_SHARD: u16 = 0;

/// With what is about users.
pub(super) const CONTACTS: &str = "tickerd:{0}:contacts";

/// What a contact has said of users.
pub(super) fn users(contact: &str) -> String {
    format!("tickerd:{{0}}:users:{contact}")
}

/// What the ticket of that name stands for.
pub(super) fn ticket(name: &str) -> String {
    format!("tickerd:{{0}}:ticket:{name}")
}

/// Those that a user was given lately.
pub(super) fn tickets_of(user: &str) -> String {
    format!("tickerd:{{0}}:tickets:{user}")
}

/// Who publishes what comes by a stream.
pub(super) fn lease(stream: &str) -> String {
    format!("tickerd:ingest:{{{stream}}}")
}

/// Where its entries go that were refused: in a cluster, with a hash tag, so that it is where the stream is.
pub(super) fn refused(stream: &str, is_cluster: bool) -> String {
    if is_cluster { format!("{{{stream}}}:refused") } else { format!("{stream}:refused") }
}

/// The keys of one shard.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(shard: u16) -> Keys {
        Keys { prefix: format!("tickerd:{{{shard}}}:") }
    }

    fn of(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    pub(super) fn meta(&self) -> String {
        self.of("meta")
    }

    pub(super) fn epochs(&self) -> String {
        self.of("epochs")
    }

    pub(super) fn feed(&self) -> String {
        self.of("feed")
    }

    pub(super) fn rooms(&self) -> String {
        self.of("rooms")
    }

    pub(super) fn room(&self, name: &str) -> String {
        format!("{}room:{name}", self.prefix)
    }

    pub(super) fn log(&self, lane: Lane, name: &str) -> String {
        format!("{}log:{}:{name}", self.prefix, lane.index())
    }

    pub(super) fn states(&self, name: &str) -> String {
        format!("{}states:{name}", self.prefix)
    }

    pub(super) fn waits(&self, name: &str) -> String {
        format!("{}waits:{name}", self.prefix)
    }

    /// Identifiers have no space.
    pub(super) fn event_id(&self, name: &str, event_id: &str) -> String {
        format!("{}id:{name} {event_id}", self.prefix)
    }

    pub(super) fn answer(&self, node: u64) -> String {
        format!("{}answer:{node:x}", self.prefix)
    }
}
