//! The thread that keeps the tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::hub::journal::Fact;
use crate::net::link::{Door, Link};

use super::tables::Tables;

/// Facts in one transaction.
const BATCH_FACTS: usize = 1024;
/// How soon a disk that fails is tried again. What waits meanwhile is bounded: newer states take the place of older ones in the hub.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread owns or shares.
pub struct Keeper {
    /// The tables.
    pub tables: Tables,
    /// From the hub.
    pub inbox: Arc<Link<Fact>>,
    /// Where that leads.
    pub door: Arc<Door>,
    /// Set, and the door rung, when the thread shall end.
    pub stop: Arc<AtomicBool>,
}

impl Keeper {
    /// Runs until told to stop, and everything is written that it was given.
    pub fn run(mut self) {
        let mut is_told = false;
        loop {
            self.door.turn();
            let facts: Vec<Fact> = std::iter::from_fn(|| self.inbox.pop()).take(BATCH_FACTS).collect();
            let is_ending = self.stop.load(Ordering::Relaxed);
            if facts.is_empty() && is_ending {
                return;
            }
            if !facts.is_empty() && !self.write(&facts) {
                return;
            }
            if facts.is_empty() && !self.tables.is_there() && !std::mem::replace(&mut is_told, true) {
                tracing::error!(
                    event = "tables_gone",
                    "state.db was removed under the daemon: what it knew, and what comes, is lost with the next restart"
                );
            }
            self.sleep();
        }
    }

    /// Writes facts, however long the disk does not take them. False if it never did, and the thread shall end.
    fn write(&mut self, facts: &[Fact]) -> bool {
        let mut is_told = false;
        while let Err(error) = self.tables.write(facts) {
            if !std::mem::replace(&mut is_told, true) {
                tracing::error!(
                    event = "tables_failing",
                    %error,
                    "states and owners cannot be kept for the next start; it is tried again: make room, mend the disk, or end what locks state.db"
                );
            }
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::park_timeout(RETRY);
            self.door.turn();
        }
        if is_told {
            tracing::info!(event = "tables_recovered", "states and owners are kept again");
        }
        true
    }

    fn sleep(&self) {
        self.door.arm();
        if self.inbox.is_empty() && !self.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(RETRY);
        }
        self.door.disarm();
    }
}
