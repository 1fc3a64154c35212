//! The table of connections. A slot's generation grows with each owner, so that what comes late finds nobody.

use mio::Token;

use crate::base::ids::ConnId;

use super::connection::Connection;

/// See the module.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    conn: Option<Box<Connection>>,
}

impl Slots {
    /// The id of the next connection to be inserted.
    pub(super) fn next_id(&mut self, reactor: u16) -> ConnId {
        if self.free.is_empty() {
            self.free.push(self.slots.len() as u32);
            self.slots.push(Slot::default());
        }
        let slot = *self.free.last().expect("one was pushed if there was none");
        ConnId { reactor, slot, generation: self.slots[slot as usize].generation }
    }

    /// Inserts a connection under the id that [`Slots::next_id`] gave.
    pub(super) fn insert(&mut self, conn: Box<Connection>) {
        let slot = self.free.pop();
        debug_assert_eq!(slot, Some(conn.id.slot), "another connection was inserted meanwhile");
        let at = conn.id.slot as usize;
        self.slots[at].conn = Some(conn);
    }

    /// Takes a connection out; its slot has another generation from now on.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Connection>> {
        let entry = self.slots.get_mut(slot as usize)?;
        let conn = entry.conn.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        Some(conn)
    }

    /// The connection with that id, if it is still there.
    pub(super) fn by_id(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.at(id.slot).filter(|conn| conn.id == id)
    }

    /// The connection that has that slot now.
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.conn.as_deref_mut()
    }

    /// The connection of a token made by [`token`].
    pub(super) fn by_token(&mut self, token: Token) -> Option<&mut Connection> {
        self.by_key(token.0 as u64)
    }

    /// The connection of a key made by [`key`].
    pub(super) fn by_key(&mut self, wanted: u64) -> Option<&mut Connection> {
        self.at(wanted as u32).filter(|conn| key(conn.id) == wanted)
    }

    /// The slots that are taken.
    pub(super) fn taken(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|slot| self.slots[*slot as usize].conn.is_some()).collect()
    }

    /// All slots are below this one.
    pub(super) fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whether there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}

/// Slot and generation in one number, for timers and for events.
pub(super) fn key(id: ConnId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.slot)
}

/// The connection's token. Slots stay far below those of the waker and the listeners.
pub(super) fn token(id: ConnId) -> Token {
    Token(key(id) as usize)
}
