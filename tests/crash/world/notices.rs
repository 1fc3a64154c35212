//! Notices that their user is to acknowledge.
//!
//! What is checked, over crashes at any moment: one that is durable is given on each join until its user acknowledges it, its time is over, or
//! it is the oldest of too many; one whose acknowledgment was answered `ok` is not given again, and the publisher's side is told of it, on
//! disk, before that (QTE-11, QTE-12).

use std::collections::BTreeSet;

use tickerd::base::limits::UNACKNOWLEDGED_PER_USER_MAX;
use tickerd::hub::acks::AckResult;
use tickerd::hub::ports::{Ack, AckAnswer, AckOf};
use tickerd::wire::request_id::RequestId;

use super::publishers::event;
use super::*;

/// The connection that acknowledges by id.
const SLOT: u32 = 98;
/// What a notice takes of a user's bytes, at most.
const NOTICE_BYTES_MAX: usize = 1_000;

/// What a join must bring, and what it must not give again.
#[derive(Default)]
pub(super) struct Due {
    /// Notices with their numbers.
    must: BTreeMap<String, u64>,
    must_not: BTreeSet<String>,
}

/// What the oracle knows.
pub(super) struct Notices {
    /// Many come at once, now and then.
    comes_in_crowds: bool,
    /// So many may wait for sure.
    room_for: usize,
    published: u64,
    /// Of each notice, between which moments its wait may end by itself.
    until_ms: BTreeMap<String, (u64, u64)>,
    /// Number of each that is durable.
    durable: BTreeMap<String, u64>,
    /// Acknowledged by id, whatever came of it.
    asked: BTreeSet<String>,
    /// Acknowledged by position up to this, whatever came of it;
    covered: u64,
    /// and up to this in the life of this process, for sure.
    covered_now: u64,
    /// Durable, acknowledged by id, and then answered `ok`.
    done: BTreeSet<String>,
    requests: u64,
    /// By request: which notice, and whether that was durable.
    asking: HashMap<RequestId, (String, bool)>,
    /// Where each former epoch ended.
    ends: BTreeMap<String, u64>,
    epoch: String,
    /// The most that may have waited at a time.
    crowd_max: usize,
    /// Not given because too many waited.
    crowded_out: BTreeSet<String>,
}

impl Notices {
    pub(super) fn new(rng: &mut Rng, user_bytes: usize) -> Notices {
        Notices {
            comes_in_crowds: rng.chance(10),
            room_for: UNACKNOWLEDGED_PER_USER_MAX.min(user_bytes / NOTICE_BYTES_MAX),
            published: 0,
            until_ms: BTreeMap::new(),
            durable: BTreeMap::new(),
            asked: BTreeSet::new(),
            covered: 0,
            covered_now: 0,
            done: BTreeSet::new(),
            requests: 0,
            asking: HashMap::new(),
            ends: BTreeMap::new(),
            epoch: String::new(),
            crowd_max: 0,
            crowded_out: BTreeSet::new(),
        }
    }

    pub(super) fn started(&mut self, epoch: &str) {
        epoch.clone_into(&mut self.epoch);
    }

    /// The room's last number on disk is `end`.
    pub(super) fn crash(&mut self, end: u64) {
        self.asking.clear();
        self.ends.insert(std::mem::take(&mut self.epoch), end);
        self.covered = self.covered.min(end);
        self.covered_now = 0;
    }

    /// It is published, perhaps again: then it may wait anew.
    pub(super) fn sent(&mut self, event: &Event, now: Now) {
        let Some((id, ttl)) = event.event_id.as_deref().zip(event.ack_ttl) else { return };
        let until_ms = now.wall_ms + ttl.as_millis() as u64;
        self.until_ms.entry(id.to_owned()).or_insert((until_ms, until_ms)).1 = until_ms;
        let crowd = self.until_ms.iter().filter(|(id, (_, last_ms))| !self.done.contains(*id) && *last_ms > now.wall_ms);
        self.crowd_max = self.crowd_max.max(crowd.count());
    }

    pub(super) fn durable(&mut self, event_id: &str, seq: u64) {
        self.durable.insert(event_id.to_owned(), seq);
    }

