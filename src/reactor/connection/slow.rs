//! A client that does not read fast enough: it is spared what nobody counts on, warned, and closed if that does not help (DLV-20).

use std::sync::Arc;
use std::time::Duration;

use crate::base::codes::CLOSE_SLOW_CONSUMER;
use crate::base::memory::Level;
use crate::base::time::{Mono, millis};
use crate::net::outbox::{Entry, Limits};
use crate::reactor::core::Core;
use crate::reactor::patience::{Backlog, Verdict};
use crate::reactor::shedding::Holder;
use crate::reactor::stats::{Reason, Shed};
use crate::wire::frame::Frame;
use crate::wire::reply::{self, SlowConsumer};

use super::{Connection, Protocol};

impl Connection {
    /// Warns or ends one who is slow. A reason ends the connection at once.
    pub(super) fn mind_slowness(&mut self, core: &mut Core) -> Option<Reason> {
        if self.ending.is_some() {
            return None;
        }
        let backlog = Backlog { bytes: self.queued_bytes(), oldest: self.oldest(), is_overflowed: self.outbox.is_overflowed() };
        let can_be_warned = self.can_be_warned();
        match self.patience.judge(&backlog, &core.patience(), core.now.mono) {
            Verdict::Warn if can_be_warned => self.warn(core),
            Verdict::KeepsUp | Verdict::Warn => {}
            Verdict::Close => return self.drop_slow(core),
        }
        None
    }

    /// Memory is short: whoever was warned has no more time.
    pub(in crate::reactor) fn is_warned(&self) -> bool {
        self.patience.is_warned()
    }

    /// What it leaves unread, if it takes nothing at present and was not warned, or may be closed without.
    pub(in crate::reactor) fn as_reader(&self, level: Level, now: Mono) -> Option<Holder> {
        let (bytes, is_meant) = (self.share.unread(), level >= Level::Short || (self.can_be_warned() && !self.is_warned()));
        let held = self.oldest().map_or(Duration::ZERO, |oldest| now.since(oldest));
        (bytes > 0 && is_meant).then_some(Holder { slot: self.id.slot, is_stranger: false, bytes, held })
    }

    /// Memory gets short, and this reader leaves much unread: it is warned, or closed where there is no time for that. A reason ends the connection
    /// at once.
    pub(in crate::reactor) fn shed_unread(&mut self, core: &mut Core) -> Option<Reason> {
        if self.ending.is_some() {
            return None;
        }
        if core.memory_level >= Level::Short {
            return self.drop_slow(core);
        }
        if self.patience.warn() {
            self.warn(core);
        }
        None
    }

    /// When it will be slow, or too slow, if it takes nothing.
    pub(super) fn slow_deadline(&self, core: &Core) -> Mono {
        self.oldest().map_or(Mono::NEVER, |oldest| self.patience.next(oldest, &core.patience()))
    }

    /// Who brought no token gets no frame but the Close (AUT-01), and a publisher's answers are no messages.
    fn can_be_warned(&self) -> bool {
        match &self.protocol {
            Protocol::WebSocket(websocket) => websocket.session.user().is_some(),
            Protocol::Events(events) => events.is_open(),
            Protocol::Http(_) | Protocol::Lines(_) => false,
        }
    }

    fn warn(&mut self, core: &mut Core) {
        let dropped = self.outbox.shed();
        core.stats.dropped_as_slow.add(dropped as u64);
        core.stats.slow_warned.inc();
        let now = core.now.mono;
        let close_at = self.oldest().unwrap_or(now).plus(core.options.slow_timeout);
        let slow = SlowConsumer {
            queued_frames: self.outbox.frames(),
            queued_bytes: self.queued_bytes(),
            queued_bytes_max: core.options.queue_bytes_max,
            dropped,
            after_ms: u64::from(millis(close_at.since(now))),
        };
        core.text.clear();
        reply::slow_consumer(&mut core.text, core.now.wall_ms, &slow);
        self.say(core);
    }

    /// The end of a reader that is too slow: all that waits is dropped, and what it still reads is followed by the reason, at a frame boundary.
    /// Whoever does not read that far within [`CLOSE_LINGER`](crate::base::limits::CLOSE_LINGER) is reset, and a publisher at once.
    fn drop_slow(&mut self, core: &mut Core) -> Option<Reason> {
        if core.memory_level >= Level::Short {
            core.stats.closed_for_memory[Shed::Unread as usize].inc();
        }
        if matches!(self.protocol, Protocol::Http(_) | Protocol::Lines(_)) {
            self.reset();
            return Some(Reason::Code(CLOSE_SLOW_CONSUMER));
        }
        core.stats.dropped_by_close.add(self.outbox.drop_queued() as u64);
        self.disconnect(CLOSE_SLOW_CONSUMER, u64::from(self.id.slot % 1000), core);
        None
    }

    /// Queues the text in the making before all lanes, however much waits there.
    pub(super) fn say(&mut self, core: &Core) {
        let entry = Entry { frame: Arc::new(Frame::reply(&core.text)), queued: core.now.mono, live: false };
        self.outbox.push(entry, Limits { bytes_max: usize::MAX });
    }
}
