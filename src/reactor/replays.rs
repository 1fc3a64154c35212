//! Replays from the journal whose next part waits until the connection has taken the last one: who reads slowly is not flooded.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::base::limits::REPLAY_AHEAD_BYTES;
use crate::hub::ports::{ReplayId, Replayed};

use super::Reactor;

/// By the connection's slot. Empty most of the time.
#[derive(Default)]
pub(super) struct Replays(HashMap<u32, Vec<ReplayId>, RandomState>);

impl Reactor {
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
            }
            self.enlist(conn.slot);
            self.schedule(conn.slot); // a poll may have begun to wait
        }
        if is_done {
            return;
        }
        if is_member {
            self.replays.0.entry(conn.slot).or_default().push(id);
            self.go_on_replaying(conn.slot);
        } else {
            self.core.uplink.replay_taken(id, false);
        }
    }

    /// Asks for the next parts of a connection that has taken the last ones.
    pub(super) fn go_on_replaying(&mut self, slot: u32) {
        if self.replays.0.is_empty() {
            return;
        }
        let has_taken = self.conns.at(slot).is_some_and(|conn| conn.queued_bytes() <= REPLAY_AHEAD_BYTES);
        if has_taken && let Some(ids) = self.replays.0.remove(&slot) {
            for id in ids {
                self.core.uplink.replay_taken(id, true);
            }
        }
    }

    /// The connection is gone.
    pub(super) fn end_replays(&mut self, slot: u32) {
        for id in self.replays.0.remove(&slot).into_iter().flatten() {
            self.core.uplink.replay_taken(id, false);
        }
    }
}
