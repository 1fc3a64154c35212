//! How far a reactor is behind with its writing, and whether its members are. Pure.
//!
//! From outside the two look alike, but they are answered differently. A reactor that is slow has bytes that sockets would take: the hub
//! shall hold bulk back until they are written, and publishers wait. A member that is slow takes nothing: it holds back nobody, and is closed when
//! its queue is full. If most members that get something are like that, publishers are told to slow down before it comes to that.

use crate::base::limits::{BEHIND_WINDOW, COPY_BYTES_PER_WRITE, PRESSURE_COST};
use crate::base::time::Mono;

/// What one connection's outbox adds to the reactor's figures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    bytes: u32,
    own: u32,
    kernel: u32,
    unfinished: u32,
    is_ready: bool,
    is_unread: bool,
    is_stranger: bool,
}

/// What a connection holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holding {
    /// Bytes that wait to be written, whoever else they wait for.
    pub(super) queued: usize,
    /// Its own memory.
    pub(super) own: usize,
    /// What the kernel holds for it.
    pub(super) kernel: usize,
    /// The last write was not refused.
    pub(super) is_ready: bool,
    /// It was, and the connection is not ending.
    pub(super) is_unread: bool,
}

impl From<Holding> for Share {
    fn from(holding: Holding) -> Share {
        let [bytes, own, kernel] = [holding.queued, holding.own, holding.kernel].map(saturated);
        Share { bytes, own, kernel, is_ready: holding.is_ready, is_unread: holding.is_unread, ..Share::default() }
    }
}

impl Share {
    fn ready_bytes(self) -> usize {
        if self.is_ready { self.bytes as usize } else { 0 }
    }

    /// What waits because the connection takes nothing.
    pub(super) fn unread(self) -> u64 {
        if self.is_unread { u64::from(self.bytes) + u64::from(self.kernel) } else { 0 }
    }

    /// What it holds of input that is not complete, if it is a stranger or not.
    pub(super) fn unfinished(self, is_stranger: bool) -> u64 {
        if self.is_stranger == is_stranger { u64::from(self.unfinished) } else { 0 }
    }
}

fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pressure {
    /// More bytes than this in its outbox, and a member is behind.
    behind_bytes: usize,
    /// Bytes in all outboxes.
    queued_bytes: usize,
    /// Of these, those in outboxes of connections that would take them, as far as we know.
    ready_bytes: usize,
    /// Memory that connections have for themselves.
    own_bytes: usize,
    /// What the kernel holds for those whose socket takes no more.
    kernel_bytes: usize,
    /// What waits because connections take nothing.
    unread_bytes: u64,
    /// Input that is not complete: of those that somebody has vouched for, and of strangers.
    unfinished_bytes: [u64; 2],
    is_pressed: bool,
    /// Frames or batches that went to members who keep up, and to those who are behind, in this window.
    keeping_up: usize,
    behind: usize,
    window_ends: Mono,
    /// Most members were behind in the last window.
    is_outrun: bool,
}

impl Pressure {
    /// None. One connection's queue holds so many bytes.
    pub(super) fn new(queue_bytes_max: usize) -> Pressure {
        Pressure {
            behind_bytes: queue_bytes_max / 4,
            queued_bytes: 0,
            ready_bytes: 0,
            own_bytes: 0,
            kernel_bytes: 0,
            unread_bytes: 0,
            unfinished_bytes: [0; 2],
            is_pressed: false,
            keeping_up: 0,
            behind: 0,
            window_ends: Mono(0),
            is_outrun: false,
        }
    }

    /// Brings a connection's share up to date.
    pub(super) fn account(&mut self, share: &mut Share, holding: Holding) {
        let new = Share { unfinished: share.unfinished, is_stranger: share.is_stranger, ..Share::from(holding) };
        self.queued_bytes = self.queued_bytes + new.bytes as usize - share.bytes as usize;
        self.ready_bytes = self.ready_bytes + new.ready_bytes() - share.ready_bytes();
        self.own_bytes = self.own_bytes + new.own as usize - share.own as usize;
        self.kernel_bytes = self.kernel_bytes + new.kernel as usize - share.kernel as usize;
        self.unread_bytes = self.unread_bytes + new.unread() - share.unread();
        *share = new;
    }

    /// Likewise, for what it holds of input that is not complete.
    pub(super) fn account_unfinished(&mut self, share: &mut Share, bytes: usize, is_stranger: bool) {
        self.unfinished_bytes[usize::from(share.is_stranger)] -= u64::from(share.unfinished);
        (share.unfinished, share.is_stranger) = (saturated(bytes), is_stranger);
        self.unfinished_bytes[usize::from(is_stranger)] += u64::from(share.unfinished);
    }

    /// A member gets something, and has so many bytes in its outbox then.
    pub(super) fn served(&mut self, queued_bytes: usize) {
        if queued_bytes > self.behind_bytes { self.behind += 1 } else { self.keeping_up += 1 }
    }

    /// Ends a turn that leaves so much to be written by other ways than outboxes, in writes.
    pub(super) fn end_turn(&mut self, cost: usize, now: Mono) {
        let cost = cost + self.ready_bytes / COPY_BYTES_PER_WRITE;
        self.is_pressed = cost > if self.is_pressed { PRESSURE_COST / 2 } else { PRESSURE_COST };
        if now >= self.window_ends {
            self.is_outrun = self.behind > self.keeping_up;
            (self.behind, self.keeping_up) = (0, 0);
            self.window_ends = now.plus(BEHIND_WINDOW);
        }
    }

