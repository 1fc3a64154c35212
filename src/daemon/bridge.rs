//! The bridge to Redis: its threads, and what the hub gets of it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::auth::{Revocation, Revocations, TicketAsk, TicketWord};
use crate::base::ids::ConnId;
use crate::base::limits::{APPENDS_MAX, REPLAY_FETCHES_MAX, REVOCATIONS_MAX};
use crate::bridge::fetcher::Fetcher;
use crate::bridge::reader::{OnRevocation, Reader};
use crate::bridge::stats::BridgeStats;
use crate::bridge::users::{Present, Users};
use crate::bridge::writer::Writer;
use crate::bridge::{Access, Begin, Failure, Server, Shared};
use crate::config::RedisConfig;
use crate::hub::journal::Fetch;
use crate::hub::store::{Append, News, SHARDS, Settled};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};
use crate::reactor::registry::Registry;
use crate::reactor::{Control, ReactorParts};

use super::http_client::read_secret;
use super::nodes;
use super::options;
use super::revoker::Revoker;
use super::seat::{Crew, Seat, Work};
use super::shared::Shared as Daemon;

/// News that may wait for the hub. The shards that it begins with fit.
const NEWS_SLOTS: usize = 256;

/// Waits that are over, on their way to Redis; where there is no place the other nodes tell it.
const SETTLES_SLOTS: usize = 1024;

/// Questions about tickets on their way to Redis, of all reactors: a reactor that finds no place says that Redis does not answer.
const TICKETS_SLOTS: usize = 1024;

/// Redis, found and read.
pub(super) struct Bridge {
    server: Arc<Server>,
    begin: Begin,
    /// How many rooms a shard may have.
    rooms_max: usize,
}

/// The hub's ends of the links.
pub(super) struct BridgeLinks {
    pub(super) appends: Arc<Link<Append>>,
    pub(super) settles: Arc<Link<Settled>>,
    pub(super) fetches: Arc<Link<Fetch>>,
    pub(super) news: Arc<Link<News>>,
}

/// The threads at work.
pub(super) type BridgeHandle = Crew<BridgeStats>;

impl Bridge {
    /// Connects, and reads all that the nodes share; their revocations hold here from now on. `rooms_max` is what this node has room for.
    pub(super) fn open(config: &RedisConfig, rooms_max: usize, revocations: &mut Revocations, clock: Clock) -> Result<Bridge, String> {
        let told = |failure: Failure| format!("cannot use Redis at {}: {failure}; {}", config.url, remedy(&failure));
        let begun = std::time::Instant::now();
        let server = Arc::new(Server::new(&config.url, access(config)?, options::random()?).map_err(told)?);
        let begin = server.read_all().map_err(told)?;
        Bridge::add_revocations(&begin.revocations, revocations, clock.now().wall_ms / 1000)?;
        let rooms: usize = begin.shards.iter().map(|shard| shard.rooms.len()).sum();
        if let Some(policy) = begin.evicts.as_deref() {
            tracing::warn!(
                event = "redis_evicts",
                policy,
                "when its memory is full, Redis throws away rooms and their numbers: set maxmemory-policy noeviction"
            );
        }
        tracing::info!(event = "redis_read", rooms, ms = begun.elapsed().as_millis() as u64);
        Ok(Bridge { server, begin, rooms_max: shared_rooms_of_shard(rooms_max) })
    }

    /// Where revocations are given to all nodes.
    pub(super) fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// Adds the revocations that the nodes share to those that hold here.
    fn add_revocations(revocations: &[String], list: &mut Revocations, now_s: u64) -> Result<(), String> {
        for json in revocations {
            let told = |why: &dyn std::fmt::Display| format!("cannot take the revocation `{json}` from Redis: {why}");
            let revocation = Revocation::parse(json.as_bytes(), now_s).map_err(|why| told(&why))?;
            list.insert(&revocation, now_s, REVOCATIONS_MAX).map_err(|_| told(&"there are more than there may be"))?;
        }
        list.forget_ended(now_s);
        Ok(())
    }

