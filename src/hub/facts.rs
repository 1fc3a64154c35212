//! What a restart is to know beyond the events: the newest value of each state key, and who owns which room.
//!
//! Nobody waits for it, and a state may change often: a key that has changed is noted, and its newest value given a second later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{KeyId, RoomId};
use crate::base::time::{Mono, Now};

use super::Hub;
use super::journal::Fact;
use super::ports::Outlet;
use super::room::{Key, Room};

/// How long a changed key waits for company: its value is written at most this often.
const SETTLE: Duration = Duration::from_secs(1);
/// Facts given in one call.
const FACTS_PER_CALL: usize = 256;
/// How soon a full queue is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// Evictions that wait to be told. One that finds no place is counted: its states come back with a restart.
const FORGOTTEN_MAX: usize = 100_000;

/// What is to be given yet.
#[derive(Default)]
pub(super) struct Facts {
    /// Keys that have changed, in the order in which they are due.
    changed: VecDeque<(Mono, RoomId, KeyId, usize)>,
    /// Rooms that got an owner.
    owned: VecDeque<RoomId>,
    forgotten: VecDeque<Arc<str>>,
}

impl Facts {
    /// A state key has a new value. `was_noted`: it is in the queue already.
    pub(super) fn changed(&mut self, now: Mono, room: RoomId, index: usize, key: &mut Key) {
        if !std::mem::replace(&mut key.is_unsaved, true) {
            self.changed.push_back((now.plus(SETTLE), room, key.id, index));
        }
    }

    pub(super) fn owned(&mut self, room: RoomId) {
        self.owned.push_back(room);
    }

    /// Whether there was place to note it.
    pub(super) fn forgotten(&mut self, name: Arc<str>) -> bool {
        let fits = self.forgotten.len() < FORGOTTEN_MAX;
        if fits {
            self.forgotten.push_back(name);
        }
        fits
    }

    fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.owned.is_empty() && self.forgotten.is_empty()
    }
}

impl Hub {
    /// Gives what is due to the tables. Returns when to be called again.
    pub(super) fn give_facts(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        if self.ledger.is_none() || self.facts.is_empty() {
            return Mono::NEVER;
        }
        for _ in 0..FACTS_PER_CALL {
            if !out.can_keep() {
                return now.mono.plus(RETRY);
            }
            match self.next_fact(now.mono) {
                Ok(Some(fact)) => out.keep(fact),
                Ok(None) => {}
                Err(due) => return due,
            }
        }
        now.mono
    }

    /// Notes all that has changed as due: the hub is about to end. Whether anything is left to give.
    pub fn hurry(&mut self) -> bool {
        self.facts.changed.iter_mut().for_each(|(due, ..)| *due = Mono::default());
        !self.facts.is_empty()
    }

    /// The next fact; none if what it would tell is gone; or when there will be one. What is forgotten goes first: the room may be made again.
    fn next_fact(&mut self, now: Mono) -> Result<Option<Fact>, Mono> {
        if let Some(room) = self.facts.forgotten.pop_front() {
            return Ok(Some(Fact::Forget { room }));
        }
        if let Some(id) = self.facts.owned.pop_front() {
            return Ok(self.rooms.by_id(id).and_then(owner_fact));
        }
        match self.facts.changed.front() {
            None => Err(Mono::NEVER),
            Some((due, ..)) if *due > now => Err(*due),
            Some(&(_, id, key, index)) => {
                self.facts.changed.pop_front();
                Ok(self.rooms.by_id_mut(id).and_then(|room| state_fact(room, key, index)))
            }
        }
    }
}

fn owner_fact(room: &Room) -> Option<Fact> {
    let owner = room.owner.clone()?;
    Some(Fact::Owner { room: Arc::clone(&room.name), owner, born: room.born })
}

fn state_fact(room: &mut Room, id: KeyId, index: usize) -> Option<Fact> {
    let key = room.states.keys.get_mut(index).filter(|key| key.id == id)?;
    key.is_unsaved = false;
    let state = key.kept();
    Some(Fact::State { room: Arc::clone(&room.name), state })
}
