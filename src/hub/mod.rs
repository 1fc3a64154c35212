//! The hub's core: a sans-I/O state machine that sequences events, holds and conflates them by lane, encodes each once, and
//! says which reactor gets what. No socket, no clock, no thread: [`Hub::apply`] and [`Hub::tick`] take the time and an
//! [`Outlet`].
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`acks`] | events that are given to their user until they are acknowledged, and what is told of that |
//! | `unacknowledged` | the table of those |
//! | [`escalations`] | who else is told of those that their user takes no note of, and when |
//! | [`asks`] | in which order joins and snapshots have their turn |
//! | [`catalog`] | room, lane, mode, key and owner of an event type |
//! | `publish` | refusals, duplicates, numbers; what becomes of an event |
//! | `delta` | what a state says to those who have the one before |
//! | `release` | when a lane lets an event go: windows, gather and flush |
//! | `lag` | what to do when a reactor's link is full: behind-and-pump, dirty keys, gaps |
//! | `join` | what a new member gets: position, replay, states |
//! | `room`, `rooms` | the state of one room; the table of all, its limits and evictions |
//! | `history` | which past events are kept, by count, age and bytes |
//! | `position` | where a new member begins, by what it has |
//! | `replay` | past events from the journal, and what is too much to come at once, a part at a time |
//! | [`journal`] | what the hub tells the journal, and hears from it |
//! | `ledger` | what is not synced yet, who waits for it, and what the journal could not take |
//! | [`inspect`] | what an operator is told of a room |
//! | [`traffic`] | what rooms take and give, and which of them most |
//! | `facts` | states and owners, for the next start |
//! | `restore` | a hub that begins with what a journal knew |
//! | [`store`] | what the hub tells the store that several nodes share, and hears from it |
//! | `shared` | a hub among several that share their rooms |
//! | `shared_acks` | acknowledgments there |
//! | `ahead` | members who come there from a hub that was a moment faster |
//! | `dedupe` | which `event_id`s were seen |
//! | `encode` | the bytes of a frame |
//! | [`sequencer`] | the local answer to "which number is next?" |

pub mod acks;
mod ahead;
pub mod asks;
pub mod catalog;
mod dedupe;
mod delta;
mod encode;
pub mod escalations;
mod facts;
mod history;
pub mod inspect;
mod join;
pub mod journal;
mod lag;
mod ledger;
pub mod ports;
mod position;
mod publish;
mod release;
mod replay;
mod restore;
mod room;
mod rooms;
pub mod sequencer;
mod shared;
mod shared_acks;
mod slots;
pub mod store;
#[cfg(test)]
mod tests;
pub mod traffic;
mod unacknowledged;

use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::limits::ROOM_BYTES;
use crate::base::time::{Mono, Now};
use crate::wire::frame::Frame;

use self::acks::{ACK_RESULTS, EXPIRIES};
use self::dedupe::DedupeWindow;
use self::escalations::EscalationOptions;
use self::facts::Facts;
use self::history::History;
use self::journal::{Report, Trimmed};
use self::lag::Lag;
use self::ledger::Ledger;
use self::ports::{AckAnswer, Answer, ESCALATION_OUTCOMES, Input, Outlet, Output};
use self::publish::{KEY_BYTES, Pending};
use self::release::Releases;
use self::replay::Replays;
use self::rooms::Rooms;
use self::shared::Shared;
use self::slots::Slots;
use self::unacknowledged::{Unacknowledged, WAITING_BYTES};

pub use self::join::access_denied;
pub use self::rooms::epoch_name;

/// Rooms of operators that are published to only while somebody is there.
pub const OPERATORS_ROOMS: [&str; 2] = ["admin:stats", "admin:health"];

