//! What a reactor counts. One thread writes, the scrape reads; every table is indexed by a table of names in the code.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::base::codes::{CLOSES, CloseCode, ERRORS, ErrorCode};
use crate::base::counters::{Counter, DurationHistogram};
use crate::base::lane::{Lane, PerLane};
use crate::base::time::Mono;
use crate::net::outbox::Written;
use crate::net::tls;
use crate::wire::command::VERBS;
use crate::wire::frame::{Frame, Kind, Tag};

use super::memory::DEMANDS;
use super::runs::Span;

/// How a request to speak WebSocket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The connection speaks WebSocket.
    Upgraded,
    /// The request has a flaw.
    BadRequest,
    /// Its origin is not allowed.
    BadOrigin,
    /// Its token is not valid.
    BadToken,
    /// The server, the user or the address has as many connections as allowed.
    OverCapacity,
    /// The daemon is stopping.
    ShuttingDown,
    /// Its address makes too many of them.
    RateLimited,
}

/// The names of [`Handshake`], in its order.
pub const HANDSHAKES: [&str; 7] = ["upgraded", "bad_request", "bad_origin", "bad_token", "over_capacity", "shutting_down", "rate_limited"];

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsResult {
    /// With a signature.
    Full,
    /// With a ticket of a former session.
    Resumed,
    /// With an alert: no version or suite in common, or no TLS at all.
    Refused,
    /// Not in time.
    Timeout,
    /// The peer went before.
    Gone,
}

/// The names of [`TlsResult`], in its order.
pub const TLS_RESULTS: [&str; 5] = ["full", "resumed", "refused", "timeout", "gone"];

/// A part of the time that a delivery takes. The parts follow each other without a gap, so that they add up to the whole, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From the read that completed the event to the hub's taking it.
    IngestQueue,
    /// From there to the hub's letting it go: the lane's window, or its flush.
    Hold,
    /// From there to its turn at the reactor: the link, also while that was full, and the run of its room.
    ReactorQueue,
    /// From there to its bytes being handed to the socket: the members before, the member's own queue, compression, TLS, the system call.
    Write,
}

/// The names of [`Part`], in its order.
pub const PARTS: [&str; 4] = ["ingest_queue", "hold", "reactor_queue", "write"];

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnKind {
    /// HTTP, and what is not upgraded yet.
    Http,
    /// WebSocket.
    WebSocket,
    /// NDJSON on the publish socket.
    Lines,
    /// Server-sent events.
    Events,
}

/// The names of [`ConnKind`], in its order.
pub const CONN_KINDS: [&str; 4] = ["http", "websocket", "lines", "events"];

/// For what a connection was closed when memory was short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// It did not read what waited for it.
    Unread,
    /// It did not complete what it had begun to send.
    Unfinished,
}

/// The names of [`Shed`], in its order.
pub const SHEDS: [&str; 2] = ["unread", "unfinished"];

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// We closed with that code; [`CLOSE_NORMAL`](crate::base::codes::CLOSE_NORMAL) if the peer closed and we answered.
    Code(CloseCode),
    /// The peer went without a Close.
    Eof,
    /// A read or a write failed.
    Io,
    /// Its last answer is given.
    Done,
    /// A request did not come in time.
    Timeout,
    /// The peer broke the rules of TLS, or has no version or suite in common with us.
    Tls,
    /// A proxy began without its header, or with a bad one.
    ProxyHeader,
    /// It had brought no token, and made place for a newer one.
    Evicted,
}

/// The names of the reasons that are no close code.
const TRANSPORT_REASONS: [&str; 7] = ["eof", "io_error", "done", "timeout", "tls_error", "proxy_header", "evicted"];

impl Reason {
    /// The label in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Code(code) => code.name,
            Reason::Eof => TRANSPORT_REASONS[0],
            Reason::Io => TRANSPORT_REASONS[1],
            Reason::Done => TRANSPORT_REASONS[2],
            Reason::Timeout => TRANSPORT_REASONS[3],
            Reason::Tls => TRANSPORT_REASONS[4],
            Reason::ProxyHeader => TRANSPORT_REASONS[5],
            Reason::Evicted => TRANSPORT_REASONS[6],
        }
    }

    /// All labels: the close codes' names, then the others.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CLOSES.iter().map(|close| close.name).chain(TRANSPORT_REASONS)
    }
}

