//! The way to the hub: two links, the count of answers that it owes, and the leaves that found no room.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::codes::{OVER_CAPACITY, QUEUE_FULL, Refusal};
use crate::base::ids::{ConnId, RoomId};
use crate::base::lane::Lane;
use crate::base::limits::OUTSTANDING_PER_REACTOR;
use crate::hub::ports::{Ack, Input, Join, Publish, ReplayId};
use crate::net::link::Link;
use crate::wire::request_id::RequestId;

/// When to try again what found no room: about ten times as long as the hub needs to work off a full link.
const RETRY_PUBLISH_MS: u32 = 20;
const RETRY_JOIN_MS: u32 = 100;

/// See the module.
pub struct Uplink {
    urgent: Arc<Link<Input>>,
    bulk: Arc<Link<Input>>,
    /// Answers that the hub owes. The link back has a slot in reserve for each.
    outstanding: usize,
    /// Of these, those to publishes.
    unanswered: usize,
    /// Bytes of events sent, ever.
    published_bytes: u64,
    /// At most as many as there are memberships.
    leaves: VecDeque<(RoomId, ConnId, bool)>,
    /// Parts of replays that were taken, or not; at most as many as there are replays.
    taken: VecDeque<(ReplayId, bool)>,
    urgent_pushed: bool,
    bulk_pushed: bool,
}

impl Uplink {
    /// Over these links.
    pub fn new(urgent: Arc<Link<Input>>, bulk: Arc<Link<Input>>) -> Uplink {
        Uplink {
            urgent,
            bulk,
            outstanding: 0,
            unanswered: 0,
            published_bytes: 0,
            leaves: VecDeque::new(),
            taken: VecDeque::new(),
            urgent_pushed: false,
            bulk_pushed: false,
        }
    }

    /// Sends a publish; its answer is owed then.
    pub fn publish(&mut self, publish: Box<Publish>) -> Result<(), Refusal> {
        let is_alert = publish.event.lane == Lane::Alert;
        let full = || Refusal::passing(QUEUE_FULL, "the server's ingest queue is full: send again after retry_after_ms", RETRY_PUBLISH_MS);
        if self.outstanding >= OUTSTANDING_PER_REACTOR {
            return Err(full());
        }
        let link = if is_alert { &self.urgent } else { &self.bulk };
        let bytes = publish.event.bytes() as u64;
        link.push(Input::Publish(publish)).map_err(|_| full())?;
        self.outstanding += 1;
        self.unanswered += 1;
        self.published_bytes += bytes;
        self.urgent_pushed |= is_alert;
        self.bulk_pushed |= !is_alert;
        Ok(())
    }

    /// Sends a join; its answer is owed then.
    pub fn join(&mut self, join: Box<Join>) -> Result<(), Refusal> {
        self.ask(Input::Join(join))
    }

    /// Asks for the states of a room, or a digest of them; the answer is owed then.
    pub fn snapshot(&mut self, conn: ConnId, request: Option<RequestId>, room: RoomId, digest: bool) -> Result<(), Refusal> {
        self.ask(Input::Snapshot { conn, request, room, digest })
    }

    /// Sends an acknowledgment; its answer is owed then, if it has a `request`.
    pub fn ack(&mut self, ack: Box<Ack>) -> Result<(), Refusal> {
        let is_answered = ack.request.is_some();
        self.ask(Input::Ack(ack))?;
        self.outstanding -= usize::from(!is_answered);
        Ok(())
    }

    fn ask(&mut self, input: Input) -> Result<(), Refusal> {
        let full = || Refusal::passing(OVER_CAPACITY, "the server is over capacity: send again after retry_after_ms", RETRY_JOIN_MS);
        if self.outstanding >= OUTSTANDING_PER_REACTOR {
            return Err(full());
        }
        self.urgent.push(input).map_err(|_| full())?;
        self.outstanding += 1;
        self.urgent_pushed = true;
        Ok(())
    }

    /// Tells the hub of a leave, of one who had joined for deltas or not, now or as soon as there is room.
    pub fn leave(&mut self, room: RoomId, conn: ConnId, delta: bool) {
        self.leaves.push_back((room, conn, delta));
        self.retry_leaves();
    }

    /// Sends the leaves, and the words on replays, that found no room, in order.
    pub fn retry_leaves(&mut self) {
        while let Some((room, conn, delta)) = self.leaves.front().copied() {
            if self.urgent.push(Input::Leave { room, conn, delta }).is_err() {
                return;
            }
            self.leaves.pop_front();
            self.urgent_pushed = true;
        }
        while let Some((id, wants_more)) = self.taken.front().copied() {
            if self.urgent.push(Input::ReplayTaken { id, wants_more }).is_err() {
                return;
            }
            self.taken.pop_front();
            self.urgent_pushed = true;
        }
    }

