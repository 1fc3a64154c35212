//! Whether what arrives is what was to arrive: a judge without sockets and without a clock.
//!
//! [`reading`] says what one message is, [`sequence`] what is wrong with a number, this module puts them together for each (connection,
//! room), and [`account`] compares the whole with what was published. One event makes at most one fault: a broken one is `corrupt` and
//! nothing else as long as it can still be told which one it was.

pub mod account;
pub mod member;
pub mod reading;
pub mod sequence;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::control::Faults;
use crate::layout;
use crate::scenario::{Lane, Mode, Scenario};

use member::{Joined, LANES, Member, Track, index};
use reading::{Envelope, Event, Number, Place, Reader, Reading};
use sequence::{Sequence, Step};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An event that had not come before.
    Fresh {
        /// Its flow.
        flow: u8,
        /// See [`Stamp`](crate::stamp::Stamp).
        intended_ns: u64,
        /// Likewise.
        sent_ns: u64,
        /// It came live, and not to a slow reader: its latency is the server's.
        is_timed: bool,
    },
    /// Counted, if it was a fault; nothing is left to do.
    Done,
    /// A message of the protocol.
    Message,
}

/// The answer to a join.
#[derive(Clone, Debug, Default)]
pub struct Subscribed {
    /// The history in which `from` counts.
    pub epoch: String,
    /// The first number to come, by lane.
    pub from: BTreeMap<Lane, u64>,
    /// Lanes whose position was beyond the server's: they go on from here.
    pub rewound: BTreeMap<Lane, u64>,
}

/// A notice of events that will not come.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// Whose.
    pub lane: Lane,
    /// The first of them.
    pub from: u64,
    /// The last of them; `None`: not known.
    pub to: Option<u64>,
}

/// See the module.
pub struct Verifier {
    reader: Reader,
    is_floor: bool,
    first: u32,
    /// Readers slower than this share of a thousand connections.
    slow_permille: u32,
    /// Where the members of each connection begin in `members`, and the end.
    begins: Vec<u32>,
    members: Vec<Member>,
    tracks: Vec<Track>,
    /// Position of a flow among those of its class.
    flow_at: Vec<u32>,
    epoch: Rc<str>,
    faults: Faults,
    received: Vec<u64>,
    /// Events that came to others than slow readers, whatever they were.
    arrivals: u64,
}

impl Verifier {
    /// For the connections `first..first + count`. The error says what is wrong with the scenario.
    pub fn new(scenario: &Scenario, run: u32, is_floor: bool, first: u32, count: u32) -> Result<Verifier, String> {
        let reader = Reader::new(scenario, run, is_floor)?;
        let of_class = |name: &str| scenario.flows.iter().filter(|flow| flow.rooms == name).count();
        let per_class: Vec<usize> = scenario.rooms.iter().map(|class| of_class(&class.class)).collect();
        let (mut begins, mut members, mut tracks) = (vec![0], Vec::new(), 0);
        for mut places in layout::memberships(scenario, first..first + count) {
            places.sort_unstable();
            places.dedup();
            for place in places {
                members.push(Member::new(place, tracks as u32));
                tracks += per_class[usize::from(place.0)];
            }
            begins.push(members.len() as u32);
        }
        let before = |at: usize| scenario.flows[..at].iter().filter(|flow| flow.rooms == scenario.flows[at].rooms).count() as u32;
        Ok(Verifier {
            reader,
            is_floor,
            first,
            slow_permille: scenario.slow.as_ref().map_or(0, |slow| (slow.share * 1000.0).ceil() as u32),
            begins,
            members,
            tracks: vec![Track::default(); tracks],
            flow_at: (0..scenario.flows.len()).map(before).collect(),
            epoch: "".into(),
            faults: Faults::default(),
            received: vec![0; scenario.flows.len()],
            arrivals: 0,
        })
    }

    /// Whether that connection is one of the slow readers.
    #[inline]
    pub fn is_slow(&self, conn: u32) -> bool {
        self.slow_permille > 0 && crate::layout::is_chosen(self.first + conn, self.slow_permille)
    }

    /// Faults so far. `missing` has the holes that were seen; what never came at the end is [`account`]'s.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Distinct events verified, of each flow.
    pub fn received(&self) -> &[u64] {
        &self.received
    }