/// What may be tuned.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// How many reactors there are.
    pub reactors: usize,
    /// `update` lane: at most one frame of a state key in this time, the first one at once.
    pub update_window: Duration,
    /// `metric` lane: an event gathers company for at least this long.
    pub metric_gather: Duration,
    /// `metric` lane: a room's frames leave at ticks this far apart.
    pub metric_flush: Duration,
    /// `stream` events kept for each (room, lane).
    pub history_events: usize,
    /// Bytes of kept events in all rooms together.
    pub history_bytes: usize,
    /// Bytes of the newest values of all state keys together.
    pub state_bytes: usize,
    /// How long an event is kept.
    pub history_age: Duration,
    /// Rooms in the table.
    pub rooms_max: usize,
    /// State keys in one room.
    pub keys_per_room_max: usize,
    /// Bytes of past events and states that a join brings at once; of more, all comes in parts.
    pub replay_at_once_bytes: usize,
    /// Bytes of such a part, but for a last frame that is longer.
    pub replay_part_bytes: usize,
    /// Bytes of events that wait for one user's acknowledgment.
    pub unacknowledged_user_bytes: usize,
    /// Bytes of events that wait for any user's.
    pub unacknowledged_bytes: usize,
    /// Makes the epochs: random for each start of the daemon.
    pub epoch_seed: u64,
    /// Who else is told of events that their users take no note of; nobody if `None`.
    pub escalation: Option<EscalationOptions>,
    /// With a store: what the names of rooms begin with that are this node's own.
    pub local_rooms: Vec<Box<str>>,
}

/// Figures of the hub, since its start or as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Rooms in the table.
    pub rooms: u64,
    /// Memberships.
    pub members: u64,
    /// Those of each of [`OPERATORS_ROOMS`].
    pub operators: [u64; OPERATORS_ROOMS.len()],
    /// State keys.
    pub keys: u64,
    /// Bytes of the newest values of all state keys.
    pub state_bytes: u64,
    /// Bytes of kept `stream` events.
    pub history_bytes: u64,
    /// Publishes by what became of them.
    pub accepted: [u64; Lane::COUNT],
    /// Publishes whose `event_id` was seen before.
    pub duplicate: u64,
    /// Publishes whose `version` was not newer.
    pub stale: u64,
    /// Publishes of a state that did not change.
    pub unchanged: u64,
    /// Publishes refused.
    pub refused: u64,
    /// States replaced by newer ones before they left the hub.
    pub conflated: u64,
    /// Frames encoded.
    pub encoded: u64,
    /// Times that a (room, lane) fell behind on a full link.
    pub behind: u64,
    /// Times that a state key was set aside on a full link.
    pub dirty: u64,
    /// `transient` frames dropped on a full link.
    pub transient_dropped: u64,
    /// `gap` frames made.
    pub gaps: u64,
    /// Joins granted.
    pub joined: u64,
    /// Joins denied.
    pub join_denied: u64,
    /// Rooms evicted to make place.
    pub rooms_evicted: u64,
    /// Publishes that the store has not answered.
    pub store_waiting: u64,
    /// Events of the store's feed that found no place here.
    pub unplaced: u64,
    /// Events that the journal never got.
    pub journal_holes: u64,
    /// Entries given to the journal that are not synced yet.
    pub journal_entries: u64,
    /// Their bytes.
    pub journal_bytes: u64,
    /// Publishers who wait for the disk.
    pub journal_waiting: u64,
    /// Replays in parts that are in progress.
    pub replays: u64,
    /// The disk takes nothing.
    pub journal_failing: bool,
    /// Acknowledgments, by what became of them.
    pub acks: [u64; ACK_RESULTS.len()],
    /// Waits for an acknowledgment whose end nobody could be told of.
    pub acks_untold: u64,
    /// Events that wait for their user's acknowledgment.
    pub unacknowledged: u64,
    /// Their bytes.
    pub unacknowledged_bytes: u64,
    /// Waits that ended without one, by why.
    pub unacknowledged_expired: [u64; EXPIRIES.len()],
    /// Events given to their user again.
    pub redelivered: u64,
    /// Tries to tell somebody of events that their users take no note of, by what came of them.
    pub escalations: [u64; ESCALATION_OUTCOMES.len()],
    /// Events of which somebody is being told, or was to be in vain until now.
    pub escalations_untold: u64,
}

/// The core. See the module.
pub struct Hub {
    options: HubOptions,
    rooms: Rooms,
    pending: Slots<Pending>,
    releases: Releases,
    history: History,
    dedupe: DedupeWindow,
    /// With a journal.
    ledger: Option<Ledger>,
    /// With a store.
    shared: Option<Box<Shared>>,
    facts: Facts,
    replays: Replays,
    /// Evicted rooms that the journal is to be told of.
    forgotten: Vec<Arc<str>>,
    unacknowledged: Unacknowledged,
    /// Nobody is told of what they do not take note of before that.
    escalations_rest_until: Mono,
    /// What each reactor could not take yet.
    lags: Vec<Lag>,
    /// Answers to publishes, by reactor, until the end of the slice.
    answers: Vec<Vec<Answer>>,
    /// The same to acknowledgments.
    ack_answers: Vec<Vec<AckAnswer>>,
    scratch: Vec<u8>,
    /// A merge patch in the making.
    patch: Vec<u8>,
    stats: HubStats,
    /// What the events and states take that are not released.
    held_bytes: usize,
    /// When the last change of a state was released: no two are at the same time, so that it tells which ones a poll has seen.
    state_released: Mono,
    /// There is little memory.
    is_short: bool,
    /// In which rooms' traffic is counted.
    span: u32,
}

