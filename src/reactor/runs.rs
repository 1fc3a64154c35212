//! What the members of rooms are to get, by room, until the flush. Pure.
//!
//! Frames that all members of a room get are not queued for each of them: they wait in the room's run, whose bytes are put together
//! once and written as they are to every member that has nothing else to say. So a thousand members cost a thousand writes, and not a thousand
//! queues. A busy reactor's runs grow longer, and its writes fewer.
//!
//! There are two queues of runs, alerts and the rest: an alert run is served before any other, and may overtake one that is half
//! served, because they have no lane in common. Within a queue runs are served in order of their first frame.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::counters::Times;
use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::limits::{ALERT_COST_MAX, COPY_BYTES_PER_WRITE, WRITE_BYTES_PER_TURN};
use crate::base::time::Mono;
use crate::wire::deflate::is_window_enough;
use crate::wire::frame::{Frame, Kind};

/// Runs whose memory is kept for the next ones.
const SPARE_RUNS: usize = 1024;

/// Which queue a frame waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The `alert` lane.
    Alert = 0,
    /// The others.
    Bulk = 1,
}

impl Urgency {
    fn of(lane: Lane) -> Urgency {
        if lane == Lane::Alert { Urgency::Alert } else { Urgency::Bulk }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Runs {
    queues: [Queue; 2],
    /// Runs that are half served, by [`Urgency`].
    pub(super) current: [Option<Batch>; 2],
    /// Memory of runs that are done.
    spare: Vec<Vec<Arc<Frame>>>,
    /// A run longer than this is one too long.
    run_bytes_max: usize,
    /// How many are too long.
    too_long: usize,
}

/// Runs in order of their first frame.
#[derive(Debug, Default)]
struct Queue {
    open: VecDeque<Run>,
    /// Number of the first run in `open`; wraps.
    first: u32,
    /// By the room's slot: the number of its run, if that is still open.
    numbers: Vec<u32>,
    /// What serving all of it takes, in writes.
    cost: usize,
}

/// The frames of one room. Without frames: they were taken out of turn.
#[derive(Debug)]
struct Run {
    room: RoomId,
    members: usize,
    frames: Vec<Arc<Frame>>,
    bytes: usize,
}

impl Queue {
    fn index(&self, room: RoomId) -> Option<usize> {
        let index = self.numbers.get(room.slot as usize)?.wrapping_sub(self.first) as usize;
        self.open.get(index).is_some_and(|run| run.room == room).then_some(index)
    }

    fn pop(&mut self) -> Option<Run> {
        let run = self.open.pop_front()?;
        self.first = self.first.wrapping_add(1);
        Some(run)
    }
}

impl Runs {
    /// None yet. One member's queue holds so many bytes: it must have room for all that may wait for one room, which is two runs and
    /// two batches that are half served.
    pub(super) fn new(queue_bytes_max: usize) -> Runs {
        Runs { queues: Default::default(), current: [None, None], spare: Vec::new(), run_bytes_max: queue_bytes_max / 8, too_long: 0 }
    }

    /// Adds a frame to its room's run. The room has that many members here.
    pub(super) fn add(&mut self, frame: Arc<Frame>, members: usize) {
        let room = frame.tag.room;
        let bytes = frame.as_websocket().len();
        let queue = &mut self.queues[Urgency::of(frame.tag.lane) as usize];
        if let Some(index) = queue.index(room) {
            let run = &mut queue.open[index];
            queue.cost -= cost(run);
            let was_too_long = run.bytes > self.run_bytes_max;
            run.members = members;
            run.frames.push(frame);
            run.bytes += bytes;
            queue.cost += cost(run);
            self.too_long += usize::from(run.bytes > self.run_bytes_max && !was_too_long);
            return;
        }
        let mut frames = self.spare.pop().unwrap_or_default();
        frames.push(frame);
        let slot = room.slot as usize;
        if queue.numbers.len() <= slot {
            queue.numbers.resize(slot + 1, 0);
        }
        queue.numbers[slot] = queue.first.wrapping_add(queue.open.len() as u32);
        let run = Run { room, members, frames, bytes };
        queue.cost += cost(&run);
        self.too_long += usize::from(bytes > self.run_bytes_max);
        queue.open.push_back(run);
    }

    /// Takes the next run of that queue.
    pub(super) fn pop(&mut self, urgency: Urgency) -> Option<(RoomId, Vec<Arc<Frame>>)> {
        let queue = &mut self.queues[urgency as usize];
        while let Some(run) = queue.pop() {
            queue.cost -= cost(&run);
            self.too_long -= usize::from(run.bytes > self.run_bytes_max);
            if !run.frames.is_empty() {
                return Some((run.room, run.frames));
            }
        }
        None
    }

    /// Takes all that waits for a room, out of turn: alerts first.
    pub(super) fn take(&mut self, room: RoomId) -> Vec<Arc<Frame>> {
        let mut frames = Vec::new();
        for queue in &mut self.queues {
            if let Some(index) = queue.index(room) {
                let run = &mut queue.open[index];
                queue.cost -= cost(run);
                self.too_long -= usize::from(run.bytes > self.run_bytes_max);
                run.bytes = 0;
                frames.append(&mut run.frames);
            }
        }
        frames
    }

    /// Gives the memory of a run back.
    pub(super) fn recycle(&mut self, mut frames: Vec<Arc<Frame>>) {
        frames.clear();
        if self.spare.len() < SPARE_RUNS {
            self.spare.push(frames);
        }
    }

    /// How many frames wait for a member of a room.
    pub(super) fn waiting_for(&self, slot: u32, room: RoomId) -> usize {
        let half_served = self.current.iter().flatten().filter(|batch| batch.room == room && batch.targets[batch.next..].contains(&slot));
        self.waiting(room) + half_served.map(|batch| batch.frames.len()).sum::<usize>()
    }

    /// How many frames wait for a room, half-served runs excepted.
    pub(super) fn waiting(&self, room: RoomId) -> usize {
        self.queues.iter().filter_map(|queue| queue.index(room).map(|index| queue.open[index].frames.len())).sum()
    }

    /// Whether alerts wait for a room, or were handed to some of its members only.
    pub(super) fn has_alerts(&self, room: RoomId) -> bool {
        let alerts = &self.queues[Urgency::Alert as usize];
        let is_half_served = self.current[Urgency::Alert as usize].as_ref().is_some_and(|batch| batch.room == room);
        is_half_served || (!alerts.open.is_empty() && alerts.index(room).is_some_and(|index| !alerts.open[index].frames.is_empty()))
    }

    /// Whether alerts wait for any room.
    pub(super) fn has_any_alerts(&self) -> bool {
        !self.queues[Urgency::Alert as usize].open.is_empty() || self.current[Urgency::Alert as usize].is_some()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.open.is_empty()) && self.current.iter().all(Option::is_none)
    }

    /// Whether so much waits that nothing more may be taken from the hub: a flood of alerts, which nothing else holds back, or more for one
    /// room than its members' queues could hold.
    pub(super) fn is_full(&self) -> bool {
        self.too_long > 0 || self.queues[Urgency::Alert as usize].cost > ALERT_COST_MAX
    }

    /// What serving all of it takes, in writes.
    pub(super) fn cost(&self) -> usize {
        let half_served: usize = self.current.iter().flatten().map(Batch::cost).sum();
        self.queues.iter().map(|queue| queue.cost).sum::<usize>() + half_served
    }
}

/// What it takes to write so many bytes to so many members, in writes.
fn cost_of(members: usize, bytes: usize) -> usize {
    members * (1 + bytes / COPY_BYTES_PER_WRITE)
}

fn cost(run: &Run) -> usize {
    if run.frames.is_empty() { 0 } else { cost_of(run.members, run.bytes) }
}

/// A run being served: its bytes, whom they are for, and how far it has come.
#[derive(Debug)]
pub(super) struct Batch {
    /// Whose members it is for.
    pub(super) room: RoomId,
    /// In order of priority.
    pub(super) frames: Vec<Arc<Frame>>,
    /// The first bytes of it, if it is more than one frame: as many whole frames as one write may take. Made when the first member
    /// needs it.
    plain: Joined,
    /// The same for members that agreed on compression.
    deflated: Joined,
    /// All of its bytes, without compression.
    bytes: usize,
    /// Length of the longest frame.
    longest: usize,
    /// What there is to count for each member that gets all of it; empty if there is but one, where it is counted frame by frame.
    spans: Vec<Span>,
    /// When its turn came: no frame of it was let go later.
    pub(super) begun: Mono,
    /// Slots of the members at its beginning.
    targets: Vec<u32>,
    next: usize,
    /// Members that got all of it by one write, where spans are counted.
    written: u64,
}

/// Frames in one encoding, one after the other.
#[derive(Debug, Default)]
struct Joined {
    bytes: Vec<u8>,
    /// How many frames were looked at: all of them, unless some are to be compressed first.
    frames: usize,
    /// Bytes of those.
    len: usize,
}

impl Joined {
    fn clear(&mut self) {
        self.bytes.clear();
        (self.frames, self.len) = (0, 0);
    }

