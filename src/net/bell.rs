//! A coalesced wake-up: many ring, one sleeps, and a ring costs a fence unless the sleeper sleeps.
//!
//! The rule that loses no wake-up: a producer pushes, then [`Bell::ring`]s; the consumer calls [`Bell::arm`], looks at its
//! queues once more, and sleeps only if they are empty; once awake it calls [`Bell::disarm`]. Both sides have a `SeqCst`
//! fence between their write and their read, so at least one of them sees the other's (store buffering is excluded).
//! `tests/loom.rs` checks every interleaving, and that without the fences the wake-up is lost.

use super::sync::{AtomicBool, Ordering, fence};

/// See the module.
#[derive(Debug)]
pub struct Bell {
    /// The consumer sleeps or is about to.
    armed: AtomicBool,
}

impl Default for Bell {
    fn default() -> Bell {
        Bell { armed: AtomicBool::new(false) }
    }
}

impl Bell {
    /// After pushing: whether the caller must wake the consumer. At most one caller is told so for each sleep.
    #[must_use]
    pub fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::AcqRel)
    }

    /// Before sleeping, and before the last look at the queues.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// After sleeping, or when the last look found something.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}