impl Hub {
    /// A hub without rooms.
    pub fn new(options: HubOptions) -> Hub {
        Hub {
            rooms: Rooms::new(options.reactors, options.rooms_max, options.epoch_seed, options.local_rooms.clone()),
            pending: Slots::default(),
            releases: Releases::default(),
            history: History::new(options.history_events, options.history_bytes, options.history_age),
            dedupe: DedupeWindow::default(),
            ledger: None,
            shared: None,
            facts: Facts::default(),
            replays: Replays::default(),
            forgotten: Vec::new(),
            unacknowledged: Unacknowledged::default(),
            escalations_rest_until: Mono::default(),
            lags: (0..options.reactors).map(|_| Lag::default()).collect(),
            answers: vec![Vec::new(); options.reactors],
            ack_answers: vec![Vec::new(); options.reactors],
            scratch: Vec::new(),
            patch: Vec::new(),
            stats: HubStats::default(),
            held_bytes: 0,
            state_released: Mono::default(),
            is_short: false,
            span: 0,
            options,
        }
    }

    /// Takes one input. Answers to publishes leave with the next [`Hub::tick`].
    pub fn apply(&mut self, now: Now, input: Input, out: &mut impl Outlet) {
        match input {
            Input::Publish(publish) => self.publish(now, *publish, out),
            Input::Announce(event) => self.announce(now, *event, out),
            Input::Ack(ack) => self.ack(now, *ack, out),
            Input::Escalated(escalated) => self.escalated(now, &escalated, out),
            Input::Sequenced(sequenced) => self.sequenced(now, sequenced, out),
            Input::Join(join) => self.join(now, join, out),
            Input::Leave { room, conn, delta } => self.leave(room, conn.reactor, delta),
            Input::Snapshot { conn, request, room, digest: false } => self.snapshot(conn, request.as_ref(), room, out),
            Input::Snapshot { conn, request, room, digest: true } => self.digest(conn, request.as_ref(), room, out),
            Input::Journal(report) => self.hear(report, out),
            Input::Store(news) => self.hear_news(now, news, out),
            Input::ReplayTaken { id, wants_more } => self.replay_taken(id, wants_more),
        }
    }

    /// The journal tells something.
    fn hear(&mut self, report: Report, out: &mut impl Outlet) {
        match report {
            Report::Committed { entry } => self.committed(entry),
            Report::Failing { reason } => self.journal_fails(reason),
            Report::Trimmed(trimmed) => trimmed.iter().for_each(|trimmed| self.trimmed(trimmed)),
            Report::Fetched(fetched) => self.fetched(*fetched, out),
        }
    }

    fn trimmed(&mut self, trimmed: &Trimmed) {
        let Some(room) = self.rooms.id_of(&trimmed.room).and_then(|id| self.rooms.by_id_mut(id)) else { return };
        let stream = &mut room.lanes[trimmed.lane.index()];
        stream.kept_from = stream.kept_from.max(trimmed.oldest);
    }

    /// Ends a slice: lets go what was held long enough, brings lagging reactors on, sends the answers, forgets what is
    /// old. Returns when to be called again at the latest. Bounded work: if more is due, that time is now, or a moment later where
    /// a reactor lags.
    pub fn tick(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        self.span = traffic::span_of(now.mono);
        let held_until = self.release_due(now, out);
        let lag_until = self.pump(now, out);
        let wait_until = self.expire_waits(now, out).min(self.escalate(now, out));
        self.send_answers(out);
        self.dedupe.expire(now.mono, &mut self.rooms);
        let kept_until = self.history.expire(now.mono, &mut self.rooms);
        held_until.min(lag_until).min(wait_until).min(kept_until).min(self.tend_journal(now, out))
    }

