//! Acknowledgments: events that are given to their user on every join until that user has taken note of them, or their time is over.
//!
//! Whose wait is over is told to the publisher's side, as an event in [`ACKS_ROOM`], and to the journal behind that event: who is answered
//! `ok` knows that neither is lost.

use std::sync::Arc;
use std::time::Duration;

use crate::base::codes::Refusal;
use crate::base::ident::push_segment;
use crate::base::ids::RoomId;
use crate::base::lane::{Lane, Mode};
use crate::base::time::{Mono, Now};
use crate::wire::frame::{Frame, Kind, Tag};

use super::Hub;
use super::encode;
use super::journal::{Entry, RecoveredUnacknowledged};
use super::ledger::Waiter;
use super::ports::{Ack, AckAnswer, AckOf, Event, Outlet};
use super::position::{Era, Start};
use super::publish::Pending;
use super::room::Room;
use super::rooms::Eviction;
use super::unacknowledged::{Asker, Escalation, Limits, Unacknowledged, Waiting};

/// Where publishers hear of acknowledgments.
pub const ACKS_ROOM: &str = "system:acks";
/// In which lane.
const NOTICE_LANE: Lane = Lane::Update;
/// What the names of users' rooms begin with.
pub(super) const USER_ROOM: &str = "user:";
/// Waits ended in one call for want of time.
const EXPIRED_PER_CALL: usize = 256;
/// How soon the end of a wait that the journal has no place for is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What may become of an acknowledgment, in the order of [`AckResult`].
pub const ACK_RESULTS: [&str; 6] = ["acknowledged", "nothing", "unknown_room", "unknown_epoch", "beyond", "refused"];

/// What became of an acknowledgment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckResult {
    /// An event waited for it.
    Acknowledged,
    /// Nothing waited for it: it was acknowledged before, or expired, or never wanted that.
    Nothing,
    /// There is no such room, or its user is no member.
    UnknownRoom,
    /// The position is of a history that is not known.
    UnknownEpoch,
    /// The position is beyond what was pushed.
    Beyond,
    /// The journal cannot take it.
    Refused,
}

/// Why a wait ends without an acknowledgment, its time being over, or too many others waiting.
pub const EXPIRIES: [&str; 2] = ["ttl", "too_many"];

/// Why a wait ends without an acknowledgment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Ttl,
    TooMany,
}

/// How a wait ends.
#[derive(Clone, Copy)]
enum End {
    Acknowledged,
    Expired(Expiry),
}

/// An event whose wait is over: what the journal is to hear behind the event that tells of it.
pub(super) struct Settles {
    room: Arc<str>,
    event_id: Arc<str>,
}

impl Hub {
    pub(super) fn ack(&mut self, now: Now, ack: Ack, out: &mut impl Outlet) {
        let mut room = USER_ROOM.to_owned();
        push_segment(&mut room, &ack.user);
        let result = match ack.of {
            AckOf::Event(event_id) => self.ack_event(now, &room, &event_id, ack.request.map(|request| (ack.conn, request)), out),
            AckOf::UpTo { room: id, lane, epoch, seq } => self.ack_up_to(now, &room, id, lane, (&epoch, seq), out),
        };
        self.stats.acks[result as usize] += 1;
    }

    /// One event. Who acknowledges it again hears the same as who did so first: that it is safe.
    fn ack_event(&mut self, now: Now, room: &str, event_id: &str, asker: Option<Asker>, out: &mut impl Outlet) -> AckResult {
        let waits = self.unacknowledged.waits(room, event_id);
        if waits && let Err(refusal) = self.settle_wait(now, room, event_id, End::Acknowledged, out) {
            self.answer_ack(asker, Err(not_kept(&refusal)));
            return AckResult::Refused;
        }
        match asker {
            None => {}
            // With a sequencer that takes its time it is still there; else it is gone by now, and what was given last is what it waits for.
            Some(asker) if self.unacknowledged.find(room, event_id).is_some() => self.unacknowledged.ask(room, event_id, asker),
            Some(asker) => self.answer_when_safe(asker),
        }
        if waits { AckResult::Acknowledged } else { AckResult::Nothing }
    }

    fn ack_up_to(&mut self, now: Now, own: &str, id: RoomId, lane: Lane, (epoch, seq): (&str, u64), out: &mut impl Outlet) -> AckResult {
        let Some(room) = self.rooms.by_id(id) else { return AckResult::UnknownRoom };
        let stream = &room.lanes[lane.index()];
        let (era, end) = match self.rooms.era(room, epoch) {
            Era::Present => (room.epoch.number, Some(stream.live)),
            Era::Past(number) => (number, stream.end_of(number)),
            Era::Unknown => return AckResult::UnknownEpoch,
        };
        let Some(end) = end else { return AckResult::UnknownEpoch };
        if seq > end {
            return AckResult::Beyond;
        }
        if *room.name != *own {
            return AckResult::Nothing;
        }
        let eras = room.born..=era;
        let is_covered = |waiting: &&Waiting| waiting.lane == lane && waiting.seq <= seq && eras.contains(&waiting.epoch);
        let covered: Vec<_> = self.unacknowledged.of(own).filter(is_covered).map(|waiting| Arc::clone(&waiting.event_id)).collect();
        for event_id in &covered {
            if self.settle_wait(now, own, event_id, End::Acknowledged, out).is_err() {
                return AckResult::Refused;
            }
        }
        if covered.is_empty() { AckResult::Nothing } else { AckResult::Acknowledged }
    }

