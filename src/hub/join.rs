//! What a new member gets: its position, what it missed, the states, and the word that it is caught up.
//!
//! The answer goes through the same FIFO link as live frames, so there is neither gap nor duplicate at the seam. A member
//! gets exactly what the members before it have: events and states that a lane still holds come when the lane lets them go.

use std::sync::Arc;

use crate::base::codes::{self, Refusal};
use crate::base::ident;
use crate::base::ids::{ConnId, RoomId};
use crate::base::lane::{Lane, PerLane};
use crate::base::time::{Mono, Now};
use crate::wire::digest::StateDigest;
use crate::wire::frame::{Frame, Kind, Tag};
use crate::wire::reply::{self, Subscribed};
use crate::wire::request_id::RequestId;

use super::Hub;
use super::acks;
use super::lag::Lag;
use super::ports::{Consent, Join, Joined, Outlet, Output, Since};
use super::position::{self, Era, Start};
use super::replay::{Rest, RestOfStates};
use super::room::{Key, Room, Sent};
use super::rooms::Eviction;

/// When a digest that could not be given is worth another try.
const RETRY_DIGEST_MS: u32 = 100;

impl Hub {
    pub(super) fn join(&mut self, now: Now, join: Box<Join>, out: &mut impl Outlet) {
        if let Some(join) = self.keep_if_ahead(now, join) {
            self.join_now(join, out);
        }
    }

    pub(super) fn join_now(&mut self, join: Box<Join>, out: &mut impl Outlet) {
        let reactor = usize::from(join.conn.reactor);
        let id = match self.admit(&join) {
            Ok(id) => id,
            Err(refusal) if refusal.error == codes::ACCESS_DENIED && join.consent == Consent::ToBeAsked => {
                return out.push(reactor, Output::Unowned(join));
            }
            Err(refusal) => {
                self.stats.join_denied += 1;
                self.scratch.clear();
                reply::error(&mut self.scratch, join.request.as_ref(), &refusal);
                let frames = vec![Arc::new(Frame::reply(&self.scratch))];
                return out.push(reactor, Output::Reply { conn: join.conn, frames });
            }
        };
        self.stats.joined += 1;
        self.stats.members += 1;
        let room = self.rooms.by_id_mut(id).expect("it was admitted to in this call");
        room.members[reactor] += 1;
        room.delta_members += u32::from(join.delta);
        room.touched = true;
        let room = self.rooms.by_id(id).expect("it was admitted to in this call");
        let era = join.since.as_ref().map_or(Era::Present, |since| self.rooms.era(room, &since.epoch));
        let starts = starts(room, era, &join);
        let states_after = join.poll.and_then(|poll| poll.states_after).filter(|_| era == Era::Present);
        let redelivered = match states_after {
            Some(_) => Vec::new(),
            None => acks::redelivered(&self.unacknowledged, room, &join.user, &starts, &mut self.scratch),
        };
        self.stats.redelivered += redelivered.len() as u64;
        let mut answer = Answer { room, scratch: &mut self.scratch, frames: Vec::new() };
        // A poll's answer is cut by itself.
        let at_once = if join.poll.is_some() { usize::MAX } else { self.options.replay_at_once_bytes };
        let rest = answer.write(&join, &starts, redelivered, &States { lag: &self.lags[reactor], after: states_after }, at_once);
        self.stats.gaps += answer.frames.iter().filter(|frame| matches!(frame.tag.kind, Kind::Gap { .. })).count() as u64;
        let frames = answer.frames;
        let floor = Lane::ALL.map(|lane| match rest.next[lane.index()] {
            Some(_) => u64::MAX, // until the replay sets it
            None => floor(room, &self.lags[reactor], lane),
        });
        let (epoch, from) = (Arc::clone(&room.epoch.name), starts.each_ref().map(|start| start.from));
        let (name, states_until) = (Arc::clone(&room.name), join.poll.map_or(0, |_| states_until(room)));
        self.replays.end_of(join.conn, id);
        let replay = (!rest.is_none()).then(|| self.replays.begin(join.conn, id, Arc::clone(&room.name), rest));
        let joined = Joined { conn: join.conn, room: id, name, floor, delta: join.delta, epoch, from, states_until, frames, replay };
        out.push(reactor, Output::Joined(Box::new(joined)));
    }

    /// By pattern, by the authorizer's word, or by owning a room that exists. "No such room" and "not yours" are the same answer.
    pub(super) fn admit(&mut self, join: &Join) -> Result<RoomId, Refusal> {
        if join.by_pattern || join.consent == Consent::Given {
            if self.shared.as_ref().is_some_and(|shared| shared.is_partial()) && self.rooms.id_of(&join.room).is_none() {
                return Err(Refusal::new(codes::OVER_CAPACITY, "this node has no place for all rooms of the others: raise --max-rooms"));
            }
            return self.room_of(&join.room, Eviction::Never);
        }
        self.owned_by(&join.user, &join.room).ok_or_else(access_denied)
    }

