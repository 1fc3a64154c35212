//! When a lane lets an event go.
//!
//! `alert`: at once. `update`: `stream` and `transient` events at once; a `state` key's first frame at once, then at most one
//! in each window. `metric`: an event gathers company, then leaves at the room's next flush; the flushes' phase is a hash of
//! the room, so that ten thousand rooms do not flush together. What is released is encoded, kept, and pushed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{KeyId, RoomId};
use crate::base::lane::Lane;
use crate::base::time::{Mono, Now, nanos};
use crate::wire::frame::{Frame, Kind, Tag};

use super::Hub;
use super::delta;
use super::encode::{self, EventText};
use super::ports::{Number, Outlet};
use super::room::{Held, HeldEvent, Sent};

/// Windows ended, and rooms flushed, in one tick.
const RELEASES_PER_TICK: usize = 512;
/// The `update` lane's window while memory is short, if it is not longer anyway.
const LONG_WINDOW: Duration = Duration::from_millis(500);
/// A room's held events leave early beyond this many, or this many bytes.
const HELD_EVENTS_MAX: usize = 1024;
const HELD_BYTES_MAX: usize = 256 * 1024;

/// What is due when.
#[derive(Default)]
pub(super) struct Releases {
    /// Open windows of `update` keys: those of the usual length, and those that were opened while memory was short. In each queue all are
    /// equally long, so they are in the order in which they end.
    windows: [VecDeque<Window>; 2],
    /// Rooms with held `metric` events.
    flushes: BinaryHeap<Reverse<(Mono, RoomId)>>,
}

/// When a window ends, whose it is, and the key's place.
type Window = (Mono, RoomId, KeyId, usize);

impl Hub {
    /// Lets go what was held long enough. Returns when the next is due.
    pub(super) fn release_due(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        for length in 0..self.releases.windows.len() {
            for _ in 0..RELEASES_PER_TICK {
                let windows = &mut self.releases.windows[length];
                let Some(&(_, room, key, index)) = windows.front().filter(|(due, ..)| *due <= now.mono) else { break };
                windows.pop_front();
                self.end_window(now, room, key, index, out);
            }
        }
        for _ in 0..RELEASES_PER_TICK {
            match self.releases.flushes.peek() {
                Some(&Reverse((due, room))) if due <= now.mono => {
                    self.releases.flushes.pop();
                    self.flush(now, room, due, out);
                }
                _ => break,
            }
        }
        let window = self.releases.windows.iter().filter_map(VecDeque::front).map(|entry| entry.0).min().unwrap_or(Mono::NEVER);
        let flush = self.releases.flushes.peek().map_or(Mono::NEVER, |entry| entry.0.0);
        window.min(flush)
    }

    /// A `stream` event that has its number, or a `transient` one.
    pub(super) fn hold_or_release(&mut self, now: Now, room: RoomId, event: HeldEvent, out: &mut impl Outlet) {
        self.note_taken(room);
        if self.holds(event.event.lane) {
            let bytes = event.event.data.len();
            self.held_bytes += event.event.bytes();
            self.hold(now, room, Held::Event(event), bytes, out);
        } else {
            self.release_event(now, room, &event, out);
        }
    }

    /// The same, and its frame, made now.
    pub(super) fn release_or_encode(&mut self, now: Now, room: RoomId, event: HeldEvent, out: &mut impl Outlet) -> Arc<Frame> {
        if self.holds(event.event.lane) {
            let frame = self.frame_of(now, room, &event);
            self.hold_or_release(now, room, event, out);
            frame
        } else {
            self.note_taken(room);
            self.release_event(now, room, &event, out)
        }
    }

    /// Whether events of that lane wait for a flush.
    fn holds(&self, lane: Lane) -> bool {
        lane == Lane::Metric && self.holds_metrics()
    }

    /// A key whose newest value is in its `held`. `waits`: an older one was there, whose place it takes.
    pub(super) fn hold_or_release_state(&mut self, now: Now, id: RoomId, index: usize, waits: bool, out: &mut impl Outlet) {
        self.note_taken(id);
        if waits {
            self.stats.conflated += 1;
            return;
        }
        let (holds_metrics, has_windows) = (self.holds_metrics(), self.is_short || !self.options.update_window.is_zero());
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        let key = &mut room.states.keys[index];
        match key.lane {
            Lane::Update if key.window_open => {}
            Lane::Update if has_windows => {
                key.window_open = true;
                let key_id = key.id;
                self.open_window(now, id, key_id, index);
                self.release_state(now, id, index, out);
            }
            Lane::Metric if holds_metrics => {
                let bytes = key.held.as_ref().map_or(0, |held| held.data.len());
                self.hold(now, id, Held::State(index), bytes, out);
            }
            Lane::Alert | Lane::Update | Lane::Metric => self.release_state(now, id, index, out),
        }
    }

    fn holds_metrics(&self) -> bool {
        !(self.options.metric_gather.is_zero() && self.options.metric_flush.is_zero())
    }

    fn end_window(&mut self, now: Now, id: RoomId, key_id: KeyId, index: usize, out: &mut impl Outlet) {
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        let Some(key) = room.states.keys.get_mut(index).filter(|key| key.id == key_id) else { return };
        key.window_open = key.held.is_some();
        if key.window_open {
            self.open_window(now, id, key_id, index);
            self.release_state(now, id, index, out);
        }
    }

    fn open_window(&mut self, now: Now, id: RoomId, key: KeyId, index: usize) {
        let usual = self.options.update_window;
        let ends = now.mono.plus(if self.is_short { usual.max(LONG_WINDOW) } else { usual });
        self.releases.windows[usize::from(self.is_short)].push_back((ends, id, key, index));
    }

