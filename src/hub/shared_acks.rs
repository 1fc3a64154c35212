//! Acknowledgments where several nodes share their rooms.
//!
//! The store has what waits. Whoever ends a wait gives the notice of that, under an id of its own, to the store: it is kept once, and its coming by the
//! feed is what ends the wait on every node. Only then is `ok` answered: an acknowledgment that was answered is known wherever its user connects next.
//! Every node then has the store forget what waited.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::base::codes::Refusal;
use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::time::{Mono, Now};

use super::Hub;
use super::acks::{ACKS_ROOM, not_kept};
use super::encode::ts_and_event_id;
use super::ports::{Event, Outcome, Outlet, PendingId};
use super::room::HeldEvent;
use super::shared::Asker;
use super::store::{Append, KnownWait, Placed, Settled, past_event};
use super::unacknowledged::{Escalation, Waiting};

/// What the `event_id` of a notice begins with: no publisher's does in that room.
const NOTICE_ID: &str = "tickerd:settled:";
/// The same of a notice that somebody was told.
const ESCALATED_ID: &str = "tickerd:escalated:";
/// In that time a node that begins has read all shards.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Ends of waits that are remembered: feeds of two rooms have no common order, so that an end may come before its event, or before a room is read
/// anew in which it is not known yet.
const ENDED_MAX: usize = 1024;
/// For how long: meanwhile an event of the same id is a duplicate, and later it may wait again.
const ENDED_FOR: Duration = Duration::from_secs(60);

/// Ends of waits that were heard lately: when, room, `event_id`.
#[derive(Default)]
pub(super) struct Ended(VecDeque<(Mono, Box<str>, Box<str>)>);

impl Ended {
    fn add(&mut self, now: Mono, room: &str, event_id: &str) {
        if self.0.len() == ENDED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, room.into(), event_id.into()));
    }

    fn has(&self, now: Mono, room: &str, event_id: &str) -> bool {
        let mut lately = self.0.iter().rev().take_while(|(at, ..)| now.since(*at) < ENDED_FOR);
        lately.any(|(_, of, id)| **of == *room && **id == *event_id)
    }
}

/// What the data of a notice says.
#[derive(Deserialize)]
struct Notice {
    event_id: Box<str>,
    room: Box<str>,
    ts: u64,
    /// Only if it says that somebody was told: when the event was accepted.
    published: Option<u64>,
}

impl Hub {
    /// Ends a wait: asks the store to tell all nodes of it. In a room of this node alone it is over at once.
    pub(super) fn settle_with_store(
        &mut self,
        now: Now,
        (room, event_id): (&str, &str),
        notice: impl FnOnce(&mut Hub) -> Event,
        out: &mut impl Outlet,
    ) -> Result<(), Refusal> {
        if !self.rooms.are_shared(room) {
            let askers = self.unacknowledged.remove(room, event_id);
            self.answer_acks(askers, &Ok(()));
            let event = notice(self);
            if self.shared_mut().refusal(Lane::Update).is_some() {
                self.stats.acks_untold += 1;
            } else {
                self.give_to_store(now, event, Asker::Nobody, out);
            }
            return Ok(());
        }
        if let Some(refusal) = self.shared_mut().refusal(Lane::Alert) {
            return Err(refusal);
        }
        self.unacknowledged.settle(room, event_id);
        let event = Event { event_id: Some(notice_id(room, event_id)), ..notice(self) };
        self.give_to_store(now, event, Asker::Wait(room.into(), event_id.into()), out);
        Ok(())
    }

    fn give_to_store(&mut self, now: Now, event: Event, asker: Asker, out: &mut impl Outlet) {
        let (slot, generation) = self.shared_mut().ask(asker, &event);
        out.append(Append { id: PendingId { slot, generation }, ts_ms: now.wall_ms, accepted: now.mono, rev: 0, event });
    }

    /// The store has the notice, or had it, or will not have it.
    pub(super) fn notice_placed(&mut self, room: &str, event_id: &str, outcome: Result<Placed, Refusal>, out: &mut impl Outlet) {
        match outcome {
            // It comes by the feed, and not again if it has come. Who was to hear it then may have read its shard anew instead, and not have had
            // the store forget what waited.
            Ok(Placed { outcome: Outcome::Duplicate, .. }) => {
                let askers = self.unacknowledged.remove(room, event_id);
                self.answer_acks(askers, &Ok(()));
                out.settled(Settled { room: room.into(), event_id: event_id.into() });
            }
            Ok(_) => {}
            Err(refusal) => {
                let askers = self.unacknowledged.resume(room, event_id);
                self.answer_acks(askers, &Err(not_kept(&refusal)));
            }
        }
    }

    /// Tells all nodes, and the publisher's side, that somebody was told of an event that its user takes no note of.
    pub(super) fn share_escalation(&mut self, now: Now, notice: Event, out: &mut impl Outlet) {
        if self.shared_mut().refusal(Lane::Update).is_some() {
            self.stats.acks_untold += 1;
            return;
        }
        let event_id = Some(shared_id(ESCALATED_ID, &[&notice.data]));
        self.give_to_store(now, Event { event_id, ..notice }, Asker::Nobody, out);
    }