    /// Tells the hub that a part of a replay was taken, or that nobody is there for it, now or as soon as there is room.
    pub fn replay_taken(&mut self, id: ReplayId, wants_more: bool) {
        self.taken.push_back((id, wants_more));
        self.retry_leaves();
    }

    /// Whether leaves, or words on replays, still wait for room.
    pub fn owes_leaves(&self) -> bool {
        !self.leaves.is_empty() || !self.taken.is_empty()
    }

    /// The hub has given `n` answers.
    pub fn answered(&mut self, n: usize) {
        debug_assert!(n <= self.outstanding, "the hub answered what was not asked");
        self.outstanding = self.outstanding.saturating_sub(n);
    }

    /// The hub has given `n` answers to publishes.
    pub fn answered_publishes(&mut self, n: usize) {
        self.answered(n);
        self.unanswered = self.unanswered.saturating_sub(n);
    }

    /// Publishes that wait for their answer.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Answers that the hub owes.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Bytes of events sent, ever.
    pub fn published_bytes(&self) -> u64 {
        self.published_bytes
    }

    /// Whether publishers should slow down: a link is filled to more than 80 %; or a reactor lags, or most of its members do.
    pub fn slow_down(&self) -> bool {
        self.bulk.is_outrun() || [&self.urgent, &self.bulk].into_iter().any(|link| link.len() * 5 > link.capacity() * 4)
    }

    /// Wakes the hub though nothing was pushed.
    pub fn nudge(&mut self) {
        self.urgent_pushed = true;
    }

    /// Wakes the hub for what was pushed since the last call.
    pub fn ring(&mut self) {
        // Both links lead to the same door.
        if std::mem::take(&mut self.urgent_pushed) | std::mem::take(&mut self.bulk_pushed) {
            self.urgent.ring();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::lane::Mode;
    use crate::base::time::Mono;
    use crate::hub::ports::{Event, Safety};
    use crate::net::link::{Door, Waker};

    const CONN: ConnId = ConnId { reactor: 0, slot: 1, generation: 2 };
    const ROOM: RoomId = RoomId { slot: 3, generation: 4 };

    pub(in crate::reactor) fn links(slots: usize) -> (Uplink, Arc<Link<Input>>, Arc<Link<Input>>) {
        let door = Door::new(Waker::Thread(std::thread::current()));
        let (urgent, bulk) = (Arc::new(Link::new(slots, Arc::clone(&door))), Arc::new(Link::new(slots, door)));
        (Uplink::new(Arc::clone(&urgent), Arc::clone(&bulk)), urgent, bulk)
    }

    fn publish(lane: Lane) -> Box<Publish> {
        let empty = || Box::<str>::from("");
        let event = Event {
            kind: "t".into(),
            room: "r".into(),
            lane,
            mode: Mode::Transient,
            key: empty(),
            owner: None,
            event_id: None,
            version: None,
            history: 0,
            ack_ttl: None,
            data: "1".into(),
        };
        Box::new(Publish { conn: CONN, ticket: 0, accepted: Mono(0), ack: Safety::Memory, event })
    }

    #[test]
    fn alerts_go_by_the_urgent_link_and_the_rest_by_bulk() {
        let (mut uplink, urgent, bulk) = links(4);
        uplink.publish(publish(Lane::Alert)).unwrap();
        uplink.publish(publish(Lane::Update)).unwrap();
        uplink.publish(publish(Lane::Metric)).unwrap();
        assert_eq!((urgent.len(), bulk.len(), uplink.outstanding()), (1, 2, 3));
        uplink.answered(2);
        assert_eq!(uplink.outstanding(), 1);
    }

    /// Nothing waits for room but leaves, which are never lost: each `Joined` is ended by exactly one.
    #[test]
    fn a_full_link_refuses_publishes_and_joins_and_keeps_leaves_in_order() {
        let (mut uplink, urgent, _bulk) = links(1);
        uplink.publish(publish(Lane::Alert)).unwrap();
        assert_eq!(uplink.publish(publish(Lane::Alert)).unwrap_err().error, QUEUE_FULL);
        assert_eq!(uplink.snapshot(CONN, None, ROOM, false).unwrap_err().error, OVER_CAPACITY);
        assert_eq!(uplink.outstanding(), 1);
        uplink.leave(ROOM, CONN, true);
        uplink.leave(RoomId { slot: 9, ..ROOM }, CONN, false);
        assert!(uplink.owes_leaves() && uplink.slow_down());
        for slot in [3, 9] {
            urgent.pop();
            uplink.retry_leaves();
            assert_eq!(urgent.len(), 1, "{slot}");
        }
        assert!(matches!(urgent.pop(), Some(Input::Leave { room: RoomId { slot: 9, .. }, .. })));
        assert!(!uplink.owes_leaves());
    }
}
