//! Every publish in the order in which the hub got it, its answer, and whether that is the right one.

use std::collections::HashMap;

use tickerd::base::codes;
use tickerd::base::ids::{ConnId, RoomId, Ticket};
use tickerd::base::lane::Mode;
use tickerd::base::time::{Mono, Now};
use tickerd::hub::ports::{Accepted, Answer, Event, Number, Outcome, Publish, Safety};

use crate::client::Session;
use crate::plan::{KEYS, KINDS, Plan};
use crate::tree::Tree;

use super::Oracle;
use super::frames::Of;

/// An `event_id` is known for at least this long.
const DEDUPE_NS: u64 = 60_000_000_000;

/// One publish.
pub(super) struct Record {
    pub(super) event: Event,
    pub(super) room: usize,
    /// When it was read.
    pub(super) accepted: Mono,
    /// When the hub got it.
    pub(super) applied: Mono,
    pub(super) wall_ms: u64,
    /// Ticks before the hub got it.
    pub(super) ticks: usize,
    /// When the hub could push it: as `applied`, or when its number came.
    pub(super) known: Mono,
    pub(super) seq: Option<u64>,
    /// The room's slot, where a number was asked for.
    pub(super) life: Option<RoomId>,
    /// The answer, and the number of the epoch that it names.
    pub(super) answer: Option<(Answer, usize)>,
    /// Reactors that had members and room when it was known.
    pub(super) owed: Vec<usize>,
    /// Reactors to which it was pushed within the call.
    pub(super) pushed: Vec<usize>,
    members: u32,
}

impl Record {
    pub(super) fn is_not_state(&self) -> bool {
        self.event.mode != Mode::State
    }

    pub(super) fn accepted_answer(&self) -> Option<&Accepted> {
        self.answer.as_ref().and_then(|(answer, _)| answer.outcome.as_ref().ok())
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.accepted_answer().is_some_and(|accepted| accepted.outcome == Outcome::Accepted)
    }

    pub(super) fn names(&self) -> (usize, usize) {
        super::names(&self.event)
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    records: Vec<Record>,
    by_ticket: HashMap<(ConnId, Ticket), usize>,
}

impl Ledger {
    pub(super) fn record(&self, number: usize) -> &Record {
        &self.records[number]
    }

    pub(super) fn record_mut(&mut self, number: usize) -> &mut Record {
        &mut self.records[number]
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn apply(&mut self, publish: &Publish, room: usize, now: Now, members: u32) -> usize {
        let number = self.records.len();
        assert!(self.by_ticket.insert((publish.conn, publish.ticket), number).is_none(), "the model gave a ticket twice");
        self.records.push(Record {
            event: publish.event.clone(),
            room,
            accepted: publish.accepted,
            applied: now.mono,
            wall_ms: now.wall_ms,
            ticks: 0,
            known: now.mono,
            seq: None,
            life: None,
            answer: None,
            owed: Vec::new(),
            pushed: Vec::new(),
            members,
        });
        number
    }

    pub(super) fn sequenced(&mut self, number: usize, seq: u64, now: Now, members: u32) {
        let record = &mut self.records[number];
        (record.seq, record.known, record.members) = (Some(seq), now.mono, members);
    }

    /// What the answers say happened, each checked against those before it.
    pub(super) fn truth(&self, plan: &Plan) -> Truth {
        let mut truth = Truth::default();
        for (number, record) in self.records.iter().enumerate() {
            let Some((answer, epoch)) = &record.answer else { panic!("a publish without an answer: {:?}", record.event) };
            match &answer.outcome {
                Ok(accepted) => truth.answered(plan, number, record, accepted, *epoch),
                Err(refusal) if refusal.error == codes::OVER_CAPACITY => {
                    assert!(plan.scarce_rooms() || plan.scarce_keys(), "refused for want of a place that there is: {refusal:?}");
                }
                Err(refusal) if refusal.error == codes::OWNER_CONFLICT => truth.conflicted(record, plan),
                Err(refusal) => panic!("refused without reason: {refusal:?}: {:?}", record.event),
            }
        }
        truth
    }
}

impl Oracle {
    pub(super) fn on_answer(&mut self, plan: &Plan, _now: Now, answer: &Answer) {
        let number = *self.ledger.by_ticket.get(&(answer.conn, answer.ticket)).expect("an answer to nothing that was published");
        let room = self.ledger.record(number).room;
        let epoch = match &answer.outcome {
            Ok(accepted) => {
                assert_eq!(plan.room(&accepted.room), room, "an answer names another room");
                self.epoch_of(plan, room, &accepted.epoch)
            }
            Err(_) => 0,
        };
        let record = self.ledger.record_mut(number);
        assert!(record.answer.is_none(), "a publish was answered twice: {:?}", record.event);
        record.answer = Some((answer.clone(), epoch));
        if record.is_accepted() {
            self.rooms[room].owned |= record.event.owner.is_some();
            self.timing.accepted(number, record);
        }
        match &answer.outcome {
            Ok(accepted) => match accepted.outcome {
                Outcome::Accepted => self.seen.deleted += u64::from(&*record.event.data == "null"),
                Outcome::Duplicate => self.seen.duplicate += 1,
                Outcome::Stale => self.seen.stale += 1,
                Outcome::Unchanged => self.seen.unchanged += 1,
            },
            Err(_) => self.seen.refused += 1,
        }
    }
}

/// What is so at the end of the answers read so far.
#[derive(Default)]
pub(super) struct Truth {
    rooms: HashMap<(usize, usize), RoomTruth>,
    sources: HashMap<Of, usize>,
}

#[derive(Default)]
struct RoomTruth {
    owner: Option<Box<str>>,
    /// Of each `event_id`: when its first event came, its number, and whether that was accepted.
    ids: HashMap<Box<str>, (Mono, Number, bool)>,
    keys: HashMap<(usize, usize), KeyTruth>,
}

#[derive(Default)]
struct KeyTruth {
    rev: u64,
    version: Option<u64>,
    /// None: deleted, or never set.
    data: Option<Box<str>>,
}

impl Truth {
    /// The publish that a frame must be of.
    pub(super) fn source(&self, of: &Of) -> Option<usize> {
        self.sources.get(of).copied()
    }

