//! What rooms take and give, and which of them most. A room counts in spans of a few seconds, this one and the last, so that its rates are known at any
//! time and nothing of a room is kept elsewhere.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::RoomId;
use crate::base::time::{Mono, nanos};

use super::Hub;
use super::room::Room;

/// How long a span is: rates are those of the last one to two.
const SPAN: Duration = Duration::from_secs(5);

/// The span in which that time is.
pub(super) fn span_of(now: Mono) -> u32 {
    (now.0 / nanos(SPAN)) as u32
}

/// One room's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Traffic {
    span: u32,
    now: Flow,
    before: Flow,
}

/// What came in and went out in a span.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Flow {
    events: u64,
    deliveries: u64,
    bytes: u64,
}

/// What a room takes and gives in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Events accepted.
    pub events: f64,
    /// Frames for members, each member's counted; what their queues conflate or drop is among them.
    pub deliveries: f64,
    /// Bytes of those, neither compressed nor as deltas.
    pub bytes: f64,
}

impl Traffic {
    /// An event was accepted.
    pub(super) fn took(&mut self, span: u32) {
        self.at(span).events += 1;
    }

    /// A frame of so many bytes went to so many members.
    pub(super) fn gave(&mut self, span: u32, members: u32, bytes: usize) {
        let flow = self.at(span);
        flow.deliveries += u64::from(members);
        flow.bytes += u64::from(members) * bytes as u64;
    }

    fn at(&mut self, span: u32) -> &mut Flow {
        if self.span != span {
            *self = Traffic { span, now: Flow::default(), before: self.before(span) };
        }
        &mut self.now
    }

    /// The span before that one.
    fn before(&self, span: u32) -> Flow {
        match span.wrapping_sub(self.span) {
            0 => self.before,
            1 => self.now,
            _ => Flow::default(),
        }
    }

    /// The rates at that time: of this span all, and of the last one the part that makes it a whole span.
    fn rates(&self, now: Mono) -> Rates {
        let span = span_of(now);
        let (this, before) = (if self.span == span { self.now } else { Flow::default() }, self.before(span));
        let rest = 1.0 - (now.0 % nanos(SPAN)) as f64 / nanos(SPAN) as f64;
        let rate = |of: fn(&Flow) -> u64| (of(&this) as f64 + rest * of(&before) as f64) / SPAN.as_secs_f64();
        Rates { events: rate(|flow| flow.events), deliveries: rate(|flow| flow.deliveries), bytes: rate(|flow| flow.bytes) }
    }
}

/// By what rooms are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankBy {
    /// Members.
    Members,
    /// Events accepted.
    Events,
    /// Frames for members.
    Deliveries,
    /// Their bytes.
    Bytes,
}

impl RankBy {
    /// All of them.
    pub const ALL: [RankBy; 4] = [RankBy::Members, RankBy::Events, RankBy::Deliveries, RankBy::Bytes];

    /// As operators write it.
    pub const fn name(self) -> &'static str {
        match self {
            RankBy::Members => "members",
            RankBy::Events => "events",
            RankBy::Deliveries => "deliveries",
            RankBy::Bytes => "bytes",
        }
    }

    /// What is compared; rates to a thousandth.
    fn score(self, room: &Room, now: Mono) -> u64 {
        let rates = || room.traffic.as_deref().map_or(Rates::default(), |traffic| traffic.rates(now));
        match self {
            RankBy::Members => room.members_total().into(),
            RankBy::Events => (rates().events * 1e3) as u64,
            RankBy::Deliveries => (rates().deliveries * 1e3) as u64,
            RankBy::Bytes => (rates().bytes * 1e3) as u64,
        }
    }
}

/// A room that is told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Which room.
    pub room: RoomId,
    /// Its name.
    pub name: Arc<str>,
    /// Members over all reactors.
    pub members: u32,
    /// What it takes and gives.
    pub rates: Rates,
    /// Bytes that the hub holds back of it, until the `metric` lane's next flush.
    pub held_bytes: usize,
}