    /// Those that wait for sure, but for too many.
    pub(super) fn waiting(&self, now: Now) -> BTreeMap<String, u64> {
        let waits = |(id, seq): &(&String, &u64)| !self.asked.contains(*id) && **seq > self.covered && self.until_ms[*id].0 > now.wall_ms;
        self.durable.iter().filter(waits).map(|(id, seq)| (id.clone(), *seq)).collect()
    }

    /// What a member that is caught up was given since it joined.
    pub(super) fn check(&mut self, due: &Due, have: &Have, seen: &mut Seen) {
        seen.saw("redelivered", have.again.len() as u64);
        seen.saw("redelivered beside a replay", u64::from(!have.again.is_empty() && !have.given.is_empty()));
        let twice: Vec<_> = have.again.keys().filter(|id| have.given.contains(*id)).collect();
        assert!(twice.is_empty(), "{twice:?} were replayed, and given again as well");
        let back: Vec<_> = have.again.keys().filter(|id| due.must_not.contains(*id)).collect();
        assert!(back.is_empty(), "{back:?} wait no more, and are given again");
        for (id, seq) in &due.must {
            if have.again.contains_key(id) || have.given.contains(id) {
                continue;
            }
            if have.missed.contains(seq) {
                // Its replay was to bring it, and retention was faster: the member was told of the gap.
                seen.saw("overtaken replays", 1);
                continue;
            }
            assert!(self.crowd_max > self.room_for, "{id} waits, and is not given");
            let older: Vec<_> = have.again.iter().filter(|(_, again)| **again < *seq).collect();
            assert!(older.is_empty(), "{id} had to go, and {older:?} are older");
            self.crowded_out.insert(id.clone());
            seen.saw("too many", 1);
        }
    }
}

impl World {
    pub(super) fn step_notices(&mut self) {
        match self.rng.below(6) {
            0..3 => {
                let is_crowd = self.notices.comes_in_crowds && self.rng.chance(20);
                (0..if is_crowd { 40 } else { 1 }).for_each(|_| self.publish_notice());
            }
            3..5 => self.acknowledge_any(),
            _ => self.acknowledge_up_to(),
        }
    }

