//! Puts the daemon together: keys, certificates, catalog, links, named threads; and takes it apart in order.

mod activation;
mod admin_api;
mod alerts;
pub mod analytics;
mod audit;
mod authorizer;
mod bridge;
mod certificates;
mod connections;
mod controls;
mod data_dir;
mod explain;
mod firing_file;
mod http_client;
mod hub_seat;
mod hub_thread;
mod ingest;
mod journal;
mod listeners;
mod lock;
mod metrics;
mod nodes;
mod operators;
mod options;
mod performance;
mod publish_socket;
mod readings;
mod reload;
mod revocation_file;
mod revoker;
mod seat;
mod shared;
#[cfg(test)]
mod testing;
mod top_rooms;
mod utilisation;
mod watch;
mod webhook;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::auth::{Revocations, Verifier};
use crate::base::memory::Memory;
use crate::config::{Config, Reread};
use crate::hub::catalog::Catalog;
use crate::hub::ports::Output;
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};
use crate::net::sys;
use crate::net::tls::Identity;
use crate::ops::admin::Caller;
use crate::ops::health::{Health, Reloaded};
use crate::ops::lifecycle::State;
use crate::ops::notify::Notifier;
use crate::reactor::authorizer::Authorizer;
use crate::reactor::registry::Registry;
use crate::reactor::{Control, Reactor, ReactorParts};

use self::activation::Passed;
use self::alerts::Alerts;
use self::analytics::{AnalyticsHandle, AnalyticsSeat};
use self::audit::{AdminTrail, AuditHandle, AuditSeat};
use self::authorizer::{Client, CurrentClient};
use self::bridge::{Bridge, BridgeHandle, BridgeLinks};
use self::certificates::Served;
use self::data_dir::DataDir;
use self::hub_seat::{HubHandle, HubSeat};
use self::ingest::IngestHandle;
use self::journal::{ForHub, Journal, JournalHandle};
use self::lock::AddressLock;
use self::reload::Reloader;
use self::revocation_file::RevocationFile;
use self::revoker::Revoker;
use self::shared::{Shared, Stores};
use self::webhook::WebhookHandle;

pub use self::metrics::METRICS;

/// How long a reactor that hangs is waited for when it is to be told of the drain.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// Where revocations are kept in the data directory.
const REVOCATIONS: &str = "revocations.ndjson";

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
    notifier: Arc<Notifier>,
    controls: Vec<Arc<Link<Control>>>,
    reactors: Vec<JoinHandle<()>>,
    hub: HubHandle,
    journal: Option<JournalHandle>,
    bridge: Option<BridgeHandle>,
    ingest: Option<IngestHandle>,
    analytics: Option<AnalyticsHandle>,
    audit: Option<AuditHandle>,
    trail: AdminTrail,
    reloader: Reloader,
    owns_publish_socket: bool,
    drain_timeout: Duration,
    /// Held until the threads have ended.
    _data_dir: Option<DataDir>,
    /// Held until all listeners are closed.
    _locks: Vec<AddressLock>,
}

/// What a configuration names, read and found sound.
pub struct Loaded {
    catalog: Catalog,
    verifier: Verifier,
    certificates: Vec<Identity>,
    notes: Vec<String>,
    authorizer: Option<Client>,
    webhook: Option<webhook::Client>,
}

/// Reads what the configuration names: keys, certificates, catalog, revocations, the secrets of authorizer and webhook.
pub fn load(config: &Config) -> Result<Loaded, StartError> {
    if let Some(dir) = &config.data_dir {
        DataDir::check(dir).map_err(StartError::System)?;
        revocation_file::read(&dir.join(REVOCATIONS), Clock::start().now().wall_ms / 1000).map_err(StartError::Config)?;
    }
    read(config).map_err(StartError::Config)
}

/// The keys alone, and what is asked of tokens.
pub fn verifier(config: &Config) -> Result<Verifier, StartError> {
    options::verifier(config).map_err(StartError::Config)
}

/// The same of what may change while the daemon runs.
fn read(config: &Config) -> Result<Loaded, String> {
    let catalog = options::catalog(&config.catalog)?;
    config.analytics.iter().try_for_each(|analytics| analytics::check(analytics, &catalog))?;
    let verifier = options::verifier(config)?;
    let (certificates, notes) = certificates::read(&config.tls)?;
    let authorizer = config.authorizer.as_ref().map(Client::new).transpose()?;
    let webhook = config.webhook.as_ref().map(webhook::Client::new).transpose()?;
    Ok(Loaded { catalog, verifier, certificates, notes, authorizer, webhook })
}

