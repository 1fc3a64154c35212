//! A reactor: one thread, one `Poll`, its own listeners and its own connections.
//!
//! A turn of the loop: sleep until there is something; note events; accept; serve the connections that have input, within
//! their budgets; wake the hub; take all that the hub and the daemon sent; fire timers; flush what there is to be said, the most
//! urgent first, for a slice of time. Handlers never touch the loop: they say what a connection shall do next, and the loop does it. Every
//! connection ends in `Reactor::close`, and nowhere else.

mod absences;
mod accept;
pub mod admin_desk;
mod audit;
pub mod authorizer;
mod body;
mod compressor;
mod connection;
mod core;
mod denials;
mod echo;
mod events;
mod flush;
mod http;
mod inbox;
mod limiter;
mod lines;
pub mod listing;
mod lost;
pub mod memory;
pub mod options;
mod pages;
mod patience;
mod poll;
mod pressure;
mod publisher;
pub mod ready_sign;
mod refusals;
pub mod registry;
mod replays;
pub mod roll;
pub mod rooms;
mod runs;
mod samples;
mod session;
mod shedding;
mod slots;
pub mod stats;
mod strangers;
mod tickets;
mod tokens;
pub mod uplink;
mod websocket;
pub mod weighing;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::auth::{Grants, TicketWord};
use crate::base::codes::CLOSE_SHUTDOWN;
use crate::base::ids::ConnId;
use crate::base::limits::{OPENING_SLICE, PARSE_BYTES_PER_TURN, REST_BYTES_JOINED, STALL, STALL_REST, STRANGERS_REST};
use crate::base::memory::Level;
use crate::base::time::Mono;
use crate::hub::ports::Output;
use crate::net::link::{Door, Link};
use crate::net::stream::{Readiness, Scratch, Stream};
use crate::net::timer::{Timer, Wheel};
use crate::wire::deflate::Inflater;

use self::accept::Listeners;
use self::audit::Audit;
use self::authorizer::{Inquirer, Word};
use self::compressor::Compressor;
use self::connection::{Connection, Io};
use self::core::Core;
use self::flush::Backlog;
use self::listing::Listing;
use self::memory::Parts;
use self::pressure::{Holding, Pressure};
use self::refusals::Refusals;
use self::replays::Replays;
use self::rooms::Rooms;
use self::runs::Runs;
use self::samples::Samples;
use self::slots::Slots;
use self::stats::Reason;
use self::strangers::{Standing, Strangers};
use self::tickets::TicketDesk;
use self::tokens::Tokens;
use self::uplink::Uplink;
use self::websocket::WebSocket;
use self::weighing::Weighing;

pub use self::options::{CompressionOptions, Control, EndSessions, ReactorOptions, ReactorParts, ReactorPoll, Reload};

/// Events taken in one turn.
const EVENTS_PER_TURN: usize = 1024;
/// Granularity of timers.
const TICK: Duration = Duration::from_millis(100);
/// How soon leaves that found no room are tried again.
const LEAVES_RETRY: Duration = Duration::from_millis(1);

/// See the module.
pub struct Reactor {
    index: u16,
    poll: Poll,
    door: Arc<Door>,
    inbox: Arc<Link<Output>>,
    control: Arc<Link<Control>>,
    words: Arc<Link<Word>>,
    ticket_words: Arc<Link<TicketWord>>,
    listeners: Listeners,
    conns: Slots,
    core: Core,
    io: Io,
    wheel: Wheel,
    /// Until when the timers rest, if the process did not run for a while.
    timers_rest: Option<Mono>,
    /// Connections to be served; a slot may be there after its connection has gone.
    serve: Vec<u32>,
    /// Some of them are opening, and have to wait for the next turn.
    openings_wait: bool,
    backlog: Backlog,
    pressure: Pressure,
    strangers: Strangers,
    parts: Parts,
    /// Frames of answers dealt with since the hub was last told.
    answer_frames: usize,
    replays: Replays,
    /// What an operator is told of connections.
    listing: Option<Listing>,
    /// What an operator is told of rooms.
    weighing: Option<Weighing>,
}

