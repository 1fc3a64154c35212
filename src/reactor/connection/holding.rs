//! What a connection holds: of memory, of bytes to be written, of the kernel's.

use crate::base::limits::CONNECTION_BYTES;
use crate::reactor::core::Core;
use crate::reactor::pressure::{Holding, Pressure};

use super::{Connection, Protocol};

impl Connection {
    /// Brings the reactor's figures up to date.
    pub(in crate::reactor) fn account(&mut self, pressure: &mut Pressure) {
        let (queued, kernel) = (self.queued_bytes(), if self.writable { 0 } else { self.kernel_bytes as usize });
        let is_ready = self.writable && !self.awaits_reader();
        let is_unread = !is_ready && self.ending.is_none();
        let holding = Holding { queued, own: self.own_bytes(), kernel, is_ready, is_unread };
        pressure.account(&mut self.share, holding);
    }

    /// What it takes of memory, frames excepted.
    fn own_bytes(&self) -> usize {
        let protocol = match &self.protocol {
            Protocol::Http(http) => http.held_bytes(),
            Protocol::WebSocket(websocket) => websocket.held_bytes(),
            Protocol::Events(events) => events.session.held_bytes(),
            Protocol::Lines(lines) => lines.held_bytes(),
        };
        CONNECTION_BYTES + self.stream.own_bytes() + self.stream.unsent() + self.outbox.own_bytes() + self.rest.capacity() + protocol
    }

    /// The kernel takes no more.
    pub(super) fn block(&mut self, core: &Core) {
        core.stats.writes_blocked.inc();
        self.writable = false;
        self.kernel_bytes = u32::try_from(self.stream.held_by_kernel()).unwrap_or(u32::MAX);
    }
}
