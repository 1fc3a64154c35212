//! Puts the daemon together: keys, catalog, links, named threads; and takes it apart in order.

mod hub_thread;
mod lock;
mod metrics;
mod publish_socket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::Sender;
use parking_lot::Mutex;

use crate::auth::{KeySet, Verifier, VerifyOptions};
use crate::base::limits::{BULK_INGEST_SLOTS, DELIVERY_SLOTS, OUTSTANDING_PER_REACTOR, URGENT_INGEST_SLOTS};
use crate::config::{CatalogEntry, Config};
use crate::hub::catalog::{Catalog, Entry};
use crate::hub::ports::{Input, Output};
use crate::hub::{Hub, HubOptions, HubStats};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link, Waker};
use crate::net::listener::{self, Listener};
use crate::ops::admin::{self, Admin};
use crate::ops::health::{Health, State};
use crate::reactor::Reactor;
use crate::reactor::options::{Control, ReactorOptions, ReactorParts, ReactorPoll};
use crate::reactor::registry::{Registry, RegistryLimits};
use crate::reactor::stats::ReactorStats;

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

/// Why the daemon does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The configuration asks for what cannot be: a key file that is none, a catalog that contradicts itself.
    Config(String),
    /// The system does not give what is needed: an address, a thread.
    System(String),
}

impl From<String> for StartError {
    fn from(message: String) -> StartError {
        StartError::System(message)
    }
}

/// A daemon at work.
pub struct Running {
    ready: Ready,
    health: Arc<Health>,
    controls: Vec<Arc<Link<Control>>>,
    reactors: Vec<JoinHandle<()>>,
    hub: HubHandle,
    drain_timeout: Duration,
    /// Held until all listeners are closed.
    _locks: Vec<AddressLock>,
}

/// Binds, starts all threads, and returns when clients can connect.
pub fn start(config: &Config) -> Result<Running, StartError> {
    let clock = Clock::start();
    let catalog = Arc::new(catalog(&config.catalog).map_err(StartError::Config)?);
    let verifier = Arc::new(Verifier::new(load_keys(&config.jwt_keys).map_err(StartError::Config)?, verify_options(config)));
    abort_on_panic();

    let health = Arc::new(Health::default());
    let hub = HubSeat::start()?;
    let (first, listen, locks) = bind_first(config)?;
    let listeners = bind_others(first, &listen, config.reactors)?;
    let registry = Registry::new(RegistryLimits { connections_max: config.connections_max, per_user_max: config.connections_per_user_max });
    let shared = Shared { clock, catalog, verifier, registry: Arc::new(registry), urgent: hub.urgent.clone(), bulk: hub.bulk.clone() };
    let parts =
        listeners.into_iter().enumerate().map(|(index, listeners)| shared.parts(index as u16, listeners)).collect::<Result<Vec<_>, _>>()?;

    let figures = Arc::new(Mutex::new(HubStats::default()));
    let sources = metrics::Sources {
        hub: Arc::clone(&figures),
        reactors: parts.iter().map(|parts| Arc::clone(&parts.stats)).collect(),
        inboxes: parts.iter().map(|parts| Arc::clone(&parts.inbox)).collect(),
        ingest: [hub.urgent.clone(), hub.bulk.clone()],
    };
    let admin = serve_admin(config, &health, sources)?;
    let controls = parts.iter().map(|parts| Arc::clone(&parts.control)).collect();
    let hub = hub.occupy(config, clock, parts.iter().map(|parts| Arc::clone(&parts.inbox)).collect(), figures)?;
    let reactors = start_reactors(config, parts)?;
    health.enter(State::Ready);
    let ready = Ready { listen, admin: Some(admin), publish_socket: config.publish_socket.clone(), pid: std::process::id() };
    tracing::info!(event = "ready", listen = ?ready.listen, admin = ?ready.admin, reactors = config.reactors);
    Ok(Running { ready, health, controls, reactors, hub, drain_timeout: config.drain_timeout, _locks: locks })
}

impl Running {
    /// Where it can be reached.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Tells clients to come back elsewhere, waits for them to leave, and ends all threads.
    pub fn stop(self) {
        self.health.enter(State::Draining);
        tracing::info!(event = "draining", within_ms = self.drain_timeout.as_millis() as u64);
        for control in &self.controls {
            if control.push(Control::Drain { within: self.drain_timeout }).is_err() {
                tracing::error!(event = "drain_not_told", "a reactor's control link is full; it will not drain");
            }
            control.ring();
        }
        for reactor in self.reactors {
            join(reactor);
        }
        self.hub.stop.store(true, Ordering::Relaxed);
        self.hub.thread.thread().unpark();
        join(self.hub.thread);
        if let Some(path) = &self.ready.publish_socket {
            publish_socket::remove(path);
        }
        tracing::info!(event = "stopped");
    }
}

