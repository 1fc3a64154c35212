//! A connection's outbox: what waits to be written, in order of priority. Pure: it never sees a socket.
//!
//! Order: raw bytes (HTTP answers, NDJSON answers, the rest of a control frame), the frame that is already started, pongs and
//! ping, replies, alerts, updates, metrics; and after a close nothing but the replies and the Close frame. A frame that is
//! partly written is taken out of its queue, so by construction it can be neither overtaken, conflated nor purged.
//!
//! [`Outbox::fill`] copies, [`Outbox::wrote`] removes. Both walk the same order, so nothing may be pushed between the two.
//!
//! A connection that agreed on compression gets its frames compressed; what waits is counted as it is without, for how short a frame
//! becomes shows only when it is its turn. The same holds for deltas: whether a state goes out in full or as a delta is decided when it is
//! written, by what was written before, so whatever is conflated, purged or dropped meanwhile, the client has the delta's base.

mod queue;
mod revs;
mod sse;

use std::sync::Arc;

use crate::base::ids::RoomId;
use crate::base::lane::{Lane, PerLane};
use crate::base::limits::{LOWER_LANE_WRITE_BYTES, PONG_BYTES_MAX};
use crate::base::thin_deque::ThinDeque;
use crate::base::time::Mono;
use crate::wire::frame::{Frame, Kind, Tag};

use queue::Queue;
use revs::Revs;
use sse::Events;

/// Empty queues give their memory back beyond this many slots.
const IDLE_SLOTS: usize = 16;

/// What an outbox may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that may wait, over all queues.
    pub bytes_max: usize,
}

/// What became of a pushed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    /// It waits at the end of its queue.
    Queued,
    /// It took the place of an older state of its key (or is itself the older one, and is gone).
    Conflated,
    /// It would exceed the limit, and is not queued: the reader is too slow.
    TooMuch,
    /// Nothing may follow the Close frame; it is not queued.
    Closed,
}

/// One frame that waits.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The frame.
    pub frame: Arc<Frame>,
    /// When its place in the queue was taken.
    pub queued: Mono,
    /// Whether it was delivered as it happened: a replayed frame says nothing about latency.
    pub live: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    raw: Option<Box<Raw>>,
    started: Option<Box<Started>>,
    control: Option<Box<Control>>,
    replies: ThinDeque<Entry>,
    lanes: PerLane<Queue>,
    /// Bytes that are not written yet, everything included.
    bytes: usize,
    /// A Close frame is queued or sent.
    closed: bool,
    /// A frame found no room.
    overflowed: bool,
    /// The window of the peer's inflater, in bits; 0 if it has none.
    window_bits: u8,
    /// There while it wants deltas of any room.
    revs: Option<Box<Revs>>,
    /// There if the peer reads server-sent events.
    events: Option<Box<Events>>,
}

/// A frame that is written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// In the form in which it went out.
    pub form: &'a Frame,
    /// Its bytes on the wire.
    pub bytes: usize,
    /// When its place in the queue was taken.
    pub queued: Mono,
    /// Whether it was delivered as it happened.
    pub live: bool,
    /// Bytes that it is shorter than the full state, if it is a delta; both without compression.
    pub delta_saved: Option<usize>,
}

/// Bytes that go before all else.
#[derive(Debug)]
struct Raw {
    bytes: Vec<u8>,
    written: usize,
    since: Mono,
}

/// A frame of which the first bytes are written.
#[derive(Debug)]
struct Started {
    entry: Entry,
    is_delta: bool,
    written: usize,
    /// Its bytes, if they are a server-sent event's.
    encoded: Box<[u8]>,
}

impl Started {
    fn form(&self) -> &Frame {
        form_of(&self.entry.frame, self.is_delta)
    }
}

/// Encoded control frames.
#[derive(Debug, Default)]
struct Control {
    pongs: Vec<u8>,
    ping: Vec<u8>,
    close: Vec<u8>,
}

impl Outbox {
    /// The peer agreed on compression, with a window of so many bits.
    pub fn set_window_bits(&mut self, bits: u8) {
        self.window_bits = bits;
    }

    /// The window of the peer's inflater, in bits; 0 if it has none.
    pub fn window_bits(&self) -> u8 {
        self.window_bits
    }

    /// From now on, states of that room go out as deltas where the peer has their base, or as they are.
    pub fn set_deltas(&mut self, room: RoomId, is_wanted: bool) {
        if is_wanted {
            self.revs.get_or_insert_default().begin(room);
        } else {
            self.end_deltas(room);
        }
    }