    /// The room of that name, if the user owns it.
    pub(super) fn owned_by(&self, user: &str, name: &str) -> Option<RoomId> {
        let user = ident::encode_segment(user);
        self.rooms.id_of(name).filter(|id| self.rooms.by_id(*id).and_then(|room| room.owner.as_deref()) == Some(&*user))
    }

    pub(super) fn snapshot(&mut self, conn: ConnId, request: Option<&RequestId>, id: RoomId, out: &mut impl Outlet) {
        let reactor = usize::from(conn.reactor);
        self.scratch.clear();
        let frames = if let Some(room) = self.rooms.by_id(id) {
            reply::ok(&mut self.scratch, request);
            let first = Arc::new(Frame::reply(&self.scratch));
            let lag = &self.lags[reactor];
            let mut answer = Answer { room, scratch: &mut self.scratch, frames: vec![first] };
            answer.put_states(|key, sent| sent.data_at.is_some() && !lag.owes_key(key.id));
            let lane = answer.frames.iter().map(|frame| frame.tag.lane).max().unwrap_or(Lane::Alert);
            answer.put_caught_up(lane);
            answer.frames
        } else {
            reply::error(&mut self.scratch, request, &not_member());
            vec![Arc::new(Frame::reply(&self.scratch))]
        };
        out.push(reactor, Output::Reply { conn, frames });
    }

    /// A digest of the states that the member has once it has read all that was queued for it: so it comes last, in the lowest lane.
    pub(super) fn digest(&mut self, conn: ConnId, request: Option<&RequestId>, id: RoomId, out: &mut impl Outlet) {
        let mut text = Vec::new();
        let frame = match self.digest_of(conn, id) {
            Ok((room, digest)) => {
                reply::digest(&mut text, request, &room.name, &room.epoch.name, &digest);
                let (room, lane, kind) = (RoomId::NONE, Lane::Metric, Kind::Notice);
                let tag = Tag { room, lane, kind, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER };
                Frame::text(tag, &text)
            }
            Err(refusal) => {
                reply::error(&mut text, request, &refusal);
                Frame::reply(&text)
            }
        };
        out.push(usize::from(conn.reactor), Output::Reply { conn, frames: vec![Arc::new(frame)] });
    }

    fn digest_of(&self, conn: ConnId, id: RoomId) -> Result<(&Room, StateDigest), Refusal> {
        let room = self.rooms.by_id(id).ok_or_else(not_member)?;
        let lag = &self.lags[usize::from(conn.reactor)];
        if self.replays.is_under_way(conn, id) || room.states.keys.iter().any(|key| lag.owes_key(key.id)) {
            return Err(not_settled());
        }
        let mut digest = StateDigest::default();
        for key in &room.states.keys {
            if let Some(Kind::State { rev, is_deleted: false, .. }) = key.sent.as_ref().map(|sent| sent.frame.tag.kind) {
                digest.add(&key.kind, &key.name, rev);
            }
        }
        Ok((room, digest))
    }
}

fn not_member() -> Refusal {
    Refusal::new(codes::NOT_MEMBER, "you are not a member of this room: subscribe first")
}

/// What is told to one whose states are still on their way.
fn not_settled() -> Refusal {
    let message = "states of this room are still on their way to you: ask for the digest again after retry_after_ms";
    Refusal::passing(codes::QUEUE_FULL, message, RETRY_DIGEST_MS)
}

/// One answer for all who may not join, whatever the reason.
pub fn access_denied() -> Refusal {
    Refusal::new(codes::ACCESS_DENIED, "you may not join this room: neither your token's patterns nor its owner allow it")
}

/// `stream` frames below this come to the reactor for members that were there before, not for this one.
fn floor(room: &Room, lag: &Lag, lane: Lane) -> u64 {
    lag.behind_at(room.id, lane).map_or(0, |_| room.lanes[lane.index()].live + 1)
}

/// Which of the states that members have go into an answer to a join.
struct States<'a> {
    lag: &'a Lag,
    /// For a poll: those that were changed later.
    after: Option<u64>,
}

impl States<'_> {
    /// Also those deleted, for one who may hold them from before. Those owed to the lagging reactor come by themselves, once, if need be after
    /// `caught_up`; but who polls may have gone by then.
    fn has(&self, join: &Join, key: &Key, sent: &Sent) -> bool {
        (sent.data_at.is_some() || join.since.is_some())
            && (join.poll.is_some() || !self.lag.owes_key(key.id))
            && self.after.is_none_or(|after| sent.frame.tag.released.0 > after)
    }
}

/// The frames of an answer in the making.
struct Answer<'a> {
    room: &'a Room,
    scratch: &'a mut Vec<u8>,
    frames: Vec<Arc<Frame>>,
}

