//! What becomes of a publish: refused, recognized, or accepted with a number.

use std::sync::Arc;

use crate::base::codes::{self, Refusal};
use crate::base::ids::{ConnId, RoomId, Ticket};
use crate::base::lane::{Lane, Mode};
use crate::base::time::{Mono, Now};
use crate::wire::frame::Frame;

use super::Hub;
use super::acks::{Settles, no_place_to_wait};
use super::journal::Entry;
use super::ledger::{self, Journaled, Waiter};
use super::ports::{Accepted, Answer, Event, NeedSeq, Number, Outcome, Outlet, PendingId, Publish, Safety, Sequenced};
use super::room::{HeldEvent, HeldState, Seen};
use super::rooms::Eviction;

/// What a state key costs beyond the bytes of its value: its entry, its name, its frame's head.
pub(super) const KEY_BYTES: usize = 512;
/// When a full table is worth another try.
const RETRY_MS: u32 = 1_000;

/// The entry of an event that the journal has not got: a duplicate of it is as safe as memory.
const NEVER_SAFE: u64 = u64::MAX;

/// A `stream` event that waits for its number.
pub(super) struct Pending {
    room: RoomId,
    event: Event,
    accepted: Mono,
    /// When it came to the hub, no earlier than that.
    taken: Mono,
    ts_ms: u64,
    /// `None`: the hub itself.
    publisher: Option<(ConnId, Ticket)>,
    /// Those who published the same `event_id` meanwhile.
    others: Vec<(ConnId, Ticket)>,
    /// It has a place in the journal, and its publisher is answered when it is safe there.
    is_durable: bool,
    /// The wait for an acknowledgment whose end it tells.
    settles: Option<Settles>,
}

impl Pending {
    /// What tells of the end of a wait, and has its place in the journal.
    pub(super) fn notice(room: RoomId, event: Event, now: Now, settles: Settles) -> Pending {
        let (accepted, taken, ts_ms) = (now.mono, now.mono, now.wall_ms);
        Pending { room, event, accepted, taken, ts_ms, publisher: None, others: Vec::new(), is_durable: true, settles: Some(settles) }
    }
}

/// Where an accepted event goes on.
enum Verdict {
    /// Nothing to push: the answer is known.
    Known(Outcome, Number),
    /// The same event was pushed already; it is safe when that entry of the journal is.
    Duplicate(Number, u64),
    /// It waits for another's number.
    Waits(PendingId),
    /// It is new.
    New,
}

impl Hub {
    pub(super) fn publish(&mut self, now: Now, publish: Publish, out: &mut impl Outlet) {
        if self.shared.is_some() && self.rooms.are_shared(&publish.event.room) {
            return self.append(now, publish, out);
        }
        self.publish_here(now, publish, out);
    }

    /// The hub itself judges and numbers it.
    pub(super) fn publish_here(&mut self, now: Now, publish: Publish, out: &mut impl Outlet) {
        let publisher = (publish.conn, publish.ticket);
        let (id, verdict) = match self.judge(&publish.event) {
            Ok(judged) => judged,
            Err(refusal) => return self.answer(publisher, Err(refusal)),
        };
        match verdict {
            Verdict::Known(outcome, number) => self.answer_with(publisher, id, &publish.event, outcome, number),
            Verdict::Duplicate(number, entry) => self.answer_duplicate(publisher, id, &publish, number, entry),
            Verdict::Waits(pending) => self.wait(pending, publisher),
            Verdict::New => self.accept(now, id, publish, out),
        }
    }

    /// An event of the daemon itself, which nobody waits for: where there is no place for it, it is not pushed.
    pub(super) fn announce(&mut self, now: Now, event: Event, out: &mut impl Outlet) {
        debug_assert!(self.shared.is_none() || !self.rooms.are_shared(&event.room), "the daemon's own rooms are shared with nobody");
        let Ok(room) = self.room_of(&event.room, Eviction::Allowed) else { return };
        let (accepted, taken, ts_ms) = (now.mono, now.mono, now.wall_ms);
        if event.mode == Mode::Transient {
            return self.hold_or_release(now, room, HeldEvent { event, seq: None, accepted, taken, ts_ms }, out);
        }
        let (publisher, others, is_durable, settles) = (None, Vec::new(), false, None);
        self.number(room, Pending { room, event, accepted, taken, ts_ms, publisher, others, is_durable, settles }, out);
    }

