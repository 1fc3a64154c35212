//! Puts the daemon together: keys, catalog, links, named threads; and takes it apart in order.

mod hub_thread;
mod lock;
mod metrics;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::auth::{KeySet, Verifier, VerifyOptions};
use crate::base::lane::{Lane, Mode};
use crate::base::limits::{BULK_INGEST_SLOTS, DELIVERY_SLOTS, OUTSTANDING_PER_REACTOR, URGENT_INGEST_SLOTS};
use crate::config::{CatalogEntry, Config};
use crate::hub::catalog::{Catalog, Entry};
use crate::hub::ports::{Input, Output};
use crate::hub::{Hub, HubOptions, HubStats};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link, Waker};
use crate::net::listener;
use crate::net::sys;
use crate::ops::admin::{self, Admin};
use crate::ops::health::{Health, State};
use crate::reactor::registry::Registry;
use crate::reactor::stats::ReactorStats;
use crate::reactor::{Control, Reactor, ReactorOptions, ReactorParts, ReactorPoll};

use self::hub_thread::HubThread;
use self::lock::AddressLock;

/// State keys in one room: a market's symbols, a desk's accounts, with room to spare.
const KEYS_PER_ROOM_MAX: usize = 4096;
/// Control messages a reactor may have waiting: there is one kind, sent once.
const CONTROL_SLOTS: usize = 8;

/// Where the daemon can be reached.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Clients and publishers.
    pub listen: Vec<SocketAddr>,
    /// Metrics and health.
    pub admin: Option<SocketAddr>,
    /// Publishers on this machine.
    pub publish_socket: Option<PathBuf>,
    /// This process.
    pub pid: u32,
}

/// A daemon at work.
pub struct Running {
    ready: Ready,
    health: Arc<Health>,
    controls: Vec<Arc<Link<Control>>>,
    reactors: Vec<JoinHandle<()>>,
    hub: JoinHandle<()>,
    hub_stop: Arc<AtomicBool>,
    hub_door: Arc<Door>,
    drain_timeout: Duration,
    _locks: Vec<AddressLock>,
}
