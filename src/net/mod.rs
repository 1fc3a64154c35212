//! Sockets, queues between threads, and the clock: where bytes and time come in and go out.

pub mod bell;
pub mod clock;
#[cfg(test)]
pub mod fake;
pub mod link;
pub mod listener;
pub mod outbox;
pub mod stream;
pub mod sys;
pub mod timer;
pub mod tls;

/// Sockets. In tests they may be fakes.
mod socket {
    #[cfg(not(test))]
    pub(super) use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

    #[cfg(test)]
    pub(super) use super::fake::{TcpListener, TcpStream, UnixListener, UnixStream};
}

/// The atomics of [`bell`]; the loom test puts its own in their place.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
}
