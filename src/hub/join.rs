//! What a new member gets: its position, what it missed, the states, and the word that it is caught up.
//!
//! The answer goes through the same FIFO link as live frames, so there is neither gap nor duplicate at the seam. A member
//! gets exactly what the members before it have: events and states that a lane still holds come when the lane lets them go.

use std::sync::Arc;

use crate::base::codes::{self, Refusal};
use crate::base::ident;
use crate::base::ids::{ConnId, RoomId};
use crate::base::lane::{Lane, PerLane};
use crate::base::time::Mono;
use crate::wire::frame::{Frame, Kind, Tag};
use crate::wire::reply::{self, Subscribed};
use crate::wire::request_id::RequestId;

use super::Hub;
use super::lag::Lag;
use super::ports::{Consent, Join, Joined, Outlet, Output, Since};
use super::room::{Room, Stream};
use super::rooms::Eviction;

/// Where a lane of a new member begins.
#[derive(Default)]
struct Start {
    /// The first number that comes, be it as an event or in a `gap`.
    from: u64,
    /// The first number that is replayed.
    replay: u64,
    gap: Option<Gap>,
    /// The position lay beyond the end, which is this.
    rewound: Option<u64>,
}

/// Events that the member will not get.
struct Gap {
    from: u64,
    /// Unknown if they were numbered in a former epoch.
    to: Option<u64>,
}

impl Hub {
    pub(super) fn join(&mut self, join: Box<Join>, out: &mut impl Outlet) {
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
        room.touched = true;
        let mut answer = Answer { room, lag: &self.lags[reactor], scratch: &mut self.scratch, frames: Vec::new() };
        answer.write(&join);
        self.stats.gaps += answer.frames.iter().filter(|frame| matches!(frame.tag.kind, Kind::Gap { .. })).count() as u64;
        let (frames, floor) = (answer.frames, Lane::ALL.map(|lane| floor(room, &self.lags[reactor], lane)));
        let joined = Joined { conn: join.conn, room: id, name: Arc::clone(&room.name), floor, frames };
        out.push(reactor, Output::Joined(Box::new(joined)));
    }

    /// By pattern, by the authorizer's word, or by owning a room that exists. "No such room" and "not yours" are the same answer.
    fn admit(&mut self, join: &Join) -> Result<RoomId, Refusal> {
        if join.by_pattern || join.consent == Consent::Given {
            return self.room_of(&join.room, Eviction::Never);
        }
        let user = ident::encode_segment(&join.user);
        self.rooms
            .id_of(&join.room)
            .filter(|id| self.rooms.by_id(*id).and_then(|room| room.owner.as_deref()) == Some(&*user))
            .ok_or_else(access_denied)
    }

    pub(super) fn snapshot(&mut self, conn: ConnId, request: Option<&RequestId>, id: RoomId, out: &mut impl Outlet) {
        let reactor = usize::from(conn.reactor);
        self.scratch.clear();
        let frames = if let Some(room) = self.rooms.by_id(id) {
            reply::ok(&mut self.scratch, request);
            let first = Arc::new(Frame::reply(&self.scratch));
            let mut answer = Answer { room, lag: &self.lags[reactor], scratch: &mut self.scratch, frames: vec![first] };
            answer.put_states(false);
            answer.put_caught_up();
            answer.frames
        } else {
            let refusal = Refusal::new(codes::NOT_MEMBER, "you are not a member of this room: subscribe first");
            reply::error(&mut self.scratch, request, &refusal);
            vec![Arc::new(Frame::reply(&self.scratch))]
        };
        out.push(reactor, Output::Reply { conn, frames });
    }
}

/// One answer for all who may not join, whatever the reason.
pub fn access_denied() -> Refusal {
    Refusal::new(codes::ACCESS_DENIED, "you may not join this room: neither your token's patterns nor its owner allow it")
}