    /// Promise 4: a member's last value of each key is the last one accepted.
    pub(super) fn check_states(&self, plan: &Plan, room: usize, epoch: usize, session: &Session) {
        let none = HashMap::new();
        let keys = self.rooms.get(&(room, epoch)).map_or(&none, |room| &room.keys);
        for ((kind, key), truth) in keys {
            let has = session.states.get(&(*kind, *key));
            let name = (&session.name, KINDS[*kind].name, KEYS[*key]);
            match (&truth.data, has) {
                (Some(data), Some((rev, Some(value)))) => {
                    // What deltas made of it has the members' order that they left.
                    let is_same = **value == **data || (session.delta && Tree::parse(value) == Tree::parse(data));
                    assert!(
                        is_same && *rev == truth.rev,
                        "PROMISE 4: {name:?} is {data} at rev {}, a member has {value} at {rev}",
                        truth.rev
                    );
                }
                (None, None | Some((_, None))) => {}
                // Who resumes is not told of a deletion that the room had to forget.
                (None, _) if plan.scarce_keys() && session.resumed => {}
                (want, has) => panic!("PROMISE 4: {name:?} is {want:?} at rev {}, a member has {has:?}", truth.rev),
            }
        }
    }

    fn conflicted(&self, record: &Record, plan: &Plan) {
        let evictions = plan.scarce_rooms();
        let known = self.rooms.iter().filter(|((room, _), _)| *room == record.room);
        let other = |owner: &Option<Box<str>>| owner.is_some() && record.event.owner.is_some() && *owner != record.event.owner;
        let justified = known.map(|(_, room)| &room.owner).any(other);
        assert!(justified || evictions, "an owner conflict without another owner: {:?}", record.event);
    }

