//! What the daemon gives a reactor.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;
use mio::{Poll, Token};
use parking_lot::RwLock;

use crate::auth::{Revocations, TicketAsk, TicketWord, Verifier, Whom};
use crate::base::audit::Entry;
use crate::base::bucket::Rate;
use crate::base::cidr::Cidr;
use crate::base::codes::CloseCode;
use crate::base::ids::ConnId;
use crate::base::limits::{REPLAY_AHEAD_BYTES, REPLAY_SHARE};
use crate::base::memory::Memory;
use crate::hub::catalog::Catalog;
use crate::hub::ports::{Input, Output};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};
use crate::net::listener::Listener;
use crate::net::tls::ServerTls;
use crate::wire::forwarded::ClientAddress;
use crate::wire::http::Request;

use super::admin_desk::{AdminAccess, AdminAnswer, AdminDesk};
use super::authorizer::{Authorizer, Word};
use super::listing::ListConnections;
use super::ready_sign::ReadySign;
use super::registry::Registry;
use super::stats::ReactorStats;
use super::weighing::WeighRooms;

/// What an operator may tune.
#[derive(Clone, Debug)]
pub struct ReactorOptions {
    /// Origins that browsers' pages may come from; empty: any.
    pub origins: Vec<String>,
    /// Whether a WebSocket needs an origin, or a publisher's token.
    pub require_origin: bool,
    /// What tokens with the scope `admin` may do.
    pub admin_api: AdminAccess,
    /// Whether `?token=` is taken.
    pub query_token: bool,
    /// Networks that TCP peers must be in; empty: any.
    pub peers: Vec<Cidr>,
    /// Where those networks' proxies say who the client is.
    pub client_address: ClientAddress,
    /// Connections of one reactor that brought no token, and HTTP connections.
    pub strangers_max: usize,
    /// Commands of one connection.
    pub commands: Option<Rate>,
    /// Bytes that may wait for one connection.
    pub queue_bytes_max: usize,
    /// Bytes that a WebSocket may have unread before updates and metrics wait.
    pub reader_window: u32,
    /// A frame that waits for longer ends its connection; after a sixth of it the client is warned.
    pub slow_timeout: Duration,
    /// The longest time between two heartbeats.
    pub heartbeat: Duration,
    /// How long to spin before sleeping.
    pub busy_poll: Duration,
    /// Whether clients may agree on permessage-deflate, and how it is done.
    pub compression: Option<CompressionOptions>,
    /// Random, the same for all reactors of this start of the daemon: tells its sessions from those of other starts.
    pub instance: u32,
    /// Whether messages are sent back instead of being served: for conformance tests.
    pub conformance_echo: bool,
}

impl ReactorOptions {
    /// Bytes that may wait for a connection when the next part of its replay is asked for.
    pub fn replay_ahead_bytes(&self) -> usize {
        REPLAY_AHEAD_BYTES.min(self.queue_bytes_max / REPLAY_SHARE)
    }

    /// Who sent a request that came from `peer`: the word of proxies is taken from the networks of `peers` alone (NET-03).
    pub(super) fn client(&self, peer: IpAddr, request: &Request<'_>) -> IpAddr {
        let header = match self.client_address {
            ClientAddress::XForwardedFor => "x-forwarded-for",
            ClientAddress::Forwarded => "forwarded",
            ClientAddress::ProxyV2 | ClientAddress::Peer => return peer,
        };
        let is_trusted = |ip| self.peers.iter().any(|network| network.contains(ip));
        self.client_address.client(peer, request.values(header), is_trusted)
    }
}

/// How frames are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionOptions {
    /// 1, the fastest, to 9, the shortest.
    pub level: u32,
    /// Shorter messages are not compressed.
    pub bytes_min: usize,
}

impl ReactorOptions {
    /// The client's address for the limits of addresses; nothing if they do not hold for it: this machine's own programs, and proxies that do
    /// not say whom they stand for.
    pub(super) fn limited(&self, client: Option<IpAddr>) -> Option<IpAddr> {
        client.filter(|ip| !ip.to_canonical().is_loopback() && !self.peers.iter().any(|network| network.contains(*ip)))
    }
}

