//! The worker's loop: sockets and timers. What a connection says and means is [`session`](super::session)'s, what the coordinator
//! wants is [`stage`](super::stage)'s.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, SystemTime};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{ClockId, clock_gettime};

use crate::client::tls::{Stream, Trust};
use crate::client::token::Signer;
use crate::client::url::Url;
use crate::client::{codec, handshake};
use crate::control::WorkerPlan;
use crate::layout;

use super::recorder::{Pair, Recorder};
use super::reporter::Note;
use super::session::{End, Phase, Session, Shared};
use super::stage::Stage;
use super::verify::Verifier;
use super::{Input, Ports, socket};

/// Bytes of one read: large, so that few are needed, but not beyond what a processor's second-level cache holds.
const READ_BYTES: usize = 256 * 1024;
/// Reads of one connection in one turn.
const READS_MAX: usize = 4;
const EVENTS: usize = 1024;
const WAKER: Token = Token(usize::MAX);
/// How long a connection may take to be joined.
const JOIN_NS_MAX: u64 = 15 * SECOND_NS;
/// Between two readings of a slow reader.
const SLOW_TICK_NS: u64 = 50_000_000;
/// The least time before coming back after a loss.
const BACKOFF_NS: u64 = SECOND_NS;
pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// What is to be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Connect that one.
    Connect(u32),
    /// That one, begun then, should have joined.
    Deadline(u32, u64),
    /// A second is over.
    Second,
    /// Tell how far connecting is.
    Progress,
    /// Let the slow readers read.
    Slow,
    /// See whether all has come.
    Finish,
}

/// One connection.
pub(super) struct Link {
    pub(super) session: Session,
    pub(super) socket: Option<Stream<TcpStream>>,
    /// Its first attempt has come to an end, good or bad.
    pub(super) is_settled: bool,
    /// Bytes that a slow reader may read now.
    allowance: u64,
}