impl Reactor {
    /// A reactor that listens, but serves nobody before [`Reactor::run`].
    pub fn new(options: ReactorOptions, parts: ReactorParts) -> io::Result<Reactor> {
        let now = parts.clock.now();
        let listeners = Listeners::new(parts.listeners, parts.poll.0.registry())?;
        let queue_bytes_max = options.queue_bytes_max;
        let stats = Arc::clone(&parts.stats);
        let compressor = options.compression.map(|options| Compressor::new(options, parts.clock, stats));
        let core = Core {
            options,
            catalog: parts.catalog,
            tokens: Tokens::new(parts.verifier, parts.revocations),
            tls: parts.tls,
            registry: parts.registry,
            ready_sign: parts.ready_sign,
            inquirer: Inquirer::new(parts.authorizer),
            ticket_desk: TicketDesk::new(parts.tickets),
            admin: parts.admin,
            stats: parts.stats,
            unix_grants: Arc::new(Grants::unix_socket()),
            daemon_grants: Arc::new(Grants::daemon()),
            uplink: Uplink::new(parts.urgent, parts.bulk),
            rooms: Rooms::default(),
            samples: Samples::default(),
            runs: Runs::new(queue_bytes_max),
            strangers: 0,
            now,
            drain_until: None,
            memory: parts.memory,
            memory_level: Level::Normal,
            text: Vec::new(),
            command: Vec::new(),
            inflater: Inflater::default(),
            audit: Audit::new(parts.audit),
            refusals: Refusals::default(),
        };
        Ok(Reactor {
            index: parts.index,
            poll: parts.poll.0,
            door: parts.door,
            inbox: parts.inbox,
            control: parts.control,
            words: parts.words,
            ticket_words: parts.ticket_words,
            listeners,
            conns: Slots::default(),
            core,
            io: Io {
                clock: parts.clock,
                input: vec![0; REST_BYTES_JOINED + PARSE_BYTES_PER_TURN],
                output: Vec::new(),
                scratch: Scratch::default(),
                compressor,
                now: now.mono,
            },
            wheel: Wheel::new(TICK, now.mono),
            timers_rest: None,
            serve: Vec::new(),
            openings_wait: false,
            backlog: Backlog::default(),
            pressure: Pressure::new(queue_bytes_max),
            strangers: Strangers::default(),
            parts: Parts::default(),
            answer_frames: 0,
            replays: Replays::default(),
            listing: None,
            weighing: None,
        })
    }

