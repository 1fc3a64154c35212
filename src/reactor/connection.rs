//! One connection: its socket, its outbox, what it speaks, and how it ends. All reads and writes of sockets are here and in [`input`].

mod answers;
mod closing;
mod end;
mod holding;
mod input;
mod record;
mod slow;
mod standing;
mod unfinished;
mod window;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::codes::{CLOSE_MESSAGE_TIMEOUT, CLOSE_NORMAL, CLOSE_SHUTDOWN, CLOSE_SLOW_CONSUMER, CloseCode};
use crate::base::ids::ConnId;
use crate::base::lane::Lane;
use crate::base::limits::{SLOW_SHARE, TLS_UNSENT_BYTES_MAX, UNREAD_ANSWER_BYTES_MAX, WRITE_BYTES, WRITE_BYTES_PER_TURN};
use crate::base::time::Mono;
use crate::net::clock::Clock;
use crate::net::outbox::{Entry, Limits, Outbox, PushOutcome, is_sheddable};
use crate::net::stream::{Scratch, Stream};
use crate::wire::frame::Frame;

use super::compressor::Compressor;
use super::core::{Core, Next};
use super::events::Events;
use super::flush::{Dirty, Listed};
use super::http::Http;
use super::lines::Lines;
use super::patience::Patience;
use super::pressure::Share;
use super::runs::{Batch, Urgency};
use super::session::Session;
use super::stats::{ConnKind, ReactorStats, Reason};
use super::websocket::{WebSocket, echo, silence_max};
use window::Window;

/// What all connections of a reactor use in turn to read and write.
pub(super) struct Io {
    pub(super) clock: Clock,
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// There if the daemon compresses.
    pub(super) compressor: Option<Compressor>,
    /// What TLS needs in between.
    pub(super) scratch: Scratch,
    /// When the last write was done, or the flush began.
    pub(super) now: Mono,
}

/// See the module.
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) stream: Stream,
    pub(super) outbox: Outbox,
    protocol: Protocol,
    patience: Patience,
    /// What was read and not consumed.
    rest: Vec<u8>,
    /// Since when it holds the beginning of something, without an end of anything; [`Mono::NEVER`] if it does not.
    begun: Mono,
    ending: Option<Box<Ending>>,
    /// The deadline that is in the wheel.
    pub(super) timer_at: Mono,
    /// What it holds as the reactor's figures have it.
    pub(super) share: Share,
    /// What the kernel held when it took no more.
    kernel_bytes: u32,
    bytes_received: u64,
    bytes_sent: u64,
    /// How far beyond what was read updates and metrics may go.
    window: Window,
    /// When it was accepted, in tenths of a second of the clock: each byte counts here.
    since_tenths: u32,
    /// Nothing on a unix socket.
    client: Option<IpAddr>,
    /// A read may give something: no `WouldBlock` since the last event.
    pub(super) readable: bool,
    /// A write may take something: no `WouldBlock` since the last event.
    pub(super) writable: bool,
    /// The peer has shut down its side, so a short read does not mean that nothing is left to be seen.
    pub(super) read_closed: bool,
    /// All was read.
    eof: bool,
    /// `rest` may hold something complete.
    more: bool,
    /// On which lists of those to be flushed it is.
    pub(super) listed: Listed,
    /// It is on the list of those to be served.
    pub(super) serving: bool,
    /// Our side is shut down.
    shut: bool,
    /// A proxy has yet to say whose connection it is.
    pub(super) awaits_proxy: bool,
}

/// What came of writing a batch as it is.
pub(super) enum Direct {
    /// All of it is written.
    Done,
    /// A part; the rest is in the outbox, or sealed.
    Rest,
    /// Nothing: other things go first, or the kernel has no room.
    NotNow,
    /// The connection is broken.
    Failed(Reason),
}

/// What a connection speaks.
enum Protocol {
    Http(Box<Http>),
    WebSocket(Box<WebSocket>),
    Events(Box<Events>),
    Lines(Box<Lines>),
}

/// The last word is said, and the peer may still say its own.
struct Ending {
    reason: Reason,
    until: Mono,
    /// The peer's last word was heard.
    peer_done: bool,
    /// How many rooms it was a member of, for the log.
    rooms: usize,
}

