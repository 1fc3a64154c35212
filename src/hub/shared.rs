//! A hub among several that share their rooms: what is published goes to the store, which numbers it, and all that is pushed comes from its feed.
//!
//! The store alone judges: duplicates, owners, versions, numbers. The hub has of each room what the store had at that place of the feed, so joins
//! are answered here, at once; what is no longer in memory is fetched from the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::codes::{self, Refusal};
use crate::base::ids::{ConnId, KeyId, RoomId, Ticket};
use crate::base::lane::{Lane, Mode};
use crate::base::limits::{APPEND_BYTES_MAX, APPENDS_ALERT_RESERVE, APPENDS_MAX};
use crate::base::time::{Mono, Now};

use super::ahead::Ahead;
use super::journal::KeptState;
use super::ports::{Accepted, Event, Number, Outlet, Output, PendingId, Publish, Safety};
use super::room::{HeldEvent, HeldState, Key};
use super::rooms::Eviction;
use super::shared_acks::{Ended, is_notice};
use super::slots::Slots;
use super::store::{Append, Appended, Fed, KnownRoom, KnownStream, News, Placed, Shard};
use super::{Hub, HubOptions};

/// When a store that does not answer is worth another try.
const RETRY_GONE_MS: u32 = 1_000;
/// When a full queue before it is.
const RETRY_FULL_MS: u32 = 20;
/// How soon it is tried again to give the store what has changed.
const RETRY_CHANGED: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Default)]
pub(super) struct Shared {
    asked: Slots<Asked>,
    /// Of all that was asked.
    bytes: usize,
    /// Why the store does not answer.
    gone: Option<Arc<str>>,
    /// Rooms whose snapshot is ahead of the feed: up to which place.
    ahead: HashMap<Box<str>, u64>,
    /// The table of rooms was full when the feed brought an event of another: rooms that are not in it are not known.
    is_partial: bool,
    /// Joins that are ahead of this node.
    pub(super) ahead_joins: Ahead,
    /// State keys that have changed here while the store did not answer.
    changed: HashSet<(RoomId, KeyId)>,
    /// Waits for acknowledgments that have ended lately.
    pub(super) ended: Ended,
    /// Events of which somebody was told lately that their users take no note of them.
    pub(super) escalated: Ended,
}

/// Who wants to hear what became of an event that was given to the store.
pub(super) enum Asker {
    Publisher(ConnId, Ticket),
    /// The hub itself gave it, about that state key.
    Key(RoomId, KeyId),
    /// The hub itself gave it, about the end of the wait for an acknowledgment, of which it names room and `event_id`.
    Wait(Box<str>, Box<str>),
    Nobody,
}

/// A publish that the store has not answered.
struct Asked {
    asker: Asker,
    room: Arc<str>,
    lane: Lane,
    bytes: usize,
}

impl Shared {
    /// Whether the store does not answer.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Whether rooms that are not in the table are unknown, rather than new.
    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Publishes that the store has not answered.
    pub(super) fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn has_room(&self, lane: Lane) -> bool {
        let (reserve, bytes_max) =
            if lane == Lane::Alert { (0, APPEND_BYTES_MAX) } else { (APPENDS_ALERT_RESERVE, APPEND_BYTES_MAX / 10 * 9) };
        self.asked.len() + reserve < APPENDS_MAX && self.bytes < bytes_max
    }

    /// Why the store cannot be given an event of that lane.
    pub(super) fn refusal(&self, lane: Lane) -> Option<Refusal> {
        match &self.gone {
            Some(reason) => Some(unavailable(reason)),
            None if !self.has_room(lane) => Some(full()),
            None => None,
        }
    }

    /// Notes that the store is about to be given that event.
    pub(super) fn ask(&mut self, asker: Asker, event: &Event) -> (u32, u32) {
        let asked = Asked { asker, room: (*event.room).into(), lane: event.lane, bytes: event.bytes() };
        self.bytes += asked.bytes;
        self.asked.insert(|_, _| asked)
    }

    /// Whether publishers had better slow down for it.
    pub(super) fn is_filling(&self) -> bool {
        self.asked.len() * 5 > APPENDS_MAX * 4 || self.bytes * 5 > APPEND_BYTES_MAX * 4
    }
}