    fn hold(&mut self, now: Now, id: RoomId, held: Held, bytes: usize, out: &mut impl Outlet) {
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        room.held.push(held);
        room.held_bytes += bytes;
        if room.held.len() >= HELD_EVENTS_MAX || room.held_bytes >= HELD_BYTES_MAX {
            let due = room.flush_at;
            self.flush(now, id, due, out);
        } else if room.flush_at == Mono::NEVER {
            let due = next_flush(now.mono.plus(self.options.metric_gather), nanos(self.options.metric_flush), &room.name);
            room.flush_at = due;
            self.releases.flushes.push(Reverse((due, id)));
        }
    }

    /// Lets go all that a room holds.
    pub(super) fn flush_now(&mut self, now: Now, id: RoomId, out: &mut impl Outlet) {
        if let Some(due) = self.rooms.by_id(id).map(|room| room.flush_at).filter(|due| *due != Mono::NEVER) {
            self.flush(now, id, due, out);
        }
    }

    /// Lets go all that a room holds, unless a flush other than the one planned for `due` has done so.
    fn flush(&mut self, now: Now, id: RoomId, due: Mono, out: &mut impl Outlet) {
        let Some(room) = self.rooms.by_id_mut(id).filter(|room| room.flush_at == due) else { return };
        room.flush_at = Mono::NEVER;
        room.held_bytes = 0;
        for held in std::mem::take(&mut room.held) {
            match held {
                Held::State(index) => self.release_state(now, id, index, out),
                Held::Event(event) => {
                    self.held_bytes -= event.event.bytes();
                    drop(self.release_event(now, id, &event, out));
                }
            }
        }
    }

    /// At once, whatever the lane holds.
    pub(super) fn release_event(&mut self, now: Now, id: RoomId, held: &HeldEvent, out: &mut impl Outlet) -> Arc<Frame> {
        let frame = self.frame_of(now, id, held);
        self.stats.encoded += 1;
        if let (Some(seq), Some(room)) = (held.seq, self.rooms.by_id_mut(id)) {
            let lane = held.event.lane;
            room.lanes[lane.index()].live = seq;
            self.history.keep(id, lane, seq, Arc::clone(&frame), &mut self.rooms);
        }
        self.deliver(id, &frame, out);
        frame
    }

    fn frame_of(&mut self, now: Now, id: RoomId, held: &HeldEvent) -> Arc<Frame> {
        let event = &held.event;
        let (kind, number) = match held.seq {
            Some(seq) => (Kind::Stream { seq }, Number::Seq(seq)),
            None => (Kind::Transient, Number::None),
        };
        self.scratch.clear();
        let text = EventText {
            kind: &event.kind,
            room: &event.room,
            lane: event.lane,
            key: "",
            number,
            base: None,
            ts_ms: held.ts_ms,
            event_id: event.event_id.as_deref(),
            data: Some(&event.data),
        };
        encode::event(&mut self.scratch, &text);
        let tag = Tag { room: id, lane: event.lane, kind, accepted: held.accepted, taken: held.taken, released: now.mono.max(held.taken) };
        Arc::new(Frame::text(tag, &self.scratch))
    }

    fn release_state(&mut self, now: Now, id: RoomId, index: usize, out: &mut impl Outlet) {
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        let wants_delta = room.delta_members > 0;
        let key = &mut room.states.keys[index];
        let Some(held) = key.held.take() else { return };
        self.held_bytes -= held.data.len();
        self.scratch.clear();
        let text = EventText {
            kind: &key.kind,
            room: &room.name,
            lane: key.lane,
            key: &key.name,
            number: Number::Rev(key.rev),
            base: None,
            ts_ms: held.ts_ms,
            event_id: held.event_id.as_deref(),
            data: (&*held.data != "null").then_some(&held.data),
        };
        let data_at = encode::event(&mut self.scratch, &text);
        let kind = Kind::State { key: key.id, rev: key.rev, is_deleted: data_at.is_none() };
        self.state_released = now.mono.max(held.taken).max(Mono(self.state_released.0 + 1));
        let tag = Tag { room: id, lane: key.lane, kind, accepted: held.accepted, taken: held.taken, released: self.state_released };
        let mut frame = Frame::text(tag, &self.scratch);
        if wants_delta {
            frame = delta::add(frame, &text, key.sent.as_ref(), &mut self.patch, &mut self.scratch);
        }
        let frame = Arc::new(frame);
        self.stats.encoded += 1;
        key.sent = Some(Sent { frame: Arc::clone(&frame), data_at });
        self.deliver(id, &frame, out);
    }
}

/// The room's first flush at `earliest` or later: flushes are `every_ns` apart, at a phase that the room's name fixes.
fn next_flush(earliest: Mono, every_ns: u64, room: &str) -> Mono {
    if every_ns == 0 {
        return earliest;
    }
    let phase = fnv1a(room.as_bytes()) % every_ns;
    let since_phase = earliest.0.saturating_sub(phase);
    Mono(phase + since_phase.div_ceil(every_ns) * every_ns)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923): spreads names evenly, the same on every start.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_never_early_and_at_most_one_period_late() {
        for earliest in [0, 1, 499, 500, 501, 123_456_789] {
            let due = next_flush(Mono(earliest), 500, "challenge:8f").0;
            assert!((earliest..earliest + 500).contains(&due) || due < 500, "{earliest} -> {due}");
            assert_eq!(due % 500, fnv1a(b"challenge:8f") % 500);
        }
        assert_eq!(next_flush(Mono(7), 0, "r"), Mono(7));
    }

    #[test]
    fn rooms_flush_at_different_phases() {
        let phases: std::collections::HashSet<u64> = (0..100).map(|i| next_flush(Mono(0), 500_000_000, &format!("room:{i}")).0).collect();
        assert!(phases.len() > 95, "{}", phases.len());
    }
}
