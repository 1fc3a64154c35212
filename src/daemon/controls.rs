//! Telling a reactor something.

use std::time::{Duration, Instant};

use crate::net::link::Link;
use crate::reactor::Control;

/// Messages that a reactor may have waiting: a drain is told once; reloads, revocations, lists and weighings one at a time; and each thread that
/// answers operators waits until it has given its answer.
pub(super) const SLOTS: usize = 16;

/// Tells it; false if its link was full until the deadline, which it is only if the reactor hangs: nobody asks for so much.
pub(super) fn tell(control: &Link<Control>, message: Control, deadline: Instant) -> bool {
    let mut message = message;
    while let Err(back) = control.push(message) {
        if deadline <= Instant::now() {
            return false;
        }
        message = back;
        std::thread::sleep(Duration::from_millis(1));
    }
    control.ring();
    true
}