/// What a reactor works with and shares.
pub struct ReactorParts {
    /// Which reactor this is: `ConnId::reactor` of its connections.
    pub index: u16,
    /// The process' clock.
    pub clock: Clock,
    /// The table of event types.
    pub catalog: Arc<Catalog>,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// Tokens that are good no more.
    pub revocations: Arc<RwLock<Revocations>>,
    /// What TCP connections speak, if not plaintext.
    pub tls: Option<ServerTls>,
    /// Caps over all reactors.
    pub registry: Arc<Registry>,
    /// Whether load balancers should send clients here.
    pub ready_sign: Arc<ReadySign>,
    /// Its poll, from [`ReactorPoll::new`].
    pub poll: ReactorPoll,
    /// The door made with that poll's waker; `inbox`, `control`, `words` and `ticket_words` lead to it.
    pub door: Arc<Door>,
    /// From the hub.
    pub inbox: Arc<Link<Output>>,
    /// From the daemon.
    pub control: Arc<Link<Control>>,
    /// From the authorizer, with [`AUTHORIZER_PENDING_PER_REACTOR`](crate::base::limits::AUTHORIZER_PENDING_PER_REACTOR) slots.
    pub words: Arc<Link<Word>>,
    /// To the store of the tickets that nodes share, if they do.
    pub tickets: Option<Arc<Link<TicketAsk>>>,
    /// From there, with [`TICKETS_PENDING_PER_REACTOR`](crate::base::limits::TICKETS_PENDING_PER_REACTOR) slots.
    pub ticket_words: Arc<Link<TicketWord>>,
    /// Who is asked about joins that neither pattern nor ownership allows.
    pub authorizer: Option<Arc<Authorizer>>,
    /// Where what operators ask is left; answers come by `control`.
    pub admin: Arc<AdminDesk>,
    /// To the hub: alerts, joins and other commands.
    pub urgent: Arc<Link<Input>>,
    /// To the hub: all other publishes.
    pub bulk: Arc<Link<Input>>,
    /// What all threads hold.
    pub memory: Arc<Memory>,
    /// To the audit trail, where there is one.
    pub audit: Option<Arc<Link<Entry>>>,
    /// Its figures.
    pub stats: Arc<ReactorStats>,
    /// Where it listens.
    pub listeners: Vec<Listener>,
}

/// What the daemon tells a reactor.
#[derive(Clone, Debug)]
pub enum Control {
    /// Stop accepting, tell every client, finish answers, and return within this time.
    Drain {
        /// At most this long; clients are asked to come back spread over it.
        within: Duration,
    },
    /// End some sessions.
    End(EndSessions),
    /// End these, the newest of users who have more on all nodes than they may.
    EndOverCap(Vec<ConnId>),
    /// Go on with other settings.
    Reload(Box<Reload>),
    /// Tell an operator about connections.
    List(Box<ListConnections>),
    /// Serve a publisher of this process, as if it had come by the publish socket, over a pair of unix sockets.
    Adopt {
        /// The reactor's end.
        socket: Arc<OwnedFd>,
        /// The daemon publishes what is its own; otherwise it passes on what others have.
        is_daemon: bool,
    },
    /// Tell an operator what waits for the members of some rooms.
    Weigh(Box<WeighRooms>),
    /// Give an operator its answer.
    Answer(Box<AdminAnswer>),
}

/// What may change while a reactor runs. Connections stay as they are: tokens that were accepted hold until they expire or are revoked, also those
/// whose key is gone.
#[derive(Clone, Debug)]
pub struct Reload {
    /// `compression`, `heartbeat`, `queue_bytes_max` and `instance` are those from before.
    pub options: ReactorOptions,
    /// The table of event types.
    pub catalog: Arc<Catalog>,
    /// Checks tokens from now on.
    pub verifier: Arc<Verifier>,
    /// Hears when it is done; its channel has room for all reactors.
    pub done: Sender<()>,
}

/// Sessions to be ended.
#[derive(Clone, Debug)]
pub struct EndSessions {
    /// Which ones.
    pub whom: Whom,
    /// How they are closed.
    pub code: CloseCode,
    /// Hears how many there were; its channel has room for one answer of each reactor.
    pub ended: Sender<usize>,
}

/// A reactor's poll, made before the reactor so that links can lead to it.
#[derive(Debug)]
pub struct ReactorPoll(pub(super) Poll);

impl ReactorPoll {
    /// The poll and its waker, which is for [`Waker::Poll`](crate::net::link::Waker::Poll).
    pub fn new() -> io::Result<(ReactorPoll, mio::Waker)> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        Ok((ReactorPoll(poll), waker))
    }
}

/// The token of the waker; those of listeners are below it, those of connections have a slot below it.
pub(super) const WAKER: Token = Token(u32::MAX as usize);
