//! What the audit trail is told: plain values, so that whoever tells it knows neither a disk nor a thread. Never a token, nor what is in an event.

use core::net::IpAddr;
use std::sync::Arc;

use super::ids::ConnId;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A client was welcomed.
    Connect,
    /// A client's connection ended.
    Disconnect,
    /// Somebody did not get as far as that, or may not publish.
    Refuse,
    /// A client became a member of a room.
    Join,
    /// A client may not become one.
    Deny,
    /// A client is no member any more, though it stays connected.
    Leave,
    /// A client took note of something.
    Ack,
    /// A publisher's events of one type in a minute.
    Publish,
    /// An administrator did something.
    Admin,
    /// Entries that found no room.
    Lost,
}

impl Kind {
    /// How it is called in the trail.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Connect => "connect",
            Kind::Disconnect => "disconnect",
            Kind::Refuse => "refuse",
            Kind::Join => "join",
            Kind::Deny => "deny",
            Kind::Leave => "leave",
            Kind::Ack => "ack",
            Kind::Publish => "publish",
            Kind::Admin => "admin",
            Kind::Lost => "lost",
        }
    }
}

/// One entry of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in Unix milliseconds; of a sum, when it was made.
    pub ts_ms: u64,
    /// What.
    pub kind: Kind,
    /// Who did it, as a token says.
    pub user: Option<Arc<str>>,
    /// From where.
    pub ip: Option<IpAddr>,
    /// On which connection.
    pub session: Option<ConnId>,
    /// To which room.
    pub room: Option<Box<str>>,
    /// With what: a type of events, an `event_id`, what an administrator did.
    pub subject: Option<Box<str>>,
    /// Why, by a name of one of the tables; empty if there is nothing to say.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
    /// Of [`Kind::Publish`], how many of them were accepted and how many refused. The rest ended without an answer, with their connection.
    pub answered: Option<Answered>,
}

/// How events were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// So many were accepted, or known already.
    pub accepted: u64,
    /// So many were not.
    pub refused: u64,
}

impl Entry {
    /// One of which nothing more is known.
    pub fn new(ts_ms: u64, kind: Kind) -> Entry {
        let (user, ip, session, room, subject, answered) = (None, None, None, None, None, None);
        Entry { ts_ms, kind, user, ip, session, room, subject, reason: "", count: 1, answered }
    }
}
