//! The flush: what the turn's work left to be written goes out, the most urgent first, for a slice of time.
//!
//! 1. Connections with alerts or replies in their outbox.
//! 2. Runs of alerts, to all their members.
//! 3. Within the slice: the other connections with something in their outbox, and the other runs; not those members whose alerts wait in a run
//!    that was cut off by its own slice.
//!
//! What is left when the slice ends is flushed in the next turn, after the sockets and the hub were heard: so an alert that comes while a
//! hundred thousand updates are being written waits for a slice, not for them.

use std::mem;
use std::sync::Arc;

use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::limits::FLUSH_SLICE;
use crate::base::time::Mono;
use crate::wire::frame::{Frame, Kind};

use super::Reactor;
use super::connection::Direct;
use super::core::Core;
use super::runs::{Batch, Urgency};

/// An output buffer that a long frame has made larger than this is given back.
const OUTPUT_BYTES_KEPT: usize = 256 * 1024;

/// How soon a connection is to be flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dirty {
    /// In its turn.
    Bulk,
    /// What is urgent of it, before all that is bulk.
    Urgent,
}

/// On which lists a connection is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listed {
    urgent: bool,
    bulk: bool,
}

/// What waits to be flushed.
#[derive(Default)]
pub(super) struct Backlog {
    /// Connections with something urgent. A slot may be there after its connection has gone, or was flushed.
    urgent: Vec<u32>,
    /// Likewise, without urgency.
    bulk: Vec<u32>,
    /// Memory of a batch that is done.
    spare: Option<Batch>,
    /// Bulk runs go before bulk connections, in every other turn.
    runs_first: bool,
}

impl Backlog {
    /// Puts a connection on the list that it belongs on. From the urgent one it goes on to the other, if something is left.
    pub(super) fn mark(&mut self, slot: u32, listed: &mut Listed, dirty: Dirty) {
        if dirty == Dirty::Urgent && !listed.urgent {
            listed.urgent = true;
            self.urgent.push(slot);
        } else if !listed.urgent && !listed.bulk {
            listed.bulk = true;
            self.bulk.push(slot);
        }
    }

    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty()
    }
}

impl Reactor {
    /// Whether there is something to flush.
    pub(super) fn owes_flush(&self) -> bool {
        !self.backlog.is_empty() || !self.core.runs.is_empty()
    }

    /// Adds a frame from the hub to its room's run; or to its members' outboxes one by one, where not all are to get it.
    pub(super) fn deliver(&mut self, frame: Arc<Frame>) {
        let room = frame.tag.room;
        if self.core.rooms.has_floors(room) {
            self.settle_room(room);
            return self.deliver_to_each(&frame);
        }
        let members = self.core.rooms.members(room).len();
        if members > 0 {
            self.core.runs.add(frame, members);
        }
    }

    fn deliver_to_each(&mut self, frame: &Arc<Frame>) {
        let Reactor { conns, backlog, pressure, core, .. } = self;
        let (queued, limits) = (core.now.mono, core.limits());
        let Core { rooms, samples, stats, .. } = core;
        let mut held = Vec::new();
        rooms.for_each_recipient(&frame.tag, |slot| {
            let Some(conn) = conns.at(slot) else { return };
            if !samples.take(slot, frame, queued, stats) {
                return held.push(slot);
            }
            conn.push(frame, queued, limits, stats);
            conn.account(pressure);
            pressure.served(conn.outbox.bytes());
            backlog.mark(slot, &mut conn.listed, urgency_of(frame));
        });
        for slot in held {
            self.schedule(slot);
        }
    }

