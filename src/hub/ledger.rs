//! What the journal was given and has not synced yet; publishers who wait for it; and what it could not take.
//!
//! A `stream` event whose publisher wants to know that it is safe gets its place here before it gets its number, or is refused unpushed.
//! The push waits for nothing. Whoever is content with memory is answered at once; if the journal has no room for such an event, it is
//! behind there, as a reactor is with a full link, and gets it from the history later; what is gone from that by then is a hole.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::codes::{JOURNAL_UNAVAILABLE, QUEUE_FULL, Refusal};
use crate::base::ids::{ConnId, RoomId, Ticket};
use crate::base::lane::Lane;
use crate::base::limits::{JOURNAL_ALERT_RESERVE_ENTRIES, JOURNAL_BYTES_MAX, JOURNAL_ENTRIES_MAX};
use crate::base::time::{Mono, Now};
use crate::wire::frame::Frame;

use super::Hub;
use super::acks::not_kept;
use super::encode;
use super::journal::{Entry, EventEntry};
use super::ports::{Accepted, Outlet, Safety};
use super::room::Room;
use super::unacknowledged::{Asker, Unacknowledged};

/// When a disk that fails is worth another try.
const RETRY_FAILING_MS: u32 = 1_000;
/// When a full queue before the disk is.
const RETRY_FULL_MS: u32 = 20;
/// Events given from the history in one call.
const CAUGHT_UP_PER_CALL: usize = 256;
/// How soon a journal that is behind is tried again.
const RETRY_BEHIND: std::time::Duration = std::time::Duration::from_millis(1);

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    /// The number of the last entry given.
    given: u64,
    /// The number of the last one synced.
    committed: u64,
    /// Those between.
    in_flight: VecDeque<InFlight>,
    bytes: usize,
    /// Places promised to events that wait for their number.
    promised: usize,
    parked: VecDeque<Parked>,
    /// Why the disk takes nothing.
    failing: Option<Arc<str>>,
    /// The next number owed to the journal of each (room, lane) that is behind.
    behind: HashMap<(RoomId, Lane), u64>,
    turns: VecDeque<(RoomId, Lane)>,
}

/// An entry that is not synced yet.
struct InFlight {
    cost: u32,
    /// Which event it is, if it is one.
    event: Option<(RoomId, Lane, u64)>,
}

/// One who waits until an entry is synced.
struct Parked {
    entry: u64,
    waiter: Waiter,
}

/// See [`Parked`].
pub(super) enum Waiter {
    /// Who published an event, and what it is told then.
    Publisher((ConnId, Ticket), Accepted),
    /// Who acknowledged one.
    Asker(Asker),
}

impl Ledger {
    /// A place for a durable event, to be kept until its number comes.
    pub(super) fn promise(&mut self, room: RoomId, lane: Lane) -> Result<(), Refusal> {
        self.is_well()?;
        if self.behind.contains_key(&(room, lane)) {
            return Err(full());
        }
        self.promise_places(1, lane)
    }

    /// Places for the end of a wait and for the notice of it, which goes to that (room, lane) if it goes anywhere: both or none. An
    /// acknowledgment is as urgent as an alert.
    pub(super) fn promise_end(&mut self, notice: Option<(RoomId, Lane)>) -> Result<(), Refusal> {
        self.is_well()?;
        if notice.is_some_and(|place| self.behind.contains_key(&place)) {
            return Err(full());
        }
        self.promise_places(1 + usize::from(notice.is_some()), Lane::Alert)
    }

    fn promise_places(&mut self, places: usize, lane: Lane) -> Result<(), Refusal> {
        if !self.has_places(places, lane) {
            return Err(full());
        }
        self.promised += places;
        Ok(())
    }

    /// Refused while the disk takes nothing.
    pub(super) fn is_well(&self) -> Result<(), Refusal> {
        self.failing.as_ref().map_or(Ok(()), |reason| Err(unavailable(reason)))
    }

    /// What a place was promised to has come.
    pub(super) fn redeem(&mut self) {
        debug_assert!(self.promised > 0, "no place was promised to it");
        self.promised = self.promised.saturating_sub(1);
    }

    pub(super) fn has_room(&self, lane: Lane) -> bool {
        self.has_places(1, lane)
    }

