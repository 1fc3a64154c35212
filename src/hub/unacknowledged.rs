//! The table of events that wait for their users' acknowledgment: which, how many, until when. Pure.
//!
//! They are kept by the names of their rooms, and outlive a room's history, and the room itself if that is evicted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::base::ids::ConnId;
use crate::base::lane::Lane;
use crate::base::limits::UNACKNOWLEDGED_PER_USER_MAX;
use crate::wire::frame::Frame;
use crate::wire::request_id::RequestId;

/// What one takes beside its frame: itself, its names, its places in the tables.
pub(super) const WAITING_BYTES: usize = 384;

/// Who wants to know when an acknowledgment is safe.
pub(super) type Asker = (ConnId, RequestId);

/// An event that waits for its user.
pub(super) struct Waiting {
    pub(super) event_id: Arc<str>,
    pub(super) lane: Lane,
    pub(super) seq: u64,
    /// The epoch in which it is numbered.
    pub(super) epoch: u32,
    /// It waits no longer than this, Unix milliseconds.
    pub(super) until_ms: u64,
    /// The message as members got it.
    pub(super) frame: Arc<Frame>,
    /// The journal's entry that must be synced before a duplicate is safe.
    pub(super) entry: u64,
    /// Its wait is over, and the journal is about to hear of it: it is given to nobody any more.
    is_settling: bool,
    /// Those who are to hear that the wait is over.
    askers: Vec<Asker>,
    escalation: Escalation,
}

/// How far the telling of one whom it concerns if the user takes no note is: see [`escalations`](super::escalations).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escalation {
    /// Nobody is to be told.
    Never,
    /// Somebody is to be told then, Unix milliseconds, after so many tries in vain.
    Due { at_ms: u64, tries: u32 },
    /// That is tried, after so many tries in vain.
    UnderWay { tries: u32 },
    /// Somebody was told.
    Told,
}

impl Escalation {
    /// The same, but no sooner than that.
    pub(super) fn no_sooner(self, least_ms: u64) -> Escalation {
        match self {
            Escalation::Due { at_ms, tries } => Escalation::Due { at_ms: at_ms.max(least_ms), tries },
            other => other,
        }
    }
}

impl Waiting {
    /// One that begins to wait. `place`: its lane, `seq` and epoch.
    pub(super) fn new(event_id: Arc<str>, place: (Lane, u64, u32), until_ms: u64, frame: Arc<Frame>) -> Waiting {
        let (lane, seq, epoch) = place;
        let escalation = Escalation::Never;
        Waiting { event_id, lane, seq, epoch, until_ms, frame, entry: 0, is_settling: false, askers: Vec::new(), escalation }
    }

    /// The same, to be escalated so.
    pub(super) fn with_escalation(self, escalation: Escalation) -> Waiting {
        Waiting { escalation, ..self }
    }

    pub(super) fn escalation(&self) -> Escalation {
        self.escalation
    }

    /// Whether somebody was to be told of it in vain, or is being told.
    fn is_untold(&self) -> bool {
        !self.is_settling && matches!(self.escalation, Escalation::UnderWay { .. } | Escalation::Due { tries: 1.., .. })
    }

    /// When it is to be escalated, if it is and is not yet.
    fn escalates_at(&self) -> Option<u64> {
        match self.escalation {
            Escalation::Due { at_ms, .. } if !self.is_settling => Some(at_ms),
            _ => None,
        }
    }

    fn bytes(&self) -> usize {
        WAITING_BYTES + self.frame.as_text().len()
    }
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of one user. The newest may wait whatever its size.
    pub(super) user_bytes: usize,
    /// Of all.
    pub(super) bytes: usize,
}

/// See the module.
#[derive(Default)]
pub(super) struct Unacknowledged {
    /// By room, in order of arrival.
    rooms: HashMap<Arc<str>, Vec<Waiting>>,
    /// Until when, room and `event_id` of each whose wait is not over.
    due: BTreeSet<(u64, Arc<str>, Arc<str>)>,
    /// When, room and `event_id` of each of those that is to be escalated.
    escalations: BTreeSet<(u64, Arc<str>, Arc<str>)>,
    /// How many of them are being escalated, or were in vain.
    untold: usize,
    /// Bytes of those whose wait is not over.
    bytes: usize,
}

impl Unacknowledged {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// What they take, frames included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// One more waits. Its `event_id` is new to the room.
    pub(super) fn add(&mut self, room: &Arc<str>, waiting: Waiting) {
        debug_assert!(self.find(room, &waiting.event_id).is_none(), "an event that waits is not published again");
        self.bytes += waiting.bytes();
        self.due.insert((waiting.until_ms, Arc::clone(room), Arc::clone(&waiting.event_id)));
        self.escalations.extend(waiting.escalates_at().map(|at_ms| (at_ms, Arc::clone(room), Arc::clone(&waiting.event_id))));
        self.rooms.entry(Arc::clone(room)).or_default().push(waiting);
    }