    /// Before its membership changes: what waits for a room goes to the outboxes of those who are members now.
    pub(super) fn settle_room(&mut self, room: RoomId) {
        for urgency in [Urgency::Alert, Urgency::Bulk] {
            if self.core.runs.current[urgency as usize].as_ref().is_some_and(|batch| batch.room == room)
                && let Some(mut batch) = self.core.runs.current[urgency as usize].take()
            {
                for slot in batch.take_targets() {
                    self.push_to_member(slot, room, &batch.frames);
                }
                self.end_batch(batch);
            }
        }
        let frames = self.core.runs.take(room);
        if !frames.is_empty() {
            let members: Vec<u32> = self.core.rooms.members(room).collect();
            for slot in members {
                self.push_to_member(slot, room, &frames);
            }
        }
    }

    fn push_to_member(&mut self, slot: u32, room: RoomId, frames: &[Arc<Frame>]) {
        let Reactor { conns, backlog, pressure, core, .. } = self;
        if !core.rooms.is_member(slot, room) {
            return;
        }
        let Some(conn) = conns.at(slot) else { return };
        conn.queue(frames, core);
        conn.account(pressure);
        pressure.served(conn.outbox.bytes());
        for frame in frames {
            backlog.mark(slot, &mut conn.listed, urgency_of(frame));
        }
        self.schedule_sample(slot, room);
    }

    /// What is held for a member is looked at when its time comes.
    fn schedule_sample(&mut self, slot: u32, room: RoomId) {
        if self.core.samples.has(slot, room) {
            self.schedule(slot);
        }
    }

    /// See the module.
    pub(super) fn flush(&mut self) {
        let now = self.io.clock.mono();
        self.io.now = now;
        self.flush_urgent();
        self.serve_runs(Urgency::Alert, now.plus(FLUSH_SLICE));
        self.flush_urgent();
        // The rest gets its slice all the same, but for those whose alerts were cut off by theirs.
        let until = self.io.clock.mono().plus(FLUSH_SLICE);
        self.backlog.runs_first ^= true;
        if self.backlog.runs_first {
            self.serve_runs(Urgency::Bulk, until);
            self.flush_bulk(until);
        } else {
            self.flush_bulk(until);
            self.serve_runs(Urgency::Bulk, until);
        }
        self.shrink_output();
        self.tell_pressure(now);
    }

    /// Writes what is urgent of the connections that have such.
    pub(super) fn flush_urgent(&mut self) {
        for slot in mem::take(&mut self.backlog.urgent) {
            let Some(conn) = self.conns.at(slot).filter(|conn| conn.listed.urgent) else { continue };
            conn.listed.urgent = false;
            self.flush_one(slot, Dirty::Urgent);
        }
    }

    fn flush_bulk(&mut self, until: Mono) {
        let slots = mem::take(&mut self.backlog.bulk);
        let mut flushed = 0;
        for slot in &slots {
            flushed += 1;
            let Some(conn) = self.conns.at(*slot).filter(|conn| conn.listed.bulk) else { continue };
            if self.core.awaits_alerts(*slot) {
                self.backlog.bulk.push(*slot); // it stays listed: its alerts were cut off by their slice, and come first
                continue;
            }
            conn.listed.bulk = false;
            self.flush_one(*slot, Dirty::Bulk);
            if self.io.now >= until {
                break;
            }
        }
        // Those that were not reached come before those that have come meanwhile.
        let mut left = slots[flushed..].to_vec();
        left.append(&mut self.backlog.bulk);
        self.backlog.bulk = left;
    }

    fn flush_one(&mut self, slot: u32, dirty: Dirty) {
        let Some(conn) = self.conns.at(slot) else { return };
        match conn.flush(dirty, &mut self.core, &mut self.io) {
            Some(reason) => self.close(slot, reason),
            None => self.after_flush(slot),
        }
    }

    /// What could not be written waits for an event; what the turn's budget cut off is written next turn.
    fn after_flush(&mut self, slot: u32) {
        self.schedule(slot);
        self.go_on_replaying(slot);
        let Some(conn) = self.conns.at(slot) else { return };
        conn.account(&mut self.pressure);
        if let Some(dirty) = conn.leftover() {
            self.backlog.mark(slot, &mut conn.listed, dirty);
        }
        if !conn.serving && conn.wants_serving() {
            conn.serving = true;
            self.serve.push(slot);
        }
    }

