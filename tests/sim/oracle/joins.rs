//! Who may join, where a member begins, and what it gets at once.

use std::rc::Rc;
use std::sync::Arc;

use tickerd::base::ids::{ConnId, RoomId};
use tickerd::base::lane::Lane;
use tickerd::base::time::Now;
use tickerd::hub::ports::{Join, Joined};
use tickerd::wire::frame::{Frame, Kind};

use crate::message::{Body, Message, Subscribed};
use crate::plan::{KINDS, Plan, USERS, user_name};

use super::{Call, Oracle};

/// What a new member will not get of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// Events up to this number.
    To(u64),
    /// What came after its position, in another epoch.
    OfAnotherEpoch,
}

impl Oracle {
    pub(super) fn on_joined(&mut self, plan: &Plan, now: Now, joined: &Joined, messages: &[Rc<Message>]) {
        let join = self.join_under_way(joined.conn);
        assert_eq!(&*joined.name, &*join.room, "another room was joined than was asked for");
        let room = plan.room(&join.room);
        let user: usize = join.user[1..].parse().expect("users are called u<number>");
        assert!(join.by_pattern || self.rooms[room].named[user], "PROMISE 3: {} joined {} without right", join.user, join.room);
        let Body::Subscribed(subscribed) = &messages[0].body else { panic!("an answer to a join begins with {:?}", messages[0]) };
        self.enter(plan, room, joined, subscribed);
        for (frame, message) in joined.frames.iter().zip(messages) {
            self.on_frame(plan, joined.room, frame, message);
        }
        check_tags(&joined.frames);
        self.check_position(plan, now, &join, joined.room, subscribed, messages);
        self.check_states_complete(joined.room, joined.conn, messages);
        self.timing.joined(room, usize::from(joined.conn.reactor), subscribed.seq, messages);
    }

    pub(super) fn on_reply(&mut self, plan: &Plan, conn: ConnId, frames: &[Arc<Frame>], messages: &[Rc<Message>]) {
        match &mut self.call {
            Call::Snapshot { conn: asked, room, answered } => {
                assert!(*asked == conn && !*answered, "an answer to nobody's snapshot");
                *answered = true;
                let room = *room;
                for (frame, message) in frames.iter().zip(messages).skip(1) {
                    self.on_frame(plan, room, frame, message);
                }
                self.check_states_complete(room, conn, messages);
            }
            Call::Join { .. } => self.on_denied(plan, conn, &messages[0]),
            _ => panic!("a reply that nobody asked for: {messages:?}"),
        }
    }

    fn on_denied(&mut self, plan: &Plan, conn: ConnId, message: &Message) {
        let join = self.join_under_way(conn);
        let Body::Error { name, message } = &message.body else { panic!("a denied join was answered with {message:?}") };
        if name == "over_capacity" {
            return assert!(plan.scarce_rooms(), "no place for a room, although there is");
        }
        assert_eq!(name, "access_denied", "a join was refused for another reason");
        self.seen.denied += 1;
        let room = plan.room(&join.room);
        let named = (0..USERS).filter(|user| self.rooms[room].named[*user]).map(user_name).collect::<Vec<_>>();
        let certain = self.rooms[room].owned && named == [&*join.user] && !plan.scarce_rooms();
        assert!(!join.by_pattern && !certain, "{} was denied {}, which it may join", join.user, join.room);
        let text = message.replace(&*join.room, "<room>");
        assert_eq!(*self.denied.get_or_insert_with(|| text.clone()), text, "\"not yours\" and \"no such room\" differ");
    }

    fn join_under_way(&mut self, conn: ConnId) -> Join {
        let Call::Join { join, answered } = &mut self.call else { panic!("a join was answered outside its call") };
        assert!(join.conn == conn && !*answered, "an answer to nobody's join");
        *answered = true;
        (**join).clone()
    }

    fn enter(&mut self, plan: &Plan, room: usize, joined: &Joined, subscribed: &Subscribed) {
        let epoch = self.epoch_of(plan, room, &subscribed.epoch);
        let view = &mut self.rooms[room];
        let kept = view.id == Some(joined.room) && view.epoch == Some(epoch);
        assert!(view.epoch == Some(epoch) || view.joined_epochs.insert(epoch), "{}: a former epoch is back", joined.name);
        view.epoch = Some(epoch);
        assert!(kept || view.members_total() == 0, "{}: a room with members was made again", joined.name);
        view.id = Some(joined.room);
        view.members[usize::from(joined.conn.reactor)] += 1;
        view.delta_members += u32::from(joined.delta);
        self.lives.entry(joined.room).or_default();
        self.seen.joined += 1;
    }