/// What came of looking at the input.
pub(super) struct Took {
    /// Bytes that are dealt with.
    pub(super) used: usize,
    /// The rest may hold something complete.
    pub(super) more: bool,
    /// A head, a line or a message was complete.
    pub(super) whole: bool,
    pub(super) then: Then,
}

/// What a connection shall do next.
pub(super) enum Then {
    Go,
    /// Close with that code.
    Close(CloseCode),
    /// Answer the peer's Close.
    PeerClosed(Option<u16>),
    /// End once the answer is out.
    Finish,
    /// Speak WebSocket from now on.
    Upgrade(Box<WebSocket>, Next),
    /// Give events from now on.
    Stream(Box<Events>),
}

impl Connection {
    /// A connection that was just accepted.
    pub(super) fn new(id: ConnId, stream: Stream, peer: Option<IpAddr>, now: Mono) -> Connection {
        let protocol = match &stream {
            Stream::Tcp(_) | Stream::Tls(_) => Protocol::Http(Box::new(Http::new(peer, now))),
            Stream::Unix(_) => Protocol::Lines(Box::default()),
        };
        Connection {
            id,
            stream,
            outbox: Outbox::default(),
            protocol,
            patience: Patience::default(),
            rest: Vec::new(),
            begun: Mono::NEVER,
            ending: None,
            timer_at: Mono::NEVER,
            share: Share::default(),
            kernel_bytes: 0,
            bytes_received: 0,
            bytes_sent: 0,
            window: Window::default(),
            since_tenths: (now.0 / 100_000_000) as u32,
            client: peer.map(|ip| ip.to_canonical()),
            readable: false,
            writable: true,
            read_closed: false,
            eof: false,
            more: false,
            listed: Listed::default(),
            serving: false,
            shut: false,
            awaits_proxy: false,
        }
    }

    /// Who is at the other end: the socket's peer, or whom the proxies in front named in the last request. Nobody on a unix socket.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// What it speaks, for the gauges.
    pub(super) fn kind(&self) -> ConnKind {
        match self.protocol {
            Protocol::Http(_) => ConnKind::Http,
            Protocol::WebSocket(_) => ConnKind::WebSocket,
            Protocol::Events(_) => ConnKind::Events,
            Protocol::Lines(_) => ConnKind::Lines,
        }
    }

    fn apply(&mut self, then: Then, core: &mut Core) {
        match then {
            Then::Go => {}
            Then::Close(code) => self.end_for(code, core),
            Then::PeerClosed(code) => self.begin_close(echo(code), Reason::Code(CLOSE_NORMAL), true, core),
            Then::Finish => self.finish(Reason::Done, core),
            Then::Upgrade(websocket, next) => {
                core.count_kind(ConnKind::Http, false);
                core.count_kind(ConnKind::WebSocket, true);
                self.protocol = Protocol::WebSocket(websocket);
                self.apply(next.into(), core);
            }
            Then::Stream(events) => {
                core.count_kind(ConnKind::Http, false);
                core.count_kind(ConnKind::Events, true);
                // Without it the kernel finds out later that nobody is there.
                drop(self.stream.expect_acknowledgments(silence_max(core.options.heartbeat).max(core.options.slow_timeout)));
                self.protocol = Protocol::Events(events);
            }
        }
    }

    /// Whether it does not get frames as they are.
    fn has_own_form(&self) -> bool {
        match &self.protocol {
            Protocol::Events(_) => true,
            Protocol::Http(http) => http.session().is_some(),
            Protocol::WebSocket(_) | Protocol::Lines(_) => false,
        }
    }

    /// The client's session, of one who has one.
    fn session(&self) -> Option<&Session> {
        match &self.protocol {
            Protocol::WebSocket(websocket) => Some(&websocket.session),
            Protocol::Events(events) => Some(&events.session),
            Protocol::Http(http) => http.session(),
            Protocol::Lines(_) => None,
        }
    }

    fn leave_rooms(&self, core: &mut Core) -> usize {
        let rooms = core.rooms.leave_all(self.id.slot);
        for room in &rooms {
            core.stats.dropped_by_close.add(core.runs.waiting_for(self.id.slot, *room) as u64);
            core.uplink.leave(*room, self.id, self.outbox.has_deltas(*room));
        }
        rooms.len()
    }