    /// Starts the threads. The hub finds the shards among its first news.
    /// `instance` and `listen` are told to the other nodes; `parts` are shown the way to the tickets.
    pub(super) fn start(
        self,
        daemon: &Daemon,
        (instance, listen): (u32, &[SocketAddr]),
        hub: &Arc<Door>,
        revoker: &Arc<Revoker>,
        parts: &mut [ReactorParts],
    ) -> Result<(BridgeHandle, BridgeLinks), String> {
        let (clock, stop, stats) = (daemon.clock, Arc::new(AtomicBool::new(false)), Arc::new(BridgeStats::default()));
        let (writer, fetcher, users) = (Seat::start("redis-write")?, Seat::start("redis-fetch")?, Seat::start("redis-users")?);
        let shards = self.server.parts();
        let names: Vec<String> = match &shards[..] {
            [_] => vec!["redis-read".to_owned()],
            several => (0..several.len()).map(|number| format!("redis-read-{number}")).collect(),
        };
        let readers = names.iter().map(|name| Seat::start(name)).collect::<Result<Vec<_>, _>>()?;
        let mut doors = [("redis-write", &writer.door), ("redis-fetch", &fetcher.door), ("redis-users", &users.door)]
            .map(|(name, door)| (name.to_owned(), Arc::clone(door)))
            .to_vec();
        doors.extend(names.into_iter().zip(readers.iter().map(|reader| Arc::clone(&reader.door))));
        let links = BridgeLinks {
            appends: Arc::new(Link::new(APPENDS_MAX, Arc::clone(&writer.door))),
            settles: Arc::new(Link::new(SETTLES_SLOTS, Arc::clone(&writer.door))),
            fetches: Arc::new(Link::new(REPLAY_FETCHES_MAX, Arc::clone(&fetcher.door))),
            news: Arc::new(Link::new(NEWS_SLOTS, Arc::clone(hub))),
        };
        let shared = Shared {
            server: self.server,
            news: Arc::clone(&links.news),
            stats: Arc::clone(&stats),
            rooms_max: self.rooms_max,
            anew: Arc::default(),
            stop: Arc::clone(&stop),
        };
        let revoker = Arc::clone(revoker);
        let mut on_revocation: Option<OnRevocation> = Some(Box::new(move |json| revoker.hear(json)));
        let reading = |(part, seat): (&Vec<u16>, &Seat<Reader>)| {
            Reader::new(shared.clone(), Arc::clone(&seat.door), clock, &self.begin, part, &mut on_revocation)
        };
        let reading: Vec<Reader> = shards.iter().zip(&readers).map(reading).collect();
        for shard in self.begin.shards {
            let pushed = links.news.push(News::Shard(Box::new(shard)));
            assert!(pushed.is_ok(), "nothing was pushed before");
        }
        let (appends, settles) = (Arc::clone(&links.appends), Arc::clone(&links.settles));
        let (fetches, for_writer, for_fetcher) = (Arc::clone(&links.fetches), shared.clone(), shared.clone());
        let about = nodes::about(instance, listen, clock.now().wall_ms);
        let mut threads = vec![
            writer.occupy(|door| Writer::new(for_writer, (appends, settles), door, clock, about))?,
            fetcher.occupy(|door| Fetcher::new(for_fetcher, fetches, door))?,
            users.occupy(|door| {
                let (tickets, present) = (share_tickets(parts, &door), PresentHere::new(&daemon.registry, parts, &door));
                Users::new(shared, tickets, Box::new(present), door, clock)
            })?,
        ];
        for (seat, reader) in readers.into_iter().zip(reading) {
            threads.push(seat.occupy(|_| reader)?);
        }
        Ok((Crew { threads, doors, stop, stats }, links))
    }
}

/// Of the rooms that each node has place for, an eighth is left for those that are its own, or have had no event. The others are shared out evenly, for
/// in a cluster nobody counts those of all shards.
fn shared_rooms_of_shard(rooms_max: usize) -> usize {
    (rooms_max / 8 * 7 / usize::from(SHARDS)).max(1)
}

