//! Whether somebody has vouched for a connection: see [`strangers`](crate::reactor::strangers).

use crate::reactor::strangers::Standing;

use super::{Connection, Protocol};

impl Connection {
    /// Whether it came over TCP and brought no token that was accepted for good.
    pub(in crate::reactor) fn is_stranger(&self) -> bool {
        match &self.protocol {
            Protocol::WebSocket(websocket) => websocket.session.user().is_none(),
            Protocol::Http(http) => http.session().is_none(),
            Protocol::Events(_) | Protocol::Lines(_) => false,
        }
    }

    /// The daemon itself publishes by it.
    pub(in crate::reactor) fn grant_to_daemon(&mut self) {
        if let Protocol::Lines(lines) = &mut self.protocol {
            lines.is_daemon = true;
        }
    }

    /// What it is by now. That it was useful is forgotten.
    pub(in crate::reactor) fn standing(&mut self) -> Standing {
        if !self.is_stranger() {
            return Standing::Off;
        }
        let is_useful = if let Protocol::Http(http) = &mut self.protocol { http.take_useful() } else { false };
        if is_useful { Standing::Useful } else { Standing::Idle }
    }
}