/// The figures of one reactor.
#[derive(Debug)]
pub struct ReactorStats {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections dropped at accept, for their peer is in none of the allowed networks.
    pub accept_refused: Counter,
    /// Accepts that failed, mostly for want of descriptors.
    pub accept_errors: Counter,
    /// Gauge: open connections, by [`ConnKind`].
    pub connections: [Counter; CONN_KINDS.len()],
    /// Requests to speak WebSocket, by [`Handshake`].
    pub handshakes: [Counter; HANDSHAKES.len()],
    /// TLS handshakes, by [`TlsResult`].
    pub tls_handshakes: [Counter; TLS_RESULTS.len()],
    /// Bytes of TLS records read from sockets.
    pub tls_bytes_received: Counter,
    /// Bytes of TLS records handed to sockets.
    pub tls_bytes_sent: Counter,
    closes: Vec<Counter>,
    /// Acknowledgments of positions in rooms that the client is no member of.
    pub acks_unknown_room: Counter,
    /// Frames of each lane handed to sockets.
    pub frames_sent: PerLane<Counter>,
    /// Bytes of those.
    pub frame_bytes_sent: PerLane<Counter>,
    /// Replies and heartbeats handed to sockets.
    pub replies_sent: Counter,
    /// All bytes handed to sockets.
    pub bytes_sent: Counter,
    /// All bytes read from sockets.
    pub bytes_received: Counter,
    /// Write system calls that took something.
    pub writes: Counter,
    /// Writes that the kernel had no room for.
    pub writes_blocked: Counter,
    /// States replaced by newer ones while they waited.
    pub conflated: Counter,
    /// Frames dropped because their connection ended.
    pub dropped_by_close: Counter,
    /// Frames that nobody counts on, dropped for readers who are slow.
    pub dropped_as_slow: Counter,
    /// Warnings to readers who are slow.
    pub slow_warned: Counter,
    /// Connections closed for want of memory, by [`Shed`].
    pub closed_for_memory: [Counter; SHEDS.len()],
    /// Refused for want of memory, by [`Demand`](super::memory::Demand).
    pub memory_refused: [Counter; DEMANDS.len()],
    /// Frames purged because their connection left the room.
    pub purged: Counter,
    /// Lines to publish, over all ways.
    pub publish_lines: Counter,
    /// Of these, those refused before they came to the hub.
    pub publish_refused: Counter,
    /// Gauge: of these, those that wait for the hub's answer.
    pub publishes_unanswered: Counter,
    /// Commands of clients, by [`VERBS`].
    pub commands: [Counter; VERBS.len()],
    /// Messages of clients that are no command.
    pub bad_commands: Counter,
    /// How long pings took to come back.
    pub rtt: DurationHistogram,
    /// How long the connections of clients lasted.
    pub sessions: DurationHistogram,
    refusals: Vec<Counter>,
    /// Connections that agreed on permessage-deflate.
    pub compression_agreed: Counter,
    /// Frames that were compressed here.
    pub deflated_frames: Counter,
    /// Their bytes before.
    pub deflated_plain_bytes: Counter,
    /// Their bytes after.
    pub deflated_bytes: Counter,
    /// The time that compressing took, also where it did not pay.
    pub deflate_ns: Counter,
    /// Bytes that sockets were spared by compression.
    pub compression_saved_bytes: Counter,
    /// Deltas handed to sockets.
    pub delta_frames: Counter,
    /// Bytes that those are shorter than the full states; both without compression.
    pub delta_saved_bytes: Counter,
    /// Gauge: memberships of rooms.
    pub memberships: Counter,
    /// Gauge: bytes that wait for their readers.
    pub queued_bytes: Counter,
    /// Gauge: answers that the hub owes.
    pub outstanding: Counter,
    /// Joins that the hub denied.
    pub joins_denied: Counter,
    /// Entries of the audit trail that found its queue full.
    pub audit_lost: Counter,
    /// From a publish being accepted (the read that completed the event) to its bytes being handed to the socket (over TLS: being sealed, and the
    /// first of them handed to it), for each member; replays are left out, and so is what the kernel and the network add.
    pub delivery: PerLane<DurationHistogram>,
    /// By [`Part`]: where that time went.
    pub delivery_parts: [PerLane<DurationHistogram>; PARTS.len()],
    /// Tokens that were known from a moment ago, and needed no signature check.
    pub tokens_known: Counter,
    /// Signatures of tokens that were checked.
    pub signature_checks: Counter,
    /// Connections that were ended because their user has too many on all nodes.
    pub over_cap: Counter,
    /// Tokens refused, by [`TokenError::label`](crate::auth::TokenError::label). Off the hot path.
    token_errors: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for ReactorStats {
    fn default() -> ReactorStats {
        let counters = |n: usize| std::iter::repeat_with(Counter::default).take(n).collect();
        ReactorStats {
            accepted: Counter::default(),
            accept_refused: Counter::default(),
            accept_errors: Counter::default(),
            connections: Default::default(),
            handshakes: Default::default(),
            tls_handshakes: Default::default(),
            tls_bytes_received: Counter::default(),
            tls_bytes_sent: Counter::default(),
            closes: counters(Reason::names().count()),
            acks_unknown_room: Counter::default(),
            frames_sent: Default::default(),
            frame_bytes_sent: Default::default(),
            replies_sent: Counter::default(),
            bytes_sent: Counter::default(),
            bytes_received: Counter::default(),
            writes: Counter::default(),
            writes_blocked: Counter::default(),
            conflated: Counter::default(),
            dropped_by_close: Counter::default(),
            dropped_as_slow: Counter::default(),
            slow_warned: Counter::default(),
            closed_for_memory: Default::default(),
            memory_refused: Default::default(),
            purged: Counter::default(),
            publish_lines: Counter::default(),
            publish_refused: Counter::default(),
            publishes_unanswered: Counter::default(),
            commands: Default::default(),
            bad_commands: Counter::default(),
            rtt: DurationHistogram::default(),
            sessions: DurationHistogram::default(),
            refusals: counters(ERRORS.len()),
            compression_agreed: Counter::default(),
            deflated_frames: Counter::default(),
            deflated_plain_bytes: Counter::default(),
            deflated_bytes: Counter::default(),
            deflate_ns: Counter::default(),
            compression_saved_bytes: Counter::default(),
            delta_frames: Counter::default(),
            delta_saved_bytes: Counter::default(),
            memberships: Counter::default(),
            queued_bytes: Counter::default(),
            outstanding: Counter::default(),
            joins_denied: Counter::default(),
            audit_lost: Counter::default(),
            delivery: Default::default(),
            delivery_parts: Default::default(),
            tokens_known: Counter::default(),
            signature_checks: Counter::default(),
            over_cap: Counter::default(),
            token_errors: Mutex::default(),
        }
    }
}

impl ReactorStats {
    /// Counts the end of a connection.
    pub fn closed(&self, reason: Reason) {
        if let Some(at) = Reason::names().position(|name| name == reason.name()) {
            self.closes[at].inc();
        }
    }