    pub(super) fn publish_notice(&mut self) {
        self.notices.published += 1;
        let id = format!("notice-{}", self.notices.published);
        let ttl = *self.rng.pick(&[Duration::from_secs(2), Duration::from_secs(3600)]);
        let (event_id, data) = (Some(id.as_str().into()), format!(r#"{{"id":"{id}"}}"#).into());
        let event = Event { event_id, ack_ttl: Some(ttl), data, ..event("notice", USER_ROOM, Lane::Alert) };
        let ack = self.safety();
        self.publish(Published { event, ack });
    }

    /// What a join of the user's room must bring if it is asked for now.
    pub(super) fn due(&self) -> Due {
        let covered = self.notices.durable.iter().filter(|(_, seq)| **seq <= self.notices.covered_now).map(|(id, _)| id.clone());
        Due { must: self.notices.waiting(self.now), must_not: self.notices.done.iter().cloned().chain(covered).collect() }
    }

    fn acknowledge_any(&mut self) {
        if self.notices.published > 0 {
            let id = format!("notice-{}", self.rng.between(1, self.notices.published as usize));
            self.acknowledge(&id);
        }
    }

    pub(super) fn acknowledge(&mut self, id: &str) {
        self.notices.requests += 1;
        let request = RequestId::from(self.notices.requests);
        let is_durable = self.notices.durable.contains_key(id);
        self.notices.asked.insert(id.to_owned());
        self.notices.asking.insert(request.clone(), (id.to_owned(), is_durable));
        let conn = ConnId { reactor: 0, slot: SLOT, generation: self.generations[0] };
        let ack = Ack { conn, request: Some(request), user: "u".into(), of: AckOf::Event(id.into()) };
        self.apply(Input::Ack(Box::new(ack)));
    }

    /// By a position: of what a member has, of what nobody has, or of a former epoch.
    fn acknowledge_up_to(&mut self) {
        let client = self.rng.below(CLIENTS);
        let (Some(member), Some(have)) = (self.members.get(&(client, USER_ROOM)), self.have.get(&(client, USER_ROOM))) else { return };
        let (room, has) = (member.id, have.next[Lane::Alert.index()] - 1);
        let former = self.notices.ends.len();
        let (epoch, seq, is_valid) = match self.rng.below(5) {
            0 => (have.epoch.clone(), u64::MAX, false),
            1 if former > 0 => {
                let (epoch, end) = self.notices.ends.iter().nth(self.rng.below(former)).expect("there are so many");
                let seq = self.rng.between(0, *end as usize + 2) as u64;
                self.seen.saw("positions of former epochs", u64::from(seq > 0 && seq <= *end));
                (epoch.clone(), seq, seq <= *end)
            }
            _ => (have.epoch.clone(), self.rng.between(0, has as usize) as u64, true),
        };
        self.cover(room, &epoch, seq, is_valid);
    }

    fn cover(&mut self, room: RoomId, epoch: &str, seq: u64, is_valid: bool) {
        let count = |hub: &Hub, result: AckResult| hub.stats().acks[result as usize];
        let refused = count(&self.hub, AckResult::Refused);
        let acknowledged = count(&self.hub, AckResult::Acknowledged);
        let of = AckOf::UpTo { room, lane: Lane::Alert, epoch: epoch.into(), seq };
        let ack = Ack { conn: self.conn(0), request: None, user: "u".into(), of };
        self.apply(Input::Ack(Box::new(ack)));
        self.seen.saw("acks by position", count(&self.hub, AckResult::Acknowledged) - acknowledged);
        let notices = &mut self.notices;
        if is_valid {
            notices.covered = notices.covered.max(seq);
            if count(&self.hub, AckResult::Refused) == refused {
                notices.covered_now = notices.covered_now.max(seq);
            }
        }
    }

    /// Everything that any member has.
    pub(super) fn acknowledge_all(&mut self) {
        let (member, have) = (&self.members[&(0, USER_ROOM)], &self.have[&(0, USER_ROOM)]);
        let (room, epoch, seq) = (member.id, have.epoch.clone(), have.next[Lane::Alert.index()] - 1);
        self.cover(room, &epoch, seq, true);
        // Who is answered knows that all before it is safe.
        self.acknowledge("nothing that was ever published");
    }

    pub(super) fn acked(&mut self, answers: Vec<AckAnswer>) {
        for answer in answers {
            let (id, was_durable) = self.notices.asking.remove(&answer.request).expect("each is answered once");
            if answer.outcome.is_err() {
                self.seen.saw("acks refused", 1);
            } else if was_durable {
                self.seen.saw("acks", 1);
                let told = self.out.disk.told(&id);
                let told =
                    told.unwrap_or_else(|| panic!("{id} is said to be acknowledged, and the disk does not tell the publisher's side"));
                self.is_durable(&told_of(&id), (ACKS_ROOM, Lane::Update, told));
                self.notices.done.insert(id);
            }
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        !self.notices.asking.is_empty()
    }

    /// All is well: nothing is given whose time is over.
    pub(super) fn check_times(&mut self) {
        let now_ms = self.now.wall_ms;
        for client in 0..CLIENTS {
            let again = &self.have[&(client, USER_ROOM)].again;
            let old: Vec<_> = again.keys().filter(|id| self.notices.until_ms[*id].1 < now_ms).collect();
            assert!(old.is_empty(), "client {client} is given {old:?} again, whose time is over");
        }
        let expired = self.hub.stats().unacknowledged_expired.iter().sum();
        self.seen.saw("expired", expired);
    }

    /// All was acknowledged: nothing waits, and the publisher's side was told of everything.
    pub(super) fn check_ends(&self) {
        for client in 0..CLIENTS {
            let again = &self.have[&(client, USER_ROOM)].again;
            assert!(again.is_empty(), "client {client} is given {again:?} again, which it has acknowledged");
        }
        for id in self.notices.durable.keys() {
            // What has to go while the disk fails is told to those who are there alone.
            let may_be_untold = self.has_failed && self.notices.crowded_out.contains(id);
            assert!(may_be_untold || self.out.disk.told(id).is_some(), "nobody was told what became of {id}");
        }
    }
}