    fn has_places(&self, places: usize, lane: Lane) -> bool {
        let reserve = if lane == Lane::Alert { 0 } else { JOURNAL_ALERT_RESERVE_ENTRIES };
        let entries = self.in_flight.len() + self.promised + reserve;
        let bytes_max = if lane == Lane::Alert { JOURNAL_BYTES_MAX } else { JOURNAL_BYTES_MAX / 10 * 9 };
        entries + places <= JOURNAL_ENTRIES_MAX && self.bytes < bytes_max
    }

    /// Whether publishers had better slow down for it.
    pub(super) fn is_filling(&self) -> bool {
        !self.turns.is_empty() || self.in_flight.len() * 5 > JOURNAL_ENTRIES_MAX * 4 || self.bytes * 5 > JOURNAL_BYTES_MAX * 4
    }

    /// Gives an entry to the journal; returns its number.
    pub(super) fn give(&mut self, entry: Entry, event: Option<(RoomId, Lane, u64)>, out: &mut impl Outlet) -> u64 {
        let cost = entry.cost();
        self.given += 1;
        self.in_flight.push_back(InFlight { cost: cost as u32, event });
        self.bytes += cost;
        out.journal(entry);
        self.given
    }

    /// The number of the last entry given: whoever waits for it waits for all before it.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// The first event of that (room, lane) that is not synced yet.
    pub(super) fn first_unsynced(&self, room: RoomId, lane: Lane) -> Option<u64> {
        let is_of_it = |(id, of, seq)| (id == room && of == lane).then_some(seq);
        self.in_flight.iter().filter_map(|entry| entry.event).find_map(is_of_it)
    }

    /// Whether that entry is synced.
    pub(super) fn is_safe(&self, entry: u64) -> bool {
        entry <= self.committed
    }

    /// Whether the disk takes nothing.
    pub(super) fn failing(&self) -> Option<&Arc<str>> {
        self.failing.as_ref()
    }

    /// It is answered when that entry is synced.
    pub(super) fn park(&mut self, entry: u64, waiter: Waiter) {
        debug_assert!(self.parked.back().is_none_or(|last| last.entry <= entry), "answers wait in the order of the entries");
        self.parked.push_back(Parked { entry, waiter });
    }

    /// Entries, bytes and answers that wait for the disk.
    pub(super) fn waiting(&self) -> (usize, usize, usize) {
        (self.in_flight.len(), self.bytes, self.parked.len())
    }

    fn commit(&mut self, entry: u64) {
        debug_assert!(entry <= self.given, "the journal synced what it was not given");
        while self.committed < entry {
            self.committed += 1;
            self.bytes -= self.in_flight.pop_front().map_or(0, |entry| entry.cost as usize);
        }
    }

    fn pop_safe(&mut self) -> Option<Parked> {
        self.parked.front().filter(|parked| parked.entry <= self.committed)?;
        self.parked.pop_front()
    }
}

/// What a publisher is told while the disk takes nothing.
pub(super) fn unavailable(reason: &str) -> Refusal {
    let message = format!("the journal cannot be written ({reason}): send again after retry_after_ms, or with \"ack\":\"memory\"");
    Refusal::passing(JOURNAL_UNAVAILABLE, message, RETRY_FAILING_MS)
}

fn full() -> Refusal {
    Refusal::passing(QUEUE_FULL, "the queue before the disk is full: send again after retry_after_ms", RETRY_FULL_MS)
}

impl Hub {
    /// The journal has synced entries up to that one.
    pub(super) fn committed(&mut self, entry: u64) {
        let Some(ledger) = &mut self.ledger else { return };
        ledger.failing = None;
        ledger.commit(entry);
        while let Some(parked) = self.ledger.as_mut().and_then(Ledger::pop_safe) {
            match parked.waiter {
                Waiter::Publisher(publisher, accepted) => self.answer(publisher, Ok(Accepted { safety: Safety::Durable, ..accepted })),
                Waiter::Asker(asker) => self.answer_ack(Some(asker), Ok(())),
            }
        }
    }