    /// The room and what the event is to it. Nothing is changed but that the room exists, and a state's version.
    fn judge(&mut self, event: &Event) -> Result<(RoomId, Verdict), Refusal> {
        let id = self.room_of(&event.room, Eviction::Allowed)?;
        let room = self.rooms.by_id_mut(id).expect("it was found or made in the line above");
        room.touched = true;
        if let (Some(given), Some(owner)) = (&event.owner, &room.owner)
            && **given != **owner
        {
            let message = format!("room `{}` belongs to another owner than `{given}`; the first owner sticks", room.name);
            return Err(Refusal::new(codes::OWNER_CONFLICT, message));
        }
        match event.event_id.as_deref().and_then(|event_id| room.seen.get(event_id)) {
            Some(Seen::Done { number, entry }) => return Ok((id, Verdict::Duplicate(*number, *entry))),
            Some(Seen::Pending(pending)) => return Ok((id, Verdict::Waits(*pending))),
            None => {}
        }
        if event.mode == Mode::State {
            return Ok((id, self.judge_state(id, event)?));
        }
        // One that waits for its user is remembered for as long.
        let wanted = event.event_id.as_deref().filter(|_| event.ack_ttl.is_some());
        let waiting = wanted.and_then(|event_id| self.unacknowledged.find(&event.room, event_id));
        Ok((id, waiting.map_or(Verdict::New, |waiting| Verdict::Duplicate(Number::Seq(waiting.seq), waiting.entry))))
    }

    fn judge_state(&mut self, id: RoomId, event: &Event) -> Result<Verdict, Refusal> {
        let room = self.rooms.by_id_mut(id).expect("the caller found it");
        let Some(index) = room.states.find(&event.kind, &event.key) else {
            // The deletion of what is not there is remembered if it has a version: an older value may come later.
            let changes_nothing = &*event.data == "null" && event.version.is_none();
            return Ok(if changes_nothing { Verdict::Known(Outcome::Unchanged, Number::Rev(0)) } else { Verdict::New });
        };
        let key = &mut room.states.keys[index];
        if key.lane != event.lane {
            let message =
                format!("`{}` is a state of lane `{}` in room `{}`; it cannot change to `{}`", key.kind, key.lane, room.name, event.lane);
            return Err(Refusal::new(codes::CATALOG_CONFLICT, message));
        }
        if event.version.is_some() && event.version <= key.version {
            return Ok(Verdict::Known(Outcome::Stale, Number::Rev(key.rev)));
        }
        if !key.has_data(&event.data) {
            return Ok(Verdict::New);
        }
        key.version = event.version.or(key.version);
        Ok(Verdict::Known(Outcome::Unchanged, Number::Rev(key.rev)))
    }

    /// The room of that name, made if need be.
    pub(super) fn room_of(&mut self, name: &str, eviction: Eviction) -> Result<RoomId, Refusal> {
        let eviction = if self.may_forget() { eviction } else { Eviction::Never };
        let Some((id, evicted)) = self.rooms.find_or_make(name, eviction) else {
            let message = format!("no place for room `{name}`: the server has as many rooms as it may");
            return Err(Refusal::passing(codes::OVER_CAPACITY, message, RETRY_MS));
        };
        if let Some(evicted) = evicted {
            self.forgotten.push(Arc::clone(&evicted.name));
            self.history.release(&evicted.lanes);
            self.stats.keys -= evicted.states.keys.len() as u64;
            self.stats.state_bytes -= evicted.states.bytes() as u64;
        }
        Ok(id)
    }