    fn answered(&mut self, plan: &Plan, number: usize, record: &Record, accepted: &Accepted, epoch: usize) {
        let event = &record.event;
        assert_eq!(accepted.safety, Safety::Memory, "nothing is durable here");
        assert_eq!(accepted.lane, event.lane, "an answer names another lane");
        let room = self.rooms.entry((record.room, epoch)).or_default();
        let fresh = accepted.outcome == Outcome::Accepted;
        if let (Some(given), Some(owner)) = (&event.owner, &room.owner) {
            assert!(given == owner || !fresh, "PROMISE 3: the first owner is {owner}, and an event of {given} was accepted");
        }
        if fresh && room.owner.is_none() {
            room.owner.clone_from(&event.owner);
        }
        if room.recall(record, accepted) {
            return;
        }
        match event.mode {
            Mode::State => room.keys.entry(record.names()).or_default().answered(plan, record, accepted),
            Mode::Stream => assert_eq!((accepted.outcome, accepted.number), (Outcome::Accepted, number_of(record.seq)), "{event:?}"),
            Mode::Transient => assert_eq!((accepted.outcome, accepted.number), (Outcome::Accepted, Number::None), "{event:?}"),
        }
        assert!(accepted.members == record.members, "{} members, not {}: {event:?}", record.members, accepted.members);
        if fresh {
            let source = source(record, accepted, epoch);
            assert!(self.sources.insert(source.clone(), number).is_none(), "two publishes got one number: {source:?}");
        }
    }
}

impl RoomTruth {
    /// Whether it is a duplicate, which it must be if its `event_id` was accepted lately.
    fn recall(&mut self, record: &Record, accepted: &Accepted) -> bool {
        let Some(id) = &record.event.event_id else {
            assert_ne!(accepted.outcome, Outcome::Duplicate, "a duplicate without event_id: {:?}", record.event);
            return false;
        };
        let known = self.ids.get(id);
        if accepted.outcome == Outcome::Duplicate {
            let (_, number, _) = known.expect("a duplicate of nothing that came before");
            assert_eq!(accepted.number, *number, "a duplicate gives the first number: {:?}", record.event);
            return true;
        }
        let must = known.is_some_and(|(at, _, accepted)| *accepted && record.applied.0 - at.0 < DEDUPE_NS);
        assert!(!must, "DLV-08: a duplicate was taken for new: {:?}", record.event);
        self.ids.insert(id.clone(), (record.applied, accepted.number, accepted.outcome == Outcome::Accepted));
        false
    }
}

impl KeyTruth {
    fn answered(&mut self, plan: &Plan, record: &Record, accepted: &Accepted) {
        let event = &record.event;
        // A room may forget a deleted key where keys are scarce, and its version with it; it never knew one that was never set.
        let forgetful = self.data.is_none() && (plan.scarce_keys() || self.rev == 0);
        let data = (&*event.data != "null").then_some(&event.data);
        let stale = event.version.is_some() && event.version <= self.version;
        let unchanged = self.data.as_ref() == data;
        match accepted.outcome {
            Outcome::Accepted => {
                assert!(!stale || forgetful, "PRO-09: version {:?} was accepted after {:?}: {event:?}", event.version, self.version);
                // The deletion of a key that is not known is remembered for its version's sake.
                let remembered = forgetful && data.is_none() && event.version.is_some();
                assert!(!unchanged || remembered, "the same value was accepted again: {event:?}");
                let Number::Rev(rev) = accepted.number else { panic!("a state without rev: {event:?}") };
                let next = if self.data.is_some() { rev == self.rev + 1 } else { rev > self.rev };
                assert!(next, "rev {rev} after {}: {event:?}", self.rev);
                self.rev = rev;
                self.data = data.cloned();
            }
            Outcome::Unchanged => assert!(
                unchanged && (accepted.number == Number::Rev(self.rev) || plan.scarce_keys()),
                "`unchanged`, but {:?} became {:?}",
                self.data,
                event.data
            ),
            Outcome::Stale => assert!(stale, "`stale`, but {:?} is newer than {:?}", event.version, self.version),
            Outcome::Duplicate => unreachable!("recalled before"),
        }
        self.version = if forgetful && accepted.outcome == Outcome::Accepted { event.version } else { self.version.max(event.version) };
    }
}

fn number_of(seq: Option<u64>) -> Number {
    seq.map_or(Number::None, Number::Seq)
}

fn source(record: &Record, accepted: &Accepted, epoch: usize) -> Of {
    let (kind, key) = record.names();
    match accepted.number {
        Number::Seq(seq) => Of::Stream(record.room, epoch, record.event.lane, seq),
        Number::Rev(rev) => Of::State(record.room, epoch, kind, key, rev),
        Number::None => Of::Transient(record.room, epoch, record.wall_ms, (&*record.event.data).into()),
    }
}
