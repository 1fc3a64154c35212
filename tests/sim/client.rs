//! What one member of one room has been given since its `subscribed`, and what it may be given next: the client's side of the
//! promises, checked frame by frame.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use tickerd::base::ids::RoomId;
use tickerd::base::lane::{Lane, PerLane};
use tickerd::hub::ports::Since;

use crate::message::{Body, Event, Message, Subscribed};
use crate::plan::KINDS;
use crate::tree::Tree;

/// By which way a frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// In the answer to the join.
    Join,
    /// Pushed to all members.
    Live,
    /// In the answer to a snapshot.
    Snapshot,
}

/// Rev and value of each (kind, key) that a member was told of; no value if it was told that the key is deleted.
pub(crate) type States = HashMap<(usize, usize), (u64, Option<Rc<str>>)>;

/// What a client keeps when its membership ends, to resume from.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) since: Since,
    pub(crate) states: States,
}

/// One membership.
pub(crate) struct Session {
    pub(crate) room: RoomId,
    pub(crate) name: String,
    pub(crate) epoch: String,
    /// The `seq` that must come next in each lane.
    pub(crate) next: PerLane<u64>,
    pub(crate) states: States,
    /// It began with the states of a former membership.
    pub(crate) resumed: bool,
    /// It joined for deltas.
    pub(crate) delta: bool,
    /// Rev of each (kind, key) that this membership was told of.
    told: HashMap<(usize, usize), u64>,
    transients: HashSet<(u64, Rc<str>)>,
    caught_up: bool,
}

impl Session {
    /// The membership that begins with this `subscribed`.
    pub(crate) fn open(room: RoomId, name: &str, subscribed: &Subscribed, kept: Option<&Kept>, delta: bool) -> Session {
        let kept = kept.filter(|kept| *kept.since.epoch == *subscribed.epoch);
        let next = Lane::ALL.map(|lane| {
            let from = subscribed.from[lane.index()].unwrap_or(1);
            let resumed = kept.and_then(|kept| kept.since.seq[lane.index()]).filter(|_| subscribed.rewound[lane.index()].is_none());
            resumed.map_or(from, |seq| seq + 1)
        });
        let (name, epoch, states) = (name.to_owned(), subscribed.epoch.clone(), kept.map(|kept| kept.states.clone()).unwrap_or_default());
        Session {
            room,
            name,
            epoch,
            next,
            states,
            resumed: kept.is_some(),
            delta,
            told: HashMap::new(),
            transients: HashSet::new(),
            caught_up: false,
        }
    }

    /// What to resume from after this membership.
    pub(crate) fn kept(&self) -> Kept {
        let since = Since { epoch: self.epoch.as_str().into(), seq: self.next.map(|next| Some(next - 1)) };
        Kept { since, states: self.states.clone() }
    }

    /// The answer to the join ended.
    pub(crate) fn joined(&self) {
        assert!(self.caught_up, "{}: an answer to a join without `caught_up`", self.name);
    }

    /// The revision of a state that this membership was told of last.
    pub(crate) fn told(&self, event: &Event) -> Option<u64> {
        self.told.get(&(event.kind, event.key)).copied()
    }

    /// A frame is given to the member.
    pub(crate) fn take(&mut self, message: &Message, via: Via) {
        assert_eq!(message.room.as_deref(), Some(&*self.name), "a frame of another room reached a member: {message:?}");
        match &message.body {
            Body::Event(event) => self.event(event, via),
            Body::Gap { lane, epoch, from, to } => self.gap(*lane, epoch, *from, *to, via),
            Body::CaughtUp => self.catch_up(via),
            Body::Subscribed(_) | Body::Ok | Body::Error { .. } => panic!("{}: a reply went to members: {message:?}", self.name),
        }
    }

    fn catch_up(&mut self, via: Via) {
        assert_ne!(via, Via::Live, "{}: `caught_up` went to all members", self.name);
        assert!(via == Via::Snapshot || !self.caught_up, "{}: caught up twice", self.name);
        self.caught_up = true;
    }

    fn event(&mut self, event: &Event, via: Via) {
        assert_eq!(event.lane, KINDS[event.kind].lane, "{}: a lane not of the catalog: {event:?}", self.name);
        match (event.seq, event.rev) {
            (Some(seq), None) => self.stream(event, seq),
            (None, Some(rev)) => self.state(event, rev, via),
            (None, None) => self.transient(event),
            (Some(_), Some(_)) => panic!("both seq and rev: {event:?}"),
        }
    }

    fn stream(&mut self, event: &Event, seq: u64) {
        let next = &mut self.next[event.lane.index()];
        assert_eq!(seq, *next, "{}: a hole or a duplicate in lane {}, told of by no gap", self.name, event.lane);
        *next += 1;
    }

    fn state(&mut self, event: &Event, rev: u64, via: Via) {
        let names = (event.kind, event.key);
        let before = self.states.remove(&names);
        let had = before.as_ref().map_or(0, |(rev, _)| *rev);
        let value = match &event.patch {
            None => event.data.clone(),
            Some((base, patch)) => {
                assert!(self.delta, "{}: a delta for one who did not ask for it: {event:?}", self.name);
                assert_eq!((had, via), (*base, Via::Live), "{}: a delta on what the member does not have: {event:?}", self.name);
                let (_, before) = before.expect("it has a rev");
                let before = before.unwrap_or_else(|| panic!("{}: a delta on what is deleted: {event:?}", self.name));
                Some(Tree::parse(&before).patched(Tree::parse(patch)).to_string().into())
            }
        };
        self.states.insert(names, (rev, value));
        let told = self.told.insert(names, rev).unwrap_or(0);
        let grows = rev >= had && (rev > told || via == Via::Snapshot);
        assert!(grows, "{}: rev {rev} after {had} via {via:?}: {event:?}", self.name);
    }

    fn transient(&mut self, event: &Event) {
        let data = event.data.clone().expect("a transient event has data");
        assert!(self.transients.insert((event.ts, data)), "{}: a transient event came twice: {event:?}", self.name);
    }

    /// One that concerns all local members may begin in what this member has; it must reach beyond.
    fn gap(&mut self, lane: Lane, epoch: &str, from: u64, to: Option<u64>, via: Via) {
        let next = &mut self.next[lane.index()];
        let Some(to) = to else {
            assert_ne!(epoch, self.epoch, "{}: an open gap in the epoch that is", self.name);
            return assert_eq!(via, Via::Join, "{}: a gap of another epoch in the middle", self.name);
        };
        assert_eq!(epoch, self.epoch, "{}: a gap of another epoch", self.name);
        let fits = if via == Via::Join { from == *next } else { from <= *next && to >= *next };
        assert!(fits, "{}: gap {from}..={to} in lane {lane} at a member that waits for {next}", self.name);
        *next = to + 1;
    }
}