    fn accept(&mut self, now: Now, id: RoomId, publish: Publish, out: &mut impl Outlet) {
        let publisher = (publish.conn, publish.ticket);
        match publish.event.mode {
            Mode::Stream => self.accept_stream(now, id, publish, out),
            Mode::State => self.accept_state(now, id, publish, out),
            Mode::Transient => {
                out.accepted(&publish.event, now);
                self.settle(now, id, &publish.event, Number::None, 0);
                self.answer_with(publisher, id, &publish.event, Outcome::Accepted, Number::None);
                let (accepted, taken) = (publish.accepted, taken(now, &publish));
                let held = HeldEvent { event: publish.event, seq: None, accepted, taken, ts_ms: now.wall_ms };
                self.hold_or_release(now, id, held, out);
            }
        }
    }

    fn accept_stream(&mut self, now: Now, id: RoomId, publish: Publish, out: &mut impl Outlet) {
        if publish.event.ack_ttl.is_some()
            && let Err(refusal) = self.make_place_to_wait(now, id, &publish.event.room, out)
        {
            return self.answer((publish.conn, publish.ticket), Err(refusal));
        }
        let is_durable = self.ledger.is_some() && publish.ack == Safety::Durable;
        if is_durable && let Some(Err(refusal)) = self.ledger.as_mut().map(|ledger| ledger.promise(id, publish.event.lane)) {
            return self.answer((publish.conn, publish.ticket), Err(refusal));
        }
        self.own(id, &publish.event); // now, not when the number comes: another owner's event may come first
        let event_id = publish.event.event_id.clone();
        let pending = Pending {
            room: id,
            accepted: publish.accepted,
            taken: taken(now, &publish),
            ts_ms: now.wall_ms,
            publisher: Some((publish.conn, publish.ticket)),
            others: Vec::new(),
            is_durable,
            settles: None,
            event: publish.event,
        };
        let pending = self.number(id, pending, out);
        if let Some(event_id) = event_id {
            self.dedupe.remember(now.mono, id, &event_id, Seen::Pending(pending), &mut self.rooms);
        }
    }

    /// Before one more waits for its user, those that are too many already go.
    fn make_place_to_wait(&mut self, now: Now, id: RoomId, name: &str, out: &mut impl Outlet) -> Result<(), Refusal> {
        // The room in which that is told may take the place of another, but not of this one.
        self.rooms.by_id_mut(id).expect("the caller found it").pending += 1;
        let limited = self.limit_waits(now, name, out);
        self.rooms.by_id_mut(id).expect("a room with pending events is not evicted").pending -= 1;
        limited.map_err(|refusal| no_place_to_wait(&refusal))
    }

    /// Asks for an event's number.
    pub(super) fn number(&mut self, id: RoomId, pending: Pending, out: &mut impl Outlet) -> PendingId {
        let room = self.rooms.by_id_mut(id).expect("the caller found it");
        room.pending += 1;
        let lane = pending.event.lane;
        let head = room.lanes[lane.index()].head;
        let (slot, generation) = self.pending.insert(|_, _| pending);
        let pending = PendingId { slot, generation };
        out.need_seq(NeedSeq { pending, room: id, lane, head });
        pending
    }

    fn accept_state(&mut self, now: Now, id: RoomId, publish: Publish, out: &mut impl Outlet) {
        let publisher = (publish.conn, publish.ticket);
        let index = match self.place_for(id, &publish.event) {
            Ok(index) => index,
            Err(refusal) => return self.answer(publisher, Err(refusal)),
        };
        out.accepted(&publish.event, now);
        let room = self.rooms.by_id_mut(id).expect("the caller found it");
        let key = &mut room.states.keys[index];
        key.rev += 1;
        key.version = publish.event.version.or(key.version);
        key.ts_ms = now.wall_ms;
        if self.ledger.is_some() {
            self.facts.changed(now.mono, id, index, key);
        }
        let number = Number::Rev(key.rev);
        self.settle(now, id, &publish.event, number, 0);
        self.answer_with(publisher, id, &publish.event, Outcome::Accepted, number);
        let (accepted, taken) = (publish.accepted, taken(now, &publish));
        let held = HeldState { data: publish.event.data, event_id: publish.event.event_id, accepted, taken, ts_ms: now.wall_ms };
        let key = &mut self.rooms.by_id_mut(id).expect("the caller found it").states.keys[index];
        self.held_bytes += held.data.len();
        let replaced = key.held.replace(held);
        self.held_bytes -= replaced.as_ref().map_or(0, |replaced| replaced.data.len());
        self.hold_or_release_state(now, id, index, replaced.is_some(), out);
    }