    /// No more deltas of that room; whether they were wanted.
    pub fn end_deltas(&mut self, room: RoomId) -> bool {
        let is_ended = self.revs.as_mut().is_some_and(|revs| revs.end(room));
        if self.revs.as_ref().is_some_and(|revs| revs.is_empty()) {
            self.revs = None;
        }
        is_ended
    }

    /// Whether it wants deltas of that room.
    #[inline]
    pub fn has_deltas(&self, room: RoomId) -> bool {
        self.revs.as_ref().is_some_and(|revs| revs.has(room))
    }

    /// The next frame of each state of that room goes out in full.
    pub fn renew_deltas(&mut self, room: RoomId) {
        if let Some(revs) = &mut self.revs {
            revs.forget(room);
        }
    }

    /// Queues a frame; `live` if it comes by a delivery, not by a replay.
    pub fn push(&mut self, entry: Entry, limits: Limits) -> PushOutcome {
        if self.closed {
            return PushOutcome::Closed;
        }
        let len = entry.frame.as_websocket().len();
        if self.bytes + len > limits.bytes_max {
            return self.push_full(&entry);
        }
        if entry.frame.tag.kind == Kind::Reply {
            self.replies.push_back(entry);
            self.bytes += len;
            return PushOutcome::Queued;
        }
        let (outcome, before) = self.lanes[entry.frame.tag.lane.index()].push(entry);
        self.bytes = self.bytes + len - before;
        outcome
    }

    /// A state that is no longer than the one it replaces fits even into a full outbox.
    fn push_full(&mut self, entry: &Entry) -> PushOutcome {
        if let Some(saved) = self.lanes[entry.frame.tag.lane.index()].replace_if_shorter(entry) {
            self.bytes -= saved;
            return PushOutcome::Conflated;
        }
        self.overflowed = true;
        PushOutcome::TooMuch
    }

    /// Appends raw bytes, which go before all else. Connections that speak no WebSocket use nothing but these.
    pub fn push_raw(&mut self, now: Mono, write: impl FnOnce(&mut Vec<u8>)) {
        let raw = self.raw.get_or_insert_with(|| Box::new(Raw { bytes: Vec::new(), written: 0, since: now }));
        let before = raw.bytes.len();
        write(&mut raw.bytes);
        self.bytes += raw.bytes.len() - before;
    }

    /// Queues a pong (an encoded frame). Where too many wait, it takes the place of all: an answer to the latest ping suffices
    /// (RFC 6455 section 5.5.3).
    pub fn push_pong(&mut self, frame: &[u8]) {
        if !self.closed {
            let pongs = &mut self.control.get_or_insert_default().pongs;
            if pongs.len() + frame.len() > PONG_BYTES_MAX {
                self.bytes -= pongs.len();
                pongs.clear();
            }
            pongs.extend_from_slice(frame);
            self.bytes += frame.len();
        }
    }

    /// Sets the pending ping (an encoded frame); it replaces one that was not sent.
    pub fn set_ping(&mut self, frame: &[u8]) {
        if !self.closed {
            let control = self.control.get_or_insert_default();
            self.bytes = self.bytes + frame.len() - control.ping.len();
            control.ping = frame.to_vec();
        }
    }

    /// Queues the Close frame behind the replies, drops all lanes, and takes nothing more. Returns how many frames were dropped.
    pub fn close(&mut self, frame: &[u8]) -> usize {
        if self.closed {
            return 0;
        }
        let dropped = self.drop_lanes();
        self.control.get_or_insert_default().close = frame.to_vec();
        self.bytes += frame.len();
        self.closed = true;
        dropped
    }

    /// Drops all that is queued but what is started, so that a last word can be said at the next frame boundary. Returns how
    /// many frames.
    pub fn drop_queued(&mut self) -> usize {
        self.bytes -= self.replies.iter().map(|entry| entry.frame.as_websocket().len()).sum::<usize>();
        let replies = std::mem::take(&mut self.replies).len();
        if let Some(control) = self.control.take() {
            self.bytes -= control.pongs.len() + control.ping.len() + control.close.len();
        }
        replies + self.drop_lanes()
    }

