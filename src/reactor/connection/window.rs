//! How far a WebSocket's reader may be behind what is written to it.
//!
//! The kernels at both ends take megabytes for a client that does not read, and an alert cannot overtake what they have. So updates and metrics go
//! out only as far as the window reaches beyond what the client has shown to have read; the rest waits in its lanes, where alerts overtake it and
//! newer states take the place of older ones. What shows it are pongs (RFC 6455 section 5.5.3): each quarter of the window a ping goes along
//! that says where in the bytes it stands.

use std::num::NonZeroU32;

use crate::base::limits::WINDOW_MARKS;
use crate::base::time::Mono;
use crate::reactor::core::Core;

use super::{Connection, Protocol};

/// Where updates and metrics end for now, in bytes sent, modulo 2^32, which is more than any window; without bound before the first ping, and for those
/// who get none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window(Option<NonZeroU32>);

impl Window {
    /// Whether updates and metrics are to wait.
    #[inline]
    pub(super) fn is_closed(self, sent: u64) -> bool {
        self.0.is_some_and(|end| is_at_or_behind(sent as u32, end.get()))
    }

    /// A ping is queued behind so many bytes.
    pub(super) fn mark(&mut self, sent: u64, size: u32) {
        self.0.get_or_insert_with(|| end(sent as u32, size));
    }

    /// A pong says that so many bytes were read; one that says more than were sent is nobody's.
    pub(super) fn show(&mut self, read: u64, sent: u64, size: u32) {
        if read <= sent && self.0.is_some_and(|end| is_at_or_behind((read as u32).wrapping_add(size), end.get())) {
            self.0 = Some(end(read as u32, size));
        }
    }
}

/// Whether a ping is due, in a window of that size: the last `n` bytes crossed the border of a quarter.
#[inline]
fn is_mark_due(sent: u64, n: usize, size: u32) -> bool {
    let part = u64::from(size / WINDOW_MARKS);
    sent / part != (sent - n as u64) / part
}

fn end(read: u32, size: u32) -> NonZeroU32 {
    NonZeroU32::new(read.wrapping_add(size)).unwrap_or(NonZeroU32::MIN)
}

fn is_at_or_behind(position: u32, end: u32) -> bool {
    position.wrapping_sub(end) <= u32::MAX / 2
}

impl Connection {
    /// Whether something waits that its window lets go.
    pub(super) fn may_write(&self) -> bool {
        !self.is_flushed() && (!self.awaits_reader() || self.outbox.is_urgent() || self.outbox.is_started() || self.stream.unsent() > 0)
    }

    /// Whether updates and metrics are to wait until the client has read more.
    pub(in crate::reactor) fn awaits_reader(&self) -> bool {
        self.window.is_closed(self.bytes_sent)
    }

    /// Asks the client how far it has read, when that is due after `n` bytes more.
    pub(super) fn mark_window(&mut self, n: usize, core: &Core, now: Mono) {
        let size = core.options.reader_window;
        if is_mark_due(self.bytes_sent, n, size)
            && let Protocol::WebSocket(websocket) = &self.protocol
            && websocket.mark(self.bytes_sent, now, &mut self.outbox)
        {
            self.window.mark(self.bytes_sent, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const SIZE: u32 = 4096;

    #[test]
    fn without_pings_there_is_no_bound_and_a_pong_of_nobody_moves_nothing() {
        let mut window = Window::default();
        window.show(1 << 40, 1 << 41, SIZE);
        assert!(!window.is_closed(1 << 50));
        let size = u64::from(SIZE);
        window.mark(1024, SIZE);
        window.show(5000, 4999, SIZE);
        assert!(window.is_closed(1024 + size) && !window.is_closed(1023 + size));
        window.show(2048, 5000, SIZE);
        assert!(window.is_closed(2048 + size) && !window.is_closed(2047 + size));
        window.show(1024, 5000, SIZE);
        assert!(!window.is_closed(2047 + size), "pongs out of order take nothing back");
    }

    #[test]
    fn positions_go_on_where_their_numbers_begin_anew() {
        let (turn, size) = (1 << 32, u64::from(SIZE));
        let mut window = Window::default();
        window.mark(turn - size - 10, SIZE);
        assert!(window.is_closed(turn - 10) && !window.is_closed(turn - 11) && window.is_closed(turn + 5000));
        window.show(turn + 7, turn + 5000, SIZE);
        assert!(!window.is_closed(turn + 6 + size) && window.is_closed(turn + 7 + size));
        window.show(turn - 2000, turn + 5000, SIZE);
        assert!(!window.is_closed(turn + 6 + size), "an old pong takes nothing back");
        let mut window = Window::default();
        window.mark(turn - size, SIZE);
        assert!(window.is_closed(turn + 1) && !window.is_closed(turn), "an end of 0 would be none");
    }

    #[test]
    fn a_ping_goes_along_each_quarter() {
        assert!(
            !is_mark_due(1023, 1023, SIZE) && is_mark_due(1024, 1, SIZE) && is_mark_due(1500, 600, SIZE) && !is_mark_due(1500, 400, SIZE)
        );
        assert!(is_mark_due(5000, 3000, SIZE));
    }

    proptest! {
        /// DLV-01: what lies unread beyond a window and one write never grows, whatever the reader's pace; and it never stops for a reader that answers.
        #[test]
        fn a_reader_is_never_further_behind_and_never_stuck(
            writes in prop::collection::vec((1..3000u64, 0..6000u64), 1..400), alerts in prop::collection::vec(any::<bool>(), 400),
        ) {
            let (mut window, mut sent, mut read, mut urgent) = (Window::default(), 0, 0, 0);
            let mut pings = VecDeque::new();
            for ((len, reads), is_alert) in writes.into_iter().zip(alerts) {
                if is_alert || !window.is_closed(sent) {
                    urgent += if is_alert { len } else { 0 };
                    sent += len;
                    if is_mark_due(sent, len as usize, SIZE) {
                        window.mark(sent, SIZE);
                        pings.push_back(sent);
                    }
                }
                read = (read + reads).min(sent);
                while pings.front().is_some_and(|ping| *ping <= read) {
                    window.show(pings.pop_front().unwrap(), sent, SIZE);
                }
                prop_assert!(sent - read <= u64::from(SIZE + SIZE / WINDOW_MARKS) + 2 * 3000 + urgent);
                prop_assert!(read < sent || !window.is_closed(sent), "all is read, and it waits");
            }
        }
    }
}