    /// The key of a state, added if it is new, with the bytes of its new value booked.
    pub(super) fn place_for(&mut self, id: RoomId, event: &Event) -> Result<usize, Refusal> {
        let new_id = self.rooms.new_key_id();
        let (rooms, lags) = (&mut self.rooms, &self.lags);
        let states = &mut rooms.by_id_mut(id).expect("the caller found it").states;
        let known = states.find(&event.kind, &event.key);
        let before = known.map_or(0, |index| states.keys[index].bytes) as u64;
        let bytes = state_cost(&event.data);
        let total = self.stats.state_bytes - before + bytes as u64;
        if total > self.options.state_bytes as u64 && &*event.data != "null" {
            let message = "the server holds as many bytes of states as it may: delete keys that are not needed any more";
            return Err(Refusal::passing(codes::OVER_CAPACITY, message, RETRY_MS));
        }
        self.stats.state_bytes = total;
        let index = if let Some(index) = known {
            index
        } else {
            let is_owed = |key| lags.iter().any(|lag| lag.owes_key(key));
            let keys_before = states.keys.len();
            let added = states.add(new_id, &event.kind, &event.key, event.lane, self.options.keys_per_room_max, is_owed);
            let Some(added) = added else {
                self.stats.state_bytes -= bytes as u64;
                let message = format!(
                    "room `{}` has {} keys, which is all it may: delete some, or use more rooms",
                    event.room, self.options.keys_per_room_max
                );
                return Err(Refusal::new(codes::OVER_CAPACITY, message));
            };
            self.stats.state_bytes -= added.forgotten_bytes as u64;
            self.stats.keys += (states.keys.len() - keys_before) as u64;
            added.index
        };
        states.keys[index].bytes = bytes;
        Ok(index)
    }

    /// A number has come: the event is accepted, answered, and goes on to its lane.
    pub(super) fn sequenced(&mut self, now: Now, sequenced: Sequenced, out: &mut impl Outlet) {
        let PendingId { slot, generation } = sequenced.pending;
        let Some(mut pending) = self.pending.remove(slot, generation) else {
            debug_assert!(false, "a number for an event that does not wait");
            return;
        };
        let id = pending.room;
        let room = self.rooms.by_id_mut(id).expect("a room with pending events is not evicted");
        room.pending -= 1;
        let stream = &mut room.lanes[pending.event.lane.index()];
        debug_assert_eq!(sequenced.seq, stream.head + 1, "numbers come in order");
        stream.head = sequenced.seq;
        stream.history = stream.history.max(pending.event.history);
        let number = Number::Seq(sequenced.seq);
        let (settles, user_room) = (pending.settles.take(), pending.event.ack_ttl.map(|_| pending.event.room.clone()));
        if self.ledger.is_some() {
            self.sequenced_for_journal(now, pending, sequenced.seq, out);
        } else {
            self.settle(now, id, &pending.event, number, 0);
            for (who, outcome) in askers(pending.publisher, pending.others) {
                self.answer_with(who, id, &pending.event, outcome, number);
            }
            let Pending { event, accepted, taken, ts_ms, .. } = pending;
            let held = HeldEvent { event, seq: Some(sequenced.seq), accepted, taken, ts_ms };
            if user_room.is_some() {
                self.push_to_be_acknowledged(now, id, held, out);
            } else {
                self.hold_or_release(now, id, held, out);
            }
        }
        if let Some(settles) = settles {
            self.settled(&settles, out);
        }
        if let Some(room) = user_room {
            self.limit_waits(now, &room, out).ok(); // one that cannot go now goes before the next one comes
        }
    }

