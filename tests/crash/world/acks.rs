//! Notices that a user is to acknowledge, in a room of their own.
//!
//! What is checked, over crashes at any moment: one that is durable is given again on each join until its user acknowledges it or its time is
//! over; one whose acknowledgment was answered `ok` is not, and the publisher's side is told of it, on disk, before that (QTE-12).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::Value;
use tickerd::hub::ports::{Ack, AckAnswer, AckOf};
use tickerd::wire::request_id::RequestId;

use super::*;

pub(super) const USER_ROOM: &str = "user:u";
/// The connection that joins that room, and acknowledges.
const SLOT: u32 = 98;

/// What the oracle knows.
#[derive(Default)]
pub(super) struct Notices {
    published: u64,
    /// Each notice, and the earliest moment at which its wait may end by itself.
    until_ms: BTreeMap<String, u64>,
    durable: BTreeSet<String>,
    /// Acknowledged, whatever came of it.
    asked: BTreeSet<String>,
    /// Durable, acknowledged, and then answered `ok`.
    done: BTreeSet<String>,
    requests: u64,
    /// By request: which notice, and whether that was durable.
    asking: HashMap<RequestId, (String, bool)>,
    /// What joins that are not answered must bring, and must not.
    joins: VecDeque<(BTreeSet<String>, BTreeSet<String>)>,
}

impl Notices {
    pub(super) fn durable(&mut self, event_id: &str) {
        self.durable.insert(event_id.to_owned());
    }

    pub(super) fn crash(&mut self) {
        self.asking.clear();
        self.joins.clear();
    }
}

impl World {
    pub(super) fn step_notices(&mut self) {
        match self.rng.below(4) {
            0 => self.publish_notice(),
            1 => self.acknowledge(),
            _ => self.join_user_room(),
        }
    }

    fn publish_notice(&mut self) {
        self.notices.published += 1;
        let id = format!("notice-{}", self.notices.published);
        let ttl = *self.rng.pick(&[Duration::from_secs(2), Duration::from_secs(3600)]);
        self.notices.until_ms.insert(id.clone(), self.now.wall_ms + ttl.as_millis() as u64);
        let event = Event {
            kind: "notice".into(),
            room: USER_ROOM.into(),
            lane: Lane::Alert,
            mode: Mode::Stream,
            key: "".into(),
            owner: None,
            event_id: Some(id.as_str().into()),
            version: None,
            history: 0,
            ack_ttl: Some(ttl),
            data: "1".into(),
        };
        let ack = if self.rng.chance(70) { Safety::Durable } else { Safety::Memory };
        self.publish(Published { event, ack });
    }

    fn user_conn(&self) -> ConnId {
        ConnId { reactor: 0, slot: SLOT, generation: self.generations[0] }
    }

    fn acknowledge(&mut self) {
        if self.notices.published == 0 {
            return;
        }
        let id = format!("notice-{}", self.rng.between(1, self.notices.published as usize));
        self.notices.requests += 1;
        let request = RequestId::from(self.notices.requests);
        let is_durable = self.notices.durable.contains(&id);
        self.notices.asked.insert(id.clone());
        self.notices.asking.insert(request.clone(), (id.clone(), is_durable));
        let ack = Ack { conn: self.user_conn(), request: Some(request), user: "u".into(), of: AckOf::Event(id.into()) };
        self.apply(Input::Ack(Box::new(ack)));
    }

    pub(super) fn acked(&mut self, answers: Vec<AckAnswer>) {
        for answer in answers {
            let (id, was_durable) = self.notices.asking.remove(&answer.request).expect("each is answered once");
            if answer.outcome.is_err() {
                self.seen.acks_refused += 1;
            } else if was_durable {
                self.seen.acks += 1;
                assert!(self.out.disk.tells_of(&id), "{id} is said to be acknowledged, and the disk does not tell the publisher's side");
                self.notices.done.insert(id);
            }
        }
    }

    pub(super) fn join_user_room(&mut self) {
        let conn = self.user_conn();
        let (request, room, user) = (None, USER_ROOM.into(), "u".into());
        let join = Join { conn, request, room, user, by_pattern: true, consent: Consent::None, since: None, history: None, delta: false };
        let notices = &mut self.notices;
        let lives = |id: &&String| !notices.asked.contains(*id) && notices.until_ms[*id] > self.now.wall_ms;
        let must = notices.durable.iter().filter(lives).cloned().collect();
        notices.joins.push_back((must, notices.done.clone()));
        self.apply(Input::Join(Box::new(join)));
    }

    pub(super) fn joined_user_room(&mut self, joined: &Joined) {
        let (must, must_not) = self.notices.joins.pop_front().expect("each join is answered once");
        let mut again = BTreeSet::new();
        for frame in &joined.frames {
            let message: Value = serde_json::from_slice(frame.as_text()).unwrap();
            if message["type"] == "notice" {
                assert!(message["redelivered"] == true && message["seq"].is_u64(), "{message}");
                assert!(again.insert(message["event_id"].as_str().unwrap().to_owned()), "twice in one join: {message}");
            }
        }
        self.seen.redelivered += again.len() as u64;
        let (lost, back): (Vec<_>, Vec<_>) = (must.difference(&again).collect(), must_not.intersection(&again).collect());
        assert!(lost.is_empty(), "{lost:?} are not acknowledged, and are not given again");
        assert!(back.is_empty(), "{back:?} were acknowledged, and are given again");
        let conn = joined.conn;
        self.apply(Input::Leave { room: joined.room, conn, delta: false });
    }

    /// Nobody waits for an answer any more.
    pub(super) fn check_notices(&self) {
        assert!(self.notices.asking.is_empty() && self.notices.joins.is_empty(), "something was never answered");
    }
}