    /// How many events came, right or wrong, to others than slow readers.
    pub fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Counts a connection that the server ended.
    pub fn closed(&mut self, conn: u32) {
        self.faults.closed += u64::from(!self.is_slow(conn));
    }

    /// Counts something that came and is no message.
    pub fn unreadable(&mut self) {
        self.faults.corrupt += 1;
    }

    /// Judges a text message.
    #[inline]
    pub fn message(&mut self, conn: u32, message: &[u8]) -> Outcome {
        match self.reader.read(message) {
            Reading::Event(event) => self.event(conn, &event),
            other => self.oddity(conn, other),
        }
    }

    #[inline]
    fn event(&mut self, conn: u32, event: &Event) -> Outcome {
        let stamp = &event.stamp;
        let (class, lane, mode) = self.reader.flow(stamp.flow);
        let is_slow = self.is_slow(conn);
        self.arrivals += u64::from(!is_slow);
        let Some(at) = self.find(conn, (class, stamp.room)) else {
            self.faults.misrouted += 1;
            return Outcome::Done;
        };
        let member = &mut self.members[at];
        let track = &mut self.tracks[(member.tracks + self.flow_at[usize::from(stamp.flow)]) as usize];
        let is_replay = member.joined == Joined::Replaying;
        let mut verdict = Step::Next;
        let mut holes = 0i64;
        if let Number::Seq(seq) = event.number {
            verdict = step(&mut member.lanes[index(lane)].seq, seq);
            holes = holes_of(verdict);
        }
        let own = track.numbers.step(u64::from(stamp.n));
        let is_distinct = own != Step::Duplicate;
        track.came += u32::from(is_distinct);
        if self.is_floor && mode == Mode::Stream {
            holes = holes_of(own);
        }
        if matches!(verdict, Step::Next | Step::Skipped(_)) {
            verdict = own;
        }
        if let Number::Rev(rev) = event.number {
            // The snapshot of a join repeats what is the latest.
            if own == Step::Duplicate && is_replay && rev == track.rev {
                return Outcome::Done;
            }
            if rev <= track.rev && own != Step::Duplicate {
                verdict = Step::Late;
            }
            track.rev = track.rev.max(rev);
        }
        if holes != 0 && !is_slow {
            self.faults.missing = self.faults.missing.saturating_add_signed(holes);
        }
        if !event.is_whole {
            self.faults.corrupt += 1;
            return Outcome::Done;
        }
        match verdict {
            Step::Duplicate => self.faults.duplicate += 1,
            Step::Late => self.faults.disorder += 1,
            Step::Next | Step::Skipped(_) => {}
        }
        if !is_distinct {
            return Outcome::Done;
        }
        self.received[usize::from(stamp.flow)] += 1;
        Outcome::Fresh { flow: stamp.flow, intended_ns: stamp.intended_ns, sent_ns: stamp.sent_ns, is_timed: !is_replay && !is_slow }
    }

    #[cold]
    fn oddity(&mut self, conn: u32, reading: Reading) -> Outcome {
        self.arrivals += u64::from(reading != Reading::Message && !self.is_slow(conn));
        match reading {
            Reading::Message => return Outcome::Message,
            Reading::Foreign(envelope) => self.envelope(conn, &envelope, false),
            Reading::Broken(envelope) => self.envelope(conn, &envelope, true),
            Reading::Misrouted => self.faults.misrouted += 1,
            Reading::Unreadable => self.faults.corrupt += 1,
            Reading::Event(_) => unreachable!("an event is judged by `event`"),
        }
        Outcome::Done
    }

    /// An event whose payload says nothing: its number counts all the same.
    fn envelope(&mut self, conn: u32, envelope: &Envelope, is_broken: bool) {
        let is_slow = self.is_slow(conn);
        let Some(at) = self.find(conn, envelope.place) else {
            self.faults.misrouted += 1;
            return;
        };
        self.faults.corrupt += u64::from(is_broken);
        let (Some(lane), Some(seq)) = (envelope.lane, envelope.seq) else {
            return;
        };
        let lane = &mut self.members[at].lanes[index(lane)];
        let step = step(&mut lane.seq, seq);
        lane.unnamed += u32::from(is_broken && step != Step::Duplicate);
        if !is_slow {
            self.faults.missing = self.faults.missing.saturating_add_signed(holes_of(step));
        }
        match step {
            Step::Duplicate if !is_broken => self.faults.duplicate += 1,
            Step::Late if !is_broken => self.faults.disorder += 1,
            _ => {}
        }
    }