    /// Drops what is queued in the lanes, but not a frame that is started. Returns how many frames.
    pub fn drop_lanes(&mut self) -> usize {
        let mut dropped = 0;
        for lane in &mut self.lanes {
            dropped += lane.len();
            self.bytes -= lane.clear();
        }
        dropped
    }

    /// Removes the queued frames of a room, but not one that is started. Returns how many.
    pub fn purge(&mut self, room: RoomId) -> usize {
        let mut purged = 0;
        for lane in &mut self.lanes {
            let (frames, bytes) = lane.remove(|tag| tag.room == room);
            purged += frames;
            self.bytes -= bytes;
        }
        purged
    }

    /// Drops the frames that nobody counts on: `transient` ones of the `metric` lane. Returns how many.
    pub fn shed(&mut self) -> usize {
        let (frames, bytes) = self.lanes[Lane::Metric.index()].remove(is_sheddable);
        self.bytes -= bytes;
        frames
    }

    /// Copies whole frames in order of priority, about `budget` bytes: at least one piece if any waits, and at most
    /// [`LOWER_LANE_WRITE_BYTES`] of updates and metrics beyond a first one, and nothing of lanes below `lowest` that was not begun. `deflate` compresses a frame where that is to be done
    /// first, or says false to leave it for the next time.
    pub fn fill(&self, lowest: Lane, out: &mut Vec<u8>, budget: usize, deflate: impl FnMut(&Frame) -> bool) {
        if let Some(events) = &self.events {
            return self.fill_events(events, lowest, out, budget);
        }
        let revs = self.revs.as_deref();
        let mut filler = Filler { start: out.len(), out, budget, lower: 0, window_bits: self.window_bits, revs, deflate };
        let rests_fit = self.raw.as_ref().is_none_or(|raw| filler.rest(&raw.bytes[raw.written..]))
            && self.started.as_ref().is_none_or(|started| filler.started(started));
        if !rests_fit {
            return;
        }
        let control = self.control.as_deref();
        let close = control.map_or(&[][..], |control| &control.close);
        let go_on = control.is_none_or(|control| filler.piece(&control.pongs) && filler.piece(&control.ping))
            && (self.replies.is_empty() || self.replies.iter().all(|entry| filler.reply(&entry.frame)))
            && filler.piece(close);
        if go_on {
            self.fill_lanes(lowest, &mut filler);
        }
    }

    fn fill_lanes(&self, lowest: Lane, filler: &mut Filler<'_, impl FnMut(&Frame) -> bool>) {
        for lane in Lane::ALL {
            let queue = &self.lanes[lane.index()];
            if queue.len() == 0 {
                continue;
            }
            if lane.index() > lowest.index() || !queue.iter().all(|entry| filler.lane_frame(lane, &entry.frame)) {
                return;
            }
        }
    }

