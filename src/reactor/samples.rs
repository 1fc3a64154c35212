//! States that members want at an interval of their own, or only some of them. Pure.
//!
//! What such a member gets of a room when it joins, and all but its states, comes as to any other. Of a state that changes, the newest is held until
//! the end of the member's interval, which it has counted since it joined; then all go out at once. Alerts, and all that is no state, wait for nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::base::ids::{KeyId, RoomId};
use crate::base::time::{Mono, nanos};
use crate::wire::frame::{Frame, Kind};
use crate::wire::sample::Sample;

use super::stats::ReactorStats;

/// By the connection's slot. Empty most of the time.
#[derive(Debug, Default)]
pub(super) struct Samples(HashMap<u32, Vec<Sampled>, RandomState>);

/// One membership.
#[derive(Debug)]
struct Sampled {
    room: RoomId,
    sample: Box<Sample>,
    began: Mono,
    held: BTreeMap<KeyId, Arc<Frame>>,
    /// When they go out; [`Mono::NEVER`] if there are none.
    due: Mono,
}

/// What is to be done with a frame that came as it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes its way.
    Goes,
    /// It is kept until its time, or it took the place of one that was.
    Held { replaced: bool },
    /// The member does not want it.
    Unwanted,
}

impl Samples {
    /// That member wants the room's states so from now on, or as they come.
    pub(super) fn set(&mut self, slot: u32, room: RoomId, sample: Option<Box<Sample>>, now: Mono) {
        self.end(slot, room);
        if let Some(sample) = sample {
            let sampled = Sampled { room, sample, began: now, held: BTreeMap::new(), due: Mono::NEVER };
            self.0.entry(slot).or_default().push(sampled);
        }
    }

    /// It is no member any more.
    pub(super) fn end(&mut self, slot: u32, room: RoomId) {
        let Some(rooms) = self.0.get_mut(&slot) else { return };
        rooms.retain(|sampled| sampled.room != room);
        if rooms.is_empty() {
            self.0.remove(&slot);
        }
    }

    /// The connection is gone.
    pub(super) fn end_all(&mut self, slot: u32) {
        self.0.remove(&slot);
    }

    /// Whether that member has wishes about the room's states.
    pub(super) fn has(&self, slot: u32, room: RoomId) -> bool {
        !self.0.is_empty() && self.find(slot, room).is_some()
    }

    /// Whether that member is to get a state that it asks for, or that comes with its join.
    pub(super) fn wants(&self, slot: u32, frame: &Frame) -> bool {
        !matches!(frame.tag.kind, Kind::State { .. })
            || self.find(slot, frame.tag.room).is_none_or(|sampled| sampled.sample.wants(frame.as_text()))
    }

    /// Whether a frame that came as it happened goes its way: it is not held, and it is wanted.
    pub(super) fn take(&mut self, slot: u32, frame: &Arc<Frame>, now: Mono, stats: &ReactorStats) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let fate = self.fate(slot, frame, now);
        stats.conflated.add(u64::from(fate == Fate::Held { replaced: true }));
        fate == Fate::Goes
    }

    fn fate(&mut self, slot: u32, frame: &Arc<Frame>, now: Mono) -> Fate {
        let Kind::State { key, .. } = frame.tag.kind else { return Fate::Goes };
        let rooms = self.0.get_mut(&slot);
        let Some(sampled) = rooms.and_then(|rooms| rooms.iter_mut().find(|sampled| sampled.room == frame.tag.room)) else {
            return Fate::Goes;
        };
        if !sampled.sample.wants(frame.as_text()) {
            return Fate::Unwanted;
        }
        if sampled.sample.every.is_zero() {
            return Fate::Goes;
        }
        if sampled.due == Mono::NEVER {
            sampled.due = next(sampled.began, sampled.sample.every, now);
        }
        Fate::Held { replaced: sampled.held.insert(key, Arc::clone(frame)).is_some() }
    }

    /// A newer state than those that are held goes to the member by another way.
    pub(super) fn forget_held(&mut self, slot: u32, room: RoomId) {
        let Some(rooms) = self.0.get_mut(&slot) else { return };
        for sampled in rooms.iter_mut().filter(|sampled| sampled.room == room) {
            sampled.held.clear();
            sampled.due = Mono::NEVER;
        }
    }

    /// When [`Samples::release`] has something for that connection.
    pub(super) fn deadline(&self, slot: u32) -> Mono {
        if self.0.is_empty() {
            return Mono::NEVER;
        }
        let dues = self.0.get(&slot).into_iter().flatten().map(|sampled| sampled.due);
        dues.min().unwrap_or(Mono::NEVER)
    }

    /// What is due for that connection.
    pub(super) fn release(&mut self, slot: u32, now: Mono) -> Vec<Arc<Frame>> {
        let mut frames = Vec::new();
        for sampled in self.0.get_mut(&slot).into_iter().flatten().filter(|sampled| sampled.due <= now) {
            frames.extend(std::mem::take(&mut sampled.held).into_values());
            sampled.due = Mono::NEVER;
        }
        frames
    }

    fn find(&self, slot: u32, room: RoomId) -> Option<&Sampled> {
        self.0.get(&slot)?.iter().find(|sampled| sampled.room == room)
    }
}