impl Hub {
    /// A hub that shares its rooms with others. The first that it must hear is [`News::Shard`] of each shard.
    pub fn with_store(options: HubOptions) -> Hub {
        Hub { shared: Some(Box::default()), ..Hub::new(options) }
    }

    /// The store tells something.
    pub(super) fn hear_news(&mut self, now: Now, news: News, out: &mut impl Outlet) {
        match news {
            News::Appended(appended) => appended.into_iter().for_each(|appended| self.appended(appended, out)),
            News::Fed(fed) => fed.into_iter().for_each(|fed| self.fed(now, fed, out)),
            News::Shard(shard) => self.take_shard(now, *shard, out),
            News::Gone { reason } => self.shared_mut().gone = Some(reason),
            News::Back => self.shared_mut().gone = None,
            News::Fetched(fetched) => self.fetched(*fetched, out),
            News::NotFetched(fetch) => self.not_fetched(&fetch),
        }
    }

    pub(super) fn shared_mut(&mut self) -> &mut Shared {
        self.shared.as_mut().expect("a hub without a store hears nothing from one")
    }

    /// Gives a publish to the store. While that does not answer, states and transient events go to this node's members alone.
    pub(super) fn append(&mut self, now: Now, publish: Publish, out: &mut impl Outlet) {
        if self.shared_mut().gone.is_some() && publish.event.mode != Mode::Stream {
            return self.publish_alone(now, publish, out);
        }
        let Publish { conn, ticket, accepted, ack: _, event } = publish;
        let shared = self.shared_mut();
        if let Some(refusal) = shared.refusal(event.lane).or_else(|| is_notice(&event).then(forged)) {
            return self.answer((conn, ticket), Err(refusal));
        }
        let (slot, generation) = shared.ask(Asker::Publisher(conn, ticket), &event);
        out.append(Append { id: PendingId { slot, generation }, ts_ms: now.wall_ms, accepted, rev: 0, event });
    }

    /// The store gets what has changed here when it answers again.
    fn publish_alone(&mut self, now: Now, publish: Publish, out: &mut impl Outlet) {
        let Event { room, kind, key, mode, .. } = &publish.event;
        let name = (*mode == Mode::State).then(|| (room.clone(), kind.clone(), key.clone()));
        self.publish_here(now, publish, out);
        let Some((room, kind, key)) = name else { return };
        let found = self.rooms.id_of(&room).and_then(|id| Some((id, self.rooms.by_id(id)?)));
        if let Some((id, room)) = found
            && let Some(index) = room.states.find(&kind, &key)
        {
            let key = room.states.keys[index].id;
            self.shared_mut().changed.insert((id, key));
        }
    }

    /// Gives the store what has changed while it did not answer. Returns when to be called again.
    pub(super) fn send_changed(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        let Some(shared) = &mut self.shared else { return Mono::NEVER };
        while shared.gone.is_none() && !shared.changed.is_empty() {
            if !shared.has_room(Lane::Metric) {
                return now.mono.plus(RETRY_CHANGED);
            }
            let Some(&(id, key_id)) = shared.changed.iter().next() else { break };
            shared.changed.remove(&(id, key_id));
            let key = self.rooms.by_id(id).and_then(|room| Some((room, room.states.keys.iter().find(|key| key.id == key_id)?)));
            let Some((room, key)) = key else { continue };
            let state = key.kept();
            let event = state_event(&room.name, &state);
            let (slot, generation) = shared.ask(Asker::Key(id, key_id), &event);
            out.append(Append { id: PendingId { slot, generation }, ts_ms: state.ts_ms, accepted: now.mono, rev: state.rev, event });
        }
        Mono::NEVER
    }