impl Loaded {
    /// The certificates that would be served.
    pub fn certificates(&self) -> &[Identity] {
        &self.certificates
    }

    /// What is doubtful, and no error.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Binds, starts all threads, and returns when clients can connect.
pub fn start(config: &Config) -> Result<Running, StartError> {
    let (clock, instance) = (Clock::start(), options::instance()?);
    let Loaded { catalog, verifier, certificates, notes, authorizer, webhook } = load(config)?;
    prepare_process(&notes);
    let served = Served::new(config.tls.clone(), certificates).map(Arc::new);
    let (data_dir, mut revocations, revocation_file) = open_data_dir(config, clock)?;
    let (journal, bridge) = open_store(config, data_dir.as_ref(), &mut revocations, clock)?;
    let audit = data_dir.as_ref().map(|dir| AuditSeat::open(dir, instance)).transpose()?;
    let bound = listeners::bind(config, Passed::of_process()?)?;
    let seat = HubSeat::start(config.reactors)?;
    let shared = Shared {
        clock,
        catalog: Arc::new(catalog),
        verifier: Arc::new(verifier),
        revocations: Arc::new(RwLock::new(revocations)),
        registry: Arc::new(Registry::new(options::registry(config))),
        memory: Arc::new(Memory::new(config.memory_budget as u64, config.reactors)),
        tls: served.as_ref().map(|served| served.tls()).transpose()?,
        urgent: Arc::clone(&seat.urgent),
        bulk: Arc::clone(&seat.bulk),
        audit: audit.as_ref().and_then(|audit| audit.trail(config)),
        health: Arc::new(Health::new(clock)),
        notifier: Arc::new(Notifier::of_process()),
        figures: Arc::default(),
        desk: Arc::default(),
        certificates: served,
        webhook: webhook.map(|client| WebhookHandle::start(client, clock, &seat.urgent)).transpose()?,
    };
    let mut parts = shared.parts_of_all(bound.listeners)?;
    let authorizer = authorizer.map(|client| start_authorizer(config, client, &mut parts, clock)).transpose()?;
    let desk = || authorizer.as_ref().map(|(desk, _)| Arc::clone(desk));
    let (journal, for_hub, analytics) = start_journal(config, &shared, data_dir.as_ref(), journal, &seat.door)?;
    let controls: Vec<_> = parts.iter().map(|parts| Arc::clone(&parts.control)).collect();
    let trail = AdminTrail::new(audit.as_ref(), config, clock);
    let revoker = Arc::new(shared.revoker(revocation_file, bridge.as_ref().map(Bridge::server), controls.clone(), trail.clone()));
    let (bridge, links) = start_bridge(bridge, &shared, (instance, &bound.addrs), &seat.door, &revoker, &mut parts)?;
    let (ingest, analytics) = start_publishers(config, analytics, clock, &controls[0])?;
    let stores = Stores { journal: journal.as_ref(), bridge: bridge.as_ref(), ingest: ingest.as_ref(), analytics: analytics.as_ref() };
    let sources = shared.sources(&parts, stores, audit.as_ref(), desk(), config.data_dir.clone());
    let alerts = Arc::new(Alerts::new(clock, instance, sources.clone(), &shared, &config.alerts));
    let watch = shared.watch(&seat, &parts, stores, audit.as_ref(), desk(), Arc::clone(&alerts));
    let api = shared.admin_api(&seat, &controls, (revoker, trail.clone()), sources.clone(), desk(), (alerts.clone(), instance));
    let reloader = shared.reloader(instance, controls.clone(), authorizer, alerts);
    let audit = audit.map(|audit| audit.occupy(config, instance, clock, sources)).transpose()?;
    let admin = operators::serve(api.admin(), bound.admin, &shared.desk, &controls)?;
    let hub = seat.occupy(config, &shared, inboxes(&parts), (for_hub, links, shared.overdue()))?;
    let reactors = start_reactors(config, instance, parts)?;
    watch.start()?;
    let running = Running {
        ready: ready(config, bound.addrs, admin),
        health: shared.health,
        notifier: shared.notifier,
        controls,
        reactors,
        hub,
        journal,
        bridge,
        ingest,
        analytics,
        audit,
        trail,
        reloader,
        owns_publish_socket: bound.owns_publish_socket,
        drain_timeout: config.drain_timeout,
        _data_dir: data_dir,
        _locks: bound.locks,
    };
    running.look_after();
    Ok(running)
}

impl Running {
    /// Where it can be reached.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Takes on a configuration that was read again, or what is wrong with it. It holds if all of it is sound, as far as it can without a restart,
    /// and no connection is dropped for it; else nothing changes. Whether it holds.
    pub fn reload(&mut self, reread: Result<&Reread, String>) -> bool {
        self.notifier.tell("RELOADING=1");
        let applied = reread.and_then(|reread| self.reloader.apply(&reread.loaded.config).map(|()| reread));
        if let Ok(reread) = applied {
            self.drain_timeout = reread.loaded.config.drain_timeout;
        }
        let is_applied = applied.is_ok();
        self.trail.note(&Caller::default(), "reload", None, if is_applied { "" } else { "refused" }, 1);
        self.health.reloaded(match applied {
            Ok(reread) => Reloaded::Applied { waiting: reread.waiting.clone() },
            Err(reason) => Reloaded::Refused { reason },
        });
        self.look_after();
        self.notifier.tell("READY=1");
        is_applied
    }