/// The first end of an interval after `now`.
fn next(began: Mono, every: Duration, now: Mono) -> Mono {
    let every_ns = nanos(every).max(1);
    let past = now.since(began).as_nanos() as u64 / every_ns;
    Mono(began.0 + (past + 1) * every_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lane::Lane;
    use crate::wire::frame::Tag;

    const ROOM: RoomId = RoomId { slot: 1, generation: 1 };

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    fn frame(kind: Kind, name: &str, n: u64) -> Arc<Frame> {
        let tag = Tag { room: ROOM, lane: Lane::Metric, kind, accepted: at(0), taken: at(0), released: at(0) };
        Arc::new(Frame::text(tag, format!(r#"{{"type":"{name}","room":"r","lane":"metric","key":"k","rev":{n},"data":{n}}}"#).as_bytes()))
    }

    fn state(key: u64, name: &str, rev: u64) -> Arc<Frame> {
        frame(Kind::State { key: KeyId(key), rev, is_deleted: false }, name, rev)
    }

    fn samples(every_ms: u64, types: &[&str]) -> Samples {
        let sample =
            Sample { every: Duration::from_millis(every_ms), types: types.iter().map(ToString::to_string).collect(), keys: Vec::new() };
        let mut samples = Samples::default();
        samples.set(7, ROOM, Some(Box::new(sample)), at(100));
        samples
    }

    fn revs(frames: &[Arc<Frame>]) -> Vec<(u64, u64)> {
        let rev = |frame: &Arc<Frame>| match frame.tag.kind {
            Kind::State { key, rev, .. } => (key.0, rev),
            other => panic!("{other:?}"),
        };
        frames.iter().map(rev).collect()
    }

    /// QTE-10: the newest of each key, at the member's own interval; nobody else's frames, and no other kind, are held.
    #[test]
    fn the_newest_of_each_state_goes_out_at_the_end_of_each_interval() {
        let mut samples = samples(1_000, &[]);
        assert_eq!(samples.deadline(7), Mono::NEVER);
        assert_eq!(samples.fate(7, &state(1, "a", 1), at(200)), Fate::Held { replaced: false });
        assert_eq!(samples.fate(7, &state(2, "b", 1), at(300)), Fate::Held { replaced: false });
        assert_eq!(samples.fate(7, &state(1, "a", 2), at(1_000)), Fate::Held { replaced: true });
        for other in [frame(Kind::Stream { seq: 1 }, "a", 1), frame(Kind::Transient, "a", 1)] {
            assert_eq!(samples.fate(7, &other, at(1_000)), Fate::Goes);
        }
        assert_eq!(samples.fate(8, &state(1, "a", 2), at(1_000)), Fate::Goes);
        assert_eq!((samples.deadline(7), revs(&samples.release(7, at(1_099)))), (at(1_100), vec![]));
        assert_eq!(revs(&samples.release(7, at(1_100))), [(1, 2), (2, 1)]);
        assert_eq!((samples.deadline(7), revs(&samples.release(7, at(9_000)))), (Mono::NEVER, vec![]));
        samples.fate(7, &state(1, "a", 3), at(3_100));
        assert_eq!(samples.deadline(7), at(4_100), "counted since it joined");
    }

    #[test]
    fn what_is_not_wanted_is_not_held_and_without_an_interval_nothing_is() {
        let mut samples = samples(0, &["a"]);
        assert_eq!(samples.fate(7, &state(1, "a", 1), at(200)), Fate::Goes);
        assert_eq!(samples.fate(7, &state(2, "b", 1), at(200)), Fate::Unwanted);
        assert!(samples.wants(7, &state(1, "a", 1)) && !samples.wants(7, &state(2, "b", 1)));
        assert!(samples.wants(7, &frame(Kind::Stream { seq: 1 }, "b", 1)) && samples.wants(8, &state(2, "b", 1)));
    }

    #[test]
    fn who_leaves_or_asks_anew_gets_nothing_of_what_was_held() {
        let ends: [fn(&mut Samples); 3] =
            [|samples| samples.end(7, ROOM), |samples| samples.end_all(7), |samples| samples.set(7, ROOM, None, at(300))];
        for end in ends {
            let mut samples = samples(1_000, &[]);
            samples.fate(7, &state(1, "a", 1), at(200));
            end(&mut samples);
            assert!(samples.release(7, at(9_000)).is_empty() && !samples.has(7, ROOM) && samples.0.is_empty());
        }
        let mut samples = samples(1_000, &[]);
        samples.fate(7, &state(1, "a", 1), at(200));
        samples.forget_held(7, ROOM);
        assert!(samples.release(7, at(9_000)).is_empty() && samples.has(7, ROOM));
    }
}