    /// The store has placed or refused what it was given.
    fn appended(&mut self, appended: Appended, out: &mut impl Outlet) {
        let Appended { id, outcome } = appended;
        let shared = self.shared_mut();
        let Some(asked) = shared.asked.remove(id.slot, id.generation) else {
            debug_assert!(false, "the store answered what it was not given");
            return;
        };
        shared.bytes -= asked.bytes;
        match &asked.asker {
            Asker::Publisher(conn, ticket) => {
                let publisher = (*conn, *ticket);
                let outcome = outcome.map(|placed| self.placed(&asked, placed));
                self.answer(publisher, outcome);
            }
            Asker::Key(room, key) => {
                if outcome.is_err_and(|refusal| refusal.error == codes::STORE_UNAVAILABLE) {
                    shared.changed.insert((*room, *key)); // it is sent again
                }
            }
            Asker::Wait(room, event_id) => self.notice_placed(room, event_id, outcome, out),
            Asker::Nobody => self.stats.acks_untold += u64::from(outcome.is_err()),
        }
    }

    fn placed(&self, asked: &Asked, placed: Placed) -> Accepted {
        let Placed { outcome, number, epoch } = placed;
        let members = self.rooms.id_of(&asked.room).and_then(|id| self.rooms.by_id(id)).map_or(0, super::room::Room::members_total);
        // What is a duplicate of an event that was not kept is not kept either.
        let safety = if matches!(number, Number::Seq(_)) { Safety::Durable } else { Safety::Memory };
        Accepted { outcome, room: Arc::clone(&asked.room), lane: asked.lane, number, epoch, safety, members }
    }

    /// The feed brings an event.
    fn fed(&mut self, now: Now, fed: Fed, out: &mut impl Outlet) {
        let shared = self.shared_mut();
        if !shared.ahead.is_empty()
            && let Some(place) = shared.ahead.get(&fed.event.room)
        {
            if fed.place <= *place {
                return;
            }
            shared.ahead.remove(&fed.event.room);
        }
        let Ok(id) = self.room_of(&fed.event.room, Eviction::Never) else {
            self.stats.unplaced += 1;
            self.shared_mut().is_partial = true;
            return;
        };
        if let Some(room) = self.rooms.by_id_mut(id) {
            room.touched = true;
        }
        self.own(id, &fed.event);
        self.hear_notice(now, &fed.event, out);
        match fed.event.mode {
            Mode::Stream => self.fed_stream(now, id, fed, out),
            Mode::State => self.fed_state(now, id, fed, out),
            Mode::Transient => {
                let held =
                    HeldEvent { event: fed.event, seq: None, accepted: fed.accepted, taken: now.mono.max(fed.accepted), ts_ms: fed.ts_ms };
                self.hold_or_release(now, id, held, out);
            }
        }
        self.rooms.free_if_blank(id);
    }

    fn fed_stream(&mut self, now: Now, id: RoomId, fed: Fed, out: &mut impl Outlet) {
        let lane = fed.event.lane;
        let Some(room) = self.rooms.by_id(id) else { return };
        let next = room.lanes[lane.index()].head + 1;
        if fed.number < next {
            return; // it came with the shard
        }
        if fed.number > next {
            self.skip_to(now, id, lane, fed.number, out);
        }
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        let stream = &mut room.lanes[lane.index()];
        stream.head = fed.number;
        stream.history = stream.history.max(fed.event.history);
        stream.start_epoch(fed.epoch, fed.number);
        stream.kept_from = fed.oldest.max(1);
        let held = HeldEvent {
            event: fed.event,
            seq: Some(fed.number),
            accepted: fed.accepted,
            taken: now.mono.max(fed.accepted),
            ts_ms: fed.ts_ms,
        };
        if held.event.ack_ttl.is_some() {
            return self.fed_to_be_acknowledged(now, id, held, out);
        }
        self.hold_or_release(now, id, held, out);
    }

    /// The events before that number are not known here. Members get what the lane holds, and then a `gap`.
    fn skip_to(&mut self, now: Now, id: RoomId, lane: Lane, seq: u64, out: &mut impl Outlet) {
        self.flush_now(now, id, out);
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        let stream = &mut room.lanes[lane.index()];
        let next = stream.live + 1;
        self.history.forget(stream);
        (stream.live, stream.head) = (seq - 1, seq - 1);
        self.fall_behind(id, lane, next);
    }

    /// Members are owed the lane's events from that number on, those that are not there any more as a `gap`.
    fn fall_behind(&mut self, id: RoomId, lane: Lane, next: u64) {
        let Some(room) = self.rooms.by_id(id) else { return };
        for (reactor, lag) in self.lags.iter_mut().enumerate() {
            if room.members[reactor] > 0 {
                lag.fall_behind(id, lane, next, &mut self.stats);
            }
        }
    }