    /// The event, be its wait over or not.
    pub(super) fn find(&self, room: &str, event_id: &str) -> Option<&Waiting> {
        self.rooms.get(room)?.iter().find(|waiting| *waiting.event_id == *event_id)
    }

    pub(super) fn find_mut(&mut self, room: &str, event_id: &str) -> Option<&mut Waiting> {
        self.rooms.get_mut(room)?.iter_mut().find(|waiting| *waiting.event_id == *event_id)
    }

    /// The events of a room whose wait is not over, in order of arrival.
    pub(super) fn of(&self, room: &str) -> impl Iterator<Item = &Waiting> {
        self.rooms.get(room).into_iter().flatten().filter(|waiting| !waiting.is_settling)
    }

    /// Whether that event waits, its wait not being over.
    pub(super) fn waits(&self, room: &str, event_id: &str) -> bool {
        self.find(room, event_id).is_some_and(|waiting| !waiting.is_settling)
    }

    /// Its wait is over. It stays until [`Unacknowledged::remove`], for those who are to hear of it.
    pub(super) fn settle(&mut self, room: &str, event_id: &str) {
        let Some(waiting) = self.find_mut(room, event_id).filter(|waiting| !waiting.is_settling) else { return };
        let (escalates, was_untold) = (waiting.escalates_at(), waiting.is_untold());
        waiting.is_settling = true;
        let (bytes, key) = (waiting.bytes(), (waiting.until_ms, Arc::from(room), Arc::clone(&waiting.event_id)));
        self.bytes -= bytes;
        self.untold -= usize::from(was_untold);
        self.due.remove(&key);
        if let Some(at_ms) = escalates {
            self.escalations.remove(&(at_ms, key.1, key.2));
        }
    }

    /// It waits again: what was to end that could not be told. Who wants to hear of it.
    pub(super) fn resume(&mut self, room: &str, event_id: &str) -> Vec<Asker> {
        let Some(waiting) = self.find_mut(room, event_id).filter(|waiting| waiting.is_settling) else { return Vec::new() };
        waiting.is_settling = false;
        let askers = std::mem::take(&mut waiting.askers);
        let (bytes, key) = (waiting.bytes(), (waiting.until_ms, Arc::from(room), Arc::clone(&waiting.event_id)));
        let escalates = waiting.escalates_at().map(|at_ms| (at_ms, Arc::clone(&key.1), Arc::clone(&key.2)));
        let is_untold = waiting.is_untold();
        self.untold += usize::from(is_untold);
        self.bytes += bytes;
        self.due.insert(key);
        self.escalations.extend(escalates);
        askers
    }

    /// Says how far its escalation is.
    pub(super) fn set_escalation(&mut self, room: &str, event_id: &str, escalation: Escalation) {
        let Some(waiting) = self.find_mut(room, event_id) else { return };
        let (before, was_untold) = (waiting.escalates_at(), waiting.is_untold());
        waiting.escalation = escalation;
        let (after, is_untold, id) = (waiting.escalates_at(), waiting.is_untold(), Arc::clone(&waiting.event_id));
        self.untold = self.untold + usize::from(is_untold) - usize::from(was_untold);
        let room: Arc<str> = room.into();
        if let Some(at_ms) = before {
            self.escalations.remove(&(at_ms, Arc::clone(&room), Arc::clone(&id)));
        }
        self.escalations.extend(after.map(|at_ms| (at_ms, room, id)));
    }

    /// The one that is to be escalated first: when, room, `event_id`.
    pub(super) fn first_escalation(&self) -> Option<&(u64, Arc<str>, Arc<str>)> {
        self.escalations.first()
    }

    /// Of how many somebody was to be told in vain until now, or is being told.
    pub(super) fn untold(&self) -> usize {
        self.untold
    }

    /// The events of a room, be their wait over or not.
    pub(super) fn all_of(&self, room: &str) -> impl Iterator<Item = &Waiting> {
        self.rooms.get(room).into_iter().flatten()
    }

    /// One more wants to hear of it.
    pub(super) fn ask(&mut self, room: &str, event_id: &str, asker: Asker) {
        if let Some(waiting) = self.find_mut(room, event_id) {
            waiting.askers.push(asker);
        }
    }

    /// Forgets it. Who is to hear of it.
    pub(super) fn remove(&mut self, room: &str, event_id: &str) -> Vec<Asker> {
        self.settle(room, event_id);
        let Some(waiting) = self.rooms.get_mut(room) else { return Vec::new() };
        let at = waiting.iter().position(|waiting| *waiting.event_id == *event_id);
        let askers = at.map(|at| waiting.remove(at).askers).unwrap_or_default();
        if waiting.is_empty() {
            self.rooms.remove(room);
        }
        askers
    }