/// What to do about a Redis that is of no use.
fn remedy(failure: &Failure) -> &'static str {
    let is_about = |what: &str| failure.0.to_ascii_lowercase().contains(what);
    if is_about("noauth") || is_about("wrongpass") || is_about("authentication") {
        return "--redis-password-file has the password, and the URL the user, if there is one";
    }
    "is it running, and --redis right?"
}

/// Shows every reactor the way to the tickets. The way there, and the ways back.
fn share_tickets(parts: &mut [ReactorParts], door: &Arc<Door>) -> (Arc<Link<TicketAsk>>, Vec<Arc<Link<TicketWord>>>) {
    let asks = Arc::new(Link::new(TICKETS_SLOTS, Arc::clone(door)));
    for parts in &mut *parts {
        parts.tickets = Some(Arc::clone(&asks));
    }
    (asks, parts.iter().map(|parts| Arc::clone(&parts.ticket_words)).collect())
}

/// Who is there on this node, for those who count users' connections over all nodes.
struct PresentHere {
    registry: Arc<Registry>,
    controls: Vec<Arc<Link<Control>>>,
}

impl PresentHere {
    /// `door` is rung when somebody comes or goes.
    fn new(registry: &Arc<Registry>, parts: &[ReactorParts], door: &Arc<Door>) -> PresentHere {
        registry.roll.open(Arc::clone(door));
        PresentHere { registry: Arc::clone(registry), controls: parts.iter().map(|parts| Arc::clone(&parts.control)).collect() }
    }
}

impl Present for PresentHere {
    fn take_changed(&self, max: usize) -> Vec<(Arc<str>, u32)> {
        self.registry.roll.take_changed(max)
    }

    fn has_changed(&self) -> bool {
        self.registry.roll.has_changed()
    }

    fn tell_again(&self, users: Vec<Arc<str>>) {
        self.registry.roll.tell_again(users);
    }

    fn tell_all(&self) {
        self.registry.roll.tell_all();
    }

    fn rest(&self) {
        self.registry.roll.rest();
    }

    fn most(&self) -> u32 {
        self.registry.per_user_max()
    }

    /// Where a reactor has no place for that, it is told when the store is asked again.
    fn end_beyond(&self, users: &[(Arc<str>, u32)]) {
        let over: Vec<ConnId> = users.iter().flat_map(|(user, kept)| self.registry.roll.beyond(user, *kept)).collect();
        for (reactor, control) in self.controls.iter().enumerate() {
            let own: Vec<ConnId> = over.iter().filter(|conn| usize::from(conn.reactor) == reactor).copied().collect();
            if !own.is_empty() && control.push(Control::EndOverCap(own)).is_ok() {
                control.ring();
            }
        }
    }
}

/// Reads what Redis wants to see, and what we want to see of it.
pub(super) fn access(config: &RedisConfig) -> Result<Access, String> {
    let password = config.password_file.as_deref().map(|path| read_secret("the password for Redis", path)).transpose()?;
    let read = |flag: &str, path: &Path| fs::read(path).map_err(|error| format!("cannot read --{flag} {}: {error}", path.display()));
    let ca = config.ca.as_deref().map(|path| read("redis-ca", path)).transpose()?;
    let identity = config.certificate.as_deref().map(|path| read("redis-cert", path)).transpose()?;
    Ok(Access { password, ca, identity, replicas: config.replicas })
}

impl Work for Writer {
    const NICE: i32 = 0;

    fn run(self) {
        Writer::run(self);
    }
}

impl Work for Reader {
    const NICE: i32 = 0;

    fn run(self) {
        Reader::run(self);
    }
}

impl Work for Users {
    const NICE: i32 = 0;

    fn run(self) {
        Users::run(self);
    }
}

impl Work for Fetcher {
    fn run(self) {
        Fetcher::run(self);
    }
}