    fn fed_state(&mut self, now: Now, id: RoomId, fed: Fed, out: &mut impl Outlet) {
        let Fed { number, ts_ms, accepted, event, .. } = fed;
        let Ok(index) = self.place_for(id, &event) else {
            self.stats.unplaced += 1;
            return;
        };
        if self.has_changed(id, index) {
            return; // what is here is newer, and about to be sent
        }
        let held = HeldState { data: event.data, event_id: event.event_id, accepted, taken: now.mono.max(accepted), ts_ms };
        self.put_state(now, (id, index), (number, event.version), held, out);
    }

    /// Whether the key has changed here, and the store has not seen it.
    fn has_changed(&self, id: RoomId, index: usize) -> bool {
        let Some((shared, room)) = self.shared.as_ref().zip(self.rooms.by_id(id)) else { return false };
        !shared.changed.is_empty() && shared.changed.contains(&(id, room.states.keys[index].id))
    }

    /// A key has that value, and that `rev` and version.
    fn put_state(&mut self, now: Now, (id, index): (RoomId, usize), number: (u64, Option<u64>), held: HeldState, out: &mut impl Outlet) {
        let key = &mut self.rooms.by_id_mut(id).expect("the caller found it").states.keys[index];
        (key.rev, key.ts_ms) = (number.0, held.ts_ms);
        key.version = number.1.or(key.version);
        self.held_bytes += held.data.len();
        let replaced = key.held.replace(held);
        self.held_bytes -= replaced.as_ref().map_or(0, |replaced| replaced.data.len());
        self.hold_or_release_state(now, id, index, replaced.is_some(), out);
    }

    // ---- what a shard is made of, and made of again ----

    /// Begins with what the store knows of a shard, or does so again after something was missed: members get what they lack of it, or a `gap`
    /// where that is not to be had. If there is another epoch, they are to come back.
    fn take_shard(&mut self, now: Now, shard: Shard, out: &mut impl Outlet) {
        self.rooms.take_epochs(shard.number, shard.epochs);
        let mut unknown: HashSet<RoomId> = self.rooms.of_shard(shard.number).collect();
        for room in shard.rooms {
            if let Some(id) = self.rooms.id_of(&room.name) {
                unknown.remove(&id);
            }
            if room.place > shard.place {
                self.shared_mut().ahead.insert(room.name.clone(), room.place);
            }
            self.take_room(now, room, out);
        }
        // What the store does not know is not there any more, or was never published to.
        for id in unknown {
            let Some(name) = self.rooms.by_id(id).map(|room| Arc::clone(&room.name)) else { continue };
            self.take_room(now, KnownRoom { name: (*name).into(), ..KnownRoom::default() }, out);
            self.rooms.free_if_blank(id);
        }
    }

    fn take_room(&mut self, now: Now, known: KnownRoom, out: &mut impl Outlet) {
        let Ok(id) = self.room_of(&known.name, Eviction::Never) else {
            self.stats.unplaced += 1;
            self.shared_mut().is_partial = true;
            return;
        };
        self.flush_now(now, id, out);
        let (present, born) = (Arc::clone(self.rooms.epoch_of(&known.name)), self.rooms.born_of(&known.name));
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        room.owner = known.owner.map(Arc::from);
        let is_other_epoch = room.epoch.number != present.number;
        if is_other_epoch {
            (room.epoch, room.born) = (present, born);
            self.lose_members(id, out);
        }
        for (lane, known) in Lane::ALL.into_iter().zip(known.lanes) {
            self.take_stream(now, (id, lane), known.unwrap_or_default(), is_other_epoch, out);
        }
        let name = Arc::clone(&self.rooms.by_id(id).expect("it was found or made above").name);
        self.take_waits(now, &name, known.waits);
        self.take_states(now, id, known.states, out);
    }

    /// Members hold a position in an epoch that is over, and may hold events that are not in it. They are to come back, with that position.
    fn lose_members(&mut self, id: RoomId, out: &mut impl Outlet) {
        let Some(room) = self.rooms.by_id(id) else { return };
        for (reactor, lag) in self.lags.iter_mut().enumerate() {
            lag.forget(id);
            if room.members[reactor] > 0 {
                out.push(reactor, Output::Lost(id));
            }
        }
    }

