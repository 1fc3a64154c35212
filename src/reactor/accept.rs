//! Accepting connections, a bounded number in each turn, and resting when the process is out of descriptors.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use mio::{Registry, Token};
use tracing::{debug, warn};

use crate::base::limits::{ACCEPT_REST, ACCEPTS_PER_TURN};
use crate::base::time::Mono;
use crate::net::listener::Listener;
use crate::net::stream::Stream;
use crate::wire::forwarded::ClientAddress;

use super::connection::Connection;
use super::core::Core;
use super::options::WAKER;
use super::slots::{self, Slots};

/// The listeners of a reactor.
pub(super) struct Listeners {
    listeners: Vec<Listening>,
    /// Until then nothing is accepted.
    rest_until: Option<Mono>,
}

struct Listening {
    listener: Listener,
    /// An accept may give something: no `WouldBlock` since the last event.
    ready: bool,
}

impl Listeners {
    /// Registers the listeners.
    pub(super) fn new(listeners: Vec<Listener>, registry: &Registry) -> io::Result<Listeners> {
        let mut registered = Vec::with_capacity(listeners.len());
        for (at, mut listener) in listeners.into_iter().enumerate() {
            listener.register(registry, token(at))?;
            registered.push(Listening { listener, ready: true });
        }
        Ok(Listeners { listeners: registered, rest_until: None })
    }

    /// Notes an event; whether it was a listener's.
    pub(super) fn on_event(&mut self, event: Token) -> bool {
        let found = self.listeners.iter_mut().enumerate().find(|(at, _)| token(*at) == event);
        found.map(|(_, listening)| listening.ready = true).is_some()
    }

    /// Closes all.
    pub(super) fn close(&mut self) {
        self.listeners.clear();
    }

    /// When accepting can go on; `None`: it waits for an event.
    pub(super) fn next(&self, now: Mono) -> Option<Mono> {
        self.listeners.iter().any(|listening| listening.ready).then(|| self.rest_until.unwrap_or(now))
    }

    /// Accepts nothing before then.
    pub(super) fn rest(&mut self, until: Mono) {
        self.rest_until = Some(until);
    }

    /// Accepts what one turn allows. `accepted` gets the slots of the new connections.
    pub(super) fn accept(&mut self, index: u16, registry: &Registry, conns: &mut Slots, core: &mut Core, accepted: &mut Vec<u32>) {
        if self.rest_until.is_some_and(|until| until > core.now.mono) {
            return;
        }
        self.rest_until = None;
        for listening in self.listeners.iter_mut().filter(|listening| listening.ready) {
            for _ in 0..ACCEPTS_PER_TURN {
                match listening.listener.accept() {
                    Ok((stream, peer)) => accepted.extend(take(index, stream, peer, registry, conns, core)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        listening.ready = false;
                        break;
                    }
                    // The peer has gone before we came.
                    Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                    Err(error) => {
                        core.stats.accept_errors.inc();
                        warn!(event = "accept_failed", %error, "cannot accept connections: trying again shortly; raise the limit of open files if that is the reason");
                        self.rest_until = Some(core.now.mono.plus(ACCEPT_REST));
                        return;
                    }
                }
            }
        }
    }
}

/// Takes a connection in, or turns it away.
pub(super) fn take(
    index: u16,
    stream: Stream,
    peer: Option<IpAddr>,
    registry: &Registry,
    conns: &mut Slots,
    core: &mut Core,
) -> Option<u32> {
    let allowed = &core.options.peers;
    if peer.is_some_and(|peer| !allowed.is_empty() && !allowed.iter().any(|network| network.contains(peer))) {
        core.stats.accept_refused.inc();
        core.turn_away(peer, None, "connect", "network");
        return None;
    }
    let Some(stream) = with_tls(stream, core) else {
        core.stats.accept_errors.inc();
        return None;
    };
    let mut conn = Box::new(Connection::new(conns.next_id(index), stream, peer, core.now.mono));
    conn.awaits_proxy = peer.is_some() && core.options.client_address == ClientAddress::ProxyV2;
    let prepared = conn.stream.prepare().and_then(|()| conn.stream.register(registry, slots::token(conn.id)));
    if prepared.is_err() {
        // Mostly a peer that has gone already.
        core.stats.accept_errors.inc();
        return None;
    }
    core.stats.accepted.inc();
    core.count_kind(conn.kind(), true);
    let slot = conn.id.slot;
    debug!(event = "accepted", peer = peer.map(tracing::field::display), slot);
    conns.insert(conn);
    Some(slot)
}

/// TCP connections speak TLS if there is a certificate.
fn with_tls(stream: Stream, core: &Core) -> Option<Stream> {
    let Some(tls) = &core.tls else { return Some(stream) };
    // Fails for want of random numbers alone.
    tls.session().ok().map(|session| stream.with_tls(session))
}

fn token(at: usize) -> Token {
    Token(WAKER.0 - 1 - at)
}
