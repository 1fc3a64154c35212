//! The daemon's state, as `/readyz` and the ready line tell it.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Binding and loading: not to be used yet.
    Starting = 0,
    /// Doing its job.
    Ready = 1,
    /// Leaving: clients are told to reconnect elsewhere.
    Draining = 2,
}

impl State {
    /// Its name in answers and logs.
    pub const fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Draining => "draining",
        }
    }
}

/// The state, for all threads to read.
#[derive(Debug)]
pub struct Health(AtomicU8);

impl Default for Health {
    fn default() -> Health {
        Health(AtomicU8::new(State::Starting as u8))
    }
}

impl Health {
    /// The state now.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Relaxed) {
            1 => State::Ready,
            2 => State::Draining,
            _ => State::Starting,
        }
    }

    /// Goes on to a later state; never back.
    pub fn enter(&self, state: State) {
        self.0.fetch_max(state as u8, Ordering::Relaxed);
    }
}
