//! Joins with a position that this node has not reached: it comes from another one, which was a moment faster, be it with the feed or with a window.
//! They are answered when this node is there too; only one that never comes there is told that its position was taken back.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::time::{Mono, Now};

use super::Hub;
use super::ports::{Join, Outlet};
use super::position::Era;
use super::shared::Shared;

/// How long such a join waits.
const WAIT: Duration = Duration::from_secs(2);
/// How often it is looked whether the node is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// So many wait. A position can name any number, and who waits has a place in its reactor's queue: so they are few, and others are answered at once.
const WAITING_MAX: usize = 256;

/// Those that wait.
#[derive(Default)]
pub(super) struct Ahead {
    /// Each until when.
    joins: VecDeque<(Mono, Box<Join>)>,
    look_at: Mono,
}

impl Hub {
    /// Keeps a join that is ahead of this node. `Some`: it is not, or has no place.
    pub(super) fn keep_if_ahead(&mut self, now: Now, join: Box<Join>) -> Option<Box<Join>> {
        let has_place = |shared: &Shared| !shared.is_gone() && shared.ahead_joins.joins.len() < WAITING_MAX;
        if join.since.is_none() || !self.shared.as_deref().is_some_and(has_place) {
            return Some(join);
        }
        let Ok(id) = self.admit(&join) else { return Some(join) };
        if !self.is_ahead(&join, id) {
            return Some(join);
        }
        self.rooms.free_if_blank(id); // it is made again
        self.shared_mut().ahead_joins.joins.push_back((now.mono.plus(WAIT), join));
        None
    }

    /// Answers those that have waited long enough. Returns when to look again.
    pub(super) fn answer_ahead(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        let Some(shared) = self.shared.as_mut().filter(|shared| !shared.ahead_joins.joins.is_empty()) else { return Mono::NEVER };
        let is_gone = shared.is_gone();
        if now.mono < shared.ahead_joins.look_at && !is_gone {
            return shared.ahead_joins.look_at;
        }
        let look_at = now.mono.plus(LOOK_EVERY);
        shared.ahead_joins.look_at = look_at;
        for (until, join) in std::mem::take(&mut shared.ahead_joins.joins) {
            let id = self.rooms.id_of(&join.room);
            let is_over = is_gone || until <= now.mono || id.is_some_and(|id| !self.is_ahead(&join, id));
            if is_over {
                self.join_now(join, out);
            } else {
                self.shared_mut().ahead_joins.joins.push_back((until, join));
            }
        }
        if self.shared_mut().ahead_joins.joins.is_empty() { Mono::NEVER } else { look_at }
    }

    fn is_ahead(&self, join: &Join, id: RoomId) -> bool {
        let (Some(since), Some(room)) = (&join.since, self.rooms.by_id(id)) else { return false };
        let is_beyond = |lane: Lane| since.seq[lane.index()].is_some_and(|seq| seq > room.lanes[lane.index()].live);
        self.rooms.are_shared(&room.name) && self.rooms.era(room, &since.epoch) == Era::Present && Lane::ALL.into_iter().any(is_beyond)
    }
}