    /// Goes on with frames that were not looked at yet, until one is not to be compressed now.
    fn extend(&mut self, frames: &[Arc<Frame>], window_bits: u8, spans: &mut [Span], mut deflate: impl FnMut(&Frame) -> bool) {
        for frame in &frames[self.frames..] {
            let is_ready = frame.for_window(window_bits).is_some() || deflate(frame);
            let Some(bytes) = frame.for_window(window_bits).filter(|_| is_ready) else { return };
            if frames.len() > 1 && self.len < WRITE_BYTES_PER_TURN {
                self.bytes.extend_from_slice(bytes);
            }
            self.len += bytes.len();
            self.frames += 1;
            if window_bits > 0
                && let Some(span) = spans.iter_mut().find(|span| span.lane == frame.tag.lane)
            {
                span.deflated_bytes += bytes.len() as u64;
            }
        }
    }
}

/// The frames of one lane in a run, as the histograms want them.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) lane: Lane,
    pub(super) frames: u64,
    /// Their bytes without compression.
    pub(super) bytes: u64,
    /// Their bytes for members that agreed on it, of as many as are compressed.
    deflated_bytes: u64,
    /// When the events were accepted.
    pub(super) accepted: Times,
}

impl Batch {
    /// The batch of a run, for these members, whose turn has come. `memory` is that of a former batch.
    pub(super) fn new(
        (room, mut frames): (RoomId, Vec<Arc<Frame>>),
        members: impl Iterator<Item = u32>,
        begun: Mono,
        memory: Option<Batch>,
    ) -> Batch {
        let (mut plain, mut deflated, mut spans, mut targets) =
            memory.map_or_else(Default::default, |old| (old.plain, old.deflated, old.spans, old.targets));
        plain.clear();
        deflated.clear();
        spans.clear();
        targets.clear();
        targets.extend(members);
        if !frames.is_sorted_by_key(|frame| frame.tag.lane) {
            frames.sort_by_key(|frame| frame.tag.lane);
        }
        // The hub numbers states by when it lets them go, and may be a moment ahead of the clock.
        let begun = frames.iter().map(|frame| frame.tag.released).filter(|at| *at != Mono::NEVER).fold(begun, Mono::max);
        let lens = || frames.iter().map(|frame| frame.as_websocket().len());
        let (bytes, longest) = (lens().sum(), lens().max().unwrap_or_default());
        if targets.len() > 1 {
            for frame in &frames {
                count(&mut spans, frame);
            }
        }
        Batch { room, frames, bytes, plain, deflated, longest, spans, begun, targets, next: 0, written: 0 }
    }