/// The hub's thread at work.
struct HubHandle {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// The hub's thread before it has its work. It is started first, because the ingest links lead to a door that wakes it.
struct HubSeat {
    thread: JoinHandle<()>,
    work: Sender<HubThread>,
    door: Arc<Door>,
    urgent: Arc<Link<Input>>,
    bulk: Arc<Link<Input>>,
}

impl HubSeat {
    fn start() -> Result<HubSeat, String> {
        let (work, inbox) = crossbeam::channel::bounded::<HubThread>(1);
        let thread = spawn("hub", move || {
            if let Ok(hub) = inbox.recv() {
                hub.run();
            }
        })?;
        let door = Door::new(Waker::Thread(thread.thread().clone()));
        let urgent = Arc::new(Link::new(URGENT_INGEST_SLOTS, Arc::clone(&door)));
        let bulk = Arc::new(Link::new(BULK_INGEST_SLOTS, Arc::clone(&door)));
        Ok(HubSeat { thread, work, door, urgent, bulk })
    }

    fn occupy(
        self,
        config: &Config,
        clock: Clock,
        reactors: Vec<Arc<Link<Output>>>,
        stats: Arc<Mutex<HubStats>>,
    ) -> Result<HubHandle, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let hub = HubThread {
            hub: Hub::new(hub_options(config)?),
            clock,
            urgent: self.urgent,
            bulk: self.bulk,
            door: self.door,
            reactors,
            stats,
            stop: Arc::clone(&stop),
            busy_poll: config.busy_poll,
        };
        self.work.send(hub).map_err(|_| "the hub's thread ended before it began".to_owned())?;
        Ok(HubHandle { thread: self.thread, stop })
    }
}

/// What all reactors share.
struct Shared {
    clock: Clock,
    catalog: Arc<Catalog>,
    verifier: Arc<Verifier>,
    registry: Arc<Registry>,
    urgent: Arc<Link<Input>>,
    bulk: Arc<Link<Input>>,
}

impl Shared {
    fn parts(&self, index: u16, listeners: Vec<Listener>) -> Result<ReactorParts, String> {
        let (poll, waker) = ReactorPoll::new().map_err(|error| format!("cannot make a poll for reactor {index}: {error}"))?;
        let door = Door::new(Waker::Poll(waker));
        Ok(ReactorParts {
            index,
            clock: self.clock,
            catalog: Arc::clone(&self.catalog),
            verifier: Arc::clone(&self.verifier),
            registry: Arc::clone(&self.registry),
            poll,
            inbox: Arc::new(Link::new(DELIVERY_SLOTS + OUTSTANDING_PER_REACTOR, Arc::clone(&door))),
            control: Arc::new(Link::new(CONTROL_SLOTS, Arc::clone(&door))),
            door,
            urgent: Arc::clone(&self.urgent),
            bulk: Arc::clone(&self.bulk),
            stats: Arc::new(ReactorStats::default()),
            listeners,
        })
    }
}

/// The first reactor's listeners, the addresses that they are bound to (port 0 being resolved), and the locks on these.
fn bind_first(config: &Config) -> Result<(Vec<Listener>, Vec<SocketAddr>, Vec<AddressLock>), String> {
    let (mut listeners, mut addrs, mut locks) = (Vec::new(), Vec::new(), Vec::new());
    for addr in &config.listen {
        let fixed = if addr.port() == 0 { None } else { Some(lock::lock(*addr)?) };
        let listener = bind(*addr)?;
        let bound = listener.local_addr().unwrap_or(*addr);
        locks.push(fixed.map_or_else(|| lock::lock(bound), Ok)?);
        addrs.push(bound);
        listeners.push(listener);
    }
    if let Some(path) = &config.publish_socket {
        listeners.push(publish_socket::bind(path, config.publish_socket_mode)?);
    }
    Ok((listeners, addrs, locks))
}