/// `stream` frames below this come to the reactor for members that were there before, not for this one.
fn floor(room: &Room, lag: &Lag, lane: Lane) -> u64 {
    lag.behind_at(room.id, lane).map_or(0, |_| room.lanes[lane.index()].live + 1)
}

/// The frames of an answer in the making.
struct Answer<'a> {
    room: &'a Room,
    lag: &'a Lag,
    scratch: &'a mut Vec<u8>,
    frames: Vec<Arc<Frame>>,
}

impl Answer<'_> {
    fn write(&mut self, join: &Join) {
        let starts = Lane::ALL.map(|lane| start(&self.room.lanes[lane.index()], lane, join, &self.room.epoch));
        self.put_subscribed(join, &starts);
        for lane in Lane::ALL {
            self.put_replay(lane, &starts[lane.index()], join.since.as_ref());
        }
        self.put_states(join.since.is_some());
        self.put_caught_up();
    }

    fn put_subscribed(&mut self, join: &Join, starts: &PerLane<Start>) {
        let subscribed = Subscribed {
            room: &self.room.name,
            epoch: &self.room.epoch,
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

    fn put_replay(&mut self, lane: Lane, start: &Start, since: Option<&Since>) {
        if let Some(gap) = &start.gap {
            let epoch = if gap.to.is_some() { &*self.room.epoch } else { since.map_or("", |since| &*since.epoch) };
            self.scratch.clear();
            reply::gap(self.scratch, &self.room.name, lane, epoch, gap.from, gap.to);
            self.put(lane, Kind::Gap { to: u64::MAX });
        }
        let stream = &self.room.lanes[lane.index()];
        self.frames.extend((start.replay..=stream.live).filter_map(|seq| stream.event(seq)).cloned());
    }

    /// The states that members have; also those deleted, for one who may hold them from before. Those owed to the lagging reactor
    /// come by themselves, once, if need be after `caught_up`.
    fn put_states(&mut self, with_deleted: bool) {
        for key in &self.room.states.keys {
            if let Some(sent) = &key.sent
                && (sent.data_at.is_some() || with_deleted)
                && !self.lag.owes_key(key.id)
            {
                self.frames.push(Arc::clone(&sent.frame));
            }
        }
    }

    /// Last, in the lowest lane that replays.
    fn put_caught_up(&mut self) {
        let lane = self.frames.iter().map(|frame| frame.tag.lane).max().unwrap_or(Lane::Alert);
        self.scratch.clear();
        reply::caught_up(self.scratch, &self.room.name);
        self.put(lane, Kind::Notice);
    }

    fn put(&mut self, lane: Lane, kind: Kind) {
        let tag = Tag { room: self.room.id, lane, kind, accepted: Mono::NEVER, released: Mono::NEVER };
        self.frames.push(Arc::new(Frame::text(tag, self.scratch)));
    }
}

fn start(stream: &Stream, lane: Lane, join: &Join, epoch: &str) -> Start {
    let since = join.since.as_ref().and_then(|since| since.seq[lane.index()].map(|seq| (seq, &*since.epoch)));
    match since {
        None => start_without_position(stream, join.history),
        Some((seq, given)) if given == epoch => start_at(stream, seq),
        Some((seq, _)) => {
            let gap = Gap { from: seq.saturating_add(1), to: None };
            Start { from: stream.oldest(), replay: stream.oldest(), gap: Some(gap), rewound: None }
        }
    }
}

fn start_without_position(stream: &Stream, history: Option<u32>) -> Start {
    let history = history.map_or(u64::from(stream.history), u64::from);
    let from = stream.oldest().max((stream.live + 1).saturating_sub(history));
    Start { from, replay: from, ..Start::default() }
}

fn start_at(stream: &Stream, seq: u64) -> Start {
    let from = seq.min(stream.live) + 1;
    let replay = from.max(stream.oldest());
    let gap = (from < replay).then_some(Gap { from, to: Some(replay - 1) });
    Start { from, replay, gap, rewound: (seq > stream.live).then_some(stream.live) }
}