    /// Removes the first `n` bytes of what [`Outbox::fill`] copied, and reports each frame that is finished by them.
    pub fn wrote(&mut self, n: usize, mut finished: impl FnMut(Written<'_>)) {
        if let Some(mut events) = self.events.take() {
            self.wrote_events(&mut events, n, &mut finished);
            self.events = Some(events);
            return self.shrink();
        }
        debug_assert!(n <= self.bytes, "more was written than waited");
        self.bytes -= n;
        let mut left = self.wrote_raw(n);
        left = self.wrote_started(left, &mut finished);
        left = self.wrote_control(left, |control| [&mut control.pongs, &mut control.ping]);
        while left > 0 && !self.replies.is_empty() {
            let Some(entry) = self.replies.pop_front() else { break };
            left = self.wrote_entry(entry, left, &mut finished);
        }
        left = self.wrote_control(left, |control| [&mut control.close]);
        while left > 0 {
            let Some(entry) = self.lanes.iter_mut().find_map(Queue::pop) else { break };
            left = self.wrote_entry(entry, left, &mut finished);
        }
        self.shrink();
    }

    /// Takes on frames, in their full form, of which the first `written` bytes went out while nothing waited, and reports those that are finished, with
    /// their bytes on the wire.
    /// Returns how many were conflated.
    pub fn take_over(
        &mut self,
        frames: &[Arc<Frame>],
        mut written: usize,
        queued: Mono,
        limits: Limits,
        mut finished: impl FnMut(&Frame, usize),
    ) -> u64 {
        debug_assert!(self.is_empty(), "what waits goes first");
        debug_assert!(frames.iter().all(|frame| !matches!(frame.tag.kind, Kind::State { .. }) || !self.has_deltas(frame.tag.room)));
        let mut conflated = 0;
        for frame in frames {
            let entry = Entry { frame: Arc::clone(frame), queued, live: true };
            let len = if written > 0 { self.written_frame(frame).len() } else { usize::MAX };
            if written >= len {
                finished(frame, len);
                written -= len;
            } else if written > 0 {
                self.bytes += len - written;
                self.started = Some(Box::new(Started { entry, is_delta: false, written, encoded: Box::default() }));
                written = 0;
            } else if self.push(entry, limits) == PushOutcome::Conflated {
                conflated += 1;
            }
        }
        conflated
    }

    /// A frame as it was written: nothing is written of one that is yet to be compressed.
    #[inline]
    fn written_frame<'a>(&self, frame: &'a Frame) -> &'a [u8] {
        frame.for_window(self.window_bits).expect("a frame is compressed before it is written")
    }

    fn wrote_raw(&mut self, n: usize) -> usize {
        let Some(raw) = &mut self.raw else { return n };
        let taken = n.min(raw.bytes.len() - raw.written);
        raw.written += taken;
        if raw.written == raw.bytes.len() {
            self.raw = None;
        }
        n - taken
    }

    fn wrote_started(&mut self, n: usize, finished: &mut impl FnMut(Written<'_>)) -> usize {
        let Some(len) = self.started.as_ref().map(|started| self.written_frame(started.form()).len()) else { return n };
        let Some(started) = &mut self.started else { return n };
        let taken = n.min(len - started.written);
        started.written += taken;
        if started.written == len {
            finished(written(&started.entry, started.is_delta, len));
            self.started = None;
        }
        n - taken
    }

    fn wrote_entry(&mut self, entry: Entry, n: usize, finished: &mut impl FnMut(Written<'_>)) -> usize {
        let mut is_delta = false;
        if let Some(revs) = &mut self.revs {
            is_delta = revs.delta(&entry.frame).is_some();
            revs.sent(&entry.frame.tag);
        }
        let len = self.written_frame(form_of(&entry.frame, is_delta)).len();
        self.bytes -= entry.frame.as_websocket().len() - len;
        if n < len {
            self.started = Some(Box::new(Started { entry, is_delta, written: n, encoded: Box::default() }));
            return 0;
        }
        finished(written(&entry, is_delta, len));
        n - len
    }

    /// What is left of a control frame that is partly written goes before all else, like raw bytes.
    fn wrote_control<const N: usize>(&mut self, n: usize, which: impl FnOnce(&mut Control) -> [&mut Vec<u8>; N]) -> usize {
        let Some(control) = &mut self.control else { return n };
        let mut left = n;
        for frame in which(control) {
            if left == 0 {
                break;
            }
            let bytes = std::mem::take(frame);
            let written = left.min(bytes.len());
            left -= written;
            if written < bytes.len() {
                self.raw = Some(Box::new(Raw { bytes, written, since: Mono::NEVER }));
            }
        }
        left
    }

    fn shrink(&mut self) {
        if self.control.as_ref().is_some_and(|control| control.pongs.is_empty() && control.ping.is_empty() && control.close.is_empty()) {
            self.control = None;
        }
        for lane in &mut self.lanes {
            lane.shrink(IDLE_SLOTS);
        }
    }

    /// Bytes that are not written yet.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the frames that wait in a lane; not cheap.
    pub fn lane_bytes(&self, lane: Lane) -> usize {
        self.lanes[lane.index()].iter().map(|entry| entry.frame.as_websocket().len()).sum()
    }

    /// Frames of a room that wait in the lanes, and their bytes; not cheap.
    pub fn waiting(&self, room: RoomId) -> (usize, usize) {
        let of_room = self.lanes.iter().flat_map(Queue::iter).filter(|entry| entry.frame.tag.room == room);
        of_room.fold((0, 0), |(frames, bytes), entry| (frames + 1, bytes + entry.frame.as_websocket().len()))
    }

    /// What it takes itself, frames excepted, which it shares.
    pub fn own_bytes(&self) -> usize {
        let lanes: usize = self.lanes.iter().map(Queue::own_bytes).sum();
        let revs = self.revs.as_ref().map_or(0, |revs| revs.own_bytes());
        lanes + revs + self.replies.len() * size_of::<Entry>() + self.raw.as_ref().map_or(0, |raw| raw.bytes.capacity())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether something waits that goes before updates and metrics, but for the rest of one of those.
    pub fn is_urgent(&self) -> bool {
        self.raw.is_some() || self.control.is_some() || !self.replies.is_empty() || self.lanes[Lane::Alert.index()].len() > 0
    }

    /// The replies that wait.
    pub fn replies(&self) -> impl Iterator<Item = &Frame> {
        self.replies.iter().map(|entry| &*entry.frame)
    }

    /// Whether a frame is partly written.
    pub fn is_started(&self) -> bool {
        self.started.is_some()
    }

    /// Whether a Close frame is queued or sent.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a frame found no room: the reader is too slow.
    pub fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Frames that wait, replies and a started one included.
    pub fn frames(&self) -> usize {
        usize::from(self.started.is_some()) + self.replies.len() + self.lanes.iter().map(Queue::len).sum::<usize>()
    }

    /// Since when the oldest thing waits; `None` if nothing does.
    pub fn oldest(&self) -> Option<Mono> {
        let raw = self.raw.as_ref().map(|raw| raw.since);
        let started = self.started.as_ref().map(|started| started.entry.queued);
        let reply = self.replies.iter().next().map(|entry| entry.queued);
        let lanes = self.lanes.iter().filter_map(|lane| lane.iter().next()).map(|entry| entry.queued);
        raw.into_iter().chain(started).chain(reply).chain(lanes).min()
    }
}

/// The form in which a frame goes out.
#[inline]
fn form_of(frame: &Frame, is_delta: bool) -> &Frame {
    if is_delta { frame.delta().unwrap_or(frame) } else { frame }
}

#[inline]
fn written(entry: &Entry, is_delta: bool, bytes: usize) -> Written<'_> {
    let form = form_of(&entry.frame, is_delta);
    let delta_saved = is_delta.then(|| entry.frame.as_websocket().len() - form.as_websocket().len());
    Written { form, bytes, queued: entry.queued, live: entry.live, delta_saved }
}

/// Whether a slow reader may be spared this frame without a word about it alone.
pub fn is_sheddable(tag: &Tag) -> bool {
    tag.lane == Lane::Metric && tag.kind == Kind::Transient
}

/// The state of one fill.
struct Filler<'a, D> {
    start: usize,
    out: &'a mut Vec<u8>,
    budget: usize,
    /// Lower-lane bytes copied so far.
    lower: usize,
    window_bits: u8,
    revs: Option<&'a Revs>,
    deflate: D,
}