    /// Serves runs of that urgency, at least one write.
    pub(super) fn serve_runs(&mut self, urgency: Urgency, until: Mono) {
        while let Some(mut batch) = self.next_batch(urgency) {
            while let Some(slot) = batch.next_target() {
                self.serve_member(slot, &mut batch);
                if self.io.now >= until {
                    break;
                }
            }
            if batch.cost() > 0 {
                self.core.runs.current[urgency as usize] = Some(batch);
                return;
            }
            self.end_batch(batch);
            if self.io.now >= until {
                return;
            }
        }
    }

    fn next_batch(&mut self, urgency: Urgency) -> Option<Batch> {
        if let Some(batch) = self.core.runs.current[urgency as usize].take() {
            return Some(batch);
        }
        let (room, frames) = self.core.runs.pop(urgency)?;
        Some(Batch::new((room, frames), self.core.rooms.members(room), self.io.now, self.backlog.spare.take()))
    }

    fn end_batch(&mut self, mut batch: Batch) {
        let (frames, written) = batch.take_frames();
        if written > 0 {
            for frame in &frames {
                self.core.stats.batch_ended(&frame.tag, batch.begun, written);
            }
        }
        self.core.runs.recycle(frames);
        self.backlog.spare = Some(batch);
    }

    /// One write of the batch if the member has nothing else to get; otherwise its frames take their place among that.
    fn serve_member(&mut self, slot: u32, batch: &mut Batch) {
        let Reactor { conns, backlog, pressure, core, io, .. } = self;
        let Some(conn) = conns.at(slot) else { return };
        if !core.rooms.is_member(slot, batch.room) {
            return; // it has left meanwhile
        }
        let gets_more = batch.urgency() == Urgency::Bulk && core.gets_more(slot, batch.room);
        // Which states go out as deltas, or later, is each connection's own matter.
        let has_own_form = (conn.outbox.has_deltas(batch.room) || core.samples.has(slot, batch.room)) && batch.has_states();
        match if gets_more || has_own_form { Direct::NotNow } else { conn.write_batch(batch, core, io) } {
            Direct::Done => pressure.served(0),
            Direct::NotNow => {
                conn.queue(&batch.frames, core);
                conn.account(pressure);
                pressure.served(conn.outbox.bytes());
                io.now = io.clock.mono();
                for frame in &batch.frames {
                    backlog.mark(slot, &mut conn.listed, urgency_of(frame));
                }
                self.schedule_sample(slot, batch.room);
            }
            Direct::Rest => {
                conn.account(pressure);
                pressure.served(conn.outbox.bytes());
                if let Some(dirty) = conn.leftover() {
                    backlog.mark(slot, &mut conn.listed, dirty);
                }
            }
            Direct::Failed(reason) => self.close(slot, reason),
        }
    }

    fn shrink_output(&mut self) {
        if self.io.output.capacity() > OUTPUT_BYTES_KEPT {
            self.io.output = Vec::new();
        }
    }

    /// Tells the hub when to hold bulk back and when to go on, and whether publishers had better slow down.
    fn tell_pressure(&mut self, now: Mono) {
        self.pressure.end_turn(self.core.runs.cost() + self.backlog.bulk.len(), now);
        let is_over = self.inbox.is_pressed() && !self.pressure.is_pressed();
        self.inbox.press(self.pressure.is_pressed());
        self.inbox.outrun(self.pressure.is_outrun());
        if is_over {
            self.core.uplink.nudge();
        }
    }
}

/// How soon a frame is to be flushed.
fn urgency_of(frame: &Frame) -> Dirty {
    if frame.tag.lane == Lane::Alert || frame.tag.kind == Kind::Reply { Dirty::Urgent } else { Dirty::Bulk }
}