    /// Brings replays on, and what a journal brings with it. Returns when to be called again.
    fn tend_journal(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        let again = self.go_on_replaying(now.mono, out);
        if self.shared.is_some() {
            return again.min(self.send_changed(now, out)).min(self.answer_ahead(now, out));
        }
        if self.ledger.is_none() {
            self.forgotten.clear();
            return again;
        }
        self.tell_forgotten(out);
        again.min(self.bring_journal_on(now, out)).min(self.give_facts(now, out))
    }

    /// While memory is short, states of the `update` lane conflate for longer.
    pub fn set_short(&mut self, is_short: bool) {
        self.is_short = is_short;
    }

    /// What it takes of the memory budget, frames excepted, which count by themselves.
    pub fn memory_bytes(&self) -> usize {
        let keys = self.stats.keys as usize * KEY_BYTES;
        let waiting = self.unacknowledged.len() * WAITING_BYTES;
        let asked = self.shared.as_ref().map_or(0, |shared| shared.bytes());
        self.rooms.len() * ROOM_BYTES + keys + self.history.places_bytes() + self.dedupe.bytes() + self.held_bytes + waiting + asked
    }

    /// Whether a reactor, or the journal, is owed what there was no room for, or the disk will soon have no more.
    pub fn is_lagging(&self) -> bool {
        let store = self.shared.as_ref().is_some_and(|shared| shared.is_filling());
        self.lags.iter().any(Lag::is_owing) || store || self.ledger.as_ref().is_some_and(Ledger::is_filling)
    }

    /// The figures.
    pub fn stats(&self) -> HubStats {
        HubStats {
            rooms: self.rooms.len() as u64,
            history_bytes: self.history.bytes() as u64,
            rooms_evicted: self.rooms.evicted(),
            replays: self.replays.len() as u64,
            unacknowledged: self.unacknowledged.len() as u64,
            unacknowledged_bytes: self.unacknowledged.bytes() as u64,
            escalations_untold: self.unacknowledged.untold() as u64,
            operators: OPERATORS_ROOMS.map(|name| self.members_of(name)),
            ..self.journal_stats()
        }
    }

    fn members_of(&self, name: &str) -> u64 {
        self.rooms.id_of(name).and_then(|id| self.rooms.by_id(id)).map_or(0, |room| room.members_total().into())
    }

    fn journal_stats(&self) -> HubStats {
        if let Some(shared) = &self.shared {
            return HubStats { store_waiting: shared.waiting() as u64, ..self.stats };
        }
        let Some(ledger) = &self.ledger else { return self.stats };
        let (entries, bytes, waiting) = ledger.waiting();
        HubStats {
            journal_entries: entries as u64,
            journal_bytes: bytes as u64,
            journal_waiting: waiting as u64,
            journal_failing: ledger.failing().is_some(),
            ..self.stats
        }
    }

    /// Pushes a released frame to every reactor with members, or notes that a reactor lags.
    fn deliver(&mut self, room: RoomId, frame: &Arc<Frame>, out: &mut impl Outlet) {
        let Some(room) = self.rooms.by_id_mut(room) else { return };
        let mut members = 0;
        for (reactor, lag) in self.lags.iter_mut().enumerate() {
            if room.members[reactor] > 0 {
                members += room.members[reactor];
                lag.deliver(reactor, frame, out, &mut self.stats);
            }
        }
        if members > 0 {
            room.traffic.get_or_insert_default().gave(self.span, members, frame.as_websocket().len());
        }
    }

    fn leave(&mut self, id: RoomId, reactor: u16, delta: bool) {
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        let members = &mut room.members[usize::from(reactor)];
        debug_assert!(*members > 0, "every leave ends a granted join");
        *members = members.saturating_sub(1);
        debug_assert!(room.delta_members >= u32::from(delta), "who wants deltas said so when it joined");
        room.delta_members = room.delta_members.saturating_sub(u32::from(delta));
        if *members == 0 {
            self.lags[usize::from(reactor)].forget(id);
        }
        self.stats.members = self.stats.members.saturating_sub(1);
        self.rooms.free_if_blank(id);
    }

    fn send_answers(&mut self, out: &mut impl Outlet) {
        for (reactor, answers) in self.answers.iter_mut().enumerate() {
            if !answers.is_empty() {
                out.push(reactor, Output::Answers(std::mem::take(answers)));
            }
        }
        for (reactor, answers) in self.ack_answers.iter_mut().enumerate() {
            if !answers.is_empty() {
                out.push(reactor, Output::Acked(std::mem::take(answers)));
            }
        }
    }
}
