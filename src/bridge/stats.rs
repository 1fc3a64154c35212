//! The bridge's figures.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::auth::TicketSaid;
use crate::base::counters::{Counter, DurationHistogram};

/// Each is written by one thread alone.
#[derive(Default)]
pub struct BridgeStats {
    /// Events that the store has answered for.
    pub appended: Counter,
    /// How long the store took for each batch.
    pub appends: DurationHistogram,
    /// Batches that the store did not take, each try counted.
    pub failures: Counter,
    /// Events that the feed brought.
    pub fed: Counter,
    /// Shards that were read anew, because something was missed or another epoch began.
    pub resyncs: Counter,
    /// Tickets that the store was given, gave up, and did not have, and questions that it did not answer.
    pub tickets: [Counter; 4],
    /// Whether users' connections are counted over all nodes.
    pub counts_users: AtomicBool,
    /// Users who have too many on all nodes, as far as it is known.
    pub disputed: Counter,
    /// What the nodes say of themselves that are there, and when the store was last asked.
    nodes: Mutex<(Vec<Box<str>>, Option<Instant>)>,
    /// 0: all is well. 1: the store is left alone for a while, after failures. 2: one try is made to see.
    breaker: AtomicU64,
}

impl BridgeStats {
    pub(super) fn set_breaker(&self, code: u64) {
        self.breaker.store(code, Ordering::Relaxed);
    }

    pub(super) fn count_ticket(&self, said: &TicketSaid) {
        match said {
            TicketSaid::Given => self.tickets[0].inc(),
            TicketSaid::Taken(_) => self.tickets[1].inc(),
            TicketSaid::Unknown => self.tickets[2].inc(),
            TicketSaid::Unavailable => self.tickets[3].inc(),
            TicketSaid::TooMany { .. } => {} // counted as a refusal
        }
    }

    pub(super) fn set_nodes(&self, nodes: Vec<Box<str>>) {
        *self.nodes.lock() = (nodes, Some(Instant::now()));
    }

    /// What the nodes say of themselves that are there, as JSON, and how long ago the store was asked, if ever.
    pub fn nodes(&self) -> (Vec<Box<str>>, Option<Duration>) {
        let nodes = self.nodes.lock();
        (nodes.0.clone(), nodes.1.map(|at| at.elapsed()))
    }

    /// The state of the circuit breaker, as a code.
    pub fn breaker(&self) -> u64 {
        self.breaker.load(Ordering::Relaxed)
    }
}

/// The figures of ingest.
#[derive(Default)]
pub struct IngestStats {
    /// Entries that were published, or had been before.
    pub accepted: Counter,
    /// Entries that never will be, and were set aside.
    pub refused: Counter,
    /// Entries that were tried again later, each try counted.
    pub retried: Counter,
    /// Streams that this node publishes from.
    pub leases: Counter,
    /// Whether the streams cannot be read.
    pub failing: AtomicBool,
}