    /// The connection is a member from now on; what comes until [`Verifier::caught_up`] is replay. `false`: it asked for no such room.
    pub fn subscribed(&mut self, conn: u32, room: &str, answer: &Subscribed) -> bool {
        let Some(at) = self.named(conn, room) else {
            return false;
        };
        let is_new = self.members[at].epoch.as_deref() != Some(&*answer.epoch);
        if *self.epoch != *answer.epoch {
            self.epoch = answer.epoch.as_str().into();
        }
        let member = &mut self.members[at];
        let was_member = member.epoch.replace(Rc::clone(&self.epoch)).is_some();
        member.joined = Joined::Replaying;
        for lane in LANES {
            let track = &mut member.lanes[index(lane)];
            if let Some(end) = answer.rewound.get(&lane) {
                track.seq = Some(Sequence::from(end.saturating_add(1)));
            } else if !was_member || track.seq.is_none() {
                track.seq = answer.from.get(&lane).map(|from| Sequence::from(*from));
            }
        }
        if is_new {
            let flows = self.flow_at.len();
            let mine = (0..flows as u8).filter(|flow| self.reader.flow(*flow).0 == member.place.0);
            for flow in mine {
                self.tracks[(member.tracks + self.flow_at[usize::from(flow)]) as usize].rev = 0;
            }
        }
        true
    }

    /// All that was missed has come. `false`: it was not joining that room.
    pub fn caught_up(&mut self, conn: u32, room: &str) -> bool {
        let Some(at) = self.named(conn, room) else {
            return false;
        };
        let was_replaying = self.members[at].joined == Joined::Replaying;
        self.members[at].joined = Joined::Live;
        was_replaying
    }

    /// Events that will not come, and the server says so.
    pub fn gap(&mut self, conn: u32, room: &str, gap: &Gap) {
        let Some(at) = self.named(conn, room) else {
            self.faults.misrouted += 1;
            return;
        };
        let is_slow = self.is_slow(conn);
        let lane = &mut self.members[at].lanes[index(gap.lane)];
        let (Some(to), Some(seq)) = (gap.to, &mut lane.seq) else {
            (lane.seq, lane.told_unknown) = (None, true);
            return;
        };
        let holes = seq.holes().cast_signed();
        let (_skipped, told) = seq.told(gap.from, to);
        lane.told += told;
        if !is_slow {
            self.faults.missing = self.faults.missing.saturating_add_signed(seq.holes().cast_signed() - holes);
        }
    }

    /// The connection is gone; what it knows stays.
    pub fn left(&mut self, conn: u32) {
        for member in &mut self.members[self.begins[conn as usize] as usize..self.begins[conn as usize + 1] as usize] {
            member.joined = Joined::No;
        }
    }

    /// The rooms of a connection, by what is known of each.
    pub fn members(&self, conn: u32) -> &[Member] {
        &self.members[self.begins[conn as usize] as usize..self.begins[conn as usize + 1] as usize]
    }

    fn named(&self, conn: u32, room: &str) -> Option<usize> {
        self.reader.place(room).and_then(|place| self.find(conn, place))
    }

    #[inline]
    fn find(&self, conn: u32, place: Place) -> Option<usize> {
        let (begin, end) = (self.begins[conn as usize] as usize, self.begins[conn as usize + 1] as usize);
        let mine = &self.members[begin..end];
        if mine.first().is_some_and(|member| member.place == place) {
            return Some(begin);
        }
        mine.binary_search_by_key(&place, |member| member.place).ok().map(|at| begin + at)
    }
}

/// Takes a number; the first one, where nothing is known of what comes first, as it is.
#[inline]
fn step(sequence: &mut Option<Sequence>, number: u64) -> Step {
    if let Some(sequence) = sequence {
        return sequence.step(number);
    }
    *sequence = Some(Sequence::from(number.saturating_add(1)));
    Step::Next
}

fn holes_of(step: Step) -> i64 {
    match step {
        Step::Skipped(skipped) => skipped.cast_signed(),
        Step::Late => -1,
        Step::Next | Step::Duplicate => 0,
    }
}