    /// Pushes an event, and has it wait for its user if it is to be acknowledged.
    pub(super) fn push_to_be_acknowledged(&mut self, now: Now, id: RoomId, held: HeldEvent, out: &mut impl Outlet) -> Arc<Frame> {
        let wanted = held.event.ack_ttl.and_then(|ttl| Some((ttl, held.event.event_id.clone()?)));
        let place = (held.event.lane, held.seq.unwrap_or_default(), held.ts_ms);
        let frame = self.release_or_encode(now, id, held, out);
        if let Some((ttl, event_id)) = wanted {
            self.wait_for_ack(id, (&event_id, ttl), place, &frame);
        }
        frame
    }

    /// What [`Hub::sequenced`] does with a journal: the push goes first, the answer waits for the disk.
    fn sequenced_for_journal(&mut self, now: Now, pending: Pending, seq: u64, out: &mut impl Outlet) {
        let Pending { room: id, event, accepted, taken, ts_ms, publisher, others, is_durable, settles: _ } = pending;
        let (lane, event_id, may_wait) = (event.lane, event.event_id.clone(), event.ack_ttl.is_some());
        if let Some(room) = self.rooms.by_id_mut(id) {
            let epoch = room.epoch.number;
            room.lanes[lane.index()].start_epoch(epoch, seq);
        }
        let answer = self.accepted(id, lane, Outcome::Accepted, Number::Seq(seq));
        if is_durable && let Some(ledger) = &mut self.ledger {
            ledger.redeem();
        }
        let frame = self.push_to_be_acknowledged(now, id, HeldEvent { event, seq: Some(seq), accepted, taken, ts_ms }, out);
        self.tell_forgotten(out);
        let journaled = Journaled { lane, seq, ts_ms, event_id: event_id.clone(), may_wait, frame };
        let entry = self.journal_event(id, journaled, is_durable, out);
        self.remember(now, id, event_id.as_deref(), Mode::Stream, Number::Seq(seq), entry.unwrap_or(NEVER_SAFE));
        let waiting = event_id.filter(|_| may_wait).and_then(|event_id| self.unacknowledged.find_mut(&answer.room, &event_id));
        if let Some(waiting) = waiting {
            waiting.entry = entry.unwrap_or(NEVER_SAFE);
        }
        for (who, outcome) in askers(publisher, others) {
            let accepted = Accepted { outcome, ..answer.clone() };
            match (entry, &mut self.ledger) {
                (Some(entry), Some(ledger)) if is_durable => ledger.park(entry, Waiter::Publisher(who, accepted)),
                _ => self.answer(who, Ok(accepted)),
            }
        }
    }

    /// A duplicate of an event that is not safe yet waits until that is.
    fn answer_duplicate(&mut self, publisher: (ConnId, Ticket), id: RoomId, publish: &Publish, number: Number, entry: u64) {
        let answer = self.accepted(id, publish.event.lane, Outcome::Duplicate, number);
        let Some(ledger) = self.ledger.as_mut().filter(|_| publish.event.mode == Mode::Stream && publish.ack == Safety::Durable) else {
            return self.answer(publisher, Ok(answer));
        };
        if entry == NEVER_SAFE {
            return self.answer(publisher, Ok(answer)); // it was published for memory alone
        }
        if ledger.is_safe(entry) {
            return self.answer(publisher, Ok(Accepted { safety: Safety::Durable, ..answer }));
        }
        if let Some(reason) = ledger.failing() {
            let refusal = ledger::unavailable(reason);
            return self.answer(publisher, Err(refusal));
        }
        let last = ledger.given(); // answers wait in the order of the entries, and a later one is as good
        ledger.park(last, Waiter::Publisher(publisher, answer));
    }

    /// Whether a room may be evicted: the journal must be told.
    fn may_forget(&self) -> bool {
        // Of a room that is evicted the hub would not know what the store knows.
        if self.shared.is_some() {
            return false;
        }
        self.ledger.as_ref().is_none_or(|ledger| ledger.failing().is_none() && ledger.has_room(Lane::Alert) && self.forgotten.is_empty())
    }