    /// Its frames, and how many members were counted by spans.
    pub(super) fn take_frames(&mut self) -> (Vec<Arc<Frame>>, u64) {
        (std::mem::take(&mut self.frames), self.written)
    }

    /// Whether there are states in it.
    pub(super) fn has_states(&self) -> bool {
        self.frames.iter().any(|frame| matches!(frame.tag.kind, Kind::State { .. }))
    }

    /// Which queue it comes from.
    pub(super) fn urgency(&self) -> Urgency {
        Urgency::of(self.frames[0].tag.lane)
    }

    /// The next member's slot.
    pub(super) fn next_target(&mut self) -> Option<u32> {
        let target = self.targets.get(self.next).copied();
        self.next += usize::from(target.is_some());
        target
    }

    /// The slots of those that it has not come to yet; it is done then.
    pub(super) fn take_targets(&mut self) -> Vec<u32> {
        let left = self.targets.split_off(self.next);
        self.next = self.targets.len();
        left
    }

    /// What one write may take, for a member whose inflater has a window of so many bits (0: none), and whether that is all of it.
    /// `deflate` compresses a frame, or says false if that is not to be done now. `None`: the window is too small for the others' bytes.
    pub(super) fn chunk(&mut self, window_bits: u8, deflate: impl FnMut(&Frame) -> bool) -> Option<(&[u8], bool)> {
        if window_bits > 0 && !is_window_enough(window_bits, self.longest) {
            return None;
        }
        let joined = if window_bits == 0 { &mut self.plain } else { &mut self.deflated };
        if joined.frames < self.frames.len() {
            joined.extend(&self.frames, window_bits, &mut self.spans, deflate);
        }
        let is_looked_at = joined.frames == self.frames.len();
        match &self.frames[..] {
            [frame] if is_looked_at => frame.for_window(window_bits).map(|bytes| (bytes, true)),
            _ => Some((&joined.bytes, is_looked_at && joined.len == joined.bytes.len())),
        }
    }

