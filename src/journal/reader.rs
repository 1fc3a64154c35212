//! The thread that reads past events for those who come back. It has its own files open: reading and writing do not wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::limits::{REPLAY_PART_BYTES, REPLAY_PART_EVENTS};
use crate::hub::journal::{Fetch, Fetched, Report};
use crate::net::link::{Door, Link};

use super::log;
use super::writer::push;

/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the thread owns or shares.
pub struct Reader {
    /// The log's files.
    pub log: log::Reader,
    /// From the hub.
    pub inbox: Arc<Link<Fetch>>,
    /// Where that leads.
    pub door: Arc<Door>,
    /// To the hub.
    pub reports: Arc<Link<Report>>,
    /// Set, and the door rung, when the thread shall end.
    pub stop: Arc<AtomicBool>,
}

impl Reader {
    /// Runs until told to stop.
    pub fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.door.turn();
            while let Some(fetch) = self.inbox.pop() {
                self.door.turn();
                let frames = self.log.read(&fetch, REPLAY_PART_EVENTS, REPLAY_PART_BYTES);
                push(&self.reports, Report::Fetched(Box::new(Fetched { fetch, frames })), &self.door, &self.stop);
            }
            self.door.arm();
            if self.inbox.is_empty() && !self.stop.load(Ordering::Relaxed) {
                std::thread::park_timeout(SLEEP_MAX);
            }
            self.door.disarm();
        }
    }
}