    /// The one that must go, if more wait than may: of that room the oldest, of all the one that would go first anyway.
    pub(super) fn excess(&self, room: &str, limits: Limits) -> Option<(Arc<str>, Arc<str>)> {
        let (count, bytes) = self.of(room).fold((0, 0), |(count, bytes), waiting| (count + 1, bytes + waiting.bytes()));
        if count > UNACKNOWLEDGED_PER_USER_MAX || (count > 1 && bytes > limits.user_bytes) {
            return self.of(room).next().map(|waiting| (Arc::from(room), Arc::clone(&waiting.event_id)));
        }
        let first = self.due.first().filter(|_| self.bytes > limits.bytes)?;
        Some((Arc::clone(&first.1), Arc::clone(&first.2)))
    }

    /// The one that ends first: until when, room, `event_id`.
    pub(super) fn first_due(&self) -> Option<&(u64, Arc<str>, Arc<str>)> {
        self.due.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { user_bytes: 3 * (WAITING_BYTES + 10), bytes: 5 * (WAITING_BYTES + 10) };

    fn waiting(event_id: &str, until_ms: u64) -> Waiting {
        Waiting::new(event_id.into(), (Lane::Alert, 1, 1), until_ms, Arc::new(Frame::reply(b"0123456789")))
    }

    fn ids<'a>(table: &'a Unacknowledged, room: &str) -> Vec<&'a str> {
        table.of(room).map(|waiting| &*waiting.event_id).collect()
    }

    #[test]
    fn what_is_settled_is_given_to_nobody_and_its_askers_hear_of_it() {
        let mut table = Unacknowledged::default();
        let room: Arc<str> = "user:u1".into();
        for (id, until_ms) in [("a", 30), ("b", 10), ("c", 20)] {
            table.add(&room, waiting(id, until_ms));
        }
        assert_eq!((ids(&table, &room), table.len()), (vec!["a", "b", "c"], 3));
        assert_eq!(table.first_due().map(|due| &*due.2), Some("b"));
        let asker = (ConnId { reactor: 0, slot: 1, generation: 2 }, RequestId::from(7));
        table.settle(&room, "b");
        table.settle(&room, "b");
        table.ask(&room, "b", asker.clone());
        assert_eq!((ids(&table, &room), table.len(), table.waits(&room, "b")), (vec!["a", "c"], 2, false));
        assert_eq!(table.first_due().map(|due| &*due.2), Some("c"));
        assert!(table.find(&room, "b").is_some());
        assert_eq!(table.remove(&room, "b"), [asker]);
        for id in ["a", "b", "c", "c"] {
            assert_eq!(table.remove(&room, id), []);
        }
        assert_eq!((table.len(), table.bytes(), table.rooms.len()), (0, 0, 0));
    }

    /// QTE-11: at most 100 of a user; and no more bytes than a user, and all together, may have.
    #[test]
    fn the_oldest_of_a_user_goes_and_of_all_the_one_that_ends_first() {
        let mut table = Unacknowledged::default();
        let room = |n: usize| -> Arc<str> { format!("user:u{n}").into() };
        let unlimited = Limits { user_bytes: usize::MAX, bytes: usize::MAX };
        for n in 0..=UNACKNOWLEDGED_PER_USER_MAX {
            assert_eq!(table.excess(&room(1), unlimited), None, "{n}");
            table.add(&room(1), waiting(&format!("e{n}"), 1000 - n as u64));
        }
        assert_eq!(table.excess(&room(1), unlimited), Some((room(1), "e0".into())));
        let mut table = Unacknowledged::default();
        for n in 0..4 {
            assert_eq!(table.excess(&room(1), LIMITS), None);
            table.add(&room(1), waiting(&format!("e{n}"), 1000 - n));
        }
        assert_eq!(table.excess(&room(1), LIMITS), Some((room(1), "e0".into())));
        table.settle(&room(1), "e0");
        assert_eq!(table.excess(&room(1), LIMITS), None, "what is on its way out does not count");
        for n in 2..5 {
            assert_eq!(table.excess(&room(n), LIMITS), None);
            table.add(&room(n), waiting("x", 2000));
        }
        assert_eq!(table.excess(&room(4), LIMITS), Some((room(1), "e3".into())));
    }

    /// An event that is larger than a user's share waits all the same, alone.
    #[test]
    fn the_newest_may_always_wait() {
        let mut table = Unacknowledged::default();
        let (room, small) = (Arc::from("user:u1"), Limits { user_bytes: 1, ..LIMITS });
        table.add(&room, waiting("a", 1));
        assert_eq!(table.excess(&room, small), None);
        table.add(&room, waiting("b", 1));
        assert_eq!(table.excess(&room, small), Some((Arc::clone(&room), "a".into())));
    }
}
