//! The same order for one who reads server-sent events: each frame goes out as a message of [`sse`], before it the position that
//! the reader has with it, where that is another than before.
//!
//! The JSON is the frame's own, made once for all; what stands around it is this connection's, for no two need to have come as far.

use std::io::Write;
use std::sync::Arc;

use crate::base::lane::{Lane, PerLane};
use crate::base::limits::LOWER_LANE_WRITE_BYTES;
use crate::wire::cursor::Position;
use crate::wire::frame::{Frame, Kind, Tag};
use crate::wire::sse;

use super::{Entry, Outbox, Started, Written};

/// A message's bytes in the making are kept up to this size, for the next one.
const SCRATCH_BYTES_KEPT: usize = 256;

/// What is known of the reader.
#[derive(Debug)]
pub(super) struct Events {
    epoch: Arc<str>,
    head: Head,
    /// A message in the making.
    scratch: Vec<u8>,
}

/// What the next message begins with.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The last number of each lane that went out.
    seq: PerLane<u64>,
    /// The reader was not told yet.
    is_new: bool,
    retry_ms: Option<u64>,
}

impl Head {
    fn pass(&mut self, tag: &Tag) {
        if let Kind::Stream { seq: last } | Kind::Gap { to: last } = tag.kind {
            let seq = &mut self.seq[tag.lane.index()];
            self.is_new |= last > *seq;
            *seq = last.max(*seq);
        }
    }

    /// Appends the frame as a message.
    fn encode(&mut self, epoch: &str, frame: &Frame, out: &mut Vec<u8>) {
        self.pass(&frame.tag);
        if let Some(retry_ms) = self.retry_ms.take() {
            sse::retry(out, retry_ms);
        }
        if std::mem::take(&mut self.is_new) {
            let position = Position { epoch, seq: self.seq, states: None };
            writeln!(out, "id: {position}").expect("writing to a Vec does not fail");
        }
        sse::data(out, frame.as_text());
    }
}

impl Outbox {
    /// From now on, what is queued goes out as server-sent events, to a reader who has everything up to `seq`; `retry_ms`: when it is to come
    /// back if the connection ends.
    pub fn begin_events(&mut self, epoch: Arc<str>, seq: PerLane<u64>, retry_ms: u64) {
        let head = Head { seq, is_new: true, retry_ms: Some(retry_ms) };
        self.events = Some(Box::new(Events { epoch, head, scratch: Vec::new() }));
    }

    /// Has the next message say when the reader is to come back.
    pub fn set_retry(&mut self, retry_ms: u64) {
        if let Some(events) = &mut self.events {
            events.head.retry_ms = Some(retry_ms);
        }
    }

    /// Drops all lanes, and takes nothing more behind the replies. Returns how many frames were dropped.
    pub fn end_events(&mut self) -> usize {
        self.closed = true;
        self.drop_lanes()
    }

    /// [`Outbox::fill`].
    pub(super) fn fill_events(&self, events: &Events, lowest: Lane, out: &mut Vec<u8>, budget: usize) {
        let start = out.len();
        for rest in [self.raw.as_ref().map(|raw| &raw.bytes[raw.written..]), self.started.as_ref().map(|started| started.rest())] {
            let rest = rest.unwrap_or_default();
            let fits = rest.len().min(budget - (out.len() - start));
            out.extend_from_slice(&rest[..fits]);
            if fits < rest.len() {
                return;
            }
        }
        let (mut head, mut lower) = (events.head, out.len() - start);
        let lanes = Lane::ALL.into_iter().take_while(|lane| lane.index() <= lowest.index());
        let queued = lanes.flat_map(|lane| self.lanes[lane.index()].iter().map(move |entry| (lane, entry)));
        for (lane, entry) in self.replies.iter().map(|entry| (Lane::Alert, entry)).chain(queued) {
            let before = out.len();
            head.encode(&events.epoch, &entry.frame, out);
            lower += if lane == Lane::Alert { 0 } else { out.len() - before };
            let is_too_much = out.len() - start > budget || lower > LOWER_LANE_WRITE_BYTES && lane != Lane::Alert;
            if is_too_much && before > start {
                return out.truncate(before);
            }
        }
    }

    /// [`Outbox::wrote`].
    pub(super) fn wrote_events(&mut self, events: &mut Events, n: usize, finished: &mut impl FnMut(Written<'_>)) {
        let waited = self.raw.as_ref().map_or(0, |raw| raw.bytes.len() - raw.written);
        let mut left = self.wrote_raw(n);
        self.bytes -= waited.min(n);
        if let Some(started) = &mut self.started {
            let taken = left.min(started.rest().len());
            (started.written, left) = (started.written + taken, left - taken);
            self.bytes -= taken;
            if started.rest().is_empty() {
                finished(written(&started.entry, started.encoded.len()));
                self.started = None;
            }
        }
        while left > 0 {
            let Some(entry) = self.replies.pop_front().or_else(|| self.lanes.iter_mut().find_map(super::Queue::pop)) else { break };
            self.bytes -= entry.frame.as_websocket().len();
            events.scratch.clear();
            events.head.encode(&events.epoch, &entry.frame, &mut events.scratch);
            let len = events.scratch.len();
            if left < len {
                self.bytes += len - left;
                let encoded = events.scratch.as_slice().into();
                self.started = Some(Box::new(Started { entry, is_delta: false, written: left, encoded }));
                break;
            }
            finished(written(&entry, len));
            left -= len;
        }
        if events.scratch.capacity() > SCRATCH_BYTES_KEPT {
            events.scratch = Vec::new();
        }
    }
}

impl Started {
    /// What is not written of a message.
    fn rest(&self) -> &[u8] {
        &self.encoded[self.written..]
    }
}

fn written(entry: &Entry, bytes: usize) -> Written<'_> {
    Written { form: &entry.frame, bytes, queued: entry.queued, live: entry.live, delta_saved: None }
}