impl<D: FnMut(&Frame) -> bool> Filler<'_, D> {
    /// Copies a piece if it fits or is the first; whether to go on.
    fn piece(&mut self, bytes: &[u8]) -> bool {
        let copied = self.out.len() - self.start;
        if copied > 0 && copied + bytes.len() > self.budget {
            return false;
        }
        self.out.extend_from_slice(bytes);
        true
    }

    /// Copies as much as fits of what need not be whole; whether that was all.
    fn rest(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len().min(self.budget - (self.out.len() - self.start));
        self.out.extend_from_slice(&bytes[..fits]);
        fits == bytes.len()
    }

    /// A frame as it goes out; `None` if it is to be compressed first, and not now.
    #[inline]
    fn encoded<'f>(&mut self, frame: &'f Frame) -> Option<&'f [u8]> {
        let ready = frame.for_window(self.window_bits);
        if ready.is_none() && (self.deflate)(frame) { frame.for_window(self.window_bits) } else { ready }
    }

    fn started(&mut self, started: &Started) -> bool {
        let Some(bytes) = self.encoded(started.form()) else { return false };
        let rest = &bytes[started.written..];
        if started.entry.frame.tag.lane != Lane::Alert {
            self.lower += rest.len();
        }
        self.rest(rest)
    }

    fn reply(&mut self, frame: &Frame) -> bool {
        self.encoded(frame).is_some_and(|bytes| self.piece(bytes))
    }

    fn lane_frame(&mut self, lane: Lane, frame: &Frame) -> bool {
        let form = self.revs.and_then(|revs| revs.delta(frame)).unwrap_or(frame);
        let Some(bytes) = self.encoded(form) else { return false };
        if lane == Lane::Alert {
            return self.piece(bytes);
        }
        let first = self.out.len() == self.start;
        if !first && self.lower + bytes.len() > LOWER_LANE_WRITE_BYTES {
            return false;
        }
        self.lower += bytes.len();
        self.piece(bytes)
    }
}

#[cfg(test)]
mod tests;
