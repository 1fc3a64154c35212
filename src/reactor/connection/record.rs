//! What an operator is told of a connection.

use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::SessionName;
use crate::base::lane::Lane;
use crate::base::time::Mono;
use crate::net::stream::Stream;
use crate::reactor::core::Core;
use crate::reactor::listing::{self, ConnectionRecord};

use super::{Connection, Protocol};

impl Connection {
    /// Who is connected, once a token is accepted.
    pub(in crate::reactor) fn user(&self) -> Option<&Arc<str>> {
        self.session().and_then(|session| session.user())
    }

    /// How long ago it was accepted, to a tenth of a second.
    pub(super) fn age(&self, now: Mono) -> Duration {
        now.since(Mono(u64::from(self.since_tenths) * 100_000_000))
    }

    /// So many states were replaced by newer ones while they waited.
    pub(super) fn note_conflated(&mut self, states: u64) {
        if let Protocol::WebSocket(websocket) = &mut self.protocol {
            websocket.conflated = websocket.conflated.saturating_add(states as u32);
        }
    }

    /// Its record; with what each rule says about joining `room`.
    pub(in crate::reactor) fn record(&self, room: Option<&str>, core: &Core) -> ConnectionRecord {
        let ms_since = |at: Mono| core.now.mono.since(at).as_millis() as u64;
        let websocket = if let Protocol::WebSocket(websocket) = &self.protocol { Some(websocket) } else { None };
        let session = self.session();
        let grants = session.and_then(|session| session.grants());
        ConnectionRecord {
            session: SessionName { instance: core.options.instance, id: self.id },
            user: self.user().cloned(),
            token_id: grants.and_then(|grants| grants.token_id.clone()),
            expires_at_ms: grants.map(|grants| grants.expires_at_ms).filter(|at| *at != u64::MAX),
            ip: self.client,
            kind: listing::kind_name(self.kind()),
            is_tls: matches!(self.stream, Stream::Tls(_)),
            is_compressed: self.outbox.window_bits() > 0,
            age_ms: self.age(core.now.mono).as_millis() as u64,
            idle_ms: websocket.map(|websocket| ms_since(websocket.heard())),
            rtt_us: websocket.and_then(|websocket| websocket.rtt_us()),
            is_slow: self.patience.is_warned(),
            queued_bytes: self.queued_bytes(),
            queued_lane_bytes: Lane::ALL.map(|lane| self.outbox.lane_bytes(lane)),
            queued_frames: self.outbox.frames(),
            oldest_ms: self.oldest().map(ms_since),
            conflated: websocket.map(|websocket| websocket.conflated),
            sent_bytes: self.bytes_sent,
            received_bytes: self.bytes_received,
            rooms: listing::rooms(self, core),
            rules: room.zip(session).map_or_else(Vec::new, |(room, session)| session.rules(room, core)),
        }
    }
}
