//! Replays whose next part waits until the connection has taken the last one: who reads slowly is not flooded. A connection has one part under way,
//! however many rooms it joins at once.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::base::ids::{ConnId, RoomId};
use crate::base::lane::Lane;
use crate::hub::ports::{ReplayId, Replayed};

use super::Reactor;

/// By the connection's slot. Empty most of the time.
#[derive(Default)]
pub(super) struct Replays(HashMap<u32, Waiting, RandomState>);

/// One connection's.
#[derive(Default)]
struct Waiting {
    /// The part that the hub was asked for.
    asked: Option<(ReplayId, RoomId)>,
    /// Those that have their turn later.
    rest: VecDeque<(ReplayId, RoomId)>,
}

impl Waiting {
    /// What the hub had for that room before is no more.
    fn forget(&mut self, room: RoomId) {
        self.asked = self.asked.filter(|(_, of)| *of != room);
        self.rest.retain(|(_, of)| *of != room);
    }
}

impl Reactor {
    /// The hub has granted a join, of which the rest comes in parts, if there is one. What came in parts for an earlier join of that room has ended.
    pub(super) fn begin_replay(&mut self, conn: ConnId, room: RoomId, replay: Option<ReplayId>) {
        if self.conns.by_id(conn).is_none() {
            return replay.into_iter().for_each(|id| self.core.uplink.replay_taken(id, false));
        }
        if let Some(waiting) = self.replays.0.get_mut(&conn.slot) {
            waiting.forget(room);
        }
        if let Some(id) = replay {
            self.replays.0.entry(conn.slot).or_default().rest.push_back((id, room));
        }
        self.go_on_replaying(conn.slot);
    }

    /// Takes a part on for a member; a connection that is none any more has no use for the rest.
    pub(super) fn take_replayed(&mut self, replayed: Replayed) {
        let Replayed { id, conn, room, frames, floor, is_done } = replayed;
        let is_member = self.conns.by_id(conn).is_some() && self.core.rooms.is_member(conn.slot, room);
        if is_member {
            self.settle_room(room); // what waits for the members that there are is not for one whose floor changes
            if let Some((lane, seq)) = floor {
                self.core.rooms.set_lane_floor(conn.slot, room, lane, seq);
            }
            if let Some(conn) = self.conns.by_id(conn) {
                conn.on_replayed(frames, &mut self.core);
                conn.account(&mut self.pressure); // it may not be flushed: its reader may have enough before it
            }
            self.enlist(conn.slot);
            self.schedule(conn.slot); // a poll may have begun to wait
        }
        if let Some(waiting) = self.replays.0.get_mut(&conn.slot).filter(|waiting| waiting.asked.is_some_and(|(asked, _)| asked == id)) {
            waiting.asked = None;
            waiting.rest.extend((is_member && !is_done).then_some((id, room)));
        }
        if !is_member && !is_done {
            self.core.uplink.replay_taken(id, false);
        }
        self.go_on_replaying(conn.slot);
    }

    /// Asks for the next part for a connection that has taken the last one.
    pub(super) fn go_on_replaying(&mut self, slot: u32) {
        if self.replays.0.is_empty() {
            return;
        }
        let Some(waiting) = self.replays.0.get_mut(&slot).filter(|waiting| waiting.asked.is_none()) else { return };
        let ahead = self.core.options.replay_ahead_bytes();
        if !waiting.rest.is_empty() && self.conns.at(slot).is_none_or(|conn| conn.queued_bytes() > ahead) {
            return;
        }
        // Alerts of any room go before updates and metrics of all.
        let rooms = &self.core.rooms;
        let has_alerts = |(_, room): &(ReplayId, RoomId)| rooms.replaying(slot, *room).contains(&Lane::Alert);
        let next = waiting.rest.iter().position(has_alerts).unwrap_or(0);
        waiting.asked = waiting.rest.remove(next);
        match waiting.asked {
            Some((id, _)) => self.core.uplink.replay_taken(id, true),
            None => drop(self.replays.0.remove(&slot)),
        }
    }

    /// The connection is gone.
    pub(super) fn end_replays(&mut self, slot: u32) {
        for (id, _) in self.replays.0.remove(&slot).into_iter().flat_map(|waiting| waiting.asked.into_iter().chain(waiting.rest)) {
            self.core.uplink.replay_taken(id, false);
        }
    }
}
