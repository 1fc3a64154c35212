//! What becomes of a publish: refused, recognized, or accepted with a number.

use crate::base::codes::{self, Refusal};
use crate::base::ids::{ConnId, RoomId, Ticket};
use crate::base::lane::Mode;
use crate::base::time::{Mono, Now};

use super::Hub;
use super::ports::{Accepted, Answer, Event, NeedSeq, Number, Outcome, Outlet, PendingId, Publish, Safety, Sequenced};
use super::room::{HeldEvent, HeldState, Room, Seen};
use super::rooms::Eviction;

/// What a state key costs beyond the bytes of its value: its entry, its name, its frame's head.
pub(super) const KEY_BYTES: usize = 512;
/// When a full table is worth another try.
const RETRY_MS: u32 = 1_000;

/// A `stream` event that waits for its number.
pub(super) struct Pending {
    room: RoomId,
    event: Event,
    accepted: Mono,
    ts_ms: u64,
    publisher: (ConnId, Ticket),
    /// Those who published the same `event_id` meanwhile.
    others: Vec<(ConnId, Ticket)>,
}

/// Where an accepted event goes on.
enum Verdict {
    /// Nothing to push: the answer is known.
    Known(Outcome, Number),
    /// It waits for another's number.
    Waits(PendingId),
    /// It is new.
    New,
}

impl Hub {
    pub(super) fn publish(&mut self, now: Now, publish: Publish, out: &mut impl Outlet) {
        let publisher = (publish.conn, publish.ticket);
        let (id, verdict) = match self.judge(&publish.event) {
            Ok(judged) => judged,
            Err(refusal) => return self.answer(publisher, Err(refusal)),
        };
        match verdict {
            Verdict::Known(outcome, number) => self.answer_with(publisher, id, &publish.event, outcome, number),
            Verdict::Waits(pending) => self.wait(pending, publisher),
            Verdict::New => self.accept(now, id, publish, out),
        }
    }