    /// An event has its number, and waits for its user from now on. `event`: its id, and how long it waits; `place`: its lane, `seq` and `ts`.
    pub(super) fn wait_for_ack(&mut self, id: RoomId, event: (&str, Duration), place: (Lane, u64, u64), frame: &Arc<Frame>) {
        let ((event_id, ttl), (lane, seq, ts_ms)) = (event, place);
        let Some(room) = self.rooms.by_id(id) else { return };
        if self.unacknowledged.find(&room.name, event_id).is_some() {
            return; // one of the same id waits already, of a time when the room was another
        }
        let until_ms = ts_ms.saturating_add(ttl.as_millis() as u64);
        let waiting = Waiting::new(event_id.into(), (lane, seq, room.epoch.number), until_ms, Arc::clone(frame));
        let waiting = waiting.with_escalation(self.escalation_of(event_id, ts_ms, frame));
        self.unacknowledged.add(&room.name, waiting);
    }

    /// Ends waits of the user of that room, or of others, while more wait than may. Refused while the journal has no places for that: it would
    /// give them back with the next start.
    pub(super) fn limit_waits(&mut self, now: Now, room: &str, out: &mut impl Outlet) -> Result<(), Refusal> {
        let limits = Limits { user_bytes: self.options.unacknowledged_user_bytes, bytes: self.options.unacknowledged_bytes };
        while let Some((room, event_id)) = self.unacknowledged.excess(room, limits) {
            self.settle_wait(now, &room, &event_id, End::Expired(Expiry::TooMany), out)?;
        }
        Ok(())
    }

    /// Ends the waits whose time is over. Returns when to be called again.
    pub(super) fn expire_waits(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        for _ in 0..EXPIRED_PER_CALL {
            match self.unacknowledged.first_due() {
                None => return Mono::NEVER,
                Some((until_ms, ..)) if *until_ms > now.wall_ms => {
                    return now.mono.plus(Duration::from_millis(until_ms - now.wall_ms));
                }
                Some((_, room, event_id)) => {
                    let (room, event_id) = (Arc::clone(room), Arc::clone(event_id));
                    if self.settle_wait(now, &room, &event_id, End::Expired(Expiry::Ttl), out).is_err() {
                        return now.mono.plus(RETRY);
                    }
                }
            }
        }
        now.mono
    }

    /// Ends a wait: the event is given to nobody any more, and the publisher's side is told, and then the journal. Refused if that has no places
    /// for both.
    fn settle_wait(&mut self, now: Now, room: &str, event_id: &str, end: End, out: &mut impl Outlet) -> Result<(), Refusal> {
        if self.shared.is_some() {
            let notice = |hub: &mut Hub| hub.ended(now, room, event_id, end);
            return self.settle_with_store(now, (room, event_id), notice, out);
        }
        let acks = self.room_of(ACKS_ROOM, Eviction::Allowed).ok();
        if let Some(ledger) = &mut self.ledger {
            ledger.promise_end(acks.map(|acks| (acks, NOTICE_LANE)))?;
        }
        self.unacknowledged.settle(room, event_id);
        let notice = self.ended(now, room, event_id, end);
        let settles = Settles { room: room.into(), event_id: event_id.into() };
        if let Some(acks) = acks {
            self.number(acks, Pending::notice(acks, notice, now, settles), out);
        } else {
            self.stats.acks_untold += 1; // there is no place for the room of that
            self.settled(&settles, out);
        }
        Ok(())
    }