    /// Whether the hub shall hold bulk back.
    pub(super) fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// Whether most members that get something are behind.
    pub(super) fn is_outrun(&self) -> bool {
        self.is_outrun
    }

    /// When the window ends, if it matters: somebody is told to slow down.
    pub(super) fn next(&self) -> Option<Mono> {
        self.is_outrun.then_some(self.window_ends)
    }

    /// What waits because connections take nothing.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.unread_bytes
    }

    /// Input that is not complete.
    pub(super) fn unfinished_bytes(&self) -> u64 {
        self.unfinished_bytes.iter().sum()
    }

    /// What strangers hold of that.
    pub(super) fn strangers_unfinished_bytes(&self) -> u64 {
        self.unfinished_bytes[1]
    }

    /// Bytes in all outboxes.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Memory that connections have for themselves.
    pub(super) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// What the kernel holds for those whose socket takes no more.
    pub(super) fn kernel_bytes(&self) -> usize {
        self.kernel_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUEUE_BYTES: usize = 1 << 20;

    /// What nobody takes holds nobody back; what would be taken does, until half of it is written.
    #[test]
    fn only_what_sockets_would_take_presses() {
        let mut pressure = Pressure::new(QUEUE_BYTES);
        let mut shares = vec![Share::default(); 1000];
        let mut set = |pressure: &mut Pressure, ready: bool, bytes: usize| {
            for share in &mut shares {
                pressure.account(share, Holding { queued: bytes, is_ready: ready, ..Holding::default() });
            }
            pressure.end_turn(0, Mono(0));
            pressure.is_pressed()
        };
        let much = PRESSURE_COST * COPY_BYTES_PER_WRITE / 1000 + COPY_BYTES_PER_WRITE;
        assert!(!set(&mut pressure, false, much));
        assert!(set(&mut pressure, true, much));
        assert!(set(&mut pressure, true, much * 3 / 4), "it is not switched to and fro");
        assert!(!set(&mut pressure, true, much / 3));
        assert!(!set(&mut pressure, true, much * 3 / 4));
        pressure.end_turn(PRESSURE_COST, Mono(0));
        assert!(pressure.is_pressed(), "runs add to outboxes");
    }

    /// DESIGN 5: a publisher is told to slow down when most members are behind, and not for the sake of a few.
    #[test]
    fn it_is_outrun_when_most_of_what_is_sent_goes_to_those_behind() {
        let mut pressure = Pressure::new(QUEUE_BYTES);
        let mut window = 0;
        let mut serve = |pressure: &mut Pressure, behind: usize, keeping_up: usize| {
            (0..behind).for_each(|_| pressure.served(QUEUE_BYTES / 4 + 1));
            (0..keeping_up).for_each(|_| pressure.served(QUEUE_BYTES / 4));
            window += BEHIND_WINDOW.as_nanos() as u64;
            pressure.end_turn(0, Mono(window));
            pressure.is_outrun()
        };
        assert!(!serve(&mut pressure, 0, 0));
        assert!(!serve(&mut pressure, 50, 50));
        assert!(serve(&mut pressure, 51, 50));
        assert!(!serve(&mut pressure, 0, 0), "nobody is behind when nothing is sent");
        assert!(!serve(&mut pressure, 50, 950));
    }

    proptest! {
        /// The figures are the sums of what the connections have, whatever happened to them.
        #[test]
        fn shares_add_up(changes in prop::collection::vec((0usize..5, [0usize..1000, 0..1000, 0..1000], any::<bool>()), 1..100)) {
            let mut pressure = Pressure::new(QUEUE_BYTES);
            let (mut shares, mut model) = (vec![Share::default(); 5], vec![([0; 3], false); 5]);
            for (at, bytes, is_ready) in changes {
                let [queued, own, kernel] = bytes;
                pressure.account(&mut shares[at], Holding { queued, own, kernel, is_ready, is_unread: !is_ready });
                pressure.account_unfinished(&mut shares[at], own, is_ready);
                model[at] = (bytes, is_ready);
            }
            let sum = |at: usize| model.iter().map(|(bytes, _)| bytes[at]).sum::<usize>();
            prop_assert_eq!([pressure.queued_bytes(), pressure.own_bytes(), pressure.kernel_bytes()], [sum(0), sum(1), sum(2)]);
            let unread = model.iter().filter(|(_, is_ready)| !*is_ready).map(|(bytes, _)| (bytes[0] + bytes[2]) as u64);
            prop_assert_eq!(pressure.unread_bytes(), unread.sum::<u64>());
            prop_assert_eq!(pressure.unfinished_bytes(), sum(1) as u64);
            let strangers = model.iter().filter(|(_, is_stranger)| *is_stranger).map(|(bytes, _)| bytes[1] as u64);
            prop_assert_eq!(pressure.strangers_unfinished_bytes(), strangers.sum::<u64>());
            prop_assert_eq!(pressure.ready_bytes, model.iter().filter(|(_, ready)| *ready).map(|(bytes, _)| bytes[0]).sum::<usize>());
        }
    }
}
