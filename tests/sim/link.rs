//! The ways out of the hub as a simulation has them: bounded links that fill, and a sequencer that takes its time.

use std::collections::{HashMap, VecDeque};

use tickerd::base::ids::RoomId;
use tickerd::base::lane::Lane;
use tickerd::base::time::Now;
use tickerd::hub::ports::{NeedSeq, Outlet, Output, Sequenced};

use crate::message::Reader;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::rng::Rng;

/// A link to one reactor: one FIFO, some slots of which only alerts may use, and some only answers.
pub(crate) struct Link {
    queue: VecDeque<Output>,
    capacity: usize,
    answers_reserve: usize,
    alert_reserve: usize,
}

impl Link {
    pub(crate) fn new(plan: &Plan) -> Link {
        let capacity = plan.delivery_slots + plan.outstanding_max;
        Link { queue: VecDeque::new(), capacity, answers_reserve: plan.outstanding_max, alert_reserve: plan.alert_reserve }
    }

    /// Whether a delivery of this lane may come in.
    pub(crate) fn has_room(&self, lane: Lane) -> bool {
        let bulk_reserve = if lane == Lane::Alert { 0 } else { self.alert_reserve };
        self.capacity - self.queue.len() > self.answers_reserve + bulk_reserve
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn push(&mut self, output: Output) {
        match &output {
            Output::Deliver(frame) => assert!(self.has_room(frame.tag.lane), "a delivery was pushed to a link without room: {frame:?}"),
            _ => assert!(self.queue.len() < self.capacity, "an answer does not fit: the reserve is spent on something else"),
        }
        self.queue.push_back(output);
    }
}

/// Gives each (room, lane) its numbers, in order, at once or later.
#[derive(Default)]
pub(crate) struct Sequencer {
    heads: HashMap<(RoomId, Lane), u64>,
    waiting: Vec<NeedSeq>,
}

impl Sequencer {
    /// Answers one that waits: any (room, lane), but the first within it.
    pub(crate) fn answer(&mut self, rng: &mut Rng) -> Option<Sequenced> {
        let wanted = *self.waiting.get(rng.below(self.waiting.len().max(1)))?;
        let first = self.waiting.iter().position(|need| (need.room, need.lane) == (wanted.room, wanted.lane)).expect("it waits");
        let need = self.waiting.remove(first);
        let head = self.heads.entry((need.room, need.lane)).or_default();
        *head += 1;
        Some(Sequenced { pending: need.pending, seq: *head })
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The hub's outlet for the duration of one call: everything passes the oracle's eyes.
pub(crate) struct Tap<'a> {
    pub(crate) now: Now,
    pub(crate) plan: &'a Plan,
    pub(crate) links: &'a mut [Link],
    pub(crate) sequencer: &'a mut Sequencer,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) reader: &'a mut Reader,
}

impl Outlet for Tap<'_> {
    fn has_room(&self, reactor: usize, lane: Lane) -> bool {
        let has_room = self.links[reactor].has_room(lane);
        if !has_room {
            self.oracle.saw_full(reactor, lane);
        }
        has_room
    }

    fn push(&mut self, reactor: usize, output: Output) {
        self.oracle.on_push(self.plan, self.now, reactor, &output, self.reader);
        self.links[reactor].push(output);
    }

    fn need_seq(&mut self, need: NeedSeq) {
        self.oracle.on_need_seq(need);
        self.sequencer.waiting.push(need);
    }
}