    /// Whether nothing more may be read for now: answers are owed, or are not read.
    fn is_blocked(&self) -> bool {
        if self.stream.unsent() > TLS_UNSENT_BYTES_MAX {
            return true; // also an ending one: each key update that it asks for would add an answer
        }
        let is_unread = self.outbox.bytes() > UNREAD_ANSWER_BYTES_MAX;
        self.ending.is_none()
            && match &self.protocol {
                Protocol::Http(http) => http.is_blocked() || is_unread,
                Protocol::WebSocket(websocket) => websocket.session.is_blocked(),
                Protocol::Events(_) => false,
                Protocol::Lines(lines) => lines.is_blocked() || is_unread,
            }
    }

    /// Whether it has something to read or to take, and may.
    pub(super) fn wants_serving(&self) -> bool {
        (self.more || (self.readable && !self.eof)) && !self.is_blocked()
    }

    /// Whether a flush has something to do or to find out, and how soon.
    pub(super) fn wants_flush(&self, core: &Core) -> Option<Dirty> {
        let is_urgent = self.outbox.is_urgent() || self.ending.is_some() || self.eof || core.is_draining();
        if is_urgent || matches!(&self.protocol, Protocol::Http(http) if http.is_woken() || (http.is_polling() && self.read_closed)) {
            return Some(Dirty::Urgent);
        }
        self.may_write().then_some(Dirty::Bulk)
    }