    /// Serves until it is drained. An error is one of the poll itself.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.is_drained() {
            self.turn(&mut events)?;
        }
        for slot in self.conns.taken() {
            self.close(slot, Reason::Code(CLOSE_SHUTDOWN));
        }
        self.core.audit.sum_up(self.core.now, &self.core.stats);
        // Nothing is written any more: nobody shall wait for it.
        self.inbox.press(false);
        self.inbox.outrun(false);
        self.core.uplink.nudge();
        self.core.uplink.ring();
        Ok(())
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.door.turn();
        self.wait(events)?;
        self.work(events.iter().map(|event| (event.token(), Readiness::from(event))));
        Ok(())
    }

    /// What a turn does once there is something to do.
    fn work(&mut self, events: impl Iterator<Item = (Token, Readiness)>) {
        self.core.now = self.io.clock.now();
        self.mind_memory();
        for (token, readiness) in events {
            self.on_event(token, readiness);
        }
        self.accept();
        self.serve();
        self.core.uplink.ring();
        self.core.audit.turn(self.core.now, &self.core.stats);
        self.take_control();
        self.go_on_listing();
        self.go_on_weighing();
        self.take_inbox();
        self.take_words();
        self.take_ticket_words();
        self.fire_timers();
        self.core.uplink.retry_leaves();
        self.flush();
        self.core.uplink.ring();
        self.publish_gauges();
    }

    /// Sleeps until there is something to do: see [`bell`](crate::net::bell) for why no wake-up is lost.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.io.clock.mono();
        let until = self.wake_at(now);
        if until <= now {
            return self.poll(events, Some(Duration::ZERO));
        }
        let spin_until = now.plus(self.core.options.busy_poll).min(until);
        while self.io.clock.mono() < spin_until {
            self.poll(events, Some(Duration::ZERO))?;
            if !events.is_empty() || self.has_mail() {
                return Ok(());
            }
        }
        self.door.arm();
        let timeout = match until {
            _ if self.has_mail() => Some(Duration::ZERO),
            Mono::NEVER => None,
            until => Some(until.since(self.io.clock.mono())),
        };
        let polled = self.poll(events, timeout);
        self.door.disarm();
        polled
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    fn has_mail(&self) -> bool {
        !self.inbox.is_empty() || !self.control.is_empty() || !self.words.is_empty() || !self.ticket_words.is_empty()
    }

    fn wake_at(&self, now: Mono) -> Mono {
        if !self.serve.is_empty() || self.owes_flush() || self.owes_list() {
            return now;
        }
        let leaves = self.core.uplink.owes_leaves().then(|| now.plus(LEAVES_RETRY));
        let timers = self.wheel.next().map(|at| at.max(self.timers_rest.unwrap_or_default()));
        let look = self.next_look(now);
        let times = [timers, self.listeners.next(now), self.core.drain_until, leaves, look, self.pressure.next(), self.core.audit.next()];
        times.into_iter().flatten().min().unwrap_or(Mono::NEVER)
    }

    /// Notes what an event says. Spurious ones do no harm: they cost a read or a write that says `WouldBlock`.
    fn on_event(&mut self, token: Token, event: Readiness) {
        if self.listeners.on_event(token) {
            return;
        }
        let Some(conn) = self.conns.by_token(token) else { return };
        conn.read_closed |= event.read_closed || event.error;
        conn.readable |= event.readable || conn.read_closed;
        conn.writable |= event.writable || event.write_closed || event.error;
        let slot = conn.id.slot;
        self.enlist(slot);
    }

    /// Accepts what came, but not while some that were accepted have not been looked at: those would be taken for idle and evicted, though their
    /// token lies in the socket. The others wait in the kernel meanwhile.
    fn accept(&mut self) {
        if self.openings_wait || !self.make_place() {
            return;
        }
        let mut accepted = Vec::new();
        self.listeners.accept(self.index, self.poll.registry(), &mut self.conns, &mut self.core, &mut accepted);
        for slot in accepted {
            self.welcome(slot);
        }
        self.make_place();
    }

    /// Counts in a connection that was accepted.
    fn welcome(&mut self, slot: u32) {
        if let Some(conn) = self.conns.at(slot) {
            conn.account(&mut self.pressure);
            if conn.is_stranger() {
                self.core.strangers += 1;
                self.strangers.add(conn.id, self.core.now.mono);
            }
        }
        self.schedule(slot);
    }

    /// Who is not adopted sees the other end of its pair closed.
    fn adopt(&mut self, socket: &OwnedFd, is_daemon: bool) {
        let stream = socket.try_clone().and_then(|own| Stream::from_pair(own.into()));
        let taken = stream.map(|stream| accept::take(self.index, stream, None, self.poll.registry(), &mut self.conns, &mut self.core));
        if let Ok(Some(slot)) = taken {
            if let Some(conn) = self.conns.at(slot).filter(|_| is_daemon) {
                conn.grant_to_daemon();
            }
            self.welcome(slot);
        }
    }

    /// However many connections hang there without a token, those who have one get in. False if all have only just come.
    fn make_place(&mut self) -> bool {
        let Reactor { conns, strangers, core, .. } = self;
        strangers.tidy(core.strangers, |id| !conns.by_id(id).is_some_and(|conn| conn.is_stranger()));
        while self.core.strangers > self.core.options.strangers_max {
            let conns = &mut self.conns;
            let standing = |id| conns.by_id(id).map_or(Standing::Off, Connection::standing);
            let Some(id) = self.strangers.evict(self.core.now.mono, standing) else {
                self.listeners.rest(self.core.now.mono.plus(STRANGERS_REST));
                return false;
            };
            self.close(id.slot, Reason::Evicted);
        }
        true
    }

    /// Serves those with input, each within its budget; those that have more are served again next turn. Those that are opening share a slice of
    /// time, so that a storm of them does not delay live pushes; at least one is served.
    fn serve(&mut self) {
        let mut opening = Duration::ZERO;
        self.openings_wait = false;
        for slot in std::mem::take(&mut self.serve) {
            let Some(conn) = self.conns.at(slot) else { continue };
            if opening >= OPENING_SLICE && conn.is_opening() {
                self.openings_wait = true;
                self.serve.push(slot);
                continue;
            }
            conn.serving = false;
            let began = conn.is_opening().then(|| self.io.clock.mono());
            let reason = conn.serve(&mut self.core, &mut self.io);
            conn.account(&mut self.pressure);
            conn.account_unfinished(&mut self.pressure, &self.core);
            opening += began.map_or(Duration::ZERO, |began| self.io.clock.mono().since(began));
            let has_begun = conn.has_begun() || conn.is_asking();
            if let Some(reason) = reason {
                self.close(slot, reason);
                continue;
            }
            self.enlist(slot);
            if has_begun {
                self.schedule(slot);
            }
            self.shed_unfinished();
        }
    }

    /// Puts a connection on the lists that it belongs on.
    fn enlist(&mut self, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        if !conn.serving && conn.wants_serving() {
            conn.serving = true;
            self.serve.push(slot);
        }
        if let Some(dirty) = conn.wants_flush(&self.core) {
            self.backlog.mark(slot, &mut conn.listed, dirty);
        }
    }

    fn take_control(&mut self) {
        while let Some(control) = self.control.pop() {
            match control {
                Control::Drain { within } => self.drain(within),
                Control::End(ending) => self.end_sessions(&ending),
                Control::Reload(reload) => self.reload(*reload),
                Control::EndOverCap(conns) => self.end_over_cap(&conns),
                Control::List(asked) => self.begin_listing(*asked),
                Control::Adopt { socket, is_daemon } => self.adopt(&socket, is_daemon),
                Control::Weigh(asked) => self.begin_weighing(*asked),
                Control::Answer(answer) => self.take_admin_answer(*answer),
            }
        }
    }

    /// Clients come back spread over the time that there is.
    fn drain(&mut self, within: Duration) {
        self.listeners.close();
        self.core.drain_until = Some(self.core.now.mono.plus(within));
        let spread_ms = (within.as_millis() as u64).max(1);
        for slot in self.conns.taken() {
            let after_ms = spread(slot, self.core.options.instance, spread_ms);
            if let Some(conn) = self.conns.at(slot) {
                conn.drain(after_ms, &mut self.core);
            }
            self.enlist(slot);
            self.schedule(slot);
        }
    }

    fn reload(&mut self, reload: Reload) {
        let core = &mut self.core;
        core.options = reload.options;
        core.catalog = reload.catalog;
        core.tokens.trust(reload.verifier);
        // Limits of time may be shorter now.
        for slot in self.conns.taken() {
            self.schedule(slot);
        }
        // Who asked may have given up.
        reload.done.try_send(()).ok();
    }

    /// Ends the sessions that are meant, and tells how many there were.
    fn end_sessions(&mut self, ending: &EndSessions) {
        let mut ended = 0;
        for slot in self.conns.taken() {
            let is_ended = self.conns.at(slot).is_some_and(|conn| conn.end_session(&ending.whom, ending.code, &mut self.core));
            if is_ended {
                ended += 1;
                self.enlist(slot);
                self.schedule(slot);
            }
        }
        // Who asked may have given up.
        ending.ended.try_send(ended).ok();
    }

    /// Ends connections that are more than their user may have on all nodes.
    fn end_over_cap(&mut self, conns: &[ConnId]) {
        for id in conns {
            if let Some(conn) = self.conns.by_id(*id) {
                conn.end_over_cap(&mut self.core);
            }
            self.enlist(id.slot);
            self.schedule(id.slot);
        }
    }

    fn is_drained(&self) -> bool {
        self.core.drain_until.is_some_and(|until| self.conns.is_empty() || until <= self.core.now.mono)
    }

    /// Does what is due; after a stall a moment later, so that nobody is judged by what was not heard or written meanwhile.
    fn fire_timers(&mut self) {
        let now = self.core.now.mono;
        let is_late = self.wheel.next().is_some_and(|at| now.since(at) >= STALL);
        self.timers_rest = match self.timers_rest {
            None if is_late => Some(now.plus(STALL_REST)),
            rest => rest.filter(|until| *until > now),
        };
        if self.timers_rest.is_some() {
            return;
        }
        let mut fired = Vec::new();
        self.wheel.advance(now, &mut fired);
        for timer in fired {
            // An earlier deadline may have taken this one's place.
            let Some(conn) = self.conns.by_key(timer.key).filter(|conn| conn.timer_at == timer.at) else { continue };
            conn.timer_at = Mono::NEVER;
            let slot = conn.id.slot;
            let is_due = conn.deadline(&self.core) <= now;
            if let Some(reason) = is_due.then(|| conn.on_time(&mut self.core)).flatten() {
                self.close(slot, reason);
                continue;
            }
            self.enlist(slot);
            self.schedule(slot);
        }
    }

    /// Sees that the connection is looked at when its next deadline comes.
    fn schedule(&mut self, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        let at = conn.deadline(&self.core);
        if at < conn.timer_at {
            conn.timer_at = at;
            self.wheel.insert(Timer { at, key: slots::key(conn.id) });
        }
    }

    /// The one place where a connection ends.
    fn close(&mut self, slot: u32, reason: Reason) {
        let Some(mut conn) = self.conns.remove(slot) else { return };
        self.end_replays(slot);
        self.core.samples.end_all(slot);
        self.pressure.account(&mut conn.share, Holding::default());
        self.pressure.account_unfinished(&mut conn.share, 0, false);
        conn.end(reason, &mut self.core, &mut self.io);
        // The kernel forgets a closed descriptor by itself; this is for the order's sake.
        drop(conn.stream.deregister(self.poll.registry()));
    }

    fn publish_gauges(&mut self) {
        let stats = &self.core.stats;
        stats.memberships.set(self.core.rooms.memberships() as u64);
        stats.queued_bytes.set(self.pressure.queued_bytes() as u64);
        let (received, sent) = self.io.scratch.take_counts();
        stats.tls_bytes_received.add(received);
        stats.tls_bytes_sent.add(sent);
        stats.outstanding.set(self.core.uplink.outstanding() as u64);
        stats.publishes_unanswered.set(self.core.uplink.unanswered() as u64);
        self.publish_memory();
    }
}

/// Memory of an idle connection is what limits their number. The allocator has a class of 384 bytes, and none between that and 320.
const _: () = assert!(size_of::<Connection>() <= 384 && size_of::<WebSocket>() <= 256);

/// A time within `spread_ms` for the client in that slot: those of neighbours are far apart, and those of each start of the daemon are others, so that
/// the same clients are not the first each time.
fn spread(slot: u32, instance: u32, spread_ms: u64) -> u64 {
    u64::from(slot.wrapping_add(instance).wrapping_mul(0x9E37_79B9)) % spread_ms
}

#[cfg(test)]
mod tests;