/// See the module.
pub(super) struct Engine {
    pub(super) plan: WorkerPlan,
    pub(super) links: Vec<Link>,
    pub(super) shared: Shared,
    pub(super) timers: BinaryHeap<Reverse<(u64, Timer)>>,
    pub(super) stage: Stage,
    pub(super) bytes: u64,
    url: Url,
    trust: Option<Trust>,
    signer: Option<Signer>,
    poll: Poll,
    waker: Arc<Waker>,
    buffer: Vec<u8>,
    /// Connections with more to read than their budget.
    again: Vec<u32>,
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of stamps.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

impl Engine {
    /// Prepares what the plan asks. The error says what is wrong with it.
    pub(super) fn new(plan: WorkerPlan) -> Result<Engine, String> {
        let target = &plan.target;
        let url = Url::parse(&target.url)?;
        let trust = Trust::of(&url, target.ca.as_deref())?;
        let signer = target.key.as_deref().map(|path| Signer::load(path, target.issuer.clone(), target.audience.clone())).transpose()?;
        let verifier = Verifier::new(&plan.scenario, plan.run, target.is_floor, plan.first, plan.count)?;
        let broken = |error: io::Error| format!("the system gives no poll: {error}");
        let poll = Poll::new().map_err(broken)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(broken)?);
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| format!("the system gives no random numbers: {error}"))?;
        let recorder = Recorder::new(plan.scenario.flows.len());
        let link = |_| Link { session: Session::default(), socket: None, is_settled: false, allowance: 0 };
        Ok(Engine {
            links: (0..plan.count).map(link).collect(),
            shared: Shared { verifier, recorder, pongs: 0, random: u64::from_ne_bytes(seed) },
            timers: BinaryHeap::new(),
            stage: Stage::new(),
            bytes: 0,
            url,
            trust,
            signer,
            poll,
            waker,
            buffer: vec![0; READ_BYTES + codec::MESSAGE_BYTES_MAX + 64],
            again: Vec::new(),
            plan,
        })
    }

    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    pub(super) fn flows(&self) -> usize {
        self.plan.scenario.flows.len()
    }

    /// Runs until the input ends or nobody reads the reports.
    pub(super) fn run(&mut self, inputs: &Receiver<Input>, notes: &SyncSender<Note>, spares: &Receiver<Pair>) -> Result<(), String> {
        let ports = Ports { inputs, notes, spares };
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = if self.again.is_empty() { self.until_next_timer() } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(format!("the system's poll failed: {error}")),
                _ => {}
            }
            let began_ns = now_ns();
            for conn in std::mem::take(&mut self.again) {
                self.readable(conn, false);
            }
            for event in &events {
                if event.token() == WAKER {
                    while let Ok(input) = ports.inputs.try_recv() {
                        if !self.input(input, ports)? {
                            return Ok(());
                        }
                    }
                } else {
                    self.ready(event);
                }
            }
            while let Some(Reverse((at_ns, timer))) = self.timers.peek().copied()
                && at_ns <= now_ns()
            {
                self.timers.pop();
                if !self.expired(at_ns, timer, ports) {
                    return Ok(());
                }
            }
            self.stage.turn(now_ns() - began_ns);
        }
    }

    fn until_next_timer(&self) -> Option<Duration> {
        let Reverse((at_ns, _)) = self.timers.peek()?;
        Some(Duration::from_nanos(at_ns.saturating_sub(now_ns())))
    }

    pub(super) fn at(&mut self, at_ns: u64, timer: Timer) {
        self.timers.push(Reverse((at_ns, timer)));
    }

    /// `false`: nobody reads the reports.
    fn expired(&mut self, at_ns: u64, timer: Timer, ports: Ports<'_>) -> bool {
        match timer {
            Timer::Connect(conn) => self.connect(conn),
            Timer::Deadline(conn, began_ns) => {
                let session = &self.links[conn as usize].session;
                if session.began_ns == began_ns && !matches!(session.phase, Phase::Waiting | Phase::Joined | Phase::Dead) {
                    let what = match session.phase {
                        Phase::Connecting => "the connect",
                        Phase::Upgrading => "the upgrade's answer",
                        Phase::Greeting => "the welcome",
                        _ => "the rooms",
                    };
                    self.end(conn, &End::lost(format!("{what} took over {} s", JOIN_NS_MAX / SECOND_NS)));
                }
            }
            Timer::Slow => {
                self.slow_tick();
                self.at(at_ns + SLOW_TICK_NS, Timer::Slow);
            }
            Timer::Second => return self.second(at_ns, ports),
            Timer::Progress => return self.progress(at_ns, ports),
            Timer::Finish => return self.finish(ports),
        }
        true
    }

    fn connect(&mut self, conn: u32) {
        if self.links[conn as usize].session.phase == Phase::Waiting
            && let Err(why) = self.begin(conn)
        {
            self.end(conn, &End::lost(why));
        }
    }

    fn begin(&mut self, conn: u32) -> Result<(), String> {
        let position = self.plan.first + conn;
        let token = match &self.signer {
            None => None,
            Some(signer) => {
                let rooms: Vec<String> = self
                    .shared
                    .verifier
                    .members(conn)
                    .iter()
                    .map(|member| member.place)
                    .map(|(class, room)| layout::room_name(&self.plan.scenario.rooms[usize::from(class)], room))
                    .collect();
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
                Some(signer.mint(&format!("lt-{position}"), &rooms, "", now)?)
            }
        };
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.shared.random().to_le_bytes());
        nonce[8..].copy_from_slice(&self.shared.random().to_le_bytes());
        let key = handshake::key(nonce);
        let request = handshake::request(&self.url, token.as_deref(), &key);
        let now_ns = now_ns();
        let link = &mut self.links[conn as usize];
        link.session.begin(now_ns, key, request);
        let broken = |error: io::Error| format!("connect: {error}");
        let mut socket = socket::connect(self.url.address, position, self.shared.verifier.is_slow(conn)).map_err(broken)?;
        self.poll.registry().register(&mut socket, Token(conn as usize), Interest::READABLE | Interest::WRITABLE).map_err(broken)?;
        link.socket = Some(Stream::new(socket, self.trust.as_ref()).map_err(broken)?);
        self.at(now_ns + JOIN_NS_MAX, Timer::Deadline(conn, now_ns));
        Ok(())
    }

    fn ready(&mut self, event: &Event) {
        let conn = event.token().0 as u32;
        if event.is_writable()
            && let Err(end) = self.writable(conn)
        {
            self.end(conn, &end);
            return;
        }
        let link = &self.links[conn as usize];
        if event.is_readable() && !matches!(link.session.phase, Phase::Waiting | Phase::Connecting | Phase::Dead) {
            // A slow reader reads by the clock.
            if link.session.phase != Phase::Joined || !self.shared.verifier.is_slow(conn) {
                self.readable(conn, event.is_read_closed());
            }
        }
    }

    fn writable(&mut self, conn: u32) -> Result<(), End> {
        let link = &mut self.links[conn as usize];
        let Some(socket) = link.socket.as_ref().map(Stream::socket) else {
            return Ok(());
        };
        if link.session.phase == Phase::Connecting {
            if let Some(error) = socket.take_error().ok().flatten() {
                return Err(End::lost(format!("connect: {error}")));
            }
            if socket.peer_addr().is_err() {
                return Ok(());
            }
            link.session.phase = Phase::Upgrading;
        }
        link.flush()
    }

    /// Reads what there is, within the budget. `is_closing`: the end of the stream is known to be near, and no further event tells of it.
    fn readable(&mut self, conn: u32, is_closing: bool) {
        for _ in 0..READS_MAX {
            match self.read(conn, READ_BYTES) {
                Ok(true) => {}
                Ok(false) if is_closing => {}
                Ok(false) => return,
                Err(end) => return self.end(conn, &end),
            }
        }
        self.again.push(conn);
    }

    /// One read and all that it completes. `false`: the socket is drained, and an event will tell of more.
    fn read(&mut self, conn: u32, bytes_max: usize) -> Result<bool, End> {
        let link = &mut self.links[conn as usize];
        let Some(socket) = &mut link.socket else {
            return Ok(false);
        };
        let kept = link.session.partial.len();
        self.buffer[..kept].copy_from_slice(&link.session.partial);
        let count = match socket.fill(&mut self.buffer[kept..kept + bytes_max]) {
            Ok(0) => return Err(End::lost("ended by the server without a close code")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(End::lost(format!("read: {error}"))),
        };
        let now_ns = now_ns();
        self.bytes += count as u64;
        let was_joined = link.session.phase == Phase::Joined;
        let all = &self.buffer[..kept + count];
        let taken = link.session.take(conn, all, now_ns, &self.plan.scenario, &mut self.shared)?;
        let rest = &all[taken..];
        if !(rest.is_empty() && kept == 0) {
            link.session.partial = rest.to_vec();
        }
        link.flush()?;
        if !was_joined && link.session.phase == Phase::Joined {
            let (took_ns, is_recovered) = (now_ns - link.session.began_ns, link.session.is_recovered);
            let is_first = !std::mem::replace(&mut link.is_settled, true);
            self.stage.joined(is_first, is_recovered, took_ns, now_ns);
        }
        Ok(count == bytes_max)
    }

    fn slow_tick(&mut self) {
        let rate = self.plan.scenario.slow.as_ref().map_or(0, |slow| u64::from(slow.bytes_per_s));
        for conn in 0..self.plan.count {
            let link = &mut self.links[conn as usize];
            if link.session.phase != Phase::Joined || !self.shared.verifier.is_slow(conn) {
                continue;
            }
            // What was not used is kept for a second.
            link.allowance = (link.allowance + rate * SLOW_TICK_NS / SECOND_NS).min(rate.max(1));
            let bytes_max = (link.allowance as usize).min(READ_BYTES);
            if bytes_max == 0 {
                continue;
            }
            let before = self.bytes;
            let read = self.read(conn, bytes_max);
            self.links[conn as usize].allowance -= self.bytes - before;
            if let Err(end) = read {
                self.end(conn, &end);
            }
        }
    }

    /// The connection has ended without being asked to; it comes back if it had been joined and may.
    fn end(&mut self, conn: u32, end: &End) {
        let link = &mut self.links[conn as usize];
        let (was, after_ms) = (link.session.phase, link.session.after_ms);
        link.socket = None;
        link.session = Session::default();
        self.shared.verifier.left(conn);
        if !link.is_settled {
            link.is_settled = true;
            link.session.phase = Phase::Dead;
            self.stage.failed(&end.why);
            return;
        }
        if was == Phase::Joined {
            self.shared.verifier.closed(conn);
        }
        self.stage.lost(was == Phase::Joined, &end.why);
        if end.is_final {
            link.session.phase = Phase::Dead;
        } else {
            let backoff_ns = (BACKOFF_NS + self.shared.random() % BACKOFF_NS).max(after_ms * 1_000_000);
            self.at(now_ns() + backoff_ns, Timer::Connect(conn));
        }
    }

    /// Resets a share of the connections, and brings them back at that rate.
    pub(super) fn storm(&mut self, share: f64, rate: u32) {
        let (now_ns, permille) = (now_ns(), (share * 1000.0).ceil() as u32);
        let mut nth = 0;
        for conn in 0..self.plan.count {
            let link = &mut self.links[conn as usize];
            let is_chosen = crate::layout::is_chosen(self.plan.first + conn, permille) && link.is_settled;
            let Some(socket) = is_chosen.then(|| link.socket.take()).flatten() else {
                continue;
            };
            self.stage.storm(link.session.phase == Phase::Joined);
            socket::reset(socket.into_socket());
            link.session = Session::default();
            self.shared.verifier.left(conn);
            self.at(now_ns + nth * SECOND_NS / u64::from(rate.max(1)), Timer::Connect(conn));
            nth += 1;
        }
    }

    /// Begins to connect all, at the plan's rate.
    pub(super) fn connect_all(&mut self) {
        let now_ns = now_ns();
        self.stage.began(now_ns);
        for conn in 0..self.plan.count {
            let at_ns = now_ns + u64::from(conn) * SECOND_NS / u64::from(self.plan.connect_rate.max(1));
            self.at(at_ns, Timer::Connect(conn));
        }
        self.at(now_ns, Timer::Progress);
        if self.plan.scenario.slow.is_some() {
            self.at(now_ns + SLOW_TICK_NS, Timer::Slow);
        }
    }
}

impl Link {
    /// Sends what is to be sent, as far as the socket takes it; the rest goes when it is writable again.
    fn flush(&mut self) -> Result<(), End> {
        let (Some(socket), true) = (&mut self.socket, self.session.phase != Phase::Connecting) else {
            return Ok(());
        };
        let broken = |error: io::Error| End::lost(format!("write: {error}"));
        socket.flush().map_err(broken)?;
        while !self.session.out.is_empty() {
            match socket.write(&self.session.out) {
                Ok(0) => return Err(End::lost("write: nothing was taken")),
                Ok(count) => drop(self.session.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
        self.session.out = Vec::new();
        Ok(())
    }
}