    /// Tells what one more member with such a window got when it got all: by spans, or by frames if there is but one member; each with its
    /// bytes on the wire.
    pub(super) fn count(&mut self, window_bits: u8, mut each_span: impl FnMut(&Span, u64), mut each_frame: impl FnMut(&Frame, usize)) {
        for span in &self.spans {
            each_span(span, if window_bits == 0 { span.bytes } else { span.deflated_bytes });
        }
        if self.spans.is_empty() {
            for frame in &self.frames {
                each_frame(frame, frame.for_window(window_bits).map_or(0, <[u8]>::len));
            }
        } else {
            self.written += 1;
        }
    }

    /// What is still to be done, in writes.
    pub(super) fn cost(&self) -> usize {
        cost_of(self.targets.len() - self.next, self.bytes)
    }
}

fn count(spans: &mut Vec<Span>, frame: &Frame) {
    let tag = &frame.tag;
    if spans.last().is_none_or(|span| span.lane != tag.lane) {
        spans.push(Span { lane: tag.lane, frames: 0, bytes: 0, deflated_bytes: 0, accepted: Times::default() });
    }
    let span = spans.last_mut().expect("one was pushed if there was none");
    span.frames += 1;
    span.bytes += frame.as_websocket().len() as u64;
    // A `gap` was accepted from nobody.
    if tag.accepted != Mono::NEVER {
        span.accepted.add(tag.accepted);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::deflate::Deflater;
    use crate::wire::frame::Tag;

    fn frame(room: u32, lane: Lane, seq: u64) -> Arc<Frame> {
        let tag = Tag {
            room: RoomId { slot: room, generation: 1 },
            lane,
            kind: Kind::Stream { seq },
            accepted: Mono(seq),
            taken: Mono(seq),
            released: Mono(seq),
        };
        Arc::new(Frame::text(tag, format!("{room} {lane} {seq}").as_bytes()))
    }

    #[derive(Clone, Debug)]
    enum Op {
        Add(u32, Lane),
        Pop(bool),
        Take(u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        let lane = prop::sample::select(&Lane::ALL[..]);
        prop_oneof![
            6 => (0u32..5, lane).prop_map(|(room, lane)| Op::Add(room, lane)),
            2 => any::<bool>().prop_map(Op::Pop),
            1 => (0u32..5).prop_map(Op::Take),
        ]
    }

    proptest! {
        /// Whatever is added comes out once, in order within its (room, lane), and the cost comes back to nothing.
        #[test]
        fn each_room_and_lane_keeps_its_order(ops in prop::collection::vec(op(), 1..300)) {
            let mut runs = Runs::new(1 << 20);
            let (mut added, mut came) = (BTreeMap::<(u32, Lane), u64>::new(), BTreeMap::<(u32, Lane), u64>::new());
            let mut see = |frames: &[Arc<Frame>], room: RoomId| {
                for frame in frames {
                    assert_eq!(frame.tag.room, room);
                    let last = came.entry((room.slot, frame.tag.lane)).or_default();
                    *last += 1;
                    assert_eq!(frame.tag.kind, Kind::Stream { seq: *last });
                }
            };
            for op in ops {
                match op {
                    Op::Add(room, lane) => {
                        let seq = added.entry((room, lane)).or_default();
                        *seq += 1;
                        runs.add(frame(room, lane, *seq), 3);
                    }
                    Op::Pop(is_alert) => {
                        let urgency = if is_alert { Urgency::Alert } else { Urgency::Bulk };
                        if let Some((room, frames)) = runs.pop(urgency) {
                            prop_assert!(!frames.is_empty() && frames.iter().all(|frame| Urgency::of(frame.tag.lane) == urgency));
                            see(&frames, room);
                            runs.recycle(frames);
                        }
                    }
                    Op::Take(slot) => {
                        let room = RoomId { slot, generation: 1 };
                        let waiting = runs.waiting(room);
                        let frames = runs.take(room);
                        prop_assert_eq!(frames.len(), waiting);
                        see(&frames, room);
                        prop_assert_eq!(runs.waiting(room), 0);
                    }
                }
            }
            for urgency in [Urgency::Alert, Urgency::Bulk] {
                while let Some((room, frames)) = runs.pop(urgency) {
                    see(&frames, room);
                }
            }
            prop_assert_eq!(added, came);
            prop_assert!(runs.is_empty() && runs.cost() == 0 && runs.too_long == 0);
        }

        /// A batch's bytes are its frames', by lane, each lane in order; what one write takes is a prefix at frame boundaries.
        #[test]
        fn a_batch_has_its_frames_bytes(lanes in prop::collection::vec(prop::sample::select(&Lane::ALL[..]), 1..40)) {
            let frames: Vec<_> = lanes.iter().zip(1..).map(|(lane, seq)| frame(0, *lane, seq)).collect();
            let mut expected = frames.clone();
            expected.sort_by_key(|frame| frame.tag.lane);
            let bytes: Vec<u8> = expected.iter().flat_map(|frame| frame.as_websocket().to_vec()).collect();
            let mut batch = Batch::new((frames[0].tag.room, frames), 0..2, Mono(0), None);
            prop_assert_eq!(batch.chunk(0, |_| false), Some((&bytes[..], true)));
            let (mut by_span, mut alone) = ((0, 0), 0);
            batch.count(0, |span, bytes| by_span = (by_span.0 + span.frames, by_span.1 + bytes), |_, _| alone += 1);
            prop_assert_eq!((by_span, alone), ((lanes.len() as u64, bytes.len() as u64), 0));
        }

        /// DLV-23: members that agreed on compression get the same messages, in parts if compressing is not to be done in one go.
        #[test]
        fn a_batch_has_its_frames_for_both_kinds_of_members(
            lens in prop::collection::vec(0..600usize, 1..20), at_once in 1..20usize, window_bits in 9..=15u8,
        ) {
            let frames: Vec<_> = lens.iter().zip(1..).map(|(len, seq)| {
                let tag = Tag { kind: Kind::Stream { seq }, ..frame(0, Lane::Update, 1).tag };
                Arc::new(Frame::text(tag, &vec![b'x'; *len]))
            }).collect();
            let mut deflater = Deflater::new(3, 256);
            let mut batch = Batch::new((frames[0].tag.room, frames.clone()), 0..3, Mono(0), None);
            if frames.iter().any(|frame| !is_window_enough(window_bits, frame.as_websocket().len())) {
                prop_assert_eq!(batch.chunk(window_bits, |_| true), None);
                return Ok(());
            }
            for _ in 0..=lens.len() {
                let mut left = at_once;
                let deflate = |frame: &Frame| {
                    let may = left > 0;
                    left = left.saturating_sub(1);
                    if may {
                        frame.deflate(&mut deflater);
                    }
                    may
                };
                let (chunk, is_all) = batch.chunk(window_bits, deflate).unwrap();
                let chunk = chunk.to_vec();
                let expected: Vec<u8> = frames.iter().map_while(|frame| frame.for_window(window_bits)).flatten().copied().collect();
                prop_assert!(expected.starts_with(&chunk));
                if is_all {
                    prop_assert_eq!(chunk.len(), expected.len());
                    let mut bytes = 0;
                    batch.count(window_bits, |_, of_span| bytes += of_span, |_, _| ());
                    prop_assert_eq!(bytes, chunk.len() as u64);
                }
            }
            let plain: Vec<u8> = frames.iter().flat_map(|frame| frame.as_websocket().to_vec()).collect();
            prop_assert_eq!(batch.chunk(0, |_| false), Some((&plain[..], true)));
        }
    }
}