    /// Counts a refusal told to a client or publisher.
    pub fn refused(&self, error: ErrorCode) {
        if let Some(at) = ERRORS.iter().position(|known| *known == error) {
            self.refusals[at].inc();
        }
    }

    /// Counts a token that was refused.
    pub fn token_refused(&self, label: &'static str) {
        *self.token_errors.lock().entry(label).or_default() += 1;
    }

    /// Counts how a handshake ended.
    pub fn handshake(&self, result: Handshake) {
        self.handshakes[result as usize].inc();
    }

    /// Counts a TLS handshake that a read has brought to its end, from how far it had come to how far it has.
    pub(super) fn handshake_step(&self, before: Option<tls::Handshake>, after: Option<tls::Handshake>) {
        if before == Some(tls::Handshake::Running) {
            match after {
                Some(tls::Handshake::Full) => self.tls_handshakes[TlsResult::Full as usize].inc(),
                Some(tls::Handshake::Resumed) => self.tls_handshakes[TlsResult::Resumed as usize].inc(),
                Some(tls::Handshake::Failed) => self.tls_handshakes[TlsResult::Refused as usize].inc(),
                _ => {}
            }
        }
    }

    /// Counts a TLS handshake that did not come to an end before its connection did.
    pub(super) fn handshake_ended(&self, at: Option<tls::Handshake>, reason: Reason) {
        if at == Some(tls::Handshake::Running) {
            let result = if reason == Reason::Timeout { TlsResult::Timeout } else { TlsResult::Gone };
            self.tls_handshakes[result as usize].inc();
        }
    }

    /// Counts what an outbox has written.
    pub fn written(&self, written: &Written<'_>, now: Mono) {
        if let Some(saved) = written.delta_saved {
            self.delta_frames.inc();
            self.delta_saved_bytes.add(saved as u64);
        }
        self.sent(written.form, written.bytes, written.live.then_some(written.queued), now);
    }

    /// Counts a frame handed to a socket in so many bytes; and how long it took if it is a live event, whose turn came at `begun`.
    pub fn sent(&self, frame: &Frame, bytes: usize, begun: Option<Mono>, written: Mono) {
        let tag = &frame.tag;
        self.saved(frame.as_websocket().len().saturating_sub(bytes) as u64);
        if tag.kind == Kind::Reply {
            return self.replies_sent.inc();
        }
        let lane = tag.lane.index();
        self.frames_sent[lane].inc();
        self.frame_bytes_sent[lane].add(bytes as u64);
        if let Some(begun) = begun.filter(|_| tag.accepted != Mono::NEVER) {
            let begun = begun.max(tag.released); // the turn may have begun before the hub let it go
            let written = written.max(begun); // and the hub may be a moment ahead of the clock
            self.delivery[lane].record(written.since(tag.accepted));
            self.delivery_parts[Part::Write as usize][lane].record(written.since(begun));
            self.before_turn(tag, begun, 1);
        }
    }