/// Each reactor's listeners: the others bind the addresses of the first one.
fn bind_others(first: Vec<Listener>, addrs: &[SocketAddr], reactors: usize) -> Result<Vec<Vec<Listener>>, String> {
    let mut all = vec![first];
    for _ in 1..reactors {
        all.push(addrs.iter().map(|addr| bind(*addr)).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(all)
}

fn bind(addr: SocketAddr) -> Result<Listener, String> {
    listener::bind_tcp(addr).map_err(|error| format!("cannot listen on {addr}: {error}; give another --listen"))
}

fn serve_admin(config: &Config, health: &Arc<Health>, sources: metrics::Sources) -> Result<SocketAddr, String> {
    let admin = Admin { health: Arc::clone(health), metrics: Box::new(move || sources.render()) };
    let addr = config.admin_listen;
    admin::serve(addr, admin).map_err(|error| format!("cannot listen on {addr}: {error}; give another --admin-listen"))
}

fn start_reactors(config: &Config, parts: Vec<ReactorParts>) -> Result<Vec<JoinHandle<()>>, String> {
    let options = reactor_options(config)?;
    let pin_cores = config.pin_cores;
    parts
        .into_iter()
        .map(|parts| {
            let (options, index) = (options.clone(), parts.index);
            let reactor = Reactor::new(options, parts).map_err(|error| format!("cannot make reactor {index}: {error}"))?;
            spawn(&format!("reactor-{index}"), move || {
                if pin_cores {
                    pin_to_core(usize::from(index));
                }
                if let Err(error) = reactor.run() {
                    panic!("reactor {index} cannot poll: {error}"); // it serves nobody any more: the process must end
                }
            })
        })
        .collect()
}

fn hub_options(config: &Config) -> Result<HubOptions, String> {
    Ok(HubOptions {
        reactors: config.reactors,
        update_window: config.update_window,
        metric_gather: config.metric_gather,
        metric_flush: config.metric_flush,
        history_events: config.history_events,
        history_bytes: config.history_bytes,
        history_age: config.history_age,
        rooms_max: config.rooms_max,
        keys_per_room_max: KEYS_PER_ROOM_MAX,
        epoch_seed: random()?,
    })
}

fn reactor_options(config: &Config) -> Result<ReactorOptions, String> {
    Ok(ReactorOptions {
        origins: config.origins.clone(),
        query_token: config.query_token,
        peers: config.behind_proxy.clone(),
        queue_bytes_max: config.queue_bytes_max,
        slow_timeout: config.slow_timeout,
        heartbeat: config.heartbeat,
        busy_poll: config.busy_poll,
        instance: random()? as u32,
    })
}

fn verify_options(config: &Config) -> VerifyOptions {
    VerifyOptions {
        issuer: config.jwt_issuer.clone(),
        audience: config.jwt_audience.clone(),
        user_claims: config.jwt_user_claims.clone(),
        max_age: config.jwt_age_max,
    }
}

fn catalog(entries: &[CatalogEntry]) -> Result<Catalog, String> {
    Catalog::with(entries.iter().map(entry).collect()).map_err(|error| error.0)
}

/// Reads the key files; an error names the file and what is wrong with it.
pub fn load_keys(paths: &[PathBuf]) -> Result<KeySet, String> {
    let mut keys = KeySet::default();
    for path in paths {
        let bytes = std::fs::read(path).map_err(|error| {
            format!("cannot read the key file {}: {error}; give --jwt-key a file that this user may read", path.display())
        })?;
        keys.add(&path.display().to_string(), &bytes).map_err(|error| error.to_string())?;
    }
    for note in keys.notes() {
        tracing::warn!(event = "key_skipped", note);
    }
    Ok(keys)
}

fn random() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("the system has no random numbers: {error}"))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| format!("cannot start the thread {name}: {error}"))
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(event = "thread_panicked", "a thread had panicked"); // unreachable: a panic aborts
    }
}

/// Binds the calling thread to one core, the cores being counted round.
fn pin_to_core(index: usize) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut set = rustix::thread::CpuSet::new();
    set.set(index % cores);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(event = "pin_failed", index, %error, "a reactor is not bound to its core; allow sched_setaffinity or drop --pin-cores");
    }
}

/// A thread that panics would leave the others serving half a daemon: the process ends, and its supervisor starts it again.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        eprintln!("tickerd: a thread panicked, which is a defect: the process ends; please report the lines above");
        std::process::abort();
    }));
}

fn entry(configured: &CatalogEntry) -> Entry {
    Entry {
        kind: configured.kind.clone(),
        rooms: vec![configured.room.clone()],
        owner: configured.owner.clone(),
        lane: configured.lane,
        mode: configured.mode,
        key: configured.key.clone(),
        history: configured.history,
    }
}