    /// Another node has told somebody of it, or this one has.
    fn hear_of_escalation(&mut self, now: Now, notice: &Notice) {
        let Some(published) = notice.published else { return };
        self.shared_mut().escalated.add(now.mono, &notice.room, &told_name(&notice.event_id, published));
        let waiting = self.unacknowledged.find(&notice.room, &notice.event_id);
        if waiting.is_some_and(|waiting| ts_and_event_id(waiting.frame.as_text()).0 == published) {
            self.unacknowledged.set_escalation(&notice.room, &notice.event_id, Escalation::Told);
        }
    }

    /// The feed brings a notice: of the end of a wait, or that somebody was told.
    pub(super) fn hear_notice(&mut self, now: Now, event: &Event, out: &mut impl Outlet) {
        if !is_notice(event) {
            return;
        }
        let Ok(notice) = serde_json::from_str::<Notice>(&event.data) else { return };
        if notice.published.is_some() {
            return self.hear_of_escalation(now, &notice);
        }
        let Notice { event_id, room, ts, .. } = notice;
        // An old one, of when a node begins, says nothing of an event of the same id that is new.
        if now.wall_ms.saturating_sub(ts) < ENDED_FOR.as_millis() as u64 {
            self.shared_mut().ended.add(now.mono, &room, &event_id);
        }
        let askers = self.unacknowledged.remove(&room, &event_id);
        self.answer_acks(askers, &Ok(()));
        out.settled(Settled { room: (*room).into(), event_id: (*event_id).into() });
    }

    /// The feed brings an event that is to be acknowledged.
    pub(super) fn fed_to_be_acknowledged(&mut self, now: Now, id: RoomId, held: HeldEvent, out: &mut impl Outlet) {
        let (room, event_id) = (held.event.room.clone(), held.event.event_id.clone().unwrap_or_default());
        if self.shared_mut().ended.has(now.mono, &room, &event_id) {
            return self.hold_or_release(now, id, held, out);
        }
        self.push_to_be_acknowledged(now, id, held, out);
        self.limit_waits(now, &room, out).ok(); // one that cannot go now goes before the next one comes
    }

    /// What waits in a room is what the store says.
    pub(super) fn take_waits(&mut self, now: Now, room: &Arc<str>, mut known: Vec<KnownWait>) {
        let is_known = |waiting: &Waiting| known.iter().any(|wait| wait.event.event_id.as_deref() == Some(&*waiting.event_id));
        let over: Vec<Arc<str>> =
            self.unacknowledged.all_of(room).filter(|waiting| !is_known(waiting)).map(|waiting| Arc::clone(&waiting.event_id)).collect();
        for event_id in over {
            let askers = self.unacknowledged.remove(room, &event_id);
            self.answer_acks(askers, &Ok(()));
        }
        known.sort_unstable_by_key(|wait| (wait.ts_ms, wait.seq));
        for KnownWait { seq, epoch, until_ms, ts_ms, event } in known {
            let Some(event_id) = event.event_id.as_deref() else { continue };
            if self.unacknowledged.find(room, event_id).is_some() || self.shared_mut().ended.has(now.mono, room, event_id) {
                continue;
            }
            let frame = past_event(RoomId::NONE, seq, ts_ms, &event);
            let is_told = self.shared_mut().escalated.has(now.mono, room, &told_name(event_id, ts_ms));
            // The notice that somebody was told may be in a shard that is read later.
            let due = self.escalation_of(event_id, ts_ms, &frame).no_sooner(now.wall_ms.saturating_add(READ_WITHIN.as_millis() as u64));
            let escalation = if is_told { Escalation::Told } else { due };
            let waiting = Waiting::new(event_id.into(), (event.lane, seq, epoch), until_ms, frame);
            self.unacknowledged.add(room, waiting.with_escalation(escalation));
        }
    }
}

/// Whether that tells of the end of a wait, or that somebody was told.
pub(super) fn is_notice(event: &Event) -> bool {
    let is_ours = |id: &str| [NOTICE_ID, ESCALATED_ID].iter().any(|prefix| id.starts_with(prefix));
    *event.room == *ACKS_ROOM && event.event_id.as_deref().is_some_and(is_ours)
}

/// The same on every node.
fn notice_id(room: &str, event_id: &str) -> Box<str> {
    shared_id(NOTICE_ID, &[room, event_id])
}

/// FNV-1a (Fowler, Noll, Vo; RFC 9923) over names that have no space.
fn shared_id(prefix: &str, names: &[&str]) -> Box<str> {
    let names = names.join(" ");
    let hash = names.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{prefix}{hash:016x}").into()
}

/// What an event of which somebody was told is remembered by: another of the same id may come later.
fn told_name(event_id: &str, published_ms: u64) -> String {
    format!("{event_id} {published_ms}")
}