    /// Counts the parts before its turn of an event that went to so many members.
    fn before_turn(&self, tag: &Tag, begun: Mono, members: u64) {
        let lane = tag.lane.index();
        self.delivery_parts[Part::IngestQueue as usize][lane].record_n(tag.taken.since(tag.accepted), members);
        self.delivery_parts[Part::Hold as usize][lane].record_n(tag.released.since(tag.taken), members);
        self.delivery_parts[Part::ReactorQueue as usize][lane].record_n(begun.since(tag.released), members);
    }

    /// Counts the frames of one lane that went to one member in one write, in so many bytes, of a batch whose turn came at `begun`. The parts before
    /// that are the same for all members: see [`ReactorStats::batch_ended`].
    pub(super) fn sent_span(&self, span: &Span, bytes: u64, begun: Mono, written: Mono) {
        let (lane, written) = (span.lane.index(), written.max(begun));
        self.saved(span.bytes - bytes);
        self.frames_sent[lane].add(span.frames);
        self.frame_bytes_sent[lane].add(bytes);
        self.delivery[lane].record_times(&span.accepted, written);
        self.delivery_parts[Part::Write as usize][lane].record_n(written.since(begun), span.accepted.len() as u64);
    }

    fn saved(&self, bytes: u64) {
        if bytes > 0 {
            self.compression_saved_bytes.add(bytes);
        }
    }

    /// Counts how long a frame that went to so many members by [`ReactorStats::sent_span`] took until its turn.
    pub(super) fn batch_ended(&self, tag: &Tag, begun: Mono, members: u64) {
        if tag.accepted != Mono::NEVER {
            self.before_turn(tag, begun, members);
        }
    }

    /// Ended connections by reason, from any thread.
    pub fn closes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::names().zip(self.closes.iter().map(Counter::value))
    }

    /// Refusals by error, from any thread.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ERRORS.iter().map(|error| error.name).zip(self.refusals.iter().map(Counter::value))
    }

    /// Refused tokens by label, from any thread.
    pub fn token_errors(&self) -> BTreeMap<&'static str, u64> {
        self.token_errors.lock().clone()
    }

    /// Frames sent in a lane, from any thread.
    pub fn frames_sent_in(&self, lane: Lane) -> u64 {
        self.frames_sent[lane.index()].value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codes;
    use crate::base::ids::RoomId;

    fn count(values: impl Iterator<Item = (&'static str, u64)>, name: &str) -> u64 {
        values.filter(|(label, _)| *label == name).map(|(_, count)| count).sum()
    }

    #[test]
    fn each_reason_and_refusal_has_its_own_counter() {
        let stats = ReactorStats::default();
        stats.closed(Reason::Code(codes::CLOSE_SLOW_CONSUMER));
        stats.closed(Reason::Io);
        stats.refused(codes::QUEUE_FULL);
        assert_eq!((count(stats.closes(), "slow_consumer"), count(stats.closes(), "io_error")), (1, 1));
        assert_eq!(stats.closes().map(|(_, n)| n).sum::<u64>(), 2);
        assert_eq!(count(stats.refusals(), "queue_full"), 1);
        assert_eq!(stats.refusals().map(|(_, n)| n).sum::<u64>(), 1);
    }

    /// A replayed frame, or one that was never accepted from a publisher, says nothing about latency.
    #[test]
    fn only_live_events_are_measured() {
        let stats = ReactorStats::default();
        let kind = Kind::Stream { seq: 1 };
        let (accepted, taken, released) = (Mono(1_000), Mono(1_400), Mono(2_000));
        let tag = Tag { room: RoomId::NONE, lane: Lane::Alert, kind, accepted, taken, released };
        let sent = |tag, begun| stats.sent(&Frame::text(tag, b"text"), 6, begun, Mono(4_000));
        sent(tag, None);
        sent(Tag { accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER, ..tag }, Some(Mono(3_700)));
        sent(Tag { kind: Kind::Reply, ..tag }, Some(Mono(3_700)));
        let sums = || (stats.delivery[0].snapshot().sum_ns, stats.delivery_parts.each_ref().map(|part| part[0].snapshot().sum_ns));
        assert_eq!(sums(), (0, [0; 4]));
        sent(tag, Some(Mono(3_700)));
        assert_eq!(sums(), (3_000, [400, 600, 1_700, 300]));
        sent(tag, Some(Mono(500)));
        assert_eq!(sums(), (6_000, [800, 1_200, 1_700, 2_300]), "a turn that had begun before the hub let the event go begins with that");
        assert_eq!((stats.frames_sent_in(Lane::Alert), stats.replies_sent.value()), (4, 1));
    }
}