    /// What is to be looked at when the daemon starts, reloads, and once a day.
    pub fn look_after(&self) {
        if let Some(served) = &self.reloader.certificates {
            served.warn_of_expiry();
        }
    }

    /// Tells clients to come back elsewhere, waits for them to leave, and ends all threads.
    pub fn stop(self) {
        self.health.enter(State::Draining);
        self.notifier.tell("STOPPING=1");
        // What it has published is answered before the reactors end.
        if let Some(ingest) = self.ingest {
            ingest.stop();
        }
        if let Some(analytics) = self.analytics {
            analytics.stop();
        }
        tracing::info!(event = "draining", within_ms = self.drain_timeout.as_millis() as u64);
        for control in &self.controls {
            if !controls::tell(control, Control::Drain { within: self.drain_timeout }, Instant::now() + DRAIN_PATIENCE) {
                tracing::error!(event = "drain_not_told", "a reactor's control link is full; it will not drain");
            }
        }
        for reactor in self.reactors {
            join(reactor);
        }
        self.hub.stop();
        if let Some(journal) = self.journal {
            journal.stop();
        }
        if let Some(bridge) = self.bridge {
            bridge.stop();
        }
        if let Some(audit) = self.audit {
            audit.stop();
        }
        if let Some(path) = self.ready.publish_socket.filter(|_| self.owns_publish_socket) {
            publish_socket::remove(&path);
        }
        self.health.enter(State::Stopped);
        tracing::info!(event = "stopped");
    }
}

fn prepare_process(notes: &[String]) {
    certificates::tell(notes);
    abort_on_panic();
    if let Err(error) = sys::raise_descriptors() {
        tracing::warn!(event = "descriptors_not_raised", %error, "the soft limit of open files stays as it is: raise it by `ulimit -n`");
    }
}

/// What must outlive the process: in Redis, if there is one, else in the data directory, which then has what is this node's own alone.
/// What the nodes have revoked is added to what is revoked here.
fn open_store(
    config: &Config,
    data_dir: Option<&DataDir>,
    revocations: &mut Revocations,
    clock: Clock,
) -> Result<(Option<Journal>, Option<Bridge>), String> {
    if let Some(redis) = &config.redis {
        return Ok((None, Some(Bridge::open(redis, config.rooms_max, revocations, clock)?)));
    }
    Ok((data_dir.map(|dir| Journal::open(dir, clock)).transpose()?, None))
}

/// The data directory, the revocations in it, and the file for more; nothing of it without `--data-dir`.
fn open_data_dir(config: &Config, clock: Clock) -> Result<(Option<DataDir>, Revocations, Option<RevocationFile>), String> {
    let Some(path) = &config.data_dir else { return Ok(Default::default()) };
    let dir = DataDir::open(path)?;
    let content = revocation_file::read(&dir.file(REVOCATIONS), clock.now().wall_ms / 1000)?;
    if content.torn_bytes > 0 {
        tracing::warn!(
            event = "revocations_torn",
            bytes = content.torn_bytes,
            "the last line of {REVOCATIONS} was cut off and is left out: whoever sent it had no answer"
        );
    }
    let file = RevocationFile::open(dir.file(REVOCATIONS), &content)?;
    Ok((Some(dir), content.list, Some(file)))
}

/// The journal at work, what the hub gets of it, and who follows it.
type JournalStarted = (Option<JournalHandle>, Option<ForHub>, Option<AnalyticsSeat>);

/// Starts the journal's threads, and the one that follows it, if there are to be analytics; its work it gets later.
fn start_journal(
    config: &Config,
    shared: &Shared,
    data_dir: Option<&DataDir>,
    journal: Option<Journal>,
    hub: &Arc<Door>,
) -> Result<JournalStarted, String> {
    let analytics = AnalyticsSeat::start(config, data_dir, journal.as_ref().map(Journal::end))?;
    let start = |journal: Journal| journal.start(config, shared.clock, hub, Arc::clone(&shared.memory), analytics.as_ref());
    let (journal, for_hub) = journal.map(start).transpose()?.unzip();
    Ok((journal, for_hub, analytics))
}

/// Starts the bridge's threads, if there is one, and shows every reactor what nodes share.
fn start_bridge(
    bridge: Option<Bridge>,
    shared: &Shared,
    (instance, listen): (u32, &[SocketAddr]),
    hub: &Arc<Door>,
    revoker: &Arc<Revoker>,
    parts: &mut [ReactorParts],
) -> Result<(Option<BridgeHandle>, Option<BridgeLinks>), String> {
    Ok(bridge.map(|bridge| bridge.start(shared, (instance, listen), hub, revoker, parts)).transpose()?.unzip())
}

/// Starts the threads that publish from inside, by that reactor.
fn start_publishers(
    config: &Config,
    analytics: Option<AnalyticsSeat>,
    clock: Clock,
    reactor: &Arc<Link<Control>>,
) -> Result<(Option<IngestHandle>, Option<AnalyticsHandle>), String> {
    let ingest = config.ingest.as_ref().map(|ingest| IngestHandle::start(ingest, Arc::clone(reactor))).transpose()?;
    let analytics = analytics.map(|seat| seat.occupy(clock, Arc::clone(reactor))).transpose()?;
    Ok((ingest, analytics))
}

/// Starts the threads that ask the authorizer, and shows every reactor the desk at which they take the questions.
fn start_authorizer(
    config: &Config,
    client: Client,
    parts: &mut [ReactorParts],
    clock: Clock,
) -> Result<(Arc<Authorizer>, CurrentClient), String> {
    let words = parts.iter().map(|parts| Arc::clone(&parts.words)).collect();
    let desk = Arc::new(Authorizer::new(options::inquiries(config), words));
    for parts in parts {
        parts.authorizer = Some(Arc::clone(&desk));
    }
    let client = Arc::new(RwLock::new(client));
    authorizer::start(&client, &desk, clock)?;
    Ok((desk, client))
}

/// Says where the daemon can be reached.
fn ready(config: &Config, listen: Vec<SocketAddr>, admin: SocketAddr) -> Ready {
    let ready = Ready { listen, admin: Some(admin), publish_socket: config.publish_socket.clone(), pid: std::process::id() };
    let addresses = ready.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(event = "ready", listen = addresses, %admin, reactors = config.reactors);
    ready
}

/// The links from the hub to the reactors.
fn inboxes(parts: &[ReactorParts]) -> Vec<Arc<Link<Output>>> {
    parts.iter().map(|parts| Arc::clone(&parts.inbox)).collect()
}

fn start_reactors(config: &Config, instance: u32, parts: Vec<ReactorParts>) -> Result<Vec<JoinHandle<()>>, String> {
    let options = options::reactor(config, instance);
    let pin_cores = config.pin_cores;
    parts
        .into_iter()
        .map(|parts| {
            let (options, index) = (options.clone(), parts.index);
            let reactor = Reactor::new(options, parts).map_err(|error| format!("cannot make reactor {index}: {error}"))?;
            spawn(&format!("reactor-{index}"), move || {
                if pin_cores && let Err(error) = sys::pin_to_core(usize::from(index)) {
                    tracing::warn!(event = "pin_failed", index, %error, "not bound to a core: allow sched_setaffinity, or drop --pin-cores");
                }
                if let Err(error) = reactor.run() {
                    panic!("reactor {index} cannot poll: {error}"); // it serves nobody any more: the process must end
                }
            })
        })
        .collect()
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| format!("cannot start the thread {name}: {error}"))
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(event = "thread_panicked", "a thread had panicked"); // unreachable: a panic aborts
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