    fn check_position(&mut self, plan: &Plan, now: Now, join: &Join, id: RoomId, subscribed: &Subscribed, messages: &[Rc<Message>]) {
        let mut gaps = 0;
        for lane in Lane::ALL {
            let live = self.check_live(plan, id, lane, subscribed);
            let from = subscribed.from[lane.index()].unwrap_or(1);
            let gap = gap_of(lane, messages);
            gaps += u64::from(gap.is_some());
            let kept_from = self.kept_from(plan, now, id, lane, live);
            match join.since.as_ref().and_then(|since| since.seq[lane.index()].map(|seq| (seq, *since.epoch == *subscribed.epoch))) {
                Some((seq, true)) if seq > live => self.check_rewound(from, live, subscribed.rewound[lane.index()], gap),
                Some((seq, true)) => {
                    self.seen.resumed += 1;
                    assert_eq!(from, seq + 1, "{}: resumed elsewhere than asked", join.room);
                    assert_eq!(subscribed.rewound[lane.index()], None, "rewound although the position is known");
                    match gap {
                        Some(Gap::To(to)) => self.check_gap(plan, now, id, lane, to),
                        gap => assert_eq!(gap, None, "{}: a gap in the epoch that is has an end", join.room),
                    }
                }
                Some((_, false)) => {
                    assert_eq!(gap, Some(Gap::OfAnotherEpoch), "{}: a position in another epoch, and no gap was told of", join.room);
                    assert!(from <= kept_from, "{}: {from}.. instead of all that is kept, {kept_from}..", join.room);
                }
                None => {
                    let asked = join.history.map_or(u64::from(plan.rooms[plan.room(&join.room)].history[lane.index()]), u64::from);
                    let wanted = (live + 1).saturating_sub(asked).max(1);
                    assert!(from >= wanted && from <= kept_from.max(wanted), "{}: {from}.. instead of {asked} up to {live}", join.room);
                    assert_eq!(gap, None, "{}: a gap, although no position was given", join.room);
                }
            }
        }
        self.seen.gaps_at_join += gaps;
        assert_eq!(subscribed.recovered, join.since.as_ref().map(|_| gaps == 0), "{}: `recovered` is not true", join.room);
    }

    /// The head that the member is told: all that its lane let go, and not less than others have.
    fn check_live(&self, plan: &Plan, id: RoomId, lane: Lane, subscribed: &Subscribed) -> u64 {
        let live = subscribed.seq[lane.index()].unwrap_or(0);
        let life = &self.lives[&id];
        let given = life.streams[lane.index()].len() as u64;
        assert!(live <= given, "a head of {live} in lane {lane}, although {given} numbers were given");
        let low = if lane == Lane::Metric && plan.holds_metrics() { life.pushed[lane.index()] } else { given };
        assert!(live >= low, "a head of {live} in lane {lane}, although members have {low}");
        live
    }

    fn check_rewound(&mut self, from: u64, live: u64, rewound: Option<u64>, gap: Option<Gap>) {
        self.seen.rewound += 1;
        assert_eq!((from, rewound, gap), (live + 1, Some(live), None), "a position beyond the end is resumed from the end");
    }

    /// A gap may cover only what need not be kept.
    pub(super) fn check_gap(&self, plan: &Plan, now: Now, id: RoomId, lane: Lane, to: u64) {
        let live = self.lives[&id].streams[lane.index()].len() as u64;
        let kept_from = self.kept_from(plan, now, id, lane, live);
        assert!(to < kept_from || to == 0, "a gap up to {to} in lane {lane}, although {kept_from}.. is to be kept");
    }

    /// The first number up to `live` that retention promises to keep.
    fn kept_from(&self, plan: &Plan, now: Now, id: RoomId, lane: Lane, live: u64) -> u64 {
        if !plan.ample_bytes() {
            return live + 1;
        }
        let by_count = live.saturating_sub(plan.history_events as u64);
        let young = |seq: &u64| now.mono.since(self.lives[&id].streams[lane.index()][*seq as usize - 1]) < plan.history_age;
        (by_count + 1..=live).find(young).unwrap_or(live + 1)
    }

    /// Every key that any member got is there, not older than members have it; but for what a full link still owes.
    fn check_states_complete(&self, id: RoomId, conn: ConnId, messages: &[Rc<Message>]) {
        let view = self.rooms.iter().find(|view| view.id == Some(id)).expect("somebody has joined it");
        for (names, (rev, ts)) in &self.lives[&id].states {
            let given = messages.iter().find_map(|message| match &message.body {
                Body::Event(event) if (event.kind, event.key) == *names => event.rev,
                _ => None,
            });
            let (kind, key) = *names;
            let owed = self.timing.is_congested(usize::from(conn.reactor), KINDS[kind].lane);
            let gone = view.deleted.get(names).is_some_and(|deleted| deleted >= ts);
            let complete = given.map_or(gone || owed, |given| given >= *rev);
            assert!(complete, "a new member got rev {given:?} of {}, {key}, although others have {rev}", KINDS[kind].name);
        }
    }
}

/// The gap of that lane in the answer to a join.
fn gap_of(lane: Lane, messages: &[Rc<Message>]) -> Option<Gap> {
    messages.iter().find_map(|message| match &message.body {
        Body::Gap { lane: of, to, .. } if *of == lane => Some(to.map_or(Gap::OfAnotherEpoch, Gap::To)),
        _ => None,
    })
}

/// `subscribed` goes before all lanes, `caught_up` after the lowest that replays; whatever a connection's queue reorders.
fn check_tags(frames: &[Arc<Frame>]) {
    assert_eq!(frames[0].tag.kind, Kind::Reply, "`subscribed` waits in a lane");
    let lowest = frames[1..].iter().map(|frame| frame.tag.lane).max().expect("`caught_up` is there");
    assert_eq!(frames[frames.len() - 1].tag.lane, lowest, "`caught_up` overtakes a lane that replays");
}