    /// The room and what the event is to it. Nothing is changed but that the room exists, and a state's version.
    fn judge(&mut self, event: &Event) -> Result<(RoomId, Verdict), Refusal> {
        let id = self.room_of(&event.room, Eviction::Allowed)?;
        let room = self.rooms.by_id_mut(id).expect("it was found or made in the line above");
        room.touched = true;
        if let (Some(given), Some(owner)) = (&event.owner, &room.owner)
            && given != owner
        {
            let message = format!("room `{}` belongs to another owner than `{given}`; the first owner sticks", room.name);
            return Err(Refusal::new(codes::OWNER_CONFLICT, message));
        }
        match event.event_id.as_deref().and_then(|event_id| room.seen.get(event_id)) {
            Some(Seen::Done(number)) => return Ok((id, Verdict::Known(Outcome::Duplicate, *number))),
            Some(Seen::Pending(pending)) => return Ok((id, Verdict::Waits(*pending))),
            None => {}
        }
        let verdict = if event.mode == Mode::State { self.judge_state(id, event)? } else { Verdict::New };
        Ok((id, verdict))
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
        let Some((id, evicted)) = self.rooms.find_or_make(name, eviction) else {
            let message = format!("no place for room `{name}`: the server has as many rooms as it may");
            return Err(Refusal::passing(codes::OVER_CAPACITY, message, RETRY_MS));
        };
        if let Some(evicted) = evicted {
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
                self.settle(now, id, &publish.event, Number::None);
                self.answer_with(publisher, id, &publish.event, Outcome::Accepted, Number::None);
                let held = HeldEvent { event: publish.event, seq: None, accepted: publish.accepted, ts_ms: now.wall_ms };
                self.hold_or_release(now, id, held, out);
            }
        }
    }

    fn accept_stream(&mut self, now: Now, id: RoomId, publish: Publish, out: &mut impl Outlet) {
        let room = self.rooms.by_id_mut(id).expect("the caller found it");
        room.pending += 1;
        own(room, &publish.event); // now, not when the number comes: another owner's event may come first
        let (lane, event_id) = (publish.event.lane, publish.event.event_id.clone());
        let (slot, generation) = self.pending.insert(|_, _| Pending {
            room: id,
            accepted: publish.accepted,
            ts_ms: now.wall_ms,
            publisher: (publish.conn, publish.ticket),
            others: Vec::new(),
            event: publish.event,
        });
        let pending = PendingId { slot, generation };
        if let Some(event_id) = event_id {
            self.dedupe.remember(now.mono, id, &event_id, Seen::Pending(pending), &mut self.rooms);
        }
        out.need_seq(NeedSeq { pending, room: id, lane });
    }

    fn accept_state(&mut self, now: Now, id: RoomId, publish: Publish, out: &mut impl Outlet) {
        let publisher = (publish.conn, publish.ticket);
        let index = match self.place_for(id, &publish.event) {
            Ok(index) => index,
            Err(refusal) => return self.answer(publisher, Err(refusal)),
        };
        let room = self.rooms.by_id_mut(id).expect("the caller found it");
        let key = &mut room.states.keys[index];
        key.rev += 1;
        key.version = publish.event.version.or(key.version);
        let number = Number::Rev(key.rev);
        self.settle(now, id, &publish.event, number);
        self.answer_with(publisher, id, &publish.event, Outcome::Accepted, number);
        let held = HeldState { data: publish.event.data, event_id: publish.event.event_id, accepted: publish.accepted, ts_ms: now.wall_ms };
        let key = &mut self.rooms.by_id_mut(id).expect("the caller found it").states.keys[index];
        self.held_bytes += held.data.len();
        let replaced = key.held.replace(held);
        self.held_bytes -= replaced.as_ref().map_or(0, |replaced| replaced.data.len());
        self.hold_or_release_state(now, id, index, replaced.is_some(), out);
    }

    /// The key of a state, added if it is new, with the bytes of its new value booked.
    fn place_for(&mut self, id: RoomId, event: &Event) -> Result<usize, Refusal> {
        let new_id = self.rooms.new_key_id();
        let (rooms, lags) = (&mut self.rooms, &self.lags);
        let states = &mut rooms.by_id_mut(id).expect("the caller found it").states;
        let known = states.find(&event.kind, &event.key);
        let before = known.map_or(0, |index| states.keys[index].bytes) as u64;
        let bytes = KEY_BYTES + event.data.len();
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
        let Some(pending) = self.pending.remove(slot, generation) else {
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
        self.settle(now, id, &pending.event, number);
        self.answer_with(pending.publisher, id, &pending.event, Outcome::Accepted, number);
        for other in pending.others {
            self.answer_with(other, id, &pending.event, Outcome::Duplicate, number);
        }
        let held = HeldEvent { event: pending.event, seq: Some(sequenced.seq), accepted: pending.accepted, ts_ms: pending.ts_ms };
        self.hold_or_release(now, id, held, out);
    }

    /// What an accepted event leaves behind: the owner, and the memory of its `event_id`.
    fn settle(&mut self, now: Now, id: RoomId, event: &Event, number: Number) {
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        own(room, event);
        let Some(event_id) = event.event_id.as_deref() else { return };
        match room.seen.get_mut(event_id) {
            Some(seen) => *seen = Seen::Done(number),
            None if event.mode == Mode::Stream => {} // forgotten while it waited
            None => self.dedupe.remember(now.mono, id, event_id, Seen::Done(number), &mut self.rooms),
        }
    }

    fn wait(&mut self, pending: PendingId, publisher: (ConnId, Ticket)) {
        if let Some(pending) = self.pending.get_mut(pending.slot, pending.generation) {
            pending.others.push(publisher);
        }
    }

    fn answer_with(&mut self, to: (ConnId, Ticket), id: RoomId, event: &Event, outcome: Outcome, number: Number) {
        let room = self.rooms.by_id(id).expect("the caller found it");
        let accepted = Accepted {
            outcome,
            room: room.name.clone(),
            lane: event.lane,
            number,
            epoch: room.epoch.clone(),
            safety: Safety::Memory,
            members: room.members_total(),
        };
        self.answer(to, Ok(accepted));
    }

    fn answer(&mut self, (conn, ticket): (ConnId, Ticket), outcome: Result<Accepted, Refusal>) {
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

/// The first owner sticks.
fn own(room: &mut Room, event: &Event) {
    if room.owner.is_none() {
        room.owner.clone_from(&event.owner);
    }
}