    /// Counts the end of a wait, and says what is told of it.
    fn ended(&mut self, now: Now, room: &str, event_id: &str, end: End) -> Event {
        let (kind, reason) = match end {
            End::Acknowledged => ("event.acknowledged", String::new()),
            End::Expired(expiry) => {
                self.stats.unacknowledged_expired[expiry as usize] += 1;
                ("event.expired", format!(r#","reason":"{}""#, EXPIRIES[expiry as usize]))
            }
        };
        let (user, ts) = (room.strip_prefix(USER_ROOM).unwrap_or_default(), now.wall_ms);
        // Identifiers need no escapes.
        let data = format!(r#"{{"event_id":"{event_id}","room":"{room}","user":"{user}","ts":{ts}{reason}}}"#);
        Event { kind: kind.into(), data: data.into(), ..notice() }
    }

    /// The event that tells of it has its number, and its place in the journal: now it is settled.
    pub(super) fn settled(&mut self, settles: &Settles, out: &mut impl Outlet) {
        let askers = self.unacknowledged.remove(&settles.room, &settles.event_id);
        if let Some(ledger) = &mut self.ledger {
            ledger.redeem();
            let (room, event_id) = (Arc::clone(&settles.room), Arc::clone(&settles.event_id));
            ledger.give(Entry::Settled { room, event_id }, None, out);
        }
        for asker in askers {
            self.answer_when_safe(asker);
        }
    }

    /// Answers when all that was given to the journal until now is synced.
    fn answer_when_safe(&mut self, asker: Asker) {
        let Some(ledger) = &mut self.ledger else { return self.answer_ack(Some(asker), Ok(())) };
        let entry = ledger.given();
        if ledger.is_safe(entry) {
            return self.answer_ack(Some(asker), Ok(()));
        }
        match ledger.is_well() {
            Ok(()) => ledger.park(entry, Waiter::Asker(asker)),
            Err(refusal) => self.answer_ack(Some(asker), Err(not_kept(&refusal))),
        }
    }

    /// Answers those who wanted to hear of the end of a wait.
    pub(super) fn answer_acks(&mut self, askers: Vec<Asker>, outcome: &Result<(), Refusal>) {
        for asker in askers {
            self.answer_ack(Some(asker), outcome.clone());
        }
    }

    pub(super) fn answer_ack(&mut self, asker: Option<Asker>, outcome: Result<(), Refusal>) {
        if let Some((conn, request)) = asker {
            self.ack_answers[usize::from(conn.reactor)].push(AckAnswer { conn, request, outcome });
        }
    }

    /// What the journal knew.
    pub(super) fn restore_unacknowledged(&mut self, recovered: Vec<RecoveredUnacknowledged>) {
        for known in recovered {
            let kind = Kind::Stream { seq: known.seq };
            let tag = Tag { room: RoomId::NONE, lane: known.lane, kind, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER };
            let frame = Arc::new(Frame::text(tag, &known.message));
            let place = (known.lane, known.seq, known.epoch);
            let due = self.escalation_of(&known.event_id, known.ts_ms, &frame);
            let escalation = if known.is_escalated { Escalation::Told } else { due };
            let waiting = Waiting::new(known.event_id.into(), place, known.until_ms, frame).with_escalation(escalation);
            self.unacknowledged.add(&known.room.into(), waiting);
        }
    }
}

/// An event for the publisher's side that says nothing yet.
pub(super) fn notice() -> Event {
    Event {
        kind: Box::default(),
        room: ACKS_ROOM.into(),
        lane: NOTICE_LANE,
        mode: Mode::Stream,
        key: Box::default(),
        owner: None,
        event_id: None,
        version: None,
        history: 0,
        ack_ttl: None,
        data: Box::default(),
    }
}

/// What is told to one whose event would be one too many to wait, because of that.
pub(super) fn no_place_to_wait(refusal: &Refusal) -> Refusal {
    let message = "more events wait for acknowledgments than may, and the journal cannot be told which of them has to go: send again after retry_after_ms";
    Refusal { message: message.into(), ..refusal.clone() }
}

/// What is told to one whose acknowledgment the journal has not got, because of that.
pub(super) fn not_kept(refusal: &Refusal) -> Refusal {
    let message = "the journal cannot keep the acknowledgment for now: send it again after retry_after_ms";
    Refusal { message: message.into(), ..refusal.clone() }
}

/// The events that a new member of its own room is given again: all that wait, but for those that the replay brings anyway.
pub(super) fn redelivered(
    table: &Unacknowledged,
    room: &Room,
    user: &str,
    starts: &[Start; Lane::COUNT],
    scratch: &mut Vec<u8>,
) -> Vec<Arc<Frame>> {
    let mut own = String::new();
    let is_own = room.name.strip_prefix(USER_ROOM).is_some_and(|name| {
        push_segment(&mut own, user);
        *name == *own
    });
    if !is_own {
        return Vec::new();
    }
    let is_replayed = |waiting: &&Waiting| {
        let (start, live) = (&starts[waiting.lane.index()], room.lanes[waiting.lane.index()].live);
        waiting.epoch >= room.born && (start.replay..=live).contains(&waiting.seq)
    };
    let again = |waiting: &Waiting| {
        scratch.clear();
        encode::redelivered(scratch, waiting.frame.as_text());
        let tag =
            Tag { room: room.id, lane: waiting.lane, kind: Kind::Notice, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER };
        Arc::new(Frame::text(tag, scratch))
    };
    table.of(&room.name).filter(|waiting| !is_replayed(waiting)).map(again).collect()
}
