//! Sockets, queues between threads, and the clock: where bytes and time come in and go out.

pub mod bell;
pub mod clock;
pub mod link;
pub mod listener;
pub mod outbox;
pub mod stream;
pub mod sys;
pub mod timer;
pub mod tls;

/// The atomics of [`bell`]; the loom test puts its own in their place.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
}