/// A search for the first rooms, a part at a time.
#[derive(Debug)]
pub struct Ranking {
    by: RankBy,
    limit: usize,
    /// The slot that is looked at next.
    next: usize,
    /// The first ones so far, the last of them on top.
    first: BinaryHeap<Reverse<(u64, RoomId)>>,
}

impl Ranking {
    /// A search for so many rooms.
    pub fn new(by: RankBy, limit: usize) -> Ranking {
        Ranking { by, limit, next: 0, first: BinaryHeap::with_capacity(limit + 1) }
    }
}

impl Hub {
    /// Looks at so many rooms more. The rooms, the first one first, once all were looked at.
    pub fn rank(&self, ranking: &mut Ranking, now: Mono, looks: usize) -> Option<Vec<Ranked>> {
        let end = self.rooms.slots_end().min(ranking.next + looks);
        for slot in ranking.next..end {
            let Some(room) = self.rooms.at(slot) else { continue };
            ranking.first.push(Reverse((ranking.by.score(room, now), room.id)));
            if ranking.first.len() > ranking.limit {
                ranking.first.pop();
            }
        }
        ranking.next = end;
        if end < self.rooms.slots_end() {
            return None;
        }
        let first = std::mem::take(&mut ranking.first).into_sorted_vec();
        Some(first.into_iter().filter_map(|Reverse((_, id))| self.rooms.by_id(id)).map(|room| ranked(room, now)).collect())
    }

    /// An event of that room was accepted.
    pub(super) fn note_taken(&mut self, id: RoomId) {
        let span = self.span;
        if let Some(room) = self.rooms.by_id_mut(id) {
            room.traffic.get_or_insert_default().took(span);
        }
    }
}

fn ranked(room: &Room, now: Mono) -> Ranked {
    Ranked {
        room: room.id,
        name: Arc::clone(&room.name),
        members: room.members_total(),
        rates: room.traffic.as_deref().map_or(Rates::default(), |traffic| traffic.rates(now)),
        held_bytes: room.held_bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    /// OBS-14: a steady flow has its rate at any time from the second span on, and none two spans after its end.
    #[test]
    fn a_steady_flow_has_its_rate() {
        let mut traffic = Traffic::default();
        for ms in (0..20_000).step_by(10) {
            traffic.took(span_of(at(ms)));
            traffic.gave(span_of(at(ms)), 3, 200);
            let rates = traffic.rates(at(ms));
            if ms >= 5_000 {
                assert!((rates.events - 100.0).abs() < 0.5 && (rates.deliveries - 300.0).abs() < 1.5, "{ms}: {rates:?}");
                assert!((rates.bytes - 60_000.0).abs() < 300.0, "{ms}: {rates:?}");
            }
        }
        assert!(traffic.rates(at(22_500)).events < 60.0);
        assert_eq!(traffic.rates(at(25_000)), Rates::default());
    }

    proptest! {
        /// Nothing is counted twice or for long: the rate is never more than what came in the last two spans.
        #[test]
        fn no_rate_is_more_than_what_came(mut times in prop::collection::vec(0u64..40_000, 1..100), later in 0u64..20_000) {
            times.sort_unstable();
            let mut traffic = Traffic::default();
            for ms in &times {
                traffic.took(span_of(at(*ms)));
            }
            let now = times[times.len() - 1] + later;
            let spans = |ms: u64| span_of(at(ms));
            let recent = times.iter().filter(|ms| spans(now) - spans(**ms) <= 1).count();
            let rate = traffic.rates(at(now)).events;
            prop_assert!(rate <= recent as f64 / SPAN.as_secs_f64() + 1e-9, "{} of {}", rate, recent);
            let of_now = times.iter().filter(|ms| spans(now) == spans(**ms)).count();
            prop_assert!(rate >= of_now as f64 / SPAN.as_secs_f64() - 1e-9);
        }
    }
}