    /// Tells the journal of evicted rooms, before it gets anything of those that took their place.
    pub(super) fn tell_forgotten(&mut self, out: &mut impl Outlet) {
        for room in std::mem::take(&mut self.forgotten) {
            let Some(ledger) = &mut self.ledger else { continue };
            self.facts.forgotten(Arc::clone(&room));
            ledger.give(Entry::Forget { room }, None, out);
            ledger.give(Entry::Epoch(self.rooms.epoch().clone()), None, out);
        }
    }

    /// What an accepted event leaves behind: the owner, and the memory of its `event_id`.
    fn settle(&mut self, now: Now, id: RoomId, event: &Event, number: Number, entry: u64) {
        if event.mode != Mode::Stream {
            self.own(id, event); // of a stream it was noted before the number came
        }
        self.remember(now, id, event.event_id.as_deref(), event.mode, number, entry);
    }

    fn remember(&mut self, now: Now, id: RoomId, event_id: Option<&str>, mode: Mode, number: Number, entry: u64) {
        let (Some(room), Some(event_id)) = (self.rooms.by_id_mut(id), event_id) else { return };
        match room.seen.get_mut(event_id) {
            Some(seen) => *seen = Seen::Done { number, entry },
            None if mode == Mode::Stream => {} // forgotten while it waited
            None => self.dedupe.remember(now.mono, id, event_id, Seen::Done { number, entry }, &mut self.rooms),
        }
    }

    /// The first owner sticks.
    pub(super) fn own(&mut self, id: RoomId, event: &Event) {
        let Some(room) = self.rooms.by_id_mut(id).filter(|room| room.owner.is_none()) else { return };
        let Some(owner) = event.owner.as_deref() else { return };
        room.owner = Some(owner.into());
        if self.ledger.is_some() {
            self.facts.owned(id);
        }
    }

    fn wait(&mut self, pending: PendingId, publisher: (ConnId, Ticket)) {
        if let Some(pending) = self.pending.get_mut(pending.slot, pending.generation) {
            pending.others.push(publisher);
        }
    }

    fn answer_with(&mut self, to: (ConnId, Ticket), id: RoomId, event: &Event, outcome: Outcome, number: Number) {
        let accepted = self.accepted(id, event.lane, outcome, number);
        self.answer(to, Ok(accepted));
    }

    fn accepted(&self, id: RoomId, lane: Lane, outcome: Outcome, number: Number) -> Accepted {
        let room = self.rooms.by_id(id).expect("the caller found it");
        let (epoch, members) = (room.epoch.name.clone(), room.members_total());
        Accepted { outcome, room: room.name.clone(), lane, number, epoch, safety: Safety::Memory, members }
    }

    pub(super) fn answer(&mut self, (conn, ticket): (ConnId, Ticket), outcome: Result<Accepted, Refusal>) {
        match &outcome {
            Err(_) => self.stats.refused += 1,
            Ok(accepted) => match accepted.outcome {
                Outcome::Accepted => self.stats.accepted[accepted.lane.index()] += 1,
                Outcome::Duplicate => self.stats.duplicate += 1,
                Outcome::Stale => self.stats.stale += 1,
                Outcome::Unchanged => self.stats.unchanged += 1,
            },
        }
        self.answers[usize::from(conn.reactor)].push(Answer { conn, ticket, outcome });
    }
}

/// Who is to be told of a number: that the event is accepted, or that it was published before.
fn askers(publisher: Option<(ConnId, Ticket)>, others: Vec<(ConnId, Ticket)>) -> impl Iterator<Item = ((ConnId, Ticket), Outcome)> {
    let first = publisher.into_iter().map(|publisher| (publisher, Outcome::Accepted));
    first.chain(others.into_iter().map(|other| (other, Outcome::Duplicate)))
}

/// When the hub took an event: a reactor may have read it after the hub last looked at the clock.
fn taken(now: Now, publish: &Publish) -> Mono {
    now.mono.max(publish.accepted)
}

/// What a state key with that value counts for in the budget of all states.
pub(super) fn state_cost(data: &str) -> usize {
    KEY_BYTES + data.len()
}
