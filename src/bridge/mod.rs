//! The bridge to Redis: the store that several nodes share.
//!
//! A batch of events goes to Redis as one call of a script (in a cluster, one for each shard), which judges, numbers and keeps them, and puts them
//! into their shards' feeds, which are streams; all of that at once or not at all. Every node reads all feeds, by one blocking `XREAD`, and pushes
//! what comes: so each event comes to every node once, in one order, and a node whose connection broke goes on where it was. (Pub/sub would lose
//! what is published meanwhile. That every node reads everything is what bounds the number of nodes.)
//!
//! | module | what it does |
//! | --- | --- |
//! | `layout` | the names of keys |
//! | `record` | events, states and verdicts as text |
//! | `calls` | the scripts, what goes into a call, what comes back |
//! | `topology` | where the servers are: one, a master that sentinels name, a cluster |
//! | `client` | connections that know the epochs |
//! | [`writer`] | the thread that brings events to the store, in batches |
//! | [`reader`] | the thread that reads the feeds |
//! | [`fetcher`] | the thread that reads past events for those who come back |
//! | `entries` | entries of a stream as publish lines |
//! | [`users`] | the thread that asks about users: their tickets, their connections on all nodes |
//! | `disputes` | those who have too many, and whether that is sure |
//! | [`ingest`] | the thread that publishes what backends put into streams |
//! | [`publisher`] | how it publishes them, and whoever else publishes from inside |
//! | [`stats`] | the figures |

mod calls;
mod client;
mod disputes;
mod entries;
pub mod fetcher;
pub mod ingest;
mod layout;
pub mod publisher;
pub mod reader;
mod record;
pub mod stats;
mod topology;
pub mod users;
pub mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::hub::store::{News, SHARDS};
use crate::net::link::{Door, Link};

pub use client::{Access, Begin, Failure, Server};

/// How soon a full link to the hub is tried again.
const RETRY_NEWS: Duration = Duration::from_millis(1);

/// Pushes and rings, waiting for room: the hub never waits for us. When all ends, nobody may be there to make room.
fn push(to_hub: &Link<News>, news: News, door: &Door, stop: &AtomicBool) {
    let mut news = news;
    while let Err(back) = to_hub.push(news) {
        door.turn(); // it is the hub that does not come round
        if stop.load(Ordering::Relaxed) {
            return;
        }
        to_hub.ring();
        std::thread::park_timeout(RETRY_NEWS);
        news = back;
    }
    to_hub.ring();
}

/// What the threads of the bridge share.
#[derive(Clone)]
pub struct Shared {
    /// Where Redis is.
    pub server: Arc<Server>,
    /// To the hub.
    pub news: Arc<Link<News>>,
    /// The figures.
    pub stats: Arc<stats::BridgeStats>,
    /// How many rooms a shard may have.
    pub rooms_max: usize,
    /// By shard: something was missed that may be about any room in it, so that it is to be read anew.
    pub anew: Arc<[AtomicBool; SHARDS as usize]>,
    /// Set, and the doors rung, when the threads shall end.
    pub stop: Arc<AtomicBool>,
}

impl Shared {
    fn tell(&self, news: News, door: &Door) {
        push(&self.news, news, door, &self.stop);
    }

    fn is_ending(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