impl Answer<'_> {
    /// Puts what memory has, as far as it goes into so many bytes, and returns what is to come later, `caught_up` behind it. Once a lane has to wait, so
    /// have those behind it.
    fn write(&mut self, join: &Join, starts: &PerLane<Start>, redelivered: Vec<Arc<Frame>>, wanted: &States<'_>, at_once: usize) -> Rest {
        self.put_subscribed(join, starts);
        self.frames.extend(redelivered);
        let (room, mut left) = (self.room, at_once);
        let next = Lane::ALL.map(|lane| {
            let (start, stream) = (&starts[lane.index()], &room.lanes[lane.index()]);
            self.put_gap(lane, start, join.since.as_ref());
            if start.replay < stream.oldest() {
                return Some(start.replay);
            }
            let events = || (start.replay..=stream.live).filter_map(|seq| stream.event(seq));
            let fits = take(&mut left, events());
            self.frames.extend(events().filter(|_| fits).cloned());
            (!fits).then_some(start.replay)
        });
        let mut rest = Rest { next, states: None, last: Lane::Alert };
        let first = self.frames.len();
        let states = || room.states.keys.iter().filter_map(|key| key.sent.as_ref().filter(|sent| wanted.has(join, key, sent)));
        if take(&mut left, states().map(|sent| &sent.frame)) {
            self.frames.extend(states().map(|sent| Arc::clone(&sent.frame)));
        } else {
            rest.states = Some(RestOfStates { at: 0, until: Mono(states_until(room)), with_deleted: join.since.is_some() });
        }
        if join.poll.is_some() {
            // An answer may be cut.
            self.frames[first..].sort_by_key(|frame| frame.tag.released);
        }
        rest.last = self.lane_of_caught_up(&rest);
        if rest.is_none() {
            self.put_caught_up(rest.last);
        }
        rest
    }

    fn put_subscribed(&mut self, join: &Join, starts: &PerLane<Start>) {
        let subscribed = Subscribed {
            room: &self.room.name,
            epoch: &self.room.epoch.name,
            from: Lane::ALL.map(|lane| starts[lane.index()].from),
            seq: Lane::ALL.map(|lane| self.room.lanes[lane.index()].live),
            recovered: join.since.as_ref().map(|_| starts.iter().all(|start| start.gap.is_none())),
            rewound: Lane::ALL.map(|lane| starts[lane.index()].rewound),
        };
        self.scratch.clear();
        reply::subscribed(self.scratch, join.request.as_ref(), &subscribed);
        let mut frame = Frame::reply(self.scratch);
        frame.tag.room = self.room.id;
        self.frames.push(Arc::new(frame));
    }

    fn put_gap(&mut self, lane: Lane, start: &Start, since: Option<&Since>) {
        if let Some(gap) = &start.gap {
            let epoch = if gap.to.is_some() { &*self.room.epoch.name } else { since.map_or("", |since| &*since.epoch) };
            self.scratch.clear();
            reply::gap(self.scratch, &self.room.name, lane, epoch, gap.from, gap.to);
            self.put(lane, Kind::Gap { to: start.replay - 1 });
        }
    }

    fn put_states(&mut self, is_wanted: impl Fn(&Key, &Sent) -> bool) {
        let sent = self.room.states.keys.iter().filter_map(|key| key.sent.as_ref().filter(|sent| is_wanted(key, sent)));
        self.frames.extend(sent.map(|sent| Arc::clone(&sent.frame)));
    }

    /// The lowest lane that replays, now or later.
    fn lane_of_caught_up(&self, rest: &Rest) -> Lane {
        let now = self.frames.iter().map(|frame| frame.tag.lane);
        let later = Lane::ALL.into_iter().filter(|lane| rest.next[lane.index()].is_some());
        let states = self.room.states.keys.iter().filter(|_| rest.states.is_some()).map(|key| key.lane);
        now.chain(later).chain(states).max().unwrap_or(Lane::Alert)
    }

    /// Last, in the lowest lane that replays.
    fn put_caught_up(&mut self, lane: Lane) {
        self.scratch.clear();
        reply::caught_up(self.scratch, &self.room.name);
        self.put(lane, Kind::Notice);
    }

    fn put(&mut self, lane: Lane, kind: Kind) {
        let tag = Tag { room: self.room.id, lane, kind, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER };
        self.frames.push(Arc::new(Frame::text(tag, self.scratch)));
    }
}

/// The last change of a state that the room's members may have.
fn states_until(room: &Room) -> u64 {
    room.states.keys.iter().filter_map(|key| key.sent.as_ref()).map(|sent| sent.frame.tag.released.0).max().unwrap_or_default()
}

/// Takes the bytes of all these frames from what is left, if they fit; once some do not, nothing does that has any.
fn take<'a>(left: &mut usize, frames: impl Iterator<Item = &'a Arc<Frame>>) -> bool {
    for frame in frames {
        let Some(rest) = left.checked_sub(frame.as_text().len()) else {
            *left = 0;
            return false;
        };
        *left = rest;
    }
    true
}

/// Where each lane of a new member begins.
fn starts(room: &Room, era: Era, join: &Join) -> PerLane<Start> {
    Lane::ALL.map(|lane| {
        let stream = &room.lanes[lane.index()];
        match join.since.as_ref().and_then(|since| since.seq[lane.index()]) {
            Some(seq) => position::after(stream, era, seq),
            None => position::without(stream, join.history),
        }
    })
}