    /// The disk takes nothing. Who waits is told; what was pushed stays pushed, and is tried again.
    pub(super) fn journal_fails(&mut self, reason: Arc<str>) {
        let Some(ledger) = &mut self.ledger else { return };
        let message = format!(
            "it was pushed, but the journal cannot be written ({reason}): send it again with the same event_id after retry_after_ms"
        );
        let refusal = Refusal::passing(JOURNAL_UNAVAILABLE, message, RETRY_FAILING_MS);
        ledger.failing = Some(reason);
        for parked in std::mem::take(&mut ledger.parked) {
            match parked.waiter {
                Waiter::Publisher(publisher, _) => self.answer(publisher, Err(refusal.clone())),
                Waiter::Asker(asker) => self.answer_ack(Some(asker), Err(not_kept(&refusal))),
            }
        }
    }

    /// Gives a numbered event to the journal. The number of its entry; `None` if it is to follow later.
    pub(super) fn journal_event(&mut self, id: RoomId, event: Journaled, is_promised: bool, out: &mut impl Outlet) -> Option<u64> {
        let ledger = self.ledger.as_mut()?;
        let room = self.rooms.by_id(id)?;
        let is_behind = ledger.behind.contains_key(&(id, event.lane));
        // One that has a place waits behind those of its lane that have none: the log has each lane's events in their order.
        let fits = !is_behind && (is_promised || (ledger.failing.is_none() && ledger.has_room(event.lane)));
        if fits {
            let place = (id, event.lane, event.seq);
            let until_ms = event.waits_until(&room.name, &self.unacknowledged);
            return Some(ledger.give(event.entry(room, until_ms), Some(place), out));
        }
        if !is_behind {
            ledger.behind.insert((id, event.lane), event.seq);
            ledger.turns.push_back((id, event.lane));
        }
        None
    }

    /// Brings a journal that is behind on, from the history. Returns when to try again.
    pub(super) fn bring_journal_on(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        let Some(ledger) = &mut self.ledger else { return Mono::NEVER };
        for _ in 0..CAUGHT_UP_PER_CALL {
            let Some((id, lane)) = ledger.turns.front().copied() else { return Mono::NEVER };
            if ledger.failing.is_some() || !ledger.has_room(lane) {
                break;
            }
            let next = ledger.behind.get(&(id, lane)).copied();
            let owed = next.zip(self.rooms.by_id(id)).filter(|(next, room)| *next <= room.lanes[lane.index()].live);
            let Some((next, room)) = owed else {
                ledger.turns.pop_front();
                ledger.behind.remove(&(id, lane));
                continue;
            };
            let stream = &room.lanes[lane.index()];
            let seq = next.max(stream.oldest());
            self.stats.journal_holes += seq - next;
            ledger.behind.insert((id, lane), seq + 1);
            if let Some(frame) = stream.event(seq) {
                let (ts_ms, event_id) = encode::ts_and_event_id(frame.as_text());
                let event = Journaled { lane, seq, ts_ms, event_id: event_id.map(Box::from), may_wait: true, frame: Arc::clone(frame) };
                let until_ms = event.waits_until(&room.name, &self.unacknowledged);
                ledger.give(event.entry(room, until_ms), Some((id, lane, seq)), out);
            }
        }
        now.mono.plus(RETRY_BEHIND)
    }
}

/// An event that is to be kept.
pub(super) struct Journaled {
    pub(super) lane: Lane,
    pub(super) seq: u64,
    pub(super) ts_ms: u64,
    pub(super) event_id: Option<Box<str>>,
    /// It may be one that waits for its user.
    pub(super) may_wait: bool,
    pub(super) frame: Arc<Frame>,
}

impl Journaled {
    /// Until when it waits for its user, if it does.
    fn waits_until(&self, room: &str, unacknowledged: &Unacknowledged) -> Option<u64> {
        let event_id = self.event_id.as_deref().filter(|_| self.may_wait)?;
        let waiting = unacknowledged.find(room, event_id).filter(|waiting| waiting.seq == self.seq)?;
        unacknowledged.waits(room, event_id).then_some(waiting.until_ms)
    }

    fn entry(self, room: &Room, ack_until_ms: Option<u64>) -> Entry {
        Entry::Event(EventEntry {
            room: Arc::clone(&room.name),
            owner: room.owner.clone(),
            born: room.born,
            epoch: room.epoch.number,
            first: room.lanes[self.lane.index()].starts.last().map_or(self.seq, |(_, first)| *first),
            lane: self.lane,
            history: room.lanes[self.lane.index()].history,
            seq: self.seq,
            ts_ms: self.ts_ms,
            event_id: self.event_id,
            ack_until_ms,
            frame: self.frame,
        })
    }
}