    fn take_stream(&mut self, now: Now, (id, lane): (RoomId, Lane), known: KnownStream, is_other_epoch: bool, out: &mut impl Outlet) {
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        if known.head == 0 && room.lanes[lane.index()].head == 0 {
            return;
        }
        let next = room.lanes[lane.index()].live + 1;
        let stream = &mut room.lanes[lane.index()];
        (stream.starts, stream.kept_from, stream.history) = (known.starts, known.oldest.max(1), known.history);
        if stream.live == known.head && !is_other_epoch {
            return;
        }
        self.history.forget(stream);
        stream.live = known.head - known.newest.len() as u64;
        stream.head = stream.live;
        if !is_other_epoch {
            self.fall_behind(id, lane, next);
        }
        for (ts_ms, event) in known.newest {
            let Some(room) = self.rooms.by_id_mut(id) else { return };
            let stream = &mut room.lanes[lane.index()];
            stream.head += 1;
            let seq = Some(stream.head);
            self.hear_notice(now, &event, out);
            let held = HeldEvent { event, seq, accepted: now.mono, taken: now.mono, ts_ms };
            self.release_event(now, id, &held, out);
        }
    }

    fn take_states(&mut self, now: Now, id: RoomId, known: Vec<KeptState>, out: &mut impl Outlet) {
        let Some(room) = self.rooms.by_id(id) else { return };
        let name = Arc::clone(&room.name);
        let is_there = |kind: &str, key: &str| known.iter().any(|state| *state.kind == *kind && *state.key == *key);
        let changed = self.shared.as_ref().map(|shared| &shared.changed);
        let is_ours = |key: &Key| changed.is_some_and(|changed| changed.contains(&(id, key.id)));
        let gone = room.states.keys.iter().filter(|key| !is_there(&key.kind, &key.name) && key.newest_data().is_some() && !is_ours(key));
        let gone = gone.map(|key| KeptState {
            kind: key.kind.clone(),
            key: key.name.clone(),
            lane: key.lane,
            rev: key.rev + 1,
            version: None,
            ts_ms: now.wall_ms,
            data: None,
        });
        let gone: Vec<_> = gone.collect();
        for state in known.into_iter().chain(gone) {
            let event = state_event(&name, &state);
            let Ok(index) = self.place_for(id, &event) else {
                self.stats.unplaced += 1;
                continue;
            };
            if self.has_changed(id, index) {
                continue;
            }
            let Some(room) = self.rooms.by_id_mut(id) else { return };
            let key = &mut room.states.keys[index];
            if key.rev == state.rev && key.newest_data() == state.data.as_deref() && key.sent.is_some() {
                continue;
            }
            let held = HeldState { data: event.data, event_id: None, accepted: now.mono, taken: now.mono, ts_ms: state.ts_ms };
            self.put_state(now, (id, index), (state.rev, state.version), held, out);
        }
    }
}

/// The state as the publish that made it.
fn state_event(room: &str, state: &KeptState) -> Event {
    Event {
        kind: state.kind.clone(),
        room: room.into(),
        lane: state.lane,
        mode: Mode::State,
        key: state.key.clone(),
        owner: None,
        event_id: None,
        version: state.version,
        history: 0,
        ack_ttl: None,
        data: state.data.clone().unwrap_or_else(|| "null".into()),
    }
}

/// What a publisher is told while the store does not answer.
fn unavailable(reason: &str) -> Refusal {
    let message = format!("the store that numbers events does not answer ({reason}): send again after retry_after_ms");
    Refusal::passing(codes::STORE_UNAVAILABLE, message, RETRY_GONE_MS)
}

/// What only nodes publish.
fn forged() -> Refusal {
    Refusal::new(codes::FORBIDDEN, "an event_id that begins so is the daemon's own in this room: give it another")
}

fn full() -> Refusal {
    Refusal::passing(codes::QUEUE_FULL, "the queue before the store is full: send again after retry_after_ms", RETRY_FULL_MS)
}