    /// How soon what a write has left is to be written, if the kernel takes more. What is urgent stays so until it is out.
    pub(super) fn leftover(&self) -> Option<Dirty> {
        let dirty = if self.outbox.is_urgent() { Dirty::Urgent } else { Dirty::Bulk };
        (self.writable && self.may_write()).then_some(dirty)
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_flushed(&self) -> bool {
        self.outbox.is_empty() && self.stream.unsent() == 0
    }

    /// Bytes that wait to be written, sealed ones included.
    pub(super) fn queued_bytes(&self) -> usize {
        self.outbox.bytes() + self.stream.unsent()
    }

    /// Since when the oldest of them waits.
    fn oldest(&self) -> Option<Mono> {
        self.outbox.oldest().into_iter().chain(self.stream.unsent_since()).min()
    }

    /// Whether it has yet to show who it is: handshakes and signatures of tokens cost much more than what comes later.
    pub(super) fn is_opening(&self) -> bool {
        match &self.protocol {
            Protocol::Http(http) => http.is_idle(),
            Protocol::WebSocket(websocket) => websocket.session.user().is_none(),
            Protocol::Events(_) | Protocol::Lines(_) => false,
        }
    }

    /// Writes what waits, or what is urgent of it, as much as the kernel and one turn allow. A reason ends the connection.
    pub(super) fn flush(&mut self, dirty: Dirty, core: &mut Core, io: &mut Io) -> Option<Reason> {
        if let Protocol::Http(http) = &mut self.protocol
            && http.is_woken()
        {
            let then = http.poll_again(core, &mut self.outbox);
            self.apply(then, core);
        }
        let is_behind = self.outbox.is_overflowed() || self.outbox.bytes() > core.options.queue_bytes_max / SLOW_SHARE;
        let may_be_slow = is_behind || self.patience.is_warned();
        if may_be_slow && let Some(reason) = self.mind_slowness(core) {
            return Some(reason);
        }
        // Nothing of the other lanes goes along while alerts wait with those of their rooms.
        let alerts_wait = dirty == Dirty::Urgent && core.awaits_alerts(self.id.slot);
        let mut left = WRITE_BYTES_PER_TURN;
        while self.writable && left > 0 && if dirty == Dirty::Urgent { self.outbox.is_urgent() } else { self.may_write() } {
            let lowest = if alerts_wait || self.awaits_reader() { Lane::Alert } else { Lane::Metric };
            match self.write(lowest, core, io) {
                Ok(n) => left = left.saturating_sub(n),
                Err(reason) => return Some(reason),
            }
            // What is to be compressed beyond this can wait for the next turn, and others cannot.
            if io.compressor.as_ref().is_some_and(Compressor::is_exhausted) {
                break;
            }
        }
        if self.is_flushed() {
            self.patience.renew();
        }
        self.over(core, io)
    }

    /// One write of the most urgent whole frames, down to that lane.
    fn write(&mut self, lowest: Lane, core: &Core, io: &mut Io) -> Result<usize, Reason> {
        io.output.clear();
        self.outbox.fill(lowest, &mut io.output, WRITE_BYTES, compress(&mut io.compressor));
        match self.stream.write(&io.output, core.now.mono, &mut io.scratch) {
            Ok(0) if io.output.is_empty() => Ok(0),
            Ok(n) if n > 0 => {
                self.note_write(n, core, io);
                self.outbox.wrote(n, |written| core.stats.written(&written, io.now));
                self.mark_window(n, core, io.now);
                Ok(n)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.block(core);
                Ok(0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Ok(_) | Err(_) => Err(self.ending.as_ref().map_or(Reason::Io, |ending| ending.reason)),
        }
    }

    fn note_write(&mut self, n: usize, core: &Core, io: &mut Io) {
        io.now = io.clock.mono();
        core.stats.writes.inc();
        core.stats.bytes_sent.add(n as u64);
        self.bytes_sent += n as u64;
    }

    /// Writes a batch as it is, if nothing else waits.
    pub(super) fn write_batch(&mut self, batch: &mut Batch, core: &Core, io: &mut Io) -> Direct {
        let is_held = batch.urgency() == Urgency::Bulk && self.awaits_reader();
        if !self.writable || !self.is_flushed() || self.ending.is_some() || is_held || self.has_own_form() {
            return Direct::NotNow;
        }
        let window_bits = self.outbox.window_bits();
        let chunk = batch.chunk(window_bits, compress(&mut io.compressor)).filter(|(chunk, _)| !chunk.is_empty());
        let Some((chunk, is_all)) = chunk else { return Direct::NotNow };
        let len = chunk.len();
        match self.stream.write(chunk, core.now.mono, &mut io.scratch) {
            Ok(n) if n == len && is_all => {
                self.note_write(n, core, io);
                let (stats, begun, now) = (&core.stats, batch.begun, io.now);
                batch.count(
                    window_bits,
                    |span, bytes| stats.sent_span(span, bytes, begun, now),
                    |frame, bytes| stats.sent(frame, bytes, Some(begun), now),
                );
                self.mark_window(n, core, now);
                if self.is_flushed() { Direct::Done } else { Direct::Rest }
            }
            Ok(n) if n > 0 => {
                self.note_write(n, core, io);
                let sent = |frame: &Frame, bytes| core.stats.sent(frame, bytes, Some(batch.begun), io.now);
                let conflated = self.outbox.take_over(&batch.frames, n, core.now.mono, core.limits(), sent);
                core.stats.conflated.add(conflated);
                self.mark_window(n, core, io.now);
                self.note_conflated(conflated);
                Direct::Rest
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.block(core);
                Direct::NotNow
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Direct::NotNow,
            Ok(_) | Err(_) => Direct::Failed(Reason::Io),
        }
    }

    /// Queues frames that came as it happened, but for states that it wants later, or not at all.
    pub(super) fn queue(&mut self, frames: &[Arc<Frame>], core: &mut Core) {
        for frame in frames {
            if core.samples.take(self.id.slot, frame, core.now.mono, &core.stats) {
                self.push(frame, core.now.mono, core.limits(), &core.stats);
            }
        }
    }

    /// Queues a frame that came as it happened; one who was warned is spared what nobody counts on.
    pub(super) fn push(&mut self, frame: &Arc<Frame>, queued: Mono, limits: Limits, stats: &ReactorStats) {
        if let Protocol::Http(http) = &mut self.protocol
            && http.session().is_some()
        {
            http.on_frame(frame, stats);
        } else if self.patience.is_warned() && is_sheddable(&frame.tag) {
            stats.dropped_as_slow.inc();
        } else if self.outbox.push(Entry { frame: Arc::clone(frame), queued, live: true }, limits) == PushOutcome::Conflated {
            stats.conflated.inc();
            self.note_conflated(1);
        }
    }

    /// Whether nothing is left to be done, and why it ends.
    fn over(&mut self, core: &Core, io: &mut Io) -> Option<Reason> {
        let is_flushed = self.is_flushed();
        if let Some(ending) = &self.ending {
            let reason = ending.reason;
            let is_over = is_flushed && (ending.peer_done || self.eof);
            // Closing with unread input would be a reset, and the peer would lose our last word: so it is told by a shutdown,
            // and what still comes is read.
            let peer_closes_first = matches!(&self.protocol, Protocol::WebSocket(websocket) if !websocket.is_broken());
            if is_flushed && !is_over && !self.shut && !peer_closes_first {
                self.shut = true;
                // A peer that is gone already shows at the next read.
                drop(self.stream.shutdown_write(&mut io.scratch));
            }
            return is_over.then_some(reason);
        }
        let is_settled = is_flushed && !self.more;
        match &self.protocol {
            Protocol::WebSocket(_) | Protocol::Events(_) => self.eof.then_some(Reason::Eof),
            Protocol::Lines(lines) if is_settled && lines.is_settled() => self.end_of_settled(core),
            // Nobody is there for the answer any more.
            Protocol::Http(http) if http.is_polling() && self.read_closed => Some(Reason::Eof),
            // Its request may be on its way, and is to have an answer.
            Protocol::Http(http) if http.is_new() && !self.eof => None,
            Protocol::Http(http) if is_settled && !http.awaits_answers() && (self.eof || http.is_idle()) => self.end_of_settled(core),
            Protocol::Lines(_) | Protocol::Http(_) => None,
        }
    }

    fn end_of_settled(&self, core: &Core) -> Option<Reason> {
        if self.eof {
            return Some(Reason::Eof);
        }
        core.is_draining().then_some(Reason::Code(CLOSE_SHUTDOWN))
    }

    /// Has the kernel free its buffers when the connection ends, where it would otherwise keep them for a peer that does not read.
    fn reset(&self) {
        drop(self.stream.reset_on_close());
    }

    /// When [`Connection::on_time`] has something to do.
    pub(super) fn deadline(&self, core: &Core) -> Mono {
        if let Some(ending) = &self.ending {
            return ending.until;
        }
        let held_until = core.samples.deadline(self.id.slot);
        self.slow_deadline(core).min(self.message_deadline()).min(held_until).min(match &self.protocol {
            Protocol::Http(http) => http.deadline(),
            Protocol::WebSocket(websocket) => websocket.deadline(core),
            Protocol::Events(events) => events.deadline(core),
            Protocol::Lines(_) => Mono::NEVER,
        })
    }

    /// Does what is due. A reason ends the connection.
    pub(super) fn on_time(&mut self, core: &mut Core) -> Option<Reason> {
        let now = core.now.mono;
        if let Some(ending) = &self.ending {
            if ending.until > now {
                return None;
            }
            if ending.reason == Reason::Code(CLOSE_SLOW_CONSUMER) {
                self.reset();
            }
            return Some(ending.reason);
        }
        if let Some(reason) = self.mind_slowness(core) {
            return Some(reason);
        }
        if self.ending.is_some() {
            return None; // it was slow
        }
        if self.message_deadline() <= now {
            self.end_unfinished(CLOSE_MESSAGE_TIMEOUT, core);
            return None;
        }
        for frame in core.samples.release(self.id.slot, now) {
            core.queue(&mut self.outbox, frame);
        }
        match &mut self.protocol {
            Protocol::Http(http) if http.is_polling() => {
                let then = http.on_poll_time(core, &mut self.outbox);
                self.apply(then, core);
                None
            }
            Protocol::Http(http) if http.is_asking() => {
                let then = http.on_asking_time(core, &mut self.outbox);
                self.apply(then, core);
                None
            }
            Protocol::Http(http) => {
                let reason = if core.is_draining() { Reason::Code(CLOSE_SHUTDOWN) } else { Reason::Timeout };
                (http.deadline() <= now).then_some(reason)
            }
            Protocol::WebSocket(websocket) => {
                let next = websocket.on_time(self.id.slot, self.bytes_sent, core, &mut self.outbox);
                self.apply(next.into(), core);
                None
            }
            Protocol::Events(events) => {
                let next = events.on_time(self.id.slot, core, &mut self.outbox);
                self.apply(next.into(), core);
                None
            }
            Protocol::Lines(_) => None,
        }
    }
}

/// For what one write is to have compressed first.
fn compress(compressor: &mut Option<Compressor>) -> impl FnMut(&Frame) -> bool {
    if let Some(compressor) = compressor {
        compressor.begin_write();
    }
    |frame| compressor.as_mut().is_some_and(|compressor| compressor.compress(frame))
}
